"""The texts of people who are forgotten, as digests: the carrier's lists must not bring them back as new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bridge.db.engine import insert_if_new
from bridge.db.models import ForgottenText
from bridge.db.transaction import Transaction
from bridge.runtime import Runtime

KEPT_FOR = timedelta(days=400)
"""As long as Twilio has the texts in its lists, if it is not told to delete them."""

AT_ONCE = 500
"""Rows of one statement."""


def remember(tx: Transaction, carrier_ids: Iterable[str]) -> None:
    """Store the digests of these ids."""
    new = insert_if_new(tx.session, ForgottenText).on_conflict_do_nothing()
    rows = [{"digest": _digest(each), "forgotten_at": tx.now} for each in carrier_ids]
    for start in range(0, len(rows), AT_ONCE):
        tx.session.execute(new, rows[start : start + AT_ONCE])


def among(session: Session, carrier_ids: Iterable[str]) -> set[str]:
    """Return those of these ids whose texts are forgotten."""
    by_digest = {_digest(each): each for each in carrier_ids}
    if not by_digest:
        return set()
    found = select(ForgottenText.digest).where(ForgottenText.digest.in_(by_digest))
    return {by_digest[digest] for digest in session.scalars(found)}


def let_expire(rt: Runtime, most: int = AT_ONCE) -> None:
    """Delete digests that are not needed any more, at most so many."""
    with rt.database.transaction() as tx:
        old = select(ForgottenText.digest).where(ForgottenText.forgotten_at < tx.now - KEPT_FOR)
        old = old.order_by(ForgottenText.forgotten_at).limit(most)
        tx.session.execute(delete(ForgottenText).where(ForgottenText.digest.in_(old)))


def _digest(carrier_id: str) -> str:
    return hashlib.sha256(carrier_id.encode()).hexdigest()
