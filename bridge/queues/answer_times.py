"""How fast people are answered: the histograms of ``/metrics``.

A worker counts in memory, and a thread adds its counts to the table every few seconds. So a text costs no statement,
the counts of all processes are in one place, and stay when a process ends. One that is killed loses its last seconds,
which is nothing to a histogram. The table has one row for each bucket, however long the history is.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bridge.db.models import AnswerTime
from bridge.db.statements import Statement
from bridge.db.transaction import Database

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two additions of one process."""

MORE = -1
"""The bucket above the last bound."""


class Which(StrEnum):
    """The histograms."""

    ANSWER = "answer"
    """From a person's text to the carrier's acceptance of its answer."""
    ADDED = "added"
    """The part of that in which the text was due, and the bridge waited for no provider."""


BOUNDS: Mapping[Which, tuple[int, ...]] = {
    Which.ANSWER: (500, 1000, 2000, 3000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 600_000, 3_600_000),
    Which.ADDED: (10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000),
}
"""The upper bounds of the buckets, in milliseconds."""


@dataclass(frozen=True)
class Bucket:
    """What is counted up to a bound, and above the one before."""

    texts: int = 0
    milliseconds: int = 0

    def plus(self, texts: int, milliseconds: int) -> Bucket:
        return Bucket(self.texts + texts, self.milliseconds + milliseconds)


_ADD = Statement(
    """
    INSERT INTO answer_times (which, up_to, texts, milliseconds)
    SELECT counts.which, counts.up_to, counts.texts, counts.milliseconds FROM {counts} WHERE true ORDER BY 1, 2
    ON CONFLICT (which, up_to) DO UPDATE SET texts = answer_times.texts + excluded.texts,
        milliseconds = answer_times.milliseconds + excluded.milliseconds
    """,
    counts={"which": "text", "up_to": "integer", "texts": "bigint", "milliseconds": "bigint"},
)


class AnswerTimes:
    """The counts of this process that are not in the table yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: Counter[tuple[Which, int]] = Counter()
        self._milliseconds: Counter[tuple[Which, int]] = Counter()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, which: Which, seconds: float) -> None:
        """Count one answer. Clocks of two machines may differ, so none is faster than 0."""
        milliseconds = max(0, round(seconds * 1000))
        key = which, bucket_of(which, milliseconds)
        with self._lock:
            self._texts[key] += 1
            self._milliseconds[key] += milliseconds

    def flush(self, database: Database) -> None:
        """Add the counts to the table. If that fails, the next call does it."""
        with self._lock:
            texts, milliseconds = self._texts, self._milliseconds
            self._texts, self._milliseconds = Counter(), Counter()
        if not texts:
            return
        rows = [
            {"which": which.value, "up_to": up_to, "texts": number, "milliseconds": milliseconds[which, up_to]}
            for (which, up_to), number in sorted(texts.items())  # the same order in all processes: no deadlock
        ]
        try:
            with database.transaction() as tx:
                _ADD.run(tx, counts=rows)
        except SQLAlchemyError as error:
            log.warning("the times of answers could not be added: %s", type(error).__name__)
            with self._lock:
                self._texts.update(texts)
                self._milliseconds.update(milliseconds)

    def start(self, database: Database) -> None:
        """Go on in a thread. Call it in the process that works, after every fork."""
        self._thread = threading.Thread(target=self._run, args=(database,), name="answer-times", daemon=True)
        self._thread.start()

    def stop(self, database: Database) -> None:
        """Add the last counts."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        self.flush(database)

    def _run(self, database: Database) -> None:
        while not self._stopped.wait(EVERY):
            self.flush(database)


def bucket_of(which: Which, milliseconds: int) -> int:
    """Return the bound of the bucket."""
    bounds = BOUNDS[which]
    place = bisect_left(bounds, milliseconds)
    return bounds[place] if place < len(bounds) else MORE


_KNOWN = [which.value for which in Which]


def read(session: Session) -> dict[Which, dict[int, Bucket]]:
    """Return the buckets of each histogram, in order.

    During an update another release counts too. Its bounds count where they fit in this one, and a histogram that is
    unknown here is left out.
    """
    found = {which: dict.fromkeys((*bounds, MORE), Bucket()) for which, bounds in BOUNDS.items()}
    for row in session.scalars(select(AnswerTime).where(AnswerTime.which.in_(_KNOWN))):
        which = Which(row.which)
        up_to = MORE if row.up_to == MORE else bucket_of(which, row.up_to)
        found[which][up_to] = found[which][up_to].plus(row.texts, row.milliseconds)
    return found
