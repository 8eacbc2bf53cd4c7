"""What every step works with, built once by a front door and handed on as the first argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from bridge.config import Settings
from bridge.db.engine import SILENCE, build_engine, build_sessions
from bridge.db.transaction import Database
from bridge.providers.agents.routes import Agents, build_agents
from bridge.providers.carriers.contract import Carrier
from bridge.providers.carriers.registry import build_carrier
from bridge.queues.heartbeat import Heartbeat
from bridge.queues.notifier import Notifier


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Runtime:
    """The settings and the doors to everything outside."""

    settings: Settings
    database: Database
    agents: Agents
    carrier: Carrier
    notifier: Notifier
    heartbeat: Heartbeat
    now: Callable[[], datetime] = utc_now

    @classmethod
    def build(cls, settings: Settings, notifier: Notifier, *, pool_size: int, silence: float = SILENCE) -> Runtime:
        """The real one. Nothing is connected yet and no thread runs: safe to build before a fork."""
        sessions = build_sessions(build_engine(settings.database_url, pool_size=pool_size, silence=silence))
        database = Database(sessions, notifier.wake, utc_now)
        return cls(
            settings=settings,
            database=database,
            agents=build_agents(settings),
            carrier=build_carrier(settings),
            notifier=notifier,
            heartbeat=Heartbeat(database),
        )

    def close(self) -> None:
        """Give back every connection."""
        self.notifier.close()
        self.agents.close()
        self.carrier.close()
        self.engine.dispose()

    @property
    def engine(self) -> Engine:
        """The engine of the database."""
        return self.database.engine
