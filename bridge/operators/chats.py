"""Chats that an operator ends, with their records in the audit."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from bridge.chats import ending
from bridge.chats.ending import Outcome, StaleResult
from bridge.db.models import Chat
from bridge.db.transaction import Transaction
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.runtime import Runtime

MOST_IDS = 1000
"""The ids of chats in one record. The command line may end many more."""


def end_one(rt: Runtime, operator: str, chat_id: int) -> Outcome:
    """End this chat, stale or not."""

    def note(tx: Transaction, chat_ids: list[int]) -> None:
        conversation_id = tx.session.scalar(select(Chat.conversation_id).where(Chat.id == chat_id))
        audit.write(tx, Entry(operator, Action.END_CHAT, f"chat {chat_id}", conversation_id))

    return ending.end_one(rt, chat_id, note)


def end_stale(rt: Runtime, operator: str, idle: timedelta, *, limit: int, dry_run: bool = False) -> StaleResult:
    """End the chats that have been idle for so long. A call that ends none is not recorded."""

    def note(tx: Transaction, chat_ids: list[int]) -> None:
        if chat_ids:
            details = {"idle_seconds": int(idle.total_seconds()), "chats": chat_ids[:MOST_IDS]}
            audit.write(tx, Entry(operator, Action.END_STALE, f"{len(chat_ids)} chats", details=details))

    return ending.end_stale(rt, idle, limit=limit, dry_run=dry_run, note=note)
