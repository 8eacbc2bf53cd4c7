"""How the templates show foreign words, numbers and moments. Everything is escaped here or by Jinja.

Words of people are isolated, so that a character that changes the direction of writing ends with them. A link leads to
http or https only, and shows the address to which it leads. A long text is shown in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

import phonenumbers
import regex
from markupsafe import Markup, escape

from bridge.lib.phone import RCS, WHATSAPP, without_channel
from bridge.web.console.steps import fields, steps_heading
from bridge.web.console.who import holder_kind, holder_label, holder_words

LONG_FROM = 1_500
"""Characters of a text that is shown in part at first."""

SHOWN = 600
"""Characters of such a text that are shown at first."""

SNIPPET = 120
"""Characters of a text in a list."""

LARGEST_CLUSTER = 64
"""Characters of one visible sign, such as an emoji of a family. A longer one is no sign but an attack, and is cut."""

HUES = 8

_LINK = regex.compile(r"(?i)\bhttps?://[^\s<>\"'`\\\p{Cc}\p{Cf}]{1,2000}")
_BEHIND = ".,;:!?)]}»”’…"
"""Signs at the end of an address that belong to the sentence."""

_MOMENT = regex.compile(r"\b([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) UTC\b")
"""A moment in a sentence of ``bridge.web.queries.unanswered``."""

CHANNELS = {WHATSAPP: "WhatsApp", RCS: "RCS"}


def words(text: str) -> Markup:
    """Return a text of a person or of the agent."""
    if len(text) <= LONG_FROM:
        return Markup('<div class="words" dir="auto">{}</div>').format(linked(text))
    head, rest = cut(text, SHOWN)
    return Markup(
        '<div class="words" dir="auto">{}</div><details class="rest"><summary>Show the other {} characters</summary>'
        '<div class="words" dir="auto">{}</div></details>'
    ).format(linked(head), f"{len(rest):,}", linked(rest))


def linked(text: str) -> Markup:
    """Return the text with its links."""
    return Markup("").join(_parts(text))


def _parts(text: str) -> Iterator[Markup]:
    end = 0
    for found in _LINK.finditer(text):
        address = found[0].rstrip(_BEHIND)
        yield escape(text[end : found.start()])
        yield Markup('<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>').format(address)
        end = found.start() + len(address)
    yield escape(text[end:])


def cut(text: str, at: int) -> tuple[str, str]:
    """Cut the text near this character. A sign of several characters stays whole."""
    if len(text) <= at:
        return text, ""
    start = max(0, at - LARGEST_CLUSTER)
    ends = [start + found.end() for found in regex.finditer(r"\X", text[start : at + LARGEST_CLUSTER])]
    before, behind = [end for end in ends if end <= at], [end for end in ends if at < end < at + LARGEST_CLUSTER]
    place = max(before, default=min(behind, default=at))
    return text[:place], text[place:]


def snippet(text: str) -> str:
    """Return the beginning of a text, in one piece, for a list."""
    head, rest = cut(" ".join(text[: 4 * SNIPPET].split()), SNIPPET)
    return head + ("…" if rest or len(text) > 4 * SNIPPET else "")


@lru_cache(maxsize=4096)
def number(address: str) -> str:
    """Return a number as people write it."""
    bare = without_channel(address)
    try:
        parsed = phonenumbers.parse(bare, None)
    except phonenumbers.NumberParseException:
        return bare
    if not phonenumbers.is_possible_number(parsed):
        return bare
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def channel(address: str) -> str:
    """Return the name of the channel; empty for SMS."""
    return next((name for prefix, name in CHANNELS.items() if address.startswith(prefix)), "")


def initials(address: str) -> str:
    """Return what an avatar shows: people have no names here, only numbers."""
    return without_channel(address)[-2:]


def hue(address: str) -> int:
    """Return one of the colours of avatars, always the same for this person."""
    return sum(map(ord, without_channel(address))) % HUES


def moment(at: datetime | None, shown: str = "full") -> Markup:
    """Return a moment. The script writes it in the reader's own time. ``shown``: ``full``, ``clock`` or ``age``."""
    if at is None:
        return Markup("")
    pattern = "%H:%M UTC" if shown == "clock" else "%d %b %Y, %H:%M UTC"
    return Markup('<time datetime="{}" data-as="{}">{}</time>').format(at.isoformat(), shown, f"{at:{pattern}}")


def timed(sentence: str) -> Markup:
    """Return a sentence with its moments as all others are shown."""
    return Markup("").join(_timed(sentence))


def _timed(sentence: str) -> Iterator[Markup]:
    end = 0
    for found in _MOMENT.finditer(sentence):
        try:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:  # foreign words may have a month 13
            continue
        yield escape(sentence[end : found.start()]) + moment(at)
        end = found.end()
    yield escape(sentence[end:])


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def plain_word(state: object) -> str:
    """Return the words for a state or an action: ``given_up`` is ``given up``."""
    return str(state).replace("_", " ")


ALL = {
    "holder_kind": holder_kind,
    "holder_label": holder_label,
    "holder_words": holder_words,
    "channel": channel,
    "duration": duration,
    "fields": fields,
    "hue": hue,
    "initials": initials,
    "linked": linked,
    "moment": moment,
    "number": number,
    "plain_word": plain_word,
    "snippet": snippet,
    "steps_heading": steps_heading,
    "timed": timed,
    "words": words,
}
