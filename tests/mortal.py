"""Processes that die at a commit or at a call: both are wrapped, so that a process may die before and after each.

This module has the boundaries and the scene. The plays and their expected ends are in ``test_crash``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, event

from bridge.db.engine import Sessions, build_sessions
from bridge.processes.tasks import SCHEDULE
from bridge.runtime import Runtime
from tests.databases import database, empty
from tests.fakes import FakeAgent, fake_agents
from tests.scene import ANN, Scene

NO_CALLS = {"sending_identity", "meaning"}
"""Methods of a provider's adapter that are no calls to the outside."""


class Died(BaseException):
    """The process was killed. Nothing catches this, as nothing catches SIGKILL."""


class Fate:
    """Count the boundaries that a run passes, and die at some of them."""

    def __init__(self, *deaths: int) -> None:
        self.deaths = deaths
        self.passed: list[str] = []

    def boundary(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) in self.deaths:
            raise Died(name)


def mortal_commit(fate: Fate) -> Callable[[Connection], None]:
    """Return a commit before or after which the process may die. A commit without changes is no boundary."""

    def commit(connection: Connection) -> None:
        if not connection.in_transaction():  # it was rolled back inside: there is nothing to commit
            return
        wrote = _changes(connection) > connection.info.get("changes", 0)
        if wrote:
            fate.boundary("before commit")
        connection.commit()
        if wrote:
            fate.boundary("after commit")

    return commit


@event.listens_for(Engine, "begin")
def _count_changes(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.info["changes"] = _changes(connection)


def _changes(connection: Connection) -> int:
    """Return how many rows this connection has ever changed."""
    changes: int = connection.connection.driver_connection.total_changes  # type: ignore[union-attr]
    return changes


class Mortal:
    """A provider in a mortal process, which may die before a call, and after it without the answer."""

    def __init__(self, provider: Any, fate: Fate) -> None:
        self._provider = provider
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._provider, name)
        return self._mortal(name, method) if callable(method) and name not in NO_CALLS else method

    def _mortal(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.boundary(f"before {name}")
            answer = method(*args, **kwargs)
            self._fate.boundary(f"after {name}")
            return answer

        return call


class MortalScene(Scene):
    """A scene in which every process may die at any boundary, and another one comes."""

    IDLE_BEFORE_LATER = False
    """Chats to end, open circuits, texts to send again, contacts and notices must not stay for ever either."""

    STEP = SCHEDULE["sweep"][1].total_seconds()
    """The clock's own, because thousands of lives wait for the sweeper."""

    def __init__(self, sessions: Sessions, fate: Fate, agent: FakeAgent, **settings: Any) -> None:
        super().__init__(sessions, agent=agent, **settings)
        self.rt = replace(
            self.rt,
            database=database(sessions, self.clock, self.notifier.wake, mortal_commit(fate)),
            agents=fake_agents(Mortal(self.agent, fate), self.rt.settings),  # type: ignore[arg-type]
            carrier=Mortal(self.carrier, fate),
            team=Mortal(self.team, fate) if self.rt.team else None,
        )

    def text(self, body: str, phone: str = ANN, *, sid: str | None = None, media: int = 0) -> bool:
        """A carrier that gets no answer brings the text again."""
        sid = sid or next(self.sids)
        return self._survive(lambda: super(MortalScene, self).text(body, phone, sid=sid, media=media))

    def wake(self) -> None:
        self._survive(super().wake)

    def tick(self, seconds: float = 1) -> None:
        self._survive(lambda: super(MortalScene, self).tick(seconds))

    def call(self, job: Callable[[Runtime], object]) -> None:
        """Do a job of the clock, an operator or a carrier. A caller without an answer calls again."""
        self._survive(lambda: job(self.rt))

    def call_once(self, job: Callable[[Runtime], object]) -> None:
        """Do a job whose caller does not call again. Only a web process dies; the worker is not affected."""
        with suppress(Died):
            job(self.rt)

    def pass_time(self, seconds: float) -> None:
        """Let time pass without any job."""
        self.clock.tick(seconds)
        self.rt.heartbeat.beat()

    def _survive(self, life: Callable[[], Any]) -> Any:
        while True:
            try:
                return life()
            except Died:
                self.restart()


def emptied(hasty_engine: Engine) -> Sessions:
    """Return sessions on empty tables."""
    with hasty_engine.begin() as connection:
        empty(connection)
    return build_sessions(hasty_engine)


def empty_scene(hasty_engine: Engine, fate: Fate, answer: Callable[[str], list[str]], **settings: Any) -> MortalScene:
    """Return a scene on empty tables. The agent has message ids if its provider has."""
    provider = settings.get("agent_provider", "retell")
    agent = FakeAgent(answer, provider=provider, item_ids=provider == "retell")
    return MortalScene(emptied(hasty_engine), fate, agent, **settings)
