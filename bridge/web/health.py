"""Is it well? ``/healthz`` for the platform's router, ``/readyz`` for people and alarms.

``/readyz`` looks at forgotten work, not at processes: a line that is due and that nobody takes is what people notice.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify

from bridge import holds, line
from bridge.db import AWAY, unfit
from bridge.migrate import at_head
from bridge.runtime import Runtime
from bridge.web.auth import PUBLIC, declares

FORGOTTEN_AFTER = timedelta(seconds=60)
"""A line that is due for so long has been overlooked, or there are too few workers."""


def blueprint(rt: Runtime) -> Blueprint:
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    @declares(PUBLIC)
    def healthz() -> Response:
        return jsonify(status="ok")

    @health.get("/readyz")
    @declares(PUBLIC)
    def readyz() -> tuple[Response, int]:
        faults = find_faults(rt)
        return jsonify(status="faulty" if faults else "ok", faults=faults), 503 if faults else 200

    return health


def find_faults(rt: Runtime) -> list[dict[str, str]]:
    """What is wrong, each with the part it belongs to and a sentence; empty when all is well."""
    broker = [] if rt.bell.reachable() else [_fault("broker", "can't be reached; texts wait until it is back")]
    try:
        return _database(rt) + broker
    except AWAY as error:
        return [_fault("database", unfit(error) or "can't be reached"), *broker]


def _database(rt: Runtime) -> list[dict[str, str]]:
    with rt.sessions() as session:
        if not at_head(session.connection()):
            return [_fault("migration", "the tables are not the newest; run: python -m bridge db upgrade")]
        oldest = line.oldest_due(session, rt.now())
        on_hold = holds.held(session)
    faults = [_fault(hold.scope, f"serves none of our messages since {hold.since}: {hold.cause}") for hold in on_hold]
    if oldest and oldest < rt.now() - FORGOTTEN_AFTER:
        waited = int((rt.now() - oldest).total_seconds())
        faults.append(_fault("work", f"the oldest waiting work is due for {waited} s; are worker and clock running?"))
    return faults


def _fault(part: str, what: str) -> dict[str, str]:
    return {"part": part, "what": what}
