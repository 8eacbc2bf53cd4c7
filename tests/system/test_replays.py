"""One webhook many times, at once and again later, over real HTTP: one row, one turn."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import func, select

from bridge.db.engine import build_engine
from bridge.db.models import Conversation, Message, Turn
from testkit.waiting import until
from tests.system.test_strangers import Front

COPIES = 50


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with closing(Front("up", tmp_path)) as it:
        yield it


def test_fifty_copies_at_once_and_one_later_are_one_row_and_one_turn(front: Front, tmp_path: Path) -> None:
    sid, together = "SM" + "c" * 32, Barrier(COPIES)

    def copy(_: int) -> int:
        together.wait(30)
        return front.announce(sid)

    with ThreadPoolExecutor(COPIES) as callers:
        answers = [*callers.map(copy, range(COPIES))]
    assert set(answers) == {200}
    engine = build_engine(f"sqlite:///{tmp_path / 'bridge.sqlite3'}")

    def counts() -> list[int | None]:
        with engine.connect() as connection:
            return [connection.scalar(select(func.count()).select_from(t)) for t in (Conversation, Message, Turn)]

    until(lambda: counts()[2], "a turn is claimed")
    assert front.announce(sid) == 200
    assert counts() == [1, 1, 1]
    engine.dispose()
