"""The clock's scheduler sleeps between two jobs, and leaves none out."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from celery import Celery, beat

from bridge.processes.clock import Scheduler
from testkit.procfile import lines

EVERY = timedelta(milliseconds=100)
CALLS = 5


class Counting(Scheduler):
    """It notes the calls and publishes none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.called: list[str] = []
        super().__init__(*args, **kwargs)

    def apply_entry(self, entry: beat.ScheduleEntry, producer: object = None) -> None:
        self.called.append(entry.name)


def test_it_asks_whether_a_job_is_due_a_few_times_for_each_call() -> None:
    app = Celery("clock", broker="memory://")
    app.conf.beat_schedule = {"sweep": {"task": "sweep", "schedule": EVERY}}
    clock, asked, began = Counting(app=app), 0, time.monotonic()
    while len(clock.called) < CALLS:
        asked += 1
        time.sleep(max(0.0, clock.tick() or 0.0))
    assert asked <= 4 * CALLS
    assert time.monotonic() - began >= (CALLS - 1) * EVERY.total_seconds() - 0.01


def test_the_procfile_names_it() -> None:
    assert f"--scheduler {Scheduler.__module__}:{Scheduler.__name__}" in lines()["clock"]
