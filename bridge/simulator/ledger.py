"""The ledger of all events at both providers, in order. Only it decides whether the bridge is correct.

It is append-only and thread-safe. ``verdict`` interprets it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

from bridge.simulator.changes import Changes


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event at the time ``at``, in seconds since 1970."""

    kind: ClassVar[str] = "event"
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Text(Event):
    """A person texted one of the numbers."""

    kind: ClassVar[str] = "text"
    sid: str
    phone: str
    number: str
    body: str
    media: int = 0
    keyword: str | None = None
    """``STOP``, ``START`` or ``HELP``. The carrier answered it itself, and may have blocked or unblocked the person."""
    id: str | None = None
    """The runner's own id of it."""
    received_as: str | None = None
    """The content that the agent must receive, if it is not the body. Empty: the agent must receive nothing."""

    @property
    def words(self) -> str:
        """Return the content for the agent."""
        return (self.body if self.received_as is None else self.received_as).strip()


@dataclass(frozen=True, kw_only=True)
class Webhook(Event):
    """The end of an announcement to the bridge. Not ``ok``: the carrier will not announce the text again."""

    kind: ClassVar[str] = "webhook"
    sid: str
    phone: str
    ok: bool
    status: int | None = None
    attempts: int = 1
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Received(Event):
    """The agent received a completion, whether or not the bridge learned of it."""

    kind: ClassVar[str] = "received"
    chat: str
    phone: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Poisoned(Event):
    """A completion failed because of its own words, and the agent did not receive it. It fails each time."""

    kind: ClassVar[str] = "poisoned"
    chat: str
    phone: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Replied(Event):
    """The agent produced one message for the person."""

    kind: ClassVar[str] = "replied"
    chat: str
    phone: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Greeted(Event):
    """A new chat opened with the agent's greeting. The bridge may send it, but need not."""

    kind: ClassVar[str] = "greeted"
    chat: str
    phone: str
    content: str


@dataclass(frozen=True, kw_only=True)
class ClosingWords(Event):
    """A silent chat closed with the agent's ``auto_close_message``. The bridge may send it, but need not."""

    kind: ClassVar[str] = "closing_words"
    chat: str
    phone: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Sent(Event):
    """The carrier accepted one text for a phone."""

    kind: ClassVar[str] = "sent"
    sid: str
    to: str
    sender: str
    body: str
    arrives_as: str = ""
    """The text on the phone, if it is not what was sent."""

    @property
    def phone(self) -> str:
        return self.to


@dataclass(frozen=True, kw_only=True)
class Refused(Event):
    """The carrier refused a text because of the person or a played fault. ``at`` is the time of the call."""

    kind: ClassVar[str] = "refused"
    phone: str
    sender: str
    body: str
    code: int


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """A text that the carrier had accepted will never arrive. ``status``: ``failed`` or ``undelivered``."""

    kind: ClassVar[str] = "failed"
    sid: str
    phone: str
    status: str
    code: int


@dataclass(frozen=True, kw_only=True)
class CarrierReply(Event):
    """The carrier itself answered a keyword such as STOP."""

    kind: ClassVar[str] = "carrier_reply"
    sid: str
    phone: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Outside(Event):
    """Somebody texted the person from one of our numbers with another tool. The bridge was not asked."""

    kind: ClassVar[str] = "outside"
    sid: str
    phone: str
    number: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Callback(Event):
    """One status callback with its outcome."""

    kind: ClassVar[str] = "callback"
    sid: str
    phone: str
    status: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ChatOpened(Event):
    """A chat was opened. The agent's pre-session tools run each time."""

    kind: ClassVar[str] = "chat_opened"
    chat: str
    phone: str
    turn: str = ""
    """The turn for which the bridge has opened it, by the metadata."""


@dataclass(frozen=True, kw_only=True)
class ChatClosed(Event):
    kind: ClassVar[str] = "chat_closed"
    chat: str
    phone: str
    why: str


@dataclass(frozen=True, kw_only=True)
class HandedOver(Event):
    """A human at the agent's provider got the chat."""

    kind: ClassVar[str] = "handed_over"
    chat: str
    phone: str


@dataclass(frozen=True, kw_only=True)
class HandedBack(Event):
    """The human gave the chat back to the agent."""

    kind: ClassVar[str] = "handed_back"
    chat: str
    phone: str


@dataclass(frozen=True, kw_only=True)
class ContactRead(Event):
    """The contact of a number was read."""

    kind: ClassVar[str] = "contact_read"
    phone: str


@dataclass(frozen=True, kw_only=True)
class ContactChanged(Event):
    """A contact was told whether the person wants calls."""

    kind: ClassVar[str] = "contact_changed"
    phone: str
    do_not_call: bool


@dataclass(frozen=True, kw_only=True)
class TeamTold(Event):
    """The business was told that this person waits for somebody of the team."""

    kind: ClassVar[str] = "team_told"
    phone: str
    reason: str
    url: str


@dataclass(frozen=True, kw_only=True)
class FaultStruck(Event):
    """A fault of the table was played."""

    kind: ClassVar[str] = "fault"
    name: str
    call: str


@dataclass(frozen=True, kw_only=True)
class Wrong(Event):
    """The bridge did something that it must not do."""

    kind: ClassVar[str] = "wrong"
    name: str
    phone: str = ""
    detail: str = ""


KINDS: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        Text,
        Webhook,
        Received,
        Replied,
        Greeted,
        ClosingWords,
        Sent,
        Refused,
        Failed,
        CarrierReply,
        Outside,
        Callback,
        ChatOpened,
        ChatClosed,
        HandedOver,
        HandedBack,
        ContactRead,
        ContactChanged,
        TeamTold,
        FaultStruck,
        Poisoned,
        Wrong,
    )
}

E = TypeVar("E", bound=Event)


class Ledger:
    """All events in order. Readers get copies, so they never block the writers."""

    def __init__(self, changes: Changes | None = None) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._by_kind: dict[type[Event], list[Event]] = defaultdict(list)
        self._by_phone: dict[str, list[Event]] = defaultdict(list)
        self.changes = changes or Changes()

    def write(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self._by_kind[type(event)].append(event)
            if phone := getattr(event, "phone", ""):
                self._by_phone[phone].append(event)
        self.changes.bump()

    def of(self, kind: type[E]) -> list[E]:
        """Return all events of one kind, in order."""
        with self._lock:
            return [event for event in self._by_kind[kind] if isinstance(event, kind)]

    def about(self, phone: str) -> list[Event]:
        """Return all events of one person, in order."""
        with self._lock:
            return list(self._by_phone.get(phone, ()))

    def people(self) -> list[str]:
        """Return every phone in the ledger, in the order of appearance."""
        with self._lock:
            return list(self._by_phone)

    def count(self, kind: type[Event]) -> int:
        with self._lock:
            return len(self._by_kind[kind])

    def latest(self, n: int) -> list[Event]:
        """Return the newest ``n`` events, the oldest of them first."""
        with self._lock:
            return self._events[-n:]

    def export(self, since: int = 0) -> list[dict[str, Any]]:
        """Return plain dicts, from position ``since`` on."""
        with self._lock:
            events = self._events[since:]
        return [plain(event) for event in events]

    @classmethod
    def load(cls, exported: Iterable[dict[str, Any]]) -> Ledger:
        """Load a ledger that :meth:`export` wrote."""
        ledger = cls()
        for row in exported:
            fields = dict(row)
            ledger.write(KINDS[fields.pop("kind")](**fields))
        return ledger


def plain(event: Event) -> dict[str, Any]:
    return {"kind": event.kind, **asdict(event)}
