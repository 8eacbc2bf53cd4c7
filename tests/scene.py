"""A whole bridge on a real database and between fakes, with a clock that is moved by hand.

Tests assert on rows and on the calls of the fakes.
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import Executable, ScalarSelect, bindparam, func, or_, select

from bridge.config import Settings
from bridge.db.models import Base, Chat, CircuitBreaker, ContactUpdate, Conversation, HandoffNotice, Message
from bridge.db.transaction import Database, Sessions
from bridge.inbound import receive
from bridge.maintenance import sweep
from bridge.providers.carriers.contract import InboundText
from bridge.queues.conversation_queue import QUEUES, ConversationQueue
from bridge.queues.notifier import Notifier
from bridge.runtime import Runtime
from bridge.web.app import build_web
from testkit.waiting import PATIENCE
from tests.fakes import FakeAgent, FakeCarrier, FakeClock, FakeNotifier, FakeTeam, fake_agents, fake_settings

ANN = "+15551230001"
BOB = "+15551230002"
NUMBER = "+15550001111"


WORKERS = Base.metadata.tables["workers"]
BEAT = WORKERS.update().where(WORKERS.c.id == bindparam("mine"))


class FakeHeartbeat:
    """It beats when a test calls ``beat``. ``stopped``: the process was halted."""

    def __init__(self, sessions: Sessions, clock: FakeClock) -> None:
        self.worker = uuid.uuid4().hex
        self.stopped = False
        self._sessions = sessions
        self._clock = clock
        self.beat()

    @contextmanager
    def working_on(self, queue: ConversationQueue, conversation_id: int) -> Iterator[None]:
        yield

    def take(self, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
        pass

    def let_go(self, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
        pass

    def may_start_work(self, worker: str) -> bool:
        return worker == self.worker and not self.stopped

    def wait_until_live(self, within: float) -> bool:
        return self.may_start_work(self.worker)

    def beat(self) -> None:
        """It is done at every tick, so it takes no session."""
        if not self.stopped:
            beat = {"last_heartbeat_at": self._clock()}
            with self._sessions.kw["bind"].begin() as connection:
                if not connection.execute(BEAT, {"mine": self.worker, **beat}).rowcount:
                    connection.execute(WORKERS.insert(), {"id": self.worker, **beat})


class Alone(Runtime):
    """A process in which each request gets a transaction of its own, as one does that is not of the common kind.

    An answer is not sent by the thread that has settled its turn; it waits in the outbox.
    """

    def together(self, stage: Any, request: Any) -> None:
        return None


def earliest(*columns: Any) -> list[ScalarSelect[Any]]:
    """The earliest moment in each of these."""
    return [select(func.min(column)).scalar_subquery() for column in columns]


DUE = earliest(*(queue.due_at for queue in QUEUES))
"""The moments at which a queue has something to do."""

LATER = earliest(Chat.due_at, CircuitBreaker.probe_at, Message.resend_at, ContactUpdate.due_at, HandoffNotice.due_at)
"""The moments at which a sweep has something to do though no queue is due."""

LEASED = select(Conversation.id).where(or_(*(queue.leased_by.is_not(None) for queue in QUEUES))).exists()

AHEAD = select(LEASED, *DUE, *LATER)


@dataclass(frozen=True)
class Ahead:
    """What the rows say that is still to come."""

    leased: bool
    due: list[datetime]
    later: list[datetime]


SWEEPS_AGAIN = 20.0
"""Seconds from one sweep to the next while a wake-up may be repeated, or a worker may count as stalled."""


class Scene:
    """One bridge, its providers and some people."""

    IDLE_BEFORE_LATER = True
    """It counts as idle once no queue is due."""

    STEP = 1.0
    """Seconds from one sweep to the next while something is due."""

    def __init__(self, sessions: Sessions, agent: FakeAgent | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.agent = agent or FakeAgent(now=self.clock)
        self.carrier = FakeCarrier(now=self.clock)
        self.team = FakeTeam()
        self.notifier = FakeNotifier()
        self.sessions = sessions
        self.sids = map("SM{:032x}".format, itertools.count(0xA000))
        known = fake_settings(**settings)
        self.rt = Runtime(
            settings=known,
            database=Database(sessions.kw["bind"], self.notifier.wake, self.clock),
            agents=fake_agents(self.agent, known),
            carrier=self.carrier,
            notifier=self.notifier,
            heartbeat=FakeHeartbeat(sessions, self.clock),
            now=self.clock,
            team=self._team(known),
        )
        self._web: tuple[Runtime, Flask] | None = None

    def _team(self, settings: Settings) -> FakeTeam | None:
        return self.team if settings.handoff_webhook else None

    def text(
        self, body: str, phone: str = ANN, *, sid: str | None = None, media: int = 0, to: str = NUMBER, **more: Any
    ) -> bool:
        """Receive a text of a person, as the webhook does."""
        return receive.receive(self.rt, InboundText(sid or next(self.sids), phone, to, body, media, **more))

    @property
    def web(self) -> Flask:
        """The web of this process. To build one for each request takes longer than most requests do.

        It waits for the database with patience: a busy machine is no reason for a 503.
        """
        if self._web is None or self._web[0] is not self.rt:
            self._web = (self.rt, build_web(self.rt, within=PATIENCE))
        return self._web[1]

    @property
    def alone(self) -> Alone:
        """The same process, one request at a time."""
        return Alone(**{name: value for name, value in vars(self.rt).items() if not name.startswith("_")})

    def woken_by(self, notifier: Notifier) -> Runtime:
        """The same process with another notifier, also for what its commits wake."""
        return replace(
            self.rt, notifier=notifier, database=Database(self.sessions.kw["bind"], notifier.wake, self.clock)
        )

    def set(self, **settings: Any) -> None:
        """Restart the process with other settings."""
        known = fake_settings(**settings)
        self.rt = replace(self.rt, settings=known, agents=fake_agents(self.agent, known), team=self._team(known))

    def wake(self) -> None:
        """Run the tasks of all wake-ups."""
        self.notifier.drain(self.rt)

    def work(self, seconds: float = 0) -> None:
        """Run the tasks of all wake-ups, and let time pass with the clock's sweeper at work."""
        self.wake()
        until = self.clock() + timedelta(seconds=seconds)
        while self.clock() < until:
            self.tick(min(self._until_next(self._ahead()), (until - self.clock()).total_seconds()))

    def tick(self, seconds: float = 1) -> None:
        self.clock.tick(seconds)
        self.rt.heartbeat.beat()
        sweep.sweep(self.rt)
        self.wake()

    def work_until_idle(self, at_most: float = 24 * 3600) -> float:
        """Work until no queue is due any more. Return how many seconds that took."""
        began = self.clock()
        self.wake()
        while (ahead := self._ahead()).due:
            self.tick(self._until_next(ahead))
            passed = (self.clock() - began).total_seconds()
            assert passed < at_most, f"still something due after {passed} s"
        return (self.clock() - began).total_seconds()

    def waiting(self) -> bool:
        return bool(self._ahead().due)

    def _ahead(self) -> Ahead:
        with self.sessions.kw["bind"].connect() as connection:
            leased, *moments = connection.execute(AHEAD).one()
        due, later = moments[: len(DUE)], moments[len(DUE) :]
        if not self.IDLE_BEFORE_LATER:
            due = moments
        return Ahead(leased, [moment for moment in due if moment], [moment for moment in later if moment])

    def _until_next(self, ahead: Ahead) -> float:
        """Return the seconds to the next event: something comes due, or the sweeper repeats a wake-up.

        What is due already waits for one of the next sweeps. Where nothing is due or leased, no sweep finds anything.
        """
        now = self.clock()
        if ahead.leased or self.rt.settings.drafts or any(moment <= now for moment in ahead.due + ahead.later):
            return self._until(ahead.due, SWEEPS_AGAIN)
        return self._until(ahead.due + ahead.later, math.inf)

    def _until(self, moments: Sequence[datetime], at_most: float) -> float:
        seconds = [(moment - self.clock()).total_seconds() for moment in moments]
        return min([at_most, *(max(self.STEP, each) for each in seconds)])

    def restart(self) -> None:
        """Replace the process by another one. Its work in hand and its wake-ups are lost."""
        self.notifier.wakeups.clear()
        self.rt = replace(self.rt, heartbeat=FakeHeartbeat(self.sessions, self.clock))

    def change(self, *statements: Executable) -> None:
        """Change rows behind the bridge's back."""
        with self.sessions.begin() as session:
            for statement in statements:
                session.execute(statement)

    def add(self, *rows: Base) -> None:
        """Add rows behind the bridge's back."""
        with self.sessions.begin() as session:
            session.add_all(rows)

    def rows(self, table: type[Base]) -> list[Any]:
        with self.sessions() as session:
            return list(session.scalars(select(table).order_by(table.id)))  # type: ignore[attr-defined]

    def rows_of(self, table: type[Base]) -> list[Any]:
        """The rows of a table without numbers, in no order."""
        with self.sessions() as session:
            return list(session.scalars(select(table)))

    def got(self, phone: str = ANN) -> list[str]:
        """Return the texts that reached this phone, in order."""
        return [a.text.body for a in self.carrier.accepted if a.text.recipient == phone]
