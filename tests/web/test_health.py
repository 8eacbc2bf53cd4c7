"""What the platform and people are told of the bridge's health, and that every route says who may call it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from bridge.db import migrate
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import CircuitBreaker
from bridge.operators import pausing, texts
from bridge.operators.idempotency import Asked
from bridge.operators.texts import Pair
from bridge.processes.broker import CeleryNotifier
from bridge.queues.timing import MAX_CLOCK_SKEW
from bridge.runtime import Runtime
from bridge.web.app import build_web
from bridge.web.auth import undeclared
from bridge.web.health import FORGOTTEN_AFTER
from tests.databases import database as database_on
from tests.fakes import FakeCarrier, FakeNotifier, fake_agents, fake_settings
from tests.scene import ANN, NUMBER, Scene
from tests.vendor import closed_port

TOKEN = "token-of-the-operator"

SOON = 10
"""Seconds. Whoever asks for our health does not wait for long."""


@pytest.fixture
def sessions(bare_database_url: str) -> Iterator[Sessions]:
    """A database as the release leaves it."""
    migrate.upgrade(bare_database_url)
    engine = build_engine(bare_database_url)
    yield build_sessions(engine)
    engine.dispose()


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def ask(rt: Runtime, path: str = "/readyz", token: str | None = None) -> tuple[int, Any]:
    client: FlaskClient = build_web(rt).test_client()
    answer = client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})
    return answer.status_code, answer.json


def test_the_front_page_tells_what_this_is_and_leads_to_the_console_and_tells_no_more(scene: Scene) -> None:
    client = build_web(scene.rt).test_client()
    front = client.get("/")
    assert (front.status_code, front.mimetype) == (200, "text/html")
    [to] = re.findall(r'href="([^"]*)"', front.text)
    assert client.get(to).status_code != 404
    assert "SMS bridge" in front.text
    assert not re.search(r"\d", front.text)


def faults(rt: Runtime) -> list[str]:
    """The parts of which ``/readyz`` says that something is wrong."""
    status, told = ask(rt)
    assert (status, told["status"]) == ((503, "faulty") if told["faults"] else (200, "ok"))
    assert all(sorted(fault) == ["part", "state"] for fault in told["faults"])
    return [fault["part"] for fault in told["faults"]]


def nowhere(kind: str = "postgresql+psycopg") -> str:
    return f"{kind}://somebody:password@127.0.0.1:{closed_port()}/name"


# -- healthz -------------------------------------------------------------------------------------------------------


def test_a_process_is_healthy_while_it_answers_whatever_else_is_away() -> None:
    engine = build_engine(nowhere())
    notifier = CeleryNotifier(nowhere("redis").replace("name", "0"))
    heartbeat: Any = None
    rt = Runtime(fake_settings(), build_sessions(engine), fake_agents(), FakeCarrier(), notifier, heartbeat)
    assert ask(rt, "/healthz") == (200, {"status": "ok"})


# -- readyz --------------------------------------------------------------------------------------------------------


def test_all_is_well(scene: Scene) -> None:
    assert ask(scene.rt) == (200, {"status": "ok", "faults": []})


def test_a_database_and_a_broker_that_are_away_are_both_told_soon(scene: Scene) -> None:
    engine = build_engine(nowhere())
    notifier = CeleryNotifier(nowhere("redis").replace("name", "0"))
    began = time.monotonic()
    assert faults(replace(scene.rt, database=database_on(build_sessions(engine)), notifier=notifier)) == [
        "database",
        "broker",
    ]
    assert time.monotonic() - began < SOON


def test_a_database_of_no_use_is_told_with_the_reason(scene: Scene, postgres: Any) -> None:
    with postgres.database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'") as url:
        engine = build_engine(url)
        rt = replace(scene.rt, database=database_on(build_sessions(engine)))
        assert ask(rt)[1]["faults"] == [{"part": "database", "state": "is not fit"}]
        assert "in the encoding SQL_ASCII" in str(ask(with_token(rt), token=TOKEN)[1])
        engine.dispose()


def test_a_broker_that_is_there_is_no_fault(scene: Scene, broker_url: str) -> None:
    notifier = CeleryNotifier(broker_url)
    assert faults(replace(scene.rt, notifier=notifier)) == []
    notifier.close()


def test_a_database_without_tables_is_told(scene: Scene, tmp_path: Any) -> None:
    engine = build_engine(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert faults(replace(scene.rt, database=database_on(build_sessions(engine)))) == ["migration"]
    engine.dispose()


def test_tables_that_no_migration_has_made_are_told(scene: Scene) -> None:
    scene.change(text("DELETE FROM alembic_version"))
    assert faults(scene.rt) == ["migration"]


def test_a_database_that_a_newer_release_took_further_is_no_fault(scene: Scene) -> None:
    scene.change(text("UPDATE alembic_version SET version_num = '9999'"))
    assert faults(scene.rt) == []


def test_work_that_nobody_takes_is_told_after_a_while(scene: Scene) -> None:
    scene.text("hello")
    scene.clock.tick((FORGOTTEN_AFTER - MAX_CLOCK_SKEW).total_seconds())
    assert faults(scene.rt) == []
    scene.clock.tick(1)
    assert faults(scene.rt) == ["work"]
    scene.rt.heartbeat.beat()
    scene.work_until_idle()
    assert faults(scene.rt) == []


def test_work_that_is_in_hands_or_pauses_is_not_forgotten(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("hello")
    for _ in range(30):
        scene.tick(10)
        assert faults(scene.rt) == []


def with_token(rt: Runtime) -> Runtime:
    return replace(rt, settings=fake_settings(admin_token=TOKEN))


@pytest.fixture
def refused(scene: Scene) -> Scene:
    now = scene.clock()
    scene.add(CircuitBreaker(scope="retell", cause="retell (401): no such key", since=now, probe_at=now + timedelta(1)))
    return scene


@pytest.mark.parametrize("token", [None, "another", TOKEN[:-1]])
def test_a_vendor_that_serves_nobody_is_named_and_its_words_are_for_operators(
    refused: Scene, token: str | None
) -> None:
    assert ask(with_token(refused.rt), token=token) == (
        503,
        {"status": "faulty", "faults": [{"part": "retell", "state": "circuit open"}]},
    )


def test_an_operator_is_told_why(refused: Scene) -> None:
    status, told = ask(with_token(refused.rt), token=TOKEN)
    assert status == 503
    [fault] = told["faults"]
    assert (fault["part"], fault["state"]) == ("retell", "circuit open")
    assert "retell (401): no such key" in fault["what"]


def test_without_a_token_in_the_settings_nobody_is_told_why(refused: Scene) -> None:
    for token in ("", "None", TOKEN):
        assert "what" not in ask(refused.rt, token=token)[1]["faults"][0]


def test_a_pause_is_told_and_is_no_failure(scene: Scene) -> None:
    rt = with_token(scene.rt)
    pausing.begin(rt, "ana")
    scene.text("hello")
    scene.clock.tick(FORGOTTEN_AFTER.total_seconds() + 60)
    information = {"part": "agents", "state": "are paused"}
    assert ask(rt) == (200, {"status": "ok", "faults": [], "information": [information]})
    status, told = ask(rt, token=TOKEN)
    assert status == 200
    assert "ana" in told["information"][0]["what"]
    pausing.end(rt, "ana")
    assert faults(rt) == ["work"]


def test_in_a_pause_a_delivery_that_nobody_takes_is_still_a_fault(scene: Scene) -> None:
    pausing.begin(scene.rt, "ana")
    texts.write(scene.rt, Asked("ana"), Pair(ANN, NUMBER), "hello")
    scene.clock.tick(FORGOTTEN_AFTER.total_seconds() + 1)
    status, told = ask(scene.rt)
    assert (status, [fault["part"] for fault in told["faults"]]) == (503, ["work"])


def test_nobody_s_number_or_text_is_told(scene: Scene) -> None:
    scene.text("tangerine")
    scene.clock.tick(FORGOTTEN_AFTER.total_seconds() + 1)
    _, told = ask(scene.rt)
    assert "tangerine" not in str(told)
    assert ANN.lstrip("+") not in str(told)


# -- who may call --------------------------------------------------------------------------------------------------


def test_every_route_says_who_may_call_it() -> None:
    nothing: Any = None
    rt = Runtime(fake_settings(), nothing, fake_agents(), FakeCarrier(), FakeNotifier(), nothing)
    assert undeclared(build_web(rt)) == []
