"""The server below the app, by itself: how long it waits for whom, what it refuses, and how it stops.

The same in the Procfile's process and in ``bridge up``, beside a thousand strangers: ``test_strangers``.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from bridge.processes.http_server import MAX_HEAD, Address, Patience, Request, WebServer
from bridge.web.agents import MAX_BYTES as EVENT_BYTES
from bridge.web.app import MAX_BYTES
from bridge.web.events import KEEP
from testkit.waiting import PATIENCE, until

HERE = "127.0.0.1"
SHORT = Patience(request=1.0, idle=1.5, answer=1.0, farewell=0.5)
LONG = Patience()
SOON = 5.0
"""Seconds in which something short is over, on a machine that has more to do."""

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers with the length of what it was sent; under ``/slow`` not before it may."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/slow":
            self.asked.set()
            assert self.may_answer.wait(PATIENCE)
        if environ["PATH_INFO"] == "/none":
            start_response("204 No Content", [])
            return []
        answer = b"." * int(environ["QUERY_STRING"]) if environ["QUERY_STRING"] else f"read {len(body)}".encode()
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]


class Serving:
    """The server in a thread, and who calls it."""

    def __init__(self, patience: Patience, **more: Any) -> None:
        self.app = App()
        self._callers = ExitStack()
        self._server = WebServer(self.app, threads=2, on=Address(HERE, 0), patience=patience, **more)
        self._port = self._server._listeners[0].effective_port
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()

    def call(self, words: bytes = b"") -> socket.socket:
        caller = self._callers.enter_context(socket.create_connection((HERE, int(self._port)), timeout=PATIENCE))
        caller.sendall(words)
        return caller

    def tell_to_stop(self) -> None:
        self._server.stop()

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self.app.may_answer.set()
        self.tell_to_stop()
        self._callers.close()
        self._thread.join(PATIENCE)
        assert self.ended()


@contextmanager
def serving(patience: Patience = LONG, **more: Any) -> Iterator[Serving]:
    it = Serving(patience, **more)
    try:
        yield it
    finally:
        it.close()


def all_of(caller: socket.socket) -> bytes:
    """What it is told until the other side has had enough."""
    told = b""
    while got := caller.recv(65536):
        told += got
    return told


def is_hung_up_on(caller: socket.socket) -> bool:
    """Without a word; its bytes may have been read or not."""
    try:
        return all_of(caller) == b""
    except ConnectionResetError:
        return True


def takes(caller: socket.socket, words: bytes) -> bool:
    try:
        caller.sendall(words)
    except OSError:
        return False
    return True


def status(told: bytes) -> int:
    return int(told.split()[1])


def answer(caller: socket.socket, end: bytes) -> bytes:
    told = b""
    while not told.endswith(end):
        got = caller.recv(65536)
        assert got, told
        told += got
    return told


# -- waits -----------------------------------------------------------------------------------------------------------


HALVES = {
    "silence": b"",
    "half a first line": b"GET /",
    "half a head": GET[:-2],
    "half a body": POST[:-2],
    "half a chunk": CHUNKED + b"5\r\nhel",
    "a chunk without an end": CHUNKED + b"5\r\nhello\r\n",
    "half a trailer": CHUNKED + b"0\r\nX-Sum: 1\r\n",
    "blank lines": b"\r\n\r\n",
    "half of the next": GET + POST[:-2],
    "nothing after an answer": GET,
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
def test_who_does_not_go_on_is_hung_up_on(half: bytes) -> None:
    with serving(SHORT) as it:
        caller = it.call(half)
        began = time.monotonic()
        all_of(caller)
        assert time.monotonic() - began < SOON


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (POST.replace(b": 5", b": 5000"), b"a"),
        (CHUNKED, b"1\r\na\r\n"),
        (CHUNKED, b"\r\n"),
        (b"", b"\r\n\r\n"),
        (GET, b"\r\n\r\nG"),
    ],
)
def test_who_dribbles_is_hung_up_on_however_lively(first: bytes, drop: bytes) -> None:
    with serving(SHORT) as it:
        caller = it.call(first)
        began = time.monotonic()
        caller.settimeout(0.02)
        told = b"-"
        while told:
            assert time.monotonic() - began < SOON
            try:
                caller.sendall(drop)
                told = caller.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break


def test_a_connection_is_kept_for_the_next_request_and_longer_than_one_may_take() -> None:
    with serving(Patience(request=0.2, idle=60)) as it:
        caller = it.call()
        for _ in range(3):
            caller.sendall(POST)
            assert answer(caller, b"read 5").startswith(b"HTTP/1.1 200 OK")
            time.sleep(1.3)  # longer than the server's look at who is overdue


NONE = POST.replace(b" / ", b" /none ")


def test_an_answer_without_a_body_keeps_the_connection_too() -> None:
    with serving() as it:
        caller = it.call()
        for _ in range(3):
            caller.sendall(NONE)
            told = answer(caller, b"\r\n\r\n")
            assert told.startswith(b"HTTP/1.1 204 No Content")
            assert b"Connection" not in told


@pytest.mark.parametrize("words", [NONE.replace(b"Host: x", b"Connection: close"), NONE.replace(b"1.1", b"1.0")])
def test_who_wants_one_answer_only_is_hung_up_on_after_it(words: bytes) -> None:
    with serving() as it:
        assert status(all_of(it.call(words))) == 204


def test_a_burst_prints_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as it:
        callers = [it.call(words) for words in (POST, b"x\r\n\r\n") for _ in range(100)]
        for caller in callers:
            assert caller.recv(100)
    assert caplog.records == []


def test_an_answer_that_takes_long_is_not_cut_off() -> None:
    with serving(SHORT) as it:
        caller = it.call(b"GET /slow HTTP/1.0\r\n\r\n")
        assert it.app.asked.wait(PATIENCE)
        time.sleep(SHORT.idle + SHORT.request)
        it.app.may_answer.set()
        assert all_of(caller).endswith(b"read 0")


def test_who_does_not_take_the_answer_costs_no_thread_and_is_hung_up_on() -> None:
    with serving(SHORT) as it:
        large = b"GET /?10000000 HTTP/1.1\r\n\r\n"
        deaf = [it.call(large) for _ in range(4)]
        assert answer(it.call(GET), b"read 0")
        time.sleep(SHORT.answer + 1.5)
        for caller in deaf:
            try:
                assert len(all_of(caller)) < 10_000_000
            except ConnectionResetError:
                continue


def test_where_it_is_full_who_has_waited_longest_makes_room() -> None:
    with serving(most=20) as it:
        strangers = [it.call(POST[:-2]) for _ in range(20)]
        newcomer = it.call(POST)
        assert answer(newcomer, b"read 5")
        first, *others = strangers
        assert is_hung_up_on(first)
        newcomer.sendall(POST)
        assert answer(newcomer, b"read 5")
        for other in others:
            other.sendall(POST[-2:])
            assert answer(other, b"read 5")


def test_who_is_being_answered_never_makes_room() -> None:
    with serving(most=2) as it:
        caller = it.call(b"GET /slow HTTP/1.0\r\n\r\n")
        assert it.app.asked.wait(PATIENCE)
        others = [it.call() for _ in range(10)]
        assert is_hung_up_on(others[0])
        it.app.may_answer.set()
        assert all_of(caller).endswith(b"read 0")


# -- what is no HTTP, and what is too much -----------------------------------------------------------------------------

LARGEST = b"a" * MAX_BYTES
EVENT, EVENT_CHUNKED = (words.replace(b" / ", b" /retell/events ") for words in (POST, CHUNKED))

FINE = {
    "no body": (GET, 0),
    "a body": (POST, 5),
    "a blank line before": (b"\r\n" + POST, 5),
    "chunks": (CHUNKED + b"5\r\nhello\r\n00\r\n\r\n", 5),
    "chunks with extensions": (CHUNKED + b'2;a=b;c="d"\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n', 5),
    "chunks with a trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 5),
    "the largest body": (POST.replace(b": 5", b": %d" % MAX_BYTES)[:-5] + LARGEST, MAX_BYTES),
    "the largest event": (EVENT.replace(b": 5", b": %d" % EVENT_BYTES)[:-5] + b"a" * EVENT_BYTES, EVENT_BYTES),
    "an event in chunks": (EVENT_CHUNKED + b"10001\r\n" + b"a" * 65_537 + b"\r\n0\r\n\r\n", 65_537),
    "bytes that are no ASCII in a header": (GET.replace(b": x", b": x\r\nX-Name: Jos\xc3\xa9"), 0),
    "an address in full": (GET.replace(b" / ", b" http://x/ "), 0),
    "a wish for HTTP/2": (
        GET.replace(b": x", b": x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
        0,
    ),
    "a length with an underscore": (GET.replace(b": x", b": x\r\nContent_Length: 5"), 0),
    "two slashes": (GET.replace(b" / ", b" //x "), 0),
}


@pytest.mark.parametrize(("words", "length"), FINE.values(), ids=FINE.keys())
def test_what_is_http_is_served(words: bytes, length: int) -> None:
    with serving() as it:
        caller = it.call(words)
        assert answer(caller, b"read %d" % length).startswith(b"HTTP/1.1 200 OK")


BROKEN = {
    "words": b"hello\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/3.7\r\n\r\n",
    "HTTP/2's greeting": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a small method": b"get / HTTP/1.1\r\n\r\n",
    "a blank in the address": b"GET /a b HTTP/1.1\r\n\r\n",
    "half an IPv6 address": b"GET http://[::1 HTTP/1.1\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nX: \x00",
    "a header without a colon": b"GET / HTTP/1.1\r\nAuthorization Bearer x\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a header that begins with a blank": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nX: a\r\n b: c\r\n\r\n",
    "line feeds alone": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line feed alone": b"GET / HTTP/1.1\r\nHost: x\nY: z\r\n",
    "a carriage return alone": b"GET / HTTP/1.1\r\nX: a\rb",
    "a length that is none": POST.replace(b": 5", b": five"),
    "a length below zero": POST.replace(b": 5", b": -5"),
    "a length with a plus": POST.replace(b": 5", b": +5"),
    "a length in other digits": POST.replace(b": 5", ": ٥".encode()),
    "a length in hexadecimal": POST.replace(b": 5", b": 0x5"),
    "two lengths": POST.replace(b": 5", b": 5\r\nContent-Length: 6"),
    "a list of lengths": POST.replace(b": 5", b": 5, 5"),
    "two codings": CHUNKED.replace(b"chunked", b"chunked\r\nTransfer-Encoding: identity") + b"0\r\n\r\n",
    "a blank before the colon of a coding": CHUNKED.replace(b"Encoding:", b"Encoding :") + b"0\r\n\r\n",
    "a length of 5,000 digits": POST.replace(b": 5", b": " + b"9" * 5000),
    "a length and chunks": CHUNKED.replace(b"Host: x", b"Content-Length: 5") + b"0\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "another coding": CHUNKED.replace(b"chunked", b"gzip") + b"0\r\n\r\n",
    "a coding after the chunks": CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n",
    "a coding misspelt": CHUNKED.replace(b"chunked", b"chunke\x0bd") + b"0\r\n\r\n",
    "a chunk's size that is none": CHUNKED + b"zz\r\n",
    "a chunk's size below zero": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with blanks": CHUNKED + b" 5 \r\nhello\r\n0\r\n\r\n",
    "a chunk's extension that is none": CHUNKED + b"5;\x01\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"4\r\nhello\r\n0\r\n\r\n",
}

TOO_MUCH = {
    "by its length": (POST.replace(b": 5", b": %d" % (MAX_BYTES + 1)), 413),
    "by its length, and no byte of it": (POST.replace(b": 5", b": 1073741824")[:-5], 413),
    "and asks before": (POST.replace(b": 5", b": 1073741824\r\nExpect: 100-continue")[:-5], 413),
    "as it says in a chunk's size": (CHUNKED + b"10001\r\n", 413),
    "a chunk's size of a thousand digits": (CHUNKED + b"f" * 1000 + b"\r\n", 413),
    "in chunks of one kilobyte": (CHUNKED + (b"400\r\n" + b"a" * 1024 + b"\r\n") * 65, 413),
    "in chunks of one byte": (CHUNKED + b"1\r\na\r\n" * 20_000, 413),
    "a chunk's size without an end": (CHUNKED + b"0" * (MAX_BYTES + 1), 413),
    "a trailer without an end": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 20_000, 413),
    "an event, by its length": (EVENT.replace(b": 5", b": %d" % (EVENT_BYTES + 1)), 413),
    "an event, as it says in a chunk's size": (EVENT_CHUNKED + b"40001\r\n", 413),
    "a head without an end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD, 431),
    "an address without an end": (b"GET /" + b"a" * MAX_HEAD, 431),
}


@pytest.mark.parametrize("words", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_http_is_refused_at_once(words: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as it:
        caller = it.call(words)
        caller.settimeout(SOON)
        assert status(all_of(caller)) == 400
    assert caplog.records == []


@pytest.mark.parametrize("words", BROKEN.values(), ids=BROKEN.keys())
def test_nothing_behind_a_refused_request_is_served(words: bytes) -> None:
    """Else a proxy that reads it otherwise would smuggle a second request through."""
    with serving() as it:
        told = all_of(it.call(words + GET + GET))
    assert re.findall(rb"HTTP/1\.\d (\d+)", told) == [b"400"]


@pytest.mark.parametrize(("words", "refusal"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_is_too_much_is_refused_as_soon_as_it_is_seen(words: bytes, refusal: int) -> None:
    with serving() as it:
        caller = it.call()
        caller.settimeout(SOON)
        caller.sendall(words)
        assert status(all_of(caller)) == refusal


def test_the_limit_of_an_event_ends_with_it() -> None:
    with serving() as it:
        answers = all_of(it.call(EVENT + POST.replace(b": 5", b": %d" % (MAX_BYTES + 1))))
        assert [int(found) for found in re.findall(rb"HTTP/1.1 (\d+)", answers)] == [200, 413]


def test_who_goes_on_sending_still_reads_why_it_was_refused() -> None:
    with serving() as it:
        caller = it.call(POST.replace(b": 5", b": 1073741824"))
        for _ in range(100):
            caller.sendall(LARGEST)
        assert status(all_of(caller)) == 413


def test_who_never_stops_sending_is_hung_up_on() -> None:
    with serving(SHORT) as it:
        caller = it.call(POST.replace(b": 5", b": 1073741824"))
        until(lambda: not takes(caller, b"a"), within=SOON)


def test_who_asks_before_it_sends_is_told_to_go_on() -> None:
    with serving() as it:
        caller = it.call(POST[:-5].replace(b"Host: x", b"Expect: 100-continue"))
        assert answer(caller, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"hello")
        assert answer(caller, b"read 5")


def test_who_asks_before_it_sends_nothing_is_answered() -> None:
    with serving() as it:
        caller = it.call(GET.replace(b"Host: x", b"Expect: 100-continue"))
        assert answer(caller, b"read 0")


def read(pieces: list[bytes]) -> tuple[bool, str, int, dict[str, str]]:
    """What a request is taken for that arrives so; what is left over when it is whole is lost."""
    request = Request(Adjustments(max_request_body_size=MAX_BYTES + 1))
    for piece in pieces:
        while piece and not request.completed:
            piece = piece[request.received(piece) :]
    error = type(request.error).__name__ if request.error else ""
    return request.completed, error, len(request.body_rcv or b""), dict(request.headers)


WHOLE = [words for words, _ in FINE.values() if len(words) < 1000 and not words.startswith(b"\r\n")]


@given(st.sampled_from(WHOLE), st.sets(st.integers(1, 200)))
def test_it_does_not_matter_in_which_pieces_a_request_comes(words: bytes, cuts: set[int]) -> None:
    marks = [0, *sorted(cut for cut in cuts if cut < len(words)), len(words)]
    assert read([words[a:b] for a, b in pairwise(marks)]) == read([words])


@given(st.sampled_from([words for words in BROKEN.values() if len(words) < 1000]), st.integers(1, 5))
def test_what_is_no_http_is_refused_in_any_pieces(words: bytes, size: int) -> None:
    done, error, *_ = read([words[at : at + size] for at in range(0, len(words), size)])
    assert (done, error) == (True, "BadRequest")


# -- the stop ----------------------------------------------------------------------------------------------------------


def test_what_is_under_way_at_the_stop_is_answered() -> None:
    with serving() as it:
        caller = it.call(b"GET /slow HTTP/1.1\r\n\r\n")
        assert it.app.asked.wait(PATIENCE)
        it.tell_to_stop()
        it.app.may_answer.set()
        told = all_of(caller)
        assert told.endswith(b"read 0")
        assert b"Connection: close" in told
        until(it.ended)


def test_a_request_that_is_on_its_way_at_the_stop_is_answered_and_is_the_last_one() -> None:
    with serving() as it:
        caller = it.call(GET)
        assert answer(caller, b"read 0")
        it.tell_to_stop()
        caller.sendall(POST)
        told = all_of(caller)
        assert told.endswith(b"read 5")
        assert b"Connection: close" in told


def test_no_connection_is_accepted_after_the_stop_and_strangers_do_not_delay_it() -> None:
    with serving(SHORT) as it:
        for _ in range(50):
            it.call(POST[:-2])
        it.tell_to_stop()
        until(it.ended, within=SOON)
        with pytest.raises(ConnectionRefusedError):
            it.call()


class AtTheSameTime:
    """A listener at which the one who stops the server waits until the server has ended by itself."""

    active_channels: dict[int, Any] = {}

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name == "leaving":
            self._thread.join(PATIENCE)

    def leave(self) -> None:
        pass

    def end(self) -> None:
        pass

    def close_overdue(self, now: float) -> None:
        pass


def test_who_stops_a_server_that_ends_at_this_moment_wakes_nobody() -> None:
    """The pipe by which its loop is woken is closed then, and its number may be another file's."""
    server = WebServer(App(), threads=1, on=Address(HERE, 0))
    thread = threading.Thread(target=server.run)
    server._listeners.append(AtTheSameTime(thread))  # type: ignore[arg-type]
    thread.start()
    server.stop()
    assert not thread.is_alive()


def test_who_still_writes_to_a_client_is_not_told_that_the_server_has_ended() -> None:
    streams: list[Any] = []
    begun = threading.Event()

    def begin(stream: Any) -> Callable[[], None]:
        streams.append(stream)
        begun.set()
        return lambda: None

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[KEEP](begin)
        start_response("200 OK", [])
        return [b"hello"]

    server = WebServer(app, threads=1, on=Address(HERE, 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.create_connection((HERE, server._listeners[0].effective_port), timeout=PATIENCE) as caller:
        caller.sendall(GET)
        assert begun.wait(PATIENCE)
        server.stop()
        thread.join(PATIENCE)
    streams[0].write(b"more")
    streams[0].close()
