"""The notifier: it wakes a worker for a row that may be due. A wake-up names a task and a row, and has no meaning.

For the queues of conversations a notifier may drop the row: the worker fetches all that is due.

Wake-ups are best effort: a lost, repeated, late or reordered one does no harm. All state is in the database, and the
sweeper finds due work without wake-ups. So ``wake`` never blocks and never raises.
"""

from __future__ import annotations

from typing import Protocol


class Notifier(Protocol):
    """The way to the workers."""

    def wake(self, task: str, row: int) -> None:
        """Ask a worker to run ``task`` for ``row`` soon. Returns immediately and never raises."""
        ...

    def reachable(self) -> bool:
        """Return whether a wake-up could reach a worker now."""
        ...

    def backlog(self, task: str) -> int:
        """Return how many wake-ups for this task no worker has received yet; 0 if that is unknown. Never raises."""
        ...

    def close(self) -> None:
        """Send no more wake-ups."""
        ...


class NullNotifier:
    """For a process that only writes: the sweeper of another process wakes the workers."""

    def wake(self, task: str, row: int) -> None:
        pass

    def reachable(self) -> bool:
        return False

    def backlog(self, task: str) -> int:
        return 0

    def close(self) -> None:
        pass
