"""The pages of long lists. A cursor is the position of the last shown row, in an opaque form.

A page that starts after a row neither repeats nor skips rows when new ones arrive. A page number would.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

LARGEST_ID = 2**63 - 1
"""The largest key of the tables."""


class BadCursor(ValueError):
    """A cursor that no page of this list has returned."""

    def __init__(self) -> None:
        super().__init__("is not one that this list has given")


def write_cursor(*place: int | str) -> str:
    """Return the position of a row in its list, as one word that is safe in an address."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: type[int] | type[str]) -> Sequence[int | str]:
    """Return the position that :func:`write_cursor` wrote. Raise :class:`BadCursor` for anything else."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error):
        raise BadCursor from None
    fits = isinstance(place, list) and [type(part) for part in place] == list(kinds)
    if not fits or any(isinstance(part, int) and not 0 < part <= LARGEST_ID for part in place):
        raise BadCursor
    return list(place)
