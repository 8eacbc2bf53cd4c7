"""The tools that the agent has called are kept in the row of the turn, whatever way the turn ends. None goes out."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from bridge.chats.steps import RecordedStep, StepKind, read
from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Holder, Message, MessageStatus, Turn, TurnStatus
from bridge.operators import retry
from bridge.providers.agents.contract import Item, Speaker, Step, ToolCall, ToolResult, Transition
from bridge.providers.errors import OutcomeUnknown
from bridge.turns.reconcile import NO_ANSWER_AFTER
from tests.scene import Scene

BOOK = "book a table"
DID: tuple[Step, ...] = (
    Transition("welcome", "booking"),
    ToolCall("find table", '{"day": "Fri"}', "c1"),
    ToolResult("c1", '{"secret": "ü 👋"}', True),
)
MOVED = RecordedStep(StepKind.TRANSITION, "booking", origin="welcome")
FOUND = RecordedStep(StepKind.TOOL_CALL, "find table", None, '{"day": "Fri"}', 0, '{"secret": "ü 👋"}', 0, True)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, silent_turns=3)
    scene.agent.uses_tools_on = {BOOK: DID}
    return scene


def stored(scene: Scene) -> list[Any]:
    """What each turn's row has, in order."""
    with scene.sessions() as session:
        return list(session.scalars(select(Turn.steps).order_by(Turn.id)))


def steps(scene: Scene) -> tuple[RecordedStep, ...]:
    [row] = stored(scene)
    return read(row).steps


def cut(scene: Scene) -> None:
    """The next request is received, and its answer is lost."""
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)


def test_a_turn_keeps_the_tools_that_its_answer_has_used(scene: Scene) -> None:
    scene.text(BOOK)
    scene.work_until_idle()
    assert steps(scene) == (MOVED, FOUND)


def test_a_turn_alone_keeps_them_too(scene: Scene) -> None:
    scene.rt = scene.alone
    scene.text(BOOK)
    scene.work_until_idle()
    assert steps(scene) == (MOVED, FOUND)


def test_turns_of_one_batch_keep_their_own(scene: Scene) -> None:
    people = [f"+1555123{n:04}" for n in range(4)]
    for n, phone in enumerate(people):
        scene.text(BOOK if n % 2 else "hello", phone)
    scene.work_until_idle()
    assert [len(read(row).steps) for row in stored(scene)] == [0, 2, 0, 2]
    assert stored(scene)[0] is None


def test_no_word_of_them_is_sent(scene: Scene) -> None:
    scene.text(BOOK)
    scene.work_until_idle()
    assert scene.got() == [f"You said: {BOOK}"]
    assert not [row.body for row in scene.rows(Message) if "secret" in row.body or "find table" in row.body]


def test_an_answer_that_is_found_in_the_chat_has_them(scene: Scene) -> None:
    cut(scene)
    scene.text(BOOK)
    scene.work_until_idle()
    assert [call for call, _ in scene.agent.calls].count("complete") == 1
    assert scene.got() == [f"You said: {BOOK}"]
    assert steps(scene) == (MOVED, FOUND)


def test_an_agent_that_only_uses_tools_is_no_riddle(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.text(BOOK)
    scene.work_until_idle()
    assert scene.got() == []
    assert steps(scene) == (MOVED, FOUND)


def test_a_chat_that_ends_with_the_answer_leaves_them(scene: Scene) -> None:
    scene.agent.hangs_up_on = {BOOK}
    scene.text(BOOK)
    scene.work_until_idle()
    assert steps(scene) == (MOVED, FOUND)


def test_a_draft_has_them_for_a_person_who_has_taken_over_meanwhile(scene: Scene) -> None:
    def take_over() -> None:
        taken = update(Conversation).values(holder=Holder.PERSON, holder_name="ana", holder_since=scene.clock())
        scene.change(taken)

    scene.text("hello")
    scene.work_until_idle()
    scene.agent.in_next_call(take_over)
    scene.text(BOOK)
    scene.work_until_idle()
    assert scene.rows(Message)[-1].status is MessageStatus.DRAFT
    assert read(stored(scene)[1]).steps == (MOVED, FOUND)


def test_a_turn_that_is_given_up_after_a_tool_has_run_tells_of_it(scene: Scene) -> None:
    """The person has no answer, and the table may be booked."""
    scene.agent.thinks = True
    scene.text(BOOK)
    scene.work()
    scene.agent.chats["chat_1"].items += [Item(Speaker.OTHER, id=f"x{n}", steps=(step,)) for n, step in enumerate(DID)]
    scene.work(seconds=NO_ANSWER_AFTER.total_seconds() + 60)
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.GIVEN_UP]
    assert steps(scene) == (MOVED, FOUND)


@pytest.mark.parametrize("alone", [False, True], ids=["together", "alone"])
def test_a_later_answer_without_tools_does_not_hide_that_they_have_run(scene: Scene, alone: bool) -> None:
    test_a_turn_that_is_given_up_after_a_tool_has_run_tells_of_it(scene)
    scene.rt = scene.alone if alone else scene.rt
    scene.agent.thinks, scene.agent.uses_tools_on = False, {}
    retry.retry_turn(scene.rt, "ana", 1)
    scene.work_until_idle()
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert steps(scene) == (MOVED, FOUND)
