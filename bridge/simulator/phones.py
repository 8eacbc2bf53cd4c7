"""The people and their phones: who texts, and what each of them sees on the screen.

A screen is read from the ledger: what its owner wrote, with how far it got, and what came in.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bridge.simulator.carrier import Carrier
from bridge.simulator.carrier import Text as Carried
from bridge.simulator.changes import Changes
from bridge.simulator.ledger import CarrierReply, Event, Heard, Ledger, Sent, Text, Webhook
from bridge.simulator.settings import SimulatorSettings

Announce = Callable[[Carried, str | None], None]

_FIRST_PHONE = 15551230001
_NAMES = ("Ana", "Ben", "Chloe", "Dev", "Elif", "Finn", "Grace", "Hugo", "Iris", "Jonas", "Kaya", "Liam")
_KEYWORD_REPLIES = {
    "STOP": "You have successfully been unsubscribed. You will not receive any more messages from this number. "
    "Reply START to resubscribe.",
    "START": "You have successfully been re-subscribed to messages from this number. Reply HELP for help. "
    "Reply STOP to unsubscribe.",
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}


class Progress(StrEnum):
    """How far a text of the person has got."""

    SENDING = "sending"
    TAKEN = "taken"
    """The bridge said that it has it."""
    HEARD = "heard"
    """The agent heard it."""
    FAILED = "failed"
    """The bridge did not take it, and the carrier will not offer it again."""


@dataclass
class Bubble:
    """One text on a screen. ``progress`` is empty for what came in."""

    sid: str
    mine: bool
    body: str
    at: float
    media: int = 0
    progress: Progress | None = None
    detail: str = ""


class Phones:
    """Everybody's phone."""

    def __init__(
        self, settings: SimulatorSettings, carrier: Carrier, ledger: Ledger, changes: Changes, announce: Announce
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._ledger = ledger
        self._changes = changes
        self._announce = announce
        self._lock = threading.Lock()
        self._people: dict[str, str] = {}
        self.new()

    def text(self, phone: str, body: str, media: int = 0, to: str | None = None, id: str | None = None) -> str:
        """The owner of ``phone`` texts one of our numbers; returns the text's sid at once."""
        number = to or self._settings.number
        if number not in self._carrier.numbers:
            raise ValueError(f"{number} is none of {', '.join(self._carrier.numbers)}")
        self._meet(phone)
        keyword = self._carrier.keyword(phone, number, body)
        pictures = tuple("ME" + uuid.uuid4().hex for _ in range(media))
        with self._lock:  # the order of the ledger is the order of the webhooks
            carried = self._carrier.keep("inbound", phone, number, body, status="received", media=pictures)
            at = carried.created.timestamp()
            self._ledger.write(
                Text(at=at, sid=carried.sid, phone=phone, number=number, body=body, media=media, keyword=keyword, id=id)
            )
            self._announce(carried, keyword)
        if keyword:
            self._answer_keyword(phone, number, _KEYWORD_REPLIES[keyword])
        return carried.sid

    def inbox(self, phone: str) -> list[str]:
        """The texts that this phone has received, in order."""
        return [event.body for event in self._ledger.about(phone) if isinstance(event, Sent | CarrierReply)]

    def screen(self, phone: str) -> list[Bubble]:
        """Everything on this phone, in order."""
        bubbles: dict[str, Bubble] = {}
        for event in self._ledger.about(phone):
            _draw(bubbles, event)
        return list(bubbles.values())

    def people(self) -> dict[str, str]:
        """Phones and their owners' names, in the order in which they turned up."""
        for phone in self._ledger.people():
            self._meet(phone)
        with self._lock:
            return dict(self._people)

    def new(self) -> str:
        """A phone that nobody has yet."""
        with self._lock:
            phone = next(p for n in range(len(self._people) + 1) if (p := f"+{_FIRST_PHONE + n}") not in self._people)
        self._meet(phone)
        self._changes.bump()
        return phone

    def _meet(self, phone: str) -> None:
        with self._lock:
            if phone not in self._people:
                n = len(self._people)
                self._people[phone] = _NAMES[n] if n < len(_NAMES) else f"Person {n + 1}"

    def _answer_keyword(self, phone: str, number: str, body: str) -> None:
        carried = self._carrier.keep("outbound-reply", number, phone, body, status="delivered")
        at = carried.created.timestamp()
        self._ledger.write(CarrierReply(at=at, sid=carried.sid, phone=phone, body=body))


def _draw(bubbles: dict[str, Bubble], event: Event) -> None:
    """What the event changes on the screen."""
    match event:
        case Text():
            bubbles[event.sid] = Bubble(event.sid, True, event.body, event.at, event.media, Progress.SENDING)
        case Webhook():
            _progress(bubbles[event.sid], Progress.TAKEN if event.ok else Progress.FAILED, event.detail)
        case Heard():
            _tick_heard(bubbles, event.content)
        case Sent() | CarrierReply():
            bubbles[event.sid] = Bubble(event.sid, False, event.body, event.at)


def _progress(bubble: Bubble, progress: Progress, detail: str) -> None:
    if bubble.progress not in {Progress.HEARD, Progress.TAKEN}:  # of two announcements one good one is enough
        bubble.progress, bubble.detail = progress, "" if progress is Progress.TAKEN else detail


def _tick_heard(bubbles: dict[str, Bubble], content: str) -> None:
    for bubble in bubbles.values():
        body = bubble.body.strip()
        if bubble.mine and body and f"\n{body}\n" in f"\n{content}\n":
            bubble.progress, bubble.detail = Progress.HEARD, ""
