"""The parts of an inbound text beside its words: a place, a tapped button or row, a form, pictures, and its origin.

The functions are pure and work on Twilio's form. One table decides what happens to each parameter.
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
    """What happens to a parameter."""

    READ = "read"
    """The bridge itself uses it: the text's owner, and Twilio's verdict on it."""
    AGENT = "agent"
    """The agent receives it, in words."""
    STORED = "stored"
    """Stored beside the text for operators. The agent does not receive it."""
    REFUSED = "refused"
    """The person is told that the bridge can't read it. Its description is stored."""
    LEFT = "left"
    """Not needed."""


FATES: dict[str, Fate] = {
    **dict.fromkeys(
        ("MessageSid", "AccountSid", "MessagingServiceSid", "From", "To", "OptOutType", "NumMedia"), Fate.READ
    ),
    **dict.fromkeys(("Body", "Latitude", "Longitude", "Label", "Address"), Fate.AGENT),
    **dict.fromkeys(("ButtonText", "ButtonPayload", "ListTitle", "ListId", "InteractiveData", "FlowData"), Fate.AGENT),
    **dict.fromkeys(("ButtonType", "ListDescription", "MessageType", "ChannelMetadata"), Fate.STORED),
    **dict.fromkeys(("ProfileName", "WaId", "ExternalUserId", "Forwarded", "FrequentlyForwarded"), Fate.STORED),
    **dict.fromkeys(("OriginalRepliedMessageSender", "OriginalRepliedMessageSid", "Referral"), Fate.STORED),
    **dict.fromkeys(("MediaUrl", "MediaContentType"), Fate.REFUSED),
    **dict.fromkeys(("SmsSid", "SmsMessageSid", "SmsStatus", "NumSegments"), Fate.LEFT),
    **dict.fromkeys(("ApiVersion", "AddOns", "ErrorCode", "ErrorUrl", "OptInType"), Fate.LEFT),
    **{f"{end}{part}": Fate.LEFT for end in ("From", "To") for part in ("City", "State", "Zip", "Country")},
}
"""Every known parameter of a message webhook, by its name without the number: ``MediaUrl`` for ``MediaUrl0``.

``Referral`` stands for all names that begin with it. Twilio adds parameters unannounced: they are signed, and ignored.
"""

KEPT = frozenset({Fate.STORED, Fate.REFUSED})

MOST_EXTRAS = 50
LONGEST_NAME = 100
LONGEST_EXTRA = 2000
"""The limit of the data stored beside one text: parameters, and characters of their names and values."""

LONGEST_WORDS = 2000
"""Characters of a form's answers that the agent receives."""

MOST_ANSWERS = 50
DEEPEST = 6
"""Answers of a form that the agent receives, and the depth of the search for them."""

MAP = "https://www.google.com/maps/search/?"
"""Google's documented address for a place on a map. Phones and agents know it."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,3}(?:\.[0-9]{1,20})?")
_MACHINES_OWN = frozenset({"type", "flow_token", "flow_id", "version", "screen", "status", "timestamp", "context"})
"""Names in a form's answers that mean nothing to an agent."""
_ASKED = ("label", "question", "name", "key")
_CHOSEN = ("title", "text")
_IDS = ("id", "payload", "postbackData", "postback_data")
_REPLY = frozenset({*_CHOSEN, *_IDS, "description", "type"})
"""All keys of the object for a tapped button or row."""


def fate(name: str) -> Fate:
    """Return the fate of the parameter with this name."""
    if known := FATES.get(name):
        return known
    if name.startswith("Referral"):
        return FATES["Referral"]
    return FATES.get(name.rstrip("0123456789"), Fate.LEFT)


def extras(fields: Fields) -> Iterator[tuple[str, str]]:
    """Return the parameters to store beside the text."""
    kept = [name for name, value in fields.items() if value and len(name) <= LONGEST_NAME and fate(name) in KEPT]
    return ((name, fields[name][:LONGEST_EXTRA]) for name in kept[:MOST_EXTRAS])


def words(fields: Fields) -> str:
    """Return the person's words: the written text, or the label of the tapped button."""
    written = fields.get("Body", "")
    if written.strip():
        return written
    tapped = (fields.get("ButtonText"), fields.get("ListTitle"), *_chosen(fields))
    return next((word for word in tapped if word and word.strip()), written)


def aside(fields: Fields) -> str:
    """Return the lines for the agent beside these words: a differing payload, answers, a place."""
    content = words(fields)
    lines = [*_payloads(fields, content), *_answers(fields, content), *_place(fields)]
    return "\n".join(lines)[:LONGEST_WORDS]


def attachment(fields: Fields) -> Attachment:
    """Return the kind of the media, if all of them are of one kind."""
    types = [value for name, value in fields.items() if name.startswith("MediaContentType")]
    kinds = {_kind(each) for each in types}
    return kinds.pop() if len(kinds) == 1 else Attachment.FILE


def _kind(content_type: str) -> Attachment:
    """Ignore the parameters of the type: ``audio/ogg; codecs=opus``."""
    plain = content_type.partition(";")[0].strip().casefold()
    if plain in ("text/vcard", "text/x-vcard", "text/directory", "application/vcard"):
        return Attachment.CONTACT
    kinds = {"image": Attachment.PICTURE, "audio": Attachment.VOICE}
    return kinds.get(plain.partition("/")[0], Attachment.FILE)


def _payloads(fields: Fields, content: str) -> Iterator[str]:
    """Yield each payload once, and only if it adds something to the words."""
    known = {_plain(content)}
    for payload in (fields.get("ButtonPayload"), fields.get("ListId"), *_ids(fields)):
        if payload and _plain(payload) and _plain(payload) not in known:
            known.add(_plain(payload))
            yield f"(payload: {payload.strip()})"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(fields: Fields) -> Iterator[str]:
    """Yield ``Location: label, address``, the coordinates and a link. Yield no line for a missing or invalid place."""
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
        if not (written := fields.get(name)):
            continue
        try:
            yield json.loads(written)
        except (ValueError, RecursionError):
            continue


def _objects(value: object, depth: int = 0) -> Iterator[dict[str, object]]:
    """Yield every object inside the value, outermost first. A form's answers may be JSON in JSON."""
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
    """Return the objects that are a tapped button or row."""
    return (each for document in _documents(fields) for each in _objects(document) if _is_reply(each))


def _is_reply(each: dict[str, object]) -> bool:
    """Return True for an object that has a title and at most an id besides."""
    return each.keys() <= _REPLY and any(_word(each.get(name)) for name in _CHOSEN)


def _chosen(fields: Fields) -> Iterator[str]:
    return (word for reply in _replies(fields) for name in _CHOSEN if (word := _word(reply.get(name))))


def _ids(fields: Fields) -> Iterator[str]:
    return (word for reply in _replies(fields) for name in _IDS if (word := _word(reply.get(name))))


def _answers(fields: Fields, content: str) -> Iterator[str]:
    """Yield the form's answers as ``question: answer``."""
    known = {""} | {_plain(content)}
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
    """Return the entered or chosen text; empty for a value with parts of its own."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_word, value)))
    return _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    return value.strip() if isinstance(value, str) and value[:1] not in ("{", "[") else ""
