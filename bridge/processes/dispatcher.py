"""The dispatcher of a worker process: it claims what is due, and gives it to threads.

A wake-up means "fetch", and nothing more. The dispatcher then claims as many queues as there are free threads, in one
transaction, and goes on fetching every few milliseconds until nothing has come for a moment. So a broker carries hardly
anything while texts flow, and what comes at the same time is claimed together.

Turns, deliveries and each of the other tasks have threads of their own. An agent that hangs never delays a text that
waits to be sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from bridge.chats import do_not_call, ending
from bridge.db.engine import AWAY
from bridge.operators import draft_requests
from bridge.outbound import notices
from bridge.processes.tasks import AWAIT_HEARTBEAT, TASKS, deliver, run_task, work_on
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, QUEUES, TURNS, ConversationQueue
from bridge.runtime import Runtime
from bridge.turns.claim import claim_due
from bridge.turns.process import process_claimed

log = logging.getLogger(__name__)

PAUSE = 0.02
"""Seconds between two fetches while texts flow. Longer ones claim more at once; shorter ones make a text wait less."""

LONGEST_PAUSE = 0.05
"""Seconds. Up to here a pause is a quarter of the time since the last text. The rarer the texts, the more fetches each
of them pays for.
"""

LINGER = 0.55
"""Seconds for which it goes on fetching. Wake-ups that come through a broker are less far apart than this."""

SHORT_LINGER = 0.03
"""The same where every wake-up comes from this process: what comes at nearly the same time is claimed together."""

AFTER_AN_ERROR = 1.0
"""Seconds until the next fetch if the database is away."""

PASS_ON_EVERY = 1.0
"""Seconds between two wake-ups of other processes while this one is full."""

AT_ONCE = 100
"""The most queues that one fetch claims."""

DELIVERY_THREADS = 50
ENDING_THREADS = 4
CONTACT_THREADS = 2
NOTICE_THREADS = 2
DRAFT_THREADS = 4


def pause_after(idle: float) -> float:
    """Return how long to wait until the next fetch, in seconds, if the last text was found so many seconds ago."""
    return min(max(PAUSE, idle / 4), LONGEST_PAUSE)


@dataclass(frozen=True)
class Work:
    """Something to do for one row."""

    task: str
    row: int
    run: Callable[[], None]


def find(rt: Runtime, queue: ConversationQueue, most: int) -> list[Work] | None:
    """Claim or take over at most so many queues that are due. Return ``None`` if nothing is due.

    A turn in the common state is claimed here. Everything else is handed over by its id, and claimed alone. The list is
    empty if all that is due is locked at this moment.
    """
    if not conversation_queue.any_due(rt.engine, queue, rt.now()):
        return None
    if queue is not TURNS:
        return _by_id(rt, queue, conversation_queue.take_over(rt.database, queue, most))
    try:
        claimed, others = claim_due(rt, most)
    except AWAY:
        raise
    except Exception:  # one row is at fault: alone, it delays nobody else
        log.exception("turns could not be claimed together")
        return _by_id(rt, queue, conversation_queue.take_over(rt.database, queue, most))
    turns = [
        Work(TURNS.task, turn.lease.conversation_id, partial(process_claimed, rt, turn, deliver)) for turn in claimed
    ]
    return turns + _by_id(rt, queue, others)


def _by_id(rt: Runtime, queue: ConversationQueue, conversation_ids: list[int]) -> list[Work]:
    return [Work(queue.task, id_, partial(TASKS[queue.task], rt, id_)) for id_ in conversation_ids]


class Dispatcher:
    """The notifier of a process that works: its wake-ups need no broker.

    ``turns``: how many turns may be in flight. ``linger``: for how many seconds it goes on fetching turns.
    ``when_full``: wakes another process if no thread is free.
    """

    def __init__(self, turns: int, *, linger: float = LINGER, when_full: Callable[[], None] = lambda: None) -> None:
        self._threads = {
            TURNS.task: turns,
            DELIVERIES.task: min(turns, DELIVERY_THREADS),
            ending.TASK: ENDING_THREADS,
            do_not_call.TASK: CONTACT_THREADS,
            notices.TASK: NOTICE_THREADS,
            draft_requests.TASK: DRAFT_THREADS,
        }
        self._pools = {task: ThreadPoolExecutor(most, thread_name_prefix=task) for task, most in self._threads.items()}
        self._when_full = when_full
        self._full_since = 0.0
        # Deliveries need no linger. They have a pause, after which a locked one is tried again.
        self._linger = {TURNS: linger, DELIVERIES: PAUSE}
        self._lock = threading.Lock()
        self._in_hand: Counter[str] = Counter()
        self._waiting: set[tuple[str, int]] = set()
        self._asked: set[ConversationQueue] = set()
        self._event = threading.Event()
        self._hurry = threading.Event()
        """Ends a pause between two fetches."""
        self._rt: Runtime | None = None
        self._thread: threading.Thread | None = None

    def start(self, rt: Runtime) -> None:
        """Begin with what waits already."""
        self._rt = rt
        self._thread = threading.Thread(target=self._run, args=(rt,), name="dispatcher", daemon=True)
        self._thread.start()
        self.fetch()

    def fetch(self) -> None:
        """Fetch all kinds of due work at once, for another process. Returns immediately and never raises.

        Wake-ups of this process end no pause: there is one for nearly every text, and a pause lets them come together.
        """
        for queue in QUEUES:
            self._ask(queue)
        self._hurry.set()

    def wake(self, task: str, row: int) -> None:
        for queue in QUEUES:
            if queue.task == task:
                self._ask(queue)
                return
        self._run_by_id(task, row)

    def reachable(self) -> bool:
        return self._rt is not None

    def backlog(self, task: str) -> int:
        with self._lock:
            return sum(waiting == task for waiting, _ in self._waiting)

    def stop(self) -> None:
        """Claim nothing more. Running work goes on."""
        self._rt = None
        self._event.set()
        self._hurry.set()
        if self._thread:
            self._thread.join()

    def close(self) -> None:
        """Let running work finish. What was not begun is in the database."""
        self.stop()
        for wait in (False, True):  # first no pool takes more, then each is waited for
            for pool in self._pools.values():
                pool.shutdown(wait, cancel_futures=True)

    def _ask(self, queue: ConversationQueue) -> None:
        self._asked.add(queue)
        self._event.set()

    def _run_by_id(self, task: str, row: int) -> None:
        """Run a task that a wake-up names by its row. One that waits already is not added again."""
        rt = self._rt
        with self._lock:
            if rt is None or (task, row) in self._waiting:
                return
            self._waiting.add((task, row))
        self._submit(rt, Work(task, row, partial(self._begin, rt, task, row)))

    def _begin(self, rt: Runtime, task: str, row: int) -> None:
        with self._lock:
            self._waiting.discard((task, row))
        run_task(rt, task, row)

    def _run(self, rt: Runtime) -> None:
        until, found_at = dict.fromkeys(QUEUES, 0.0), 0.0
        while self._rt:
            began = time.monotonic()
            asked = set(self._asked)
            self._asked -= asked
            for queue in QUEUES:
                if (queue in asked or until[queue] > began) and (self._fetch(rt, queue) or queue in asked):
                    until[queue], found_at = began + self._linger[queue], began
            if any(moment > began for moment in until.values()):
                self._hurry.wait(pause_after(began - found_at))
            else:
                self._event.wait()
                self._event.clear()
            self._hurry.clear()

    def _fetch(self, rt: Runtime, queue: ConversationQueue) -> bool:
        """Return whether there was something to do, or may be more."""
        try:
            free = min(self._free(queue.task), AT_ONCE)
            if not free:
                return self._pass_on(queue)
            if not rt.heartbeat.wait_until_live(AWAIT_HEARTBEAT):
                self._ask(queue)
                return True
            found = find(rt, queue, free)
        except Exception as error:
            if isinstance(error, AWAY):
                log.warning("due work could not be claimed: %s", type(error).__name__)
            else:
                log.exception("due work could not be claimed")
            self._ask(queue)
            time.sleep(AFTER_AN_ERROR)
            return True
        for work in found or ():
            self._submit(rt, work)
        if found is not None and len(found) in (0, free):  # what is locked now, or did not fit, is left
            self._ask(queue)
        return found is not None

    def _pass_on(self, queue: ConversationQueue) -> bool:
        """Wake another process, at most once a second, and try again as soon as a thread is free."""
        if time.monotonic() - self._full_since > PASS_ON_EVERY:
            self._full_since = time.monotonic()
            self._when_full()
        self._ask(queue)
        return True

    def _free(self, task: str) -> int:
        with self._lock:
            return self._threads[task] - self._in_hand[task]

    def _submit(self, rt: Runtime, work: Work) -> None:
        with self._lock:
            self._in_hand[work.task] += 1
        try:
            self._pools[work.task].submit(self._do, rt, work)
        except RuntimeError:  # the process ends; the sweeper releases the lease
            self._done(work)

    def _do(self, rt: Runtime, work: Work) -> None:
        try:
            work_on(rt, work.task, work.row, work.run)
        except Exception:  # a bug, or a database that is away; the work comes due again
            log.exception("%s failed", work.task)
        finally:
            self._done(work)

    def _done(self, work: Work) -> None:
        with self._lock:
            self._in_hand[work.task] -= 1
