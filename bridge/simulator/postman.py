"""The postman: announces texts to the bridge and reports how the bridge's own texts fare.

Each phone's texts are announced in order. Whom to call and how lives in ``hook``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import datetime

from bridge.simulator.carrier import API, Carrier, Text, segments
from bridge.simulator.courier import Courier
from bridge.simulator.faults import Faults
from bridge.simulator.hook import Caller, Outcome
from bridge.simulator.ledger import Callback, Ledger, Webhook, Wrong
from bridge.simulator.settings import SimulatorSettings

Answered = Callable[[Text, str], None]
"""Called with an inbound text and what its webhook's answer says to the person."""

_UNREACHABLE = 30003
_TWIML = {"text/xml", "application/xml", "text/html"}


class Postman:
    """Brings news to the bridge, in the background."""

    def __init__(
        self,
        settings: SimulatorSettings,
        carrier: Carrier,
        courier: Courier,
        caller: Caller,
        faults: Faults,
        ledger: Ledger,
        answered: Answered,
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._courier = courier
        self._caller = caller
        self._faults = faults
        self._ledger = ledger
        self._answered = answered
        self.address = "https://api.twilio.com"
        """Where pictures are fetched from."""

    def announce(self, text: Text, keyword: str | None = None) -> None:
        """Call the webhook of the number that was texted."""
        at = self._settings.clock()
        if self._faults.strike("webhooks_lost", "webhook", at):
            lost = Webhook(at=at, sid=text.sid, phone=text.sender, ok=False, attempts=0, detail="not announced")
            self._ledger.write(lost)
            return
        twice = self._faults.strike("webhooks_doubled", "webhook", at) is not None
        self._courier.post(("phone", text.sender), lambda: self._announce_in_turn(text, keyword, twice))

    def report(self, text: Text) -> None:
        """Tell the bridge how its text fares: the first status is never reported."""
        strike = self._faults.strike
        at = self._settings.clock()
        undelivered = strike("callbacks_undelivered", "callback", at)
        steps = ["sent", "undelivered" if undelivered else "delivered"]
        if text.service:
            steps.insert(0, "queued")
        if strike("callbacks_reordered", "callback", at):
            steps.reverse()
        if strike("callbacks_early", "callback", at):
            self._step(text, steps.pop(0))
        for status in steps:
            self._later(text, status)

    def _later(self, text: Text, status: str) -> None:
        self._courier.post(("report", text.sid), lambda: self._step(text, status), self._settings.callback_seconds)

    def _step(self, text: Text, status: str) -> None:
        if text.status not in {"delivered", "undelivered"}:
            self._carrier.move(text, status, _UNREACHABLE if status == "undelivered" else None)
        if not text.callback:
            return
        at = self._settings.clock()
        if self._faults.strike("callbacks_lost", "callback", at):
            return
        for _ in range(2 if self._faults.strike("callbacks_doubled", "callback", at) else 1):
            outcome = self._caller.call(text.callback, self._callback_form(text, status))
            now, detail = self._settings.clock(), outcome.detail
            event = Callback(at=now, sid=text.sid, phone=text.to, status=status, ok=outcome.ok, detail=detail)
            self._ledger.write(event)

    def _announce_in_turn(self, text: Text, keyword: str | None, twice: bool) -> None:
        """Its turn has come, so that even the second announcement does not overtake an earlier text."""
        if twice:
            self._courier.post(("again", text.sid), lambda: self._announce(text, keyword))
        self._announce(text, keyword)

    def _announce(self, text: Text, keyword: str | None) -> None:
        number = self._carrier.numbers[text.to]
        outcome = self._call_number(number.sms_url, number.fallback_url, text, keyword)
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

    def _call_number(self, url: str, fallback: str, text: Text, keyword: str | None) -> Outcome:
        if not url:
            return Outcome("ct", attempts=0)
        form = self._inbound_form(text, keyword)
        outcome = self._caller.call(url, form)
        if outcome.ok or not fallback:
            return outcome
        code = "11205" if outcome.failure == "ct" else "11200"
        return self._caller.call(fallback, {**form, "ErrorCode": code, "ErrorUrl": url.partition("#")[0]})

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

    def _inbound_form(self, text: Text, keyword: str | None) -> dict[str, str]:
        form = {
            "ToCountry": "US",
            "ToState": "",
            "ToCity": "",
            "ToZip": "",
            "FromCountry": "US",
            "FromState": "",
            "FromCity": "",
            "FromZip": "",
            "SmsMessageSid": text.sid,
            "SmsSid": text.sid,
            "MessageSid": text.sid,
            "SmsStatus": "received",
            "NumMedia": str(len(text.media)),
            "NumSegments": str(segments(text.body)),
            "AccountSid": self._settings.account_sid,
            "From": text.sender,
            "To": text.to,
            "Body": text.body,
            "ApiVersion": "2010-04-01",
        }
        if keyword and self._settings.advanced_opt_out:
            form["OptOutType"] = keyword
        for i, media in enumerate(text.media):
            path = f"{API}/{self._settings.account_sid}/Messages/{text.sid}/Media/{media}"
            form |= {f"MediaUrl{i}": self.address + path, f"MediaContentType{i}": "image/png"}
        return form

    def _callback_form(self, text: Text, status: str) -> dict[str, str]:
        form = {
            "AccountSid": self._settings.account_sid,
            "MessageSid": text.sid,
            "MessageStatus": status,
            "SmsSid": text.sid,
            "SmsStatus": status,
            "From": text.sender,
            "To": text.to,
            "ApiVersion": "2010-04-01",
        }
        if text.service:
            form["MessagingServiceSid"] = text.service
        if status == "undelivered":
            form["ErrorCode"] = str(_UNREACHABLE)
        if status == "delivered":
            form["RawDlrDoneDate"] = _short(text.updated or text.created)
        return form


def _short(moment: datetime) -> str:
    return moment.strftime("%y%m%d%H%M")
