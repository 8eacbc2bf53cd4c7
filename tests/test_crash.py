"""Death at every boundary: before and after each commit and each call to the outside, alone and in pairs.

The steps are the real ones. Their only doors, the sessions, the agent and the carrier, are wrapped so that the process
"dies" there: what it has in hand is gone, its rings too, and another process comes. Whatever happens, every text is
heard once, every answer sent once, in order, and nothing is left waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bridge.db import Sessions, build_sessions
from bridge.errors import OutcomeUnknown, RateLimited
from bridge.models import OPEN_TURN, UNSENT, Base, Message, MessageStatus, Turn
from tests.fakes import FakeAgent, fake_agents
from tests.scene import Scene


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


class MortalSessions:
    """Sessions whose commits may be the last thing that happens, or may just not happen any more."""

    def __init__(self, sessions: Sessions, fate: Fate) -> None:
        self._sessions = sessions
        self._fate = fate

    def __call__(self) -> Session:
        return self._sessions()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            before = _changes(session)
            yield session
            session.flush()
            wrote = _changes(session) > before
            if wrote:
                self._fate.boundary("before commit")
        if wrote:
            self._fate.boundary("after commit")


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
        return self._mortal(name, method) if callable(method) else method

    def _mortal(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.boundary(f"before {name}")
            answer = method(*args, **kwargs)
            self._fate.boundary(f"after {name}")
            return answer

        return call


class MortalScene(Scene):
    """A scene in which every process may die at any boundary, and another one comes."""

    def __init__(self, sessions: Sessions, fate: Fate, agent: FakeAgent) -> None:
        super().__init__(sessions, agent=agent)
        self.rt = replace(
            self.rt,
            sessions=MortalSessions(sessions, fate),  # type: ignore[arg-type]
            agents=fake_agents(Mortal(self.agent, fate)),  # type: ignore[arg-type]
            carrier=Mortal(self.carrier, fate),
        )

    def text(self, body: str, phone: str = "+15551230001", *, sid: str | None = None, media: int = 0) -> bool:
        """A carrier that gets no answer brings the text again."""
        sid = sid or next(self.sids)
        return self._survive(lambda: super(MortalScene, self).text(body, phone, sid=sid, media=media))

    def ring(self) -> None:
        self._survive(super().ring)

    def tick(self, seconds: float = 1) -> None:
        self._survive(lambda: super(MortalScene, self).tick(seconds))

    def _survive(self, life: Callable[[], Any]) -> Any:
        while True:
            try:
                return life()
            except Died:
                self.restart()


def act(
    hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None] = lambda scene: None, *, later: str = "c"
) -> MortalScene:
    """Texts of one person: two that wait together, and those that come later."""
    with hasty_engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    agent = FakeAgent(lambda said: [f"re: {line}" for line in said.split("\n")])
    scene = MortalScene(build_sessions(hasty_engine), fate, agent)
    prepare(scene)
    scene.text("a")
    scene.text("b")
    scene.ring()
    for body in later:
        scene.text(body)
    scene.work_until_quiet(at_most=600)
    return scene


def judge(scene: Scene, texts: str = "abc") -> None:
    """One hearing per text, one sending per answer, order, and nothing that is left unsettled."""
    assert [line for said in scene.agent.heard for line in said.split("\n")] == list(texts)
    assert scene.got() == [f"re: {text}" for text in texts]
    assert not [row for row in scene.rows(Turn) if row.status in OPEN_TURN]
    unsettled = {MessageStatus.WAITING, MessageStatus.TAKEN, *UNSENT}
    assert not [row for row in scene.rows(Message) if row.status in unsettled]
    assert len({row.carrier_id for row in scene.rows(Message)}) == 2 * len(texts)


def lost_answer(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), heard=True)


def lost_question(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), heard=False)


def lost_receipt(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=True)


def lost_text(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)


def busy_vendors(scene: Scene) -> None:
    scene.agent.fail("complete", RateLimited("busy", provider="retell", status=429, retry_after=2))
    scene.carrier.fail("send", RateLimited("busy", provider="twilio", status=429, retry_after=2))


def chat_that_ends(scene: Scene) -> None:
    scene.agent.hangs_up_on = {"a\nb", "a"}


def lost_look(scene: Scene) -> None:
    lost_answer(scene)
    lost_receipt(scene)
    scene.agent.fail("get_chat", OutcomeUnknown("cut", provider="retell"))
    scene.carrier.fail("sent_to", OutcomeUnknown("cut", provider="twilio"))


FAULTS = [lost_answer, lost_question, lost_receipt, lost_text, busy_vendors, chat_that_ends, lost_look]


def test_the_boundaries_are_where_they_should_be(hasty_engine: Engine) -> None:
    fate = Fate()
    judge(act(hasty_engine, fate))
    for name in ("commit", "create_chat", "complete", "send"):
        assert f"before {name}" in fate.passed
        assert f"after {name}" in fate.passed


def test_no_single_death_loses_or_doubles_anything(hasty_engine: Engine) -> None:
    whole = Fate()
    act(hasty_engine, whole)
    for n in range(1, len(whole.passed) + 1):
        judge(act(hasty_engine, Fate(n)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_death_beside_a_fault_loses_or_doubles_anything(
    hasty_engine: Engine, fault: Callable[[Scene], None]
) -> None:
    whole = Fate()
    judge(act(hasty_engine, whole, fault))
    for n in range(1, len(whole.passed) + 1):
        judge(act(hasty_engine, Fate(n), fault))


def test_no_two_deaths_lose_or_double_anything(hasty_engine: Engine) -> None:
    """The second one may strike in what follows the first: the look, the second try."""
    whole = Fate()
    act(hasty_engine, whole, later="")
    for first in range(1, len(whole.passed) + 1):
        once = Fate(first)
        act(hasty_engine, once, later="")
        for second in range(first + 1, len(once.passed) + 1):
            judge(act(hasty_engine, Fate(first, second), later=""), "ab")


def nobody(scene: Scene) -> None:
    """No fault at all."""


@pytest.mark.parametrize("fault", [nobody, *FAULTS], ids=lambda fault: fault.__name__)
def test_no_death_beside_a_stop_sends_anything_after_it(hasty_engine: Engine, fault: Callable[[Scene], None]) -> None:
    """One text is being answered and another one waits when STOP comes."""
    whole = Fate()
    stopped(hasty_engine, whole, fault)
    for n in range(1, len(whole.passed) + 1):
        stopped(hasty_engine, Fate(n), fault)


def stopped(hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None]) -> None:
    with hasty_engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    scene = MortalScene(build_sessions(hasty_engine), fate, FakeAgent(lambda said: [f"re: {said}", "and more"]))
    prepare(scene)
    scene.text("a")
    scene.ring()
    scene.text("b")
    scene.text("STOP")
    sent = len(scene.carrier.accepted)
    scene.work_until_quiet(at_most=600)
    scene.text("START")
    scene.work_until_quiet(at_most=600)
    assert scene.got() == ["re: a", "and more"][:sent]
    assert scene.agent.heard in ([], ["a"])
    assert not [row for row in scene.rows(Turn) if row.status in OPEN_TURN]
    assert not [
        row for row in scene.rows(Message) if row.status in {MessageStatus.WAITING, MessageStatus.TAKEN, *UNSENT}
    ]
    assert [row.body for row in scene.rows(Message) if row.status is MessageStatus.KEYWORD] == ["STOP", "START"]


def test_the_judge_sees_a_loss(hasty_engine: Engine) -> None:
    """A test that can't fail proves nothing: here the look is left out."""

    def blind(scene: Scene) -> None:
        lost_answer(scene)
        scene.agent.get_chat = lambda chat_id: scene.agent._seen(replace(scene.agent.chats[chat_id], items=[]))  # type: ignore[method-assign]

    with pytest.raises(AssertionError):
        judge(act(hasty_engine, Fate(), blind))
