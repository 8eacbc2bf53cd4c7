"""The rules for foreign words: which may be shown, and which can be stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bridge.lib.phone import SHORTEST_WITH_PLUS, mask_numbers
from bridge.providers.echoes import SHORTEST_SECRET, ProviderText, Secret, forms, give_digits_away, unescaped

WORDS_LIMIT = 160
"""Characters of a provider's own words in a reason. The first sentence is enough; the rest is links."""

LONGEST_WORDS = 2000
"""Characters of a provider's words that are examined. A longer text is no sentence, and may have megabytes."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def safe_words(text: object, secrets: Iterable[str] = (), numbers: Iterable[str] = ()) -> str:
    """Return a provider's words fit to be logged and shown: one short line with masked numbers.

    Return nothing if the words repeat one of the ``secrets`` (a key or a person's text) in any form and however short.
    Also return nothing if one of the ``numbers`` shows through its mask.
    """
    if not isinstance(text, str) or len(text) > LONGEST_WORDS:
        return ""
    plain = unescaped(text)
    if plain is None:
        return ""
    secrets = list(secrets)
    known = [Secret(secret) for secret in secrets if len(secret) >= SHORTEST_SECRET]
    if any(secret.is_quoted_in(words) for words in map(ProviderText, forms(text, plain)) for secret in known):
        return ""
    line = _line(unicodedata.normalize("NFKC", _COLOUR.sub("", plain)))
    masked = mask_numbers(line, shortest=SHORTEST_WITH_PLUS)
    if any(give_digits_away(masked, number) for number in (*secrets, *numbers)):
        return ""
    return masked if len(masked) <= WORDS_LIMIT else masked[: WORDS_LIMIT - 1] + "…"


def storable(text: str) -> str:
    """Replace each character that PostgreSQL refuses: NUL and half surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
