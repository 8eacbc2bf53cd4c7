"""A turn of the agent may take minutes. A tool waits for it within bounds, reports progress, and returns a handle."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, repeat

import anyio

from bridge.mcp.api import Api
from bridge.mcp.outputs import LAST, AgentAnswer, AgentText, Turn
from bridge.mcp.problems import ToolError

Report = Callable[[float, str], Awaitable[None]]
"""Tell the client the seconds since the call, and the state of the turn."""

PAUSES = (0.2, 0.3, 0.5, 1, 1, 1, 2)
"""Seconds between two questions; then the last one again and again."""

GO_ON = "The agent is not done. Call get_answer with turn_id {}."
NOT_READ = (
    "It is queued as turn {}: do not send it again. Its answer can't be read now. {} After that, call get_answer with "
    "this turn_id."
)
GIVEN_UP = "It was given up: {}. Repair the cause. Then retry_failure with kind turn and id {} asks the agent again."
CANCELED = (
    "It was canceled: {}. It gets no answer, and can't be tried again. get_conversation shows who has the "
    "conversation, and whether the person has opted out."
)
NOTHING = "The agent has written nothing."
DRAFT = "The answer is kept as a draft, and nothing was sent to the person. send_text sends words of your own."
SENT = "The answer goes to the person as a text. get_conversation shows its delivery."
NOT_SENT = (
    "The agent has answered, but text {} was given up: {}. Repair the cause. Then retry_failure with kind message and "
    "id {} sends it, unless the carrier has it already."
)
OPTED_OUT = (
    "The agent has answered, but text {} was not sent, because the person has opted out. Only they can change that, by "
    "texting START."
)
NOT_DELIVERED = (
    "The agent has answered, but the carrier has not delivered text {}. get_conversation says in its "
    "`unanswered_because` why, and whether the bridge sends it again by itself."
)
NO_CAUSE = "the bridge has recorded no cause"

UNDELIVERED = ("undelivered", "failed", "canceled")
"""The carrier's last words on a text that did not arrive."""


async def until_done(api: Api, turn_id: int, seconds: int, report: Report) -> AgentAnswer:
    """Wait for the end of the turn, at most so many seconds. Raise :class:`ToolError` if it can't be read."""
    began = time.monotonic()
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        turn = await api.read(f"/admin/turns/{turn_id}", Turn)
        waited = time.monotonic() - began
        if turn.status in LAST or waited >= seconds:
            break
        await report(waited, f"turn {turn_id} is {turn.status}, since {waited:.0f} s")
        await anyio.sleep(min(pause, seconds - waited))
    return _shown(turn)


async def with_handle(api: Api, turn_id: int, seconds: int, report: Report) -> AgentAnswer:
    """Wait for a turn that has just been queued. If it can't be read, return its handle all the same."""
    try:
        return await until_done(api, turn_id, seconds, report)
    except ToolError as error:
        words = NOT_READ.format(turn_id, error)
        return AgentAnswer(turn_id=turn_id, status="queued", done=False, messages=[], error=None, next_step=words)


def next_step(turn: Turn) -> str:
    """Return what has happened to the turn, and what the caller does now."""
    why = _cause(turn.error)
    match turn.status:
        case "answered":
            return _of_answer(turn.messages)
        case "given_up":
            return GIVEN_UP.format(why, turn.id)
        case "canceled":
            return CANCELED.format(why)
        case _:
            return GO_ON.format(turn.id)


def _shown(turn: Turn) -> AgentAnswer:
    return AgentAnswer(
        turn_id=turn.id,
        status=turn.status,
        done=turn.status in LAST,
        messages=turn.messages,
        error=turn.error,
        next_step=next_step(turn),
    )


def _of_answer(messages: Sequence[AgentText]) -> str:
    """Return the words for the texts of an answer. The first failure counts."""
    if not messages:
        return NOTHING
    current = [each for each in messages if each.resent_as is None]
    if failed := next(filter(None, map(_failure, current)), None):
        return failed
    return DRAFT if any(each.status == "draft" for each in current) else SENT


def _failure(text: AgentText) -> str | None:
    if text.status == "given_up":
        return NOT_SENT.format(text.id, _cause(text.error), text.id)
    if text.status == "canceled":
        return OPTED_OUT.format(text.id)
    return NOT_DELIVERED.format(text.id) if text.delivery in UNDELIVERED else None


def _cause(words: str | None) -> str:
    """Return the cause as the middle of a sentence."""
    return (words or NO_CAUSE).strip().removesuffix(".")
