"""Failures that are tried again: a turn is asked again, a text is sent again, the team is told again.

A retried turn may have been received by the agent. So its old chat is read first, and an answer there is sent. Without
one, the turn is asked in a new chat. It comes behind everything that the agent has had since.

A text that could not be sent keeps its place, before the texts that wait. If it may have reached the carrier, it is
reconciled first. A text that was accepted and not delivered is sent again as a new one, behind all that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select, update

from bridge.chats import instruction, rows
from bridge.db.models import (
    OPEN_TURN,
    Base,
    Conversation,
    Direction,
    HandoffNotice,
    Holder,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
)
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.operators import audit, conversations
from bridge.operators.audit import Action, Entry
from bridge.operators.failures import NO_ANSWER, NOT_SENT, NOT_TOLD, UNDELIVERED, Kind, Unknown
from bridge.outbound import notices, opt_outs
from bridge.providers.carriers.contract import NOT_DELIVERED
from bridge.queues.conversation_queue import DELIVERIES, TURNS, make_due
from bridge.runtime import Runtime

REOPENED = "an operator has a turn asked again"
"""Why a chat is retired: the turn goes to a new one."""


class Refused(BridgeError):
    """It can't be tried again. The words are for the operator."""


@dataclass(frozen=True)
class Retried:
    """What is tried again, and how much is left because it can't be yet."""

    turns: Sequence[int]
    messages: Sequence[int]
    left: int
    notices: Sequence[int] = field(default_factory=list)


def retry_turn(rt: Runtime, operator: str, turn_id: int) -> None:
    """Have a turn asked again. Raise :class:`Unknown` or :class:`Refused`."""
    with rt.database.transaction() as tx:
        turn = _locked(tx, Turn, turn_id)
        if turn.status is not TurnStatus.GIVEN_UP:
            raise Refused("This turn was not given up.")
        _must_be_in(tx, turn.conversation_id)
        if not _listens(tx, turn, operator):
            raise Refused("The agent does not have this conversation. Try again when it is back.")
        others = (Turn.conversation_id == turn.conversation_id, Turn.status.in_(OPEN_TURN))
        if tx.session.scalar(select(Turn.id).where(*others)):
            raise Refused("Another turn of this conversation is open. Try again when it is settled.")
        _reopen_turn(rt, tx, turn)
        audit.write(tx, Entry(operator, Action.RETRY, f"turn {turn_id}", turn.conversation_id))


def _listens(tx: Transaction, turn: Turn, operator: str) -> bool:
    """Return whether the agent may be asked. Who has the conversation may have a draft of theirs tried again."""
    pair = tx.session.get_one(Conversation, turn.conversation_id)
    return pair.holder is Holder.AGENT or (instruction.is_draft(turn.instruction) and conversations.has(pair, operator))


def retry_message(rt: Runtime, operator: str, message_id: int) -> None:
    """Have a text sent again. Raise :class:`Unknown` or :class:`Refused`."""
    with rt.database.transaction() as tx:
        message = _locked(tx, Message, message_id)
        again = _way_to_send_again(message)
        _must_be_in(tx, message.conversation_id)
        if opt_outs.forbid(tx, message):
            raise Refused("The person has opted out since this text was written.")
        message.expires_at, message.dismissed_at = tx.now + rt.settings.answer_within, None
        again(tx, message)
        audit.write(tx, Entry(operator, Action.RETRY, f"message {message_id}", message.conversation_id))


def retry_notice(rt: Runtime, operator: str, notice_id: int) -> None:
    """Have HANDOFF_WEBHOOK told again. Raise :class:`Unknown` or :class:`Refused`."""
    with rt.database.transaction() as tx:
        notice = tx.session.get(HandoffNotice, notice_id, with_for_update=True)
        if notice is None:
            raise Unknown
        if notice.given_up_at is None:
            raise Refused("This notice was not given up.")
        notices.retry(tx, notice)
        audit.write(tx, Entry(operator, Action.RETRY, f"notice {notice_id}", notice.conversation_id))


def retry_some(rt: Runtime, operator: str, kind: Kind | None, limit: int) -> Retried:
    """Retry the failures of a kind, or of all, the oldest first. Of a conversation one turn at a time is possible."""
    done: dict[Kind, list[int]] = {each: [] for each in Kind}
    left = 0
    for each, id_ in _oldest(rt, [kind] if kind else list(Kind), limit):
        try:
            RETRY[each](rt, operator, id_)
            done[each].append(id_)
        except (Refused, Unknown):
            left += 1
    return Retried(done[Kind.TURN], done[Kind.MESSAGE], left, done[Kind.NOTICE])


RETRY: dict[Kind, Callable[[Runtime, str, int], None]] = {
    Kind.TURN: retry_turn,
    Kind.MESSAGE: retry_message,
    Kind.NOTICE: retry_notice,
}

Row = TypeVar("Row", Turn, Message)


def _locked(tx: Transaction, table: type[Row], id_: int) -> Row:
    """Return the row. Its conversation is locked before it."""
    conversation_id = tx.session.scalar(select(table.conversation_id).where(table.id == id_))
    if conversation_id is None:
        raise Unknown
    conversations.lock(tx, conversation_id)
    return tx.session.get_one(table, id_, with_for_update=True)


def _must_be_in(tx: Transaction, conversation_id: int) -> None:
    if opt_outs.has_opted_out(tx, conversation_id):
        raise Refused("The person has opted out.")


def _reopen_turn(rt: Runtime, tx: Transaction, turn: Turn) -> None:
    """Make it the open turn of its conversation. If a chat may have received it, that chat is read first."""
    turn.status = TurnStatus.ASKING if turn.asked_at else TurnStatus.WAITING
    turn.reopened, turn.expires_at, turn.attempts = True, tx.now + rt.settings.answer_within, 0
    turn.failures, turn.failed_at, turn.items_at_last_check = 0, None, None
    turn.settled_at, turn.error, turn.dismissed_at, turn.draft = None, None, None, False
    merged = (Message.turn_id == turn.id, Message.direction == Direction.IN)
    tx.session.execute(update(Message).where(*merged).values(status=MessageStatus.IN_TURN, settled_at=None))
    tx.session.flush()
    if turn.asked_at:
        rows.retire(tx, turn.conversation_id, REOPENED)
    make_due(tx, TURNS, turn.conversation_id)


def _way_to_send_again(message: Message) -> Callable[[Transaction, Message], None]:
    if message.direction is Direction.IN:
        raise Refused("This is a person's text. Only turns and our own texts can be tried again.")
    if message.resent_as:
        raise Refused(f"This text was sent again as message {message.resent_as}.")
    if message.status is MessageStatus.GIVEN_UP:
        return _send_in_place
    if message.delivery in NOT_DELIVERED:
        return _send_as_new
    raise Refused("This text has not failed.")


def _send_in_place(tx: Transaction, message: Message) -> None:
    """A text that the carrier has refused with a code was surely not accepted. Any other attempt is reconciled."""
    surely_not_accepted = message.attempted_at is None or message.error_code is not None
    message.status = MessageStatus.QUEUED if surely_not_accepted else MessageStatus.SENDING
    message.attempts, message.not_before, message.resend_at = 0, None, None
    message.settled_at, message.error, message.error_code = None, None, None
    tx.session.flush()
    make_due(tx, DELIVERIES, message.conversation_id)


def _send_as_new(tx: Transaction, message: Message) -> None:
    """The sweep sends it again, as after an automatic pause."""
    message.resend_at = tx.now


FAILED: dict[Kind, tuple[type[Base], Any, Sequence[ColumnElement[bool]]]] = {
    Kind.TURN: (Turn, Turn.settled_at, [NO_ANSWER]),
    Kind.MESSAGE: (Message, Message.settled_at, [NOT_SENT, UNDELIVERED]),
    Kind.NOTICE: (HandoffNotice, HandoffNotice.given_up_at, [NOT_TOLD]),
}
"""The table of each kind, the time of a failure, and the conditions of those that can be retried."""


def _oldest(rt: Runtime, kinds: Sequence[Kind], limit: int) -> list[tuple[Kind, int]]:
    found: list[tuple[Kind, int]] = []
    with rt.database.read() as session:
        for kind in kinds:
            table, at, conditions = FAILED[kind]
            columns: Any = table
            for condition in conditions:
                oldest = select(columns.id).where(condition).order_by(at, columns.id)
                found += [(kind, id_) for id_ in session.scalars(oldest.limit(limit - len(found)))]
    return found
