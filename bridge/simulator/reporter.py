"""The reporter. It moves the bridge's texts through their statuses, and calls their status callbacks.

The statuses of a text are decided when the carrier accepts it. Each follows shortly after the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bridge.simulator.carrier import Text
from bridge.simulator.channels import Channel
from bridge.simulator.ledger import Callback, Failed
from bridge.simulator.network import Network
from bridge.simulator.reasons import fate

_UNREACHABLE = 30003
_EXPIRED = 30036
_WINDOW = 63016
_FAILURES = {"failed", "undelivered"}


@dataclass(frozen=True)
class _Stage:
    """The next status of a text, and the wait before it."""

    status: str
    code: int | None = None
    wait: float = 0.0


class Reporter:
    """The reporter of each text's statuses, in order and in the background."""

    def __init__(self, network: Network) -> None:
        self._settings = network.settings
        self._carrier = network.carrier
        self._courier = network.courier
        self._caller = network.caller
        self._faults = network.faults
        self._ledger = network.ledger

    def report(self, text: Text) -> None:
        """Report the statuses of a text. The first one is never reported."""
        stages = list(self._way(text))
        at = self._settings.clock()
        if self._faults.strike("callbacks_reordered", "callback", at):
            stages.reverse()
        if self._faults.strike("callbacks_early", "callback", at):
            self._take(text, stages.pop(0))
        for stage in stages:
            self._later(text, stage)

    def _way(self, text: Text) -> Iterator[_Stage]:
        if text.service:
            yield _Stage("queued")
        wait = min(self._settings.queue_seconds, text.validity)
        expired = text.validity < self._settings.queue_seconds
        final, code = ("failed", _EXPIRED) if expired else self._end(text)
        if final == "failed":
            yield _Stage(final, code, wait)
            return
        yield _Stage("sent", wait=wait)
        yield _Stage(final, code)
        if final == "delivered" and text.channel.reads:
            yield _Stage("read")

    def _end(self, text: Text) -> tuple[str, int | None]:
        """Return the final status and its reason. A fault of the table takes precedence over the phone."""
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

    def _later(self, text: Text, stage: _Stage) -> None:
        wait = self._settings.callback_seconds + stage.wait
        self._courier.post(("report", text.sid), lambda: self._take(text, stage), wait)

    def _take(self, text: Text, stage: _Stage) -> None:
        if self._carrier.move(text, stage.status, stage.code) and stage.code:
            now = self._settings.clock()
            self._ledger.write(Failed(at=now, sid=text.sid, phone=text.to, status=stage.status, code=stage.code))
        self._ledger.changes.bump()
        if text.callback:
            self._call(text, text.callback, stage)

    def _call(self, text: Text, url: str, stage: _Stage) -> None:
        at = self._settings.clock()
        if self._faults.strike("callbacks_lost", "callback", at):
            return
        for _ in range(2 if self._faults.strike("callbacks_doubled", "callback", at) else 1):
            outcome = self._caller.call(url, self._form(text, stage))
            now, detail = self._settings.clock(), outcome.detail
            event = Callback(at=now, sid=text.sid, phone=text.to, status=stage.status, ok=outcome.ok, detail=detail)
            self._ledger.write(event)

    def _form(self, text: Text, stage: _Stage) -> dict[str, str]:
        form = {
            "AccountSid": self._settings.account_sid,
            "MessageSid": text.sid,
            "MessageStatus": stage.status,
            "SmsSid": text.sid,
            "SmsStatus": stage.status,
            "From": text.sender,
            "To": text.shown_to,
            "ApiVersion": "2010-04-01",
        }
        if text.service:
            form["MessagingServiceSid"] = text.service
        if stage.code:
            form["ErrorCode"] = str(stage.code)
        return form | _channel_fields(text, stage.status)


def _channel_fields(text: Text, status: str) -> dict[str, str]:
    if text.channel is Channel.SMS:
        return {"RawDlrDoneDate": _short(text.updated or text.created)} if status == "delivered" else {}
    more = {"ChannelPrefix": str(text.channel), "ChannelInstallSid": "XE" + "0" * 32}
    if status in _FAILURES:
        more["ChannelStatusMessage"] = "Channel provider returned error"
    return more | ({"EventType": "READ"} if status == "read" else {})


def _short(moment: datetime) -> str:
    return moment.strftime("%y%m%d%H%M")
