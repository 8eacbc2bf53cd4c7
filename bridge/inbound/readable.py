"""The test for text that a person can read. Only a text that passes it goes to the agent.

Pictures without words do not pass, nor do texts of blanks, joiners and other invisible characters alone.
"""

from __future__ import annotations

import unicodedata

SEEN = frozenset("LNPS")
"""First letters of the visible Unicode categories: letters, numbers, punctuation, symbols.

Marks (accents, variation selectors) need one of these beside them. The other categories are blanks, controls and
unassigned characters.
"""

PICTOGRAMS = range(0x1F000, 0x1FB00)
"""All emoji blocks. Phones know new emoji years before Python does; until then Python has them as unassigned."""

INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc\ufffd")
"""Letters and symbols, by category, that show nothing: Hangul fillers, the blank Braille pattern, and the placeholders
of an object and of a lost character."""


def readable(body: str) -> bool:
    """Return whether a person can see anything in it. An emoji alone counts."""
    return any(map(_seen, body))


def _seen(char: str) -> bool:
    if char in INVISIBLE:
        return False
    return ord(char) in PICTOGRAMS or unicodedata.category(char)[0] in SEEN
