"""What did the agent hear? Reading a chat after a call whose outcome is not known.

Pure: a chat and a bookmark in, a finding out. The bookmark was stored before the call. It counts the person's messages
that the chat held, because every turn adds exactly one, and names the newest item where the provider names its items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.providers.agents.contract import Item, Speaker


@dataclass(frozen=True)
class Bookmark:
    """Where a chat stood before something was said in it."""

    user_items: int = 0
    last_item_id: str | None = None


@dataclass(frozen=True)
class Finding:
    """What the chat shows of one turn."""

    received: bool | None
    """``None``: the provider does not show enough of the chat to tell."""
    answer: tuple[Item, ...] = ()
    """The items after what was said, up to the person's next message."""

    @property
    def replied(self) -> bool:
        """The agent has said something."""
        return any(i.speaker is Speaker.AGENT for i in self.answer)

    @property
    def answered(self) -> bool:
        """The agent has spoken and is not in the middle of a tool call."""
        return self.replied and not any(i.pending for i in self.answer)

    @property
    def hung_up(self) -> bool:
        """The agent has ended the chat by itself, which is an answer too."""
        return any(i.ends_chat for i in self.answer)


HIDDEN = Finding(received=None)
NOT_RECEIVED = Finding(received=False)


def find_turn(items: Sequence[Item] | None, before: Bookmark, content: str = "") -> Finding:
    """Find what was said after the bookmark, and the answer to it.

    The place decides; the words only where somebody else has spoken in this chat as well.
    """
    items = items or ()
    start = _start(items, before)
    if start is None:
        return HIDDEN
    said = [n for n, item in enumerate(items) if item.speaker is Speaker.USER][before.user_items :]
    said = [n for n in said if n >= start]
    if not said:
        return NOT_RECEIVED
    ours = next((n for n in said if items[n].content == content), said[0])
    rest = items[ours + 1 :]
    until = next((n for n, item in enumerate(rest) if item.speaker is Speaker.USER), len(rest))
    return Finding(received=True, answer=tuple(rest[:until]))


def bookmark(items: Sequence[Item]) -> Bookmark:
    """Where a chat stands that shows all its items."""
    ids = [item.id for item in items if item.id]
    return Bookmark(sum(item.speaker is Speaker.USER for item in items), ids[-1] if ids else None)


def advance(before: Bookmark, answer: Sequence[Item]) -> Bookmark:
    """Where a chat stands after one more message was said and answered so."""
    ids = [item.id for item in answer if item.id]
    return Bookmark(before.user_items + 1, ids[-1] if ids else before.last_item_id)


def _start(items: Sequence[Item], before: Bookmark) -> int | None:
    """Index of the first item that was not there before; ``None`` when a part of what was there is not shown."""
    if sum(item.speaker is Speaker.USER for item in items) < before.user_items:
        return None
    if before.last_item_id is None:
        return 0
    known = [n for n, item in enumerate(items) if item.id == before.last_item_id]
    return known[-1] + 1 if known else None
