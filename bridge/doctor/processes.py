"""The processes, by their traces: the heartbeats of workers, and what a job of the clock has done last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bridge.db.models import InboundCursor, Worker
from bridge.doctor.context import Context
from bridge.doctor.database import missing_file
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.queues.timing import STALLED_AFTER

WORKER = "worker"
CLOCK = "clock"

SILENT_AFTER = timedelta(minutes=3)
"""Catch-up reads the list of each number twice a minute. One long list may delay it."""

START = "Start the bridge: bridge up, or web, worker and clock of the Procfile."
NO_DATABASE = "Repair the database first."


@dataclass(frozen=True)
class Traces:
    """What the database shows of the processes."""

    workers: int
    last_catch_up: datetime | None


def workers(context: Context) -> Sequence[Finding]:
    """Check that a worker has written its heartbeat lately."""
    traces = _traces(context)
    if traces is None:
        return [warning(WORKER, "its heartbeat can't be read", NO_DATABASE, code="worker-unread")]
    if not traces.workers:
        return [fault(WORKER, "none is alive, so no text is answered", START, code="worker-none")]
    return [ok(WORKER, f"{traces.workers} alive")]


def clock(context: Context) -> Sequence[Finding]:
    """Check the trace of one of its jobs: catch-up moves the cursor of every number."""
    traces = _traces(context)
    if traces is None:
        return [warning(CLOCK, "its traces can't be read", NO_DATABASE, code="clock-unread")]
    if not context.settings.twilio_numbers:
        words = "leaves no trace without TWILIO_NUMBERS"
        return [warning(CLOCK, words, "Set TWILIO_NUMBERS.", code="clock-no-trace")]
    silent = None if traces.last_catch_up is None else context.now() - traces.last_catch_up
    if silent is None or silent > SILENT_AFTER:
        since = "has never read Twilio's list of texts" if silent is None else f"has read nothing for {_length(silent)}"
        remedy = f"{START} If it runs, Twilio refuses the list."
        return [fault(CLOCK, f"catch-up, a job of the clock, {since}", remedy, code="clock-silent")]
    return [ok(CLOCK, "catch-up, one of its jobs, has run within the last minutes")]


def _traces(context: Context) -> Traces | None:
    if missing_file(context.settings.database_url):
        return None
    alive = Worker.last_heartbeat_at > context.now() - STALLED_AFTER
    try:
        with context.engine.connect() as connection:
            workers = connection.scalar(select(func.count()).select_from(Worker).where(alive))
            cursors = connection.scalars(select(InboundCursor.read_until)).all()
    except SQLAlchemyError:  # the database's own check says why
        return None
    return Traces(workers or 0, max(cursors, default=None))


def _length(silent: timedelta) -> str:
    minutes = int(silent.total_seconds() // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
