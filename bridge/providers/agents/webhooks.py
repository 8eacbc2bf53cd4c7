"""Webhooks of the agent's providers: the signature that Retell and UponAI share, and the events of a chat.

The functions are pure and work on the raw body. Reading never fails: an event of no interest, and one that can't be
read, is ``None``. ``bridge.web.agents`` answers, and ``bridge.inbound.agent_events`` stores.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from bridge.providers.agents.contract import ChatState, Item
from bridge.providers.agents.reading import content, identifier
from bridge.providers.http.client import read_json

VALID_FOR = timedelta(minutes=5)
"""An older signature is refused, so that a recorded event can't be sent again much later. So is one of the future."""

LONGEST_SUMMARY = 10_000
LONGEST_WORD = 32
"""Characters. The rest is cut off."""

LARGEST_COST = 10**9
"""Cents. A larger number is no cost."""

_SIGNATURE = re.compile(r"v=([0-9]{1,16}),d=([0-9a-f]{64})")
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventKind(StrEnum):
    """The events that change something."""

    ENDED = "chat_ended"
    ANALYZED = "chat_analyzed"
    ESCALATED = "escalated"
    """Any other event whose chat is with a human. No document names one, so its own name does not count."""


@dataclass(frozen=True)
class Analysis:
    """The provider's own judgement of a chat that has ended. ``None``: it says nothing about that."""

    summary: str | None = None
    sentiment: str | None = None
    """``Positive``, ``Neutral``, ``Negative`` or ``Unknown``; more words may come."""
    successful: bool | None = None
    cost: float | None = None
    """Of the whole chat, in cents."""


@dataclass(frozen=True)
class ChatEvent:
    """An event of one chat."""

    kind: EventKind
    provider: str
    chat_id: str
    """The provider's own id. It may be a chat of somebody else who uses the same account."""
    signed_at: datetime
    items: tuple[Item, ...] = ()
    """The chat's items with their ids, as far as the event shows them."""
    analysis: Analysis = Analysis()
    state: ChatState | None = None
    """The chat's state as the event shows it. ``None``: it does not."""


@dataclass(frozen=True)
class Signed:
    """A body with a valid signature, and the time in it."""

    body: bytes
    at: datetime


def verified(key: str, body: bytes, signature: str | None, now: datetime) -> Signed | None:
    """Check ``v=<milliseconds>,d=<digest>``. The key signs the raw body followed by the digits of the milliseconds.

    Return ``None`` for a missing, forged or stale signature. A wrong digest takes as long as the right one.
    """
    parts = _SIGNATURE.fullmatch(signature or "")
    if not parts:
        return None
    stamp, digest = parts.groups()
    right = hmac.new(key.encode(), body + stamp.encode(), sha256).hexdigest()
    fits = hmac.compare_digest(right, digest)
    fresh = abs(int(stamp) - (now - _EPOCH) // _MILLISECOND) <= VALID_FOR // _MILLISECOND
    return Signed(body, _EPOCH + int(stamp) * _MILLISECOND) if fits and fresh else None


def read_event(
    provider: str,
    signed: Signed,
    state: Callable[[Mapping[str, Any]], ChatState | None],
    items: Callable[[Sequence[Any]], tuple[Item, ...]] | None = None,
) -> ChatEvent | None:
    """Read an event of this provider. ``state`` reads the chat's, and ``items`` its items, if they have ids."""
    payload = _payload(signed.body)
    chat = payload.get("chat")
    if not isinstance(chat, dict):
        return None
    shows = state(chat)
    kind, chat_id = _kind(payload.get("event"), shows), identifier(_either(chat, "chat_id", "chatId"))
    if kind is None or chat_id is None:
        return None
    shown = chat.get("message_with_tool_calls")
    return ChatEvent(
        kind=kind,
        provider=provider,
        chat_id=chat_id,
        signed_at=signed.at,
        items=items(shown) if items and isinstance(shown, list) else (),
        analysis=_analysis(chat),
        state=shows,
    )


def _kind(name: object, state: ChatState | None) -> EventKind | None:
    """Return the kind of the event of this name. ``None``: it changes nothing."""
    if not isinstance(name, str):
        return None
    if name in (EventKind.ENDED, EventKind.ANALYZED):
        return EventKind(name)
    return EventKind.ESCALATED if state is ChatState.WITH_HUMAN else None


def _payload(body: bytes) -> dict[str, Any]:
    try:
        payload = read_json(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _analysis(chat: Mapping[str, Any]) -> Analysis:
    told = _object(_either(chat, "chat_analysis", "chatAnalysis"))
    successful = _either(told, "chat_successful", "chatSuccessful")
    return Analysis(
        summary=_words(_either(told, "chat_summary", "chatSummary"), LONGEST_SUMMARY),
        sentiment=_words(_either(told, "user_sentiment", "userSentiment"), LONGEST_WORD),
        successful=successful if isinstance(successful, bool) else None,
        cost=_cost(_object(_either(chat, "chat_cost", "chatCost"))),
    )


def _either(fields: Mapping[str, Any], snake: str, camel: str) -> Any:
    """Return a field in either spelling: UponAI's API has camel case, and its webhook most likely has not."""
    return fields.get(snake, fields.get(camel))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object, longest: int) -> str | None:
    return content(value).strip()[:longest] or None


def _cost(fields: Mapping[str, Any]) -> float | None:
    cost = _either(fields, "combined_cost", "combinedCost")
    is_number = isinstance(cost, int | float) and not isinstance(cost, bool)
    return float(cost) if is_number and 0 <= cost <= LARGEST_COST else None
