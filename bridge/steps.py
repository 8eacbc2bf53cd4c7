"""What can be rung, and what the clock calls for. Celery's worker and the embedded run both go by this."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from bridge import catch_up, confirm, delivery, turns, upkeep
from bridge.runtime import Runtime
from bridge.step_errors import noted

STEPS: dict[str, Callable[[Runtime, int], None]] = {
    "converse": turns.converse,
    "deliver": delivery.deliver,
    "end_chat": upkeep.end_chat,
}
"""Rung by name with the id of one row."""

AWAIT_PULSE = 10.0
"""Seconds. A worker that has just been cut off from the database, or halted, mostly has a pulse again within them."""

CLOCK: dict[str, tuple[Callable[[Runtime], None], timedelta]] = {
    "sweep": (upkeep.sweep, timedelta(seconds=2)),
    "end_stale": (upkeep.end_stale, timedelta(minutes=5)),
    "catch_up": (catch_up.catch_up, timedelta(seconds=30)),
    "confirm": (confirm.confirm, timedelta(minutes=1)),
}
"""What the clock calls for, each at its own interval. The sweep is what makes a pause end on time, so it is frequent;
it costs a few index look-ups."""


def hear(rt: Runtime, step: str, row: int) -> None:
    """Answer one ring. A worker without a pulse may not begin anything: it would spend all the rings that there are in
    no time, so it keeps each of them for a while.
    """
    rt.pulse.await_steady(AWAIT_PULSE)
    with noted(rt, step, row):
        STEPS[step](rt, row)


def tick(rt: Runtime, name: str) -> None:
    """Do what the clock calls for."""
    job, every = CLOCK[name]
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
