"""The cost of processes, read from ``/proc``: processor time and memory. Linux only."""

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
"""Everything that runs on the machine."""


@dataclass(frozen=True)
class Memory:
    """Megabytes. ``rss`` counts shared pages once for each process, ``pss`` once in all."""

    rss: float
    pss: float


def cpu(roots: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Return the seconds of processor time so far, by group, and of the whole machine.

    A group is the named processes and their children, including ended ones.
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
    """Return the fields of ``/proc/PID/stat`` after the name, which may contain anything. The first is the state."""
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
    """Sum the time of a process and of its children. Ended children are in the parent's own fields."""
    family = [member for member in _family(pid, children) if member in stats]
    return sum(int(ticks) for member in family for ticks in stats[member][11:15]) / TICKS


def _busy() -> float:
    """Return user, nice, system and interrupt time, but no idle, waiting or stolen time."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / TICKS


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
