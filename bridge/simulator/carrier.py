"""The carrier's memory: its numbers, and every text in and out, newest last.

``twilio_api`` serves its API. ``postman`` and ``reporter`` call the bridge.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from bridge.simulator.channels import Channel, bare, channel, on, respelled
from bridge.simulator.encoding import segments, smart
from bridge.simulator.opt_out import OptOuts
from bridge.simulator.reasons import reason
from bridge.simulator.settings import SimulatorSettings

API = "/2010-04-01/Accounts"

LONGEST_VALIDITY = 36_000
"""Seconds that a text may wait in the queue."""

_RANK = {"accepted": 0, "queued": 1, "received": 1, "sent": 3, "delivered": 4, "undelivered": 4, "failed": 4, "read": 5}


@dataclass
class Text:
    """One text as the carrier keeps it. It changes only under the carrier's lock."""

    sid: str
    direction: str
    sender: str
    to: str
    body: str
    status: str
    created: datetime
    sent: datetime | None = None
    updated: datetime | None = None
    media: tuple[str, ...] = ()
    service: str | None = None
    callback: str | None = None
    error_code: int | None = None
    smart: bool = False
    """Typographic characters are replaced with plain ones on the way."""
    validity: int = LONGEST_VALIDITY
    template: bool = False
    """A template that WhatsApp has approved. It may be sent at any time."""
    fields: dict[str, str] = field(default_factory=dict)
    """More fields for the webhook: a place, a tapped button."""
    profile: str = ""
    """The sender's name on WhatsApp."""
    respelled: str = ""
    """The carrier's own spelling of the recipient, if it is another one."""

    @property
    def channel(self) -> Channel:
        return channel(self.to)

    @property
    def shown_sender(self) -> str | None:
        """Return the sender. A messaging service picks it only after the text was accepted."""
        return None if self.status == "accepted" else self.sender

    @property
    def shown_to(self) -> str:
        return self.respelled or self.to

    @property
    def arrives_as(self) -> str:
        return smart(self.body) if self.smart else self.body

    @property
    def segments(self) -> int:
        """Return the segments. Only SMS has them, and they are counted when the text is queued."""
        if self.status == "accepted":
            return 0
        return segments(self.arrives_as) if self.channel is Channel.SMS else 1

    def resource(self, account: str) -> dict[str, Any]:
        """Return the JSON that Twilio shows of it."""
        uri = f"{API}/{account}/Messages/{self.sid}"
        return {
            "sid": self.sid,
            "account_sid": account,
            "messaging_service_sid": self.service,
            "api_version": "2010-04-01",
            "direction": self.direction,
            "from": self.shown_sender,
            "to": self.shown_to,
            "body": self.body,
            "status": self.status,
            "num_media": str(len(self.media)),
            "num_segments": str(self.segments),
            "date_created": rfc2822(self.created),
            "date_sent": self.sent and rfc2822(self.sent),
            "date_updated": rfc2822(self.updated or self.created),
            "error_code": self.error_code,
            "error_message": reason(self.error_code).message if self.error_code else None,
            "price": None,
            "price_unit": "USD",
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
        }


@dataclass(frozen=True)
class Envelope:
    """The ends of a text, and its direction between the bridge and the person."""

    direction: str
    """``inbound``, ``outbound-api``, or ``outbound-reply`` for a text of the carrier's own."""
    sender: str
    to: str


@dataclass
class Number:
    """One of the account's numbers, and the address of its webhook."""

    sid: str
    number: str
    settings: dict[str, str] = field(default_factory=dict)
    """``sms_url``, ``sms_method``, ``sms_fallback_url``, ``sms_fallback_method``, ``friendly_name``."""

    sms: bool = True
    """Whether the number can text."""

    @property
    def sms_url(self) -> str:
        return self.settings.get("sms_url", "")

    @property
    def fallback_url(self) -> str:
        return self.settings.get("sms_fallback_url", "")

    def resource(self, account: str) -> dict[str, Any]:
        return {
            "sid": self.sid,
            "account_sid": account,
            "phone_number": self.number,
            "friendly_name": self.number,
            "api_version": "2010-04-01",
            "sms_url": "",
            "sms_method": "POST",
            "sms_fallback_url": "",
            "sms_fallback_method": "POST",
            "sms_application_sid": "",
            "status_callback": "",
            "voice_url": None,
            "capabilities": {"voice": True, "sms": self.sms, "mms": True, "fax": False},
            "status": "in-use",
            "uri": f"{API}/{account}/IncomingPhoneNumbers/{self.sid}.json",
            **self.settings,
        }


class Carrier:
    """The store of numbers and texts. Thread-safe."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._lock = threading.Lock()
        self._texts: list[Text] = []
        self._by_sid: dict[str, Text] = {}
        self._by_end: dict[tuple[str, str], list[Text]] = defaultdict(list)
        self._wrote: dict[str, float] = {}
        self._picked: dict[str, str] = {}
        self._n_picked = 0
        self.redacts = settings.redacts
        self.opt_outs = OptOuts(settings)
        self.numbers = {n: Number("PN" + hashlib.sha256(n.encode()).hexdigest()[:32], n) for n in settings.numbers}
        for number in self.numbers.values():
            number.settings["sms_url"] = settings.webhook_url or ""

    def keep(self, envelope: Envelope, body: str, *, status: str, media: tuple[str, ...] = (), **more: Any) -> Text:
        """Store a new text. An inbound text counts as sent. ``more``: further fields of :class:`Text`."""
        now, direction, sender, to = self.now(), envelope.direction, envelope.sender, envelope.to
        sid = ("MM" if media else "SM") + uuid.uuid4().hex
        sent = None if direction == "outbound-api" else now
        text = Text(sid, direction, sender, to, body, status, now, sent, media=media, **more)
        if self._settings.respells and direction != "inbound":
            text.respelled = respelled(to)
        with self._lock:
            if direction == "inbound":
                self._wrote[sender] = now.timestamp()
                self._picked[bare(sender)] = to
            self._texts.append(text)
            self._by_sid[sid] = text
            self._by_end["from", sender].append(text)
            self._by_end["to", text.shown_to].append(text)
        return text

    def move(self, text: Text, status: str, error_code: int | None = None) -> bool:
        """Move the text to a later status. Return False if it has got as far already."""
        with self._lock:
            if _RANK[status] <= _RANK[text.status]:
                return False
            text.status, text.updated, text.error_code = status, self.now(), error_code
            if text.sent is None and status != "queued":
                text.sent = text.updated
            return True

    def shown(self, text: Text) -> dict[str, Any]:
        """Return the text as the API shows it after it was accepted."""
        body = text.arrives_as if self._settings.smart_encoding else text.body
        return text.resource(self._settings.account_sid) | {"body": "" if self.redacts else body}

    def get(self, sid: str) -> Text | None:
        return self._by_sid.get(sid)

    def redact(self, text: Text) -> None:
        """Forget the words of the text."""
        with self._lock:
            text.body = ""

    def erase_medium(self, text: Text, medium: str) -> None:
        """Forget one picture of the text."""
        with self._lock:
            text.media = tuple(each for each in text.media if each != medium)

    def erase(self, text: Text) -> None:
        """Delete the text from all lists."""
        with self._lock:
            self._by_sid.pop(text.sid, None)
            for texts in (self._texts, *self._by_end.values()):
                if text in texts:
                    texts.remove(text)

    def newest_first(self, sender: str | None, to: str | None) -> list[Text]:
        with self._lock:
            return list(_between(self._candidates(sender, to), sender, to))

    def number_by_sid(self, sid: str) -> Number | None:
        return next((n for n in self.numbers.values() if n.sid == sid), None)

    def line(self, address: str) -> Number | None:
        """Return the number behind one of our addresses. It sends and receives on every channel."""
        if address == self._settings.rcs_sender:
            return self.numbers[self._settings.number]
        return self.numbers.get(bare(address)) if channel(address) is not Channel.RCS else None

    def ours(self, phone: str, number: str | None = None) -> str:
        """Return our address for a person at ``phone``, of this number or of our first."""
        if channel(phone) is Channel.RCS:
            return self._settings.rcs_sender
        return on(channel(phone), number or self._settings.number)

    def pick(self, to: str) -> str:
        """Pick the sender of a messaging service: the one that this person knows, else each in turn."""
        if channel(to) is Channel.RCS:
            return self._settings.rcs_sender
        with self._lock:
            known = self._picked.get(bare(to), "") if self._settings.sticky_sender else ""
            if bare(known) not in self.numbers:
                known = self._settings.numbers[self._n_picked % len(self.numbers)]
                self._n_picked += 1
            self._picked[bare(to)] = known
        return on(channel(to), known)

    def window_open(self, phone: str) -> bool:
        """Return True if this person wrote within the last day. After that, WhatsApp allows templates only."""
        if channel(phone) is not Channel.WHATSAPP:
            return True
        return self._clock() - self._wrote.get(phone, float("-inf")) < self._settings.window_seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _candidates(self, sender: str | None, to: str | None) -> list[Text]:
        lists = [self._by_end.get(("from", sender), [])] if sender else []
        lists += [self._by_end.get(("to", to), [])] if to else []
        return min(lists, key=len, default=self._texts)


def _between(texts: Iterable[Text], sender: str | None, to: str | None) -> Iterator[Text]:
    for text in reversed(list(texts)):
        if sender in {None, text.shown_sender} and to in {None, text.shown_to}:
            yield text


def rfc2822(moment: datetime) -> str:
    return format_datetime(moment)
