"""Twilio's webhooks over HTTP: the contract's statuses, and that nothing of a refused request is stored or logged."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from twilio.request_validator import RequestValidator
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Message, MessageStatus
from bridge.processes.broker import CeleryNotifier
from bridge.providers.carriers.contract import Delivery
from bridge.web.app import build_web
from bridge.web.auth import CARRIER, declared
from bridge.web.time_limit import WITHIN
from tests.databases import database as database_on
from tests.fakes import fake_settings
from tests.scene import ANN, NUMBER, Scene
from tests.vendor import closed_port

TOKEN = "token-of-the-account"
ACCOUNT = "AC" + "0" * 32
INBOUND = "https://bridge.example.com/twilio/inbound"
STATUS = "https://bridge.example.com/twilio/status"

SLOW_MACHINE = 1.0
"""Seconds that a busy machine may add to a bound."""

FORM = {
    "MessageSid": "SM" + "a" * 32,
    "SmsSid": "SM" + "a" * 32,
    "AccountSid": ACCOUNT,
    "From": ANN,
    "To": NUMBER,
    "Body": "Hé, 10:00 ok? 👍",
    "NumMedia": "0",
    "NumSegments": "1",
    "FromCity": "",
    "SmsStatus": "received",
    "ApiVersion": "2010-04-01",
    "SomethingNew": "that nobody has announced",
}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, twilio_auth_token_secondary="token-of-tomorrow")


@pytest.fixture
def web(scene: Scene) -> FlaskClient:
    return scene.web.test_client()


def post(
    web: FlaskClient, form: dict[str, Any], *, url: str = INBOUND, token: str = TOKEN, **kwargs: Any
) -> TestResponse:
    signature = RequestValidator(token).compute_signature(url, form)
    path = url.removeprefix("https://bridge.example.com")
    return web.post(path, data=form, headers={"X-Twilio-Signature": signature}, **kwargs)


def test_a_text_is_stored_before_twilio_is_told_so(scene: Scene, web: FlaskClient) -> None:
    answer = post(web, FORM)
    assert (answer.status_code, answer.mimetype, answer.text) == (200, "text/xml", "<Response/>")
    [row] = scene.rows(Message)
    assert (row.body, row.carrier_id, row.status) == (FORM["Body"], FORM["MessageSid"], MessageStatus.WAITING)
    assert scene.notifier.wakeups == [("process_turns", row.conversation_id)]


def test_the_same_text_again_is_answered_the_same_and_changes_nothing(scene: Scene, web: FlaskClient) -> None:
    for _ in range(3):
        assert post(web, FORM).status_code == 200
    assert len(scene.rows(Message)) == 1
    assert len(scene.notifier.wakeups) == 1


def test_either_token_is_good_while_they_are_changed(web: FlaskClient) -> None:
    assert post(web, FORM, token="token-of-tomorrow").status_code == 200


def test_a_query_is_signed_as_it_came(scene: Scene, web: FlaskClient) -> None:
    url = INBOUND + "?name=Andr%C3%A9%27s%2Fline&x=%40"
    assert post(web, FORM, url=url).status_code == 200


def refused(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (FORM | fields).items() if value is not None}


REFUSED = [
    ("forged", 403, {"form": FORM, "token": "somebody else's"}),
    ("foreign account", 403, {"form": refused(AccountSid="AC" + "1" * 32)}),
    ("no account", 403, {"form": refused(AccountSid=None)}),
    ("no sid", 400, {"form": refused(MessageSid=None)}),
    ("blank sender", 400, {"form": refused(From=" ")}),
    ("no recipient", 400, {"form": refused(To=None)}),
    ("too large", 413, {"form": refused(Body="x" * 70_000)}),
    ("no form", 415, {"form": FORM, "content_type": "multipart/form-data"}),
]


@pytest.mark.parametrize(("status", "request_"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_bad_request_is_refused_and_leaves_no_trace_of_a_person(
    scene: Scene, web: FlaskClient, caplog: pytest.LogCaptureFixture, status: int, request_: dict[str, Any]
) -> None:
    answer = post(web, **request_)
    assert answer.status_code == status
    assert answer.text.strip()
    assert scene.rows(Message) == []
    assert scene.notifier.wakeups == []
    assert f"refused with {status}" in caplog.text
    for private in (ANN, "5551230001", str(FORM["Body"])):
        assert private not in caplog.text + answer.text


def test_an_unsigned_request_is_refused(scene: Scene, web: FlaskClient) -> None:
    assert web.post("/twilio/inbound", data=FORM).status_code == 403
    assert web.post("/twilio/inbound", data=FORM, headers={"X-Twilio-Signature": "schön"}).status_code == 403
    assert scene.rows(Message) == []


def test_json_is_no_form(web: FlaskClient) -> None:
    assert web.post("/twilio/inbound", json=FORM).status_code == 415


def webhooks_of(web: FlaskClient) -> list[str]:
    """Every route that a provider calls."""
    app = web.application
    return [rule.rule for rule in app.url_map.iter_rules() if declared(app.view_functions[rule.endpoint]) == CARRIER]


def test_every_webhook_is_looked_at_below(web: FlaskClient) -> None:
    assert set(webhooks_of(web)) >= {"/twilio/inbound", "/twilio/status"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "BREW"])
def test_a_webhook_by_another_method_is_refused_with_a_line_that_names_the_mend(
    web: FlaskClient, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    for path in webhooks_of(web):
        caplog.clear()
        answer = web.open(f"{path}?{urlencode(FORM)}", method=method)
        assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})
        [line] = caplog.messages
        assert line.startswith(path) and "set its method to HTTP POST" in line
        assert method == "HEAD" or "HTTP POST" in answer.text
        for private in (ANN, ANN.removeprefix("+"), FORM["Body"], "BREW"):
            assert str(private) not in line


@pytest.mark.parametrize("path", ["/healthz", "/admin/failures", "/nothing"])
def test_another_method_elsewhere_is_no_word_about_webhooks(
    web: FlaskClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    assert web.put(path).status_code in (404, 405)
    assert "HTTP POST" not in caplog.text


def test_nul_and_half_characters_are_stored_as_something_that_can_be_stored(scene: Scene, web: FlaskClient) -> None:
    body = "a\x00b\ufffd"
    assert post(web, refused(Body=body)).status_code == 200
    assert scene.rows(Message)[0].body == "a\ufffdb\ufffd"


def test_a_picture_is_refused_politely(scene: Scene, web: FlaskClient) -> None:
    form = refused(NumMedia="1", Body="", MediaUrl0="https://api.twilio.com/x", MediaContentType0="image/png")
    assert post(web, form).status_code == 200
    scene.work()
    assert scene.got() == [scene.rt.settings.media_reply]


def test_a_status_report_finds_its_text(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    row = scene.rows(Message)[1]
    form = {"AccountSid": ACCOUNT, "MessageSid": row.carrier_id, "MessageStatus": "delivered", "To": ANN}
    url = f"{STATUS}?message={row.reference}"
    for status in ("delivered", "sent", "delivered", "no such word"):
        assert post(web, form | {"MessageStatus": status}, url=url).status_code == 204
    assert scene.rows(Message)[1].delivery is Delivery.DELIVERED


@pytest.mark.parametrize("path", ["/twilio/status", "/admin/chats"])
def test_an_address_that_is_no_utf_8_is_refused(scene: Scene, path: str) -> None:
    scene.rt = replace(scene.rt, settings=fake_settings(admin_token="operator"))
    form = {"AccountSid": ACCOUNT, "MessageSid": "SM" + "f" * 32, "MessageStatus": "sent", "To": ANN}
    signature = RequestValidator(TOKEN).compute_signature(f"{STATUS}?message=\xff", form)
    answer = (
        build_web(scene.rt)
        .test_client()
        .open(
            path,
            method="POST" if path == "/twilio/status" else "GET",
            data=form,
            headers={"X-Twilio-Signature": signature, "Authorization": "Bearer operator"},
            environ_overrides={"QUERY_STRING": "message=\xff"},
        )
    )
    assert answer.status_code == 400
    assert "UTF-8" in answer.text


@pytest.mark.parametrize("query", ["", "?message=unknown", "?message=", "?other=1"])
def test_a_report_of_something_unknown_is_fine(web: FlaskClient, query: str) -> None:
    form = {"AccountSid": ACCOUNT, "MessageSid": "SM" + "f" * 32, "MessageStatus": "sent", "To": ANN}
    assert post(web, form, url=STATUS + query).status_code == 204


@pytest.mark.parametrize("sid", ["15551230001", "my own words", "SM\nERROR all is lost"])
def test_an_odd_id_of_a_report_is_stored_and_not_logged(
    scene: Scene, web: FlaskClient, caplog: pytest.LogCaptureFixture, sid: str
) -> None:
    scene.text("hello")
    scene.work()
    [sent] = [row for row in scene.rows(Message) if row.reference]
    form = {"AccountSid": ACCOUNT, "MessageSid": sid, "MessageStatus": "sent", "To": ANN}
    assert post(web, form, url=f"{STATUS}?message={sent.reference}").status_code == 204
    assert [row.duplicate_carrier_id for row in scene.rows(Message) if row.reference] == [sid]
    assert "accepted twice by the carrier" in caplog.text
    assert sid not in caplog.text


def test_one_id_under_two_names_is_fine(scene: Scene, web: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """No carrier should ever say so. It is told in the log, and nothing changes."""
    scene.text("hello")
    scene.text("hello", "+15551230002")
    scene.work()
    both = [row for row in scene.rows(Message) if row.reference]
    for row, phone in zip(both, (ANN, "+15551230002"), strict=True):
        form = {"AccountSid": ACCOUNT, "MessageSid": "SM" + "f" * 32, "MessageStatus": "sent", "To": phone}
        assert post(web, form, url=f"{STATUS}?message={row.reference}").status_code == 204
    assert [row.duplicate_carrier_id for row in scene.rows(Message) if row.reference] == ["SM" + "f" * 32, None]
    assert "is left out" in caplog.text
    assert ANN not in caplog.text


def test_a_failed_text_is_told_with_its_code(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    row = scene.rows(Message)[1]
    form = {"AccountSid": ACCOUNT, "MessageSid": row.carrier_id, "MessageStatus": "undelivered", "To": ANN}
    for code in ("30005", "30005", "nonsense"):
        answer = post(web, form | {"ErrorCode": code}, url=f"{STATUS}?message={row.reference}")
        assert answer.status_code == 204
    assert (scene.rows(Message)[1].delivery, scene.rows(Message)[1].error_code) == (Delivery.UNDELIVERED, 30005)


def test_a_forged_report_is_refused(web: FlaskClient) -> None:
    form = {"AccountSid": ACCOUNT, "MessageSid": "SM" + "f" * 32, "MessageStatus": "sent", "To": ANN}
    assert post(web, form, url=STATUS, token="somebody else's").status_code == 403


def test_without_the_database_twilio_is_asked_to_come_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = build_sessions(build_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    web = build_web(replace(scene.rt, database=database_on(nowhere))).test_client()
    assert post(web, FORM).status_code == 503
    assert ANN not in caplog.text


@pytest.mark.parametrize("database", ["silent_database", "locked_database"])
def test_a_database_that_hangs_does_not_keep_twilio_waiting(
    scene: Scene, request: pytest.FixtureRequest, database: str
) -> None:
    hanging = build_sessions(build_engine(request.getfixturevalue(database)))
    web = build_web(replace(scene.rt, database=database_on(hanging)))

    def answered(n: int) -> tuple[int, float]:
        began = time.monotonic()
        answer = post(web.test_client(), FORM | {"MessageSid": f"SM{n:032x}"})
        return answer.status_code, time.monotonic() - began

    with ThreadPoolExecutor(20) as twilio:  # more at once than there are threads and connections
        answers = list(twilio.map(answered, range(20)))
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 2 + SLOW_MACHINE


def timed(web: Flask, n: int) -> tuple[int, float]:
    """The status that Twilio gets for its n-th text, and the seconds that it waits."""
    client = web.test_client()
    began = time.monotonic()
    answer = post(client, FORM | {"MessageSid": f"SM{n:032x}"})
    return answer.status_code, time.monotonic() - began


def test_an_answer_comes_within_two_seconds_by_law() -> None:
    assert WITHIN < 2


@pytest.mark.parametrize("database", ["silent_database", "locked_database"])
def test_with_a_database_that_hangs_an_answer_takes_less_than_two_seconds(
    scene: Scene, request: pytest.FixtureRequest, database: str
) -> None:
    web = build_web(
        replace(scene.rt, database=database_on(build_sessions(build_engine(request.getfixturevalue(database)))))
    )
    with ThreadPoolExecutor(5) as twilio:
        answers = list(twilio.map(partial(timed, web), range(5)))
    assert {status for status, _ in answers} == {503}
    assert median(seconds for _, seconds in answers) < 2


@pytest.fixture(
    params=[(kind, manner) for kind in ("redis", "amqp") for manner in ("refuses", "is silent")], ids=" ".join
)
def useless_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """Nobody listens there, or somebody who takes connections and never says a word."""
    kind, manner = request.param
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if manner == "is silent" else closed_port()
        yield f"{kind}://127.0.0.1:{port}/0"


def test_a_broker_of_no_use_makes_no_webhook_slow(scene: Scene, useless_broker: str) -> None:
    notifier = CeleryNotifier(useless_broker)
    web = build_web(scene.woken_by(notifier))
    answers = [timed(web, n) for n in range(20)]
    notifier.close()
    assert {status for status, _ in answers} == {200}
    assert len(scene.rows(Message)) == 20
    assert median(seconds for _, seconds in answers) < 0.1


def test_a_text_that_was_stored_too_late_for_an_answer_is_not_stored_twice(scene: Scene, sqlite_url: str) -> None:
    sessions = build_sessions(build_engine(sqlite_url))
    web = build_web(replace(scene.rt, database=database_on(sessions))).test_client()
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        assert post(web, FORM).status_code == 503
        somebody.rollback()
    assert post(web, FORM).status_code == 200
    with sessions() as session:
        assert session.query(Message).count() == 1


def test_a_broker_that_is_away_costs_no_text(scene: Scene) -> None:
    notifier = CeleryNotifier("redis://127.0.0.1:1/0")
    web = build_web(scene.woken_by(notifier)).test_client()
    assert post(web, FORM).status_code == 200
    notifier.close()
    assert [row.status for row in scene.rows(Message)] == [MessageStatus.WAITING]
