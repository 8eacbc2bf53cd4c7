"""Waiting for what happens beside the test: it looks again and again, and says what never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
"""Seconds for something that takes one or two when the machine has nothing else to do."""

T = TypeVar("T")


def until(look: Callable[[], T], what: str = "it has happened", within: float = PATIENCE) -> T:
    """What ``look`` gives, as soon as that is true."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)
    return seen
