"""What is kept of the agent's tools: each result at its call, and never more than a row may hold."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.chats.steps import (
    LONGEST_ARGUMENTS,
    LONGEST_NAME,
    LONGEST_RESULT,
    LONGEST_TURN,
    MOST,
    RecordedStep,
    StepKind,
    TurnSteps,
    read,
    record,
)
from bridge.providers.agents.contract import Item, Speaker, Step, ToolCall, ToolResult, Transition


def kept(*steps: Step) -> TurnSteps:
    """What is read back after it went through JSON, as in the database."""
    stored = record([Item(Speaker.OTHER, steps=(step,)) for step in steps])
    return read(json.loads(json.dumps(stored)))


def results(*steps: Step) -> list[str | None]:
    return [step.result for step in kept(*steps).steps]


def test_nothing_is_kept_of_an_agent_that_only_writes() -> None:
    assert record([Item(Speaker.AGENT, "hello"), Item(Speaker.USER, "hi")]) is None
    assert read(None) == TurnSteps()


def test_a_call_is_kept_with_its_result_and_a_move_with_both_its_ends() -> None:
    assert kept(
        Transition("welcome", "booking"), ToolCall("find table", '{"day": "Fri"}', "c1"), ToolResult("c1", "2", False)
    ) == TurnSteps(
        (
            RecordedStep(StepKind.TRANSITION, "booking", origin="welcome"),
            RecordedStep(StepKind.TOOL_CALL, "find table", None, '{"day": "Fri"}', 0, "2", 0, False),
        )
    )
    assert type(kept(ToolCall("find table")).steps[0].kind) is StepKind


def test_what_a_newer_release_has_written_is_read_as_far_as_it_is_known() -> None:
    call = {"kind": "tool_call", "name": "find table", "took": 3}
    stored = {"steps": [call, {"kind": "thought", "name": "hm"}], "left_out": 2, "version": 2}
    assert read(stored) == TurnSteps((RecordedStep(StepKind.TOOL_CALL, "find table"),), left_out=3)


def test_no_log_shows_what_a_tool_was_told_and_has_returned() -> None:
    found = kept(ToolCall("find table", '{"name": "tangerine"}', "c1"), ToolResult("c1", "mandarin"))
    assert "find table" in repr(found)
    assert not re.search("tangerine|mandarin", repr(found))


ONE, OTHER = ToolCall("a", id="c1"), ToolCall("b", id="c2")
PAIRS: list[tuple[str, tuple[Step, ...], list[str | None]]] = [
    ("at the end", (ONE, OTHER, ToolResult("c2", "2"), ToolResult("c1", "1")), ["1", "2"]),
    ("one has none", (ONE, OTHER, ToolResult("c2", "2")), [None, "2"]),
    ("without ids", (ToolCall("a"), ToolResult(None, "1"), ToolCall("b"), ToolResult(None, "2")), ["1", "2"]),
    ("an id twice", (ONE, ToolResult("c1", "1"), ONE, ToolResult("c1", "2")), ["1", "2"]),
    ("two results", (ONE, ToolResult("c1", "1"), ToolResult("c1", "2")), ["1"]),
    ("of no call", (ToolResult("c9", "9"), ONE), [None]),
    ("a result alone", (ToolResult("c9", "9"),), []),
    ("a move between", (ONE, Transition("x", "y"), ToolResult("c1", "1")), ["1", None]),
]


@pytest.mark.parametrize(("steps", "expected"), [row[1:] for row in PAIRS], ids=[row[0] for row in PAIRS])
def test_a_result_belongs_to_its_call(steps: tuple[Step, ...], expected: list[str | None]) -> None:
    assert results(*steps) == expected


def test_a_huge_result_is_cut_and_the_record_tells_by_how_much() -> None:
    [step] = kept(ToolCall("n" * 500, "a" * 3_000, "c1"), ToolResult("c1", "r" * 1_000_000)).steps
    assert (step.name, step.arguments, step.arguments_cut) == ("n" * LONGEST_NAME, "a" * LONGEST_ARGUMENTS, 1_000)
    assert (step.result, step.result_cut) == ("r" * LONGEST_RESULT, 1_000_000 - LONGEST_RESULT)


def test_of_very_many_steps_the_first_ones_are_kept_and_the_others_are_counted() -> None:
    did = kept(*(ToolCall(str(n), "x" * LONGEST_ARGUMENTS) for n in range(MOST + 7)))
    assert ([step.name for step in did.steps], did.left_out) == ([str(n) for n in range(MOST)], 7)
    assert sum(len(step.arguments or "") for step in did.steps) == LONGEST_TURN
    assert (did.steps[-1].arguments, did.steps[-1].arguments_cut) == ("", LONGEST_ARGUMENTS)


WORDS = st.text(max_size=30) | st.sampled_from(["x" * 5_000, "ü" * 20_000])
IDS = st.sampled_from([None, "c1", "c2"])
STEP = (
    st.builds(ToolCall, WORDS, WORDS, IDS)
    | st.builds(ToolResult, IDS, WORDS, st.none() | st.booleans())
    | st.builds(Transition, WORDS, WORDS)
)


@given(st.lists(STEP, max_size=60))
def test_whatever_an_agent_does_its_record_is_small_and_counts_everything(steps: list[Step]) -> None:
    did = kept(*steps)
    assert len(did.steps) + did.left_out == sum(not isinstance(step, ToolResult) for step in steps)
    assert len(json.dumps([vars(step) for step in did.steps], ensure_ascii=False)) < 50_000
