"""The task that asks the agent for a draft."""

from __future__ import annotations

from bridge.operators import draft_requests
from bridge.outbound import outbox
from bridge.outbound.formatting import shape
from bridge.providers.agents.contract import Speaker
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime


def write_draft(rt: Runtime, row_id: int) -> None:
    """Ask once, whatever becomes of it: the agent's tools run each time."""
    begun = draft_requests.begin(rt, row_id)
    if begun is None:
        return
    assert begun.about.route
    try:
        items = rt.agents.of(begun.about.route.provider).draft(begun.about, begun.history)
    except RemoteError as error:
        draft_requests.settle(rt, begun, (), str(error))
        return
    texts = [item.content for item in items if item.speaker is Speaker.AGENT]
    to = outbox.recipient(rt, begun.about.user_number)
    draft_requests.settle(rt, begun, shape.answer(texts, to, join=rt.settings.reply_join).messages)
