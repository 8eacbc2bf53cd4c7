"""Message redaction: an account may have the carrier hide the words of its texts, in lists and in single texts.

Webhooks and phones get them all the same. What lives here: the one question whether words are hidden.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"\W*redacted\W*", re.IGNORECASE)


def hidden(body: str) -> bool:
    """Whether nothing can be learnt from these words about what was said. Ours are never empty, nor are people's."""
    return not body.strip() or _MARKS.fullmatch(body) is not None
