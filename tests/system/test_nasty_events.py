"""Ten thousand nasty events with a valid signature: a status of the contract, nothing stored, and no error in the log.

What is sent: ``tests.nasty_events``. ``test_bad_input`` looks at fewer events with more care: through to what operators
are shown, with every kind of signature and header.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update
from werkzeug.test import create_environ, run_wsgi_app

from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import Base, Chat, ChatStatus, Conversation, Message, MessageStatus
from bridge.processes.http_server import Address, WebServer
from bridge.web.agents import MAX_BYTES
from bridge.web.app import build_web
from testkit.waiting import PATIENCE
from tests.databases import empty
from tests.fakes import SETTINGS, UPONAI, FakeAgent
from tests.nasty_events import ENDED, FOREIGN, OURS, SECRET, WAYS, Nasty, bodies, event, shows_human
from tests.scene import ANN, BOB, Scene

CHUNK = 2500
CHUNKS = [("retell", n) for n in range(4)] + [("uponai", 4)]
"""10,000 bodies for Retell's address, and a quarter as many for UponAI's, which shares the code."""

BADGE = "key_with_the_badge"
KEYS = {"retell": str(SETTINGS["retell_api_key"]), "uponai": BADGE}

Tables = dict[str, list[tuple[Any, ...]]]

JUDGED_IN = {"analyzed_at", "summary", "sentiment", "successful", "cost"}
OF_A_CHAT = {"status", "ended_at", "due_at", "end_reason", *JUDGED_IN}
"""All that an event may change: the end of a chat of ours, and its analysis."""
READ_BY_A_PERSON = {"user_items", "last_item_id"}
"""And if it shows that a human has the chat: how far the person was told of it."""


class Place:
    """A bridge with a chat that is open and one that has ended."""

    def __init__(self, engine: Engine, provider: str) -> None:
        self.engine = engine
        self.clear()
        settings = UPONAI if provider == "uponai" else {}
        agent = FakeAgent(provider=provider, item_ids=provider == "retell")
        self.scene = Scene(build_sessions(engine), agent, uponai_webhook_key=BADGE, **settings)
        self.web = build_web(self.scene.rt, PATIENCE)
        self.provider = provider
        for phone in (ANN, BOB):
            self.scene.text("hello", phone)
            self.scene.work()
        assert self.post(json.dumps(event("chat_ended", ENDED)).encode()) == 204
        self.before = self.tables()
        with self.scene.sessions() as session:
            ours = session.query(Chat).filter_by(provider_chat_id=OURS).one()
            self.bookmark = {"user_items": ours.user_items, "last_item_id": ours.last_item_id}
            pair = session.get_one(Conversation, ours.conversation_id)
            self.conversation = {column.name: getattr(pair, column.name) for column in Conversation.__table__.columns}
        chats = self.chats(self.before)
        assert [(chats[name]["status"], chats[name]["analyzed_at"]) for name in (OURS, ENDED)] == [
            ("ongoing", None),
            ("ended", None),
        ]

    def clear(self) -> None:
        with self.engine.begin() as connection:
            empty(connection)

    def headers(self, body: bytes, age: int = 0) -> dict[str, str]:
        stamp = str(int(self.scene.clock().timestamp() * 1000) - age)
        digest = hmac.new(KEYS[self.provider].encode(), body + stamp.encode(), sha256).hexdigest()
        return {"X-Retell-Signature": f"v={stamp},d={digest}", "Content-Type": "application/json"}

    def post(self, body: bytes, age: int = 0) -> int:
        environ = {**EMPTY, "PATH_INFO": f"/{self.provider}/events", "wsgi.input": BytesIO(body)}
        environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
        environ["HTTP_X_RETELL_SIGNATURE"] = self.headers(body, age)["X-Retell-Signature"]
        chunks, status, _ = run_wsgi_app(self.web, environ, buffered=True)
        answer = b"".join(chunks)
        assert (answer == b"") is (status[:3] == "204")
        return int(status[:3])

    def tables(self) -> Tables:
        """Every row of every table, as the driver has it: this is done after every body."""
        with self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            return {table: driver.execute(ask).fetchall() for table, ask in ASK.items()}

    def chats(self, tables: Tables) -> dict[str, dict[str, Any]]:
        """The chats by their ids at the provider."""
        names = [column.name for column in Base.metadata.tables["chats"].columns]
        rows = [dict(zip(names, row, strict=True)) for row in tables["chats"]]
        return {row["provider_chat_id"]: row for row in rows}

    def restore(self) -> None:
        """Undo what an event may change."""
        calm = dict.fromkeys(OF_A_CHAT) | {"status": ChatStatus.ONGOING}
        with self.engine.begin() as connection:
            connection.execute(update(Chat).where(Chat.provider_chat_id == OURS).values(calm))
            connection.execute(update(Chat).where(Chat.provider_chat_id == ENDED).values(dict.fromkeys(JUDGED_IN)))
            connection.execute(delete(Message).where(Message.status == MessageStatus.QUEUED))
            connection.execute(update(Chat).where(Chat.provider_chat_id == OURS).values(self.bookmark))
            connection.execute(update(Conversation).where(Conversation.phone == ANN).values(self.conversation))
        self.scene.notifier.wakeups.clear()
        assert self.tables() == self.before

    def changed(self, after: Tables, *, handed_over: bool) -> dict[str, set[str]]:
        """The chats with another row than before, and what is other in each. Nothing else may have changed.

        A handoff changes the chat's conversation too, and tells the person.
        """
        told = ("conversations", "messages") if handed_over else ()
        rest = dict.fromkeys(("chats", *told))
        assert {**after, **rest} == {**self.before, **rest}
        for table in told:
            assert after[table][1 : len(self.before[table])] == self.before[table][1:]
            assert len(after[table]) <= len(self.before[table]) + (table == "messages")
        now, then = self.chats(after), self.chats(self.before)
        assert set(now) == set(then)
        return {
            name: {column for column, value in row.items() if value != then[name][column]}
            for name, row in now.items()
            if row != then[name]
        }


ASK = {table.name: f"SELECT * FROM {table.name} ORDER BY 1" for table in Base.metadata.sorted_tables}
EMPTY = create_environ(base_url="https://bridge.example.com", method="POST")


def may_change(body: bytes) -> set[str]:
    """Whose rows this event may change, read here by itself."""
    try:
        told = json.loads(body)
        kind, chat = told["event"], told["chat"]
        name = chat.get("chat_id", chat.get("chatId")).strip()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, IndexError):
        return set()
    if kind == "chat_ended":
        return {name} & {OURS}
    judged = {name} & {OURS, ENDED} if kind == "chat_analyzed" else set()
    return judged | ({name} & {OURS} if isinstance(kind, str) and shows_human(body) else set())


def expected(body: bytes) -> int:
    return 413 if len(body) > MAX_BYTES else 204


@pytest.fixture
def place(hasty_engine: Engine, request: pytest.FixtureRequest) -> Place:
    return Place(hasty_engine, request.param)


def hold(place: Place, nasty: Nasty, log: pytest.LogCaptureFixture) -> set[str]:
    """Post it. The chats that it has changed; the rows are as before after this."""
    status = place.post(nasty.body)
    assert status == expected(nasty.body), (nasty.way, nasty.body[:500], log.text)
    assert "Traceback" not in log.text, (nasty.way, nasty.body[:500], log.text)
    assert SECRET not in log.text
    log.clear()
    after = place.tables()
    if after == place.before:
        return set()
    handed_over = OURS in may_change(nasty.body) and shows_human(nasty.body)
    changed = place.changed(after, handed_over=handed_over)
    assert set(changed) <= may_change(nasty.body), (nasty.way, nasty.body[:500], changed)
    assert set().union(*changed.values()) <= OF_A_CHAT | (READ_BY_A_PERSON if handed_over else set())
    assert place.post(nasty.body) == status
    assert place.tables() == after, "a replay changed something"
    place.restore()
    return set(changed)


@pytest.mark.parametrize(("place", "seed"), CHUNKS, indirect=["place"])
def test_a_nasty_event_is_refused_or_changes_nothing_but_its_own_chat(
    place: Place, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: Counter[str] = Counter()
    sent: set[int] = set()
    for nasty in bodies(seed, CHUNK):
        sent.add(hash(nasty.body))
        changed = hold(place, nasty, caplog)
        seen.update([f"{nasty.way}: {expected(nasty.body)}", *(f"{name} changed" for name in changed)])
    assert len(sent) > CHUNK * 0.8
    assert {key.partition(":")[0] for key in seen if ":" in key} == set(WAYS)
    assert seen["megabytes: 413"] > CHUNK // 20
    assert seen["wrong types: 204"] > CHUNK // 20
    assert 10 < seen[f"{OURS} changed"] < CHUNK // 4, "an event with a few wrong members is still one"
    assert place.scene.notifier.wakeups == []


@pytest.mark.parametrize("place", KEYS, indirect=True)
def test_a_nasty_event_that_is_stale_is_refused_before_it_is_read(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    for nasty in bodies(5, 150):
        assert place.post(nasty.body, age=300_001) == (413 if len(nasty.body) > MAX_BYTES else 403)
    assert place.tables() == place.before
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("provider", KEYS)
def test_a_nasty_event_does_the_same_on_postgresql(
    postgresql_url: str, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stricter with texts and numbers."""
    caplog.set_level(logging.INFO)
    engine = build_engine(postgresql_url)
    place = Place(engine, provider)
    changed = [name for nasty in bodies(6, 450) for name in hold(place, nasty, caplog)]
    assert OURS in changed
    engine.dispose()


# -- over a socket ---------------------------------------------------------------------------------------------------


@contextmanager
def served(place: Place) -> Iterator[int]:
    """The web server of the Procfile and of ``bridge up``. Its port."""
    server = WebServer(place.web, threads=2, on=Address("127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield int(server._listeners[0].effective_port)
    finally:
        server.stop()
        thread.join()


def over_a_socket(port: int, place: Place, body: bytes) -> int:
    """Post it on a connection of its own. 413 also if the server hangs up on so large a body."""
    lines = [f"POST /{place.provider}/events HTTP/1.1", "Host: bridge.example.com", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in place.headers(body).items()]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as caller:
        with suppress(BrokenPipeError, ConnectionResetError):
            caller.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        response = HTTPResponse(caller)
        try:
            response.begin()
        except ConnectionResetError:
            return 413
        response.read()
        return response.status


@pytest.mark.parametrize("place", KEYS, indirect=True)
def test_nasty_events_over_a_socket_are_answered_the_same(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with served(place) as port:
        for nasty in bodies(7, 300):
            assert over_a_socket(port, place, nasty.body) == expected(nasty.body), (nasty.way, nasty.body[:500])
        assert over_a_socket(port, place, json.dumps(event("chat_ended", FOREIGN)).encode()) == 204
    assert set(place.changed(place.tables(), handed_over=True)) <= {OURS, ENDED}
    assert "Traceback" not in caplog.text
