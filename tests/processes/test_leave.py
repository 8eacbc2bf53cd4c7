"""The end of a process that waits no longer for its turns in flight."""

from __future__ import annotations

import subprocess
import sys

from sqlalchemy import select

from bridge.db.engine import Sessions
from bridge.db.models import AnswerTime, Worker
from testkit.procfile import ROOT

PROCESS = """
import sys
from bridge.processes.leave import leave
from bridge.queues.answer_times import Which
from bridge.runtime import Runtime
from tests.fakes import FakeNotifier, fake_settings

rt = Runtime.build(fake_settings(database_url=sys.argv[1]), FakeNotifier(), pool_size=2)
rt.heartbeat.start()
rt.times.note(Which.ANSWER, 1.0)
leave(rt)
"""


def end(database_url: str) -> int:
    """Let a process work on this database and end. Return its exit code."""
    return subprocess.run([sys.executable, "-c", PROCESS, database_url], cwd=ROOT, timeout=60).returncode


def test_it_signs_off_and_its_last_counts_are_added(database_url: str, sessions: Sessions) -> None:
    assert end(database_url) == 0
    with sessions() as session:
        assert session.scalars(select(Worker)).all() == []
        assert [(row.up_to, row.texts) for row in session.scalars(select(AnswerTime))] == [(1000, 1)]


def test_a_database_without_tables_does_not_keep_it(bare_database_url: str) -> None:
    assert end(bare_database_url) == 0
