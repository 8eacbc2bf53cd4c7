"""Words that come from outside: which may be shown, and which can be stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bridge.phone import SHORTEST_WITH_PLUS, mask_numbers

WORDS_LIMIT = 160
"""Characters of a vendor's own words in a reason. The first sentence says it; the rest is links."""

LONGEST_WORDS = 2000
"""Characters of what a vendor says that are looked at. What is longer is no sentence, and may be megabytes."""

SHORTEST_SECRET = 3
"""Characters. Shorter ones stand in every sentence, and finding them there gives nothing away."""

LONGEST_QUOTE = 16
"""Characters in a row that a vendor's words may have in common with a secret: a quote may be cut short."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def safe_words(text: object, secrets: Iterable[str] = ()) -> str:
    """A vendor's own words, fit to be logged and shown: one short line without numbers.

    Where they repeat one of the ``secrets``, a key or a person's text, or a part of it, nothing of them is fit.
    """
    if not isinstance(text, str) or len(text) > LONGEST_WORDS:
        return ""
    if _quotes(text.casefold(), secrets):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in _COLOUR.sub("", text)).split())
    masked = mask_numbers(line, shortest=SHORTEST_WITH_PLUS)
    return masked if len(masked) <= WORDS_LIMIT else masked[: WORDS_LIMIT - 1] + "…"


def _quotes(text: str, secrets: Iterable[str]) -> bool:
    runs = set(_runs(text))
    return any(
        len(secret) >= SHORTEST_SECRET and (secret in text or not runs.isdisjoint(_runs(secret)))
        for secret in map(str.casefold, secrets)
    )


def _runs(text: str) -> Iterator[str]:
    return (text[i : i + LONGEST_QUOTE + 1] for i in range(len(text) - LONGEST_QUOTE))


def storable(text: str) -> str:
    """The same text with a replacement for each character that PostgreSQL refuses: NUL and half surrogate pairs."""
    return _UNSTORABLE.sub("\ufffd", text)
