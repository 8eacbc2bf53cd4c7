"""A counter of changes. The page and the runners wait on it for news."""

from __future__ import annotations

import threading
import time


class Changes:
    """The counter. Waiting costs nothing until there is a change."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._closed = False

    @property
    def version(self) -> int:
        return self._version

    @property
    def closed(self) -> bool:
        return self._closed

    def bump(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Wait until the version differs from ``seen``, the time is over or the counter is closed.

        Return the version.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._version != seen, timeout)
            return self._version

    def pause(self, seconds: float) -> None:
        """Sleep, but wake up when the counter is closed."""
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._closed, max(0.0, until - time.monotonic()))

    def open(self) -> None:
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Release all waiting threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
