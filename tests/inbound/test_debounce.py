"""``REPLY_DEBOUNCE``: people who type in pieces get one answer, soon after the last piece."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Message, Turn
from bridge.inbound import receive
from bridge.maintenance import sweep
from bridge.providers.carriers.contract import InboundText
from bridge.providers.errors import NotReached, OutcomeUnknown, RateLimited
from bridge.turns.process import process_turns
from tests.fakes import FakeAgent
from tests.scene import ANN, BOB, NUMBER, Scene

QUIET = 4


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, reply_debounce=f"{QUIET}s")


def due_in(scene: Scene) -> float | None:
    """Seconds until the first conversation's turn."""
    due: datetime | None = scene.rows(Conversation)[0].turn_due_at
    return None if due is None else (due - scene.clock()).total_seconds()


def type_every(scene: Scene, seconds: float, pieces: int) -> None:
    """The sweeper comes by at each piece."""
    for n in range(pieces):
        scene.text(f"piece {n}")
        scene.tick(seconds)


def test_nobody_is_rung_for_before_the_person_is_silent(scene: Scene) -> None:
    scene.text("hello")
    assert scene.notifier.wakeups == []
    scene.work(seconds=QUIET - 1)
    assert scene.agent.calls == []
    scene.work(seconds=1)
    assert scene.got() == ["You said: hello"]


def test_a_ring_that_comes_all_the_same_starts_nothing(scene: Scene) -> None:
    scene.text("hello")
    process_turns(scene.rt, 1)
    assert scene.agent.calls == []
    assert due_in(scene) == QUIET


def test_pieces_are_one_turn(scene: Scene) -> None:
    type_every(scene, QUIET - 1, 5)
    assert scene.agent.calls == []
    scene.work_until_idle(at_most=QUIET + 1)
    assert scene.agent.received == ["\n".join(f"piece {n}" for n in range(5))]
    assert len(scene.got()) == 1


def test_without_the_setting_each_piece_has_its_answer(sessions: Sessions) -> None:
    scene = Scene(sessions)
    type_every(scene, 1, 3)
    assert scene.agent.received == ["piece 0", "piece 1", "piece 2"]


def test_who_types_for_ever_is_answered_too(scene: Scene) -> None:
    began = scene.clock()
    while not scene.agent.received:
        type_every(scene, QUIET - 1, 1)
        assert (scene.clock() - began).total_seconds() <= 11 * QUIET
    assert (scene.clock() - began).total_seconds() >= 9 * QUIET


def test_a_text_that_comes_again_does_not_prolong_the_wait(scene: Scene) -> None:
    scene.text("hello", sid="SM1")
    scene.clock.tick(3)
    assert not scene.text("hello", sid="SM1")
    assert due_in(scene) == QUIET - 3


def test_each_persons_silence_is_their_own(scene: Scene) -> None:
    scene.text("hello", ANN)
    scene.clock.tick(2)
    scene.text("hello", BOB)
    scene.work(seconds=2)
    assert (len(scene.got(ANN)), len(scene.got(BOB))) == (1, 0)
    scene.work(seconds=2)
    assert len(scene.got(BOB)) == 1


def test_pieces_that_come_while_the_agent_thinks_are_waited_for_after_its_answer(scene: Scene) -> None:
    def busy(said: str) -> list[str]:
        scene.agent.answer = lambda said: [f"You said: {said}"]
        scene.text("and one more thing")
        scene.clock.tick(1)
        return ["first answer"]

    scene.agent.answer = busy
    scene.text("hello")
    scene.work(seconds=QUIET)
    assert scene.got() == ["first answer"]
    assert due_in(scene) == QUIET - 1
    scene.text("namely this")
    assert due_in(scene) == QUIET
    scene.work_until_idle(at_most=QUIET + 1)
    assert scene.agent.received[1:] == ["and one more thing\nnamely this"]


def test_who_was_silent_long_enough_while_the_agent_thought_does_not_wait_again(scene: Scene) -> None:
    def slow(said: str) -> list[str]:
        scene.agent.answer = lambda said: [f"You said: {said}"]
        scene.text("and one more thing")
        scene.clock.tick(QUIET)
        return ["first answer"]

    scene.agent.answer = slow
    scene.text("hello")
    scene.work(seconds=QUIET)
    assert scene.got() == ["first answer", "You said: and one more thing"]


def test_a_turn_that_waits_for_its_next_try_is_not_put_off_by_texts(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", RateLimited("busy", provider="retell", status=429, retry_after=30))
    scene.work(seconds=QUIET)
    scene.clock.tick(20)
    scene.text("are you there?")
    assert due_in(scene) == 10


def test_what_comes_while_the_agent_is_on_hold_is_heard_in_order(scene: Scene) -> None:
    scene.agent.fail("create_chat", NotReached("refused", provider="retell"), times=1000)
    scene.text("hello")
    scene.work(seconds=60)
    scene.text("are you there?")
    scene.work(seconds=30)
    scene.agent.recover()
    scene.work_until_idle(at_most=40)
    assert scene.agent.received == ["hello", "are you there?"]


def test_an_unknown_outcome_is_looked_into_without_waiting_for_silence(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    scene.work(seconds=QUIET)
    scene.text("hello?")
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "hello?"]


def test_a_picture_is_answered_at_once(scene: Scene) -> None:
    scene.text("", media=1)
    scene.work()
    assert scene.got() == [scene.rt.settings.media_reply]


def test_texts_found_in_the_carriers_list_are_not_taken_for_typing_for_long(scene: Scene) -> None:
    long_ago = scene.clock() - timedelta(minutes=30)
    for n in range(3):
        receive.receive(scene.rt, InboundText(next(scene.sids), ANN, NUMBER, f"text {n}", sent_at=long_ago))
    scene.work_until_idle(at_most=QUIET + 1)
    assert scene.agent.received == ["text 0\ntext 1\ntext 2"]


def test_more_texts_than_one_turn_takes_follow_at_once(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=FakeAgent(lambda said: []), reply_debounce=f"{QUIET}s")
    for n in range(13):
        scene.text(str(n))
    scene.work(seconds=QUIET)
    assert [len(said.split("\n")) for said in scene.agent.received] == [10, 3]


def test_a_worker_that_dies_in_the_turn_leaves_no_silence_behind(scene: Scene) -> None:
    def dies(said: str) -> list[str]:
        raise KeyboardInterrupt

    scene.text("hello")
    answer, scene.agent.answer = scene.agent.answer, dies
    scene.clock.tick(QUIET)
    sweep.sweep(scene.rt)
    with pytest.raises(KeyboardInterrupt):
        scene.wake()
    scene.agent.answer = answer
    scene.agent.chats["chat_1"].items.clear()
    scene.restart()
    scene.text("hello?")
    scene.work_until_idle(at_most=90)
    assert "\n".join(scene.agent.received).split("\n") == ["hello", "hello?"]
    assert len(scene.rows(Message)) == 2 + len(scene.rows(Turn))
