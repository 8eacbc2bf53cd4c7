"""How long this thread has waited for answers of providers. All calls of one attempt are made in one thread."""

from __future__ import annotations

import threading


class _Thread(threading.local):
    seconds = 0.0


_thread = _Thread()


def begin() -> None:
    """Begin an attempt."""
    _thread.seconds = 0.0


def add(seconds: float) -> None:
    """Add the length of a call."""
    _thread.seconds += seconds


def seconds() -> float:
    """Return how long the calls since :func:`begin` took."""
    return _thread.seconds
