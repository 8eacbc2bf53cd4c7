"""The worker as Celery sees it: the tasks of wake-ups, the jobs of the clock, and its settings.

The module is an entry point: it reads the environment and takes over the log as it is imported. So it is looked at in a
process of its own; that it works is told in ``test_story``.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from bridge.chats import do_not_call, ending
from bridge.db.engine import Sessions
from bridge.operators import draft_requests
from bridge.outbound import notices
from bridge.processes.broker import CLOCK_QUEUE, FETCH, queue_name
from bridge.processes.ping import PING
from bridge.processes.tasks import SCHEDULE, TASKS, one_at_a_time
from bridge.queues import conversation_queue
from bridge.queues.timing import RENOTIFY_AFTER
from bridge.runtime import Runtime
from testkit.procfile import ROOT, environment
from testkit.waiting import PATIENCE
from tests.scene import Scene

BY_ROW = [ending.TASK, do_not_call.TASK, notices.TASK, draft_requests.TASK]
"""The tasks whose wake-ups name a row. The others mean: fetch what is due."""

SETTINGS = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1",
    "PUBLIC_URL": "https://bridge.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token-of-the-account",
    "RETELL_API_KEY": "key_of_the_agent",
    "RETELL_AGENT_ID": "agent_1",
    "WORKER_CONCURRENCY": "7",
}

QUESTION = """
import json
from bridge.processes.worker import celery
print(json.dumps({
    "tasks": [name for name in celery.tasks if not name.startswith("celery.")],
    "schedule": celery.conf.beat_schedule,
    "ack_emulation": celery.conf.broker_transport_options.get("ack_emulation"),
    "queues": {name: [each.exchange.name, each.routing_key] for name, each in celery.amqp.queues.consume_from.items()},
    **{name: celery.conf[name] for name in %r},
}, default=lambda moment: moment.total_seconds()))
"""

CONF: dict[str, Any] = {
    "worker_pool": "threads",
    "worker_concurrency": 8,
    "worker_prefetch_multiplier": 1,
    "worker_hijack_root_logger": False,
    "worker_enable_remote_control": False,
    "task_default_queue": CLOCK_QUEUE,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "result_backend": None,
    "task_acks_late": False,
}
"""Each of these is a choice. The sweeper repeats a lost wake-up, so nothing is acknowledged late."""


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the worker is set up to be."""
    folder = tmp_path_factory.mktemp("worker")
    looked = subprocess.run(
        [sys.executable, "-c", QUESTION % list(CONF)],
        cwd=folder,
        env=environment(SETTINGS),
        capture_output=True,
        text=True,
    )
    assert looked.returncode == 0, looked.stderr
    told: dict[str, Any] = json.loads(looked.stdout)
    return told


def test_there_is_a_celery_task_for_every_wake_up_and_for_every_job_of_the_clock(worker: dict[str, Any]) -> None:
    assert sorted(worker["tasks"]) == sorted([FETCH, PING, *BY_ROW, *SCHEDULE])


def test_the_clock_calls_for_each_part_of_the_upkeep_at_its_own_pace(worker: dict[str, Any]) -> None:
    paces = {name: (each["task"], each["schedule"]) for name, each in worker["schedule"].items()}
    assert paces == {name: (name, every.total_seconds()) for name, (_, every) in SCHEDULE.items()}


class Slow:
    """Upkeep that takes until it is let go."""

    def __init__(self) -> None:
        self.called = 0
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, rt: Runtime) -> None:
        self.called += 1
        self.begun.set()
        assert self.let_go.wait(PATIENCE)


def test_a_call_of_the_clock_is_left_out_while_the_one_before_is_at_it(scene: Scene) -> None:
    slow = Slow()
    upkeep = one_at_a_time(slow)
    first = threading.Thread(target=upkeep, args=(scene.rt,))
    first.start()
    assert slow.begun.wait(PATIENCE)
    upkeep(scene.rt)
    assert slow.called == 1
    slow.let_go.set()
    first.join()
    upkeep(scene.rt)
    assert slow.called == 2


def test_a_call_of_the_clock_that_fails_leaves_the_way_free(scene: Scene) -> None:
    called = []

    def fails(rt: Runtime) -> None:
        called.append(rt)
        raise OSError

    upkeep = one_at_a_time(fails)
    for _ in range(2):
        with suppress(OSError):
            upkeep(scene.rt)
    assert len(called) == 2


def test_each_task_and_the_clock_have_a_queue_of_their_own_and_the_worker_takes_from_all(
    worker: dict[str, Any],
) -> None:
    names = [CLOCK_QUEUE, queue_name(FETCH), *map(queue_name, BY_ROW)]
    assert len(set(names)) == 6
    assert worker["queues"] == {name: [name, name] for name in names}


def test_nothing_has_to_be_acknowledged_in_redis(worker: dict[str, Any]) -> None:
    assert worker["ack_emulation"] is False


def test_calls_that_no_worker_takes_do_not_pile_up(worker: dict[str, Any]) -> None:
    for each in worker["schedule"].values():
        assert 0 < each["options"]["expires"] <= max(60, each["schedule"])


def test_a_call_of_the_clock_outlives_what_two_machines_clocks_differ_by(worker: dict[str, Any]) -> None:
    for each in worker["schedule"].values():
        assert each["options"]["expires"] >= 60


@pytest.mark.parametrize("name", CONF)
def test_the_worker_is_set_up_as_it_should_be(worker: dict[str, Any], name: str) -> None:
    assert worker[name] == CONF[name]


def test_the_sweep_comes_more_often_than_a_lost_wake_up_is_noticed() -> None:
    _, every = SCHEDULE["sweep"]
    assert timedelta(0) < every < RENOTIFY_AFTER / 4


# -- the names of tasks --------------------------------------------------------------------------------------------


def names_that_are_woken() -> Iterator[tuple[str, str]]:
    """Every name that is written out in a wake-up, with its file."""
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="wake"), args=[ast.Constant(value=name), *_]):
                    yield str(path.relative_to(ROOT)), name


@pytest.mark.parametrize("task", [*(queue.task for queue in conversation_queue.QUEUES), *BY_ROW])
def test_every_task_of_a_wake_up_exists(task: str) -> None:
    assert task in TASKS


def test_no_wake_up_names_a_task_that_does_not_exist() -> None:
    assert [(file, name) for file, name in names_that_are_woken() if name not in TASKS] == []


def test_no_task_is_called_like_a_job_of_the_clock() -> None:
    assert not TASKS.keys() & SCHEDULE.keys()
