"""The reader of a chat's transcript after a call with an unknown outcome: did the agent receive the turn?

The functions are pure: a chat and a bookmark go in, a finding comes out. The bookmark was stored before the call. It
counts the person's messages in the chat, because every turn adds exactly one. It also names the newest item: by its id,
or by its words (a mark) if the provider gives no ids. Such a provider may show only the end of a long chat, and then
the count alone would mislead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bridge.providers.agents.contract import Item, Speaker


@dataclass(frozen=True)
class Bookmark:
    """The position in a chat before a turn was sent to it."""

    user_items: int = 0
    last_item_id: str | None = None
    """The provider's id of the newest item. If it gives no ids, the mark of the person's newest message."""


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
        """Return True if the agent has replied or handed the chat over, and no tool call is pending."""
        return (self.replied or self.handed_over) and not any(i.pending for i in self.answer)

    @property
    def handed_over(self) -> bool:
        """Return True if the agent has handed the chat to a human. They may have given it back since."""
        return any(i.escalates for i in self.answer)

    @property
    def hung_up(self) -> bool:
        """Return True if the agent has ended the chat. That is an answer too."""
        return any(i.ends_chat for i in self.answer)


HIDDEN = Finding(received=None)
NOT_RECEIVED = Finding(received=False)

_MARK = re.compile(r"#(?P<all>[0-9a-f]{16})(?P<user>[0-9a-f]{16})(?P<agent>[0-9a-f]{16})?")
"""Digests of all the person's messages, of the last one, and of the first reply to that one if there was one."""


def find_turn(items: Sequence[Item] | None, before: Bookmark, content: str = "") -> Finding:
    """Find the turn that was sent after the bookmark, and its answer.

    The position decides. The words only decide if another client wrote in this chat as well.
    """
    items = items or ()
    start = _start(items, before)
    if start is None:
        return HIDDEN
    counted = 0 if _mark_of(before) else before.user_items
    sent = [n for n in _users(items)[counted:] if n >= start]
    if not sent:
        return NOT_RECEIVED
    ours = next((n for n in sent if items[n].content == content), sent[0])
    rest = items[ours + 1 :]
    until = next((n for n, item in enumerate(rest) if item.speaker is Speaker.USER), len(rest))
    return Finding(received=True, answer=tuple(rest[:until]))


def bookmark(items: Sequence[Item]) -> Bookmark:
    """Return the position at the end of a chat that shows all its items."""
    ids = [item.id for item in items if item.id]
    users = _users(items)
    if ids or not users:
        return Bookmark(len(users), ids[-1] if ids else None)
    return Bookmark(len(users), _mark(_digest_of_all(items[n].content for n in users), items[users[-1] :]))


def advance(before: Bookmark, answer: Sequence[Item], content: str = "") -> Bookmark:
    """Return the position after one more message, ``content``, and this answer to it."""
    ids = [item.id for item in answer if item.id]
    mark = _mark_of(before)
    if ids or (before.last_item_id and not mark):  # the provider has ids, and perhaps gave no item
        return Bookmark(before.user_items + 1, ids[-1] if ids else before.last_item_id)
    if not content:
        return Bookmark(before.user_items + 1)
    together = _digest_of_all([content], mark["all"] if mark else "")
    return Bookmark(before.user_items + 1, _mark(together, [Item(Speaker.USER, content), *answer]))


def unsent(items: Sequence[Item], before: Bookmark) -> list[str]:
    """Return what the agent wrote after the bookmark by itself, and not in answer to a new message of the person.

    Without ids nothing is returned, because a second message of the last answer could not be told from them.
    """
    if before.last_item_id is None or _mark_of(before):
        return []
    start = _start(items, before)
    new = () if start is None else items[start:]
    if any(item.speaker is Speaker.USER or not item.id for item in new):
        return []
    return [item.content for item in new if item.speaker is Speaker.AGENT]


def handoff(items: Sequence[Item]) -> str | None:
    """Return what the person must still read about the human who has the chat now. Empty: no message has it.

    ``None``: the agent has told it in messages of its own. ``items``: the last answer. Messages before the handoff are
    about something else.
    """
    handed = [n for n, item in enumerate(items) if item.escalates]
    if not handed:
        return ""
    message = next((item.handoff for item in reversed(items) if item.handoff), "")
    if message:
        replied = [_one_blank(item.content) for item in items if item.speaker is Speaker.AGENT]
        return None if any(_one_blank(message) in words for words in replied) else message
    return None if any(item.speaker is Speaker.AGENT for item in items[handed[-1] :]) else ""


def unread_handoff(items: Sequence[Item] | None, before: Bookmark) -> str | None:
    """Do the same for a chat that a human has, and whose items after the bookmark came in no answer."""
    items = items or ()
    new = unsent(items, before)
    last_answer = items[_users(items)[-1] + 1 :] if _users(items) else items
    told = handoff(last_answer)
    return "\n".join([*new, *([told] if told else [])]) if new else told


def at_the_end(items: Sequence[Item] | None, before: Bookmark) -> Bookmark:
    """Return the position at the end of the chat, or the one from before if the chat hides a part."""
    if items is None or _start(items, before) is None:
        return before
    end = bookmark(items)
    return end if end.user_items >= before.user_items else before


def _start(items: Sequence[Item], before: Bookmark) -> int | None:
    """Return the index of the first new item, or ``None`` if the chat hides a part of the earlier items."""
    if mark := _mark_of(before):
        return _start_by_mark(items, before.user_items, mark)
    if len(_users(items)) < before.user_items:
        return None
    if before.last_item_id is None:
        return 0
    known = [n for n, item in enumerate(items) if item.id == before.last_item_id]
    return known[-1] + 1 if known else None


def _start_by_mark(items: Sequence[Item], user_items: int, mark: re.Match[str]) -> int | None:
    """Return the index behind the marked message, or ``None`` if it can't be told from others.

    A chat that shows all the counted messages has the marked one at the counted position. Else the chat shows only its
    end: then the only message that fits counts. A single message may be the marked one, or a newer one that is equal.
    """
    users = _users(items)
    counted = users[:user_items]
    fit = [n for n in users if _fits(items[n:], mark)]
    if counted and counted[-1] in fit and _digest_of_all(items[n].content for n in counted) == mark["all"]:
        return counted[-1] + 1
    if len(users) < 2:
        return None
    same = [n for n in users if _digest(items[n].content) == mark["user"]]
    if not fit and len(counted) == user_items and same == counted[-1:]:  # its reply is shown in other words
        return same[0] + 1
    return fit[0] + 1 if len(fit) == 1 else None


def _users(items: Sequence[Item]) -> list[int]:
    return [n for n, item in enumerate(items) if item.speaker is Speaker.USER]


def _mark_of(before: Bookmark) -> re.Match[str] | None:
    return _MARK.fullmatch(before.last_item_id or "")


def _mark(together: str, turn: Sequence[Item]) -> str:
    """Return the mark of a person's message, the first item, and of the first reply to it."""
    return "#" + together + "".join(map(_digest, _words(turn)))


def _fits(turn: Sequence[Item], mark: re.Match[str]) -> bool:
    """Return whether the first item is the marked message. A reply may have come after the mark was made."""
    user, *agent = map(_digest, _words(turn))
    return user == mark["user"] and mark["agent"] in (None, *agent)


def _words(turn: Sequence[Item]) -> Iterator[str]:
    yield turn[0].content
    for item in turn[1:]:
        if item.speaker is Speaker.USER:
            return
        if item.speaker is Speaker.AGENT:
            yield item.content
            return


def _digest_of_all(messages: Iterable[str], before: str = "") -> str:
    """Return the digest of a row of messages. ``before``: that of the messages before them."""
    for words in messages:
        before = _digest(f"{before} {_digest(words)}")
    return before


def _digest(words: str) -> str:
    """Return the same digits for the same words, whatever the blanks between them."""
    return sha256(_one_blank(words).encode()).hexdigest()[:16]


def _one_blank(words: str) -> str:
    return " ".join(words.split())
