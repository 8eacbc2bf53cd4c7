"""The rows behind ``bridge.web.queries.unanswered``: what is known of the texts of one conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Direction, Message, MessageStatus, Turn
from bridge.outbound import opt_outs
from bridge.providers.agents import routes
from bridge.providers.carriers import contract
from bridge.queues import circuit_breakers, pause
from bridge.queues.circuit_breakers import OpenCircuit
from bridge.runtime import Runtime
from bridge.web.queries.unanswered import Around, Asked, Out, Received, is_of_person, why_unanswered, why_unsent

NEWEST = 200
"""Texts of a conversation among which its newest text of the person is searched."""

ASIDE = (MessageStatus.KEYWORD, MessageStatus.REACTION)
"""Texts after which an earlier one still waits for its answer."""


def reasons(
    rt: Runtime, session: Session, conversation: Conversation, messages: Sequence[Message]
) -> Mapping[int, str | None]:
    """Return why each of these texts was not answered, or not sent, by its id."""
    around = _around(rt, session, conversation)
    turns, answers = _turns(session, messages), _answers(rt, session, messages)
    written = max(_by_operators(session, conversation.id), _outside(messages))
    found: dict[int, str | None] = {}
    for message in messages:
        if message.direction is Direction.OUT:
            found[message.id] = None if message.resent_as else why_unsent(_out(rt, message), around)
        else:
            turn = turns.get(message.turn_id or 0)
            received = Received(
                status=message.status,
                created_at=message.created_at,
                error=message.error,
                turn=_asked(turn) if turn else None,
                answers=answers[message.turn_id or 0],
                answered_by_person=written > message.id,
            )
            found[message.id] = why_unanswered(received, around)
    return found


def reason_of_newest(rt: Runtime, session: Session, conversation: Conversation) -> str | None:
    """Return why the newest text of the person was not answered."""
    newest = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.id.desc()).limit(NEWEST)
    since: list[Message] = []
    for message in session.scalars(newest):
        since.append(message)
        if is_of_person(message.direction, message.instruction) and message.status not in ASIDE:
            return reasons(rt, session, conversation, since)[message.id]
    return None


def _around(rt: Runtime, session: Session, conversation: Conversation) -> Around:
    agent = routes.scopes(rt.agents.route(conversation.bridge_number))
    carrier = contract.scopes(rt.carrier, conversation.bridge_number)
    return Around(
        holder=conversation.holder,
        holder_name=conversation.holder_name,
        holder_since=conversation.holder_since,
        holder_reason=conversation.holder_reason,
        holder_until=conversation.holder_until,
        opted_out=bool(session.scalar(select(opt_outs.is_out(conversation.id)))),
        paused=pause.read(session),
        agent_circuits=_open(session, agent),
        carrier_circuits=_open(session, carrier),
        throttled=conversation.throttled_at is not None,
    )


def _open(session: Session, scopes: Sequence[str]) -> Sequence[OpenCircuit]:
    return circuit_breakers.open_circuits(session, scopes)


def _turns(session: Session, messages: Sequence[Message]) -> dict[int, Turn]:
    found = session.scalars(select(Turn).where(Turn.id.in_(_turn_ids(messages))))
    return {turn.id: turn for turn in found}


def _answers(rt: Runtime, session: Session, messages: Sequence[Message]) -> dict[int, list[Out]]:
    """Return the texts that answer these turns. A copy that was sent again does not count."""
    theirs = (Message.turn_id.in_(_turn_ids(messages)), Message.direction == Direction.OUT)
    answers: dict[int, list[Out]] = defaultdict(list)
    for answer in session.scalars(select(Message).where(*theirs, Message.resent_as.is_(None)).order_by(Message.id)):
        answers[answer.turn_id or 0].append(_out(rt, answer))
    return answers


def _turn_ids(messages: Sequence[Message]) -> list[int]:
    return sorted({message.turn_id for message in messages if message.turn_id})


def _by_operators(session: Session, conversation_id: int) -> int:
    """Return the newest text that an operator has written here; 0: none."""
    theirs = (Message.conversation_id == conversation_id, Message.operator.is_not(None))
    return session.scalar(select(func.max(Message.id)).where(*theirs, Message.direction == Direction.OUT)) or 0


def _outside(messages: Sequence[Message]) -> int:
    """Return the newest of these texts that somebody outside has written; 0: none."""
    return max((message.id for message in messages if message.status is MessageStatus.OUTSIDE), default=0)


def _asked(turn: Turn) -> Asked:
    return Asked(turn.status, turn.asked_at or turn.created_at, turn.attempts, turn.error)


def _out(rt: Runtime, message: Message) -> Out:
    known = message.error_code is not None
    return Out(
        status=message.status,
        created_at=message.created_at,
        delivery=message.delivery,
        error=message.error,
        meaning=rt.carrier.meaning(message.error_code).sentence if known else None,
        resend_at=message.resend_at,
    )
