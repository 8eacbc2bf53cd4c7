"""A turn of the agent may take minutes. A tool waits for it within bounds, reports progress, and returns a handle."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import anyio

from bridge.mcp.answers import LAST, AgentAnswer, AgentText, Turn
from bridge.mcp.api import Api
from bridge.mcp.problems import ToolError

Report = Callable[[float, str], Awaitable[None]]
"""Tell the client how long it has been, in seconds, and what is going on."""

PAUSES = (0.2, 0.3, 0.5, 1.0)
"""Seconds between two questions; then the last one again and again."""

GO_ON = "The agent is not done. Call get_answer with turn_id {}."
NOT_READ = "It is queued as turn {}, but its answer can't be read now: {} Then call get_answer with this turn_id."
GIVEN_UP = "It was given up. Read `error`; then retry_failure with kind turn and id {} asks the agent again."
CANCELED = "It was canceled: the person has opted out, or the conversation has another holder now."
NOTHING = "The agent has written nothing."
DRAFT = "The answer is kept as a draft, and nothing was sent to the person. send_text sends words of your own."
SENT = "The answer goes to the person as a text. get_conversation shows its delivery."


async def until_done(api: Api, turn_id: int, seconds: int, report: Report) -> AgentAnswer:
    """Wait for the end of the turn, at most so long. Raise :class:`ToolError` if it can't be read."""
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
    """Do the same for a turn that has just been queued. Its handle is not lost if it can't be read."""
    try:
        return await until_done(api, turn_id, seconds, report)
    except ToolError as error:
        words = NOT_READ.format(turn_id, error)
        return AgentAnswer(turn_id=turn_id, status="queued", done=False, messages=[], error=None, next_step=words)


def _shown(turn: Turn) -> AgentAnswer:
    return AgentAnswer(
        turn_id=turn.id,
        status=turn.status,
        done=turn.status in LAST,
        messages=turn.messages,
        error=turn.error,
        next_step=_next_step(turn),
    )


def _next_step(turn: Turn) -> str:
    if turn.status == "answered":
        return _of_answer(turn.messages)
    return {"given_up": GIVEN_UP, "canceled": CANCELED}.get(turn.status, GO_ON).format(turn.id)


def _of_answer(messages: list[AgentText]) -> str:
    if not messages:
        return NOTHING
    return DRAFT if any(each.status == "draft" for each in messages) else SENT
