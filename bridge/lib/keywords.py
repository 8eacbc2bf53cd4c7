"""The words by which people opt out, opt in again and ask for help.

What lives here: pure questions. Is a text such a word, and who answers it? What follows from it:
``bridge.inbound.receive``.

A word that opts out is heard in whatever dress it comes: only its letters and digits count. START and HELP are heard as
strictly as the carrier hears them: they are the whole text, and only case and the blanks around them do not matter.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from bridge.lib.phone import SHORT_CODE, TOLL_FREE, WHATSAPP


class Keyword(StrEnum):
    """What a text that is a keyword asks for; Twilio's names for it."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})
"""Those that Twilio knows by default. Without their blanks and hyphens, the first ones are also all that the law of the
United States names: 47 CFR 64.1200(a)(10)."""

START_WORDS_TOLL_FREE = START_WORDS - {"YES"}
"""There the network keeps the list, and YES means nothing to it."""

LONGEST = 1600
"""Characters. The carrier brings no longer texts, and a longer one is no word, however many dots it has."""

_QUESTION = re.compile("[?¿؟‽⸮❓❔]")
"""As NFKC leaves them. "Stop?" asks something, and asks for nothing: somebody should answer it."""

_LETTERS_BY_NAME = re.compile("[0-9#*]\ufe0f?\u20e3|[\u2122\u2139\u24c2\u3297\u3299\U0001f200-\U0001f251]")
"""Emoji of which NFKC would make letters or digits: the keycaps, ™, ℹ, Ⓜ, and the Japanese signs in squares."""

_NO_LETTERS = frozenset(
    "\u115f\u1160"  # fillers: letters that show nothing
    "\u02b9\u02ba\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u02ee\ua78c"  # quotes and strokes
    "\u0640"  # makes an Arabic word longer
)
"""Letters by category, as NFKC leaves them, that are none."""

_NO_MARKS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that show nothing: variation selectors and the like."""

_DECORATION = frozenset({1, *range(200, 241)})
"""Combining classes: strokes through a letter, and what is drawn above and below it. Where it is part of the letter,
NFKC has made one character of both; the rest is decoration. Vowel signs have other classes."""


@dataclass(frozen=True)
class ExtraWords:
    """What the settings add; the first ones as :func:`letters_of` leaves them, the others as :func:`plain` does."""

    stop: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()
    help: frozenset[str] = frozenset()


NONE = ExtraWords()


def letters_of(text: str) -> str:
    """The letters and digits of a text, in one case and one form. Nothing else of it can be heard in a word."""
    return "".join(filter(_counts, plain(_LETTERS_BY_NAME.sub("", text))))


def plain(text: str) -> str:
    """A text in one case and one form, without the blanks around it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def keyword(body: str, number: str, named: str | None = None, extra: ExtraWords = NONE) -> Keyword | None:
    """What a text to this number of ours asks for; what the carrier ``named`` of it goes before what it reads like.

    A "Help!" or a "Yes." to which the carrier is deaf stays for the agent, who can answer it. A "Stop." does not: who
    writes it wants it.
    """
    if named:
        return Keyword(named)
    if len(body.strip()) > LONGEST:
        return None
    if _says_stop(body, _STOP_LETTERS | extra.stop):
        return Keyword.STOP
    word = body.strip().upper()
    if word in start_words(number) or plain(body) in extra.start:
        return Keyword.START
    return Keyword.HELP if word in HELP_WORDS or plain(body) in extra.help else None


def start_words(number: str) -> frozenset[str]:
    """The carrier's words that opt in again at this number of ours."""
    return START_WORDS_TOLL_FREE if TOLL_FREE.fullmatch(number) else START_WORDS


def carrier_recognizes(body: str, named: str | None = None) -> bool:
    """Has the carrier taken this keyword for one too? It knows its own words only, and only plainly written."""
    return named is not None or body.strip(" \t\r\n").upper() in STOP_WORDS | START_WORDS | HELP_WORDS


def bridge_answers(answered_by: str, number: str, named: str | None = None, *, recognized: bool = True) -> bool:
    """Return True if the bridge must confirm a keyword. ``recognized`` is the result of :func:`carrier_recognizes`.

    By itself Twilio answers what it hears on phone numbers and over RCS; not on short codes of one's own, and on
    WhatsApp only with Advanced Opt-Out, which then names the keyword.
    """
    if answered_by != "auto":
        return answered_by == "bridge"
    return named is None and (not recognized or number.startswith(WHATSAPP) or bool(SHORT_CODE.fullmatch(number)))


def _says_stop(body: str, words: frozenset[str]) -> bool:
    """Is it such a word, in one piece or several, once or again and again, or nothing but such words?"""
    if _QUESTION.search(unicodedata.normalize("NFKC", body)):
        return False
    letters = letters_of(body)
    if any(letters == word * max(1, len(letters) // len(word)) for word in words):
        return True
    return letters != "" and all(part in words for part in map(letters_of, body.split()) if part)


def _counts(char: str) -> bool:
    kind = unicodedata.category(char)
    if kind in {"Mn", "Mc"}:
        return unicodedata.combining(char) not in _DECORATION and not _NO_MARKS.match(char)
    return kind[0] in "LN" and char not in _NO_LETTERS


_STOP_LETTERS = frozenset(map(letters_of, STOP_WORDS))
