"""The audit: who has done what, and when. Rows are only ever added, in the transaction of the deed itself.

A row has no words of a person and no full number. It names rows of other tables by their ids, so it may stay when a
person is erased. In a migrated database, triggers refuse every change and every removal. A later purge by age has to
switch them off in its own transaction: ``ALTER TABLE audit DISABLE TRIGGER audit_is_append_only`` on PostgreSQL, and on
SQLite to drop ``audit_refuses_delete`` and create it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.db.engine import insert_if_new
from bridge.db.models import Audit
from bridge.db.transaction import Transaction

COMMAND = "a command"
"""Who has used the command ``bridge``. No operator has this name, because a name has no blank."""

CLOCK = "the clock"
"""Who has done what no operator asks for. No operator has this name either."""

NOBODY = "-"
"""Who has failed to log in."""


class Action(StrEnum):
    """What was done."""

    END_CHAT = "end_chat"
    END_STALE = "end_stale"
    SEND_TEXT = "send_text"
    START_AGENT = "start_agent"
    ASK_AGENT = "ask_agent"
    DRAFT = "draft"
    TAKE_OVER = "take_over"
    HAND_TO_TEAM = "hand_to_team"
    HAND_BACK = "hand_back"
    NOTE = "note"
    TAG = "tag"
    CANNED_REPLY = "canned_reply"
    EXPORT = "export"
    RETRY = "retry"
    DISMISS = "dismiss"
    PAUSE = "pause"
    RESUME = "resume"
    LOGIN = "login"
    LOGOUT = "logout"
    LOGIN_REFUSED = "login_refused"
    CONNECT = "connect"
    PURGE = "purge"
    FORGET = "forget"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


@dataclass(frozen=True)
class Entry:
    """One deed."""

    operator: str
    action: Action
    subject: str
    conversation_id: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    once: str | None = None
    """A name for the deed. It is recorded only if no other row has that name."""


def write(tx: Transaction, entry: Entry) -> bool:
    """Record the deed. Return False if one of this name is recorded already."""
    row = {**vars(entry), "action": entry.action.value, "details": dict(entry.details), "at": tx.now}
    new = insert_if_new(tx.session, Audit).values(row).on_conflict_do_nothing(index_elements=[Audit.once])
    return tx.session.scalar(new.returning(Audit.id)) is not None
