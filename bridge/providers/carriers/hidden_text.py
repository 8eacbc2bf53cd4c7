"""The test for hidden words. With message redaction, the carrier hides the words of texts in lists and in single texts.

Webhooks and phones still get the words.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"\W*redacted\W*", re.IGNORECASE)


def hidden(body: str) -> bool:
    """Return True if the body shows nothing of the original words. Neither our texts nor people's are ever empty."""
    return not body.strip() or _MARKS.fullmatch(body) is not None
