"""One bridge with its services, providers and load generator, as the measurements use it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench import figures
from bench.figures import Spent
from bench.load import Burst, Outcome
from bench.products import Conditions, Product, Running, running

WARM_UP = Burst(rate=20, texts=200)
"""The load before any measurement. Compilers compile, and pools fill."""


@dataclass(frozen=True)
class Column:
    """One bridge under one set of conditions."""

    name: str
    product: Product
    conditions: Conditions


class Stand:
    """A running bridge. It is restarted after a rate that it could not keep up with, because work is left over."""

    def __init__(self, column: Column) -> None:
        self.callbacks = column.conditions.callbacks
        self._column = column
        self._stack = ExitStack()
        self.now = self._begin()

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def renew(self) -> None:
        self._stack.close()
        self.now = self._begin()
        self.now.run(WARM_UP)

    def _begin(self) -> Running:
        return self._stack.enter_context(running(self._column.product, self._column.conditions))

    def measured(self, burst: Burst) -> tuple[Outcome, Spent]:
        before, began = self.now.cpu(), time.monotonic()
        outcome = self.now.run(burst)
        return outcome, figures.spent(self.now, before, self.now.cpu(), time.monotonic() - began)

    def at_rest(self, seconds: float) -> Spent:
        before = self.now.cpu()
        time.sleep(seconds)
        return figures.spent(self.now, before, self.now.cpu(), seconds)


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
