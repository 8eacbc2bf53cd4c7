"""What can be rung, and what the clock calls for. Celery's worker and the embedded run both go by this."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from bridge.chats import end_task
from bridge.maintenance import catch_up, stale_chats, status_poll, sweep
from bridge.outbound.delivery.process import process_deliveries
from bridge.processes.task_errors import noted
from bridge.runtime import Runtime
from bridge.turns.process import process_turns

TASKS: dict[str, Callable[[Runtime, int], None]] = {
    "process_turns": process_turns,
    "process_deliveries": process_deliveries,
    "end_chat": end_task.end_chat,
}
"""Rung by name with the id of one row."""

AWAIT_HEARTBEAT = 10.0
"""Seconds. A worker that has just been cut off from the database, or halted, mostly has a pulse again within them."""

SCHEDULE: dict[str, tuple[Callable[[Runtime], None], timedelta]] = {
    "sweep": (sweep.sweep, timedelta(seconds=2)),
    "end_stale": (stale_chats.end_stale, timedelta(minutes=5)),
    "catch_up": (catch_up.catch_up, timedelta(seconds=30)),
    "poll_statuses": (status_poll.poll_statuses, timedelta(minutes=1)),
}
"""What the clock calls for, each at its own interval. The sweep is what makes a pause end on time, so it is frequent;
it costs a few index look-ups."""


def run_task(rt: Runtime, task: str, row: int) -> None:
    """Answer one ring. A worker without a pulse may not begin anything: it would spend all the rings that there are in
    no time, so it keeps each of them for a while.
    """
    rt.heartbeat.wait_until_live(AWAIT_HEARTBEAT)
    with noted(rt, task, row):
        TASKS[task](rt, row)


def tick(rt: Runtime, name: str) -> None:
    """Do what the clock calls for."""
    job, every = SCHEDULE[name]
    with noted(rt, name, every=every):
        job(rt)


def one_at_a_time(job: Callable[[Runtime], None]) -> Callable[[Runtime], None]:
    """For a worker that takes the clock's calls as they come: where one has not come to its end, the next one is left
    out. Ten looks at a long list at once bring nothing sooner.
    """
    at_it = threading.Lock()

    def called(rt: Runtime) -> None:
        if at_it.acquire(blocking=False):
            try:
                job(rt)
            finally:
                at_it.release()

    return called
