"""The bridge in one process: the real command with real signals, and its notifier and its clock alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.config import DEFAULT_HANDOFF_REPLY
from bridge.db.engine import Sessions
from bridge.db.models import Conversation
from bridge.processes.embedded import GRACE, Clock, free_port
from bridge.processes.tasks import SCHEDULE
from bridge.queues.conversation_queue import TURNS
from bridge.queues.timing import STALLED_AFTER
from bridge.runtime import Runtime
from testkit.procfile import Processes
from testkit.waiting import until
from tests.databases import away
from tests.scene import ANN, Scene
from tests.up import HERE, OPERATOR, Up, up_in


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with up_in(tmp_path) as up:
        yield up


# -- bridge up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_told_to_stop(up: Up, told: signal.Signals) -> None:
    process = up.start()
    up.simulator.phones.text(ANN, "one")
    up.must_have_answered("one")
    up.simulator.phones.text(ANN, "two")
    up.must_have_answered("one", "two")
    process.tell(told)
    assert process.wait() == 0
    assert "Traceback" not in process.output


def test_prometheus_may_ask_it(up: Up) -> None:
    up.start()
    up.simulator.phones.text(ANN, "one")
    up.must_have_answered("one")
    assert httpx.get(f"{up.address}/metrics").status_code == 401
    told = httpx.get(f"{up.address}/metrics", headers={"Authorization": f"Bearer {OPERATOR}"})
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'bridge_texts_total{sender="+1555…11"} 1.0' in told.text.splitlines()


def test_after_a_kill_the_next_start_takes_up_at_once_what_was_in_flight(up: Up) -> None:
    up.killed_in_a_turn()
    process = up.start()
    process.until_it_says("1 leases of stalled workers are taken over", within=0.75 * STALLED_AFTER.total_seconds())
    up.must_have_answered("one", "two")


def test_a_turn_that_takes_too_long_does_not_delay_the_end(up: Up) -> None:
    process = up.start()
    up.simulator.faults.next("agent_slow", seconds=GRACE + 2)
    up.simulator.phones.text(ANN, "one")
    until(lambda: up.simulator.agent.received(ANN) == ["one"], "the agent has received it")
    assert process.stop(GRACE + 2) == 0
    assert "still in flight" in process.output
    up.start()
    up.must_have_answered("one")


def test_a_second_one_on_the_same_port_says_what_is_wrong(up: Up, tmp_path: Path) -> None:
    up.start()
    elsewhere = f"DATABASE_URL=sqlite:///{tmp_path / 'another.sqlite3'}"
    command = ["env", elsewhere, sys.executable, "-m", "bridge", "up", "--port", str(up.port)]
    second = up.processes.start("second", command)
    assert second.wait() == 1
    assert second.output == f"Error: can't listen on {HERE}:{up.port}: Address already in use\n"
    up.simulator.phones.text(ANN, "one")
    up.must_have_answered("one")


def test_a_second_one_on_the_same_file_is_refused_and_harms_nothing(up: Up) -> None:
    up.start()
    up.simulator.faults.next("agent_slow", seconds=2)
    up.simulator.phones.text(ANN, "one")
    until(lambda: up.simulator.agent.received(ANN) == ["one"], "the agent has received it")
    command = [sys.executable, "-m", "bridge", "up", "--port", str(free_port(HERE))]
    second = up.processes.start("second", command)
    assert second.wait() == 1
    assert "another bridge runs on" in second.output
    up.must_have_answered("one")


def test_a_folder_that_is_not_there_is_reported(up: Up) -> None:
    command = ["env", "DATABASE_URL=sqlite:////no/such/folder/bridge.sqlite3", sys.executable, "-m", "bridge", "up"]
    process = up.processes.start("wrong", command)
    assert process.wait() == 1
    assert process.output.startswith("Error: can't write beside /no/such/folder/bridge.sqlite3")


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [("--host=no.such.host.invalid", 1, "can't listen"), ("--port=0", 2, "--port"), ("--port=65536", 2, "--port")],
)
def test_an_address_that_can_not_be_is_refused(up: Up, option: str, code: int, words: str) -> None:
    process = up.processes.start("wrong", [sys.executable, "-m", "bridge", "up", option])
    assert process.wait() == code
    assert words in process.output
    assert "Traceback" not in process.output


# -- bridge demo ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["retell", "uponai"])
def test_the_demo_shows_a_phone_and_answers_it(tmp_path: Path, agent: str) -> None:
    port = free_port(HERE)
    processes = Processes(tmp_path, {"TMPDIR": str(tmp_path)})
    try:
        demo = processes.start(
            "demo", [sys.executable, "-m", "bridge", "demo", "--no-browser", "--port", str(port), "--agent", agent]
        )
        demo.until_it_says("The phone is at")
        with httpx.Client(base_url=f"http://{HERE}:{port}") as browser:
            assert browser.get("/").status_code == 200
            assert browser.post("/simulator/texts", json={"from": ANN, "body": "hello"}).status_code == 201
            until(lambda: browser.get("/simulator/inbox", params={"phone": ANN}).json()["texts"], "an answer has come")
            assert browser.post("/simulator/texts", json={"from": ANN, "body": "Human, please"}).status_code == 201
            assert browser.post("/simulator/texts", json={"from": ANN, "body": "Human!"}).status_code == 201
            until(lambda: DEFAULT_HANDOFF_REPLY in browser.get("/simulator/inbox", params={"phone": ANN}).text, "told")
            console = browser.get("/simulator/console", follow_redirects=True)
            assert (console.status_code, console.url.path) == (200, "/console/"), "it is logged in by that link"
            assert "/console/conversations/1" in browser.get(str(console.url.join("inbox"))).text
            used = httpx.get(str(console.history[1].url), follow_redirects=True)
            assert used.url.path == "/console/login", "once"
        assert demo.stop() == 0
    finally:
        processes.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


# -- the notifier --------------------------------------------------------------------------------------------------


# -- the clock -----------------------------------------------------------------------------------------------------


def forgotten(scene: Scene) -> Scene:
    """A text whose wake-up was lost."""
    scene.text("one")
    scene.notifier.wakeups.clear()
    scene.clock.tick(60)
    return scene


def run_until(rt: Runtime, look: Any) -> None:
    clock = Clock(rt)
    clock.start()
    try:
        until(look, "the clock has seen to it")
    finally:
        clock.stop()


def test_the_clock_brings_what_was_forgotten(sessions: Sessions) -> None:
    scene = forgotten(Scene(sessions))
    run_until(scene.rt, lambda: scene.notifier.wakeups)
    assert scene.notifier.wakeups == [(TURNS.task, scene.rows(Conversation)[0].id)]
    assert not {thread.name for thread in threading.enumerate()} & set(SCHEDULE)


def test_the_clock_goes_on_when_the_database_is_back(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    scene = forgotten(Scene(sessions, stale_after=""))
    base = away(sessions, 1, 2, now=scene.clock, wake=scene.notifier.wake)
    run_until(replace(scene.rt, database=base), lambda: scene.notifier.wakeups)
    assert "sweep failed" in caplog.text
