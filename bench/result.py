"""The result of a chaos run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bench.disasters import Happened
from bench.judgement import Judgement
from bench.speed import Speed


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    judgement: Judgement
    happened: list[Happened]
    missed: list[str]
    """The kinds of planned disasters that never struck."""
    struck: Counter[str]
    speed: Speed
    settled: bool
    settled_in: float

    @property
    def clean(self) -> bool:
        """Return True if nothing is wrong, the bridge recovered and came to rest in time, and every planned kind
        struck.
        """
        return self.settled and not self.judgement.faults and self.speed.recovered and not self.missed
