"""The postman. It announces texts to the bridge, each phone's texts in order.

``hook`` makes the call. ``reporter`` reports the statuses of the bridge's own texts.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

from bridge.simulator.carrier import API, Number, Text
from bridge.simulator.channels import Channel, bare
from bridge.simulator.hook import Outcome
from bridge.simulator.ledger import Webhook, Wrong
from bridge.simulator.network import Network

Answered = Callable[[Text, str], None]
"""Called with an inbound text and the message in its webhook's answer."""

_OWN = {"MessageSid", "SmsSid", "SmsMessageSid", "AccountSid", "From", "To", "Body", "NumMedia"}
"""Fields that a person can't make up."""

_TWIML = {"text/xml", "application/xml", "text/html"}


class Postman:
    """The sender of announcements, in the background."""

    def __init__(self, network: Network, answered: Answered) -> None:
        self._settings = network.settings
        self._carrier = network.carrier
        self._courier = network.courier
        self._caller = network.caller
        self._faults = network.faults
        self._ledger = network.ledger
        self._answered = answered
        self.address = "https://api.twilio.com"
        """The base address of pictures."""

    def announce(self, text: Text, keyword: str | None = None) -> None:
        """Call the webhook of the number that was texted."""
        at = self._settings.clock()
        if self._faults.strike("webhooks_lost", "webhook", at):
            lost = Webhook(at=at, sid=text.sid, phone=text.sender, ok=False, attempts=0, detail="not announced")
            self._ledger.write(lost)
            return
        twice = self._faults.strike("webhooks_doubled", "webhook", at) is not None
        self._courier.post(("phone", text.sender), lambda: self._announce_in_turn(text, keyword, twice))

    def _announce_in_turn(self, text: Text, keyword: str | None, twice: bool) -> None:
        """Announce in turn, so that even the second announcement does not overtake an earlier text."""
        if twice:
            self._courier.post(("again", text.sid), lambda: self._announce(text, keyword))
        self._announce(text, keyword)

    def _announce(self, text: Text, keyword: str | None) -> None:
        outcome = self._call_number(self._carrier.line(text.to), text, keyword)
        self._ledger.write(
            Webhook(
                at=self._settings.clock(),
                sid=text.sid,
                phone=text.sender,
                ok=outcome.ok,
                status=outcome.status,
                attempts=outcome.attempts,
                detail=outcome.detail,
            )
        )
        if outcome.ok:
            self._read_answer(text, outcome)

    def _call_number(self, number: Number | None, text: Text, keyword: str | None) -> Outcome:
        if number is None or not number.sms_url:
            return Outcome("ct", attempts=0)
        form = self.inbound_form(text, keyword)
        outcome = self._caller.call(number.sms_url, form)
        if outcome.ok or not number.fallback_url:
            return outcome
        code, url = "11205" if outcome.failure == "ct" else "11200", number.sms_url.partition("#")[0]
        return self._caller.call(number.fallback_url, {**form, "ErrorCode": code, "ErrorUrl": url})

    def _read_answer(self, text: Text, outcome: Outcome) -> None:
        if outcome.content_type == "text/plain" and outcome.body:
            self._answered(text, outcome.body)
        elif outcome.content_type in _TWIML:
            try:
                document = ElementTree.fromstring(outcome.body)  # noqa: S314 - from the bridge under test
            except ElementTree.ParseError:
                self._wrong(text, "webhook_answer", "no TwiML (12100)")
                return
            for message in document.iter("Message"):
                self._answered(text, message.text or "")
        else:
            self._wrong(text, "webhook_answer", f"content type {outcome.content_type or 'missing'} (12300)")

    def _wrong(self, text: Text, name: str, detail: str) -> None:
        self._ledger.write(Wrong(at=self._settings.clock(), name=name, phone=text.sender, detail=detail))

    def inbound_form(self, text: Text, keyword: str | None) -> dict[str, str]:
        form = {
            "SmsMessageSid": text.sid,
            "SmsSid": text.sid,
            "MessageSid": text.sid,
            "SmsStatus": "received",
            "NumMedia": str(len(text.media)),
            "NumSegments": str(text.segments),
            "AccountSid": self._settings.account_sid,
            "From": text.sender,
            "To": text.to,
            "Body": text.body,
            "ApiVersion": "2010-04-01",
            **_channel_fields(text),
        }
        if self._settings.messaging_service_sid:
            form["MessagingServiceSid"] = self._settings.messaging_service_sid
        if keyword and self._carrier.opt_outs.named(text.to):
            form["OptOutType"] = keyword
        for i, media in enumerate(text.media):
            path = f"{API}/{self._settings.account_sid}/Messages/{text.sid}/Media/{media}"
            form |= {f"MediaUrl{i}": self.address + path, f"MediaContentType{i}": "image/png"}
        return form | {name: value for name, value in text.fields.items() if name not in _OWN}


def _channel_fields(text: Text) -> dict[str, str]:
    """Return the channel's fields. Only SMS has the number's region; WhatsApp has the writer's name."""
    if text.channel is Channel.SMS:
        places = {f"{end}{part}": "" for end in ("To", "From") for part in ("State", "City", "Zip")}
        return {"ToCountry": "US", "FromCountry": "US", **places}
    kind = {"MessageType": "image" if text.media else "text"}
    if text.channel is Channel.RCS:
        return {**kind, "ChannelMetadata": json.dumps({"type": "rcs", "data": {}})}
    who = {"ProfileName": text.profile, "WaId": bare(text.sender).removeprefix("+")}
    metadata = {"type": "whatsapp", "data": {"context": who}}
    return {**kind, **who, "ChannelMetadata": json.dumps(metadata)}
