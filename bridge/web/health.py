"""The health checks: ``/healthz`` for the platform's router, ``/readyz`` for people and alarms.

``/readyz`` checks for overdue work, not for processes: due work that no worker takes is what people notice. It shows
each faulty part and its state to every caller. It shows the cause only to callers with the operator's token.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.orm import Session

from bridge.db.engine import AWAY, unfit
from bridge.db.migrate import at_head
from bridge.queues import circuit_breakers, conversation_queue, task_errors
from bridge.queues.task_errors import Failing
from bridge.runtime import Runtime
from bridge.web.auth import PUBLIC, declares, is_operator

FORGOTTEN_AFTER = timedelta(seconds=60)
"""Age of due work that has been overlooked, or that finds too few workers."""


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
        details = is_operator(rt.settings.admin_token, request)
        faults_shown = [fault.whole() if details else fault.in_public() for fault in faults]
        return jsonify(status="faulty" if faults else "ok", faults=faults_shown), 503 if faults else 200

    return health


@dataclass(frozen=True)
class Fault:
    """A faulty part. Foreign words and figures are for operators only."""

    part: str
    state: str
    what: str

    def in_public(self) -> dict[str, str]:
        return {"part": self.part, "state": self.state}

    def whole(self) -> dict[str, str]:
        return {**self.in_public(), "what": self.what}


def find_faults(rt: Runtime) -> list[Fault]:
    """Return every fault with its part; empty if all is well."""
    away = "can't be reached"
    broker = [] if rt.notifier.reachable() else [Fault("broker", away, "can't be reached; texts wait until it is back")]
    try:
        return _database(rt) + broker
    except AWAY as error:
        misfit = unfit(error)
        return [Fault("database", "is not fit" if misfit else away, misfit or away), *broker]


def _database(rt: Runtime) -> list[Fault]:
    with rt.database.read() as session:
        if not at_head(session.connection()):
            newer = "the database schema is out of date; run: python -m bridge db upgrade"
            return [Fault("migration", "is missing", newer)]
        oldest = conversation_queue.oldest_due(session, rt.now())
        open_circuits = circuit_breakers.open_circuits(session)
        failing = task_faults(session, rt.now())
    faults = [
        Fault(breaker.scope, "circuit open", f"serves none of our messages since {breaker.since}: {breaker.cause}")
        for breaker in open_circuits
    ]
    faults += failing
    if oldest and oldest < rt.now() - FORGOTTEN_AFTER:
        waited = int((rt.now() - oldest).total_seconds())
        overlooked = f"the oldest work is due for {waited} s; check that worker and clock are running"
        faults.append(Fault("work", "is waiting", overlooked))
    return faults


def task_faults(session: Session, now: datetime) -> list[Fault]:
    """Return the tasks that fail again and again, because of a bug or a bad row."""
    return [Fault(each.task, "fails", _fails(each)) for each in task_errors.failing(session, now)]


def _fails(failing: Failing) -> str:
    first, *others = failing.conversations or (None,)
    more = f" and {len(others)} more" if others else ""
    where = f" in conversation {first}{more}" if first else ""
    return f"fails again and again{where} since {failing.since}: {failing.error}; the log has the traceback"
