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
from bridge.simulator.channels import Channel, bare, on
from bridge.simulator.ledger import CarrierReply, Event, Ledger, Received, Refused, Sent, Text, Webhook
from bridge.simulator.reasons import Bars, failing_phone, reason
from bridge.simulator.settings import SimulatorSettings

Announce = Callable[[Carried, str | None], None]

_FIRST_PHONE = 15551230001
_NAMES = ("Ana", "Ben", "Chloe", "Dev", "Elif", "Finn", "Grace", "Hugo", "Iris", "Jonas", "Kaya", "Liam")
_REFUSED = "refused"


class Progress(StrEnum):
    """How far a text of the person has got."""

    SENDING = "sending"
    TAKEN = "taken"
    """The bridge said that it has it."""
    RECEIVED = "received"
    """The agent heard it."""
    FAILED = "failed"
    """The bridge did not take it, and the carrier will not offer it again."""


@dataclass
class Bubble:
    """One text on a screen; also one that should have come and did not."""

    sid: str
    mine: bool
    body: str
    at: float
    media: int = 0
    progress: str = ""
    """:class:`Progress` of what the person wrote; the carrier's status, or ``refused``, of what was sent to her."""
    detail: str = ""
    """Why it did not arrive, in plain words."""
    code: int | None = None
    carrier: bool = False
    """The carrier itself says so."""


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

    def text(
        self,
        phone: str,
        body: str,
        media: int = 0,
        to: str | None = None,
        id: str | None = None,
        fields: dict[str, str] | None = None,
        received_as: str | None = None,
    ) -> str:
        """The owner of ``phone`` texts one of our numbers; returns the text's sid at once."""
        number = self._carrier.ours(phone, to)
        if self._carrier.line(number) is None:
            raise ValueError(f"{number} is none of {', '.join(self._carrier.numbers)}")
        name = self._meet(phone)
        taken = self._carrier.opt_outs.take(phone, number, body)
        keyword = taken.keyword if taken else None
        pictures = tuple("ME" + uuid.uuid4().hex for _ in range(media))
        with self._lock:  # the order of the ledger is the order of the webhooks
            carried = self._carrier.keep(
                *("inbound", phone, number, body),
                status="received",
                media=pictures,
                profile=name,
                fields=fields or {},
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
                    id=id,
                    received_as=received_as,
                )
            )
            self._announce(carried, keyword)
        if taken:
            self._answer_keyword(phone, number, taken.answer)
        return carried.sid

    def react(self, phone: str, sid: str, tap: str, to: str | None = None) -> str:
        """The owner taps on a text: ``Liked`` and its like as an iPhone sends it, an emoji as Google's app does."""
        text = self._carrier.get(sid)
        if text is None or text.to != phone:
            raise ValueError("this phone has no such text")
        plain = tap.isascii()
        body = (
            f"{tap} “{text.arrives_as}”"
            if plain
            else f"\u200a\u200b{tap}\u200b to “\u200a{text.arrives_as}\u200a”\u200a"
        )
        return self.text(phone, body, to=to, received_as="")

    def inbox(self, phone: str) -> list[str]:
        """The texts that this phone was sent, in order, whether or not it got them."""
        events = (event for event in self._ledger.about(phone) if isinstance(event, Sent | CarrierReply))
        return [(event.arrives_as if isinstance(event, Sent) else "") or event.body for event in events]

    def screen(self, phone: str) -> list[Bubble]:
        """Everything on this phone, in order."""
        bubbles: dict[str, Bubble] = {}
        for event in self._ledger.about(phone):
            _draw(bubbles, event)
        for bubble in bubbles.values():
            self._track(bubble)
        return list(bubbles.values())

    def opted_out(self, phone: str) -> bool:
        """Does the carrier let nothing through to this phone?"""
        return self._carrier.opt_outs.closed(phone, self._carrier.ours(phone))

    def people(self) -> dict[str, str]:
        """Phones and their owners' names, in the order in which they turned up."""
        for phone in self._ledger.people():
            self._meet(phone)
        with self._lock:
            return dict(self._people)

    def new(self, way: Channel = Channel.SMS) -> str:
        """A phone that nobody has yet."""
        with self._lock:
            known = {bare(phone) for phone in self._people}
            number = next(n for i in range(len(known) + 1) if (n := f"+{_FIRST_PHONE + i}") not in known)
        return self.take_up(on(way, number))

    def failing(self, code: int, way: Channel = Channel.SMS) -> str:
        """The phone whose texts fail with this error number."""
        return self.take_up(on(way, failing_phone(code)))

    def take_up(self, phone: str) -> str:
        """Somebody takes this phone up, or uses it on another channel."""
        self._meet(phone)
        self._changes.bump()
        return phone

    def _meet(self, phone: str) -> str:
        """The owner's name, which is the same on every channel."""
        with self._lock:
            if phone not in self._people:
                self._people[phone] = self._named(bare(phone))
            return self._people[phone]

    def _named(self, number: str) -> str:
        known = {bare(phone): name for phone, name in self._people.items()}
        n = len(known)
        return known.get(number) or (_NAMES[n] if n < len(_NAMES) else f"Person {n + 1}")

    def _track(self, bubble: Bubble) -> None:
        """How far a text to this phone has got, as the carrier knows it."""
        text = None if bubble.mine or bubble.carrier else self._carrier.get(bubble.sid)
        if text is not None:
            bubble.progress, bubble.code = text.status, text.error_code
            bubble.detail = reason(text.error_code).plain if text.error_code else ""

    def _answer_keyword(self, phone: str, number: str, body: str) -> None:
        carried = self._carrier.keep("outbound-reply", number, phone, body, status="delivered")
        at = carried.created.timestamp()
        self._ledger.write(CarrierReply(at=at, sid=carried.sid, phone=phone, body=body))


def _draw(bubbles: dict[str, Bubble], event: Event) -> None:
    """What the event changes on the screen."""
    match event:
        case Text():
            bubbles[event.sid] = Bubble(
                event.sid, True, event.body or event.words, event.at, event.media, Progress.SENDING
            )
        case Webhook():
            _progress(bubbles[event.sid], Progress.TAKEN if event.ok else Progress.FAILED, event.detail)
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
        case CarrierReply():
            bubbles[event.sid] = Bubble(event.sid, False, event.body, event.at, carrier=True)


def _waiting(body: str) -> str:
    """Tried again, it is the same text still; taken in the end, it was never refused."""
    return f"refused {body}"


def _progress(bubble: Bubble, progress: Progress, detail: str) -> None:
    if bubble.progress not in {Progress.RECEIVED, Progress.TAKEN}:  # of two announcements one good one is enough
        bubble.progress, bubble.detail = progress, "" if progress is Progress.TAKEN else detail


def _tick_received(bubbles: dict[str, Bubble], content: str) -> None:
    for bubble in bubbles.values():
        body = bubble.body.strip()
        if bubble.mine and body and f"\n{body}\n" in f"\n{content}\n":
            bubble.progress, bubble.detail = Progress.RECEIVED, ""
