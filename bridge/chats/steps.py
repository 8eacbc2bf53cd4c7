"""What the agent has done in a turn beside writing, as the turn's row has it: calls of tools, and moves in its flow.

Only operators see it. A tool may return megabytes, so each text and the whole are cut, and the record tells how much of
it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from bridge.db.sealing import why_unreadable
from bridge.providers.agents.contract import Item, Step, ToolCall, ToolResult, Transition

MOST = 30
"""Steps of a turn."""
LONGEST_NAME = 120
LONGEST_ARGUMENTS = 2_000
LONGEST_RESULT = 4_000
LONGEST_TURN = 16_000
"""Characters of all arguments and results of a turn."""


class StepKind(StrEnum):
    TOOL_CALL = "tool_call"
    TRANSITION = "transition"


@dataclass(frozen=True)
class RecordedStep:
    """One call of a tool with its result, or one move in the agent's flow."""

    kind: StepKind
    name: str
    """The tool. Of a transition: where the agent goes on."""
    origin: str | None = None
    """Of a transition: where the agent was."""
    arguments: str | None = field(default=None, repr=False)
    arguments_cut: int = 0
    """How many characters are not stored."""
    result: str | None = field(default=None, repr=False)
    """``None``: the provider shows none."""
    result_cut: int = 0
    successful: bool | None = None
    """``None``: the provider does not tell."""


@dataclass(frozen=True)
class TurnSteps:
    """The steps of a turn, in order."""

    steps: tuple[RecordedStep, ...] = ()
    left_out: int = 0
    """How many more there were."""


class _Budget:
    """The characters that the record may still have."""

    def __init__(self) -> None:
        self._left = LONGEST_TURN

    def cut(self, text: str, most: int) -> tuple[str, int]:
        """Return what is kept of a text, and how many characters are not."""
        kept = text[: min(most, self._left)]
        self._left -= len(kept)
        return kept, len(text) - len(kept)


def record(items: Sequence[Item]) -> dict[str, Any] | None:
    """Return what the turn's row keeps of an answer. ``None``: the agent has only written, as in most turns."""
    steps = [step for item in items for step in item.steps]
    if not steps:
        return None
    pairs, budget = _with_results(steps), _Budget()
    kept = [asdict(_recorded(step, result, budget)) for step, result in pairs[:MOST]]
    return {"steps": kept, "left_out": len(pairs) - len(kept)} if kept else None


def read(stored: Mapping[str, Any] | None) -> TurnSteps:
    """Return what :func:`record` has made.

    During an update the next release may write it: what this one does not know is ignored, and counted if it is a
    whole step.
    """
    if stored is None:
        return TurnSteps()
    if why := why_unreadable(stored):
        return TurnSteps((RecordedStep(StepKind.TOOL_CALL, why),))
    steps = [step for each in stored["steps"] if (step := _step(each))]
    return TurnSteps(tuple(steps), stored["left_out"] + len(stored["steps"]) - len(steps))


_KNOWN = frozenset(each.name for each in fields(RecordedStep))
_KINDS = frozenset(StepKind)


def _step(stored: Mapping[str, Any]) -> RecordedStep | None:
    """Return the step; ``None`` if its kind is unknown."""
    if stored["kind"] not in _KINDS:
        return None
    known = {name: value for name, value in stored.items() if name in _KNOWN}
    return RecordedStep(**{**known, "kind": StepKind(stored["kind"])})


def _with_results(steps: Sequence[Step]) -> list[tuple[ToolCall | Transition, ToolResult | None]]:
    """Give each result to its call: the last one of that id which has none yet. A result of no call is left out."""
    calls: list[ToolCall | Transition] = []
    results: dict[int, ToolResult] = {}
    open_calls: dict[str | None, list[int]] = {}
    for step in steps:
        if not isinstance(step, ToolResult):
            if isinstance(step, ToolCall):
                open_calls.setdefault(step.id, []).append(len(calls))
            calls.append(step)
        elif waiting := open_calls.get(step.call_id):
            results[waiting.pop()] = step
    return [(call, results.get(n)) for n, call in enumerate(calls)]


def _recorded(step: ToolCall | Transition, result: ToolResult | None, budget: _Budget) -> RecordedStep:
    if isinstance(step, Transition):
        return RecordedStep(StepKind.TRANSITION, step.target[:LONGEST_NAME], step.origin[:LONGEST_NAME] or None)
    arguments, arguments_cut = budget.cut(step.arguments, LONGEST_ARGUMENTS)
    content, result_cut = budget.cut(result.content, LONGEST_RESULT) if result else (None, 0)
    return RecordedStep(
        kind=StepKind.TOOL_CALL,
        name=step.name[:LONGEST_NAME],
        arguments=arguments,
        arguments_cut=arguments_cut,
        result=content,
        result_cut=result_cut,
        successful=result.successful if result else None,
    )
