"""The page `walkthrough.md` shows a whole run. Here its commands run, on other ports, and must print what it shows."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.processes.embedded import free_port
from testkit.procfile import environment
from testkit.waiting import PATIENCE

PAGE = Path(__file__).parent.parent / "docs" / "walkthrough.md"
PORTS = ("8000", "8090")

LOOKS = re.compile(r"^(?:curl -s '|admin http\S+ \||bridge doctor|bridge end-stale --idle 1s --dry-run)")
"""Commands that may be too early, and change nothing. They run again until they print what the page shows."""


@dataclass(frozen=True)
class Command:
    words: str
    shown: str
    stays: bool
    """It stays in a terminal of its own."""


def commands(page: str) -> Iterator[Command]:
    for terminal, block in re.findall(r"^```console([^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            words = 1 + next(n for n, line in enumerate(lines) if not line.endswith("\\"))
            yield Command("\n".join(lines[:words]), "\n".join(lines[words:]), bool(terminal))


def fits(shown: str, printed: str) -> bool:
    """Compare, where ``…`` stands for anything. A masked number keeps its own."""
    pattern = re.escape(shown.strip().replace("+1555…11", "+1555\0")).replace("…", ".*").replace("\0", "…11")
    return bool(re.fullmatch(pattern, printed.strip(), re.DOTALL))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


class Terminal:
    """A shell in a folder of its own. Functions of the page are kept for the next command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {port: str(free_port("127.0.0.1")) for port in PORTS}
        self._environment = environment({"PORT": self._ports["8000"]})
        self._functions: list[str] = []
        self._open: list[subprocess.Popen[str]] = []

    def type(self, command: Command) -> None:
        words = re.sub("|".join(PORTS), lambda port: self._ports[port[0]], command.words)
        if command.stays:
            self._stay(words, command.shown)
        elif "() {" in words:
            self._functions.append(words)
        else:
            self._run(words, command)

    def _run(self, words: str, command: Command) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            ran = subprocess.run(
                ["bash", "-c", "\n".join([*self._functions, words])], text=True, timeout=120, **self._place()
            )
            if fits(command.shown, self._as_shown(ran.stdout)):
                return
            if not LOOKS.match(command.words) or time.monotonic() > until:
                pytest.fail(f"{command.words}\nprints\n{self._as_shown(ran.stdout)}\nand not\n{command.shown}")
            time.sleep(0.3)

    def _stay(self, words: str, shown: str) -> None:
        process = subprocess.Popen(["bash", "-c", f"exec {words}"], text=True, **self._place())
        self._open.append(process)
        assert process.stdout
        assert fits(shown, self._as_shown(process.stdout.readline()))

    def _place(self) -> dict[str, object]:
        return {
            "cwd": self._folder,
            "env": self._environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }

    def _as_shown(self, printed: str) -> str:
        for port, ours in self._ports.items():
            printed = printed.replace(f":{ours}", f":{port}")
        return printed

    def close(self) -> None:
        for process in self._open:
            process.terminate()
        for process in self._open:
            process.communicate(timeout=PATIENCE)


@pytest.mark.timeout(600)  # a dozen processes that start one after the other, on a machine that may be busy
def test_the_walk_through_runs_as_the_page_shows_it(terminal: Terminal) -> None:
    walk = list(commands(PAGE.read_text()))
    assert len(walk) >= 15
    for command in walk:
        terminal.type(command)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("1 alive.", "1 alive.\n", True),
        ("1 alive.", "2 alive.\n", False),
        ("…\nthird\n…", "first\nsecond\nthird\nfourth", True),
        ("…\nthird\n…", "first\nsecond\nfourth", False),
        ("+1555…11  well", "+1555…11  well", True),
        ("+1555…11  well", "+15550001111  well", False),
    ],
)
def test_what_is_shown_and_printed_is_compared(shown: str, printed: str, same: bool) -> None:
    assert fits(shown, printed) is same


def test_a_command_may_go_on_in_the_next_line() -> None:
    page = "```console\n$ one \\\n  two\nprinted\n$ three\n```\n"
    assert list(commands(page)) == [Command("one \\\n  two", "printed", False), Command("three", "", False)]
