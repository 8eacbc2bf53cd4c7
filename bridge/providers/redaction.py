"""Words that come from outside: which may be shown, and which can be stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bridge.lib.phone import SHORTEST_WITH_PLUS, mask_numbers
from bridge.providers.echoes import SHORTEST_SECRET, ProviderText, Secret, forms, give_digits_away, unescaped

WORDS_LIMIT = 160
"""Characters of a vendor's own words in a reason. The first sentence says it; the rest is links."""

LONGEST_WORDS = 2000
"""Characters of what a vendor says that are looked at. What is longer is no sentence, and may be megabytes."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def safe_words(text: object, secrets: Iterable[str] = (), numbers: Iterable[str] = ()) -> str:
    """A vendor's own words, fit to be logged and shown: one short line with numbers masked.

    Where they repeat something of the ``secrets``, a key or a person's text, nothing of them is fit: in whatever form
    they repeat it, and however short the quote is. So it is where one of the ``numbers`` shows through its mask.
    """
    if not isinstance(text, str) or len(text) > LONGEST_WORDS:
        return ""
    plain = unescaped(text)
    if plain is None:
        return ""
    secrets = list(secrets)
    known = [Secret(secret) for secret in secrets if len(secret) >= SHORTEST_SECRET]
    if any(secret.is_quoted_in(said) for said in map(ProviderText, forms(text, plain)) for secret in known):
        return ""
    line = _line(unicodedata.normalize("NFKC", _COLOUR.sub("", plain)))
    masked = mask_numbers(line, shortest=SHORTEST_WITH_PLUS)
    if any(give_digits_away(masked, number) for number in (*secrets, *numbers)):
        return ""
    return masked if len(masked) <= WORDS_LIMIT else masked[: WORDS_LIMIT - 1] + "…"


def storable(text: str) -> str:
    """The same text with a replacement for each character that PostgreSQL refuses: NUL and half surrogate pairs."""
    return _UNSTORABLE.sub("\ufffd", text)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
