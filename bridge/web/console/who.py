"""The words for who has a conversation."""

from __future__ import annotations

from typing import Any

from bridge.db.models import Holder
from bridge.web.queries import unanswered


def holder_words(holder: Any, me: str, *, timed: bool = False) -> str:
    """Return a sentence, with its moment if the page has no place for that."""
    since = f" since {unanswered.moment(holder.since)}" if timed and holder.since else ""
    match holder.kind:
        case Holder.PERSON:
            return f"{'You have' if holder.name == me else f'{holder.name} has'} this conversation{since}."
        case Holder.WAITING if holder.name:
            return f"A human at {holder.name} has the chat{since}."
        case Holder.WAITING:
            return f"It waits for somebody of the team{since}."
        case Holder.OUTSIDE:
            return f"Somebody texts with another tool{since}."
        case _:
            return f"The agent has this conversation{since}." if timed else "The agent answers."


def holder_label(holder: Any, me: str) -> str:
    """Return the short label of a row."""
    if holder.kind is Holder.PERSON:
        return "You" if holder.name == me else str(holder.name)
    return {Holder.WAITING: "Waiting", Holder.OUTSIDE: "Outside"}.get(holder.kind, "Agent")


def holder_kind(holder: Any, me: str) -> str:
    """Return the class of the label."""
    if holder.kind is Holder.PERSON:
        return "mine" if holder.name == me else "other"
    return {Holder.WAITING: "warn", Holder.OUTSIDE: "outside"}.get(holder.kind, "agent")


def was_first(holder: Any, me: str) -> str:
    """Return who has the conversation, for somebody who came second."""
    return f"{holder_words(holder, me, timed=True)} Nothing was changed."
