"""Exports: everything of one conversation, and the texts of a period, in bounded memory and safe to open."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, update
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Audit, Conversation, Message
from bridge.operators import labels
from bridge.web import conversation_models as models
from bridge.web.queries import period
from bridge.web.queries.period import Period
from tests.scene import ANN, BOB, NUMBER, Scene

KEY = {"Authorization": "Bearer token-of-ana"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, admin_tokens="ana:token-of-ana", twilio_numbers=NUMBER)
    for body, phone in (("one", ANN), ("=cmd()", BOB), ('three, "and"\nmore', ANN)):
        scene.text(body, phone)
        scene.work_until_idle()
        scene.clock.tick(24 * 3600)
    return scene


def get(scene: Scene, path: str) -> TestResponse:
    return scene.web.test_client().get(path, headers=KEY)


def at(moment: datetime) -> str:
    return moment.isoformat().replace("+", "%2B")


def rows_of(answer: TestResponse) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def texts_in(answer: TestResponse) -> list[dict[str, str]]:
    rows = rows_of(answer)
    head = rows.index(next(row for row in rows if row[:1] == ["id"]))
    return [dict(zip(rows[head], row, strict=True)) for row in rows[head + 1 :]]


# -- one conversation ----------------------------------------------------------------------------------------------


def test_everything_of_one_conversation_is_exported(scene: Scene) -> None:
    id_ = next(row.id for row in scene.rows(Conversation) if row.phone == ANN)
    labels.add_note(scene.rt, "ana", id_, "calls back")
    labels.add_tag(scene.rt, "ana", id_, "vip")
    answer = get(scene, f"/admin/conversations/{id_}/export")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="conversation-{id_}.json"'
    exported = models.ConversationExport.model_validate(answer.json)
    assert [each.body for each in exported.messages] == [
        row.body for row in scene.rows(Message) if row.conversation_id == id_
    ]
    assert (exported.conversation.phone, exported.conversation.tags) == (ANN, ["vip"])
    assert [note.body for note in exported.notes] == ["calls back"]
    assert [deed.action for deed in exported.audit] == ["export", "tag", "note"]
    assert exported.chats


def test_a_long_conversation_comes_whole(scene: Scene) -> None:
    id_ = next(row.id for row in scene.rows(Conversation) if row.phone == BOB)
    for n in range(450):
        scene.text(f"text {n}", BOB)
    bodies = [each["body"] for each in get(scene, f"/admin/conversations/{id_}/export").json["messages"]]
    assert bodies[-450:] == [f"text {n}" for n in range(450)]


def test_an_export_is_recorded(scene: Scene) -> None:
    get(scene, "/admin/conversations/1/export")
    since, until = scene.clock() - timedelta(days=9), scene.clock()
    get(scene, f"/admin/export?since={at(since)}")
    deeds = [(row.operator, row.action, row.subject, row.details) for row in scene.rows(Audit)]
    assert deeds == [
        ("ana", "export", "conversation 1", {}),
        ("ana", "export", "texts of a period", {"since": since.isoformat(), "until": until.isoformat()}),
    ]
    assert get(scene, "/admin/conversations/99/export").status_code == 404
    assert len(scene.rows(Audit)) == 2


# -- a period ------------------------------------------------------------------------------------------------------


def test_the_texts_of_a_period_are_exported_and_no_others(scene: Scene) -> None:
    begun = scene.rows(Message)[0].created_at
    answer = get(
        scene, f"/admin/export?since={at(begun + timedelta(hours=12))}&until={at(begun + timedelta(hours=36))}"
    )
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert [(each["author"], each["body"]) for each in texts_in(answer)] == [
        ("person", "'=cmd()"),
        ("agent", "You said: =cmd()"),
    ]
    everything = texts_in(get(scene, f"/admin/export?since={at(begun)}"))
    assert [each["body"] for each in everything][-2:] == ['three, "and"\nmore', 'You said: three, "and"\nmore']
    assert len(everything) == 6


def test_the_first_rows_say_what_the_file_is(scene: Scene) -> None:
    answer = get(scene, f"/admin/export?since={at(scene.clock())}")
    rows = rows_of(answer)
    assert rows[0] == ["Texts of the SMS bridge"]
    assert rows[1][:2] == ["from", f"{scene.clock():%Y-%m-%d %H:%M:%S}"]
    assert rows[2][-1] == "ana"
    assert texts_in(answer) == []


@pytest.mark.parametrize("body", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1"])
def test_no_cell_is_a_formula(scene: Scene, body: str) -> None:
    scene.change(update(Message).values(body=body))
    for row in rows_of(get(scene, f"/admin/export?since={at(scene.clock() - timedelta(days=9))}")):
        assert not [cell for cell in row if cell.lstrip(" ")[:1] in tuple("=+-@\t\r")]


def test_a_text_that_was_fetched_late_is_in_its_period(scene: Scene) -> None:
    scene.text("late", BOB, sent_at=scene.clock() - timedelta(hours=3))
    since, until = scene.clock() - timedelta(hours=4), scene.clock() - timedelta(hours=2)
    assert [each["body"] for each in texts_in(get(scene, f"/admin/export?since={at(since)}&until={at(until)}"))] == [
        "late"
    ]


def test_a_long_period_is_read_page_by_page_and_each_page_by_itself(scene: Scene) -> None:
    for n in range(period.PAGE + 50):
        scene.text(f"text {n}", BOB)
    engine = scene.sessions.kw["bind"]
    began = transactions(engine)
    hour = timedelta(hours=1)
    pages = list(period.texts_of(scene.rt, Period(scene.clock() - hour, scene.clock() + hour)))
    assert sum(map(len, pages)) == period.PAGE + 50
    assert len(pages) == 2
    assert began[0] >= len(pages)


def transactions(engine: Engine) -> list[int]:
    began = [0]

    def count(_connection: Any) -> None:
        began[0] += 1

    event.listen(engine, "begin", count)
    return began


def test_one_export_runs_at_a_time(scene: Scene) -> None:
    client = scene.web.test_client()
    path = f"/admin/export?since={at(scene.clock())}"
    first = client.get(path, headers=KEY)
    assert client.get(path, headers=KEY).status_code == 503
    first.close()
    client.head(path, headers=KEY).close()
    assert client.get(path, headers=KEY).status_code == 200


@pytest.mark.parametrize("query", ["", "since=x", "since=2026-01-01T00:00:00", "since=0001-01-01T00:00:00Z", "since=1"])
def test_a_wrong_period_is_refused(scene: Scene, query: str) -> None:
    assert get(scene, f"/admin/export?{query}").status_code == 422
