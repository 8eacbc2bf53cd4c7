"""Server-sent events: what is told, that nothing is lost when a client is cut off, and that a listener costs no thread.

The clients here are sockets: what a test client gets is only the short answer of other servers.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Conversation
from bridge.operators import labels, pausing
from bridge.processes.http_server import MOST_UNREAD, Address, Patience, WebServer
from bridge.web.app import build_web
from bridge.web.events import FEED
from bridge.web.feed import Feed
from bridge.web.queries import changes
from bridge.web.queries.changes import Change, Position
from testkit.waiting import PATIENCE, until
from tests.scene import ANN, BOB, NUMBER, Scene

HERE = "127.0.0.1"
KEY = {"Authorization": "Bearer token-of-ana"}
THREADS = 2


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, admin_tokens="ana:token-of-ana", twilio_numbers=NUMBER)
    scene.text("hello")
    scene.work_until_idle()
    scene.clock.tick(60)
    return scene


class Served:
    """The whole app over a socket. The feed reads twenty times a second."""

    def __init__(self, scene: Scene, *, most: int = 500, patience: Patience | None = None) -> None:
        self.app = build_web(scene.rt)
        self.feed = self.app.extensions[FEED] = Feed(scene.rt, every=0.05, most=most)
        self._server = WebServer(self.app, threads=THREADS, on=Address(HERE, 0), patience=patience or Patience())
        self.port = int(self._server._listeners[0].effective_port)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        self.clients = ExitStack()

    def listen(self, last: str | None = None) -> Client:
        client = Client(self.port, last)
        self.clients.callback(client.close)
        return client

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class Client:
    """One client that listens."""

    def __init__(self, port: int, last: str | None = None) -> None:
        self._socket = socket.create_connection((HERE, port), timeout=PATIENCE)
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        head = f"GET /admin/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ana\r\n{resume}\r\n"
        self._socket.sendall(head.encode())
        self._got = b""

    def read(self, until_: str) -> str:
        """Read until this has come."""
        while until_ not in (words := self.words):
            more = self._socket.recv(65536)
            assert more, f"closed after {words!r}"
            self._got += more
        return words

    @property
    def words(self) -> str:
        return re.sub(r"\r\n[0-9A-F]+\r\n", "", self._got.decode())

    def events(self) -> list[tuple[str, Any]]:
        found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", self.words)
        return [(kind, json.loads(data)) for kind, data in found]

    @property
    def last(self) -> str:
        return re.findall(r"id: (\S+)\n", self.words)[-1]

    def is_closed(self) -> bool:
        while more := self._socket.recv(65536):
            self._got += more
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def served(scene: Scene) -> Iterator[Served]:
    served = Served(scene)
    yield served
    served.clients.close()
    served.stop()


def id_of(scene: Scene, phone: str) -> int:
    return next(row.id for row in scene.rows(Conversation) if row.phone == phone)


def get(served: Served, path: str = "/healthz") -> tuple[str, float]:
    began = time.monotonic()
    with socket.create_connection((HERE, served.port), timeout=PATIENCE) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head()}\r\n".encode())
        answer = b""
        while more := caller.recv(65536):
            answer += more
    return answer.decode().partition("\r\n")[0], time.monotonic() - began


def head() -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in KEY.items())


# -- over a socket -------------------------------------------------------------------------------------------------


def test_a_client_is_told_what_changes(scene: Scene, served: Served) -> None:
    client = served.listen()
    client.read("id: ")
    scene.text("news", BOB)
    client.read(f'{{"id": {id_of(scene, BOB)}}}')
    labels.add_note(scene.rt, "ana", id_of(scene, ANN), "private words")
    client.read('"action": "note"')
    pausing.begin(scene.rt, "ben")
    words = client.read('"paused": true')
    assert "text/event-stream" in words
    assert not [secret for secret in ("news", "private", ANN, BOB) if secret in words]


def test_an_event_comes_once_to_a_client_that_stays(scene: Scene, served: Served) -> None:
    client = served.listen()
    client.read("id: ")
    for n in range(3):
        scene.clock.tick(1)
        scene.text(f"news {n}", BOB)
        client.read("retry")
        until(lambda n=n: client.read("event: conversation").count("event: conversation") >= 1, "it is told")
    labels.add_tag(scene.rt, "ana", id_of(scene, ANN), "last")
    client.read('"action": "tag"')
    until_quiet = served.listen()
    until_quiet.read("id: ")
    kinds = [event for event in client.events() if event[0] == "audit"]
    assert len(kinds) == 1


def test_a_client_that_was_cut_off_goes_on_in_any_process_and_misses_nothing(scene: Scene, served: Served) -> None:
    first = served.listen()
    scene.text("seen", BOB)
    first.read(f'{{"id": {id_of(scene, BOB)}}}')
    labels.add_note(scene.rt, "ana", id_of(scene, ANN), "x")
    first.read('"action": "note"')
    last = first.last
    first.close()
    scene.clock.tick(3600)
    missed = []
    for n in range(30):
        scene.clock.tick(1)
        scene.text("missed", phone := f"+1555200{n:04}")
        missed.append(id_of(scene, phone))
    labels.add_tag(scene.rt, "ana", missed[0], "vip")
    pausing.begin(scene.rt, "ben")
    other = Served(scene)
    try:
        again = other.listen(last)
        again.read('"paused": true')
    finally:
        other.clients.close()
        other.stop()
    told = [data["id"] for kind, data in again.events() if kind == "conversation"]
    assert [each for each in missed if each not in told] == []
    assert ("audit", "tag") in [(kind, data.get("action")) for kind, data in again.events()]


def test_two_hundred_listeners_leave_every_thread_free(scene: Scene, served: Served) -> None:
    clients = [served.listen() for _ in range(200)]
    until(lambda: served.feed.listeners == 200, "all listen")
    status, seconds = get(served)
    assert status.endswith("200 OK")
    assert seconds < 2
    scene.text("news", BOB)
    for client in clients:
        client.read(f'{{"id": {id_of(scene, BOB)}}}')
    assert threading.active_count() < 50


def test_the_feed_rests_while_nobody_listens(scene: Scene, served: Served) -> None:
    assert served.feed._thread is None
    client = served.listen()
    client.read("id: ")
    thread = served.feed._thread
    assert thread is not None
    client.close()
    until(lambda: served.feed.listeners == 0 and not thread.is_alive(), "the feed has ended")
    served.listen().read("id: ")


def test_too_many_listeners_are_refused(scene: Scene) -> None:
    served = Served(scene, most=1)
    try:
        served.listen().read("id: ")
        assert get(served, "/admin/events")[0].endswith("503 SERVICE UNAVAILABLE")
    finally:
        served.clients.close()
        served.stop()


def test_a_server_that_stops_lets_its_listeners_go(scene: Scene) -> None:
    served = Served(scene, patience=Patience(farewell=0.2))
    client = served.listen()
    client.read("id: ")
    served.stop()
    assert client.is_closed()
    assert client.words.endswith("\r\n0\r\n\r\n") or "0\r\n\r\n" in client._got.decode()
    served.clients.close()


def test_what_a_listener_sends_is_ignored(scene: Scene, served: Served) -> None:
    client = served.listen()
    client.read("id: ")
    client._socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    scene.text("news", BOB)
    assert "HTTP/1.1" not in client.read(f'{{"id": {id_of(scene, BOB)}}}')[20:]


def test_a_client_that_does_not_read_is_cut_off(scene: Scene, served: Served) -> None:
    client = served.listen()
    client.read("id: ")
    [listener] = served.feed._listeners.values()

    def cut_off() -> bool:
        listener.sink.write(b": " + b"x" * MOST_UNREAD)
        return served.feed.listeners == 0

    until(cut_off, "it is cut off")


# -- on other servers ----------------------------------------------------------------------------------------------


def test_another_server_gets_what_has_changed_so_far(scene: Scene) -> None:
    client = build_web(scene.rt).test_client()
    first = client.get("/admin/events", headers=KEY)
    assert first.mimetype == "text/event-stream"
    assert first.text.startswith("retry: ")
    last = re.findall(r"id: (\S+)\n", first.text)[-1]
    scene.text("news", BOB)
    again = client.get("/admin/events", headers={**KEY, "Last-Event-ID": last})
    assert f'data: {{"id": {id_of(scene, BOB)}}}' in again.text


def test_an_id_that_no_event_has_had_is_refused(scene: Scene) -> None:
    client = build_web(scene.rt).test_client()
    for last in ("x", "1", "1-2", "1-2-3-4", "-1-2-3", "9" * 17 + "-1-1"):
        assert client.get("/admin/events", headers={**KEY, "Last-Event-ID": last}).status_code == 422


def test_an_id_from_the_future_counts_as_now(scene: Scene) -> None:
    client = build_web(scene.rt).test_client()
    answer = client.get("/admin/events", headers={**KEY, "Last-Event-ID": "9" * 16 + "-1-1"})
    assert answer.status_code == 200
    assert "9" * 16 not in answer.text


# -- positions -----------------------------------------------------------------------------------------------------


def test_a_change_that_is_committed_late_is_found(scene: Scene) -> None:
    before = changes.read(scene.rt, Position.at_moment(scene.clock()))
    with scene.sessions.begin() as session:
        session.query(Conversation).one().changed_at = scene.clock() - timedelta(seconds=9)
    found = changes.read(scene.rt, before.position)
    assert [each.id for each in found.of(before.position) if each.kind == "conversation"] == [id_of(scene, ANN)]


def test_a_position_is_written_and_read() -> None:
    position = Position(1_700_000_000_000_000, 4, 5)
    assert Position.read(str(position)) == position


def test_a_client_that_is_too_far_behind_must_read_everything_anew() -> None:
    found = changes.Found([Change("conversation", 1, 10**15, "{}")], Position(10**15), cut_off_at=10**15)
    assert [each.kind for each in found.of(Position(1))] == ["reset", "conversation"]
    assert [each.kind for each in found.of(Position(10**15 + 11_000_000))] == []
