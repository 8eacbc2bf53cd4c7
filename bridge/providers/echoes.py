"""The test whether a provider's words repeat a key, or something of the person, in any form.

The comparison ignores escapes, case and punctuation. It also checks each encoding that may wrap the words.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

SHORTEST_SECRET = 3
"""Characters. A shorter string occurs in every sentence, so a match gives nothing away."""

LONGEST_QUOTE = 16
"""Letters and digits in a row that a provider's words and a secret may share, whatever words they are."""

CERTAIN = 6
"""Letters. A word of this length inside a secret's word is no coincidence."""

DIGITS_GIVEN_AWAY = 5
"""Digits in a row of one of the person's numbers. A mask shows at most one less."""

UNESCAPED_AT_MOST = 4
"""Rounds of unescaping. No sentence is wrapped more often than that."""

_OF_SENTENCES = """
able accept accepted access account accounts action active address agent agents allowed already and another any api
are argument attempt auth authenticate authentication authorization authorized bad balance because been before blank
blocked body busy but call callback cannot carrier channel character characters chat chats check code concurrent
conflict contact contain contains content could country create created credentials date deleted denied did disabled
does dynamic empty enabled end ended error errors exceed exceeded exceeds exist exists expected expired failed
failure fetch field fields find for forbidden format found from has have http https id identifier inactive
insufficient internal invalid is key keys length limit limited list long longer max maximum may media message
messages messaging method mismatch missing mobile more must name needs new not null number numbers object one only
out outside page parameter parameters payload payment permission phone please policy processed prohibited property
provide provided queue range rate reached reason received recipient refused region registered rejected request
requested requests required resource response retry role same send sender server service session short should sms
status string subscription support supported temporarily text than that the this time timeout to token too trial try
type unauthorized unavailable unexpected unknown unpaid unsubscribed unsupported unverified url use used user valid
validation value variable variables verified version violation was webhook were whatsapp when with your
"""

PROVIDER_WORDS = frozenset(_OF_SENTENCES.split())
"""The words of providers' sentences. A person's text that shares one of them gives nothing away."""

_ESCAPE = re.compile(
    r"(?:\\+u\{(?P<braced>[0-9a-fA-F]{1,6})\}|(?:\\+u|%u)(?P<four>[0-9a-fA-F]{4})|\\+U(?P<eight>[0-9a-fA-F]{8})"
    r"|[Uu]\+(?P<named>[0-9a-fA-F]{4,6})(?![0-9a-fA-F])|\\+x(?P<two>[0-9a-fA-F]{2})|\\+(?P<octal>[0-3][0-7]{2}))"
)
_LINE_END = re.compile(r"\\+[nrt]")
_QUOTED_PRINTABLE = re.compile(r"=([0-9A-F]{2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4,}={0,2}")
_WORD = re.compile(r"\w+")
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class ProviderText:
    """The words of a provider, in one of their forms."""

    def __init__(self, text: str) -> None:
        self.bones = _bones(text)
        self.runs = set(_runs(self.bones, LONGEST_QUOTE + 1))
        self.telling = {word for word in _words(text) if word not in PROVIDER_WORDS and _tells(word)}
        self.foreign = _foreign(text)


class Secret:
    """A key, or something of the person."""

    def __init__(self, text: str) -> None:
        self._bones = _bones(text)
        self._words = set(_words(text))
        self._foreign = _foreign(text)

    def is_quoted_in(self, words: ProviderText) -> bool:
        whole = len(self._bones) >= SHORTEST_SECRET and self._bones not in PROVIDER_WORDS and self._bones in words.bones
        long = not words.runs.isdisjoint(_runs(self._bones, LONGEST_QUOTE + 1))
        return whole or long or not words.foreign.isdisjoint(self._foreign) or any(map(self._has, words.telling))

    def _has(self, word: str) -> bool:
        """Match the word as a whole, cut short at either end, or inside a word if that is no coincidence."""
        if word in self._words or (len(word) >= CERTAIN and word in self._bones):
            return True
        return any(own.startswith(word) or own.endswith(word) for own in self._words)


def give_digits_away(text: str, number: str) -> bool:
    """Return True if digits of the number show, also in a form that no mask knows."""
    shown = set(_runs(_digits(text), DIGITS_GIVEN_AWAY))
    return not shown.isdisjoint(_runs(_digits(number), DIGITS_GIVEN_AWAY))


def unescaped(text: str) -> str | None:
    """Remove all layers of percent, HTML and backslash escapes. Return ``None`` if there are too many."""
    for _ in range(UNESCAPED_AT_MOST):
        before = text
        text = unquote(html.unescape(_LINE_END.sub(" ", _ESCAPE.sub(_character, text))))
        text = _SURROGATES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        if text == before:
            return text
    return None


def _character(escape: re.Match[str]) -> str:
    base = 8 if escape["octal"] else 16
    code = int(next(filter(None, escape.groups())), base)
    return chr(code) if code < 0x110000 else escape[0]


def forms(text: str, plain: str) -> Iterator[str]:
    """Yield every reading of the words."""
    yield text
    yield plain
    yield plain.replace("+", " ")
    yield _QUOTED_PRINTABLE.sub(lambda code: chr(int(code[1], 16)), plain)
    for found in _BASE64.findall(plain):
        if decoded := _from_base64(found):
            yield decoded


def _from_base64(text: str) -> str | None:
    letters = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _same(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _bones(text: str) -> str:
    """Return the parts that stay the same in every spelling: letters, digits, and non-ASCII signs such as emoji."""
    return "".join(c for c in _same(text) if c.isalnum() or _is_foreign(c))


def _foreign(text: str) -> set[str]:
    return set(filter(_is_foreign, unicodedata.normalize("NFKC", text).lower()))


def _is_foreign(char: str) -> bool:
    """Return True for a character that is hardly the provider's own: providers write English."""
    return not char.isascii() and unicodedata.category(char)[0] in "LNS"


def _words(text: str) -> Iterator[str]:
    return (word for part in _WORD.findall(_same(text)) for word in part.split("_") if word)


def _tells(word: str) -> bool:
    return len(word) >= SHORTEST_SECRET or not word.isascii()


def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(c)) for c in unicodedata.normalize("NFKC", text) if c.isdecimal())


def _runs(text: str, length: int) -> Iterator[str]:
    return (text[i : i + length] for i in range(len(text) - length + 1))
