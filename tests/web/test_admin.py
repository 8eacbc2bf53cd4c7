"""The admin API: who gets in, what is refused, and that every answer is what its document says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, abort, redirect
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from bridge.db.models import (
    Chat,
    ChatStatus,
    Conversation,
    Direction,
    Holder,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
)
from bridge.lib.bearer import bears
from bridge.queues.heartbeat import Heartbeat
from bridge.runtime import Runtime
from bridge.web import admin, openapi, problems
from bridge.web.auth import ADMIN, PUBLIC, declared, declares, undeclared
from bridge.web.queries.paging import write_cursor
from tests.databases import database
from tests.fakes import FakeCarrier, FakeClock, FakeNotifier, fake_agents, fake_settings

TOKEN = "correct-horse"
KEY = {"Authorization": f"Bearer {TOKEN}"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PHONE = "+15551230001"

ROUTES = [
    ("GET", "/admin/chats"),
    ("GET", "/admin/chats/1"),
    ("POST", "/admin/chats/1/end"),
    ("POST", "/admin/chats/end-stale"),
    ("GET", "/admin/failures"),
    ("POST", "/admin/messages"),
    ("POST", "/admin/conversations/1/messages"),
    ("GET", "/admin/conversations"),
    ("GET", "/admin/conversations/1"),
    ("POST", "/admin/conversations/1/read"),
    ("POST", "/admin/conversations/1/notes"),
    ("DELETE", "/admin/conversations/1/notes/1"),
    ("PUT", "/admin/conversations/1/tags/vip"),
    ("DELETE", "/admin/conversations/1/tags/vip"),
    ("GET", "/admin/canned-replies"),
    ("PUT", "/admin/canned-replies/hours"),
    ("DELETE", "/admin/canned-replies/hours"),
    ("GET", "/admin/conversations/1/export"),
    ("GET", "/admin/export"),
    ("GET", "/admin/events"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/pause"),
    ("POST", "/admin/pause"),
    ("POST", "/admin/resume"),
    ("POST", "/admin/turns/1/retry"),
    ("POST", "/admin/messages/1/retry"),
    ("POST", "/admin/failures/retry"),
    ("POST", "/admin/failures/dismiss"),
    ("GET", "/admin/openapi.json"),
]


def runtime(sessions, **settings) -> Runtime:
    clock, notifier = FakeClock(NOON), FakeNotifier()
    base = database(sessions, clock, notifier.wake)
    return Runtime(
        settings=fake_settings(**settings),
        database=base,
        agents=fake_agents(),
        carrier=FakeCarrier(),
        notifier=notifier,
        heartbeat=Heartbeat(base),
        now=clock,
    )


def build_app(rt: Runtime) -> Flask:
    app = Flask("bridge", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    problems.install(app)
    app.register_blueprint(admin.blueprint(rt))
    return app


@pytest.fixture
def rt(sessions) -> Runtime:
    return runtime(sessions, admin_token=TOKEN)


@pytest.fixture
def app(rt) -> Flask:
    return build_app(rt)


@pytest.fixture
def call(app):
    """One request by an operator; every answer is held against the document."""

    def call(method: str, path: str, **more):
        answer = app.test_client().open(path, method=method, headers={**KEY, **more.pop("headers", {})}, **more)
        check(method, path.partition("?")[0], answer)
        return answer

    return call


@pytest.fixture
def chat(rt) -> int:
    """An ongoing chat, two days idle, with a text and its answer."""
    with rt.database.transaction() as tx:
        session = tx.session
        conversation = Conversation(phone=PHONE, bridge_number="+15550001111", created_at=NOON)
        session.add(conversation)
        session.flush()
        chat = Chat(
            conversation_id=conversation.id,
            provider="retell",
            provider_chat_id="chat_1",
            status=ChatStatus.ONGOING,
            started_at=NOON - timedelta(days=3),
            last_activity_at=NOON - timedelta(days=2),
        )
        session.add(chat)
        session.flush()
        about = {"conversation_id": conversation.id, "created_at": NOON}
        turn = Turn(chat_id=chat.id, status=TurnStatus.GIVEN_UP, expires_at=NOON, settled_at=NOON, error="why", **about)
        session.add(turn)
        session.flush()
        session.add(
            Message(turn_id=turn.id, direction=Direction.IN, status=MessageStatus.IN_TURN, body="Hello", **about)
        )
        out = {"direction": Direction.OUT, "status": MessageStatus.SENT, "segments": 1}
        session.add(Message(turn_id=turn.id, body="Hi é", **out, **about))
        return chat.id


# -- the document --------------------------------------------------------------------------------------------------

DOCUMENT = openapi.document()


def check(method: str, path: str, answer) -> None:
    """Hold an answer against the document; an address that it does not name may only be unknown."""
    shape = re.sub(r"/(chats|conversations|turns|messages)/(?!end-stale$)[^/]+", r"/\1/{id}", path)
    shape = re.sub(r"/(tags|canned-replies)/[^/]+$", r"/\1/{name}", re.sub(r"/notes/[^/]+$", "/notes/{note}", shape))
    described = DOCUMENT["paths"].get(shape, {}).get(method.lower())
    if described is None:
        assert answer.status_code in (404, 405)
        return
    content = described["responses"][str(answer.status_code)].get("content")
    if content:
        ((mimetype, body),) = content.items()
        assert answer.mimetype == mimetype
        if mimetype.endswith("json"):
            fits(answer.get_json(force=True), body["schema"])


def fits(value, schema) -> None:
    """The small part of JSON Schema that the document uses."""
    if "$ref" in schema:
        fits(value, DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    elif "anyOf" in schema:
        assert any(_fits(value, choice) for choice in schema["anyOf"]), (value, schema)
    else:
        assert type(value) in TYPES[schema["type"]], (value, schema)
        assert value in schema.get("enum", [value])
        if schema.get("format") == "date-time":
            assert datetime.fromisoformat(value).tzinfo is not None
        if schema["type"] == "array":
            [fits(each, schema["items"]) for each in value]
        if schema["type"] == "object" and "properties" in schema:
            assert set(schema["required"]) <= set(value) <= set(schema["properties"])
            [fits(value[name], schema["properties"][name]) for name in value]


TYPES = {"string": [str], "integer": [int], "null": [type(None)], "array": [list], "object": [dict], "boolean": [bool]}
TYPES |= {"number": [int, float]}


def _fits(value, schema) -> bool:
    try:
        fits(value, schema)
    except AssertionError:
        return False
    return True


def test_the_document_names_every_route_and_no_other(app) -> None:
    routes = {
        (method.lower(), re.sub(r"<[^>]+>", "{id}", re.sub(r"<(note|name)>", r"{\1}", rule.rule)))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == {(operation.method, operation.path) for operation in openapi.OPERATIONS}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    assert names
    assert set(names) <= set(DOCUMENT["components"]["schemas"])


def test_the_document_is_served(call) -> None:
    assert call("GET", "/admin/openapi.json").get_json() == json.loads(json.dumps(DOCUMENT))


# -- who gets in ---------------------------------------------------------------------------------------------------


def test_every_route_is_the_operators(app) -> None:
    assert {declared(view) for view in app.view_functions.values()} == {ADMIN}
    assert undeclared(app) == []


def test_a_view_that_declares_nothing_is_found() -> None:
    app = Flask("x", static_folder=None)
    app.add_url_rule("/open", view_func=declares(PUBLIC)(lambda: ""), endpoint="open")
    app.add_url_rule("/", view_func=lambda: "", endpoint="forgotten")
    assert undeclared(app) == ["forgotten"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer " + TOKEN + "x", "\xff"]
)
def test_without_the_token_nobody_gets_in(app, method, path, header) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = app.test_client().open(path, method=method, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_token_in_the_settings_the_door_stays_shut(sessions, method, path) -> None:
    app = build_app(runtime(sessions))
    answer = app.test_client().open(path, method=method, headers=KEY)
    assert answer.status_code == 503
    assert "ADMIN_TOKEN" in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize(
    "settings", [{"admin_tokens": "ana:t1,ben:t2"}, {"admin_tokens": "ana:t1", "admin_token": "t2"}]
)
def test_each_operator_gets_in_by_their_own_token(sessions, settings) -> None:
    client = build_app(runtime(sessions, **settings)).test_client()
    for token, status in (("t1", 200), ("t2", 200), ("t1,t2", 401), ("ana:t1", 401), ("t", 401), ("", 401)):
        assert client.get("/admin/chats", headers={"Authorization": f"Bearer {token}"}).status_code == status


def test_the_operator_with_the_first_token_is_called_admin(rt, call, chat) -> None:
    call("POST", f"/admin/chats/{chat}/end")
    [entry] = call("GET", "/admin/audit").get_json()["audit"]
    assert (entry["operator"], entry["action"], entry["subject"]) == ("admin", "end_chat", f"chat {chat}")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_may_be_written_as_one_likes(scheme) -> None:
    assert bears("secret", f"{scheme} secret")


@given(st.text(), st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_header_can_upset_the_check(token, header) -> None:
    assert bears(token, header) in (True, False)
    assert not bears(token + "x", "Bearer ")


# -- conversations -------------------------------------------------------------------------------------------------


def test_a_conversation_that_a_human_has_and_a_silent_one_are_listed_with_the_remedy(rt, call, chat) -> None:
    with rt.database.transaction() as tx:
        tx.session.query(Turn).one().status = TurnStatus.ANSWERED
        pair = tx.session.query(Conversation).one()
        pair.holder, pair.holder_since, pair.holder_reason = Holder.WAITING, NOON, "a human at retell has the chat"
        pair.holder_name = "retell"
        pair.silent_turns, pair.silent_since = 4, NOON - timedelta(hours=1)
    shown = call("GET", "/admin/failures").get_json()["failures"]
    assert [(each["kind"], each["at"], each["error"]) for each in shown] == [
        ("with_human", "2026-11-20T12:00:00Z", "a human at retell has the chat"),
        ("silent", "2026-11-20T11:00:00Z", "the agent gave no word in the last 4 turns"),
    ]
    assert all(each["meaning"] and each["phone"] == PHONE for each in shown)
    first = call("GET", "/admin/failures?limit=1").get_json()
    assert call("GET", f"/admin/failures?limit=1&cursor={first['next']}").get_json()["failures"] == shown[1:]


# -- chats ---------------------------------------------------------------------------------------------------------


def test_chats_are_listed(call, chat) -> None:
    answer = call("GET", "/admin/chats?status=ongoing&phone=%2B15551230001&limit=1")
    assert answer.status_code == 200
    assert answer.get_json() == {
        "chats": [
            {
                "id": chat,
                "conversation_id": 1 if chat == 1 else answer.get_json()["chats"][0]["conversation_id"],
                "phone": PHONE,
                "bridge_number": "+15550001111",
                "provider": "retell",
                "chat_id": "chat_1",
                "status": "ongoing",
                "started_at": "2026-11-17T12:00:00Z",
                "last_activity_at": "2026-11-18T12:00:00Z",
                "ended_at": None,
                "end_reason": None,
            }
        ],
        "next": None,
    }


@pytest.mark.parametrize(
    "query", ["status=ended", "phone=%2B15551230002", "phone=1555123", "status=ending&limit=1000", "chat_id=chat_2"]
)
def test_what_does_not_fit_the_filter_is_left_out(call, chat, query) -> None:
    assert call("GET", f"/admin/chats?{query}").get_json() == {"chats": [], "next": None}


def test_a_chat_is_found_by_the_id_that_its_provider_has_for_it(call, chat) -> None:
    [found] = call("GET", "/admin/chats?chat_id=chat_1").get_json()["chats"]
    assert (found["id"], found["chat_id"]) == (chat, "chat_1")


def test_a_plus_sign_that_was_not_escaped_is_understood(call, chat) -> None:
    assert len(call("GET", f"/admin/chats?phone={PHONE}").get_json()["chats"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=open", "status"),
        ("status=", "status"),
        ("status=ongoing&status=ended", "status"),
        ("phone=", "phone"),
        ("phone=%00", "phone"),
        ("phone=" + "1" * 300, "phone"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=5_0", "limit"),
        ("limit=ten", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("sort=id", "sort"),
    ],
)
@pytest.mark.parametrize("path", ["/admin/chats", "/admin/failures"])
def test_a_wrong_parameter_is_named(call, path, query, field) -> None:
    answer = call("GET", f"{path}?{query}")
    assert answer.status_code == 422
    (error,) = answer.get_json(force=True)["errors"][:1]
    assert error["field"].startswith(field)
    assert "9999" not in answer.text


@pytest.mark.parametrize("kind", ["x", "", "\x00", "\ud83d"])
def test_a_cursor_with_a_foreign_word_is_refused(call, kind) -> None:
    answer = call("GET", f"/admin/failures?cursor={write_cursor(1, kind, 1)}")
    assert answer.status_code == 422
    assert answer.get_json(force=True)["errors"][0]["field"] == "cursor"


def test_a_chat_is_shown_with_its_texts(call, chat) -> None:
    shown = call("GET", f"/admin/chats/{chat}").get_json()
    assert shown["id"] == chat
    assert [(m["direction"], m["status"], m["body"], m["segments"]) for m in shown["messages"]] == [
        ("in", "in_turn", "Hello", None),
        ("out", "sent", "Hi é", 1),
    ]


@pytest.mark.parametrize(
    "chat_id", ["999999", "0", "-1", "abc", "1.0", "9223372036854775808", "9" * 5000, "%D9%A1", "%00", "1%2F2"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/admin/chats/{}"), ("POST", "/admin/chats/{}/end")])
def test_an_unknown_chat_is_not_found(call, method, path, chat_id) -> None:
    assert call(method, path.format(chat_id)).status_code == 404


def test_a_chat_is_ended_once(rt, call, chat) -> None:
    answer = call("POST", f"/admin/chats/{chat}/end")
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "ending"
    assert call("POST", f"/admin/chats/{chat}/end").status_code == 409
    assert rt.notifier.wakeups == [("end_chat", chat)]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json": {}},
        {"data": b" \n"},
        {"json": {"idle_seconds": 86400, "limit": 1000, "dry_run": False}},
        {"json": {"idle_seconds": None}},
        {"json": {"idle_seconds": 0}},
        {"data": b"{}", "content_type": "application/json; charset=utf-8"},
    ],
)
def test_stale_chats_are_ended(rt, call, chat, sent) -> None:
    answer = call("POST", "/admin/chats/end-stale", **sent)
    assert answer.status_code == 202
    assert answer.get_json() == {"matched": 1, "queued": 1, "chats": [chat]}
    assert rt.notifier.wakeups == [("end_chat", chat)]


def test_a_dry_run_only_shows(rt, call, chat) -> None:
    answer = call("POST", "/admin/chats/end-stale", json={"dry_run": True})
    assert answer.status_code == 200
    assert answer.get_json() == {"matched": 1, "queued": 0, "chats": [chat]}
    assert rt.notifier.wakeups == []


@pytest.mark.parametrize(("stale_after", "matched"), [("71h", 0), ("1h", 1), (None, 1)])
def test_what_is_stale_is_said_by_the_settings(sessions, chat, stale_after, matched) -> None:
    app = build_app(runtime(sessions, admin_token=TOKEN, stale_after=stale_after))
    answer = app.test_client().post("/admin/chats/end-stale", headers=KEY)
    assert answer.get_json()["matched"] == matched


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"idle_seconds": -1}, "idle_seconds"),
        ({"idle_seconds": "86400"}, "idle_seconds"),
        ({"idle_seconds": 1.5}, "idle_seconds"),
        ({"idle_seconds": 86400.0}, "idle_seconds"),
        ({"idle_seconds": True}, "idle_seconds"),
        ({"idle_seconds": 10**12}, "idle_seconds"),
        ({"idle_seconds": 10**400}, "idle_seconds"),
        ({"idle_seconds": [1]}, "idle_seconds"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": None}, "limit"),
        ({"dry_run": 1}, "dry_run"),
        ({"dry_run": "false"}, "dry_run"),
        ({"dry_run": None}, "dry_run"),
        ({"dryRun": True}, "dryRun"),
        ({"x" * 5000: 1}, "x"),
        ([], "body"),
        (None, "body"),
        ("dry", "body"),
        (1, "body"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_and_the_field_named(rt, call, chat, body, field) -> None:
    answer = call("POST", "/admin/chats/end-stale", data=json.dumps(body), content_type="application/json")
    assert answer.status_code == 422
    problem = answer.get_json(force=True)
    assert problem["errors"][0]["field"].startswith(field)
    assert len(answer.data) < 5000
    assert rt.notifier.wakeups == []


@pytest.mark.parametrize(
    ("data", "mimetype", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"limit": NaN}', "application/json", 422),
        (b'{"limit": 1}', "text/plain", 400),
        (b"limit=1", "application/x-www-form-urlencoded", 400),
        (b'{"limit": 1}', "", 400),
        (b"x" * 70_000, "application/json", 413),
        (json.dumps({f"k{n}": n for n in range(3000)}).encode(), "application/json", 422),
    ],
)
def test_a_body_that_can_not_be_read_is_refused(rt, call, chat, data, mimetype, status) -> None:
    answer = call("POST", "/admin/chats/end-stale", data=data, content_type=mimetype)
    assert answer.status_code == status
    assert rt.notifier.wakeups == []


def test_what_was_given_up_is_listed(call, chat) -> None:
    (failure,) = call("GET", "/admin/failures").get_json()["failures"]
    assert failure.pop("conversation_id")
    assert failure.pop("id")
    assert failure == {
        "kind": "turn",
        "phone": PHONE,
        "at": "2026-11-20T12:00:00Z",
        "error": "why",
        "error_code": None,
        "delivery": None,
        "failure": None,
        "meaning": None,
        "page": None,
        "resend_at": None,
    }


# -- problems ------------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty():
    """An app whose views fail in every way."""
    app = Flask("faulty", static_folder=None)
    problems.install(app)

    def fail(path: str, error: Exception) -> None:
        def view():
            raise error

        app.add_url_rule(path, path, view)

    for prefix in ("/admin", "/twilio"):
        fail(f"{prefix}/bug", RuntimeError("secret +15551230001"))
        fail(f"{prefix}/away", OperationalError("SELECT secret", {}, Exception("secret")))
    app.add_url_rule("/admin/no", "no", lambda: abort(415, "Send JSON."))
    app.add_url_rule("/admin/own", "own", lambda: abort(problems.problem(418, "short", extra=1)))
    app.add_url_rule("/admin/moved", "moved", lambda: redirect("/x"))
    app.add_url_rule("/admin/strict/", "strict", lambda: "")
    return app.test_client()


@pytest.mark.parametrize(
    ("path", "status", "title", "detail"),
    [
        ("/admin/none", 404, "Not Found", "not found"),
        ("/admin/bug", 500, "Internal Server Error", "The log has the details"),
        ("/admin/away", 503, "Service Unavailable", "database does not answer"),
        ("/admin/no", 415, "Unsupported Media Type", "Send JSON."),
        ("/admin/own", 418, "I'm a Teapot", "short"),
    ],
)
def test_every_error_is_a_problem_that_gives_nothing_away(faulty, path, status, title, detail) -> None:
    answer = faulty.get(path)
    problem = answer.get_json(force=True)
    assert answer.status_code == status == problem["status"]
    assert answer.mimetype == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["title"] == title
    assert detail in problem["detail"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(("path", "status"), [("/twilio/none", 404), ("/twilio/bug", 500), ("/twilio/away", 503)])
def test_a_vendor_gets_a_short_plain_text(faulty, path, status) -> None:
    answer = faulty.get(path)
    assert (answer.status_code, answer.mimetype) == (status, "text/plain")
    assert "secret" not in answer.text


def test_the_headers_of_an_error_stay(faulty, call) -> None:
    assert "GET" in faulty.post("/admin/no").headers["Allow"]
    assert faulty.get("/admin/away").headers["Retry-After"]


def test_a_redirect_stays_one(faulty) -> None:
    assert faulty.get("/admin/moved").status_code == 302
    assert faulty.get("/admin/strict").status_code == 308


def test_a_wrong_method_is_a_problem(app) -> None:
    answer = app.test_client().delete("/admin/chats")
    assert (answer.status_code, answer.mimetype) == (405, "application/problem+json")
