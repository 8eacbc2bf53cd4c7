"""Processes that die: the doors of a step are wrapped, so that nothing comes back from there.

What lives here: where a process may die, and the scene in which it does. What it plays, and what must come of that:
``test_crash``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from bridge.db.engine import Sessions, build_sessions
from bridge.db.models import Base, Chat, CircuitBreaker, Message
from bridge.queues.conversation_queue import QUEUES
from bridge.runtime import Runtime
from tests.databases import database
from tests.fakes import FakeAgent, fake_agents
from tests.scene import ANN, Scene, earliest

ASKS_NOBODY = {"sending_identity", "meaning"}
"""Methods of a vendor's adapter that are no calls to the outside."""


class Died(BaseException):
    """The process is no more. Nothing catches this, as nothing catches SIGKILL."""


class Fate:
    """Counts the boundaries that a run passes, and strikes at some of them."""

    def __init__(self, *deaths: int) -> None:
        self.deaths = deaths
        self.passed: list[str] = []

    def boundary(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) in self.deaths:
            raise Died(name)


def mortal_commit(fate: Fate) -> Callable[[Session], None]:
    """A commit that may be the last thing that happens, or may just not happen any more."""

    def commit(session: Session) -> None:
        if session.get_transaction() is None:  # it was rolled back inside: there is nothing to commit
            return
        session.flush()
        wrote = _changes(session) > session.info.get("changes", 0)
        if wrote:
            fate.boundary("before commit")
        session.commit()
        if wrote:
            fate.boundary("after commit")

    return commit


@event.listens_for(Session, "after_begin")
def _count_changes(session: Session, _transaction: object, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        session.info["changes"] = connection.connection.driver_connection.total_changes


def _changes(session: Session) -> int:
    """How many rows this connection has ever changed. A commit of nothing is no boundary."""
    changes: int = session.connection().connection.driver_connection.total_changes
    return changes


class Mortal:
    """A vendor as a mortal process sees it: it may die before the call, and after it without having read the answer."""

    def __init__(self, vendor: Any, fate: Fate) -> None:
        self._vendor = vendor
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._vendor, name)
        return self._mortal(name, method) if callable(method) and name not in ASKS_NOBODY else method

    def _mortal(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.boundary(f"before {name}")
            answer = method(*args, **kwargs)
            self._fate.boundary(f"after {name}")
            return answer

        return call


class MortalScene(Scene):
    """A scene in which every process may die at any boundary, and another one comes."""

    DUE = earliest(*(queue.due_at for queue in QUEUES), Chat.due_at, CircuitBreaker.probe_at, Message.resend_at)
    """Nor may a chat that is to end, a hold, or a text that goes again, stay for ever."""

    def __init__(self, sessions: Sessions, fate: Fate, agent: FakeAgent, **settings: Any) -> None:
        super().__init__(sessions, agent=agent, **settings)
        self.rt = replace(
            self.rt,
            database=database(sessions, self.clock, self.notifier.wake, mortal_commit(fate)),
            agents=fake_agents(Mortal(self.agent, fate), self.rt.settings),  # type: ignore[arg-type]
            carrier=Mortal(self.carrier, fate),
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
        """What the clock, an operator or a carrier calls for; whoever got no answer calls again."""
        self._survive(lambda: job(self.rt))

    def call_once(self, job: Callable[[Runtime], object]) -> None:
        """The same where nobody calls again. It is a process of the web that dies; the worker is not concerned."""
        with suppress(Died):
            job(self.rt)

    def pass_time(self, seconds: float) -> None:
        """Nothing is called for meanwhile."""
        self.clock.tick(seconds)
        self.rt.heartbeat.beat()

    def _survive(self, life: Callable[[], Any]) -> Any:
        while True:
            try:
                return life()
            except Died:
                self.restart()


def empty_scene(hasty_engine: Engine, fate: Fate, answer: Callable[[str], list[str]], **settings: Any) -> MortalScene:
    """On tables without a row."""
    with hasty_engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return MortalScene(build_sessions(hasty_engine), fate, FakeAgent(answer), **settings)
