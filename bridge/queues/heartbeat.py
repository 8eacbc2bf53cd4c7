"""The pulse of a process that claims work.

It writes a line into ``workers`` every few seconds. The sweeper takes the work of a silent worker away, and a worker
that could not write for too long, because it was stopped or cut off from the database, begins nothing any more: when
it was taken for dead, somebody else may be at it already.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError

from bridge.db.engine import Sessions
from bridge.db.models import Worker
from bridge.queues.conversation_queue import QUEUES, STALLED_AFTER, ConversationQueue, leases_of, release

log = logging.getLogger(__name__)

BEAT_EVERY = 3.0
"""Seconds; several beats may fail before a worker is taken for dead."""

LIVE_FOR = STALLED_AFTER.total_seconds() / 2
"""Seconds since the last beat in which a worker may begin something. Half of what others wait: clocks differ."""


class Heartbeat:
    """``start()`` it once the process is what it will stay (after a fork)."""

    def __init__(
        self,
        sessions: Sessions,
        now: Callable[[], datetime],
        *,
        elapsed: Callable[[], float] = time.monotonic,
        every: float = BEAT_EVERY,
    ) -> None:
        self.worker = uuid.uuid4().hex
        """This process's name in its claims and in ``workers``."""
        self._sessions = sessions
        self._now = now
        self._elapsed = elapsed
        self._every = every
        self._last = float("-inf")
        self._beaten = threading.Condition()
        self._in_hand: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def may_start_work(self, worker: str) -> bool:
        """May the worker of this name begin something that others must not begin too?"""
        return worker == self.worker and self._elapsed() - self._last < LIVE_FOR

    def wait_until_live(self, within: float) -> bool:
        """Wait so many seconds at most until this process may begin something; False where it still may not."""
        with self._beaten:
            return self._beaten.wait_for(lambda: self.may_start_work(self.worker), within)

    @contextmanager
    def working_on(self, queue: ConversationQueue, conversation_id: int) -> Iterator[None]:
        """While this lasts, what this worker claims of the line is being worked on.

        What it holds otherwise was dropped: by an error that nobody expected, or by a database that went away, even in
        the middle of the claim's own commit. The next beat lets go of it.
        """
        key = (queue.task, conversation_id)
        with self._lock:
            self._in_hand[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_hand[key] -= 1
                self._in_hand += Counter()  # forgets what is at zero

    def beat(self) -> None:
        """Write one beat. A database that is away is not an error here: the pulse is then no longer steady.

        After too long a silence it comes back under another name. What was claimed under the old one may be in other
        hands, also when the first beat is faster than the thread that was halted just before its call.
        """
        before = self._elapsed()
        if before - self._last > LIVE_FOR:
            self.worker = uuid.uuid4().hex
        try:
            self._write()
            with self._beaten:
                self._last = before
                self._beaten.notify_all()
            self._let_go_of_the_dropped()
        except SQLAlchemyError as error:
            log.warning("a beat was not finished: %s", type(error).__name__)

    def start(self) -> None:
        self.beat()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The last thing that a worker does: what it still holds comes due at once."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        self._last = float("-inf")
        try:
            with self._sessions.begin() as session:
                session.execute(delete(Worker).where(Worker.id == self.worker))
        except SQLAlchemyError as error:
            log.warning("could not sign off: %s", type(error).__name__)

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self.beat()
            except Exception:  # a heart that stops for good would leave a process that lives and does nothing
                log.exception("the beat failed")

    def _write(self) -> None:
        with self._sessions.begin() as session:
            known = update(Worker).where(Worker.id == self.worker).values(last_heartbeat_at=self._now())
            if session.execute(known.returning(Worker.id)).first() is None:
                session.add(Worker(id=self.worker, last_heartbeat_at=self._now()))

    def _let_go_of_the_dropped(self) -> None:
        """The table is read first and the memory after: what is claimed in between is in hand already."""
        with self._sessions.begin() as session:
            claims = [lease for queue in QUEUES for lease in leases_of(session, queue, self.worker)]
            with self._lock:
                dropped = [lease for lease in claims if (lease.queue.task, lease.conversation_id) not in self._in_hand]
            for lease in dropped:
                if release(session, lease, self._now()):
                    log.warning(
                        "%s %s was dropped in the middle, and is due again", lease.queue.task, lease.conversation_id
                    )
