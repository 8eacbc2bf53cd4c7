"""What nobody should send and somebody will: hypothesis's strategies of bad input.

Most values stand in lists, of what has broken programs before; the rest is made up. A list costs hypothesis next to
nothing, so there can be thousands of examples. What the bridge must make of it: ``test_bad_input``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from hypothesis import strategies as st

HALF = "\ud83d"
"""One of a pair of surrogates: JSON can say it, no table can hold it."""

NUMBERS = ["0", "1", "3", "-1", "+1", "1e9", "1.5", "٣", "１", "0x1", "1_0", " 2 ", "NaN", "Infinity", "null", "true"]
NUMBERS += [str(2**31 - 1), str(2**31), str(2**63), str(10**30), "9" * 400]

WORDS = ["", " ", "\t\r\n", "\x00", "a\x00b", "\x00" * 40, "\x1b[31mred\x1b[0m", "\x7f\x85\u2028\u2029", "\ufeffmark"]
WORDS += ["\ufffd", "\ufffe\uffff", "\U0010ffff", "\u202eright to left\u202c\u2066", "\u200b\u200d\u2060\u3164"]
WORDS += ["Hé, 10:00 ok? 👍", "👍", "العربية", "中" * 200, "e" + "\u0301" * 600, "Z\u0338\u0321\u034e" * 80]
WORDS += ["👩\u200d👩\u200d👧\u200d👦" * 20, "<script>alert('a person')</script>", "'; DROP TABLE messages; --"]
WORDS += ["%s %n %(name)s {0} {name}", "line one\r\nX-Injected: line two", '{"role": "agent"}', "[" * 500, "\\ud83d"]
WORDS += ["+15551230009", "(555) 123-0009, at noon", "whatsapp:+15551230009", "rcs:me", "DETAIL: nothing\n[SQL: x]"]
WORDS += ["{{7*7}}${jndi:ldap://example}", "x" * 64, "x" * 65, "x" * 255, "x" * 256, "é" * 255, "👍" * 255, "👍" * 256]
WORDS += ["a word " * 300, "x" * 4000]

TEXTS = [*WORDS, *NUMBERS]

UNICODE = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
"""Any code points, half pairs among them."""

texts = st.sampled_from(TEXTS) | UNICODE.map(lambda text: text.encode("utf-8", "replace").decode())
"""What a wire can carry."""

# -- requests ------------------------------------------------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"

NO_TEXT = [b"\xff\xfe", b"%FF%FE", b"caf%E9", b"caf\xe9", b"%ED%A0%BD", b"%C0%80", b"%F5%80%80%80", b"%F0%9F", b"%"]
NO_TEXT += [b"%zz", b"%u0041", b"%0", b"a%00b", b"\x00", b"+", b";", b"&", b"&&=&", b"=", b"a=b", b"%26%3D", b"%25%30"]
"""Bytes that are no UTF-8, and escapes that are broken."""


def _wired(text: str) -> list[bytes]:
    """A text as senders write it: well, not escaped at all, and in two encodings that were not asked for."""
    ways = [quote_plus(text), quote_plus(text, encoding="latin-1", errors="replace"), quote_plus(text.encode("utf-16"))]
    return [way.encode() for way in ways] + [text.encode("utf-8", "surrogatepass")]


WELL = [quote_plus(text).encode() for text in TEXTS]
WIRED = [*WELL, *NO_TEXT, *(wired for text in TEXTS for wired in _wired(text))]
wired = st.sampled_from(WELL) | st.sampled_from(WIRED) | texts.map(lambda text: quote_plus(text).encode())

HUGE = [b"x" * 60_000, quote_plus("e" + "\u0301" * 9_000).encode(), quote_plus("👍" * 5_000).encode(), b"%00" * 20_000]
HUGE += [b"%u202e" * 10_000, b"x" * 65_000, b"x" * 66_000, b"x" * 1_000_000, b"%" * 3_000_000]
"""The first ones just fit in."""

QUERIES = [b"x=1", b"x=Andr%C3%A9%27s%2Fline&y=%40", b"message=", b"message=" + b"a" * 32, b"message=" + b"a" * 33]
QUERIES += [b"message=%00", b"message=1&message=2", b"message[]=1", b"Message=1", b"a" * 8_000]
"""Such as are signed and read as they came."""

ODD_QUERIES = [b"message=\xff", b"\xff\xfe", b"%", b"%zz=%", b"message=%ED%A0%BD", b"&&&", b"=&=", b"?", b"#x", b"x=#"]
ODD_QUERIES += [b" ", b"\t", b"message=a b", b"\x00", b";", b"//", b"message=caf\xe9", b"://[", b"%0d%0aX-Injected: 1"]
"""Such as no client writes."""

TYPES = [f"{FORM}; charset=utf-8", FORM.upper(), f"{FORM};charset=utf-16", f"{FORM}; charset=bogus", f" {FORM} ; ;; ="]
TYPES += [f"{FORM}; charset*=utf-8'en'%ff", f'{FORM}; x="', f"{FORM}; charset=\xff", f"{FORM}; " + "a=b; " * 500]
NO_FORMS = ["", "text/plain", "application/json", "multipart/form-data", 'multipart/form-data; boundary="x"', ";;;"]
NO_FORMS += [
    f"{FORM}x",
    f"{FORM}, text/plain",
    f"x/{FORM}",
    "multipart/form-data; boundary=\xff",
    "x" * 5_000,
    "\xff/x",
]

HEADERS = {
    "HTTP_HOST": ["", "x", "exa mple.com:abc", "[::1", "\xff", "a" * 5_000, "bridge.example.com:99999999"],
    "HTTP_COOKIE": ["=", "a=\xff; b", ";" * 2_000, '"'],
    "HTTP_CONTENT_ENCODING": ["gzip", "br", "\xff"],
    "HTTP_TRANSFER_ENCODING": ["chunked", "x"],
    "HTTP_X_FORWARDED_FOR": ["+15551230009", "\xff", "a" * 5_000],
    "HTTP_X_FORWARDED_PROTO": ["http", "javascript"],
    "HTTP_I_TWILIO_IDEMPOTENCY_TOKEN": ["", "\xff" * 100],
    "HTTP_ACCEPT": ["*/*;q=x", "\xff"],
    "HTTP_RANGE": ["bytes=-1", "x"],
    "HTTP_IF_MODIFIED_SINCE": ["x", "Mon, 99 Nov 99999 99:99:99 GMT"],
    "CONTENT_LENGTH": ["", "0", "1", "200", "100000", "-1", "abc", "٣", "1e3", "9" * 30],
}
"""By their names in WSGI. A header is bytes, and WSGI shows them as Latin-1."""

headers = st.dictionaries(st.sampled_from(list(HEADERS)), st.integers(0, 9), max_size=2).map(
    lambda picked: {name: HEADERS[name][at % len(HEADERS[name])] for name, at in picked.items()}
)

SIGNATURES = ["none", "twice", "another", "broken"]


@dataclass(frozen=True)
class Post:
    """One request to a webhook, before it is signed."""

    body: bytes
    mimetype: str = FORM
    query: bytes = b""
    odd: bool = False
    """Its address is such as no client writes: to be refused is as good as to be understood."""
    headers: Mapping[str, str] = field(default_factory=dict)
    signature: str = "good"


def _rarely(draw: Any, times_in_100: int) -> bool:
    return bool(draw(st.integers(0, 99)) < times_in_100)


@st.composite
def posts(draw: Any, good: Mapping[str, str], often: str) -> Post:
    """A form that is spoiled in a few places, ``often`` in this one, and now and then something around it as well."""
    spoiled = set(draw(st.lists(st.sampled_from([*good, "Odd\x00 name"]), max_size=2)))
    spoiled |= {often} if draw(st.booleans()) else set()
    fields = {name: [quote_plus(value).encode()] for name, value in good.items()}
    for name in spoiled:
        fields[name] = draw(st.just([]) | st.lists(wired, min_size=1, max_size=3) | wired.map(lambda one: [one]))
    if _rarely(draw, 2):
        fields[draw(st.sampled_from(list(good)))] = [draw(st.sampled_from(HUGE))]
    body = b"&".join(quote_plus(name).encode() + b"=" + value for name, values in fields.items() for value in values)
    if _rarely(draw, 1):
        body = draw(
            st.sampled_from([b"", b"\xff" + body, body.decode("latin-1").encode("utf-16"), b"a=1&" * 9_000 + body])
        )
    if _rarely(draw, 80):
        return Post(body)
    odd_query, around = draw(st.booleans()), draw(headers)
    return Post(
        body,
        draw(st.sampled_from([FORM] * 10 + TYPES * 2 + NO_FORMS)),
        draw(st.sampled_from(ODD_QUERIES if odd_query else [b"", *QUERIES])),
        odd_query or "HTTP_HOST" in around,
        around,
        draw(st.sampled_from(["good"] * 12 + SIGNATURES)),
    )


# -- JSON ----------------------------------------------------------------------------------------------------------

VALUES: list[Any] = [None, True, False, 0, -1, 2**31, 10**30, 10**400, 1.5, 1e300, float("nan"), float("inf"), [], {}]
VALUES += [[None], {"a": None}, [[[]]], {"": {"": ""}}, HALF, f"a{HALF}b", f"x\x00{HALF}", "📱" + HALF, *TEXTS]
VALUES += ["x" * 100_000]

values = st.sampled_from(VALUES) | UNICODE
"""Anything that a vendor's JSON may hold where something else was promised."""

NO_JSON = [b"", b"{", b"[]", b"null", b"7", b"<html>Bad Gateway</html>", b"\xff\xfe{}", b"[" * 50_000, b"{" * 50_000]
NO_JSON += [b'{"a": ' + b"9" * 5_000 + b"}", json.dumps({"messages": []}).encode("utf-16"), b"\xef\xbb\xbf{}", b"\x00"]


@st.composite
def spoilt(draw: Any, good: Mapping[str, Any], at_most: int = 2) -> dict[str, Any]:
    """An object of which a few members are missing, odd or not announced."""
    told = dict(good)
    for name in draw(st.lists(st.sampled_from([*good, "new"]), max_size=at_most)):
        if draw(st.booleans()):
            told[name] = draw(values)
        else:
            told.pop(name, None)
    return told


def answers(payload: st.SearchStrategy[Any], statuses: list[int]) -> st.SearchStrategy[tuple[int, bytes]]:
    """Status and body. One in ten is no JSON, or not the one that was asked for."""
    body = payload.map(lambda told: json.dumps(told).encode())
    mostly = st.integers(0, 9).flatmap(lambda n: body if n else st.sampled_from(NO_JSON) | values.map(_dumped))
    return st.tuples(st.sampled_from(statuses), mostly)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


# -- the admin API -------------------------------------------------------------------------------------------------


def _cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


places = st.sampled_from([1, 10**15, 2**63 - 1, 2**63])
shaped = st.tuples(places, st.sampled_from(["turn", "message", "\x00", HALF]) | values, places)
cursors = (shaped | st.lists(places | values, max_size=4)).map(_cursor)
ids = st.sampled_from(["1", "2", "01", "1 ", "%31", "end-stale", "..", "a/b", str(2**63 - 1), *NUMBERS]) | texts
parameters = cursors.map(lambda cursor: (b"cursor", cursor.encode())) | st.tuples(
    st.sampled_from([b"status", b"phone", b"limit", b"cursor", b"x"]) | wired,
    st.sampled_from([b"ongoing", b"50", b"1"]) | wired,
)
admin_queries = st.lists(parameters, max_size=3).map(lambda pairs: b"&".join(b"=".join(pair) for pair in pairs))
