"""The words in the database: whether the keys open them, and whether all are under the first key."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bridge.db.sealed_rows import sample
from bridge.db.sealing import keyring_of
from bridge.doctor.context import Context
from bridge.doctor.database import missing_file
from bridge.doctor.findings import Finding, fault, ok, warning

SUBJECT = "encryption"

SAMPLE = 500
"""The oldest and the newest rows of each table. `bridge encrypt` works from the newest to the oldest."""


def encryption(context: Context) -> Sequence[Finding]:
    """Look at some rows of each table. Without a key, and where nothing is encrypted, there is nothing to say."""
    if missing_file(context.settings.database_url):
        return []
    try:
        with context.engine.connect() as connection, Session(connection) as session:
            found = sample(session, SAMPLE)
    except SQLAlchemyError:  # the database's own check says why
        return []
    keyring = keyring_of(context.engine.dialect)
    missing = {key: rows for key, rows in found.items() if key is not None and not keyring.knows(key)}
    rest = sum(rows for key, rows in found.items() if key != keyring.first and key not in missing)
    if missing:
        words = f"ENCRYPTION_KEYS lacks {_named(missing)}: at least {sum(missing.values()):,} texts can't be decrypted"
        remedy = "Put the key back behind the others. Until then these texts wait."
        return [fault(SUBJECT, words, remedy, code="encryption-key-missing")]
    if keyring.first is None:
        return []
    if rest:
        words = f"at least {rest:,} texts are in plain text or under an older key"
        return [warning(SUBJECT, words, "Run: bridge encrypt", code="encryption-rest")]
    return [ok(SUBJECT, f"the oldest and the newest texts are under the first key, {keyring.first}")]


def _named(missing: dict[str, int]) -> str:
    ids = ", ".join(sorted(missing))
    return f"the key {ids}" if len(missing) == 1 else f"the keys {ids}"
