"""The comparison of an Authorization header with a token."""

from __future__ import annotations

import hmac


def bears(token: str, header: str) -> bool:
    """Return True if an Authorization header carries this token. A wrong token takes as long as the right one."""
    scheme, _, given = header.partition(" ")
    # Servers decode header bytes as Latin-1. Non-ASCII bytes were most likely sent in UTF-8.
    right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
    return right and scheme.lower() == "bearer"
