"""Keys for the tests, and what is sealed with them."""

from __future__ import annotations

from bridge.db.sealing import Keyring

OLD = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZDA="
NEW = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldzE="
"""Two keys as ``bridge encrypt --new-key`` writes them."""


def keyring(*keys: str) -> Keyring:
    return Keyring(keys)
