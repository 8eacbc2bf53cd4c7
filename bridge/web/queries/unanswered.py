"""The rules for "why was this not answered?": one sentence with its remedy, or None if it was.

They are pure: values in, a sentence out. The rows are read in ``bridge.web.queries.unanswered_rows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.db.models import UNSENT, Direction, Holder, MessageStatus, TurnStatus
from bridge.providers.carriers.contract import NOT_DELIVERED, Delivery
from bridge.queues.circuit_breakers import OpenCircuit
from bridge.queues.pause import Pause

OPTED_OUT = "The person has opted out, and gets no texts until START comes from this phone."
NO_WORD = "The agent was asked and gave no word. Read the chat at its provider, check the agent, or write yourself."
NOT_SENT_DRAFT = (
    "The agent's answer is only a draft, because somebody else had the conversation. Send it, or write yourself."
)

_IN_WORK = (MessageStatus.WAITING, MessageStatus.IN_TURN)


@dataclass(frozen=True)
class Around:
    """What counts for every text of a conversation."""

    holder: Holder = Holder.AGENT
    holder_name: str | None = None
    holder_since: datetime | None = None
    holder_reason: str | None = None
    holder_until: datetime | None = None
    opted_out: bool = False
    paused: Pause | None = None
    agent_circuits: Sequence[OpenCircuit] = ()
    carrier_circuits: Sequence[OpenCircuit] = ()
    """The open circuits that its turns need, and that its deliveries need."""
    throttled: bool = False
    """The phone has used up its turns, and its texts wait for that reason."""


@dataclass(frozen=True)
class Asked:
    """The turn of a text."""

    status: TurnStatus
    since: datetime
    """When the agent was last asked, or else when the turn began."""
    attempts: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Out:
    """One text to the person. Of a text that was sent again, only the last copy counts."""

    status: MessageStatus
    created_at: datetime
    delivery: Delivery | None = None
    error: str | None = None
    meaning: str | None = None
    """What the carrier's error code means, and how to fix it."""
    resend_at: datetime | None = None


@dataclass(frozen=True)
class Received:
    """One text of the person."""

    status: MessageStatus
    created_at: datetime
    error: str | None = None
    turn: Asked | None = None
    answers: Sequence[Out] = ()
    """The texts that answer its turn."""
    answered_by_person: bool = False
    """An operator, or somebody outside, has written since."""


def why_unanswered(text: Received, around: Around) -> str | None:
    """Return why the person has no answer to this text; ``None``: the person has one, or needs none."""
    if text.status in _IN_WORK:
        return None if text.answered_by_person and not _with_agent(around) else _in_work(text, around)
    if text.status is MessageStatus.ANSWERED:
        return _answered(text, around)
    return _settled(text)


def why_unsent(text: Out, around: Around) -> str | None:
    """Return why the person does not have this text; ``None``: it was sent, or will be without delay."""
    if text.status is MessageStatus.CANCELED:
        return OPTED_OUT
    if text.status is MessageStatus.DRAFT:
        return NOT_SENT_DRAFT
    if text.status is MessageStatus.GIVEN_UP:
        return f"It could not be sent: {_cause(text)} Retry it, or write again."
    if text.delivery in NOT_DELIVERED:
        again = f"It is sent again at {moment(text.resend_at)}." if text.resend_at else "Retry it, or write again."
        return f"The carrier did not deliver it: {_cause(text)} {again}"
    return _unsent(text, around) if text.status in UNSENT else None


def moment(at: datetime | None) -> str:
    """Return a moment as a sentence shows it."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


# -- texts of the person -------------------------------------------------------------------------------------------


def _settled(text: Received) -> str | None:
    """Explain a text that never went to the agent, or that ended without an answer."""
    if text.answered_by_person:
        return None
    why = _sentence(text.error or "no reason is recorded")
    match text.status:
        case MessageStatus.OPTED_OUT | MessageStatus.CANCELED:
            return OPTED_OUT
        case MessageStatus.IGNORED:
            return f"It was ignored: {why} Change that setting, or write to the person yourself."
        case MessageStatus.UNANSWERABLE:
            return f"Its sender can't be answered: {why} Nothing needs to be done."
        case MessageStatus.GIVEN_UP:
            cause = _sentence(text.turn.error) if text.turn and text.turn.error else why
            return f"It was given up: {cause} Retry it in the list of failures, or write to the person yourself."
        case _:
            return None


def _with_agent(around: Around) -> bool:
    return around.holder is Holder.AGENT


def _in_work(text: Received, around: Around) -> str:
    if around.opted_out:
        return OPTED_OUT
    if not _with_agent(around):
        return _with_somebody(around)
    if around.paused:
        return (
            f"All agents are paused by {around.paused.operator} since {moment(around.paused.since)}. "
            "Resume them, or take over."
        )
    if around.agent_circuits:
        return f"{_open(around.agent_circuits[0])} The text waits, and goes on by itself once that is fixed."
    return _asked(text, around)


def _with_somebody(around: Around) -> str:
    since = moment(around.holder_since)
    if around.holder is Holder.PERSON:
        name = around.holder_name or "Somebody"
        return f"{name} has the conversation since {since}. {name} must answer, or hand it back to the agent."
    if around.holder is Holder.OUTSIDE:
        until = f" The agent answers again at {moment(around.holder_until)}." if around.holder_until else ""
        return f"Somebody texts this person with another tool since {since}.{until} Take over, or hand it back."
    if around.holder_name:
        return (
            f"A human at {around.holder_name} has the chat since {since}. "
            "Answer there and hand the chat back there, or take over here."
        )
    because = f": {_sentence(around.holder_reason)}" if around.holder_reason else "."
    return f"It waits for a person of the team since {since}{because} Take over, or hand it back to the agent."


def _asked(text: Received, around: Around) -> str:
    if around.throttled:
        return (
            f"The phone has used up TURNS_PER_HOUR or TURNS_PER_MINUTE; the text waits since "
            f"{moment(text.created_at)} and goes on by itself. Raise the limit, or take over."
        )
    turn = text.turn
    if turn is None:
        since = moment(text.created_at)
        return f"It waits for the agent since {since}. If that takes long, check worker and clock in /readyz."
    if turn.error:
        tries = f"attempt {turn.attempts}: {_sentence(turn.error)}"
        return f"The agent has not answered yet, {tries} It is asked again by itself; else take over."
    return f"The agent is being asked since {moment(turn.since)}. Wait, or take over."


def _answered(text: Received, around: Around) -> str | None:
    """Explain a text to which the agent has answered: its words may not have come to the phone."""
    if text.answered_by_person:
        return None
    if not text.answers:
        return NO_WORD
    return next(filter(None, (why_unsent(answer, around) for answer in text.answers)), None)


# -- texts to the person -------------------------------------------------------------------------------------------


def _unsent(text: Out, around: Around) -> str:
    if around.carrier_circuits:
        return f"{_open(around.carrier_circuits[0])} The answer waits, and is sent by itself once that is fixed."
    because = f": {_sentence(text.error)}" if text.error else "."
    return f"The answer waits to be sent since {moment(text.created_at)}{because} It is tried again by itself."


def _cause(text: Out) -> str:
    return _sentence(text.meaning or text.error or "the carrier gave no reason")


def _open(circuit: OpenCircuit) -> str:
    return f"{circuit.scope} serves none of our texts since {moment(circuit.since)}: {_sentence(circuit.cause)}"


def _sentence(words: str) -> str:
    """Return foreign words with an end, so that the remedy is a sentence of its own."""
    words = words.strip()
    return words if words.endswith((".", "!", "?")) else f"{words}."


def is_of_person(direction: Direction, instruction: object) -> bool:
    """Return whether a row is a text of the person, and not what an operator tells the agent."""
    return direction is Direction.IN and instruction is None
