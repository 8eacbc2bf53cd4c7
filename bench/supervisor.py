"""The platform's part: it runs the processes of a Procfile, and restarts ended ones."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.procfile import Process
from testkit.proxies import HERE
from testkit.waiting import until

LONGEST_ABSENCE = 5.0
"""Seconds until an ended process is restarted. Half of them restart immediately."""

LAST_WORDS = 30.0
"""Seconds for all processes to end at the end of the run."""


class Watched(Process):
    """A process with its start time, and a mark if the run has killed it."""

    killed = False
    """The run has killed it."""

    def __init__(self, name: str, command: list[str], folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(name, command, folder, settings)
        self.started = time.time()

    def tell(self, number: signal.Signals) -> None:
        self.killed = self.killed or (number is signal.SIGKILL and self.running)
        super().tell(number)


@dataclass(frozen=True)
class Ended:
    """A process that ended and was not killed. Times are in seconds since 1970."""

    name: str
    code: int
    started: float
    at: float

    def __str__(self) -> str:
        return f"{self.name}, {self.at - self.started:.1f} s after its start, with {self.code}"


class Supervisor:
    """The supervisor with one slot for each process."""

    def __init__(self, slots: Sequence[tuple[str, str]], folder: Path, settings: Mapping[str, str], seed: int) -> None:
        self.slots = slots
        self._folder = folder
        self._settings = settings
        self._random = random.Random(seed)
        self._now: dict[int, Watched] = {}
        self._back_at: dict[int, float] = {}
        self._all: list[Watched] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.restarts = 0
        self.ended: list[Ended] = []
        """Processes that ended by themselves."""

    def once(self, name: str, command: str) -> None:
        """Run a command to its end."""
        process = self._spawn(name, command)
        assert process.wait(60) == 0, process.output

    def start(self, port: int) -> None:
        for slot, (name, command) in enumerate(self.slots):
            self._now[slot] = self._spawn(name, command)
        until(lambda: _listens(port), "the web listens")
        for process in self.running("worker"):
            process.until_it_says(" ready")
        self._thread.start()

    def running(self, name: str) -> list[Watched]:
        with self._lock:
            return [process for process in self._now.values() if process.name == name and process.running]

    @property
    def output(self) -> str:
        """Return everything that the processes have printed."""
        return "\n".join(process.output for process in self._all)

    def close(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        asked = [process for process in self._all if process.running]
        for process in asked:
            process.tell(signal.SIGCONT)
            process.tell(signal.SIGTERM)
        deadline = time.monotonic() + LAST_WORDS
        while any(process.running for process in asked) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in self._all:
            process.clear()

    def _spawn(self, name: str, command: str) -> Watched:
        process = Watched(name, ["/bin/sh", "-c", f"exec {command}"], self._folder, self._settings)
        self._all.append(process)
        return process

    def _watch(self) -> None:
        while not self._stopped.wait(0.1):
            for slot, process in list(self._now.items()):
                if not process.running:
                    self._bring_back(slot, process)

    def _bring_back(self, slot: int, process: Watched) -> None:
        now = time.monotonic()
        if slot not in self._back_at:
            self._back_at[slot] = now + self._random.choice((0.0, self._random.uniform(1, LONGEST_ABSENCE)))
            if not process.killed:
                self.ended.append(Ended(process.name, process.wait(), process.started, time.time()))
        if now < self._back_at[slot]:
            return
        with self._lock:
            self._now[slot] = self._spawn(*self.slots[slot])
        del self._back_at[slot]
        self.restarts += 1


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0
