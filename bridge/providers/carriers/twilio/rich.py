"""What comes beside the words of a text: a place, a tapped button or row, a form, pictures, and where it came from.

What lives here: pure functions on Twilio's form, and the one table that gives each of its parameters a fate.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from urllib.parse import urlencode

from bridge.providers.carriers.contract import Attachment

Fields = Mapping[str, str]
"""The first value of each parameter."""


class Fate(StrEnum):
    """What becomes of a parameter."""

    READ = "read"
    """By the bridge: whose text it is, and what Twilio makes of it."""
    AGENT = "agent"
    """To the agent, in words."""
    STORED = "stored"
    """Beside the text, for operators; not said."""
    REFUSED = "refused"
    """The person is told that it can't be read; what it was is stored."""
    LEFT = "left"
    """Nobody needs it."""


FATES: dict[str, Fate] = {
    **dict.fromkeys(
        ("MessageSid", "AccountSid", "MessagingServiceSid", "From", "To", "OptOutType", "NumMedia"), Fate.READ
    ),
    **dict.fromkeys(("Body", "Latitude", "Longitude", "Label", "Address"), Fate.AGENT),
    **dict.fromkeys(
        ("ButtonText", "ButtonPayload", "ListTitle", "ListId", "InteractiveData", "FlowData"), Fate.AGENT
    ),
    **dict.fromkeys(("ButtonType", "ListDescription", "MessageType", "ChannelMetadata"), Fate.STORED),
    **dict.fromkeys(("ProfileName", "WaId", "ExternalUserId", "Forwarded", "FrequentlyForwarded"), Fate.STORED),
    **dict.fromkeys(("OriginalRepliedMessageSender", "OriginalRepliedMessageSid", "Referral"), Fate.STORED),
    **dict.fromkeys(("MediaUrl", "MediaContentType"), Fate.REFUSED),
    **dict.fromkeys(("SmsSid", "SmsMessageSid", "SmsStatus", "NumSegments"), Fate.LEFT),
    **dict.fromkeys(("ApiVersion", "AddOns", "ErrorCode", "ErrorUrl", "OptInType"), Fate.LEFT),
    **{f"{end}{part}": Fate.LEFT for end in ("From", "To") for part in ("City", "State", "Zip", "Country")},
}
"""Every parameter of a message's webhook that is known, by the name without its number: ``MediaUrl`` for ``MediaUrl0``.

``Referral`` stands for all that begin so. New parameters come unannounced, and are signed and left.
"""

KEPT = frozenset({Fate.STORED, Fate.REFUSED})

MOST_EXTRAS = 50
LONGEST_NAME = 100
LONGEST_EXTRA = 2000
"""How much is stored beside one text: parameters, and characters of their names and of their values."""

LONGEST_WORDS = 2000
"""Characters of a form's answers that are said."""

MOST_ANSWERS = 50
DEEPEST = 6
"""Answers of a form that are said, and how deep they are looked for."""

MAP = "https://www.google.com/maps/search/?"
"""Google's documented address for a place on a map; phones and agents alike know it."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,3}(?:\.[0-9]{1,20})?")
_MACHINES_OWN = frozenset({"type", "flow_token", "flow_id", "version", "screen", "status", "timestamp", "context"})
"""Names in a form's answers that mean nothing to an agent."""
_ASKED = ("label", "question", "name", "key")
_CHOSEN = ("title", "text")
_IDS = ("id", "payload", "postbackData", "postback_data")
_REPLY = frozenset({*_CHOSEN, *_IDS, "description", "type"})
"""All that the object of a tapped button or row has."""


def fate(name: str) -> Fate:
    """What becomes of the parameter of this name."""
    if name.startswith("Referral"):
        return FATES["Referral"]
    return FATES.get(name.rstrip("0123456789"), Fate.LEFT)


def extras(fields: Fields) -> Iterator[tuple[str, str]]:
    """What is stored beside the text."""
    kept = [name for name, value in fields.items() if value and len(name) <= LONGEST_NAME and fate(name) in KEPT]
    return ((name, fields[name][:LONGEST_EXTRA]) for name in kept[:MOST_EXTRAS])


def words(fields: Fields) -> str:
    """What the person says: by writing, or by a tap on something that has words."""
    written = fields.get("Body", "")
    if written.strip():
        return written
    tapped = (fields.get("ButtonText"), fields.get("ListTitle"), *_chosen(fields))
    return next((word for word in tapped if word and word.strip()), written)


def aside(fields: Fields) -> str:
    """What the agent is told beside these words, as lines: the payload that differs from them, answers, a place."""
    said = words(fields)
    lines = [*_payloads(fields, said), *_answers(fields, said), *_place(fields)]
    return "\n".join(lines)[:LONGEST_WORDS]


def attachment(fields: Fields) -> Attachment:
    """What came with the text, where all of it is of one kind."""
    types = [value for name, value in fields.items() if name.startswith("MediaContentType")]
    kinds = {_kind(each) for each in types}
    return kinds.pop() if len(kinds) == 1 else Attachment.FILE


def _kind(content_type: str) -> Attachment:
    """Parameters of the type do not count: ``audio/ogg; codecs=opus``."""
    plain = content_type.partition(";")[0].strip().casefold()
    if plain in ("text/vcard", "text/x-vcard", "text/directory", "application/vcard"):
        return Attachment.CONTACT
    kinds = {"image": Attachment.PICTURE, "audio": Attachment.VOICE}
    return kinds.get(plain.partition("/")[0], Attachment.FILE)


def _payloads(fields: Fields, said: str) -> Iterator[str]:
    """Each of them once, and none that says no more than the words."""
    known = {_plain(said)}
    for payload in (fields.get("ButtonPayload"), fields.get("ListId"), *_ids(fields)):
        if payload and _plain(payload) and _plain(payload) not in known:
            known.add(_plain(payload))
            yield f"(payload: {payload.strip()})"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(fields: Fields) -> Iterator[str]:
    """``Location: label, address``, the coordinates and a link; no line for what is missing or no place."""
    named = ", ".join(filter(None, (fields.get(name, "").strip() for name in ("Label", "Address"))))
    where = _coordinates(fields)
    if named or where:
        yield f"Location: {', '.join(filter(None, (named, where)))}"
    if where:
        yield MAP + urlencode({"api": 1, "query": where.replace(" ", "")}, safe=",")


def _coordinates(fields: Fields) -> str:
    latitude, longitude = (fields.get(name, "").strip() for name in ("Latitude", "Longitude"))
    if not (_NUMBER.fullmatch(latitude) and _NUMBER.fullmatch(longitude)):
        return ""
    on_earth = math.fabs(float(latitude)) <= 90 and math.fabs(float(longitude)) <= 180
    return f"{latitude}, {longitude}" if on_earth else ""


def _documents(fields: Fields) -> Iterator[object]:
    for name in ("InteractiveData", "FlowData"):
        try:
            yield json.loads(fields.get(name) or "null")
        except (ValueError, RecursionError):
            continue


def _objects(value: object, depth: int = 0) -> Iterator[dict[str, object]]:
    """Every object in it, from the outside in. A form's answers may be JSON in JSON."""
    if depth > DEEPEST:
        return
    if isinstance(value, str) and value[:1] in "{[" and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    inside: Iterable[object] = ()
    if isinstance(value, dict):
        yield value
        inside = value.values()
    elif isinstance(value, list):
        inside = value
    for each in inside:
        yield from _objects(each, depth + 1)


def _replies(fields: Fields) -> Iterator[dict[str, object]]:
    """A tapped button or row in them."""
    return (each for document in _documents(fields) for each in _objects(document) if _is_reply(each))


def _is_reply(each: dict[str, object]) -> bool:
    """An object that has a title and no more than an id besides."""
    return each.keys() <= _REPLY and any(_word(each.get(name)) for name in _CHOSEN)


def _chosen(fields: Fields) -> Iterator[str]:
    return (word for reply in _replies(fields) for name in _CHOSEN if (word := _word(reply.get(name))))


def _ids(fields: Fields) -> Iterator[str]:
    return (word for reply in _replies(fields) for name in _IDS if (word := _word(reply.get(name))))


def _answers(fields: Fields, said: str) -> Iterator[str]:
    """What was filled in, as ``question: answer``."""
    known = {""} | {_plain(said)}
    count = 0
    for document in _documents(fields):
        for each in _objects(document):
            for line in _lines(each):
                if _plain(line) not in known and count < MOST_ANSWERS:
                    known.add(_plain(line))
                    count += 1
                    yield line


def _lines(each: dict[str, object]) -> Iterator[str]:
    asked = next((word for name in _ASKED if (word := _word(each.get(name)))), "")
    if asked and "value" in each:
        yield f"{asked}: {_value(each['value'])}"
    elif not _is_reply(each):
        answers = ((name, _value(value)) for name, value in each.items() if name not in _MACHINES_OWN)
        yield from (f"{name}: {value}" for name, value in answers if value)


def _value(value: object) -> str:
    """What was filled in or chosen; empty for what has parts of its own."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_word, value)))
    return _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    return value.strip() if isinstance(value, str) and value[:1] not in ("{", "[") else ""
