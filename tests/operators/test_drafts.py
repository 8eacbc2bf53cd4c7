"""Drafts that an operator sends or discards: once, whoever does what at the same time, and with a row in the audit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from bridge.db.models import Audit, Direction, Message, MessageStatus
from bridge.operators import drafts, holding
from bridge.operators.conversations import HeldBy
from bridge.operators.drafts import DraftGone
from bridge.operators.idempotency import Asked
from bridge.operators.texts import OptedOut
from tests.scene import ANN, Scene


@pytest.fixture
def scene(sessions) -> Scene:
    """Ana has taken the conversation over while the agent answered."""
    scene = Scene(sessions)
    scene.text("Hello")
    scene.work_until_idle()
    scene.text("A table?")
    scene.agent.in_next_call(lambda: holding.take_over(scene.rt, "ana", 1))
    scene.work_until_idle()
    return scene


@pytest.fixture
def draft(scene) -> int:
    [row] = [row for row in scene.rows(Message) if row.status is MessageStatus.DRAFT]
    return int(row.id)


def sent(scene: Scene) -> list[str]:
    return [row.body for row in scene.rows(Message) if row.direction is Direction.OUT and row.operator]


def deeds(scene: Scene) -> list[tuple[str, str]]:
    return [(row.action, row.subject) for row in scene.rows(Audit) if row.action != "take_over"]


def test_it_is_sent_as_a_text_by_the_operator_and_names_that_text(scene, draft) -> None:
    queued = drafts.send(scene.rt, Asked("ana"), draft, "At eight?")
    scene.work_until_idle()
    assert scene.got(ANN)[1:] == ["At eight?"]
    row = next(row for row in scene.rows(Message) if row.id == draft)
    assert (row.status, row.resent_as) == (MessageStatus.DRAFT, queued.id)
    assert deeds(scene) == [("send_text", f"message {queued.id}")]


def test_of_two_requests_at_once_one_sends_it(scene, draft) -> None:
    together = Barrier(2)

    def send(key: str) -> str:
        together.wait()
        try:
            drafts.send(scene.rt, Asked("ana", key, key), draft, key)
        except DraftGone as error:
            return str(error)
        return "sent"

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(send, ("one", "two")))
    assert told == ["ana was first, and has sent this draft.", "sent"]
    assert len(sent(scene)) == 1


def test_of_a_sender_and_one_who_discards_at_once_one_succeeds(scene, draft) -> None:
    together = Barrier(2)

    def after_the_other(deed) -> bool:
        together.wait()
        try:
            deed()
        except DraftGone:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(
                after_the_other,
                (
                    lambda: drafts.send(scene.rt, Asked("ana"), draft, "At eight?"),
                    lambda: drafts.discard(scene.rt, "ana", draft),
                ),
            )
        )
    assert sorted(done) == [False, True]
    assert len(sent(scene)) == done[0]
    assert len(deeds(scene)) == 1


def test_a_repeated_request_gets_the_same_answer(scene, draft) -> None:
    first, second = (drafts.send(scene.rt, Asked("ana", "k", "d"), draft, "At eight?") for _ in range(2))
    assert first == second
    assert sent(scene) == ["At eight?"]


def test_it_is_discarded_with_a_row_in_the_audit(scene, draft) -> None:
    drafts.discard(scene.rt, "ana", draft)
    assert deeds(scene) == [("dismiss", f"draft {draft}")]
    assert scene.got(ANN)[1:] == []


def test_while_another_operator_has_the_conversation_it_stays(scene, draft) -> None:
    for deed in (
        lambda: drafts.send(scene.rt, Asked("ben"), draft, "x"),
        lambda: drafts.discard(scene.rt, "ben", draft),
    ):
        with pytest.raises(HeldBy):
            deed()
    assert deeds(scene) == []


def test_nothing_is_sent_to_somebody_who_has_opted_out(scene, draft) -> None:
    scene.text("STOP")
    with pytest.raises((OptedOut, DraftGone)):
        drafts.send(scene.rt, Asked("ana"), draft, "x")
    assert sent(scene) == []
