"""Bad input: all input of webhooks, providers and operators is stored or refused, and breaks nothing.

What is sent: ``tests.nasty``. Each example goes through the whole of the real code, on a real database, up to where the
outcome is shown to people. The examples are the same in every run.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, event, insert, update
from sqlalchemy import text as sql
from twilio.request_validator import RequestValidator
from werkzeug import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.test import create_environ, run_wsgi_app

from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import (
    OPEN_TURN,
    UNSENT,
    Base,
    Chat,
    ChatStatus,
    Conversation,
    Direction,
    Holder,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
    Worker,
)
from bridge.maintenance import catch_up
from bridge.processes.demo import _watch
from bridge.providers.agents.contract import Agent, NewChat
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.uponai.client import Account, UponAI
from bridge.providers.carriers.contract import NOT_DELIVERED, Delivery, OutgoingText
from bridge.providers.carriers.twilio.client import Twilio
from bridge.providers.errors import OutcomeUnknown, Refused, RemoteError
from bridge.runtime import Runtime
from bridge.simulator import Simulator, SimulatorSettings
from bridge.simulator.server import build_app
from bridge.web.agents import MAX_BYTES as EVENT_BYTES
from bridge.web.app import MAX_BYTES, build_web
from testkit.waiting import PATIENCE
from tests import nasty
from tests.databases import empty
from tests.fakes import fake_settings
from tests.nasty import FORM, Post
from tests.nasty_events import shows_human
from tests.scene import ANN, NUMBER, Scene

EXAMPLES = int(os.environ.get("BRIDGE_TEST_EXAMPLES", "5000"))
"""Of all tests here together."""

SHARES = {
    "inbound": {"sqlite": 1250, "postgresql": 100},
    "status": {"sqlite": 800, "postgresql": 100},
    "events": {"sqlite": 1300, "postgresql": 50},
    "retell": {"none": 1400},
    "uponai": {"none": 600},
    "twilio": {"none": 1900},
    "turns": {"sqlite": 90, "postgresql": 30},
    "deliveries": {"sqlite": 90, "postgresql": 30},
    "catch_up": {"sqlite": 250, "postgresql": 30},
    "admin": {"sqlite": 1800, "postgresql": 180},
}
"""Of 10,000 examples. PostgreSQL is stricter with texts and numbers, but takes longer."""

TOKEN = "token-of-the-account"
BADGE = "key-with-the-badge"
ADMIN = "token-of-the-operator"
ACCOUNT = "AC" + "0" * 32
OURS = "https://bridge.example.com"
CONTRACT = {200, 204, 400, 403, 413, 415}

pytestmark = pytest.mark.timeout(600)
"""They take seconds; but hypothesis may need minutes to make an example small that has failed."""


def for_all(test: str, database: str, examples: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Hold ``check`` against this test's share of the examples."""

    def holds(example: Any) -> None:
        check(example)

    the_same_in_every_run = seed(zlib.crc32(f"{test} {database}".encode()))
    as_many = settings(
        max_examples=SHARES[test][database] * EXAMPLES // 10_000,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    as_many(the_same_in_every_run(given(examples)(holds)))()


def test_the_shares_make_up_the_whole() -> None:
    assert sum(count for shares in SHARES.values() for count in shares.values()) == 10_000


# -- the place where it all comes together -------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    status: int
    mimetype: str
    body: bytes


class Place:
    """A bridge with its web, emptied for each example. Its log is kept, to look for what must not stand there."""

    def __init__(self, engine: Engine, log: pytest.LogCaptureFixture, **parts: Any) -> None:
        settings = {"admin_token": ADMIN, "answer_within": "60s", "twilio_numbers": NUMBER}
        events = {"uponai_webhook_key": BADGE, "send_auto_close_message": True}
        self.scene = Scene(build_sessions(engine), agent=parts.pop("agent", None), **settings, **events)
        self.scene.rt = replace(self.scene.rt, **parts)
        self.web = build_web(self.scene.rt, PATIENCE)
        self.log = log
        watched = Simulator(SimulatorSettings())
        watched.watch = lambda: _watch(self.scene.rt)
        self.live = build_app(watched)

    def clear(self) -> None:
        with self.scene.rt.engine.begin() as connection:
            empty(connection, Worker.__tablename__)
        self.scene.notifier.wakeups.clear()
        self.scene.agent.__dict__.get("chats", {}).clear()
        self.scene.carrier.accepted.clear()
        self.log.clear()

    def ask(self, method: str, path: str, body: bytes = b"", query: bytes = b"", **environ: Any) -> Answered:
        return _ask(self.web, method, path, body, query, **environ)

    def show(self, path: str) -> Any:
        """What an operator is shown, as strict JSON."""
        answer = self.ask("GET", path, HTTP_AUTHORIZATION=f"Bearer {ADMIN}")
        assert (answer.status, answer.mimetype) == (200, "application/json"), (path, answer)
        return _strict(answer.body)

    def show_all(self) -> dict[int, Any]:
        """Every page on which the rows are shown; the chats by their ids."""
        chats = self.show("/admin/chats")["chats"]
        assert _ask(self.live, "GET", "/simulator/state", HTTP_HOST="localhost").status == 200
        failures = self.show("/admin/failures")["failures"]
        given_up = [turn for turn in self.rows(Turn) if turn.status is TurnStatus.GIVEN_UP]
        failed = [
            text
            for text in self.texts(Direction.OUT)
            if (text.status is MessageStatus.GIVEN_UP or text.delivery in NOT_DELIVERED) and not text.resent_as
        ]
        ignored = [
            text
            for text in self.texts(Direction.IN)
            if text.status in (MessageStatus.IGNORED, MessageStatus.UNANSWERABLE)
        ]
        assert len(failures) == len(given_up) + len(failed) + len(ignored)
        return {chat["id"]: self.show(f"/admin/chats/{chat['id']}") for chat in chats}

    def rows(self, table: type[Base]) -> list[Any]:
        return self.scene.rows(table)

    def texts(self, direction: Direction) -> list[Message]:
        return [row for row in self.rows(Message) if row.direction is direction]

    def nothing_is_stuck(self) -> None:
        """All that waits is worked off."""
        self.scene.wake()
        waited = 0
        while self.scene.waiting():
            self.scene.tick(10)
            waited += 10
            assert waited < 900
        assert not [turn for turn in self.rows(Turn) if turn.status in OPEN_TURN]
        under_way = {MessageStatus.WAITING, MessageStatus.IN_TURN, *UNSENT}
        assert not {text.status for text in self.rows(Message)} & under_way

    def stays_idle(self, *private: str) -> None:
        """Nothing of a person in the log, no secret, and no unexpected error."""
        assert "Traceback" not in self.log.text, self.log.text
        for words in (TOKEN, ADMIN, *private):
            for piece in (words, *words.splitlines()):
                assert len(piece.strip()) < 7 or not self._tells(piece), (piece, self.log.text)

    def _tells(self, piece: str) -> bool:
        """Return whether a record has it, and not because it is a word of ours."""
        return any(each.getMessage().count(piece) > str(each.msg).count(piece) for each in self.log.records)


def _ask(app: Any, method: str, path: str, body: bytes = b"", query: bytes = b"", **environ: Any) -> Answered:
    asked = environment(method, path, body, query, **environ)
    chunks, status, headers = run_wsgi_app(app, asked, buffered=True)
    return Answered(int(status[:3]), headers.get("Content-Type", "").partition(";")[0], b"".join(chunks))


EMPTY = create_environ(base_url=OURS)


def environment(method: str, path: str, body: bytes, query: bytes, **more: Any) -> dict[str, Any]:
    """What a WSGI server makes of a request."""
    asked = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query.decode("latin-1")}
    return {**EMPTY, **asked, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body), **more}


def _strict(body: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def hasty(request: pytest.FixtureRequest, database: str) -> Iterator[Engine]:
    """Each kind of database, with commits that do not wait for a disk."""
    if database == "sqlite":
        yield request.getfixturevalue("hasty_engine")
        return
    engine = build_engine(request.getfixturevalue("postgresql_url"))

    @event.listens_for(engine, "connect")
    def _never_wait(connection: Any, _record: object) -> None:
        connection.execute("SET synchronous_commit = off")
        connection.commit()

    yield engine
    engine.dispose()


NewPlace = Callable[..., Place]


@pytest.fixture
def new_place(hasty: Engine, caplog: pytest.LogCaptureFixture) -> NewPlace:
    caplog.set_level(logging.INFO)
    return lambda **parts: Place(hasty, caplog, **parts)


# -- Twilio's webhooks ---------------------------------------------------------------------------------------------


class AsFlaskReads(Request):
    max_content_length = MAX_BYTES


@dataclass(frozen=True)
class Sent:
    """A request that was posted twice, with the same answer."""

    answer: Answered
    form: MultiDict[str, str]
    """As Flask has read it."""
    refused: int | None
    """The status with which the contract refuses it before anybody looks at what it says."""


def sent(place: Place, path: str, post: Post) -> Sent:
    more = {"CONTENT_TYPE": post.mimetype, **post.headers}
    form, unread = _read(environment("POST", path, post.body, post.query, **more))
    query = post.query.decode("latin-1")
    good = RequestValidator(TOKEN).compute_signature(f"{OURS}{path}" + (f"?{query}" if query else ""), form)
    signatures = {"good": good, "twice": f"{good},{good}", "another": "x" * 28, "broken": "\xff="}
    if post.signature in signatures:
        more["HTTP_X_TWILIO_SIGNATURE"] = signatures[post.signature]
    answer, again = (place.ask("POST", path, post.body, post.query, **more) for _ in range(2))
    assert answer == again
    assert answer.status in CONTRACT, (answer, place.log.text)
    place.stays_idle(good, *[value for name in ("From", "To", "Body") for value in form.getlist(name)])
    ours = post.signature == "good" and form.get("AccountSid") == ACCOUNT
    no_form = post.mimetype.partition(";")[0].strip().lower() != FORM
    return Sent(answer, form, 415 if no_form else unread or (None if ours else 403))


def _read(environ: dict[str, Any]) -> tuple[MultiDict[str, str], int | None]:
    try:
        return AsFlaskReads(environ).form, None
    except HTTPException as refusal:
        return MultiDict(), refusal.code


def first(form: MultiDict[str, str], name: str) -> str:
    """The value that counts, as a table can hold it."""
    return form.get(name, "").replace("\x00", "\ufffd")


def fits(value: str, longest: int) -> bool:
    return 0 < len(value.strip()) <= longest


TEXT = {"MessageSid": "SM" + "a" * 32, "SmsSid": "SM" + "a" * 32, "AccountSid": ACCOUNT, "From": ANN, "To": NUMBER}
TEXT |= {"Body": "Hé, 10:00 ok? 👍", "NumMedia": "0", "NumSegments": "1", "FromCity": "", "SmsStatus": "received"}
TEXT |= {"OptOutType": "", "MediaUrl0": "", "MediaContentType0": "", "ApiVersion": "2010-04-01"}

FAULTS: dict[str, Callable[[Scene], None]] = {
    "none": lambda scene: None,
    "the agent refuses": lambda scene: scene.agent.fail("complete", Refused("no", provider="retell", status=400)),
    "the agent is cut off": lambda scene: scene.agent.fail(
        "complete", OutcomeUnknown("cut", provider="retell"), received=True
    ),
    "the carrier refuses": lambda scene: scene.carrier.fail("send", Refused("no", provider="twilio", code=21610)),
    "the carrier is cut off": lambda scene: scene.carrier.fail(
        "send", OutcomeUnknown("cut", provider="twilio"), taken=True
    ),
}
faults = st.sampled_from([None] * 20 + ["none"] * 2 + list(FAULTS))
"""``None``: it is stored, and the turn is left out, which takes five times as long."""


def test_any_text_is_stored_once_and_answered_or_refused_by_the_contract(new_place: NewPlace, database: str) -> None:
    place = new_place()
    place.scene.agent.answer = lambda said: [said[-300:]]

    def check(example: tuple[Post, str | None]) -> None:
        post, fault = example
        place.clear()
        said = sent(place, "/twilio/inbound", post)
        answer, form = said.answer, said.form
        addresses = fits(first(form, "From"), 255) and fits(first(form, "To"), 255)
        expected = said.refused or (200 if addresses and fits(first(form, "MessageSid"), 64) else 400)
        assert answer.status in ({expected, 400, 403} if post.odd else {expected})
        if answer.status != 200:
            assert place.rows(Message) == place.rows(Conversation) == []
            return
        assert answer.body == b"<Response/>"
        [stored] = place.texts(Direction.IN)
        assert stored.body == first(form, "Body")
        assert stored.carrier_id == first(form, "MessageSid").strip()
        [pair] = place.rows(Conversation)
        assert (pair.phone, pair.bridge_number) == (first(form, "From").strip(), first(form, "To").strip())

        if fault is None:
            return
        FAULTS[fault](place.scene)
        place.nothing_is_stuck()
        place.scene.agent.recover()
        place.scene.carrier.recover()
        assert len(place.scene.agent.received) == (
            stored.status is MessageStatus.WAITING and fault != "the agent refuses"
        )
        brought = [row.body for row in place.texts(Direction.OUT) if row.status is MessageStatus.SENT]
        assert [accepted.text.body for accepted in place.scene.carrier.accepted] == brought
        shown = [text["body"] for chat in place.show_all().values() for text in chat["messages"]]
        if stored.status is MessageStatus.WAITING:
            assert stored.body in shown or fault == "the agent refuses"
        place.stays_idle(pair.phone, stored.body)

    for_all("inbound", database, st.tuples(nasty.posts(TEXT, "Body"), faults), check)


REFERENCE = "0123456789abcdef" * 2
SID = "SM" + "b" * 32
REPORT = {"MessageSid": SID, "SmsSid": SID, "AccountSid": ACCOUNT, "From": NUMBER, "To": ANN, "ErrorCode": "30003"}
REPORT |= {"MessageStatus": "undelivered", "SmsStatus": "undelivered", "ApiVersion": "2010-04-01"}


def test_any_report_is_noted_or_refused_by_the_contract(new_place: NewPlace, database: str) -> None:
    place = new_place()
    states = st.sampled_from([MessageStatus.SENT] * 3 + [MessageStatus.SENDING, MessageStatus.GIVEN_UP])
    references = st.sampled_from([b"", f"message={REFERENCE}".encode()])

    def check(example: tuple[Post, bytes, MessageStatus]) -> None:
        post, reference, status = example
        post = post if post.query else replace(post, query=reference)
        place.clear()
        _sent_text(place.scene.rt, status)
        told = sent(place, "/twilio/status", post)
        answer, form, expected = told.answer, told.form, told.refused or 204
        assert answer.status in ({expected, 400, 403} if post.odd else {expected})
        assert (answer.body == b"") is (answer.status == 204)
        [row] = place.texts(Direction.OUT)
        named = form.get("To", "").strip() == ANN and post.query in (b"", reference)
        if named and answer.status == 204 and form.get("MessageSid") == SID:
            known = Delivery.of(form.get("MessageStatus") or form.get("SmsStatus"))
            may_name = post.query != b"" or status is MessageStatus.SENT
            assert row.delivery is (known if may_name else None)
        if row.delivery is None:
            assert row.status is status
        assert row.error_code is None or 0 <= row.error_code < 2**31
        place.nothing_is_stuck()
        [shown] = place.show("/admin/chats/1")["messages"]
        assert shown["delivery"] == place.texts(Direction.OUT)[0].delivery
        if status is MessageStatus.GIVEN_UP:
            place.show_all()

    for_all("status", database, st.tuples(nasty.posts(REPORT, "ErrorCode"), references, states), check)


def _sent_text(rt: Runtime, status: MessageStatus) -> None:
    """A text that the carrier has, may have, or is not known to have. Each row is the first one of its table."""
    now = rt.now()
    due_at = now + timedelta(seconds=1) if status is MessageStatus.SENDING else None
    carrier_id = SID if status is MessageStatus.SENT else None
    of = {"id": 1, "conversation_id": 1}
    chat = of | {"provider": "retell", "provider_chat_id": "chat_1", "status": ChatStatus.ONGOING}
    turn = of | {"chat_id": 1, "status": TurnStatus.ANSWERED, "created_at": now, "expires_at": now}
    text = of | {"turn_id": 1, "direction": Direction.OUT, "status": status, "body": "Hi", "created_at": now}
    text |= {"attempted_at": now - timedelta(minutes=1), "expires_at": now + timedelta(hours=1)}
    rows: dict[type[Base], dict[str, Any]] = {
        Conversation: {"id": 1, "phone": ANN, "bridge_number": NUMBER, "created_at": now, "delivery_due_at": due_at},
        Chat: chat | {"started_at": now, "last_activity_at": now},
        Turn: turn,
        Message: text | {"reference": REFERENCE, "carrier_id": carrier_id},
    }
    with rt.database.transaction() as tx:
        for table, row in rows.items():
            tx.session.execute(insert(table).values(row))
            if tx.session.get_bind().dialect.name == "postgresql":  # the next row must not get the same number
                tx.session.execute(sql(f"SELECT setval('{table.__tablename__}_id_seq', 1)"))


# -- events of the agent's providers -------------------------------------------------------------------------------

LAST_WORDS = "I close our chat now"
OUR_ITEMS = [
    {"role": "user", "message_id": "m1", "content": "my word is 4711"},
    {"role": "agent", "message_id": "m2", "content": "Hi"},
    {"role": "agent", "message_id": "m3", "content": LAST_WORDS},
]
JUDGED = {"chat_summary": "A talk about my word 4711", "user_sentiment": "Positive", "chat_successful": True}
OUR_CHAT = {"chat_id": "chat_1", "chat_status": "ended", "message_with_tool_calls": OUR_ITEMS, "chat_analysis": JUDGED}
OUR_CHAT |= {"chat_cost": {"combined_cost": 1.5}, "metadata": {}, "start_timestamp": 1790000000000}
KINDS = ["chat_ended"] * 4 + ["chat_analyzed"] * 4 + ["chat_started", "call_ended"]


@st.composite
def events(draw: Any) -> bytes:
    """An event of our chat that is spoiled in a few places, or something else."""
    chat = draw(nasty.spoilt(OUR_CHAT))
    if draw(st.booleans()):
        chat["message_with_tool_calls"] = [draw(nasty.spoilt(item) | nasty.values) for item in OUR_ITEMS]
    if draw(st.booleans()):
        chat |= {"chat_analysis": draw(nasty.spoilt(JUDGED)), "chat_cost": {"combined_cost": draw(nasty.values)}}
    told = draw(nasty.spoilt({"event": draw(st.sampled_from(KINDS)), "chat": chat}, at_most=1))
    return json.dumps(told).encode()


event_bodies = st.integers(0, 9).flatmap(lambda n: events() if n else st.sampled_from([*nasty.NO_JSON, *nasty.HUGE]))
event_keys = {"/retell/events": fake_settings().retell_api_key, "/uponai/events": SecretStr(BADGE)}
event_paths = st.sampled_from(["/retell/events"] * 4 + ["/uponai/events"])
event_signatures = st.sampled_from(["good"] * 12 + ["none", "twice", "another", "broken", "stale", "endless"])
event_headers = st.sampled_from([{}] * 4).flatmap(lambda none: st.just(none) | nasty.headers)


def signature(place: Place, path: str, body: bytes, kind: str) -> dict[str, str]:
    key = event_keys[path]
    assert key
    age = 301_000 if kind == "stale" else 0
    stamp = str(int(place.scene.clock().timestamp() * 1000) - age)
    good = f"v={stamp},d={hmac.new(key.get_secret_value().encode(), body + stamp.encode(), sha256).hexdigest()}"
    given = {"twice": f"{good},{good}", "another": f"v={stamp},d={'0' * 64}", "broken": "\xff=", "stale": good}
    given |= {"good": good, "endless": good.replace("v=", "v=" + "9" * 5000)}
    return {"HTTP_X_RETELL_SIGNATURE": given[kind]} if kind in given else {}


def columns(row: Base) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name[0] != "_"}


def test_any_event_is_noted_or_refused_by_the_contract(new_place: NewPlace, database: str) -> None:
    place = new_place()
    seen: set[str] = set()

    def check(example: tuple[str, bytes, str, dict[str, str]]) -> None:
        path, body, kind, around = example
        place.clear()
        _sent_text(place.scene.rt, MessageStatus.SENT)
        with place.scene.rt.database.transaction() as tx:
            tx.session.execute(update(Chat).values(last_item_id="m2", user_items=1))
            tx.session.execute(update(Message).values(id=10**6))  # PostgreSQL's sequence still begins with 1
        before = [[columns(row) for row in place.rows(table)] for table in (Conversation, Chat, Turn, Message)]
        more = {**signature(place, path, body, kind), "CONTENT_TYPE": "application/json", **around}
        answer, again = (place.ask("POST", path, body, **more) for _ in range(2))
        assert answer == again
        expected = 413 if len(body) > EVENT_BYTES else 204 if kind == "good" else 403
        assert answer.status in ({expected, 204, 400, 403, 413} if around else {expected}), (answer, place.log.text)
        assert (answer.body == b"") is (answer.status == 204)
        place.nothing_is_stuck()
        after = [[columns(row) for row in place.rows(table)] for table in (Conversation, Chat, Turn, Message)]
        [pair] = place.rows(Conversation)
        of_ours = b'"chat_1"' in body and (b"chat_ended" in body or b"chat_analyzed" in body or shows_human(body))
        if answer.status != 204 or path != "/retell/events" or not of_ours:
            assert after == before
        [chat] = place.rows(Chat)
        must_fit_the_tables([chat.summary, chat.sentiment])
        new = [row.body for row in place.texts(Direction.OUT) if row.reference != REFERENCE]
        assert chat.status is ChatStatus.ENDED or (pair.holder is Holder.WAITING and shows_human(body)) or not new
        assert [accepted.text.body for accepted in place.scene.carrier.accepted] == new
        assert place.show("/admin/chats/1")["status"] == chat.status
        seen.update([chat.status, "analyzed" if chat.analyzed_at else "", *new, str(answer.status)])
        place.stays_idle(LAST_WORDS, "my word is 4711", JUDGED["chat_summary"], BADGE, ANN)

    check(("/retell/events", b"x" * (EVENT_BYTES + 1), "good", {}))  # few of the examples are so long
    examples = st.tuples(event_paths, event_bodies, event_signatures, event_headers)
    for_all("events", database, examples, check)
    assert seen >= {"ongoing", "ended", "analyzed", LAST_WORDS, "204", "403", "413"} or database == "postgresql"


# -- what providers answer -------------------------------------------------------------------------------------------


class Desk:
    """A provider that gives scripted answers, one after the other, and then the right ones."""

    def __init__(self, well: Callable[[httpx.Request], tuple[int, Any]]) -> None:
        self.told: list[tuple[int, bytes]] = []
        self._well = well

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.told:
            status, body = self.told.pop(0)
            return httpx.Response(status, content=body)
        status, payload = self._well(request)
        return httpx.Response(status, json=payload)


CHATS = iter(range(10**9))
FAREWELL = "Bye, and thank you"
SAID = "my word is 4711"
KEY = "key_of_the_agent"

entries = nasty.spoilt({"role": "agent", "content": "What else?", "message_id": "m1", "created_timestamp": 1})
calls = nasty.spoilt({"role": "tool_call_invocation", "tool_call_id": "c1", "type": "end_call", "name": "end_call"})
messages = st.lists(entries | calls | nasty.values, max_size=4)
chats = nasty.spoilt({"chat_id": "chat_new", "chat_status": "ongoing", "start_timestamp": 1790000000000}).flatmap(
    lambda chat: messages.map(lambda said: {"message_with_tool_calls": said, **chat})
)
refusals = nasty.spoilt({"status": "error", "message": "Chat already ended", "code": 21211})
retell_answers = st.lists(
    nasty.answers(nasty.spoilt({"messages": []}, at_most=1) | messages.map(lambda said: {"messages": said}), [200, 201])
    | nasty.answers(chats, [200, 201])
    | nasty.answers(refusals, [400, 404, 409, 422, 429, 500, 503]),
    min_size=1,
    max_size=5,
)


def _retell(request: httpx.Request) -> tuple[int, Any]:
    if request.url.path == "/create-chat":
        return 201, {"chat_id": f"chat_{next(CHATS)}", "chat_status": "ongoing"}
    if request.url.path == "/create-chat-completion":
        return 201, {"messages": [{"role": "agent", "content": FAREWELL}]}
    return 200, {"chat_id": "chat_1", "chat_status": "ended", "message_with_tool_calls": []}


def retell(desk: Desk) -> Retell:
    return Retell(
        api_key=KEY,
        agent_id="agent_1",
        agent_version="1",
        base_url=OURS,
        timeout=120,
        reads_contacts=True,
        transport=desk.transport,
    )


uponai_messages = st.lists(
    nasty.spoilt({"role": "assistant", "content": "What else?", "name": None, "tool_calls": []})
    | nasty.spoilt({"role": "assistant", "content": "", "tool_calls": [{"type": "end_call", "name": "end_call"}]})
    | nasty.values,
    max_size=4,
)
uponai_chats = nasty.spoilt({"chatId": "chat_new", "status": "ongoing", "startedAt": "2026-11-02T12:00:00Z"}).flatmap(
    lambda chat: uponai_messages.map(lambda said: {"messages": said, "endedAt": None, **chat})
)
uponai_answers = st.lists(
    nasty.answers(
        nasty.spoilt({"messages": []}, at_most=1) | uponai_messages.map(lambda said: {"messages": said}), [200, 201]
    )
    | nasty.answers(uponai_chats, [200, 201])
    | nasty.answers(uponai_chats.map(lambda chat: {"data": [chat], "pagination_key": "k"}), [200])
    | nasty.answers(
        nasty.spoilt({"error": {"message": "Chat already ended"}, "detail": "no"}), [400, 404, 409, 422, 502]
    ),
    min_size=1,
    max_size=5,
)


def _uponai(request: httpx.Request) -> tuple[int, Any]:
    return 200, {"chatId": "chat_1", "status": "ended", "messages": [], "data": []}


def must_fit_the_tables(value: Any) -> None:
    """Every word and number of it, however deep."""
    if isinstance(value, str):
        assert "\x00" not in value
        value.encode()
    elif isinstance(value, int):
        assert 0 <= value < 2**31
    elif isinstance(value, datetime):
        assert value.tzinfo
    elif is_dataclass(value):
        for member in vars(value).values():
            must_fit_the_tables(member)
        for name, longest in {"carrier_id": 64, "id": 255, "phone": 255, "bridge_number": 255}.items():
            assert len(getattr(value, name, None) or "") <= longest
    elif isinstance(value, list | tuple):
        for member in value:
            must_fit_the_tables(member)
    else:
        assert value is None


def must_be_read(call: Callable[[], Any], *private: str) -> None:
    """A value that the tables can hold, or an error of ours in words that may be shown."""
    try:
        answer = call()
    except RemoteError as error:
        answer = [str(error), error.code]
        told = str(error)
    else:
        told = ""
    must_fit_the_tables(answer)
    assert len(told) < 500
    assert not [words for words in private if words in told]


ABOUT = NewChat(7, ANN, NUMBER, "User: my word is 4711\nAgent: hello")
CALLS: dict[str, Callable[[Agent], Any]] = {
    "create": lambda agent: agent.create_chat(ABOUT),
    "complete": lambda agent: agent.complete("chat_1", SAID),
    "get": lambda agent: agent.get_chat("chat_1"),
    "end": lambda agent: agent.end_chat("chat_1"),
    "list": lambda agent: agent.list_chats(),
    "find": lambda agent: agent.find_chats(ABOUT, datetime(2026, 1, 1, tzinfo=UTC)),
    "contact": lambda agent: agent.set_do_not_call(ANN, True),
}


def test_whatever_retell_answers_is_a_value_that_fits_or_an_error() -> None:
    desk = Desk(_retell)
    agent = retell(desk)

    def check(example: tuple[str, list[tuple[int, bytes]]]) -> None:
        call, told = example
        desk.told = list(told)
        must_be_read(lambda: CALLS[call](agent), SAID, ANN, KEY)

    for_all("retell", "none", st.tuples(st.sampled_from(list(CALLS)), retell_answers), check)
    agent.close()


def test_whatever_uponai_answers_is_a_value_that_fits_or_an_error() -> None:
    desk = Desk(_uponai)
    agent = UponAI(Account(KEY, 42, "agent_1", OURS, 120), desk.transport)

    def check(example: tuple[str, list[tuple[int, bytes]]]) -> None:
        call, told = example
        desk.told = list(told)
        must_be_read(lambda: CALLS[call](agent), SAID, ANN, KEY)

    for_all("uponai", "none", st.tuples(st.sampled_from(list(CALLS)), uponai_answers), check)
    agent.close()


def test_whatever_the_agent_s_provider_answers_the_turn_comes_to_an_end(new_place: NewPlace, database: str) -> None:
    desk = Desk(_retell)
    place = new_place(agent=retell(desk))

    def check(told: list[tuple[int, bytes]]) -> None:
        place.clear()
        desk.told = list(told)
        assert place.scene.text(SAID)
        place.nothing_is_stuck()
        desk.told = []
        [stored] = place.texts(Direction.IN)
        assert stored.body == SAID
        for text in place.texts(Direction.OUT):
            must_fit_the_tables(text.body)
            assert text.body.strip()
        place.show_all()
        place.stays_idle(SAID, ANN, KEY, "What else?", FAREWELL)

    for_all("turns", database, retell_answers, check)
    place.scene.rt.agents.close()


SHOWN = {"sid": SID, "status": "queued", "body": "You said: hello", "date_created": "Mon, 02 Nov 2026 12:00:00 +0000"}
SHOWN |= {"to": ANN, "from": NUMBER, "direction": "outbound-api", "error_code": None, "date_sent": None}
SHOWN |= {"num_media": "0", "num_segments": "1", "date_updated": None}
DATES = ["Mon, 99 Nov 2026 12:00:00 +0000", "Mon, 02 Nov 99999999999 12:00:00 +0000", "1 Jan 1 0:0:0", "soon"]


@st.composite
def listed(draw: Any, good: dict[str, Any]) -> Any:
    shown = draw(nasty.spoilt(good))
    if draw(st.integers(0, 9)) == 0:
        shown["date_created"] = draw(st.sampled_from(DATES))
    return shown


def pages(texts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    more = [None, "/2010-04-01/more", "/\x00", f"/{nasty.HALF}", "http://", "//[", "x" * 70_000, "/%zz?%"]
    page = {"next_page_uri": st.sampled_from(more) | nasty.values, "page": nasty.values}
    with_meta = st.fixed_dictionaries(
        {"messages": st.lists(texts, max_size=3)},
        optional={"meta": nasty.spoilt({"key": "messages", "next_page_url": f"{OURS}/more"}), **page},
    )
    return with_meta | st.fixed_dictionaries({"messages": st.lists(texts | nasty.values, max_size=3)}, optional=page)


twilio_refusals = nasty.answers(refusals, [400, 401, 403, 404, 429, 500, 503])
twilio_answers = st.lists(
    nasty.answers(listed(SHOWN), [201, 200]) | nasty.answers(pages(listed(SHOWN)), [200]) | twilio_refusals,
    min_size=1,
    max_size=4,
)


CAME = SHOWN | {"direction": "inbound", "status": "received", "body": SAID}
CAME["date_sent"] = "Mon, 02 Nov 2026 11:59:00 +0000"
lists = st.lists(nasty.answers(pages(listed(CAME)), [200]) | twilio_refusals, min_size=1, max_size=4)


def _twilio(request: httpx.Request) -> tuple[int, Any]:
    if request.method == "POST":
        return 201, SHOWN | {"sid": f"SM{next(CHATS):032x}"}
    return 200, {"messages": [], "next_page_uri": None}


def twilio(desk: Desk) -> Twilio:
    return Twilio.from_settings(fake_settings(twilio_api_base_url=OURS), transport=desk.transport)


OUTGOING = OutgoingText("abc123", NUMBER, ANN, "You said: hello")
SINCE = datetime(2026, 11, 2, 12, tzinfo=UTC)
TWILIO: dict[str, Callable[[Twilio], Any]] = {
    "send": lambda carrier: carrier.send(OUTGOING),
    "sent_to": lambda carrier: carrier.sent_to(ANN, NUMBER, SINCE),
    "received_by": lambda carrier: list(carrier.received_by(NUMBER, SINCE)),
    "fetch_received": lambda carrier: carrier.fetch_received("SM" + "a" * 32),
}


def test_whatever_twilio_answers_is_a_value_that_fits_or_an_error() -> None:
    desk = Desk(_twilio)
    carrier = twilio(desk)

    def check(example: tuple[str, list[tuple[int, bytes]]]) -> None:
        call, told = example
        desk.told = list(told)
        must_be_read(lambda: TWILIO[call](carrier), ANN, OUTGOING.body, TOKEN)

    for_all("twilio", "none", st.tuples(st.sampled_from(list(TWILIO)), twilio_answers | lists), check)
    carrier.close()


def test_whatever_the_carrier_answers_the_text_comes_to_an_end(new_place: NewPlace, database: str) -> None:
    desk = Desk(_twilio)
    place = new_place(carrier=twilio(desk))

    def check(told: list[tuple[int, bytes]]) -> None:
        place.clear()
        assert place.scene.text("hello")
        desk.told = list(told)
        place.nothing_is_stuck()
        desk.told = []
        [text] = place.texts(Direction.OUT)
        if text.status is MessageStatus.SENT:
            assert text.carrier_id
            assert len(text.carrier_id) <= 64
        [chat] = place.show_all().values()
        assert [shown["body"] for shown in chat["messages"]] == ["hello", "You said: hello"]
        place.stays_idle(ANN, "You said: hello")

    for_all("deliveries", database, twilio_answers, check)


def test_whatever_the_carrier_lists_is_stored_once_or_left_out(new_place: NewPlace, database: str) -> None:
    desk = Desk(_twilio)
    place = new_place(carrier=twilio(desk))

    def check(told: list[tuple[int, bytes]]) -> None:
        place.clear()
        for _ in range(2):
            desk.told = list(told)
            catch_up.catch_up(place.scene.rt, pauses=())
        desk.told = []
        came = place.texts(Direction.IN)
        assert len({text.carrier_id for text in came}) == len(came)
        place.nothing_is_stuck()
        place.show_all()
        place.stays_idle(ANN, SAID)

    for_all("catch_up", database, lists, check)


# -- operators -----------------------------------------------------------------------------------------------------

wishes = nasty.spoilt({"idle_seconds": 86400, "limit": 10, "dry_run": False}) | nasty.values
bodies = wishes.map(lambda wish: json.dumps(wish).encode()) | st.sampled_from([*nasty.NO_JSON, *nasty.HUGE])
mimetypes = st.sampled_from(["application/json"] * 5 + nasty.TYPES + nasty.NO_FORMS)
paths = st.one_of(
    nasty.ids.map(lambda text: ("GET", f"/admin/chats/{text}")),
    nasty.ids.map(lambda text: ("POST", f"/admin/chats/{text}/end")),
    nasty.ids.map(lambda text: ("POST", f"/admin/conversations/{text}/messages")),
    nasty.ids.map(lambda text: ("POST", f"/admin/messages/{text}/retry")),
    nasty.ids.map(lambda text: ("POST", f"/admin/turns/{text}/retry")),
    st.sampled_from([("GET", "/admin/chats"), ("GET", "/admin/failures"), ("POST", "/admin/chats/end-stale")]),
    st.sampled_from([("POST", "/admin/pause"), ("POST", "/admin/resume"), ("POST", "/admin/failures/retry")]),
    st.tuples(st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]), nasty.texts.map(lambda text: f"/admin/{text}")),
)
KEYS = [f"Bearer {ADMIN}"] * 8 + ["", "Bearer", "Bearer \xff", "Basic x", "Bearer " + "x" * 10_000]
wires = st.sampled_from([b"", b"", *nasty.QUERIES, *nasty.ODD_QUERIES]) | nasty.admin_queries
json_type, nothing, no_headers, key = st.just("application/json"), st.just(b""), st.just({}), st.just(KEYS[0])
lists_asked_for = st.sampled_from([("GET", "/admin/chats"), ("GET", "/admin/failures"), ("GET", "/admin/audit")])
texts_of_operators = nasty.spoilt({"to": ANN, "from": NUMBER, "body": "hello"}).map(
    lambda wish: json.dumps(wish).encode()
)
endings = st.just(("POST", "/admin/chats/end-stale"))
asked = st.one_of(
    st.tuples(lists_asked_for, nasty.admin_queries, nothing, json_type, no_headers, key),
    st.tuples(endings, nothing, bodies, json_type, no_headers, key),
    st.tuples(st.just(("POST", "/admin/messages")), nothing, texts_of_operators, json_type, no_headers, key),
    st.tuples(paths, wires, nothing | bodies, mimetypes, nasty.headers, st.sampled_from(KEYS)),
)
FINE = {200, 202, 400, 401, 404, 405, 408, 409, 413, 422}


def test_whatever_an_operator_asks_for_is_answered_or_refused(new_place: NewPlace, database: str) -> None:
    place = new_place()
    place.clear()
    _sent_text(place.scene.rt, MessageStatus.GIVEN_UP)

    def check(example: tuple[tuple[str, str], bytes, bytes, str, dict[str, str], str]) -> None:
        (method, path), query, body, mimetype, headers, key = example
        place.log.clear()
        more = {"CONTENT_TYPE": mimetype, "HTTP_AUTHORIZATION": key, **headers}
        answer = place.ask(method, path.encode().decode("latin-1"), body, query, **more)
        assert answer.status in (FINE | {308} if "//" in path else FINE), (answer, place.log.text)
        if answer.status not in (200, 202, 308):
            assert answer.mimetype == "application/problem+json"
            assert len(answer.body) < 10_000
        if answer.body and answer.status != 308:
            _strict(answer.body)
        assert (answer.status == 401) <= (key != f"Bearer {ADMIN}")
        place.stays_idle()

    for_all("admin", database, asked, check)
