"""Strangers before the real servers: the Procfile's web process, and ``bridge up``.

Each of them as a platform starts it, with one process. What the server below does by itself: ``test_web_server``.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
from twilio.request_validator import RequestValidator

from bridge.db import migrate
from bridge.processes.embedded import free_port
from bridge.web.app import MAX_BYTES
from testkit.procfile import Process, Processes
from testkit.waiting import PATIENCE, until
from tests.conftest import not_there
from tests.processes.test_http_server import BROKEN, TOO_MUCH, all_of, status
from tests.vendor import closed_port

HERE = "127.0.0.1"
ACCOUNT = "AC" + "0" * 32
TOKEN = "token-of-the-account"

STRANGERS = 1100
"""More than a process may usually have files."""

WITHIN = 5.0
"""Seconds for an answer beside them; without strangers it takes some ten milliseconds."""

GONE_AFTER = 20.0
"""Seconds: ten, and what a busy machine adds."""

POST = "POST /twilio/inbound HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
HALF_A_HEAD = POST.encode()
HALF_A_BODY = f"{POST}Content-Length: 60000\r\n\r\nBody=hello".encode()
HALF_A_CHUNK = f"{POST}Transfer-Encoding: chunked\r\n\r\n400\r\nBody=he".encode()
HALVES = [HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK, b""]


class Front:
    """A bridge's web that texts are announced to. They get no answer: it has no agent and no broker."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = free_port(HERE)
        self.address = f"http://{HERE}:{self.port}"
        self._client = httpx.Client(base_url=self.address, timeout=WITHIN)
        self._processes = Processes(folder, self._settings(folder))
        if kind == "procfile":
            migrate.upgrade(f"sqlite:///{folder / 'bridge.sqlite3'}")
            self.process = self._processes.start("web")
        else:
            up = [sys.executable, "-m", "bridge", "up", "--port", str(self.port)]
            self.process = self._processes.start("up", up)
        until(self.healthy, "it serves")

    def healthy(self) -> bool:
        try:
            return self._client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def announce(self, sid: str) -> int:
        """The status of a signed text's answer."""
        form = {"MessageSid": sid, "AccountSid": ACCOUNT, "From": "+15551230001", "To": "+15550001111", "Body": "hello"}
        url = f"{self.address}/twilio/inbound"
        signature = RequestValidator(TOKEN).compute_signature(url, form)
        return self._client.post(url, data=form, headers={"X-Twilio-Signature": signature}).status_code

    def call(self, words: bytes) -> socket.socket:
        caller = socket.create_connection((HERE, self.port), timeout=PATIENCE)
        caller.sendall(words)
        return caller

    def threads(self) -> int:
        """Of its process, or of all that it has started."""
        pids = [self.process.pid, *self.process.children]
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)

    def close(self) -> None:
        self._processes.close()
        self._client.close()

    def _settings(self, folder: Path) -> dict[str, str]:
        nobody = f"{HERE}:{closed_port()}"
        return {
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "DATABASE_URL": f"sqlite:///{folder / 'bridge.sqlite3'}",
            "CELERY_BROKER_URL": f"redis://{nobody}",
            "PUBLIC_URL": self.address,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": f"http://{nobody}",
            "RETELL_API_KEY": "key_of_the_agent",
            "RETELL_AGENT_ID": "agent_1",
            "RETELL_BASE_URL": f"http://{nobody}",
        }


@pytest.fixture(params=["procfile", "up"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    front = Front(request.param, tmp_path)
    try:
        yield front
    finally:
        front.close()


@pytest.fixture
def enough_files() -> Iterator[None]:
    """For this side's ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * STRANGERS:
        not_there(f"Room for {2 * STRANGERS:,} open files", f"ulimit -Hn is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * STRANGERS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def gone(stranger: socket.socket) -> bool:
    stranger.setblocking(False)
    try:
        return stranger.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.usefixtures("enough_files")
def test_health_and_texts_go_on_beside_a_thousand_who_wait_silently(front: Front) -> None:
    assert front.announce("SM" + "a" * 32) == 200
    before = front.threads()
    with ExitStack() as stack:
        strangers = [stack.enter_context(front.call(half)) for half in islice(cycle(HALVES), STRANGERS)]
        for n in range(10):
            assert front.healthy()
            assert front.announce(f"SM{n:032x}") == 200
        assert front.threads() - before < 30  # no thread for each of them; some come up with the first texts
        until(lambda: all(map(gone, strangers)), "they are hung up on", GONE_AFTER)
    assert front.healthy()
    assert front.process.stop() == 0
    assert "Traceback" not in front.process.output


@pytest.mark.usefixtures("enough_files")
def test_a_thousand_who_dribble_are_hung_up_on_too(front: Front) -> None:
    with ExitStack() as stack:
        strangers = [stack.enter_context(front.call(HALF_A_BODY)) for _ in range(STRANGERS)]
        until(lambda: False not in [dribble(stranger) for stranger in strangers], "they are hung up on", GONE_AFTER)
        assert front.healthy()


def dribble(stranger: socket.socket) -> bool:
    """One byte more; is it hung up on?"""
    try:
        stranger.sendall(b"a")
    except OSError:
        return True
    finally:
        time.sleep(0.0001)
    return gone(stranger)


def test_what_is_no_http_or_too_much_is_refused_at_once_and_leaves_no_traceback(front: Front) -> None:
    cases = {what: (words, 400) for what, words in BROKEN.items()} | TOO_MUCH
    for what, (words, refusal) in cases.items():
        began = time.monotonic()
        with front.call(words) as caller:
            assert (what, status(all_of(caller))) == (what, refusal)
        assert time.monotonic() - began < WITHIN, what
    assert front.healthy()
    assert front.process.stop() == 0
    assert "Traceback" not in front.process.output
    assert "level=error" not in front.process.output


def test_the_largest_body_comes_through_to_the_signature(front: Front) -> None:
    head = f"{POST}Connection: close\r\n"
    whole = head + f"Content-Length: {MAX_BYTES}\r\n\r\n" + "a" * MAX_BYTES
    in_chunks = head + "Transfer-Encoding: chunked\r\n\r\n" + ("400\r\n" + "a" * 1024 + "\r\n") * 60 + "0\r\n\r\n"
    for words in (whole, in_chunks):
        with front.call(words.encode()) as caller:
            assert status(all_of(caller)) == 403


def test_a_master_without_children_starts_another(tmp_path: Path) -> None:
    front = Front("procfile", tmp_path)
    try:
        process: Process = front.process
        [child] = process.children

        os.kill(child, signal.SIGKILL)
        until(lambda: process.children and process.children != [child], "another has come up")
        until(front.healthy, "it serves")
    finally:
        front.close()
