"""The broker: a call goes through it to a worker and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bridge import __version__
from bridge.doctor.clocks import judged
from bridge.doctor.context import BrokerAway, Context
from bridge.doctor.findings import Finding, fault, ok, warning

SUBJECT = "broker"


def broker(context: Context) -> Sequence[Finding]:
    if context.ping is None:
        return [ok(SUBJECT, "none is set, as bridge up wants it")]
    before = context.now()
    try:
        pong = context.ping()
    except BrokerAway as error:
        remedy = "Check CELERY_BROKER_URL and whether the broker runs."
        return [fault(SUBJECT, f"can't be used: {error}", remedy, code="broker-away")]
    if pong is None:
        words = "takes a call, but no worker has answered it in time"
        remedy = "Start a worker with this broker: see worker in the Procfile."
        return [fault(SUBJECT, words, remedy, code="broker-unanswered")]
    took = context.now() - before
    middle = before + took / 2
    return [_answered(pong.version, took), judged("a worker", pong.at - middle, unsure=took / 2)]


def _answered(version: str, took: timedelta) -> Finding:
    if version != __version__:
        words = f"a worker answers, of version {version}; this is {__version__}"
        return warning(SUBJECT, words, "Restart the processes with one version.", code="worker-version")
    return ok(SUBJECT, f"a call has reached a worker and come back in {took.total_seconds():.1f} s")
