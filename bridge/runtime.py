"""The runtime: the first argument of every task, built once by each process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Engine

from bridge.config import Settings
from bridge.db.engine import SILENCE, build_engine
from bridge.db.group_commit import GroupCommit
from bridge.db.sealing import Keyring
from bridge.db.transaction import Database
from bridge.db.write_behind import WriteBehind
from bridge.providers.agents.registry import build_agents
from bridge.providers.agents.routes import Agents
from bridge.providers.carriers.contract import Carrier
from bridge.providers.carriers.registry import build_carrier
from bridge.providers.team_webhook import Team, build_team
from bridge.queues.answer_times import AnswerTimes
from bridge.queues.heartbeat import Heartbeat
from bridge.queues.notifier import Notifier

Q = TypeVar("Q")
R = TypeVar("R")


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
    team: Team | None = None
    """HANDOFF_WEBHOOK; ``None`` if it is not set."""
    times: AnswerTimes = field(default_factory=AnswerTimes, repr=False)
    """How fast this process answers."""
    _commits: dict[Callable[..., Any], GroupCommit[Any, Any]] = field(default_factory=dict, repr=False)
    """The group commits of this process, one for each stage."""
    _behind: dict[Callable[..., Any], WriteBehind[Any]] | None = field(default=None, repr=False)
    """What this process writes behind its requests, one for each stage; ``None``: nothing."""

    @classmethod
    def build(
        cls,
        settings: Settings,
        notifier: Notifier,
        *,
        pool_size: int,
        silence: float = SILENCE,
        write_behind: bool = False,
    ) -> Runtime:
        """Build it from the settings. It opens no connection and starts no thread, so it is safe before a fork."""
        keyring = Keyring(settings.keys)
        engine = build_engine(settings.database_url, pool_size=pool_size, silence=silence, keyring=keyring)
        database = Database(engine, notifier.wake, utc_now)
        return cls(
            settings=settings,
            database=database,
            agents=build_agents(settings),
            carrier=build_carrier(settings),
            notifier=notifier,
            heartbeat=Heartbeat(database),
            team=build_team(settings),
            _behind={} if write_behind else None,
        )

    def together(self, stage: Callable[[Runtime, Sequence[Q]], Sequence[R | None]], request: Q) -> R | None:
        """Run the stage for this request, in one transaction with all requests that wait for it.

        ``None``: the request is not of the common kind, or its row is locked. It must have a transaction of its own.
        """
        commits = self._commits.setdefault(stage, GroupCommit(f"{stage.__module__}.{stage.__name__}"))
        return commits.submit(request, lambda requests: stage(self, requests))

    def later(self, stage: Callable[[Runtime, Sequence[Q]], object], request: Q) -> bool:
        """Run the stage for this request soon, with all that come in the same moment. Nobody learns the result.

        Return False if this process can't do it: then the caller must. If it is killed, the request is lost.
        """
        if self._behind is None:
            return False
        name = f"{stage.__module__}.{stage.__name__}"
        behind = self._behind.get(stage) or self._behind.setdefault(
            stage, WriteBehind(name, lambda requests: stage(self, requests))
        )
        return behind.add(request)

    def write_rest(self) -> None:
        """Write what is still to be written, and accept no more of it. A process calls this at its end."""
        for behind in (self._behind or {}).values():
            behind.close()

    def close(self) -> None:
        """Close every connection, after the rest is written."""
        self.write_rest()
        self.notifier.close()
        self.agents.close()
        self.carrier.close()
        if self.team:
            self.team.close()
        self.engine.dispose()

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.database.engine
