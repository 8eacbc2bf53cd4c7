"""The carrier's decision about a text from the bridge: its sender, a refusal, and the record of it.

``twilio_api`` serves the call. ``reporter`` reports the later statuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Response
from werkzeug.datastructures import MultiDict

from bridge.simulator.carrier import LONGEST_VALIDITY, Carrier, Envelope, Text
from bridge.simulator.channels import Channel, channel
from bridge.simulator.encoding import utf16_units
from bridge.simulator.faults import Faults
from bridge.simulator.ledger import Ledger, Refused, Sent
from bridge.simulator.reasons import TEST_SENDERS, Reason, fate, reason
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import answer

LONGEST_BODY = 1600

_ADDRESS = re.compile(r"(whatsapp:|rcs:)?\+[1-9]\d{6,14}|whatsapp:[A-Z]{2}\.[0-9A-Za-z]{1,64}")

Form = MultiDict[str, str]


class Refusal(Exception):
    """The call is refused with Twilio's error number."""

    def __init__(self, code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = headers

    @classmethod
    def of(cls, why: Reason) -> Refusal:
        return cls(why.code, why.message, why.http)

    def response(self) -> Response:
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        body = {"code": self.code, "message": str(self), "more_info": more, "status": self.status}
        return answer(body, self.status, self.headers)


class Dispatch:
    """The part of the carrier that accepts or refuses texts."""

    def __init__(
        self,
        settings: SimulatorSettings,
        carrier: Carrier,
        faults: Faults,
        ledger: Ledger,
        report: Callable[[Text], None],
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._faults = faults
        self._ledger = ledger
        self._report = report

    def take(self, form: Form, asked_at: float) -> dict[str, object]:
        """Return the resource of a text that was just accepted. Raise :class:`Refusal` otherwise."""
        to, body, service = form.get("To", ""), form.get("Body", ""), form.get("MessagingServiceSid")
        template = form.get("ContentSid", "")
        media = tuple(form.getlist("MediaUrl"))
        _check(to, body or template, media, form.get("StatusCallback"))
        sender = self._sender(to, form.get("From"), service)
        validity = _validity(form.get("ValidityPeriod"))
        self._let_through(to, sender, body, asked_at, free=not template)
        text = self._carrier.keep(
            Envelope("outbound-api", sender, to),
            body or template,
            status="accepted" if service else "queued",
            media=media,
            service=service,
            callback=form.get("StatusCallback"),
            smart=self._settings.smart_encoding or form.get("SmartEncoded", "").lower() == "true",
            validity=validity,
            template=bool(template),
        )
        resource = text.resource(self._settings.account_sid)
        self._note(text)
        self._report(text)
        return resource

    def reply(self, to: str, sender: str, body: str) -> None:
        """Send the text of a webhook's answer. A refusal of it is not reported."""
        if self._carrier.opt_outs.closed(to, sender):
            self._refuse(to, sender, body, self._settings.clock(), 21610)
        else:
            self._note(self._carrier.keep(Envelope("outbound-reply", sender, to), body, status="delivered"))

    def _sender(self, to: str, sender: str | None, service: str | None) -> str:
        if service is not None:
            if service != self._settings.messaging_service_sid:
                raise Refusal(21703, f"The Messaging Service {service} does not exist")
            sender = sender or self._carrier.pick(to)
        if not sender:
            raise Refusal(21603, "A 'From' phone number is required.")
        if sender in TEST_SENDERS:
            raise Refusal.of(reason(TEST_SENDERS[sender]))
        if self._carrier.line(sender) is None and channel(sender) is Channel.SMS:
            raise Refusal(21606, f"The 'From' phone number {sender} is not a valid, message-capable number.")
        if self._carrier.line(sender) is None:
            raise Refusal(63007, f"Could not find a Channel with the specified From address {sender}")
        if channel(sender) is not channel(to):
            raise Refusal(21910, "Invalid 'From' and 'To' pair: they must be of the same channel")
        if to == sender:
            raise Refusal(21266, "'To' and 'From' number cannot be the same")
        return sender

    def _let_through(self, to: str, sender: str, body: str, asked_at: float, *, free: bool) -> None:
        """Refuse a text that the person, the channel or a fault stops."""
        code = self._played()
        doomed = fate(to)
        if code is None and doomed and doomed.at_once:
            code = doomed.code
        if code is None and self._carrier.opt_outs.closed(to, sender):
            code = 21610
        if code is None and free and self._settings.window_refused_at_once and not self._carrier.window_open(to):
            code = 63016
        if code is not None:
            self._refuse(to, sender, body, asked_at, code)
            raise Refusal.of(reason(code))

    def _played(self) -> int | None:
        at = self._settings.clock()
        if strike := self._faults.strike("carrier_code", "send", at):
            return int(strike.options["code"])
        return 21611 if self._faults.strike("carrier_queue_full", "send", at) else None

    def _refuse(self, to: str, sender: str, body: str, asked_at: float, code: int) -> None:
        self._ledger.write(Refused(at=asked_at, phone=to, sender=sender, body=body, code=code))

    def _note(self, text: Text) -> None:
        at, changed = text.created.timestamp(), text.arrives_as != text.body
        arrives_as = text.arrives_as if changed else ""
        self._ledger.write(
            Sent(at=at, sid=text.sid, to=text.to, sender=text.sender, body=text.body, arrives_as=arrives_as)
        )


def _check(to: str, body: str, media: tuple[str, ...], callback: str | None) -> None:
    if not to:
        raise Refusal(21604, "A 'To' phone number is required.")
    if not _ADDRESS.fullmatch(to):
        raise Refusal(21211, f"Invalid 'To' Phone Number: {to}")
    if not body and not media:
        raise Refusal(21602, "Message body is required.")
    if utf16_units(body) > LONGEST_BODY:
        raise Refusal(21617, "The concatenated message body exceeds the 1600 character limit.")
    if callback and urlsplit(callback).scheme not in {"http", "https"}:
        raise Refusal(21609, f"The 'StatusCallback' URL {callback} is not a valid URL.")


def _validity(given: str | None) -> int:
    if given is None:
        return LONGEST_VALIDITY
    if not given.isdecimal() or not 1 <= int(given) <= LONGEST_VALIDITY:
        raise Refusal(21624, "Invalid validity period value")
    return int(given)
