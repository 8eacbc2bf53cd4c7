"""What processes cost, read from ``/proc``: their processor time and their memory. Linux only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")

MACHINE = "machine"
"""All that runs on it, whoever has started it."""


@dataclass(frozen=True)
class Memory:
    """Megabytes. ``rss`` counts what forked processes share once for each of them, ``pss`` once in all."""

    rss: float
    pss: float


def cpu(roots: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Seconds of processor time so far, by group: the processes named, what they have started, and what of that has
    ended. And of the whole machine.
    """
    stats = _stats()
    children = _children(stats)
    used = {name: sum(_seconds(stats, pid, children) for pid in pids) for name, pids in roots.items()}
    return {**used, MACHINE: _busy()}


def memory(roots: Iterable[int]) -> Memory:
    stats = _stats()
    children = _children(stats)
    family = [member for pid in roots for member in _family(pid, children)]
    rss = sum(int(stats[pid][21]) * PAGE for pid in family if pid in stats)
    return Memory(rss / 1e6, sum(map(_pss, family)) / 1e6)


def _stats() -> dict[int, list[str]]:
    """The fields of ``/proc/PID/stat`` behind the name, which may hold anything: the first is the state."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    return found


def _children(stats: Mapping[int, list[str]]) -> dict[int, list[int]]:
    children = defaultdict(list)
    for pid, fields in stats.items():
        children[int(fields[1])].append(pid)
    return children


def _family(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    return [pid, *(member for child in children.get(pid, ()) for member in _family(child, children))]


def _seconds(stats: Mapping[int, list[str]], pid: int, children: Mapping[int, list[int]]) -> float:
    """Its own time, and that of its children that were waited for; the others are counted as they are."""
    family = [member for member in _family(pid, children) if member in stats]
    return sum(int(ticks) for member in family for ticks in stats[member][11:15]) / TICKS


def _busy() -> float:
    """User, nice, system, interrupts: what is neither idle nor waiting nor stolen."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / TICKS


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
