"""The holder of a conversation: who answers the person.

    escalate      AGENT ──> WAITING              a human at the agent's provider has the chat; the person is told
    report        AGENT ──> WAITING              the same, while a turn is open: its worker tells the person
    give_back     WAITING ──> AGENT              that human has given the chat back, or it has ended
    ask_for_team  any but WAITING ──> WAITING    somebody of the team is wanted; the person and the team are told
    assign        any ──> PERSON                 an operator takes the conversation over
    hold_outside  AGENT ──> OUTSIDE              somebody texts the person with another tool
    hand_back     any ──> AGENT                  the agent answers again

While the holder is not the agent, texts are stored and wait. If a human at the provider has the chat,
``bridge.turns.handoff`` asks the provider again and again whether it is back. Otherwise the conversation is *held*:
nothing goes to the agent, and what it is just answering becomes a draft.

Every function runs in the caller's transaction, with the conversation locked: a crash leaves either nothing, or the new
holder and the message to the person.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, literal, select, update
from sqlalchemy.orm import aliased

from bridge.chats import instruction, rows
from bridge.db.models import (
    OPEN_TURN,
    WRITTEN_BY_PEOPLE,
    Chat,
    Conversation,
    Direction,
    Holder,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
    one_of,
)
from bridge.db.transaction import Transaction
from bridge.outbound import notices, outbox
from bridge.outbound.formatting.shape import answer
from bridge.outbound.outbox import Draft
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import TURNS
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SHORTEST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=5)
"""The pauses between two checks whether the chat is back. They grow with the time that the human has had it."""

SHARE = 4
"""A pause is a quarter of that time."""

HELD = "a person has got the conversation"
"""Why a turn is canceled. Its texts go on to wait."""

BEGUN = (MessageStatus.SENDING, MessageStatus.SENT)
"""Texts that the person has, or may have."""


def reason(provider: str) -> str:
    return f"a human at {provider} has the chat"


def is_at_provider(pair: Conversation) -> bool:
    """Return whether a human at the agent's provider has the chat, as far as known."""
    return pair.holder is Holder.WAITING and pair.holder_name is not None


def is_held(pair: Conversation) -> bool:
    """Return whether the agent must not be asked, whatever its provider says."""
    return pair.holder is not Holder.AGENT and not is_at_provider(pair)


def not_with_agent() -> ColumnElement[bool]:
    """Return a condition with the value written out, as in the partial index."""
    return Conversation.holder != literal(Holder.AGENT, Conversation.holder.type, literal_execute=True)


def at_provider() -> ColumnElement[bool]:
    """Return the condition for :func:`is_at_provider`. It begins with that of the partial index."""
    return and_(not_with_agent(), Conversation.holder == Holder.WAITING, Conversation.holder_name.is_not(None))


def for_team() -> ColumnElement[bool]:
    """Return the condition for a conversation that waits for the team."""
    return and_(not_with_agent(), Conversation.holder == Holder.WAITING, Conversation.holder_name.is_(None))


def open_turn(tx: Transaction, conversation_id: int) -> Turn | None:
    return tx.session.scalar(select(Turn).where(Turn.conversation_id == conversation_id, Turn.status.in_(OPEN_TURN)))


# -- a human at the agent's provider --------------------------------------------------------------------------------


def escalate(rt: Runtime, tx: Transaction, conversation_id: int, provider: str, words: str | None) -> None:
    """Record that a human at the provider has the chat, and tell the person, unless both have happened.

    ``words``: what the person must still read. Empty: HANDOFF_REPLY. ``None``: nothing.
    """
    pair = tx.session.get_one(Conversation, conversation_id)
    is_new = _is_reported(rt, tx, pair, provider)
    if is_at_provider(pair) and pair.handoff_told_at is None:
        pair.handoff_told_at = tx.now
        if words is not None:
            _tell(rt, tx, pair, words)
    if is_new:
        notices.put(rt, tx, pair.id, reason(provider))


def _tell(rt: Runtime, tx: Transaction, pair: Conversation, words: str) -> None:
    """Put the agent's words into the outbox, or HANDOFF_REPLY if there are none for a phone."""
    shaped = answer([words], outbox.recipient(rt, pair.phone), join=rt.settings.reply_join)
    if shaped.messages:
        outbox.put(tx, pair.id, Draft(shaped, tx.now + rt.settings.answer_within))
    else:
        outbox.put_notice(rt, tx, pair.id, rt.settings.handoff_reply)


def report(rt: Runtime, tx: Transaction, conversation_id: int, provider: str) -> None:
    """Record that a human at the provider has the chat. What the person has read of that is not known yet.

    Whoever of the team has the conversation keeps it.
    """
    if _is_reported(rt, tx, tx.session.get_one(Conversation, conversation_id), provider):
        notices.put(rt, tx, conversation_id, reason(provider))


def _is_reported(rt: Runtime, tx: Transaction, pair: Conversation, provider: str) -> bool:
    """Record the same. Return whether the person waits from now on. A notice to the team is the caller's last lock."""
    if is_held(pair):
        pair.human_at = provider
    if pair.holder is not Holder.AGENT:
        return False
    _wait(rt, tx, pair, reason(provider), provider)
    log.warning("conversation %s: %s; the agent is not asked until it is back", pair.id, reason(provider))
    return True


def give_back(tx: Transaction, conversation_id: int) -> None:
    """Record that the human at the provider has given the chat back. Another holder stays.

    If the agent does not know everything that the team has written meanwhile, its next text goes to a new chat.
    """
    pair = tx.session.get_one(Conversation, conversation_id)
    if is_at_provider(pair):
        _leave_behind(tx, pair)
        _set(tx, pair, Holder.AGENT)
        log.info("conversation %s: the agent answers again", pair.id)


def next_check(since: datetime | None, now: datetime) -> datetime:
    """Return when to ask the provider again."""
    away = now - (since or now)
    return now + max(SHORTEST_PAUSE, min(away / SHARE, LONGEST_PAUSE))


# -- the team -------------------------------------------------------------------------------------------------------


def ask_for_team(rt: Runtime, tx: Transaction, conversation_id: int, why: str) -> None:
    """Let the conversation wait for somebody of the team, unless it does so already. The agent keeps still.

    The person is told if they knew only the agent.
    """
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.holder is Holder.WAITING:
        return
    from_agent = pair.holder is Holder.AGENT
    _wait(rt, tx, pair, why)
    _keep_agent_still(tx, conversation_id)
    if from_agent:
        pair.handoff_told_at = tx.now
        outbox.put_notice(rt, tx, conversation_id, rt.settings.handoff_reply)
    notices.put(rt, tx, conversation_id, why)
    log.warning("conversation %s waits for the team", conversation_id)  # an operator may have written why


def assign(tx: Transaction, conversation_id: int, operator: str) -> None:
    """Give the conversation to an operator. The agent keeps still."""
    pair = tx.session.get_one(Conversation, conversation_id)
    _set(tx, pair, Holder.PERSON, operator)
    _keep_agent_still(tx, conversation_id)


def hold_outside(tx: Transaction, conversation_id: int, until: datetime) -> None:
    """Record that somebody texts the person with another tool. The agent keeps still until then, or longer.

    A person of the team who has the conversation, or is wanted, stays.
    """
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.holder is Holder.AGENT:
        _set(tx, pair, Holder.OUTSIDE)
        pair.holder_reason = "somebody has texted with another tool"
        _keep_agent_still(tx, conversation_id)
        log.info("conversation %s: somebody texts with another tool; the agent keeps still", conversation_id)
    if pair.holder is Holder.OUTSIDE:
        pair.holder_until = max(until, pair.holder_until or until)


@dataclass(frozen=True)
class Return:
    """How the agent gets a conversation back."""

    handled_until: datetime | None
    """Texts that came until then were answered by people. The later ones go to the agent."""
    note: str | None = None
    """A sentence for the agent."""


def hand_back(rt: Runtime, tx: Transaction, conversation_id: int, how: Return) -> None:
    """Let the agent answer again.

    If it does not know everything that was written meanwhile, its next text goes to a new chat, which gets a recap. A
    human at the provider who had the chat before may still have it. Then that is checked first.
    """
    pair = tx.session.get_one(Conversation, conversation_id)
    human_at = pair.human_at
    if how.note:
        pair.agent_note, pair.agent_note_at = how.note, tx.now
    if not human_at:
        _leave_behind(tx, pair)
    if how.handled_until:
        _handle_turn(tx, conversation_id, how.handled_until)
        _handle_texts(tx, Message.conversation_id == conversation_id, how.handled_until)
    turn = _reopen_turn(rt, tx, conversation_id)
    _set(tx, pair, Holder.WAITING if human_at else Holder.AGENT, human_at)
    if human_at:
        pair.holder_reason = reason(human_at)
        if not (turn and turn.status is TurnStatus.ASKING):  # else its answer may have words about the human
            pair.handoff_told_at = pair.handoff_told_at or tx.now
    tx.session.flush()
    conversation_queue.make_due(tx, TURNS, conversation_id)
    if not human_at:  # else the check of the chat says so
        log.info("conversation %s: the agent answers again", conversation_id)


def _wait(rt: Runtime, tx: Transaction, pair: Conversation, why: str, provider: str | None = None) -> None:
    _set(tx, pair, Holder.WAITING, provider)
    pair.holder_reason = why
    pair.holder_until = tx.now + rt.settings.handoff_within if rt.settings.handoff_within else None


def _set(tx: Transaction, pair: Conversation, holder: Holder, name: str | None = None) -> None:
    human_at = pair.holder_name if is_at_provider(pair) else pair.human_at
    told_at = pair.handoff_told_at if human_at else None
    pair.holder, pair.holder_name, pair.holder_since = holder, name, tx.now
    pair.holder_reason = pair.holder_until = None
    pair.human_at = human_at if is_held(pair) else None
    # What the person was told of the human at the provider counts until that one has given the chat back.
    pair.handoff_told_at = told_at if pair.human_at or is_at_provider(pair) else None
    pair.changed_at = tx.now


def _keep_agent_still(tx: Transaction, conversation_id: int) -> None:
    """Turn answers into drafts: the one that the agent is just giving, and those that nobody has begun to send.

    A worker that is opening a chat for a turn loses its lease, so that it does not ask there.
    """
    here = (Turn.conversation_id == conversation_id, Turn.status == TurnStatus.ASKING)
    asking = tx.session.scalars(update(Turn).where(*here).values(draft=True).returning(Turn.id)).all()
    if not asking:
        return_texts(tx, conversation_id)
        conversation_queue.revoke(tx, TURNS, [conversation_id])
    part = aliased(Message)
    begun = exists().where(part.turn_id == Message.turn_id, part.direction == Direction.OUT, part.status.in_(BEGUN))
    unsent = (
        Message.conversation_id == conversation_id,
        Message.status == MessageStatus.QUEUED,
        Message.turn_id.is_not(None),  # not the bridge's own texts, nor those of an operator
        Message.attempts == 0,
        ~begun,
    )
    # A draft has no name for callbacks, and no slot: it is sent as a new text, if at all.
    draft = {"status": MessageStatus.DRAFT, "reference": None, "not_before": None, "expires_at": None}
    tx.session.execute(update(Message).where(*unsent).values(draft), execution_options={"synchronize_session": False})


def return_texts(tx: Transaction, conversation_id: int) -> bool:
    """Cancel an open turn that the agent has surely not received. Its texts wait again, as if there had been none.

    What an operator says to the agent waits again as the turn that it is. A draft goes on: return False.
    """
    turn = open_turn(tx, conversation_id)
    if turn is None or instruction.is_draft(turn.instruction):
        return False
    texts = update(Message).where(Message.turn_id == turn.id, Message.direction == Direction.IN)
    if turn.instruction is None:
        tx.session.execute(texts.values(turn_id=None, status=MessageStatus.WAITING))
        turn.status, turn.settled_at, turn.error = TurnStatus.CANCELED, tx.now, HELD
    else:
        tx.session.execute(texts.values(status=MessageStatus.WAITING))
        turn.status, turn.draft = TurnStatus.QUEUED, False
    tx.session.flush()
    return True


def _leave_behind(tx: Transaction, pair: Conversation) -> None:
    """Retire the chat if people have written since it began, or have left a note: its agent does not know of it."""
    began = tx.session.scalar(select(Chat.started_at).where(rows.ongoing(pair.id)))
    if began is None:
        return
    theirs = (
        Message.conversation_id == pair.id,
        Message.direction == Direction.OUT,
        WRITTEN_BY_PEOPLE,
        Message.created_at >= began,
    )
    noted = pair.agent_note_at is not None and pair.agent_note_at >= began
    if noted or tx.session.scalar(select(exists().where(*theirs))):
        rows.retire(tx, pair.id, rows.PERSON_ANSWERED)


def _handle_turn(tx: Transaction, conversation_id: int, until: datetime) -> None:
    """Cancel the open turn if people have answered all its texts. A chat that may have received it gets no more."""
    turn = open_turn(tx, conversation_id)
    if turn is None or turn.instruction is not None:
        return
    texts = (Message.turn_id == turn.id, Message.direction == Direction.IN)
    newest = tx.session.scalar(select(func.max(Message.created_at)).where(*texts))
    if newest is None or newest > until:
        return
    if turn.status is TurnStatus.ASKING:
        rows.retire(tx, conversation_id, rows.PERSON_ANSWERED)
    turn.status, turn.settled_at, turn.items_at_last_check = TurnStatus.CANCELED, tx.now, None
    turn.error = rows.PERSON_ANSWERED
    tx.session.flush()
    _handle_texts(tx, Message.turn_id == turn.id, until)
    conversation_queue.revoke(tx, TURNS, [conversation_id])


def _handle_texts(tx: Transaction, which: ColumnElement[bool], until: datetime) -> None:
    waiting = (MessageStatus.WAITING, MessageStatus.IN_TURN)
    own = (Message.direction == Direction.IN, Message.operator.is_(None), Message.created_at <= until)
    answered = update(Message).where(which, *own, one_of(Message.status, waiting))
    tx.session.execute(answered.values(status=MessageStatus.HANDLED, settled_at=tx.now))


def _reopen_turn(rt: Runtime, tx: Transaction, conversation_id: int) -> Turn | None:
    """Let the answer to the open turn be sent, and return it. Give a person's turn as much time as a new text has."""
    turn = open_turn(tx, conversation_id)
    if turn is None:
        return None
    turn.draft = False
    if turn.instruction is None:
        turn.expires_at = max(turn.expires_at, tx.now + rt.settings.answer_within)
    return turn
