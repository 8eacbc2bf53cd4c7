"""A pool of database connections that serves the thread first that has waited longest.

SQLAlchemy's own pool only wakes a waiting thread. A thread that has just returned a connection can take it again before
the other thread is awake. With few connections, one busy thread then blocks the others for seconds, and a webhook for
longer than Twilio waits.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util.queue import Empty, Full, QueueCommon


class InOrder(QueueCommon[Any]):
    """Give each item to the thread that has waited longest; keep it only if no thread waits."""

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self._lock = threading.RLock()  # the garbage collector may return a connection in the middle of get
        self._free: deque[Any] = deque()
        self._waiting: deque[Future[Any]] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def qsize(self) -> int:
        return len(self._free)

    def empty(self) -> bool:
        return not self._free

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self._free)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put the item without waiting: there are never more connections than the pool has places."""
        with self._lock:
            while self._waiting:
                next_one = self._waiting.popleft()
                if next_one.set_running_or_notify_cancel():
                    next_one.set_result(item)
                    return
            if self.full():
                raise Full
            self._free.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self._lock:
            if self._free:
                return self._free.pop()  # the newest: it has the statements prepared, and was checked last
            if not block:
                raise Empty
            mine: Future[Any] = Future()
            self._waiting.append(mine)
        try:
            return mine.result(timeout)
        except TimeoutError:
            if mine.cancel():
                raise Empty from None
            return mine.result()  # it came at the last moment
        except BaseException:  # an interrupted thread takes no connection
            if not mine.cancel():
                self.put(mine.result())
            raise


class FairPool(QueuePool):
    """``QueuePool``, first come, first served."""

    _queue_class = InOrder
    _disposed = False

    def dispose(self) -> None:
        """Close the connections here, and later those that are in use when they come back."""
        self._disposed = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if self._disposed:  # nobody would take it any more, or close it
            super().dispose()
