"""Run all checks side by side, each with a time limit, and return what they find in a fixed order."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence

from bridge.config import Settings
from bridge.doctor.address import address
from bridge.doctor.agents import retell, uponai
from bridge.doctor.broker import broker
from bridge.doctor.clocks import providers
from bridge.doctor.context import Check, Context
from bridge.doctor.database import database
from bridge.doctor.encryption import encryption
from bridge.doctor.findings import Finding, fault
from bridge.doctor.processes import clock, workers
from bridge.doctor.settings import settings
from bridge.doctor.twilio import countries, credentials, number, services

log = logging.getLogger(__name__)

LIMIT = 30.0
"""Seconds for all of them. Each call has a shorter limit of its own."""

CHECKS: Mapping[str, Check] = {
    "settings": settings,
    "database": database,
    "encryption": encryption,
    "broker": broker,
    "worker": workers,
    "clock": clock,
    "time": providers,
    "PUBLIC_URL": address,
}
"""The checks of every bridge by subject, in the order of the output."""


def checks_of(its: Settings) -> dict[str, Check]:
    """Return all checks of a bridge with these settings, in the order of the output."""
    numbers = {f"number {place}": number(each) for place, each in enumerate(its.twilio_numbers, start=1)}
    at_twilio = {"twilio": credentials, **numbers, "services": services, "countries": countries}
    return {**CHECKS, **at_twilio, "retell": retell, "uponai": uponai}


Done = queue.SimpleQueue[tuple[str, Sequence[Finding]]]


def examine(context: Context, checks: Mapping[str, Check] | None = None, limit: float = LIMIT) -> list[Finding]:
    """Run the checks. A check that is not done in time is a fault, and its thread is left behind."""
    checks = checks_of(context.settings) if checks is None else checks
    done: Done = queue.SimpleQueue()
    for subject, check in checks.items():
        threading.Thread(target=_run, args=(subject, check, context, done), name=subject, daemon=True).start()
    found = dict(_collected(done, len(checks), time.monotonic() + limit))
    remedy = "Check the network, then try again."
    return [
        finding
        for subject in checks
        for finding in found.get(subject, [fault(subject, f"no result within {limit:g} s", remedy, code="check-late")])
    ]


def _collected(done: Done, count: int, until: float) -> list[tuple[str, Sequence[Finding]]]:
    collected: list[tuple[str, Sequence[Finding]]] = []
    while len(collected) < count:
        try:
            collected.append(done.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    return collected


def _run(subject: str, check: Check, context: Context, done: Done) -> None:
    try:
        found = check(context)
    except Exception as error:
        log.exception("the check of %s failed", subject)
        words = f"its check has failed: {type(error).__name__}"
        found = [fault(subject, words, "This is a bug of the bridge.", code="check-failed")]
    done.put((subject, found))
