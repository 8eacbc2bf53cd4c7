"""The processes of the Procfile, started as a platform starts them. A test can watch, stop and kill them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from testkit.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent


def lines() -> dict[str, str]:
    """Return the names and commands of the Procfile."""
    return dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings and the few other variables that a process needs. All others of this machine are left out."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **settings}


class Process:
    """A command that runs beside the test. It has its own process group, so no signal to the test reaches it."""

    def __init__(self, name: str, command: list[str], folder: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Return everything that it has printed so far."""
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def children(self) -> list[int]:
        """Return the processes that it has started; empty if the machine does not show them."""
        try:
            return [int(child) for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []  # or it has just ended

    def until_it_says(self, words: str, within: float = PATIENCE) -> re.Match[str]:
        """Wait for a match of ``words`` in its output."""

        def found() -> re.Match[str] | None:
            ended = not self.running
            match = re.search(words, self.output)
            assert match or not ended, f"{self.name} has ended:\n{self.output}"
            return match

        return until(found, f"{self.name} says {words}", within)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to this process only."""
        self._popen.send_signal(number)

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Halt it meanwhile, as on a machine without free processor time, or during a migration of the machine."""
        self.tell(signal.SIGSTOP)
        try:
            yield
        finally:
            self.tell(signal.SIGCONT)

    def wait(self, within: float = PATIENCE) -> int:
        """Wait for its end and return the exit code. A signal's number is negative."""
        return self._popen.wait(within)

    def stop(self, within: float = PATIENCE) -> int:
        """Ask it to end, as every platform does."""
        self.tell(signal.SIGTERM)
        return self.wait(within)

    def kill(self) -> int:
        """Kill it without warning."""
        self.tell(signal.SIGKILL)
        return self.wait()

    def clear(self) -> None:
        """Kill the rest of its group, including processes that it left behind."""
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nothing is left
        finally:
            self._popen.wait()


class Processes:
    """The processes that a test has started. None of them is left at the end."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._started: list[Process] = []

    def start(self, name: str, command: list[str] | None = None) -> Process:
        """Run a line of the Procfile, or a command."""
        process = Process(name, command or ["/bin/sh", "-c", f"exec {lines()[name]}"], self._folder, self._settings)
        self._started.append(process)
        return process

    def running(self, name: str) -> list[Process]:
        return [process for process in self._started if process.name == name and process.running]

    @property
    def output(self) -> str:
        """Return everything that the processes have printed."""
        return "\n".join(process.output for process in self._started)

    def close(self) -> None:
        """Ask all running processes to end, then make sure that they have ended."""
        asked = [process for process in self._started if process.running]
        for process in asked:
            process.tell(signal.SIGTERM)
        try:
            for process in asked:
                process.wait()
        finally:
            for process in self._started:
                process.clear()
