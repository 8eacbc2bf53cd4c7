"""Group commit: requests that wait for the same stage share one transaction.

A stage is a function from a list of requests to a list of results. A request that comes alone runs immediately, in the
thread that brings it. Requests that come meanwhile wait, and the first of them runs all of them as the next batch. So
there is no timer and no thread, a lone text waits for nothing, and under load one commit serves many texts.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bridge.db.engine import AWAY

log = logging.getLogger(__name__)

AT_MOST = 200
"""Requests in one batch. A longer one would make the first of them wait."""

Q = TypeVar("Q")
R = TypeVar("R")


class _Waiting(Generic[Q, R]):
    """A request, and the thread that waits for its result."""

    def __init__(self, request: Q) -> None:
        self.request = request
        self.leads = False
        """The thread must run the next batch, which has this request in it."""
        self._result: R | None = None
        self._error: BaseException | None = None
        self._woken = threading.Event()

    def answer(self, result: R | None, error: BaseException | None = None) -> None:
        self._result, self._error = result, error
        self._woken.set()

    def lead(self) -> None:
        self.leads = True
        self._woken.set()

    def wait(self) -> None:
        self._woken.wait()

    def result(self) -> R | None:
        if self._error:
            raise self._error
        return self._result


class GroupCommit(Generic[Q, R]):
    """One stage of one process. ``name``: for the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting[Q, R]] = deque()
        self._running = False

    def submit(self, request: Q, stage: Callable[[Sequence[Q]], Sequence[R | None]]) -> R | None:
        """Run the stage for this request and all that wait. Return its result, or ``None`` if it must be run alone.

        A database that is away fails all requests of the batch. Any other error is one request's fault: then each is
        run again by itself, and the faulty one gets ``None``. Its caller treats it in a transaction of its own.
        """
        mine: _Waiting[Q, R] = _Waiting(request)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._running = not self._running, True
        if not mine.leads:
            mine.wait()
        if mine.leads:
            self._run(stage)
        return mine.result()

    def _run(self, stage: Callable[[Sequence[Q]], Sequence[R | None]]) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_MOST))]
        try:
            self._answer(stage, batch)
        finally:
            with self._lock:
                self._running = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].lead()

    def _answer(self, stage: Callable[[Sequence[Q]], Sequence[R | None]], batch: Sequence[_Waiting[Q, R]]) -> None:
        try:
            results = stage([each.request for each in batch])
        except AWAY as error:
            for each in batch:
                each.answer(None, error)
        except Exception as error:
            if len(batch) > 1:
                for each in batch:
                    self._answer(stage, [each])
            else:
                log.warning("%s: a request is run alone after %s", self._name, type(error).__name__)
                batch[0].answer(None)
        except BaseException as error:
            for each in batch:
                each.answer(None, error)
            raise
        else:
            for each, result in zip(batch, results, strict=True):
                each.answer(result)
