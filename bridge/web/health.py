"""The health checks: ``/healthz`` for the platform's router, ``/readyz`` for people and alarms; and the front page.

``/readyz`` checks for overdue work, not for processes: due work that no worker takes is what people notice. It shows
each faulty part and its state to every caller. It shows the cause only to callers with the operator's token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.orm import Session

from bridge.db.engine import AWAY, unfit
from bridge.db.revisions import at_head
from bridge.db.sealing import CANT
from bridge.queues import circuit_breakers, conversation_queue, pause, task_errors
from bridge.queues.conversation_queue import DELIVERIES, QUEUES
from bridge.queues.pause import Pause
from bridge.queues.task_errors import Failing
from bridge.runtime import Runtime
from bridge.web.auth import PUBLIC, declares, operator_of

FRONT = (
    '<!doctype html><html lang="en"><title>SMS bridge</title>'
    '<p>This is an SMS bridge. Its operators have <a href="/console/">the console</a>.</p></html>\n'
)
"""What somebody sees who opens the address of the bridge. It tells strangers nothing about this bridge."""

FORGOTTEN_AFTER = timedelta(seconds=60)
"""Age of due work that has been overlooked, or that finds too few workers."""


def blueprint(rt: Runtime) -> Blueprint:
    checks = Blueprint("health", __name__)

    @checks.get("/")
    @declares(PUBLIC)
    def front() -> Response:
        return Response(FRONT, mimetype="text/html")

    @checks.get("/healthz")
    @declares(PUBLIC)
    def healthz() -> Response:
        return jsonify(status="ok")

    @checks.get("/readyz")
    @declares(PUBLIC)
    def readyz() -> tuple[Response, int]:
        health = examine(rt)
        details = operator_of(rt.settings, request) is not None
        shown = {
            name: [each.whole() if details else each.in_public() for each in found]
            for name, found in (("faults", health.faults), ("information", health.information))
            if found or name == "faults"
        }
        return jsonify(status="faulty" if health.faults else "ok", **shown), 503 if health.faults else 200

    return checks


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


@dataclass(frozen=True)
class Health:
    """Every fault, and what an operator should know that is none."""

    faults: list[Fault]
    information: list[Fault] = field(default_factory=list)


def find_faults(rt: Runtime) -> list[Fault]:
    """Return every fault with its part; empty if all is well."""
    return examine(rt).faults


def examine(rt: Runtime) -> Health:
    """Return the state of every part."""
    away = "can't be reached"
    broker = [] if rt.notifier.reachable() else [Fault("broker", away, "can't be reached; texts wait until it is back")]
    try:
        found = _database(rt)
        return Health(found.faults + broker, found.information)
    except AWAY as error:
        misfit = unfit(error)
        return Health([Fault("database", "is not fit" if misfit else away, misfit or away), *broker])


def _database(rt: Runtime) -> Health:
    with rt.database.read() as session:
        if not at_head(session.connection()):
            newer = "the database schema is out of date; run: python -m bridge db upgrade"
            return Health([Fault("migration", "is missing", newer)])
        paused = pause.read(session)
        oldest = conversation_queue.oldest_due(session, rt.now(), (DELIVERIES,) if paused else QUEUES)
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
    return Health(faults, [_paused(paused)] if paused else [])


def _paused(by: Pause) -> Fault:
    return Fault("agents", "are paused", f"{by.operator} keeps them still since {by.since}; texts wait")


def task_faults(session: Session, now: datetime) -> list[Fault]:
    """Return the tasks that fail again and again, because of a bug or a bad row."""
    return [Fault(each.task, "fails", _fails(each)) for each in task_errors.failing(session, now)]


def _fails(failing: Failing) -> str:
    first, *others = failing.conversations or (None,)
    more = f" and {len(others)} more" if others else ""
    where = f" in conversation {first}{more}" if first else ""
    traceback = "" if failing.error.startswith(CANT) else "; the log has the traceback"
    return f"fails again and again{where} since {failing.since}: {failing.error}{traceback}"
