"""The people of a chaos run: their texts and the times of these."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bridge.simulator import Simulator

WORD = "marzipan"
"""This word is in every text, and must be in no log."""

FIRST_PHONE = 15552000000
NUMBERS = ("+15550001111", "+15550002222")
"""The bridge's own numbers."""

QUICK_SHARE = 0.2
"""The share of texts that another one of the same person follows immediately."""

QUICK_PAUSE = 0.25
"""Seconds at most between two such texts."""

SAME_SHARE = 0.1
"""The share of texts with the same words as the person's last one. Each of them needs its own answer."""


@dataclass(frozen=True)
class Planned:
    """One text. Its body names its place among the texts of its phone, unless it repeats the last one."""

    at: float
    phone: str
    number: str
    body: str


def plan(rng: random.Random, texts: int, phones: int, rate: float) -> list[Planned]:
    """Plan all texts of a run: each phone texts at random times, sometimes several times in a row."""
    moments = sorted(_moments(rng, texts, phones, rate))
    counts = [0] * phones
    last = [""] * phones
    planned = []
    for at, phone in moments:
        counts[phone] += 1
        if not last[phone] or rng.random() >= SAME_SHARE:
            last[phone] = f"{WORD} {counts[phone]} of {phone}, {rng.randrange(16**8):08x}"
        planned.append(Planned(at, f"+{FIRST_PHONE + phone}", NUMBERS[phone % len(NUMBERS)], last[phone]))
    return planned


def _moments(rng: random.Random, texts: int, phones: int, rate: float) -> Iterator[tuple[float, int]]:
    at, phone = 0.0, 0
    quick_at = 0.0
    for _ in range(texts):
        if rng.random() < QUICK_SHARE:
            quick_at += rng.uniform(0, QUICK_PAUSE)
            yield quick_at, phone
        else:
            at, phone = at + rng.expovariate(rate * (1 - QUICK_SHARE)), rng.randrange(phones)
            quick_at = at
            yield at, phone


def text(simulator: Simulator, planned: Sequence[Planned], stopped: threading.Event) -> None:
    """Send all texts, each at its time."""
    began = time.monotonic()
    for each in planned:
        if stopped.wait(max(0.0, began + each.at - time.monotonic())):
            return
        simulator.phones.text(each.phone, each.body, to=each.number)
