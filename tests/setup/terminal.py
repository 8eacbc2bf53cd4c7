"""A person at a terminal who answers the questions of a command."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

from testkit.procfile import environment
from testkit.waiting import PATIENCE

CTRL_C = "\x03"
WIDE = struct.pack("HHHH", 50, 300, 0, 0)
"""Rows and columns. A narrow terminal would break long questions."""


def _listen_to_ctrl_c() -> None:
    """Make it a signal, and one that counts: where the tests run in the background, a shell has turned it off."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """One run of the command. What it shows stays in ``shown``."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *command: str) -> None:
        self.shown = ""
        self._read = 0
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, WIDE)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *command],
            cwd=folder,
            env=environment({"TERM": "dumb", **settings}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_listen_to_ctrl_c,
        )
        os.close(theirs)

    def is_asked(self, words: str) -> Terminal:
        """Wait until these words are shown, after those before."""
        while (found := self.shown.find(words, self._read)) < 0:
            more = self._more()
            assert more, f"it has ended without {words!r}:\n{self.shown}"
        self._read = found + len(words)
        return self

    def types(self, answer: str, enter: str = "\n") -> Terminal:
        os.write(self._ours, f"{answer}{enter}".encode())
        return self

    def answers(self, **answers: str) -> Terminal:
        """Answer the questions for these settings, in this order. An empty answer is Enter alone."""
        for name, answer in answers.items():
            self.is_asked(f"{name} (")
            while not re.search(r"[])]: $", self.shown):
                assert self._more(), self.shown
            self._read = len(self.shown)
            self.types(answer)
        return self

    def presses_ctrl_c(self) -> Terminal:
        """Press it until something is shown. Python misses one that comes in the moment before it reads."""
        for _ in range(int(PATIENCE)):
            self.types(CTRL_C, enter="")
            if select.select([self._ours], [], [], 1.0)[0]:
                return self
        raise AssertionError(f"Ctrl-C does nothing:\n{self.shown}")

    def ends(self, code: int) -> str:
        """Wait for its end. Return what it has shown since the last question."""
        since = self._read
        while self._more():
            pass
        assert self._process.wait(PATIENCE) == code, self.shown
        return self.shown[since:]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _more(self) -> str:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, f"nothing more was shown:\n{self.shown}"
        try:
            more = os.read(self._ours, 4096).decode()
        except OSError:  # nobody writes there any more
            return ""
        self.shown += more
        return more
