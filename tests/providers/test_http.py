"""The wire to the vendors: the deadline, the faults of the network, and words from outside."""

from __future__ import annotations

import gzip
import json
import logging
import re
import resource
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, reduce

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.echoes import PROVIDER_WORDS
from bridge.providers.errors import NotReached, OutcomeUnknown, RemoteError
from bridge.providers.http import client as wire_api
from bridge.providers.http import deadline as wire_deadline
from bridge.providers.http.client import NOT_REACHED, Answer, Api, read_json
from bridge.providers.http.deadline import _httpx_errors, _proxy
from bridge.providers.http.per_thread import PerThread
from bridge.providers.http.unpack import Unreadable, whole
from bridge.providers.redaction import _UNSTORABLE, WORDS_LIMIT, safe_words, storable
from tests.vendor import Vendor, closed_port, vendor

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"


@pytest.fixture
def server() -> Iterator[Vendor]:
    with vendor() as told:
        yield told


@pytest.fixture
def api(server: Vendor) -> Iterator[Api]:
    api = Api("acme", server.address)
    yield api
    api.close()


def within(seconds: float) -> float:
    return time.monotonic() + seconds


def raw_deflate(body: bytes) -> bytes:
    """Without zlib's head, as some servers send it."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def test_an_answer_comes_whole(server: Vendor, api: Api) -> None:
    server.says(201, {"a": "é"}, {"X-Note": "1"})
    answer = api.call("POST", "/thing?x=1", json={"b": 2}, deadline=within(10))
    assert (answer.status, answer.ok, answer.payload) == (201, True, {"a": "é"})
    assert answer.headers["x-note"] == "1"
    [asked] = server.asked
    assert (asked.method, asked.path, asked.query, asked.json) == ("POST", "/thing", {"x": ["1"]}, {"b": 2})


def test_an_answer_of_any_status_is_an_answer(server: Vendor, api: Api) -> None:
    for status in (302, 404, 500):
        server.says(status, {"message": "no"}, {"Location": "/elsewhere"})
        assert api.call("GET", "/", deadline=within(10)).status == status
    assert len(server.asked) == 3


SMALL = b'{"a": 1}'
GZIPPED = gzip.compress(SMALL, mtime=0)  # without the time, so that each process names its cases alike
PACKED = [
    ("gzip", GZIPPED),
    ("x-gzip", GZIPPED),
    (" GZip ", GZIPPED),
    ("deflate", zlib.compress(SMALL)),
    ("deflate", raw_deflate(SMALL)),
    ("identity", SMALL),
    ("gzip", GZIPPED + b"something behind it"),
]


def test_nobody_is_asked_for_a_compressed_answer(server: Vendor, api: Api) -> None:
    server.says(200, {})
    api.call("GET", "/", deadline=within(10))
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(("encoding", "body"), PACKED)
@pytest.mark.parametrize("pieces", [1, 7])
def test_what_comes_compressed_all_the_same_is_unpacked(
    server: Vendor, api: Api, encoding: str, body: bytes, pieces: int
) -> None:
    server.says(200, body, {"Content-Encoding": encoding})
    assert api.call("GET", "/", deadline=within(10)).payload == {"a": 1}
    assert whole((body[i : i + pieces] for i in range(0, len(body), pieces)), encoding, 1000) == SMALL


def zeros(megabytes: int) -> bytes:
    """A raw stream a thousand times as large as it is: one megabyte is packed, and repeated."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    one = stream.compress(MEGABYTE) + stream.flush(zlib.Z_FULL_FLUSH)
    return one * megabytes + stream.flush()


def checksum(of: Callable[[bytes, int], int], megabytes: int, start: int) -> int:
    return reduce(lambda sum_, _: of(MEGABYTE, sum_), range(megabytes), start)


@cache
def gzip_bomb(megabytes: int = 1000) -> bytes:
    """It is packed when a test asks for it. Each process of a run reads this module, and few of them need it."""
    tail = struct.pack("<LL", checksum(zlib.crc32, megabytes, 0), len(MEGABYTE) * megabytes)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + zeros(megabytes) + tail


def zlib_bomb(megabytes: int = 100) -> bytes:
    return b"\x78\xda" + zeros(megabytes) + struct.pack(">L", checksum(zlib.adler32, megabytes, 1))


def test_the_bombs_are_what_they_seem() -> None:
    assert gzip.decompress(gzip_bomb(3)) == zlib.decompress(zlib_bomb(3)) == bytes(3_000_000)
    assert len(gzip_bomb(3)) < 4_000


MEGABYTE = bytes(1_000_000)
BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    ("gzip", gzip_bomb),
    ("x-gzip", gzip_bomb),
    ("deflate", zlib_bomb),
    ("deflate", lambda: zeros(100)),
    ("gzip, gzip", lambda: gzip.compress(gzip_bomb())),
    ("br", lambda: b"\x5b\xff\xff\xff" + b"\x00" * 64),
    ("zstd", lambda: b"\x28\xb5\x2f\xfd\xa4\x00\xca\x9a\x3b" + b"\x00" * 64),
    ("compress", lambda: b"\x1f\x9d\x90" + b"\x00" * 64),
    ("something new", lambda: b"{}"),
]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("encoding", "packed"), BOMBS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_answer_that_is_huge_once_unpacked_fills_no_memory(
    server: Vendor, api: Api, encoding: str, packed: Callable[[], bytes], chunked: bool
) -> None:
    head, body = {"Content-Encoding": encoding}, packed()
    if chunked:
        head["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    server.says(200, body, head)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        OutcomeUnknown, match=r"can't be read: the answer (is too large|has an encoding|does not match)"
    ):
        api.call("GET", "/", deadline=within(30))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kB


@pytest.mark.parametrize("body", [b"not gzip", GZIPPED[:-9], GZIPPED[:2], GZIPPED[:12]])
def test_what_is_not_packed_as_it_says_or_is_cut_short_can_not_be_read(server: Vendor, api: Api, body: bytes) -> None:
    server.says(200, body, {"Content-Encoding": "gzip"})
    with pytest.raises(OutcomeUnknown, match="does not match its Content-Encoding"):
        api.call("GET", "/", deadline=within(10))


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate", "identity", ""]), st.integers(0, 4000))
def test_unpacking_gives_back_what_was_packed_or_says_that_it_is_too_large(
    body: bytes, encoding: str, limit: int
) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(body)
    if len(body) <= limit and len(packed) <= limit:
        assert whole([packed], encoding, limit) == body
    else:
        with pytest.raises(Unreadable):
            whole([packed], encoding, limit)


@pytest.mark.parametrize(
    "head",
    [HEAD + b"\r\n", HEAD + b"X-Long: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"],
    ids=["body", "head", "chunk"],
)
def test_a_server_that_trickles_does_not_outlive_the_deadline(server: Vendor, api: Api, head: bytes) -> None:
    server.trickles(head)
    start = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="no complete answer in time"):
        api.call("GET", "/", deadline=within(0.3))
    assert time.monotonic() - start < 10


def test_a_deadline_that_has_passed_sends_nothing(server: Vendor, api: Api) -> None:
    with pytest.raises(NotReached):
        api.call("POST", "/", deadline=within(-1))
    assert server.asked == []


def test_a_call_that_is_halted_before_its_first_byte_asks_nobody(
    server: Vendor, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a new connection nor by one that was kept open."""
    with monkeypatch.context() as halted:
        halted.setattr(wire_deadline, "BEGIN_WITHIN", -1)
        with pytest.raises(NotReached):
            api.call("POST", "/", deadline=within(10))
    assert server.asked == []
    server.says(200, {})
    api.call("GET", "/in-time", deadline=within(10))
    with monkeypatch.context() as halted:
        halted.setattr(wire_deadline, "BEGIN_WITHIN", -1)
        with pytest.raises(NotReached):
            api.call("POST", "/", deadline=within(10))
    assert [asked.path for asked in server.asked] == ["/in-time"]


def test_the_next_call_after_a_late_one_gets_its_own_answer(server: Vendor, api: Api) -> None:
    server.trickles(HEAD + b"\r\n")
    server.says(200, {"second": True})
    with pytest.raises(OutcomeUnknown):
        api.call("GET", "/", deadline=within(0.2))
    assert api.call("GET", "/", deadline=within(10)).payload == {"second": True}


def test_a_cut_connection_leaves_the_outcome_open_and_is_not_repeated(server: Vendor, api: Api) -> None:
    server.hangs_up()
    with pytest.raises(OutcomeUnknown, match="the connection broke"):
        api.call("POST", "/", deadline=within(10))
    assert len(server.asked) == 1


def test_an_answer_that_is_cut_in_the_middle_leaves_the_outcome_open(server: Vendor, api: Api) -> None:
    server.says(200, b"{}", {"Content-Length": "1000", "Connection": "close"})
    with pytest.raises(OutcomeUnknown):
        api.call("GET", "/", deadline=within(10))


def test_an_answer_that_lies_about_its_packing_leaves_the_outcome_open(server: Vendor, api: Api) -> None:
    server.says(200, b"not gzip", {"Content-Encoding": "gzip"})
    with pytest.raises(OutcomeUnknown):
        api.call("GET", "/", deadline=within(10))


def test_an_answer_without_end_is_cut_off(server: Vendor, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_api, "ANSWER_LIMIT", 1000)
    server.says(200, b"x" * 1001)
    with pytest.raises(OutcomeUnknown):
        api.call("GET", "/", deadline=within(10))


def test_a_refused_connect_has_surely_not_arrived() -> None:
    api = Api("acme", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(NotReached, match="not reached"):
        api.call("POST", "/", deadline=within(10))
    api.close()


def test_a_host_that_does_not_exist_has_surely_not_heard_anything() -> None:
    api = Api("acme", "http://no-such-host.invalid")
    with pytest.raises(NotReached):
        api.call("POST", "/", deadline=within(10))
    api.close()


def test_a_broken_handshake_has_surely_not_arrived(server: Vendor) -> None:
    api = Api("acme", server.address.replace("http://", "https://"))
    with pytest.raises(NotReached):
        api.call("POST", "/", deadline=within(10))
    api.close()
    assert server.asked == []


def test_each_thread_has_a_connection_of_its_own_and_uses_it_again(server: Vendor) -> None:
    made: list[httpx.MockTransport] = []

    def transport() -> httpx.MockTransport:
        made.append(httpx.MockTransport(lambda request: httpx.Response(200, json={})))
        return made[-1]

    api = Api("acme", server.address, transport=transport)

    def twice() -> None:
        api.call("GET", "/", deadline=within(10))
        api.call("GET", "/", deadline=within(10))

    threads = [threading.Thread(target=twice) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    api.close()


def test_closing_closes_the_clients_of_all_threads_and_a_new_one_may_come() -> None:
    closed: list[object] = []
    clients = PerThread(object, closed.append)
    mine = clients.get()
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(clients.get()))
    thread.start()
    thread.join()
    clients.close()
    assert closed == [mine, *others]
    assert clients.get() not in closed


FAULTS = [
    (httpx.ConnectError, NotReached),
    (httpx.ConnectTimeout, NotReached),
    (httpx.PoolTimeout, NotReached),
    (httpx.ProxyError, NotReached),
    (httpx.UnsupportedProtocol, NotReached),
    (httpx.ReadError, OutcomeUnknown),
    (httpx.ReadTimeout, OutcomeUnknown),
    (httpx.WriteError, OutcomeUnknown),
    (httpx.WriteTimeout, OutcomeUnknown),
    (httpx.CloseError, OutcomeUnknown),
    (httpx.LocalProtocolError, OutcomeUnknown),
    (httpx.RemoteProtocolError, OutcomeUnknown),
    (httpx.DecodingError, OutcomeUnknown),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_of_the_network_is_known_or_open(fault: type[httpx.RequestError], expected: type[RemoteError]) -> None:
    def break_off(request: httpx.Request) -> httpx.Response:
        raise fault("at +15551230001 with Bearer key_1234567")

    api = Api("acme", "http://acme.test", transport=lambda: httpx.MockTransport(break_off))
    with pytest.raises(RemoteError) as caught:
        api.call("POST", "/", deadline=within(10))
    assert type(caught.value) is expected
    assert "+15551230001" not in str(caught.value)
    assert caught.value.__suppress_context__
    api.close()


def test_every_fault_of_httpx_is_in_the_table() -> None:
    def leaves(kind: type) -> set[type]:
        return set().union(*map(leaves, kind.__subclasses__())) or {kind}

    assert leaves(httpx.RequestError) - {fault for fault, _ in FAULTS} == {httpx.TooManyRedirects}
    assert {fault for fault, kind in FAULTS if kind is NotReached} == set(NOT_REACHED)


@pytest.mark.parametrize(
    "name",
    [name for name in httpcore.__all__ if name.endswith(("Error", "Timeout", "Exception", "UnsupportedProtocol"))],
)
def test_every_fault_of_httpcore_has_its_namesake(name: str) -> None:
    with pytest.raises(getattr(httpx, name)), _httpx_errors():
        raise getattr(httpcore, name)("x")


def test_a_call_goes_by_the_proxy_of_the_environment(server: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "inside.test")
    server.says(200, {})
    api = Api("acme", "http://outside.test")
    api.call("GET", "/thing", deadline=within(10))
    api.close()
    assert server.asked[0].headers["Host"] == "outside.test"
    assert _proxy("http://inside.test") is None


def test_nothing_of_a_call_is_logged(server: Vendor, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    server.says(200, {})
    with caplog.at_level(logging.INFO):
        api.call("GET", "/?To=%2B15551230001", deadline=within(10))
    assert "15551230001" not in caplog.text


# -- words ---------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "a while"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Mon, 02 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Mon, 02 Nov 2026 12:00:30 -0000"}, 30),
        ({"retry-after": "Mon, 02 Nov 2026 11:59:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert wire_api._retry_after(httpx.Headers(headers), NOW) == seconds


@given(st.text())
def test_no_retry_after_is_too_odd(value: str) -> None:
    wait = wire_api._retry_after({"retry-after": value, "retry-after-ms": value}, NOW)
    assert wait is None or 0 <= wait <= wire_api.LONGEST_WAIT


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Invalid 'To' Phone Number: +15551230001", "Invalid 'To' Phone Number: +1555…01"),
        ("code 12345 is not valid", "code …45 is not valid"),
        ("\x1b[31mred\x1b[0m\n\tand  more\x00", "red and more"),
        ("the text 'hello there' is refused", ""),
        ("the text 'HELLO THERE' is refused", ""),
        (None, ""),
        (["a list"], ""),
        ("", ""),
    ],
)
def test_a_vendors_words_are_fit_to_be_shown(said: object, shown: str) -> None:
    assert safe_words(said, ["hello there", "", "a"]) == shown


@given(st.text())
def test_words_are_one_short_printable_line(text: str) -> None:
    words = safe_words(text)
    assert len(words) <= WORDS_LIMIT
    assert words.isprintable()


SAID = "My daughter Mary-Ann is pregnant; the PIN is 4711 and I weigh 5,5 stone 😭 größer"

QUOTES = {
    "in full": SAID,
    "in capitals": SAID.upper(),
    "its beginning": "My daughter Mary-A…",
    "its middle": "…MARY ANN IS PREGNANT and…",
    "one word": "'daughter'",
    "the beginning of a word": "preg…",
    "the end of a word": "…nant",
    "the inside of a word": "…regnan…",
    "a short word": "PIN",
    "four digits": "value 4711 is not allowed",
    "an emoji": "character 😭 is not supported",
    "a letter of another alphabet": "character ß is not supported",
    "in other spaces": "d a u g h t e r M a r y A n n i s p r e g n a n t",
    "in percent escapes": "d%61u%67hter",
    "in percent escapes alone": "".join(f"%{code:02x}" for code in b"daughter"),
    "in percent escapes twice": "d%2561ughter",
    "as a form's value": "content=My+daughter+is",
    "in HTML's decimal references": "".join(f"&#{ord(c)};" for c in "daughter"),
    "in HTML's hexadecimal references": "".join(f"&#x{ord(c):X};" for c in "daughter"),
    "in HTML's references without an end": "&#100&#97&#117ghter",
    "in HTML's names": "gr&ouml;&szlig;er",
    "in HTML's references twice": "d&amp;#97;ughter",
    "in JSON's escapes": r"\u0064\u0061\u0075\u0067\u0068\u0074\u0065\u0072",
    "in JSON's escapes twice": r"d\\u0061ughter",
    "in JSON's pairs": r"the text \ud83d\ude2d",
    "in JavaScript's escapes": r"d\u{61}ughter %u0064aughter",
    "in Python's escapes": r"d\x61ughter",
    "in long escapes": r"\U00000064aughter",
    "in octal escapes": r"d\141ughter",
    "as code points": "U+0064U+0061U+0075U+0067U+0068U+0074U+0065U+0072",
    "with escaped line ends": r"content:\nMy\ndaughter",
    "quoted-printable": "d=61ughter",
    "as base64": "bXkgZGF1Z2h0ZXIgTWFyeQ==",
    "as base64 for addresses": "8J-YrSBteSBkYXVnaHRlcg",
    "in wide letters": "ｄａｕｇｈｔｅｒ",
    "in HTML within percent within JSON": r"d\u0025\u0032\u0036#97;ughter",
    "wrapped without an end": "d%" + "25" * 9 + "61ughter",
}


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES.keys())
def test_words_that_quote_a_person_in_whatever_form_are_not_shown(quote: str) -> None:
    assert safe_words(f"Invalid content: {quote}", ["key_0fe1", *SAID.splitlines()]) == ""


@pytest.mark.parametrize(
    "words",
    [
        "The 'To' number is not a valid phone number.",
        "Authenticate",
        "content must be a non-empty string",
        "Chat already ended",
        "The message body exceeds the character limit: 100% of it",
        "Account has insufficient balance & no payment method",
    ],
)
def test_a_vendor_s_own_sentence_is_shown_though_the_person_uses_its_words(words: str) -> None:
    assert safe_words(words, ["is this the number of the message account?", "To whom?", "I already ended it", "body"])


@pytest.mark.parametrize(
    "shown",
    [
        "5 / 5 / 5 / 1 / 2 / 3 / 0 / 0 / 0 / 1",
        "555 then 123 then 0001",
        "５５５１２３０００１",
        "٥٥٥١٢٣٠٠٠١",
        "5️⃣5️⃣5️⃣1️⃣2️⃣3️⃣0️⃣0️⃣0️⃣1️⃣",
        "%35%35%35%31%32%33%30%30%30%31",
        "&#53;&#53;&#53;&#49;&#50;&#51;",
        "55512",
        "⑤⑤⑤①②③⓪⓪⓪①",
    ],
)
def test_the_number_at_hand_is_not_shown_in_any_form(shown: str) -> None:
    told = safe_words(f"To {shown} is refused", [], ["+15551230001"])
    assert len([char for char in told if char.isdigit()]) <= 5


@given(st.text(min_size=3, max_size=40), st.sampled_from(["{}", "content '{}' is refused"]))
def test_no_text_is_shown_as_it_was_quoted(text: str, around: str) -> None:
    told = safe_words(around.format(text), [text])
    assert not any(
        len(word) > 2 and word not in PROVIDER_WORDS for word in re.findall(r"\w+", text.casefold()) if word in told
    )


def test_long_words_are_cut() -> None:
    assert len(safe_words("word " * 100)) == WORDS_LIMIT


def test_megabytes_are_no_words() -> None:
    start = time.monotonic()
    assert safe_words("chat 5551230001 " * 300_000, [f"line {n}" for n in range(20_000)]) == ""
    assert safe_words("x" * 2000, ["y" * 1600 for _ in range(20)]) == "x" * (WORDS_LIMIT - 1) + "…"
    assert time.monotonic() - start < 1


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_what_is_storable_survives_postgresql_and_keeps_its_length(text: str) -> None:
    kept = storable(text)
    assert kept == _UNSTORABLE.sub("\ufffd", text)
    assert len(kept) == len(text)
    assert "\x00" not in kept
    kept.encode()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "nope", b"\xff\xfe\xff"])
def test_what_is_no_json_is_a_value_error_and_nothing_else(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which one it is does not matter
        read_json(text)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"3", b'"x"', b"<html>", b"\xff"])
def test_a_payload_is_an_object_or_nothing(body: bytes) -> None:
    assert Answer(200, {}, body).payload is None
    assert Answer(200, {}, json.dumps({"a": 1}).encode()).payload == {"a": 1}
