"""The scheduler of the clock: ``celery … beat --scheduler bridge.processes.clock:Scheduler``."""

from __future__ import annotations

from celery import beat


class Scheduler(beat.Scheduler):
    """Beat's own, which keeps nothing in a file. It sleeps until a job is due.

    Beat wakes 10 ms before each job and asks without a pause whether it is due by now. With a sweep every 2 s that is
    two thirds of the clock's processor time.
    """

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Return the seconds until a job is due, as they are."""
        return n
