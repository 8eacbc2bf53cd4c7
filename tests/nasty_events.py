"""Events of chats that nobody should send and somebody will: thousands of bodies, the same in every run.

Unlike ``nasty``, without hypothesis: a body costs a few microseconds, so there can be ten thousand of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

from tests import nasty

OURS, ENDED, FOREIGN = "chat_1", "chat_2", "chat_of_somebody_else"
"""The chats: one of ours that is open, one of ours that has ended, and one of another account."""

SECRET = "my word is 4711"
"""It is in all chats, and must not reach the log."""

KINDS = ["chat_ended", "chat_analyzed", "chat_started", "transcript_updated"]
OTHER_KINDS = ["", "CHAT_ENDED", "chat_ended ", "chat_ended\x00", "call_ended", "chat_escalated", "x" * 10_000, "💥"]

ITEMS = [
    {"role": "user", "message_id": "m1", "content": SECRET},
    {"role": "tool_call_invocation", "message_id": "m2", "tool_call_id": "c", "name": "find", "arguments": "{}"},
    {"role": "agent", "message_id": "m3", "content": f"I say: {SECRET}"},
]
JUDGED = {"chat_summary": SECRET, "user_sentiment": "Positive", "chat_successful": True, "custom_analysis_data": {}}

CAMEL = {"chat_id": "chatId", "chat_analysis": "chatAnalysis", "chat_cost": "chatCost"}


@dataclass(frozen=True)
class Nasty:
    """One body, and the way in which it is bad."""

    way: str
    body: bytes


def event(kind: str, chat_id: str) -> dict[str, Any]:
    """An event as it should be."""
    chat = {"chat_id": chat_id, "agent_id": "agent_1", "chat_status": "ended", "chat_type": "api_chat"}
    more = {"message_with_tool_calls": ITEMS, "chat_analysis": JUDGED, "chat_cost": {"combined_cost": 1.5}}
    return deepcopy({"event": kind, "chat": {**chat, **more, "metadata": {}, "start_timestamp": 1790000000000}})


def bodies(seed: int, count: int) -> Iterator[Nasty]:
    """So many bodies, of every way in turn."""
    random = Random(seed)
    ways = list(WAYS)
    for n in range(count):
        way = ways[n % len(ways)]
        yield Nasty(way, WAYS[way](random))


# -- the ways --------------------------------------------------------------------------------------------------------


def _some(random: Random) -> dict[str, Any]:
    """An event as it should be, of one of the chats, in one of the two spellings."""
    told = event(random.choice(KINDS), random.choice([OURS, ENDED, FOREIGN]))
    if random.random() < 0.3:
        told["chat"] = {CAMEL.get(name, name): value for name, value in told["chat"].items()}
    return _at_some_time(told, random)


def _at_some_time(told: dict[str, Any], random: Random) -> dict[str, Any]:
    """Let no two events be the same."""
    told["chat"]["end_timestamp"] = 1790000000000 + random.randrange(10**9)
    return told


def _value(random: Random) -> Any:
    return random.choice(nasty.VALUES)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _no_event(random: Random) -> bytes:
    return random.choice([*nasty.NO_JSON, _dumped(_value(random)), _dumped([_some(random)])])


def _wrong_types(random: Random) -> bytes:
    """One to three members, wherever they are, have a value that was not promised, or are not there."""
    told = _some(random)
    for _ in range(random.randint(1, 3)):
        holder, name = random.choice([*_members(told)] or [(told, "event")])
        if random.random() < 0.8:
            holder[name] = deepcopy(_value(random))
        elif isinstance(holder, dict):
            holder.pop(name, None)
    return _dumped(told)


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    names = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in names:
        yield value, name
        yield from _members(below)


def _nested(random: Random) -> bytes:
    """As deep as fits in, at a place where something else is expected."""
    deep = random.choice([10, 900, 1_100, 20_000, 100_000])
    opening, closing = random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'{"chat":', b"}")])
    deep = min(deep, 200_000 // len(opening + closing))
    inner = opening * deep + b"1" + closing * (deep if random.random() < 0.8 else deep // 2)
    name = random.choice([b"event", b"chat", b"chat_id", b"message_with_tool_calls", b"chat_analysis", b"metadata"])
    whole = _dumped(event(random.choice(KINDS), random.choice([OURS, FOREIGN])))
    return random.choice([inner, whole.replace(b'"chat": {', b'"chat": {"' + name + b'":' + inner + b",", 1)])


NUMBERS = [b"1" + b"0" * 400, b"9" * 5_000, b"-0", b"1e999", b"-1e-999", b"NaN", b"Infinity", b"-Infinity", b"1.5e308"]
NUMBERS += [b"0x1", b"01", b"1_0", b".5", b"+1", b"9223372036854775808", b"1" * 60_000]


def _numbers(random: Random) -> bytes:
    """Some of them are no JSON, and Python reads some of those all the same."""
    told = _some(random)
    holder, name = random.choice(list(_members(told)))
    holder[name] = "the number"
    return _dumped(told).replace(b'"the number"', random.choice(NUMBERS))


HALVES = [rb"\ud83d", rb"\udc4d\ud83d", rb"\u0000", rb"\ud83d\u0000", rb"\ufffe", rb"\udfff" * 1_000]


def _halves(random: Random) -> bytes:
    """Texts that JSON can say and no table can hold: in a value or in a name."""
    told = _dumped(_some(random))
    at = random.choice([place for place, byte in enumerate(told) if byte == ord('"')]) + 1
    return told[:at] + random.choice(HALVES) + told[at:]


def _twice(random: Random) -> bytes:
    """Names that appear twice, with values that contradict each other."""
    told = _dumped(_some(random))
    again = {
        b'"event"': [b'"chat_ended"', b"null", b"[]", b'"chat_started"'],
        b'"chat"': [b"null", b'{"chat_id": "%s"}' % OURS.encode(), b"[]", b"7"],
        b'"chat_id"': [b'"%s"' % FOREIGN.encode(), b'"%s"' % OURS.encode(), b"null", b'" "'],
    }
    name = random.choice(list(again))
    member = name + b": " + random.choice(again[name])
    end = b"}" if name != b'"chat_id"' else b"}}"
    in_front = told.replace(name, member + b", " + name, 1)
    return random.choice([in_front, told.removesuffix(end) + b", " + member + end])


BROKEN = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\xbd",
    b"\xf5\x80\x80\x80",
    b"\x00",
    b"\x80" * 50,
    b"\r\n",
    b'"',
    b"\\",
    b"\xef\xbb\xbf",
]


def _bytes(random: Random) -> bytes:
    """Bytes that are put in, taken out or cut off, anywhere."""
    told = bytearray(_dumped(_some(random)))
    for _ in range(random.randint(1, 4)):
        at = random.randint(1, len(told))
        match random.randrange(4):
            case 0:
                told[at:at] = random.choice(BROKEN)
            case 1:
                told[at - 1] = random.randrange(256)
            case 2:
                del told[at : at + random.randint(1, 20)]
            case _:
                del told[at:]
    return bytes(told)


def _encodings(random: Random) -> bytes:
    told = json.dumps(_some(random), ensure_ascii=False)
    return random.choice([told.encode("utf-16"), told.encode("utf-32"), told.encode("utf-8-sig"), told.encode("cp500")])


def _unknown_kinds(random: Random) -> bytes:
    return _dumped({**_some(random), "event": random.choice([*OTHER_KINDS, _value(random)])})


def _others_chats(random: Random) -> bytes:
    """Of another account, with ids that are near ours."""
    near = [
        FOREIGN,
        f"{OURS} ",
        f"{OURS}0",
        OURS.upper(),
        f"{OURS}\x00",
        "chat_%",
        "' OR '1'='1",
        "../chat_1",
        "x" * 300,
    ]
    return _dumped(_at_some_time(event(random.choice(KINDS[:2]), random.choice(near)), random))


def _replays(random: Random) -> bytes:
    """Of a chat that has ended long ago, each time with another end."""
    told = event("chat_ended", ENDED)
    words = random.choice([SECRET, "", "bye", nasty.HALF, "x" * 1_000])
    told["chat"]["message_with_tool_calls"] += [
        {"role": "agent", "message_id": f"late{random.random()}", "content": words}
    ]
    return _dumped(told)


def _many(random: Random) -> bytes:
    """So much of one thing that it just fits in. Fewer odd items, because each of them is told in the log."""
    told = event(random.choice(KINDS), random.choice([OURS, FOREIGN]))
    chat = told["chat"]
    match random.randrange(4):
        case 0:
            chat["message_with_tool_calls"] = ITEMS * 500
        case 1:
            chat["message_with_tool_calls"] = [random.choice([None, [], {}, "x", 7])] * 200
        case 2:
            chat["message_with_tool_calls"] = [{"role": "agent", "message_id": "m9", "content": "x" * 200_000}]
        case _:
            chat |= {f"field {n}": n for n in range(10_000)}
    return _dumped(told)


def _megabytes(random: Random) -> bytes:
    size = random.choice([256 * 1024 + 1, 300_000, 1_000_000, 3_000_000])
    shape = random.choice([b"x" * size, b"[" * size, b" " * size + b"{}", b'{"event": "chat_ended", "chat": "'])
    return shape + b"\xff" * max(size - len(shape), 0)


WAYS: Mapping[str, Callable[[Random], bytes]] = {
    "no event": _no_event,
    "wrong types": _wrong_types,
    "more wrong types": _wrong_types,
    "nested": _nested,
    "numbers": _numbers,
    "halves of pairs": _halves,
    "names twice": _twice,
    "bytes": _bytes,
    "more bytes": _bytes,
    "encodings": _encodings,
    "unknown kinds": _unknown_kinds,
    "chats of others": _others_chats,
    "replays": _replays,
    "many": _many,
    "megabytes": _megabytes,
}


def shows_human(body: bytes) -> bool:
    """Whether the event shows, by a flag or by a status that no document knows, that a human has the chat."""
    try:
        told = json.loads(body)
        chat = told["chat"]
        statuses = {chat.get(name) for name in ("chat_status", "status") if isinstance(chat.get(name), str)}
        flags = [chat.get(name) for name in ("is_escalated", "isEscalated")]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return False
    return True in flags or bool(statuses - {"ongoing", "ended", "error"})
