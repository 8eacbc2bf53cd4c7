"""The carrier's memory: its numbers and every text, in and out, newest last.

How it is asked lives in ``twilio_api``, whom it calls in ``postman``.
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

from bridge.simulator.settings import SimulatorSettings

API = "/2010-04-01/Accounts"

STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})


@dataclass
class Text:
    """One text as the carrier keeps it. Changed only under the carrier's lock."""

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

    def resource(self, account: str) -> dict[str, Any]:
        """The JSON that Twilio shows of it."""
        uri = f"{API}/{account}/Messages/{self.sid}"
        return {
            "sid": self.sid,
            "account_sid": account,
            "messaging_service_sid": self.service,
            "api_version": "2010-04-01",
            "direction": self.direction,
            "from": self.sender,
            "to": self.to,
            "body": self.body,
            "status": self.status,
            "num_media": str(len(self.media)),
            "num_segments": "0" if self.service else str(segments(self.body)),
            "date_created": rfc2822(self.created),
            "date_sent": self.sent and rfc2822(self.sent),
            "date_updated": rfc2822(self.updated or self.created),
            "error_code": self.error_code,
            "error_message": "Unreachable destination handset" if self.error_code else None,
            "price": None,
            "price_unit": "USD",
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
        }


@dataclass
class Number:
    """One of the account's numbers and where its texts are announced."""

    sid: str
    number: str
    settings: dict[str, str] = field(default_factory=dict)
    """``sms_url``, ``sms_method``, ``sms_fallback_url``, ``sms_fallback_method``, ``friendly_name``."""

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
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
            "status": "in-use",
            "uri": f"{API}/{account}/IncomingPhoneNumbers/{self.sid}.json",
            **self.settings,
        }


class Carrier:
    """Keeps numbers and texts. Thread-safe."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._clock = settings.clock
        self._lock = threading.Lock()
        self._texts: list[Text] = []
        self._by_sid: dict[str, Text] = {}
        self._by_end: dict[tuple[str, str], list[Text]] = defaultdict(list)
        self._opted_out: set[tuple[str, str]] = set()
        self.numbers = {n: Number("PN" + hashlib.sha256(n.encode()).hexdigest()[:32], n) for n in settings.numbers}
        for number in self.numbers.values():
            number.settings["sms_url"] = settings.webhook_url or ""

    def keep(
        self,
        direction: str,
        sender: str,
        to: str,
        body: str,
        *,
        status: str,
        media: tuple[str, ...] = (),
        service: str | None = None,
        callback: str | None = None,
    ) -> Text:
        """A new text. An inbound one counts as sent at once."""
        now = self.now()
        sid = ("MM" if media else "SM") + uuid.uuid4().hex
        sent = None if direction == "outbound-api" else now
        text = Text(sid, direction, sender, to, body, status, now, sent, None, media, service, callback)
        with self._lock:
            self._texts.append(text)
            self._by_sid[sid] = text
            self._by_end["from", sender].append(text)
            self._by_end["to", to].append(text)
        return text

    def move(self, text: Text, status: str, error_code: int | None = None) -> None:
        """The text got further."""
        with self._lock:
            text.status, text.updated, text.error_code = status, self.now(), error_code
            if text.sent is None and status not in {"accepted", "queued"}:
                text.sent = text.updated

    def get(self, sid: str) -> Text | None:
        return self._by_sid.get(sid)

    def newest_first(self, sender: str | None, to: str | None) -> list[Text]:
        with self._lock:
            return list(_between(self._candidates(sender, to), sender, to))

    def number_by_sid(self, sid: str) -> Number | None:
        return next((n for n in self.numbers.values() if n.sid == sid), None)

    def keyword(self, phone: str, number: str, body: str) -> str | None:
        """Does the text opt out or in? Then the carrier remembers it, and answers by itself."""
        word = body.strip().upper()
        with self._lock:
            if word in STOP_WORDS:
                self._opted_out.add((phone, number))
                return "STOP"
            if word in START_WORDS and (phone, number) in self._opted_out:
                self._opted_out.discard((phone, number))
                return "START"
        return "HELP" if word in HELP_WORDS else None

    def opted_out(self, phone: str, number: str) -> bool:
        return (phone, number) in self._opted_out

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _candidates(self, sender: str | None, to: str | None) -> list[Text]:
        lists = [self._by_end.get(("from", sender), [])] if sender else []
        lists += [self._by_end.get(("to", to), [])] if to else []
        return min(lists, key=len, default=self._texts)


def _between(texts: Iterable[Text], sender: str | None, to: str | None) -> Iterator[Text]:
    for text in reversed(list(texts)):
        if sender in {None, text.sender} and to in {None, text.to}:
            yield text


def rfc2822(moment: datetime) -> str:
    return format_datetime(moment)


def utf16_units(body: str) -> int:
    return len(body.encode("utf-16-le")) // 2


def segments(body: str) -> int:
    """Near enough for a price that nobody pays."""
    single, part = (160, 153) if body.isascii() else (70, 67)
    units = utf16_units(body)
    return 1 if units <= single else -(-units // part)
