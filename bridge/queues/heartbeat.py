"""The heartbeat of a worker process: proof that it is alive.

A worker writes to ``workers`` every few seconds. The sweeper gives back the leases of a stalled worker. A worker that
could not write for too long was halted or cut off from the database. It starts no work any more, because another worker
may have taken over already.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError

from bridge.db.models import Worker
from bridge.db.transaction import Database
from bridge.queues.conversation_queue import QUEUES, ConversationQueue, leases_of, release
from bridge.queues.timing import HEARTBEAT_EVERY, LIVE_FOR

log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of this process. Call ``start()`` in the process that works, after every fork."""

    def __init__(
        self,
        database: Database,
        *,
        elapsed: Callable[[], float] = time.monotonic,
        every: float = HEARTBEAT_EVERY,
    ) -> None:
        self.worker = uuid.uuid4().hex
        """This process's name in its leases and in ``workers``."""
        self._database = database
        self._elapsed = elapsed
        self._every = every
        self._last = float("-inf")
        self._beaten = threading.Condition()
        self._in_hand: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def may_start_work(self, worker: str) -> bool:
        """Return whether the worker of this name may start something that two workers must not do at once."""
        return worker == self.worker and self._elapsed() - self._last < LIVE_FOR

    def wait_until_live(self, within: float) -> bool:
        """Wait at most so many seconds until this process may start work. Return whether it may."""
        with self._beaten:
            return self._beaten.wait_for(lambda: self.may_start_work(self.worker), within)

    @contextmanager
    def working_on(self, queue: ConversationQueue, conversation_id: int) -> Iterator[None]:
        """Mark the queue as being worked on.

        A lease of this worker on any other queue was abandoned: by an unexpected error, or by a database that went away
        in the middle of the claim's own commit. The next beat releases it.
        """
        self.take(queue, [conversation_id])
        try:
            yield
        finally:
            self.let_go(queue, [conversation_id])

    def take(self, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
        """Mark these queues as being worked on, before their leases are committed."""
        with self._lock:
            self._in_hand.update((queue.task, id_) for id_ in conversation_ids)

    def let_go(self, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
        """The opposite of :meth:`take`."""
        with self._lock:
            for id_ in conversation_ids:
                key = (queue.task, id_)
                self._in_hand[key] -= 1
                if not self._in_hand[key]:
                    del self._in_hand[key]

    def beat(self) -> None:
        """Write one heartbeat. A database that is away is no error: the worker soon counts as stalled.

        After a long silence the process comes back under another name. Another worker may have what it leased under the
        old one, even when this beat is faster than a thread that was halted right before its call.
        """
        before = self._elapsed()
        if before - self._last > LIVE_FOR:
            self.worker = uuid.uuid4().hex
        try:
            self._write()
            with self._beaten:
                self._last = before
                self._beaten.notify_all()
            self._release_abandoned()
        except SQLAlchemyError as error:
            log.warning("a heartbeat was not finished: %s", type(error).__name__)

    def start(self) -> None:
        """Beat once, then go on in a thread."""
        self.beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Sign off. What the worker still holds comes due at the next sweep."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        self._last = float("-inf")
        try:
            with self._database.transaction() as tx:
                tx.session.execute(delete(Worker).where(Worker.id == self.worker))
        except SQLAlchemyError as error:
            log.warning("the worker could not sign off: %s", type(error).__name__)

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self.beat()
            except Exception:  # a thread that ends here would leave a process that lives and does nothing
                log.exception("the heartbeat failed")

    def _write(self) -> None:
        with self._database.transaction() as tx:
            known = update(Worker).where(Worker.id == self.worker).values(last_heartbeat_at=tx.now)
            if tx.session.execute(known.returning(Worker.id)).first() is None:
                tx.session.add(Worker(id=self.worker, last_heartbeat_at=tx.now))

    def _release_abandoned(self) -> None:
        """The table is read first and the memory after: a lease that is claimed in between is in hand already."""
        with self._database.transaction() as tx:
            leases = [lease for queue in QUEUES for lease in leases_of(tx, queue, self.worker)]
            with self._lock:
                abandoned = [each for each in leases if (each.queue.task, each.conversation_id) not in self._in_hand]
            for lease in abandoned:
                if release(tx, lease):
                    log.warning("%s %s was abandoned, and is due again", lease.queue.task, lease.conversation_id)
