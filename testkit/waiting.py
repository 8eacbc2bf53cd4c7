"""Waiting for an event beside the test. It checks repeatedly, and names the event that never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
"""Seconds for an event that takes one or two on an idle machine."""

T = TypeVar("T")


def until(check: Callable[[], T], what: str = "it has happened", within: float = PATIENCE) -> T:
    """Return the result of ``check`` as soon as it is true."""
    deadline = time.monotonic() + within
    while not (seen := check()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)
    return seen
