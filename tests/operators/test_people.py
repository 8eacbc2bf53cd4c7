"""One person's data: the export has all of it, and every table is known to belong to people or not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.db.models import Audit, Base, Conversation, DraftRequest, HandoffNotice
from bridge.db.transaction import Sessions
from bridge.operators import labels, people_exports, texts
from bridge.operators.idempotency import Asked
from bridge.operators.people import AUDIT, BY_NUMBER, CONVERSATIONS, OF_CONVERSATIONS, Person
from bridge.providers.agents.contract import ToolCall, ToolResult
from tests.scene import ANN, BOB, NUMBER, Scene

IMPERSONAL = {
    "workers": "processes",
    "circuit_breakers": "causes, without words of a person",
    "task_errors": "types of errors and places in the code; deleted when they are over",
    "senders": "our numbers",
    "answer_times": "counts",
    "inbound_cursors": "our numbers",
    "sent_cursors": "our numbers",
    "replaced_webhooks": "our numbers",
    "canned_replies": "prepared for all people",
    "console_sessions": "operators",
    "login_limits": "a digest of an address, for a while",
    "purged": "a moment",
    "erasures": "ids at providers, until these have deleted what they name",
    "forgotten_texts": "digests of random ids",
    "idempotency_keys": "digests, and answers with ids; deleted after a day",
}
"""Tables without anything of a person who texts, and what they have instead."""


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, retell_contacts="write")


def full(scene: Scene, phone: str = ANN) -> None:
    """Let there be rows of this person in every table that has some."""
    for address in (phone, f"rcs:{phone}", f"whatsapp:{phone}"):
        scene.text(
            f"hello from {address}", address, to=NUMBER if ":" not in address else f"{address.split(':')[0]}:{NUMBER}"
        )
        scene.work_until_idle()
    scene.text("STOP", phone)
    scene.work_until_idle()
    [first] = [row.id for row in scene.rows(Conversation) if row.phone == phone]
    labels.add_note(scene.rt, "ana", first, "likes tangerines")
    labels.add_tag(scene.rt, "ana", first, "vip")
    labels.mark_read(scene.rt, "ana", first, 10**6)
    scene.add(
        HandoffNotice(conversation_id=first, reason="asked", since=scene.clock(), told_at=scene.clock()),
        DraftRequest(conversation_id=first, operator="ana", created_at=scene.clock(), settled_at=scene.clock()),
    )


def names(tables: Any) -> set[str]:
    return {table.name for table in tables}


def test_every_table_belongs_to_people_or_has_nothing_of_them() -> None:
    """A new table must be exported, forgotten and purged, or be listed here with what it has."""
    personal = names([*OF_CONVERSATIONS, CONVERSATIONS, AUDIT]) | BY_NUMBER.keys()
    assert personal.isdisjoint(IMPERSONAL)
    assert set(Base.metadata.tables) == personal | IMPERSONAL.keys()


def test_the_export_has_the_rows_of_every_table(scene: Scene) -> None:
    full(scene)
    exported = people_exports.export(scene.rt, "ana", Person(ANN))
    assert [each["phone"] for each in exported["conversations"]] == [ANN, f"rcs:{ANN}", f"whatsapp:{ANN}"]
    whole = exported["conversations"][0]
    assert [name for name in names([*OF_CONVERSATIONS, AUDIT]) if not whole[name]] == []
    assert [name for name in BY_NUMBER if not exported[name]] == []
    assert [(row["words"], row["wants_texts"]) for row in exported["consents"]] == [("STOP", False)]
    assert [row["body"] for row in whole["messages"]] == [
        f"hello from {ANN}",
        f"You said: hello from {ANN}",
        "STOP",
    ]
    assert {row["action"] for row in whole["audit"]} == {"note", "tag"}


def test_the_export_has_what_the_agents_tools_were_told(scene: Scene) -> None:
    scene.agent.uses_tools_on = {"book": (ToolCall("find table", '{"name": "Ann"}', "c1"), ToolResult("c1", "free"))}
    scene.text("book")
    scene.work_until_idle()
    [whole] = people_exports.export(scene.rt, "ana", Person(ANN))["conversations"]
    [step] = whole["turns"][0]["steps"]["steps"]
    assert (step["name"], step["arguments"], step["result"]) == ("find table", '{"name": "Ann"}', "free")


@pytest.mark.parametrize("written", [ANN, f"whatsapp:{ANN}", f"rcs:{ANN}"])
def test_a_person_is_one_on_all_channels(scene: Scene, written: str) -> None:
    full(scene)
    assert len(people_exports.export(scene.rt, "ana", Person(written))["conversations"]) == 3


@pytest.mark.parametrize(
    ("texted", "asked"),
    [
        ("+525512345678", "+5215512345678"),
        ("whatsapp:+5215512345678", "+525512345678"),
        ("+5511987654321", "+551187654321"),
        ("rcs:+541123456789", "+5491123456789"),
    ],
)
def test_a_person_is_one_in_all_spellings_of_the_number(scene: Scene, texted: str, asked: str) -> None:
    scene.text("STOP", texted)
    scene.work_until_idle()
    exported = people_exports.export(scene.rt, "ana", Person(asked))
    assert [each["phone"] for each in exported["conversations"]] == [texted]
    assert [len(exported[name]) for name in ("opt_outs", "consents", "contact_updates")] == [1, 1, 1]


def test_the_export_has_nothing_of_others(scene: Scene) -> None:
    full(scene)
    full(scene, BOB)
    assert BOB.lstrip("+") not in str(people_exports.export(scene.rt, "ana", Person(ANN)))


def test_a_long_history_is_read_page_by_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_exports, "PAGE", 2)
    for n in range(4):
        scene.text(f"text {n}")
        scene.work_until_idle()
        scene.clock.tick(timedelta(minutes=1).total_seconds())
    [whole] = people_exports.export(scene.rt, "ana", Person(ANN))["conversations"]
    assert [row["id"] for row in whole["messages"]] == list(range(1, 9))


def test_an_export_is_in_the_audit_without_the_number(scene: Scene) -> None:
    texts.write(scene.rt, Asked("ana"), texts.Pair(ANN, NUMBER), "hi")
    people_exports.export(scene.rt, "ben", Person(ANN))
    row = scene.rows(Audit)[-1]
    assert (row.operator, row.action, row.subject) == ("ben", "export", "person +1555…01")
    assert row.details == {"conversations": [1]}


def test_nothing_is_stored_about_a_stranger(scene: Scene) -> None:
    full(scene, BOB)
    assert people_exports.is_empty(people_exports.export(scene.rt, "ana", Person(ANN)))
