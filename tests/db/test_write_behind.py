"""What nobody waits for is written together, a moment later; a faulty request harms none of the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError

from bridge.db import write_behind
from bridge.db.write_behind import AT_MOST, WriteBehind
from testkit.waiting import PATIENCE, until

LONG = 600.0
"""Seconds: the next batch is only written because of the end."""


class Table:
    """It notes what is written, unless it is away or a request is faulty."""

    def __init__(self, *, away: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.away = away
        self.tried = threading.Event()

    @property
    def written(self) -> list[int]:
        return [request for batch in self.batches for request in batch]

    def write(self, requests: Sequence[int]) -> None:
        self.tried.set()
        if self.away:
            raise OperationalError("COMMIT", None, Exception("away"))
        if 13 in requests:
            raise ValueError("never shown")
        self.batches.append(list(requests))


def test_requests_of_one_moment_are_one_batch_in_their_order() -> None:
    table = Table()
    behind = WriteBehind("a stage", table.write, every=LONG)
    assert all(behind.add(number) for number in (1, 2, 3))
    behind.close()
    assert table.batches == [[1, 2, 3]]


def test_it_writes_without_being_told_to() -> None:
    table = Table()
    behind = WriteBehind("a stage", table.write, every=0.001)
    for number in range(3):
        behind.add(number)
        until(lambda number=number: [number] in table.batches, "it is written")
    behind.close()


def test_a_batch_has_a_largest_size() -> None:
    table = Table()
    behind = WriteBehind("a stage", table.write, every=LONG)
    for number in range(100, 100 + AT_MOST + 1):
        behind.add(number)
    behind.close()
    assert [len(batch) for batch in table.batches] == [AT_MOST, 1]


def test_a_faulty_request_is_logged_and_the_others_are_written(caplog: pytest.LogCaptureFixture) -> None:
    table = Table()
    behind = WriteBehind("a stage", table.write, every=LONG)
    for number in (12, 13, 14):
        behind.add(number)
    behind.close()
    assert table.batches == [[12], [14]]
    assert caplog.messages == ["a stage: a request can't be written"]


def test_requests_wait_for_a_database_that_is_away() -> None:
    table = Table(away=True)
    behind = WriteBehind("a stage", table.write, every=0.001)
    behind.add(1)
    assert table.tried.wait(PATIENCE)
    behind.add(2)
    table.away = False
    until(lambda: table.written == [1, 2], "both are written")
    behind.close()


def test_what_a_database_that_is_away_at_the_end_has_not_got_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    table = Table(away=True)
    behind = WriteBehind("a stage", table.write, every=LONG)
    behind.add(1)
    behind.add(2)
    behind.close()
    assert caplog.messages[-1] == "a stage: 2 requests are lost, because the database is away"


def test_after_the_end_and_when_too_many_wait_the_caller_must_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "MOST_WAITING", 2)
    table = Table()
    behind = WriteBehind("a stage", table.write, every=LONG)
    assert [behind.add(number) for number in (1, 2, 3)] == [True, True, False]
    behind.close()
    assert not behind.add(4)
    assert table.batches == [[1, 2]]


def test_nothing_that_comes_beside_the_end_is_lost() -> None:
    """Each request is either written, or refused to its caller."""
    for _ in range(50):
        table = Table()
        behind = WriteBehind("a stage", table.write, every=0.0)
        accepted: list[int] = []

        def bring(behind: WriteBehind[int] = behind, accepted: list[int] = accepted) -> None:
            accepted.extend(number for number in range(100, 300) if behind.add(number))

        people = [threading.Thread(target=bring) for _ in range(4)]
        for person in people:
            person.start()
        behind.close()
        for person in people:
            person.join()
        assert sorted(table.written) == sorted(accepted)
