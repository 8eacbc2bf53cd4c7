"""The audit: each deed has its row, in its own transaction, and no row is ever changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from werkzeug.test import TestResponse

from bridge.db import migrate
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Audit, Message, MessageStatus
from bridge.operators import audit, chats, retry, texts
from bridge.operators.audit import Action, Entry
from bridge.operators.idempotency import Asked
from bridge.operators.logins import Cause, Refusals
from bridge.operators.texts import Pair
from bridge.providers.errors import Refused
from tests.databases import Unsteady, database, transaction
from tests.scene import ANN, NUMBER, Scene

TOKENS = "ana:token-of-ana,ben:token-of-ben"
BRIDGE = Path(__file__).parents[2] / "bridge"


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens=TOKENS)


def call(scene: Scene, method: str, path: str, token: str | None = "token-of-ana", **more: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return scene.web.test_client().open(path, method=method, headers=headers, **more)


def told(scene: Scene) -> list[tuple[str, str, str]]:
    return [(row.operator, row.action, row.subject) for row in scene.rows(Audit)]


def answered(scene: Scene) -> None:
    scene.text("tangerine")
    scene.work_until_idle()


def given_up(scene: Scene) -> None:
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    answered(scene)


NOTHING: Callable[[Scene], None] = lambda scene: None  # noqa: E731

DEEDS: list[tuple[Callable[[Scene], None], str, Any, tuple[str, str]]] = [
    (answered, "/admin/chats/1/end", None, ("end_chat", "chat 1")),
    (answered, "/admin/chats/end-stale", {"idle_seconds": 0}, ("end_stale", "1 chats")),
    (NOTHING, "/admin/messages", {"to": ANN, "from": NUMBER, "body": "tangerine"}, ("send_text", "message 1")),
    (answered, "/admin/conversations/1/messages", {"body": "tangerine"}, ("send_text", "message 3")),
    (NOTHING, "/admin/pause", None, ("pause", "all agents")),
    (given_up, "/admin/messages/2/retry", None, ("retry", "message 2")),
    (given_up, "/admin/failures/retry", {}, ("retry", "message 2")),
    (given_up, "/admin/failures/dismiss", {"kind": "message", "id": 2}, ("dismiss", "message 2")),
    (given_up, "/admin/failures/dismiss", {"kind": "message"}, ("dismiss", "1 messages")),
]


@pytest.mark.parametrize(("prepare", "path", "body", "row"), DEEDS, ids=lambda each: each if type(each) is str else "")
def test_each_deed_is_recorded_with_who_did_it(
    scene: Scene, prepare: Callable[[Scene], None], path: str, body: Any, row: tuple[str, str]
) -> None:
    prepare(scene)
    scene.clock.tick(1)
    answer = call(scene, "POST", path, token="token-of-ben", **({} if body is None else {"json": body}))
    assert answer.status_code in (200, 202), answer.text
    assert told(scene) == [("ben", *row)]
    [written] = scene.rows(Audit)
    assert written.at == scene.clock()
    shown = str((written.subject, written.details))
    assert "tangerine" not in shown
    assert ANN.lstrip("+") not in shown


def test_what_changes_nothing_is_not_recorded(scene: Scene) -> None:
    answered(scene)
    for path in ("/admin/chats/9/end", "/admin/resume", "/admin/messages/2/retry", "/admin/turns/1/retry"):
        call(scene, "POST", path)
    call(scene, "POST", "/admin/chats/end-stale", json={"idle_seconds": 0, "dry_run": True})
    call(scene, "POST", "/admin/chats/end-stale", json={})
    call(scene, "POST", "/admin/failures/dismiss", json={"kind": "turn"})
    call(scene, "POST", "/admin/pause")
    call(scene, "POST", "/admin/pause")
    assert told(scene) == [("ana", "pause", "all agents")]


@pytest.mark.parametrize("done", [False, True])
def test_a_deed_and_its_row_are_one_commit(scene: Scene, done: bool) -> None:
    answered(scene)
    unsteady = Unsteady()
    steady, scene.rt = scene.rt, scene.woken_by(scene.notifier)
    object.__setattr__(scene.rt, "database", database(scene.sessions, scene.clock, commit=unsteady.commit))
    for deed in (
        lambda: chats.end_one(scene.rt, "ana", 1),
        lambda: texts.write(scene.rt, Asked("ana"), Pair(ANN, NUMBER), "hi"),
    ):
        unsteady.fails(times=1, done=done)
        with pytest.raises(DBAPIError):
            deed()
    scene.rt = steady
    assert len(scene.rows(Audit)) == (2 if done else 0)
    assert len(scene.rows(Message)) == (3 if done else 2)


# -- append-only ---------------------------------------------------------------------------------------------------


def test_our_code_never_changes_or_deletes_a_row() -> None:
    changes = re.compile(r"\b(?:update|delete)\(\s*Audit\b|\bUPDATE audit\b|\bDELETE FROM audit\b")
    assert [path for path in BRIDGE.rglob("*.py") if changes.search(path.read_text())] == []


@pytest.fixture
def migrated(bare_database_url: str) -> Iterator[Sessions]:
    migrate.upgrade(bare_database_url)
    engine = build_engine(bare_database_url)
    yield build_sessions(engine)
    engine.dispose()


@pytest.mark.parametrize("change", ["UPDATE audit SET operator = 'nobody'", "DELETE FROM audit"])
def test_the_database_refuses_every_change(migrated: Sessions, change: str) -> None:
    with transaction(migrated) as tx:
        audit.write(tx, Entry("ana", Action.PAUSE, "all agents"))
    with pytest.raises(DBAPIError, match="never changed or deleted"), migrated.begin() as session:
        session.execute(text(change))
    with migrated() as session:
        assert [row.operator for row in session.query(Audit)] == ["ana"]


# -- refused logins ------------------------------------------------------------------------------------------------


def test_refused_logins_are_one_row_a_minute_for_each_cause(scene: Scene) -> None:
    web = scene.web.test_client()
    for minute in range(3):
        for _ in range(50):
            web.get("/admin/chats")
            web.get("/admin/chats", headers={"Authorization": "Bearer wrong"})
        assert len(scene.rows(Audit)) == 2 * (minute + 1)
        scene.clock.tick(60)
    rows = scene.rows(Audit)
    assert {row.operator for row in rows} == {"-"}
    assert {row.action for row in rows} == {"login_refused"}
    assert [(row.subject, row.details["times"]) for row in rows] == [
        ("no token", 1),
        ("wrong token", 1),
        ("no token", 50),
        ("wrong token", 50),
        ("no token", 50),
        ("wrong token", 50),
    ]


def test_several_processes_write_one_row_a_minute_together(scene: Scene) -> None:
    first, second = Refusals(scene.rt), Refusals(scene.rt)
    for _ in range(3):
        first.count(Cause.WRONG_TOKEN)
        second.count(Cause.WRONG_TOKEN)
    assert [row.details for row in scene.rows(Audit)] == [{"times": 1}]
    scene.clock.tick(60)
    second.count(Cause.WRONG_TOKEN)
    first.count(Cause.WRONG_TOKEN)
    assert [row.details for row in scene.rows(Audit)] == [{"times": 1}, {"times": 4}]


def test_a_refused_login_is_refused_also_while_the_database_is_away(scene: Scene) -> None:
    unsteady = Unsteady()
    object.__setattr__(scene.rt, "database", database(scene.sessions, scene.clock, commit=unsteady.commit))
    web = scene.web.test_client()
    unsteady.fails(times=1, done=False)
    assert web.get("/admin/chats").status_code == 401
    assert scene.rows(Audit) == []
    scene.clock.tick(60)
    assert web.get("/admin/chats").status_code == 401
    assert [row.details for row in scene.rows(Audit)] == [{"times": 2}]


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_audit_is_listed_newest_first_page_by_page(scene: Scene) -> None:
    for n in range(5):
        texts.write(scene.rt, Asked("ben" if n % 2 else "ana"), Pair(ANN, NUMBER), f"hi {n}")
    ids, cursor = [], ""
    while cursor is not None:
        page = call(scene, "GET", f"/admin/audit?limit=2{'&cursor=' + cursor if cursor else ''}").json
        ids += [each["id"] for each in page["audit"]]
        cursor = page["next"]
    assert ids == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [3, 2, 1]),
        ("operator=ben", [2]),
        ("action=pause", [3]),
        ("conversation_id=1", [2, 1]),
        ("conversation_id=1&operator=ana", [1]),
        ("conversation_id=2", []),
    ],
)
def test_the_audit_is_filtered(scene: Scene, query: str, ids: list[int]) -> None:
    texts.write(scene.rt, Asked("ana"), Pair(ANN, NUMBER), "hi")
    texts.write(scene.rt, Asked("ben"), Pair(ANN, NUMBER), "hi")
    call(scene, "POST", "/admin/pause")
    assert [each["id"] for each in call(scene, "GET", f"/admin/audit?{query}").json["audit"]] == ids


@pytest.mark.parametrize("query", ["action=x", "conversation_id=x", "operator=%00", "cursor=x", "limit=0", "x=1"])
def test_a_wrong_filter_is_refused(scene: Scene, query: str) -> None:
    assert call(scene, "GET", f"/admin/audit?{query}").status_code == 422


def test_a_failure_that_is_retried_alone_is_recorded_once(scene: Scene) -> None:
    given_up(scene)
    retry.retry_message(scene.rt, "ana", 2)
    with pytest.raises(retry.Refused):
        retry.retry_message(scene.rt, "ana", 2)
    assert told(scene) == [("ana", "retry", "message 2")]
    assert scene.rows(Message)[1].status is MessageStatus.QUEUED
