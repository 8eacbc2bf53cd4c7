"""HANDOFF_WEBHOOK over real HTTP: the body, the signature, and what each answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bridge.providers.errors import NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.providers.team_webhook import TeamWebhook, WaitingPerson, build_team, signature
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import TeamTold, Wrong
from bridge.simulator.team import PATH
from tests.fakes import TEAM, fake_settings

SECRET = "secret-of-the-webhook"
WAITING = WaitingPerson(
    id="handoff-7",
    conversation_id=4,
    phone="+15551230001",
    bridge_number="+15550001111",
    reason="the person asked for a human 👋",
    since=datetime(2026, 11, 21, 10, 5, 13, tzinfo=UTC),
    url="https://bridge.example.com/console/conversations/4",
)


@dataclass
class Receiver:
    """The business's server."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/waiting?from=bridge"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with served(Receiver()) as receiver:
        yield receiver


@contextmanager
def served(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append((self.path, dict(self.headers), body))
            receiver.meanwhile()
            self.send_response(receiver.status)
            for name, value in {"Content-Length": "0", **receiver.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tell(receiver: Receiver, now: float = 1_700_000_000.9, timeout: float = 10) -> None:
    team = TeamWebhook(receiver.address, SECRET, now=lambda: now, timeout=timeout)
    try:
        team.tell(WAITING)
    finally:
        team.close()


def error_of(receiver: Receiver, timeout: float = 10) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        tell(receiver, timeout=timeout)
    return caught.value


def test_it_gets_the_whole_notice_as_json(receiver: Receiver) -> None:
    tell(receiver)
    [(path, headers, body)] = receiver.requests
    assert path == "/waiting?from=bridge"
    assert (headers["Content-Type"], headers["Idempotency-Key"]) == ("application/json", "handoff-7")
    assert json.loads(body) == {
        "event": "waiting_for_person",
        "id": "handoff-7",
        "conversation_id": 4,
        "phone": "+15551230001",
        "bridge_number": "+15550001111",
        "reason": "the person asked for a human 👋",
        "since": "2026-11-21T10:05:13+00:00",
        "url": "https://bridge.example.com/console/conversations/4",
    }


def test_a_receiver_can_check_the_signature_with_nothing_but_the_secret(receiver: Receiver) -> None:
    tell(receiver)
    [(_, headers, body)] = receiver.requests
    signed = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["X-Bridge-Signature"])
    assert signed
    expected = hmac.new(SECRET.encode(), signed[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert (signed[1], signed[2]) == ("1700000000", expected)


@pytest.mark.parametrize("changed", [("x", 1, b"body"), (SECRET, 2, b"body"), (SECRET, 1, b"Body")])
def test_the_signature_depends_on_key_moment_and_body(changed: tuple[str, int, bytes]) -> None:
    assert signature(*changed) != signature(SECRET, 1, b"body")


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_means_that_it_knows(receiver: Receiver, status: int) -> None:
    receiver.status = status
    tell(receiver)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_a_refusal_is_final(receiver: Receiver, status: int) -> None:
    receiver.status = status
    error = error_of(receiver)
    assert isinstance(error, Refused)
    assert (error.worth_retry, error.status) == (False, status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 301, 302, 307, 308, 304])
def test_anything_else_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.headers = status, {"Retry-After": "7"}
    error = error_of(receiver)
    assert (error.worth_retry, error.status, error.retry_after) == (True, status, 7.0)
    assert isinstance(error, RateLimited) == (status in (408, 425, 429))


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with served(Receiver()) as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.address}
        error_of(receiver)
        assert (len(receiver.requests), elsewhere.requests) == (1, [])


def test_a_server_that_is_not_there_is_not_reached() -> None:
    with served(Receiver()) as gone:
        pass
    assert isinstance(error_of(gone), NotReached)


def test_a_server_that_does_not_answer_in_time_may_know(receiver: Receiver) -> None:
    waits = threading.Event()
    receiver.meanwhile = lambda: waits.wait(10)
    began = time.monotonic()
    error = error_of(receiver, timeout=0.3)
    assert time.monotonic() - began < 5
    waits.set()
    assert isinstance(error, OutcomeUnknown)
    assert error.worth_retry


def test_no_error_has_the_number_or_the_address(receiver: Receiver) -> None:
    for status in (307, 404, 429, 500):
        receiver.status, receiver.headers = status, {"Location": f"http://127.0.0.1:1/?phone={WAITING.phone}"}
        assert not re.search(r"5551230001|waiting|127\.0", str(error_of(receiver)))


def test_it_is_there_only_where_it_is_set() -> None:
    assert build_team(fake_settings()) is None
    team = build_team(fake_settings(**TEAM))
    assert isinstance(team, TeamWebhook)
    team.close()


def test_the_simulated_business_checks_the_signature_and_drops_what_it_knows() -> None:
    simulator = Simulator(SimulatorSettings())
    with serve(simulator) as address:
        for secret in (simulator.settings.team_secret, simulator.settings.team_secret):
            team = TeamWebhook(address + PATH, secret)
            team.tell(WAITING)
            team.close()
        [told] = simulator.ledger.of(TeamTold)
        assert (told.phone, told.reason, told.url) == (WAITING.phone, WAITING.reason, WAITING.url)
        for secret, now in (("another", time.time()), (simulator.settings.team_secret, time.time() - 3600)):
            forged = TeamWebhook(address + PATH, secret, now=lambda at=now: at)
            with pytest.raises(Refused):
                forged.tell(WAITING)
            forged.close()
    assert [wrong.name for wrong in simulator.ledger.of(Wrong)] == ["team_signature"] * 2
