"""The reader of a chat's transcript after a call with an unknown outcome: did the agent receive the turn?

The functions are pure: a chat and a bookmark go in, a finding comes out. The bookmark was stored before the call. It
counts the person's messages in the chat, because every turn adds exactly one. It also names the newest item if the
provider gives ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.providers.agents.contract import Item, Speaker


@dataclass(frozen=True)
class Bookmark:
    """The position in a chat before a turn was sent to it."""

    user_items: int = 0
    last_item_id: str | None = None


@dataclass(frozen=True)
class Finding:
    """The state of one turn in the transcript."""

    received: bool | None
    """``None``: the provider does not show enough of the chat to tell."""
    answer: tuple[Item, ...] = ()
    """The items after the turn, up to the person's next message."""

    @property
    def replied(self) -> bool:
        """Return True if the agent has sent a message."""
        return any(i.speaker is Speaker.AGENT for i in self.answer)

    @property
    def answered(self) -> bool:
        """Return True if the agent has replied and no tool call is pending."""
        return self.replied and not any(i.pending for i in self.answer)

    @property
    def hung_up(self) -> bool:
        """Return True if the agent has ended the chat. That is an answer too."""
        return any(i.ends_chat for i in self.answer)


HIDDEN = Finding(received=None)
NOT_RECEIVED = Finding(received=False)


def find_turn(items: Sequence[Item] | None, before: Bookmark, content: str = "") -> Finding:
    """Find the turn that was sent after the bookmark, and its answer.

    The position decides. The words only decide if another client wrote in this chat as well.
    """
    items = items or ()
    start = _start(items, before)
    if start is None:
        return HIDDEN
    sent = [n for n, item in enumerate(items) if item.speaker is Speaker.USER][before.user_items :]
    sent = [n for n in sent if n >= start]
    if not sent:
        return NOT_RECEIVED
    ours = next((n for n in sent if items[n].content == content), sent[0])
    rest = items[ours + 1 :]
    until = next((n for n, item in enumerate(rest) if item.speaker is Speaker.USER), len(rest))
    return Finding(received=True, answer=tuple(rest[:until]))


def bookmark(items: Sequence[Item]) -> Bookmark:
    """Return the position at the end of a chat that shows all its items."""
    ids = [item.id for item in items if item.id]
    return Bookmark(sum(item.speaker is Speaker.USER for item in items), ids[-1] if ids else None)


def advance(before: Bookmark, answer: Sequence[Item]) -> Bookmark:
    """Return the position after one more message and this answer to it."""
    ids = [item.id for item in answer if item.id]
    return Bookmark(before.user_items + 1, ids[-1] if ids else before.last_item_id)


def _start(items: Sequence[Item], before: Bookmark) -> int | None:
    """Return the index of the first new item, or ``None`` if the chat hides a part of the earlier items."""
    if sum(item.speaker is Speaker.USER for item in items) < before.user_items:
        return None
    if before.last_item_id is None:
        return 0
    known = [n for n, item in enumerate(items) if item.id == before.last_item_id]
    return known[-1] + 1 if known else None
