"""Notes, tags, canned replies and read marks: who may change them, and what the audit shows of them."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Audit, Conversation, ReadMark
from bridge.operators import labels
from tests.scene import ANN, BOB, NUMBER, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """Ann has written twice, and Bob once."""
    scene = Scene(sessions, admin_tokens="ana:token-of-ana,ben:token-of-ben", twilio_numbers=NUMBER)
    for body, phone in (("one", ANN), ("two", BOB), ("three", ANN)):
        scene.clock.tick(60)
        scene.text(body, phone)
        scene.work_until_idle()
    return scene


def call(scene: Scene, method: str, path: str, body: Any = None, *, by: str = "ana") -> TestResponse:
    headers = {"Authorization": f"Bearer token-of-{by}"}
    path = path.replace("ANN", f"/admin/conversations/{ann(scene)}")
    return scene.web.test_client().open(path, method=method, headers=headers, json=body)


def ann(scene: Scene) -> int:
    return next(row.id for row in scene.rows(Conversation) if row.phone == ANN)


def deeds(scene: Scene) -> list[tuple[str, str, dict[str, Any]]]:
    return [(row.action, row.subject, row.details) for row in scene.rows(Audit)]


# -- notes ---------------------------------------------------------------------------------------------------------


def test_a_note_is_shown_and_its_author_can_delete_it(scene: Scene) -> None:
    written = call(scene, "POST", "ANN/notes", {"body": "calls back <b>"})
    assert written.status_code == 201
    assert call(scene, "GET", "ANN").json["notes"] == [written.json]
    assert (written.json["operator"], written.json["body"]) == ("ana", "calls back <b>")
    assert call(scene, "DELETE", f"ANN/notes/{written.json['id']}").status_code == 204
    assert call(scene, "GET", "ANN").json["notes"] == []
    assert call(scene, "DELETE", f"ANN/notes/{written.json['id']}").status_code == 404


def test_nobody_deletes_the_note_of_another_operator(scene: Scene) -> None:
    id_ = call(scene, "POST", "ANN/notes", {"body": "mine"}).json["id"]
    refused = call(scene, "DELETE", f"ANN/notes/{id_}", by="ben")
    assert refused.status_code == 403
    assert "ana has written" in refused.json["detail"]
    assert call(scene, "DELETE", f"/admin/conversations/{ann(scene) + 1}/notes/{id_}").status_code == 404


def test_the_audit_has_no_word_of_a_note(scene: Scene) -> None:
    id_ = call(scene, "POST", "ANN/notes", {"body": "secret"}).json["id"]
    call(scene, "DELETE", f"ANN/notes/{id_}")
    assert deeds(scene) == [("note", f"note {id_}", {}), ("note", f"note {id_}", {"deleted": True})]


def test_a_note_or_a_tag_is_activity(scene: Scene) -> None:
    scene.text("later", BOB)
    scene.clock.tick(1)
    for what, path, body in (("POST", "ANN/notes", {"body": "x"}), ("PUT", "ANN/tags/vip", None)):
        call(scene, what, path, body)
        assert call(scene, "GET", "/admin/conversations").json["conversations"][0]["phone"] == ANN


# -- tags ----------------------------------------------------------------------------------------------------------


def test_tags_are_added_once_and_removed(scene: Scene) -> None:
    for name in ("vip", "Überfällig", "vip", "a b"):
        answer = call(scene, "PUT", f"ANN/tags/{name}")
    assert answer.json == {"tags": ["a b", "vip", "Überfällig"]}
    [shown] = call(scene, "GET", "/admin/conversations?tag=vip").json["conversations"]
    assert (shown["phone"], shown["tags"]) == (ANN, ["a b", "vip", "Überfällig"])
    assert call(scene, "DELETE", "ANN/tags/vip").json == {"tags": ["a b", "Überfällig"]}
    assert call(scene, "DELETE", "ANN/tags/vip").status_code == 404
    assert [deed for deed in deeds(scene) if "vip" in deed[1]] == [
        ("tag", "tag vip", {}),
        ("tag", "tag vip", {"deleted": True}),
    ]


@pytest.mark.parametrize("name", ["%20", "x" * 41, "a%00b", "%E2%80%AEabc", "a%0Ab"])
def test_a_name_that_nobody_can_read_is_refused(scene: Scene, name: str) -> None:
    assert call(scene, "PUT", f"ANN/tags/{name}").status_code == 422


def test_a_conversation_has_only_so_many_tags(scene: Scene) -> None:
    for n in range(labels.MOST_TAGS):
        labels.add_tag(scene.rt, "ana", ann(scene), f"t{n}")
    assert call(scene, "PUT", "ANN/tags/one-more").status_code == 409
    assert call(scene, "PUT", "ANN/tags/t0").status_code == 200


def test_a_number_in_a_tag_does_not_reach_the_audit(scene: Scene) -> None:
    call(scene, "PUT", f"ANN/tags/{BOB}")
    assert BOB not in str(deeds(scene))


# -- canned replies ------------------------------------------------------------------------------------------------


def test_canned_replies_are_saved_listed_and_deleted(scene: Scene) -> None:
    for by, body in (("ana", "9 to 5"), ("ben", "9 to 6")):
        saved = call(scene, "PUT", "/admin/canned-replies/hours", {"body": body}, by=by)
        assert saved.status_code == 200
    assert call(scene, "GET", "/admin/canned-replies").json == {"canned_replies": [saved.json]}
    assert (saved.json["body"], saved.json["operator"]) == ("9 to 6", "ben")
    assert call(scene, "DELETE", "/admin/canned-replies/hours").status_code == 204
    assert call(scene, "DELETE", "/admin/canned-replies/hours").status_code == 404
    assert [deed[1:] for deed in deeds(scene)] == [
        ("canned reply hours", {}),
        ("canned reply hours", {}),
        ("canned reply hours", {"deleted": True}),
    ]


@pytest.mark.parametrize("name", ["a b", "é", "x" * 41, "%20"])
def test_the_name_of_a_canned_reply_can_be_typed(scene: Scene, name: str) -> None:
    assert call(scene, "PUT", f"/admin/canned-replies/{name}", {"body": "x"}).status_code == 422


# -- read marks ----------------------------------------------------------------------------------------------------


def unread(scene: Scene, by: str = "ana") -> dict[str, int]:
    page = call(scene, "GET", "/admin/conversations", by=by).json["conversations"]
    return {each["phone"]: each["unread"] for each in page}


def test_each_operator_has_read_on_their_own(scene: Scene) -> None:
    assert unread(scene) == {ANN: 2, BOB: 1}
    newest = call(scene, "GET", "ANN").json["messages"][-1]["id"]
    assert call(scene, "POST", "ANN/read", {"message_id": newest}).json == {"message_id": newest}
    assert (unread(scene), unread(scene, "ben")) == ({ANN: 0, BOB: 1}, {ANN: 2, BOB: 1})
    scene.text("four")
    assert unread(scene) == {ANN: 1, BOB: 1}


def test_a_read_mark_never_goes_back_and_never_beyond_what_is_there(scene: Scene) -> None:
    ids = [each["id"] for each in call(scene, "GET", "ANN").json["messages"]]
    assert call(scene, "POST", "ANN/read", {"message_id": 2**60}).json == {"message_id": ids[-1]}
    assert call(scene, "POST", "ANN/read", {"message_id": ids[0]}).json == {"message_id": ids[-1]}
    [mark] = _marks(scene)
    assert (mark.operator, mark.message_id) == ("ana", ids[-1])
    scene.text("four")
    assert unread(scene)[ANN] == 1


def _marks(scene: Scene) -> list[ReadMark]:
    with scene.sessions() as session:
        return session.query(ReadMark).all()


def test_reading_is_no_deed_and_no_activity(scene: Scene) -> None:
    before = call(scene, "GET", "/admin/conversations").json
    call(scene, "POST", "ANN/read", {"message_id": 1})
    assert deeds(scene) == []
    after = call(scene, "GET", "/admin/conversations").json
    assert [each["changed_at"] for each in after["conversations"]] == [
        each["changed_at"] for each in before["conversations"]
    ]


def test_unread_texts_are_counted_to_a_hundred(scene: Scene) -> None:
    for n in range(120):
        scene.text(f"text {n}", BOB)
    assert unread(scene)[BOB] == 100


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/admin/conversations/999/notes", {"body": "x"}),
        ("PUT", "/admin/conversations/999/tags/x", None),
        ("DELETE", "/admin/conversations/999/tags/x", None),
        ("POST", "/admin/conversations/999/read", {"message_id": 1}),
    ],
)
def test_an_unknown_conversation_is_404(scene: Scene, method: str, path: str, body: Any) -> None:
    assert call(scene, method, path, body).status_code == 404
    assert deeds(scene) == []
