"""Requests that come while a batch runs are the next batch; a faulty one harms none of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError

from bridge.db.group_commit import AT_MOST, GroupCommit
from testkit.waiting import PATIENCE, until


class Stage:
    """It notes its batches, and halts in the first one until it is let go."""

    def __init__(self, work: Callable[[int], int] = lambda number: -number, halts: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self._work = work
        if not halts:
            self.go.set()

    def __call__(self, requests: Sequence[int]) -> list[int | None]:
        self.batches.append(list(requests))
        self.threads.append(threading.get_ident())
        self.begun.set()
        assert self.go.wait(PATIENCE)
        return [self._work(request) for request in requests]


class Crowd:
    """Threads that bring a request each, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.commits: GroupCommit[int, int] = GroupCommit("a stage")
        self._stage = stage
        self._pool = ThreadPoolExecutor(32)

    def brings(self, *requests: int) -> list[Callable[[], int | None]]:
        results = []
        for request in requests:
            before = self.waiting()
            results.append(self._pool.submit(self.commits.submit, request, self._stage).result)
            until(lambda before=before: self.waiting() > before or self._stage.go.is_set(), "it waits")
        return results

    def waiting(self) -> int:
        return len(self.commits._waiting)

    def first(self, request: int) -> Callable[[], int | None]:
        result = self._pool.submit(self.commits.submit, request, self._stage).result
        assert self._stage.begun.wait(PATIENCE)
        return result


def test_a_request_that_comes_alone_runs_in_the_thread_that_brings_it() -> None:
    stage = Stage(halts=False)
    assert GroupCommit[int, int]("a stage").submit(7, stage) == -7
    assert stage.threads == [threading.get_ident()]


def test_requests_that_come_meanwhile_are_the_next_batch_in_their_order() -> None:
    stage = Stage()
    crowd = Crowd(stage)
    results = [crowd.first(1), *crowd.brings(2, 3, 4)]
    stage.go.set()
    assert [result() for result in results] == [-1, -2, -3, -4]
    assert stage.batches == [[1], [2, 3, 4]]


def test_a_batch_has_a_largest_size() -> None:
    stage = Stage()
    commits: GroupCommit[int, int] = GroupCommit("a stage")
    with ThreadPoolExecutor(AT_MOST + 11) as pool:
        first = pool.submit(commits.submit, 0, stage)
        assert stage.begun.wait(PATIENCE)
        rest = [pool.submit(commits.submit, number, stage) for number in range(1, AT_MOST + 11)]
        until(lambda: len(commits._waiting) == AT_MOST + 10, "all of them wait")
        stage.go.set()
        assert [each.result() for each in (first, *rest)] == [-number for number in range(AT_MOST + 11)]
    assert [len(batch) for batch in stage.batches] == [1, AT_MOST, 10]


def test_a_faulty_request_is_left_to_its_caller_and_the_others_are_carried_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("never shown")
        return -number

    stage = Stage(work)
    crowd = Crowd(stage)
    results = [crowd.first(1), *crowd.brings(2, 3, 4)]
    stage.go.set()
    assert [result() for result in results] == [-1, -2, None, -4]
    assert stage.batches == [[1], [2, 3, 4], [2], [3], [4]]
    assert caplog.messages == ["a stage: a request is run alone after ValueError"]


@pytest.mark.parametrize(
    "error", [OperationalError("COMMIT", None, Exception("away")), KeyboardInterrupt()], ids=["away", "interrupted"]
)
def test_an_error_that_is_nobodys_fault_is_everybodys(error: BaseException) -> None:
    def work(number: int) -> int:
        if number > 1:
            raise error
        return -number

    stage = Stage(work)
    crowd = Crowd(stage)
    results = [crowd.first(1), *crowd.brings(2, 3)]
    stage.go.set()
    assert results[0]() == -1
    for result in results[1:]:
        with pytest.raises(type(error)):
            result()
    assert stage.batches == [[1], [2, 3]]
    assert crowd.commits.submit(1, stage) == -1, "the next one finds the stage free"


def test_many_threads_get_their_own_results() -> None:
    commits: GroupCommit[int, int] = GroupCommit("a stage")
    stage = Stage(halts=False)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: commits.submit(number, stage), range(2000)))
    assert results == [-number for number in range(2000)]
    assert sorted(number for batch in stage.batches for number in batch) == list(range(2000))
