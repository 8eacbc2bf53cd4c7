"""The keywords with which people opt out, opt in again and ask for help.

The functions are pure: is a text a keyword, and who answers it? ``bridge.inbound.receive`` acts on the answer.

A word that opts out counts in every form: only its letters and digits matter. START and HELP count only as strictly as
for the carrier: they must be the whole text, and only case and surrounding blanks do not matter.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from bridge.lib.phone import SHORT_CODE, TOLL_FREE, WHATSAPP


class Keyword(StrEnum):
    """The request of a keyword, under Twilio's names."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})
"""Twilio's default words. Without blanks and hyphens, the stop words also are all words that the law of the United
States names: 47 CFR 64.1200(a)(10)."""

START_WORDS_TOLL_FREE = START_WORDS - {"YES"}
"""For toll-free numbers the network keeps the list, and YES has no meaning there."""

LONGEST = 1600
"""Characters. The carrier brings no longer texts. A longer text is no keyword, however many dots it has."""

_QUESTION = re.compile("[?¿؟‽⸮❓❔]")
"""Question marks, as NFKC leaves them. "Stop?" is a question and no request, so it needs an answer."""

_LETTERS_BY_NAME = re.compile("[0-9#*]\ufe0f?\u20e3|[\u2122\u2139\u24c2\u3297\u3299\U0001f200-\U0001f251]")
"""Emoji that NFKC would turn into letters or digits: the keycaps, ™, ℹ, Ⓜ, and the Japanese signs in squares."""

_NO_LETTERS = frozenset(
    "\u115f\u1160"  # fillers: letters that show nothing
    "\u02b9\u02ba\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u02ee\ua78c"  # quotes and strokes
    "\u0640"  # makes an Arabic word longer
)
"""Letters by category, as NFKC leaves them, that do not count as letters."""

_NO_MARKS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that show nothing: variation selectors and similar ones."""

_NOT_LETTERS = {code: None for code in range(128) if not chr(code).isalnum()}
"""For ``translate``: removes all but the letters and digits of ASCII."""

_DECORATION = frozenset({1, *range(200, 241)})
"""Combining classes of decoration: strokes through a letter, and marks above and below it. NFKC has already merged a
mark that is part of a letter. Vowel signs have other classes."""


@dataclass(frozen=True)
class ExtraWords:
    """The words that the settings add.

    Stop words have the form of :func:`letters_of`, the others the form of :func:`plain`.
    """

    stop: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()
    help: frozenset[str] = frozenset()


NONE = ExtraWords()


def letters_of(text: str) -> str:
    """Return the letters and digits of a text, in one case and one form. Nothing else matters in a stop word."""
    return text.lower().translate(_NOT_LETTERS) if text.isascii() else _letters_of(text)


def _letters_of(text: str) -> str:
    return "".join(filter(_counts, plain(_LETTERS_BY_NAME.sub("", text))))


def plain(text: str) -> str:
    """Return a text in one case and one form, without surrounding blanks."""
    if text.isascii():
        return text.lower().strip()
    one_case = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", one_case).strip()


def keyword(body: str, number: str, named: str | None = None, extra: ExtraWords = NONE) -> Keyword | None:
    """Return the keyword that a text to this number of ours is, if any. ``named``: the keyword that the carrier names.

    The carrier's name takes precedence over the words. A "Help!" or a "Yes." that the carrier does not recognize goes
    to the agent, who can answer it. A "Stop." never does: the person wants to opt out.
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
    """Return the carrier's words that opt in again at this number of ours."""
    return START_WORDS_TOLL_FREE if TOLL_FREE.fullmatch(number) else START_WORDS


def carrier_recognizes(body: str, named: str | None = None) -> bool:
    """Return True if the carrier has recognized this keyword too. It knows only its own words, plainly written."""
    return named is not None or body.strip(" \t\r\n").upper() in STOP_WORDS | START_WORDS | HELP_WORDS


def bridge_answers(answered_by: str, number: str, named: str | None = None, *, recognized: bool = True) -> bool:
    """Return True if the bridge must confirm a keyword. ``recognized`` is the result of :func:`carrier_recognizes`.

    ``answered_by`` is the setting. Under ``auto``, Twilio answers the keywords that it recognizes on phone numbers and
    over RCS. It does not answer on one's own short codes. On WhatsApp it answers only with Advanced Opt-Out, and then
    it names the keyword.
    """
    if answered_by != "auto":
        return answered_by == "bridge"
    return named is None and (not recognized or number.startswith(WHATSAPP) or bool(SHORT_CODE.fullmatch(number)))


def _says_stop(body: str, words: frozenset[str]) -> bool:
    """Return True for a stop word in one piece or several, once or repeated, or for nothing but stop words."""
    if _QUESTION.search(body if body.isascii() else unicodedata.normalize("NFKC", body)):
        return False
    letters = letters_of(body)
    if body.isascii() and not letters.startswith(tuple(words)):
        return False  # for both rules below it would begin with a stop word
    if any(letters == word * max(1, len(letters) // len(word)) for word in words):
        return True
    return letters != "" and all(part in words for part in map(letters_of, body.split()) if part)


@lru_cache(maxsize=4096)
def _counts(char: str) -> bool:
    kind = unicodedata.category(char)
    if kind in {"Mn", "Mc"}:
        return unicodedata.combining(char) not in _DECORATION and not _NO_MARKS.match(char)
    return kind[0] in "LN" and char not in _NO_LETTERS


_STOP_LETTERS = frozenset(map(letters_of, STOP_WORDS))
