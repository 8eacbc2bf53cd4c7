"""The pages of Twilio's list of texts to or from one of our numbers, oldest first. Twilio lists the newest first.

The reader first goes back through the list and keeps only the address of each page. Then it reads the pages forward.
After an outage the list of a busy number is long, so an unreadable page must not restart everything. Limits on pages
and on time end a list that never ends. The texts read until then count, and the log says that older texts may be
missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_PAGES = 1000
"""Pages on the way back: 200,000 texts to one number since the last check. No outage of a day brings so many."""

LONGEST_WAY = 300.0
"""Seconds for the way back, including the pauses after errors."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """The texts of one page."""

    texts: list[T]
    """Oldest first."""
    older: str | None
    """The address of the next page; ``None`` if older texts are of no interest."""


class Pages(Iterator[list[T]]):
    """The iterator over the pages. If a page can't be read, ``next`` raises, and the following call retries that page.

    The first page is kept because it has no lasting address. On a second read, new texts would have pushed older ones
    out.
    """

    def __init__(
        self, page_at: Callable[[str | None], Page[T]], which: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``page_at`` reads the page at an address; ``None`` means the newest page.

        ``which`` are the texts of the list, for the log: to or from which of our numbers.
        """
        self._page_at = page_at
        self._which = which
        self._clock = clock
        self._until = clock() + LONGEST_WAY
        self._newest: Page[T] | None = None
        self._older: str | None = None
        self._addresses: list[str] = []
        self._over = False

    def __next__(self) -> list[T]:
        if self._over:
            raise StopIteration
        if self._newest is None:
            self._newest = self._page_at(None)
            self._older = self._newest.older
        while self._older and not self._too_long():
            self._go_back(self._older)
        if not self._addresses:
            self._over = True
            return self._newest.texts
        page = self._page_at(self._addresses[-1])
        self._addresses.pop()
        return page.texts

    def _go_back(self, address: str) -> None:
        page = self._page_at(address)
        self._addresses.append(address)
        self._older = page.older

    def _too_long(self) -> bool:
        """Return True if the way back must end here.

        Then the last page read counts as the oldest. A loop ends it too.
        """
        circle = self._older in self._addresses
        if not circle and len(self._addresses) < MOST_PAGES and self._clock() < self._until:
            return False
        log.error(
            "Twilio's list of the texts %s goes on after %s pages; the bridge reads no further back. Older texts "
            "may be missing, except those that a webhook brought. Compare with the console's message log.",
            self._which,
            len(self._addresses) + 1,
        )
        self._older = None
        return True
