"""The doorbell: tells a worker that a row may be due. It carries one id and no meaning.

A ring that is lost, doubled, late or out of order does no harm: the truth is in the table, and the sweeper rings again.
So a bell never raises and never makes the caller wait.
"""

from __future__ import annotations

from typing import Protocol


class Notifier(Protocol):
    def wake(self, task: str, row: int) -> None:
        """Ask for ``step`` on ``row`` soon. Returns at once; never raises."""
        ...

    def reachable(self) -> bool:
        """Could a ring be heard at this moment?"""
        ...

    def backlog(self, task: str) -> int:
        """How many rings for this step nobody has taken yet; 0 where that can't be told. Never raises."""
        ...

    def close(self) -> None:
        """Stop ringing."""
        ...


class NullNotifier:
    """For a process that only writes: the sweeper of another one will ring."""

    def wake(self, task: str, row: int) -> None:
        pass

    def reachable(self) -> bool:
        return False

    def backlog(self, task: str) -> int:
        return 0

    def close(self) -> None:
        pass
