"""The reporter: lets the bridge's texts fare as they do, and calls their status callbacks.

Which statuses a text goes through is decided when it is handed in; each comes a moment after the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bridge.simulator.carrier import Carrier, Text
from bridge.simulator.channels import Channel
from bridge.simulator.courier import Courier
from bridge.simulator.faults import Faults
from bridge.simulator.hook import Caller
from bridge.simulator.ledger import Callback, Failed, Ledger
from bridge.simulator.reasons import fate
from bridge.simulator.settings import SimulatorSettings

_UNREACHABLE = 30003
_EXPIRED = 30036
_WINDOW = 63016
_FAILURES = {"failed", "undelivered"}


@dataclass(frozen=True)
class _Step:
    """The next status of a text, and how long it takes to get there."""

    status: str
    code: int | None = None
    wait: float = 0.0


class Reporter:
    """Brings the news of each text in order, in the background."""

    def __init__(
        self,
        settings: SimulatorSettings,
        carrier: Carrier,
        courier: Courier,
        caller: Caller,
        faults: Faults,
        ledger: Ledger,
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._courier = courier
        self._caller = caller
        self._faults = faults
        self._ledger = ledger

    def report(self, text: Text) -> None:
        """Tell the bridge how its text fares: the first status is never reported."""
        steps = list(self._way(text))
        at = self._settings.clock()
        if self._faults.strike("callbacks_reordered", "callback", at):
            steps.reverse()
        if self._faults.strike("callbacks_early", "callback", at):
            self._take(text, steps.pop(0))
        for step in steps:
            self._later(text, step)

    def _way(self, text: Text) -> Iterator[_Step]:
        if text.service:
            yield _Step("queued")
        wait = min(self._settings.queue_seconds, text.validity)
        expired = text.validity < self._settings.queue_seconds
        final, code = ("failed", _EXPIRED) if expired else self._end(text)
        if final == "failed":
            yield _Step(final, code, wait)
            return
        yield _Step("sent", wait=wait)
        yield _Step(final, code)
        if final == "delivered" and text.channel.reads:
            yield _Step("read")

    def _end(self, text: Text) -> tuple[str, int | None]:
        """How it ends, and why: a fault of the table comes before what the phone would do."""
        at = self._settings.clock()
        if strike := self._faults.strike("callbacks_failed", "callback", at):
            return "failed", int(strike.options["code"])
        if self._faults.strike("callbacks_undelivered", "callback", at):
            return "undelivered", _UNREACHABLE
        if doomed := fate(text.to):
            return doomed.final, doomed.code
        if not text.template and not self._carrier.window_open(text.to):
            return "failed", _WINDOW
        return "delivered", None

    def _later(self, text: Text, step: _Step) -> None:
        wait = self._settings.callback_seconds + step.wait
        self._courier.post(("report", text.sid), lambda: self._take(text, step), wait)

    def _take(self, text: Text, step: _Step) -> None:
        if self._carrier.move(text, step.status, step.code) and step.code:
            now = self._settings.clock()
            self._ledger.write(Failed(at=now, sid=text.sid, phone=text.to, status=step.status, code=step.code))
        self._ledger.changes.bump()
        if text.callback:
            self._call(text, text.callback, step)

    def _call(self, text: Text, url: str, step: _Step) -> None:
        at = self._settings.clock()
        if self._faults.strike("callbacks_lost", "callback", at):
            return
        for _ in range(2 if self._faults.strike("callbacks_doubled", "callback", at) else 1):
            outcome = self._caller.call(url, self._form(text, step))
            now, detail = self._settings.clock(), outcome.detail
            event = Callback(at=now, sid=text.sid, phone=text.to, status=step.status, ok=outcome.ok, detail=detail)
            self._ledger.write(event)

    def _form(self, text: Text, step: _Step) -> dict[str, str]:
        form = {
            "AccountSid": self._settings.account_sid,
            "MessageSid": text.sid,
            "MessageStatus": step.status,
            "SmsSid": text.sid,
            "SmsStatus": step.status,
            "From": text.sender,
            "To": text.shown_to,
            "ApiVersion": "2010-04-01",
        }
        if text.service:
            form["MessagingServiceSid"] = text.service
        if step.code:
            form["ErrorCode"] = str(step.code)
        return form | _channel_fields(text, step.status)


def _channel_fields(text: Text, status: str) -> dict[str, str]:
    if text.channel is Channel.SMS:
        return {"RawDlrDoneDate": _short(text.updated or text.created)} if status == "delivered" else {}
    more = {"ChannelPrefix": str(text.channel), "ChannelInstallSid": "XE" + "0" * 32}
    if status in _FAILURES:
        more["ChannelStatusMessage"] = "Channel provider returned error"
    return more | ({"EventType": "READ"} if status == "read" else {})


def _short(moment: datetime) -> str:
    return moment.strftime("%y%m%d%H%M")
