"""The tasks of wake-ups, and the schedule of the clock. Celery's worker and the embedded bridge share them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from bridge.chats import do_not_call_task, end_task
from bridge.maintenance import catch_up, handoffs, outside_texts, purge, stale_chats, status_poll, sweep
from bridge.operators import draft_requests, draft_task, erasures, forgotten, idempotency
from bridge.outbound import notices_task
from bridge.outbound.delivery.process import deliver_claimed, process_deliveries
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.processes.task_errors import noted
from bridge.queues.conversation_queue import DELIVERIES
from bridge.runtime import Runtime
from bridge.turns.process import process_turns

log = logging.getLogger(__name__)


def deliver(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """Send the first text of an answer. An unexpected error is the delivery's, and not the turn's."""
    try:
        with noted(rt, DELIVERIES.task, claimed.lease.conversation_id):
            deliver_claimed(rt, claimed)
    except Exception:
        log.exception("%s failed", DELIVERIES.task)


TASKS: dict[str, Callable[[Runtime, int], None]] = {
    "process_turns": partial(process_turns, deliver=deliver),
    "process_deliveries": process_deliveries,
    "end_chat": end_task.end_chat,
    "write_do_not_call": do_not_call_task.write_do_not_call,
    "tell_team": notices_task.tell_team,
    "write_draft": draft_task.write_draft,
}
"""The tasks by name. A wake-up has the name and the id of one row."""

AWAIT_HEARTBEAT = 10.0
"""Seconds to wait for a heartbeat. A worker that was halted or cut off from the database mostly has one by then."""

SCHEDULE: dict[str, tuple[Callable[[Runtime], None], timedelta]] = {
    "sweep": (sweep.sweep, timedelta(seconds=2)),
    "end_stale": (stale_chats.end_stale, timedelta(minutes=5)),
    "check_handoffs": (handoffs.check_again, timedelta(minutes=5)),
    "end_waits": (handoffs.end_waits, timedelta(seconds=15)),
    "forget_keys": (idempotency.forget_expired, timedelta(minutes=5)),
    "forget_drafts": (draft_requests.forget_old, timedelta(minutes=5)),
    "purge_old": (purge.purge_old, timedelta(minutes=1)),
    "purge_conversations": (purge.purge_conversations, timedelta(hours=1)),
    "erase_rest": (erasures.erase_rest, timedelta(minutes=1)),
    "forget_digests": (forgotten.let_expire, timedelta(hours=1)),
    "catch_up": (catch_up.catch_up, timedelta(seconds=30)),
    "hold_for_outside_texts": (outside_texts.hold_for_outside_texts, timedelta(seconds=30)),
    "poll_statuses": (status_poll.poll_statuses, timedelta(minutes=1)),
}
"""The jobs of the clock, each with its interval. The sweep is frequent, because it ends backoffs on time; it costs a
few index look-ups."""


def run_task(rt: Runtime, task: str, row: int) -> None:
    """Run the task of one wake-up.

    A worker without a heartbeat may not start work. It would waste all wake-ups in no time, so it waits at each.
    """
    rt.heartbeat.wait_until_live(AWAIT_HEARTBEAT)
    work_on(rt, task, row, lambda: TASKS[task](rt, row))


def work_on(rt: Runtime, task: str, row: int, work: Callable[[], None]) -> None:
    """Do this work of a task for a row. An unexpected error is recorded for the row."""
    with noted(rt, task, row):
        work()


def tick(rt: Runtime, name: str) -> None:
    """Run one job of the clock."""
    job, every = SCHEDULE[name]
    with noted(rt, name, every=every):
        job(rt)


def one_at_a_time(job: Callable[[Runtime], None]) -> Callable[[Runtime], None]:
    """Return the job so that a worker skips a call while the last one still runs.

    Reading a long list ten times at once is not faster.
    """
    running = threading.Lock()

    def called(rt: Runtime) -> None:
        if running.acquire(blocking=False):
            try:
                job(rt)
            finally:
                running.release()

    return called
