"""The limit on failed logins from one address, in the table, so that it counts for all processes.

An attempt is counted before its token is compared. So guesses that come at the same time count too.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from sqlalchemy import case, delete, select

from bridge.db.engine import insert_if_new
from bridge.db.models import LoginLimit
from bridge.runtime import Runtime

MOST = 10
"""Failed logins in a row from one address."""

FORGOTTEN_AFTER = timedelta(minutes=15)
"""So long after the last one that counted, the address may try again."""

CLEANED_UP = 100
"""Old rows that are deleted with each attempt."""


def admit(rt: Runtime, address: str) -> bool:
    """Count an attempt. Return False if the address has had too many."""
    with rt.database.transaction() as tx:
        forgotten = tx.now - FORGOTTEN_AFTER
        old = select(LoginLimit.address).where(LoginLimit.last_at <= forgotten, LoginLimit.address != _of(address))
        tx.session.execute(delete(LoginLimit).where(LoginLimit.address.in_(old.limit(CLEANED_UP))))
        row = insert_if_new(tx.session, LoginLimit).values(address=_of(address), failures=1, last_at=tx.now)
        again = LoginLimit.last_at > forgotten
        counted = row.on_conflict_do_update(
            index_elements=[LoginLimit.address],
            set_={
                "failures": case((again, LoginLimit.failures + 1), else_=1),
                "last_at": case((again & (LoginLimit.failures >= MOST), LoginLimit.last_at), else_=tx.now),
            },
        )
        return (tx.session.scalar(counted.returning(LoginLimit.failures)) or 0) <= MOST


def forgive(rt: Runtime, address: str) -> None:
    """Forget the attempts from this address: an operator has logged in."""
    with rt.database.transaction() as tx:
        tx.session.execute(delete(LoginLimit).where(LoginLimit.address == _of(address)))


def _of(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
