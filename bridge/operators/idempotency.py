"""Idempotency keys: an operator's request with a key is carried out once, however often it comes.

The key's row is inserted before the work and in its transaction. So of two equal requests at once, the second one waits
for the first, and gets its answer. A request that is refused leaves no row. A key counts for a day.

Lock order: the key's row comes before all others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, delete, select, tuple_, update

from bridge.db.engine import insert_if_new
from bridge.db.models import IdempotencyKey
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.runtime import Runtime

MOST = 500
"""Keys that are deleted at a time. The rest waits for the next time."""

COUNTS_FOR = timedelta(days=1)
"""How long a key stands for its request."""


class KeyReused(BridgeError):
    """The key stands for another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another request within a day. Use a new one.")


@dataclass(frozen=True)
class Asked:
    """One request of an operator."""

    operator: str
    key: str | None = None
    """``None``: the request has no key, and is carried out each time."""
    request: str = ""
    """A digest of the request; see :func:`digest`."""


def digest(*parts: Any) -> str:
    """Return a name for this request: the same for the same words, and another one for any other."""
    written = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(written.encode()).hexdigest()


def begin(tx: Transaction, asked: Asked) -> Mapping[str, Any] | None:
    """Return the answer that this request has had before; ``None``: it is new. Raise :class:`KeyReused`."""
    if asked.key is None:
        return None
    new = {"request": asked.request, "answer": None, "created_at": tx.now}
    expired = IdempotencyKey.created_at <= tx.now - COUNTS_FOR
    row = insert_if_new(tx.session, IdempotencyKey).values(operator=asked.operator, key=asked.key, **new)
    row = row.on_conflict_do_update(index_elements=["operator", "key"], set_=new, where=expired)
    if tx.session.scalar(row.returning(IdempotencyKey.key)) is not None:
        return None
    columns = (IdempotencyKey.request, IdempotencyKey.answer)
    known = tx.session.execute(select(*columns).where(_of(asked))).one()
    if known.request != asked.request:
        raise KeyReused
    answer: Mapping[str, Any] = known.answer
    return answer


def end(tx: Transaction, asked: Asked, answer: Mapping[str, Any]) -> None:
    """Store the answer for those who ask again."""
    if asked.key is not None:
        tx.session.execute(update(IdempotencyKey).where(_of(asked)).values(answer=dict(answer)))


def forget_expired(rt: Runtime, limit: int = MOST) -> None:
    """Delete keys that do not count any more, at most so many. A locked row is left for the next time."""
    key = (IdempotencyKey.operator, IdempotencyKey.key)
    with rt.database.transaction() as tx:
        old = select(*key).where(IdempotencyKey.created_at <= tx.now - COUNTS_FOR)
        chosen = old.order_by(IdempotencyKey.created_at).limit(limit).with_for_update(skip_locked=True).cte("old")
        tx.session.execute(delete(IdempotencyKey).where(tuple_(*key).in_(select(chosen.c.operator, chosen.c.key))))


def _of(asked: Asked) -> Any:
    return and_(IdempotencyKey.operator == asked.operator, IdempotencyKey.key == asked.key)
