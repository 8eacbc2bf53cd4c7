"""Reactions: a heart, a thumb or a laugh that a phone sends as a text, because the other side can't show reactions.

    Liked “Your table is booked”        an iPhone; also “Removed a like from …”, “Reacted 🎉 to …”, “Loved an image”
    👍 to “ Your table is booked ”       Google Messages, with hair spaces and characters of no width around its parts

Pure functions recognize a reaction, and compare its quotation with a text. ``bridge.inbound.receive`` decides how it is
treated. The phrases are in ``bridge.inbound.reaction_phrases``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bridge.inbound.reaction_phrases import COUNTED, PHRASES, WORDLESS

LONGEST = 4000
"""Characters. A longer text is never a reaction: carriers bring 1,600, and a reaction quotes one text."""

CLOSING = {
    '"': '"',
    "“": "”",
    "”": "”",
    "„": "“”",
    "«": "»",
    "»": "«",
    "‹": "›",
    "「": "」",
    "『": "』",
    "‘": "’",
    "‚": "‘’",
    "'": "'",
}
"""The marks that may end a quotation, by its first mark."""

CUT = ("…", "...")
"""The ends that phones put to a shortened quotation."""

_HAIR, _ADDED, _REMOVED = "\u200a", "\u200b", "\u200c"
_PART = f"[^{_HAIR}{_ADDED}{_REMOVED}]*"
_BY_GOOGLE = re.compile(
    rf"{_HAIR}?{_PART}([{_ADDED}{_REMOVED}]){_PART}\1{_PART}{_HAIR}(?P<quoted>.*?){_HAIR}{_PART}{_HAIR}?",
    re.DOTALL,
)
"""Google's form, in any language: ``[hair]Removed [mark]👍[mark] from “[hair]the text[hair]”[hair]``."""

_EMOJI = r"(?P<emoji>[^\w\s\"'“”„«»‹›「」『』‘’‚.,:;()]{1,20}|[0-9#*]\ufe0f?\u20e3)"
_PARTS = {"{}": "(?P<about>.+)", "{e}": _EMOJI}
_VARIES = frozenset("{\"'")
"""A phrase that begins with one of these, or ends with it, may begin or end with other characters in a text."""
_OTHER = ""
"""The key for all first characters that no phrase names. No text begins with it."""

_SYMBOL = frozenset("\ufe0f\u20e3‼⁉")
_PICTOGRAMS = range(0x1F000, 0x1FB00)
_PLAIN = str.maketrans({**dict.fromkeys("“”„«»‹›", '"'), **dict.fromkeys("‘’‚", "'"), **dict.fromkeys("‐‑‒–—―−", "-")})


@dataclass(frozen=True)
class Reaction:
    """A reaction as a phone writes it."""

    quoted: str | None
    """The beginning of the text that it is about; ``None`` for one without words, such as a picture."""
    sure: bool = True
    """False if a person may have written the same. Then it is a reaction only if a text of ours begins so."""

    def is_about(self, body: str) -> bool:
        """Return whether this text begins with the quotation."""
        begins = _normalized(self.quoted or "")
        return bool(begins) and _normalized(body).startswith(begins)

    def is_all_of(self, body: str) -> bool:
        """Return whether the quotation is this whole text."""
        return _normalized(self.quoted or "") == _normalized(body)


def reaction(body: str) -> Reaction | None:
    """Parse a text as a reaction. Return ``None`` if a person wrote it."""
    if len(body) > LONGEST:
        return None
    if not body.isascii() and (marked := _BY_GOOGLE.fullmatch(body)):
        return Reaction(_uncut(marked["quoted"]))
    unsure = None
    for about in _objects(" ".join(_visible(body).split())):
        if about.replace("’", "'") in _wordless() or _counted().fullmatch(about):
            return Reaction(None)
        found = _quotation(about)
        if found and found.sure:
            return found
        unsure = unsure or found
    return unsure


def _objects(text: str) -> Iterator[str]:
    """Yield the object of each phrase, of all languages, that matches the text."""
    known = _by_first_character()
    for phrase in known.get(text[:1], known[_OTHER]):
        if not text.endswith(phrase.ends):
            continue
        found = phrase.pattern.fullmatch(text)
        if found and ("emoji" not in phrase.pattern.groupindex or _is_emoji(found["emoji"])):
            yield found["about"]


def _quotation(about: str) -> Reaction | None:
    """Parse a quotation that fills the object, or one that is cut off before its last mark."""
    closing = CLOSING.get(about[:1])
    if closing is None:
        return None
    if len(about) > 1 and about[-1] in closing:
        inner = about[1:-1].strip()
        return Reaction(_uncut(inner), sure=_is_one(inner, about[0], closing)) if inner else None
    return Reaction(_uncut(about[1:]), sure=False) if about[1:].strip() else None


def _is_one(inner: str, opening: str, closing: str) -> bool:
    """Return whether it is one quotation, and not two with words between them.

    Two quotations can't be told from one if the first mark and the last are the same character.
    """
    depth = 1
    for before, char, after in zip(f" {inner}", inner, f"{inner[1:]} ", strict=False):
        if char in "'’" and before.isalnum() and after.isalnum():
            continue  # an apostrophe
        if char in closing:
            depth -= 1
        elif char == opening:
            depth += 1
        if not depth:
            return False
    return True


def _uncut(quoted: str) -> str:
    quoted = quoted.strip()
    return next((quoted.removesuffix(end).rstrip() for end in CUT if quoted.endswith(end)), quoted)


def _is_emoji(text: str) -> bool:
    """Return whether there is an emoji. The blocks are needed: Python learns new emoji years after phones do."""
    return any(char in _SYMBOL or ord(char) in _PICTOGRAMS or unicodedata.category(char) == "So" for char in text)


def _visible(text: str) -> str:
    """Remove characters without width, except the joiner of an emoji's parts."""
    if text.isascii():
        return text
    hidden = {char for char in set(text) if unicodedata.category(char) == "Cf" and char != "\u200d"}
    return "".join(char for char in text if char not in hidden) if hidden else text


def _normalized(text: str) -> str:
    """Normalize a text, so that two texts are equal if they look alike: marks, blanks, characters without width."""
    return " ".join(_visible(unicodedata.normalize("NFKC", text)).translate(_PLAIN).split())


@dataclass(frozen=True)
class _Phrase:
    """A phrase, and what tells quickly that a text has another form."""

    pattern: re.Pattern[str]
    begins: str
    """The characters that a text may begin with; empty if any may."""
    ends: str
    """The end of every text of this form; empty if it varies."""


@cache
def _by_first_character() -> Mapping[str, Sequence[_Phrase]]:
    """Return the phrases that fit each first character, in their order."""
    phrases = _phrases()
    firsts = {first for phrase in phrases for first in phrase.begins}
    fitting = {first: [phrase for phrase in phrases if first in phrase.begins or not phrase.begins] for first in firsts}
    return fitting | {_OTHER: [phrase for phrase in phrases if not phrase.begins]}


@cache
def _phrases() -> tuple[_Phrase, ...]:
    return tuple(_phrase(words) for each in PHRASES.values() for words in each)


def _phrase(words: str) -> _Phrase:
    first, last = words[0], words.rpartition("}")[2]
    return _Phrase(
        re.compile(_pattern(words), re.DOTALL),
        begins="" if first in _VARIES else first + first.upper() if first.islower() else first,
        ends="" if _VARIES.intersection(last) else last,
    )


def _pattern(phrase: str) -> str:
    """Return a pattern in which the first letter may be a capital, and quotation marks may be typographic."""
    literal, *others = re.split(r"(\{e?\})", phrase)
    first = f"[{literal[0]}{literal[0].upper()}]" if literal[:1].islower() else ""
    return first + "".join(_PARTS.get(part) or _any_marks(part) for part in (literal[len(first) > 0 :], *others))


def _any_marks(literal: str) -> str:
    return re.escape(literal).replace('"', ' ?["“”„«»] ?').replace("'", "['’]")


@cache
def _wordless() -> frozenset[str]:
    return frozenset(noun for nouns in WORDLESS.values() for noun in nouns)


@cache
def _counted() -> re.Pattern[str]:
    return re.compile(f"[0-9]+ (?:{'|'.join(noun for nouns in COUNTED.values() for noun in nouns)})")
