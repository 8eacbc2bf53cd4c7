"""The people, their phones, and the content of each screen.

A screen is read from the ledger: the owner's texts with their progress, and the texts to the owner.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.simulator.carrier import Carrier, Envelope
from bridge.simulator.carrier import Text as Carried
from bridge.simulator.changes import Changes
from bridge.simulator.channels import Channel, bare, on
from bridge.simulator.ledger import CarrierReply, Event, Ledger, Outside, Received, Refused, Sent, Text, Webhook
from bridge.simulator.reasons import Bars, failing_phone, reason
from bridge.simulator.settings import SimulatorSettings

Announce = Callable[[Carried, str | None], None]

_FIRST_PHONE = 15551230001
_NAMES = ("Ana", "Ben", "Chloe", "Dev", "Elif", "Finn", "Grace", "Hugo", "Iris", "Jonas", "Kaya", "Liam")
_REFUSED = "refused"


class Progress(StrEnum):
    """The progress of a person's text."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    """The bridge has accepted it."""
    RECEIVED = "received"
    """The agent has received it."""
    FAILED = "failed"
    """The bridge did not accept it, and the carrier will not announce it again."""


@dataclass
class Bubble:
    """One text on a screen, or a text that should have come and did not."""

    sid: str
    mine: bool
    body: str
    at: float
    media: int = 0
    progress: str = ""
    """:class:`Progress` for the person's own text; the carrier's status, or ``refused``, for a text to the person."""
    detail: str = ""
    """The reason why it did not arrive, in plain words."""
    code: int | None = None
    carrier: bool = False
    """The carrier itself wrote it."""
    outside: bool = False
    """Somebody wrote it with another tool, from our number."""


@dataclass(frozen=True)
class Beside:
    """The parts of a person's text beside its words and pictures."""

    id: str | None = None
    """The runner's own id of it."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """More fields of the webhook: a place, a tapped button."""
    received_as: str | None = None
    """The content that the agent must receive, if it is not the body. Empty: the agent must receive nothing."""


_WORDS_ALONE = Beside()


class Phones:
    """The phones of all people."""

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

    def text(self, phone: str, body: str, media: int = 0, to: str | None = None, beside: Beside = _WORDS_ALONE) -> str:
        """Send a text from the owner of ``phone`` to one of our numbers. Return its sid without waiting."""
        number = self._carrier.ours(phone, to)
        if self._carrier.line(number) is None:
            raise ValueError(f"{number} is none of {', '.join(self._carrier.numbers)}")
        name = self._meet(phone)
        handled = self._carrier.opt_outs.take(phone, number, body)
        keyword = handled.keyword if handled else None
        pictures = tuple("ME" + uuid.uuid4().hex for _ in range(media))
        with self._lock:  # the order of the ledger is the order of the webhooks
            carried = self._carrier.keep(
                Envelope("inbound", phone, number),
                body,
                status="received",
                media=pictures,
                profile=name,
                fields=dict(beside.fields),
            )
            at = carried.created.timestamp()
            self._ledger.write(
                Text(
                    at=at,
                    sid=carried.sid,
                    phone=phone,
                    number=number,
                    body=body,
                    media=media,
                    keyword=keyword,
                    id=beside.id,
                    received_as=beside.received_as,
                )
            )
            self._announce(carried, keyword)
        if handled:
            self._answer_keyword(phone, number, handled.answer)
        return carried.sid

    def write_outside(self, phone: str, body: str, number: str | None = None) -> str:
        """Text this phone from one of our numbers with another tool. Return the sid. No callback tells of it."""
        sender = self._carrier.ours(phone, number)
        if self._carrier.line(sender) is None:
            raise ValueError(f"{sender} is none of {', '.join(self._carrier.numbers)}")
        if self._carrier.opt_outs.closed(phone, sender):
            raise ValueError("this person has opted out")
        self._meet(phone)
        carried = self._carrier.keep(Envelope("outbound-api", sender, phone), body, status="queued")
        self._carrier.move(carried, "delivered")
        at = carried.created.timestamp()
        self._ledger.write(Outside(at=at, sid=carried.sid, phone=phone, number=sender, body=body))
        return carried.sid

    def react(self, phone: str, sid: str, tap: str, to: str | None = None) -> str:
        """React to a text: ``Liked`` and similar words as an iPhone sends them, an emoji as Google's app does."""
        text = self._carrier.get(sid)
        if text is None or text.to != phone:
            raise ValueError("this phone has no such text")
        plain = tap.isascii()
        body = (
            f"{tap} “{text.arrives_as}”"
            if plain
            else f"\u200a\u200b{tap}\u200b to “\u200a{text.arrives_as}\u200a”\u200a"
        )
        return self.text(phone, body, to=to, beside=Beside(received_as=""))

    def inbox(self, phone: str) -> list[str]:
        """Return the texts that were sent to this phone, in order, whether or not they arrived."""
        events = (event for event in self._ledger.about(phone) if isinstance(event, Sent | CarrierReply | Outside))
        return [(event.arrives_as if isinstance(event, Sent) else "") or event.body for event in events]

    def screen(self, phone: str) -> list[Bubble]:
        """Return everything on this phone, in order."""
        bubbles: dict[str, Bubble] = {}
        for event in self._ledger.about(phone):
            _draw(bubbles, event)
        for bubble in bubbles.values():
            self._track(bubble)
        return list(bubbles.values())

    def opted_out(self, phone: str) -> bool:
        """Return True if the carrier blocks all texts to this phone."""
        return self._carrier.opt_outs.closed(phone, self._carrier.ours(phone))

    def people(self) -> dict[str, str]:
        """Return the phones and their owners' names, in the order of appearance."""
        for phone in self._ledger.people():
            self._meet(phone)
        with self._lock:
            return dict(self._people)

    def new(self, way: Channel = Channel.SMS) -> str:
        """Return an unused phone."""
        with self._lock:
            known = {bare(phone) for phone in self._people}
            number = next(n for i in range(len(known) + 1) if (n := f"+{_FIRST_PHONE + i}") not in known)
        return self.take_up(on(way, number))

    def failing(self, code: int, way: Channel = Channel.SMS) -> str:
        """Return the phone whose texts fail with this error number."""
        return self.take_up(on(way, failing_phone(code)))

    def take_up(self, phone: str) -> str:
        """Let a person use this phone, perhaps on another channel."""
        self._meet(phone)
        self._changes.bump()
        return phone

    def _meet(self, phone: str) -> str:
        """Return the owner's name. It is the same on every channel."""
        with self._lock:
            if phone not in self._people:
                self._people[phone] = self._named(bare(phone))
            return self._people[phone]

    def _named(self, number: str) -> str:
        known = {bare(phone): name for phone, name in self._people.items()}
        n = len(known)
        return known.get(number) or (_NAMES[n] if n < len(_NAMES) else f"Person {n + 1}")

    def _track(self, bubble: Bubble) -> None:
        """Set the progress of a text to this phone from the carrier's memory."""
        text = None if bubble.mine or bubble.carrier else self._carrier.get(bubble.sid)
        if text is not None:
            bubble.progress, bubble.code = text.status, text.error_code
            bubble.detail = reason(text.error_code).plain if text.error_code else ""

    def _answer_keyword(self, phone: str, number: str, body: str) -> None:
        carried = self._carrier.keep(Envelope("outbound-reply", number, phone), body, status="delivered")
        at = carried.created.timestamp()
        self._ledger.write(CarrierReply(at=at, sid=carried.sid, phone=phone, body=body))


def _draw(bubbles: dict[str, Bubble], event: Event) -> None:
    """Apply an event to the screen."""
    match event:
        case Text():
            bubbles[event.sid] = Bubble(
                event.sid, True, event.body or event.words, event.at, event.media, Progress.SENDING
            )
        case Webhook():
            _progress(bubbles[event.sid], Progress.ACCEPTED if event.ok else Progress.FAILED, event.detail)
        case Received():
            _tick_received(bubbles, event.content)
        case Sent():
            bubbles.pop(_waiting(event.body), None)
            bubbles[event.sid] = Bubble(event.sid, False, event.arrives_as or event.body, event.at)
        case Refused():
            why = reason(event.code)
            sid = _waiting(event.body) if why.bars is Bars.NOW else f"refused at {event.at} {event.body}"
            at = bubbles[sid].at if sid in bubbles else event.at
            bubbles[sid] = Bubble(sid, False, event.body, at, 0, _REFUSED, why.plain, event.code)
        case Outside():
            bubbles[event.sid] = Bubble(event.sid, False, event.body, event.at, outside=True)
        case CarrierReply():
            bubbles[event.sid] = Bubble(event.sid, False, event.body, event.at, carrier=True)


def _waiting(body: str) -> str:
    """Return the sid of a refused text. A repeated attempt is the same text; once accepted, it was never refused."""
    return f"refused {body}"


def _progress(bubble: Bubble, progress: Progress, detail: str) -> None:
    if bubble.progress not in {Progress.RECEIVED, Progress.ACCEPTED}:  # one successful announcement of two is enough
        bubble.progress, bubble.detail = progress, "" if progress is Progress.ACCEPTED else detail


def _tick_received(bubbles: dict[str, Bubble], content: str) -> None:
    for bubble in bubbles.values():
        body = bubble.body.strip()
        if bubble.mine and body and f"\n{body}\n" in f"\n{content}\n":
            bubble.progress, bubble.detail = Progress.RECEIVED, ""
