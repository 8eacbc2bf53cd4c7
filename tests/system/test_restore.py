"""``bridge backup`` while texts flow, and what holds after the copy was put back: docs/deploy.md, "Backups"."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.simulator import Simulator, SimulatorSettings
from testkit.waiting import until
from tests.scene import ANN
from tests.up import Up, up_in

AGO = 60.0
"""Seconds by which the clock of the carrier is behind. So its list has texts that no webhook will bring any more."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    simulator = Simulator(SimulatorSettings(echo=True, clock=lambda: time.time() - AGO))
    with up_in(tmp_path, simulator, TWILIO_NUMBERS=simulator.settings.number) as up:
        yield up


def back_up(up: Up, name: str) -> Path:
    copy = up.database.with_name(name)
    command = up.processes.start("backup", [sys.executable, "-m", "bridge", "backup", str(copy)])
    assert command.wait() == 0, command.output
    return copy


def restore(up: Up, copy: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{up.database}{end}").unlink(missing_ok=True)
    shutil.copy(copy, up.database)


def answered_since(up: Up) -> Path:
    """Text and be answered, back up, text and be answered once more, and stop. Return the older copy."""
    process = up.start()
    up.simulator.phones.text(ANN, "one")
    up.must_have_answered("one")
    copy = back_up(up, "older")
    up.simulator.phones.text(ANN, "two")
    up.must_have_answered("one", "two")
    assert process.stop() == 0
    return copy


def test_a_copy_that_is_made_while_texts_flow_is_whole(up: Up) -> None:
    up.start()
    people = [f"+1555300{n:04}" for n in range(20)]
    for n, phone in enumerate(people):
        up.simulator.phones.text(phone, "one")
        if n % 5 == 4:
            copy = back_up(up, f"copy-{n}")
            with closing(sqlite3.connect(copy)) as database:
                assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    until(up.simulator.settled, "all is settled")
    up.must_have_lost_nothing()


def test_nothing_is_lost_or_doubled_by_a_move(up: Up) -> None:
    """Stopped, backed up, restored, started: also with a turn in flight."""
    up.killed_in_a_turn()
    copy = back_up(up, "moved")
    up.database.unlink()
    restore(up, copy)
    up.start()
    up.must_have_answered("one", "two")
    up.simulator.phones.text(ANN, "three")
    up.must_have_answered("one", "two", "three")


def test_an_older_copy_asks_and_answers_again_what_came_since(up: Up) -> None:
    restore(up, answered_since(up))
    up.start()
    until(lambda: up.simulator.phones.inbox(ANN) == ["re: one", "re: two", "re: two"], "it is answered again")
    assert up.simulator.agent.received(ANN) == ["one", "two", "two"]
