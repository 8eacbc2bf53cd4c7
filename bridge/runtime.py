"""The runtime: the first argument of every task, built once by each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from bridge.config import Settings
from bridge.db.engine import SILENCE, build_engine, build_sessions
from bridge.db.transaction import Database
from bridge.providers.agents.registry import build_agents
from bridge.providers.agents.routes import Agents
from bridge.providers.carriers.contract import Carrier
from bridge.providers.carriers.registry import build_carrier
from bridge.queues.heartbeat import Heartbeat
from bridge.queues.notifier import Notifier


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Runtime:
    """The settings, and access to everything outside of the code."""

    settings: Settings
    database: Database
    agents: Agents
    carrier: Carrier
    notifier: Notifier
    heartbeat: Heartbeat
    now: Callable[[], datetime] = utc_now

    @classmethod
    def build(cls, settings: Settings, notifier: Notifier, *, pool_size: int, silence: float = SILENCE) -> Runtime:
        """Build it from the settings. It opens no connection and starts no thread, so it is safe before a fork."""
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
        """Close every connection."""
        self.notifier.close()
        self.agents.close()
        self.carrier.close()
        self.engine.dispose()

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.database.engine
