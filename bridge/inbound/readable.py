"""Is there anything in a text that a person can read?

What lives here: the one question that decides whether a text goes to the agent. Pictures without words, and texts of
nothing but blanks, joiners and other invisible characters, do not.
"""

from __future__ import annotations

import unicodedata

SEEN = frozenset("LNPS")
"""First letters of the Unicode categories that leave ink: letters, numbers, punctuation, symbols.

Marks (accents, variation selectors) need one of these to sit on; the others are blanks, controls and the unassigned.
"""

PICTOGRAMS = range(0x1F000, 0x1FB00)
"""All emoji blocks. Phones know new emoji years before Python does, to which they are unassigned."""

INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc\ufffd")
"""Letters and symbols by category that show nothing: Hangul fillers, the blank Braille pattern, and the placeholders
of an object and of a character that got lost."""


def readable(body: str) -> bool:
    """Whether a person sees anything. An emoji by itself counts."""
    return any(map(_seen, body))


def _seen(char: str) -> bool:
    if char in INVISIBLE:
        return False
    return ord(char) in PICTOGRAMS or unicodedata.category(char)[0] in SEEN
