"""Who is logged in to the console: one row for each browser.

The browser has a random token, and the row its digest. The row also binds the session to the operator's token in the
settings, keyed with the browser's token: whoever reads the table can't test guesses of either. A session ends on
logout, when it is idle or old, and when the operator's token changes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from bridge.config import Settings
from bridge.db.models import ConsoleSession
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.runtime import Runtime

IDLE = timedelta(hours=8)
"""A session that nobody uses for so long ends."""

LONGEST = timedelta(days=7)
"""A session ends after this time, used or not."""

TOUCHED_EVERY = timedelta(minutes=1)
"""A use within this time of the one before is not written."""

SUBJECT = "console"


@dataclass(frozen=True)
class Session:
    """An operator in one browser."""

    token: str
    """The digest, which is the row's key."""
    operator: str
    created_at: datetime
    used_at: datetime

    @property
    def name(self) -> str:
        """Return a short name of the row for a form. It opens nothing."""
        return self.token[:16]


def begin(rt: Runtime, operator: str, *, once: str | None = None) -> str | None:
    """Log the operator in. Return the token for the browser. ``once``: a name that no other login may have had."""
    token = secrets.token_urlsafe(32)
    row = {"token": digest(token), "operator": operator, "credential": _credential(rt.settings, operator, token)}
    with rt.database.transaction() as tx:
        if not audit.write(tx, Entry(operator, Action.LOGIN, SUBJECT, once=once)):
            return None
        tx.session.execute(delete(ConsoleSession).where(ConsoleSession.used_at <= tx.now - IDLE))
        tx.session.execute(insert(ConsoleSession).values(**row, created_at=tx.now, used_at=tx.now))
    return token


def find(rt: Runtime, token: str) -> Session | None:
    """Return the session of this browser, if it has one that stands."""
    with rt.database.read() as session:
        row = session.get(ConsoleSession, digest(token))
    if row is None or row.operator not in rt.settings.operators:
        return None
    now = rt.now()
    if row.used_at <= now - IDLE or row.created_at <= now - LONGEST:
        return None
    if not hmac.compare_digest(row.credential, _credential(rt.settings, row.operator, token)):
        return None
    return _session(row)


def touch(rt: Runtime, session: Session) -> None:
    """Record that the operator uses it now."""
    if session.used_at > rt.now() - TOUCHED_EVERY:
        return
    with rt.database.transaction() as tx:
        used = update(ConsoleSession).where(ConsoleSession.token == session.token)
        tx.session.execute(used.values(used_at=tx.now))


def of(rt: Runtime, operator: str) -> Sequence[Session]:
    """Return the operator's sessions that are not idle too long, the one used last first."""
    with rt.database.read() as session:
        query = select(ConsoleSession).where(ConsoleSession.operator == operator)
        standing = query.where(ConsoleSession.used_at > rt.now() - IDLE)
        return [_session(row) for row in session.scalars(standing.order_by(ConsoleSession.used_at.desc()))]


def end(rt: Runtime, session: Session, name: str | None = None) -> int:
    """Log the operator out: of this session, or of the one with this name. Return how many have ended."""
    which = ConsoleSession.token.startswith(name, autoescape=True) if name else ConsoleSession.token == session.token
    return _ended(rt, session.operator, which)


def end_all(rt: Runtime, operator: str) -> int:
    """Log the operator out everywhere. Return how many sessions have ended."""
    return _ended(rt, operator)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _credential(settings: Settings, operator: str, token: str) -> str:
    known = settings.operators[operator].get_secret_value()
    return hmac.new(token.encode(), known.encode(), hashlib.sha256).hexdigest()


def _session(row: ConsoleSession) -> Session:
    return Session(row.token, row.operator, row.created_at, row.used_at)


def _ended(rt: Runtime, operator: str, *which: object) -> int:
    with rt.database.transaction() as tx:
        gone = delete(ConsoleSession).where(ConsoleSession.operator == operator, *which)  # type: ignore[arg-type]
        ended = len(tx.session.scalars(gone.returning(ConsoleSession.token)).all())
        if ended:
            audit.write(tx, Entry(operator, Action.LOGOUT, SUBJECT, details={"sessions": ended}))
    return ended
