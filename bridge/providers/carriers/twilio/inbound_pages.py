"""What people sent to one of our numbers, out of Twilio's list: the oldest first, though Twilio lists the newest first.

First the way back through the list, on which only the address of each page is kept; then the pages on the way forth.
Either way is long after an outage, and the pages of a busy number are many: one that can't be read must not make it all
begin anew. But a list that leads on and on comes to an end here, by pages and by time: what it shows until then counts,
and the log tells that older texts may be missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bridge.lib.phone import masked
from bridge.providers.carriers.contract import InboundText

log = logging.getLogger(__name__)

MOST_PAGES = 1000
"""On the way back: 200,000 texts to one number since the last look, which no outage of a day brings."""

LONGEST_WAY = 300.0
"""Seconds for the way back, pauses after faults included."""


@dataclass(frozen=True)
class Page:
    """What people sent, as far as one page shows it."""

    texts: list[InboundText]
    """The oldest first."""
    older: str | None
    """Where the list goes on; ``None`` where that is of no interest any more."""


class Received(Iterator[list[InboundText]]):
    """The pages. Where one can't be read, the error leaves here, and the next call of ``next`` goes on with that page.

    The first page is kept. It has no lasting address: read again, new texts would have pushed older ones out of it.
    """

    def __init__(
        self, page_at: Callable[[str | None], Page], number: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``page_at`` reads the page of an address; ``None`` is the newest one. ``number``: whose list it is."""
        self._page_at = page_at
        self._number = number
        self._clock = clock
        self._until = clock() + LONGEST_WAY
        self._newest: Page | None = None
        self._older: str | None = None
        self._addresses: list[str] = []
        self._over = False

    def __next__(self) -> list[InboundText]:
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
        """Then the page that was reached counts as the oldest. A circle is no way either."""
        circle = self._older in self._addresses
        if not circle and len(self._addresses) < MOST_PAGES and self._clock() < self._until:
            return False
        log.error(
            "Twilio's list of the texts to %s goes on after %s pages and is read no further back. Of what came before, "
            "only what the webhook brought is here: compare with the console's message log.",
            masked(self._number),
            len(self._addresses) + 1,
        )
        self._older = None
        return True
