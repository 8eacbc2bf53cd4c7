"""The claim of a turn: lease the conversation's queue of turns, and merge the waiting texts into a turn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile

from sqlalchemy import ColumnElement, func, select

from bridge.chats import instruction, rows
from bridge.chats.recap import note_of, recap
from bridge.chats.rows import OpenChat
from bridge.config import Route
from bridge.db.models import (
    Chat,
    Conversation,
    Direction,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
)
from bridge.db.sealing import joined
from bridge.db.transaction import Transaction
from bridge.inbound import holder, limits
from bridge.providers.agents.contract import NewChat
from bridge.providers.agents.routes import scopes
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import TURNS, Lease
from bridge.queues.timing import TURN_LEASE_MARGIN
from bridge.runtime import Runtime
from bridge.turns import rules, store
from bridge.turns.store import DueQueue, NewTurn, Snapshot
from bridge.turns.values import ClaimedCheck, ClaimedTurn

log = logging.getLogger(__name__)

AS_SENT = (Message.created_at, Message.id)
"""The order of waiting texts. Ids alone do not give it: catch-up may store a text after newer ones."""

LONGEST_TURN = 2
"""Answers of the agent for which one attempt may wait: in an old chat that has ended, and in a new one."""


def claim_turn(rt: Runtime, conversation_id: int) -> ClaimedTurn | ClaimedCheck | None:
    """Lease the conversation's queue of turns and, in the same commit, record that the turn is being asked.

    If the worker dies after this commit, the next one reconciles the turn with the chat's transcript before it asks
    again. Return ``None`` if nothing is due, another worker has the lease, a person has the conversation, or a limit or
    an open circuit stops it. Return a check in place of a turn if a human at the provider has the chat.
    """
    worker = rt.heartbeat.worker
    if not rt.heartbeat.may_start_work(worker):
        return None
    with rt.database.transaction() as tx:
        lease = conversation_queue.claim(tx, TURNS, conversation_id, worker=worker, lease_for=_lease_for(rt))
        if lease is None:
            return None
        pair = tx.session.get_one(Conversation, conversation_id)
        route = rt.agents.route(pair.bridge_number)
        turn = holder.open_turn(tx, conversation_id)
        if holder.is_held(pair):
            turn = _while_held(tx, conversation_id, turn)
            if turn is None:
                conversation_queue.postpone(tx, lease, None)
                return None
        if check := _check(rt, tx, _Queue(lease, pair, route), turn):
            return check
        turn = turn or _next_turn(rt, tx, lease, pair)
        if turn is None:
            return None
        chat = _chat(rt, tx, turn, route)
        claimed = _claimed(tx, _Found(lease, pair, turn, chat, route))
        needed = (circuit_breakers.EVERY_AGENT, *((chat.provider,) if chat else scopes(route)))
        unasked = rt.now() >= turn.expires_at or claimed.unreadable  # then it is no probe
        probed = () if unasked else circuit_breakers.admit(tx, needed)
        if probed is None:
            tx.roll_back()
            return None
        turn.attempts, claimed = claimed.attempts, replace(claimed, probed=probed)
        if claimed.chat and not (claimed.outcome_unknown or claimed.with_human or claimed.unreadable):
            begin_asking(tx, claimed, claimed.chat)
        return claimed


def claim_due(rt: Runtime, most: int) -> tuple[list[ClaimedTurn], list[int]]:
    """Claim at most so many queues that are due, in one transaction. Return the turns that have begun.

    The second list has conversations in which something else must happen: :func:`claim_turn` decides. The caller marks
    nothing: the leases are in hand, as after ``rt.heartbeat.take``.
    """
    worker = rt.heartbeat.worker
    if not rt.heartbeat.may_start_work(worker):
        return [], []
    begun: list[int] = []
    try:
        with rt.database.transaction() as tx:
            queues = store.due(tx, most)
            if not queues:
                return [], []
            new = _beginnings(rt, tx, queues)
            begun = [turn.snapshot.queue.conversation_id for turn in new]
            rt.heartbeat.take(TURNS, begun)
            turns = store.begin(tx, new, worker, tx.now + _lease_for(rt))
            others = [queue for queue in queues if queue.conversation_id not in set(begun)]
            store.hand_over(tx, others)
            claimed = [_begun(rt, tx, turn, turn_id, worker) for turn, turn_id in zip(new, turns, strict=True)]
    except BaseException:
        rt.heartbeat.let_go(TURNS, begun)
        raise
    return claimed, [queue.conversation_id for queue in others]


def _lease_for(rt: Runtime) -> timedelta:
    return LONGEST_TURN * rt.settings.agent_timeout + TURN_LEASE_MARGIN


def _beginnings(rt: Runtime, tx: Transaction, queues: Sequence[DueQueue]) -> list[NewTurn]:
    """Return the turns that can simply begin. Their chats are locked."""
    few = rules.answers_counted(rt.settings)
    found = store.snapshots(tx, queues, texts=rules.MAX_TEXTS + 1, few=few, since=tx.now - limits.HOUR)
    new = []
    for each in found:
        route = rt.agents.route(each.queue.bridge_number)
        if expires_at := rules.expiry(each, rt.settings, route, tx.now):
            new.append(NewTurn(each, expires_at))
    usable = store.use_chats(tx, [turn.snapshot.chat for turn in new if turn.snapshot.chat])
    return [turn for turn in new if turn.snapshot.chat is None or turn.snapshot.chat.id in usable]


def _begun(rt: Runtime, tx: Transaction, turn: NewTurn, turn_id: int, worker: str) -> ClaimedTurn:
    queue, chat = turn.snapshot.queue, turn.snapshot.chat
    route = rt.agents.route(queue.bridge_number)
    return ClaimedTurn(
        lease=store.lease_of(queue, worker),
        phone=queue.phone,
        bridge_number=queue.bridge_number,
        turn_id=turn_id,
        content="\n".join(text.body for text in turn.snapshot.texts),
        texts=tuple(text.id for text in turn.snapshot.texts),
        received_at=turn.snapshot.texts[0].created_at,
        before_due=rules.before_due(queue, turn.snapshot.texts[0].created_at),
        attempts=1,
        expires_at=turn.expires_at,
        outcome_unknown=False,
        asked_at=tx.now if chat else None,
        response_received=False,
        items_at_last_check=None,
        probed=(),
        failures=0,
        error=None,
        agent=(route.provider, route.agent_id),
        chat=chat,
        about=None if chat else replace(_new_chat(rt, tx, turn.snapshot, route), turn_id=turn_id),
    )


def _new_chat(rt: Runtime, tx: Transaction, snapshot: Snapshot, route: Route) -> NewChat:
    """Return the facts for a new chat. Only a person who was here before needs a recap."""
    queue = snapshot.queue
    before = note = ""
    if snapshot.has_history or queue.noted:
        conversation = tx.session.get_one(Conversation, queue.conversation_id)
        before = recap(tx.session, rt.settings, conversation, tx.now)
        note = note_of(rt.settings, conversation, tx.now)
    return NewChat(
        conversation_id=queue.conversation_id,
        user_number=queue.phone,
        agent_number=queue.bridge_number,
        previous_conversation=before,
        team_note=note,
        route=route,
    )


@dataclass(frozen=True)
class _Queue:
    """A queue that is leased, its row, and the agent of its number."""

    lease: Lease
    pair: Conversation
    route: Route


def _check(rt: Runtime, tx: Transaction, queue: _Queue, turn: Turn | None) -> ClaimedCheck | None:
    """Return the check that must come before the next turn. ``None``: no human has the chat, or a text expires.

    A turn that may have been received is reconciled, whoever has the chat.
    """
    pair = queue.pair
    if not holder.is_at_provider(pair) or (turn and turn.status is TurnStatus.ASKING):
        return None
    chat = rows.find(tx, rows.ongoing(pair.id))
    if chat is None or (chat.provider, chat.agent_id) != (queue.route.provider, queue.route.agent_id):
        holder.give_back(tx, pair.id)
        return None
    expires_at = first_expiry(rt, tx, pair.id)
    if expires_at and expires_at <= tx.now:
        return None
    return ClaimedCheck(queue.lease, chat, pair.holder_since)


def first_expiry(rt: Runtime, tx: Transaction, conversation_id: int) -> datetime | None:
    """Return when the first of the texts that wait for the agent expires. ``None``: none waits."""
    if turn := holder.open_turn(tx, conversation_id):
        return turn.expires_at  # what waits behind it comes after it
    pair = tx.session.get_one(Conversation, conversation_id)
    oldest = tx.session.scalar(select(func.min(Message.created_at)).where(*_waiting(conversation_id)))
    return oldest and rules.waits_since(oldest, pair.holder_since) + rt.settings.answer_within


def _next_turn(rt: Runtime, tx: Transaction, lease: Lease, pair: Conversation) -> Turn | None:
    """Make a turn of the waiting texts.

    If there are none, or the person has had too many turns, end the lease and return ``None``.
    """
    if pair.throttled_at:
        _ignore_too_old(rt, tx, pair, pair.throttled_at)
    waiting = select(Message).where(*_waiting(lease.conversation_id)).order_by(*AS_SENT)
    texts = tx.session.scalars(waiting.limit(rules.MAX_TEXTS)).all()
    if not texts:
        conversation_queue.settle(tx, lease)
        return None
    if texts[0].instruction:
        return _instructed(tx, texts[0])
    free_at = limits.free_at(rt, tx, pair.phone)
    if free_at > rt.now():
        first = tx.session.scalar(waiting.where(Message.instruction.is_not(None)).limit(1))
        if first:  # the limits are the person's
            return _instructed(tx, first)
        pair.throttled_at = rt.now()
        _keep_waiting(rt, tx, _Throttled(lease, pair, free_at))
        return None
    return _merge(rt, tx, pair, list(takewhile(lambda text: text.instruction is None, texts)))


def _while_held(tx: Transaction, conversation_id: int, turn: Turn | None) -> Turn | None:
    """Return the turn that goes on while a person has the conversation.

    ``turn``: the open one. It goes on if the agent may have received it. If not, its texts wait again. The next draft
    that an operator wants goes on in any case.
    """
    if turn and turn.status is TurnStatus.WAITING and holder.return_texts(tx, conversation_id):
        turn = None
    return turn or _wanted_draft(tx, conversation_id)


def _wanted_draft(tx: Transaction, conversation_id: int) -> Turn | None:
    """Return the turn of a draft that an operator has asked for. A person who has the conversation may do that."""
    instructed = (*_waiting(conversation_id), Message.instruction.is_not(None))
    for text in tx.session.scalars(select(Message).where(*instructed).order_by(*AS_SENT)):
        if instruction.is_draft(text.instruction):
            return _instructed(tx, text)
    return None


def _instructed(tx: Transaction, text: Message) -> Turn:
    """Return the turn of what an operator says to the agent. It has waited for its text, and is open now."""
    turn = tx.session.get_one(Turn, text.turn_id)
    turn.status, text.status = TurnStatus.WAITING, MessageStatus.IN_TURN
    tx.session.flush()
    return turn


def _waiting(conversation_id: int) -> tuple[ColumnElement[bool], ...]:
    return Message.conversation_id == conversation_id, Message.status == MessageStatus.WAITING


@dataclass(frozen=True)
class _Throttled:
    """A queue whose person has had too many turns."""

    lease: Lease
    pair: Conversation
    free_at: datetime
    """When they may have one again."""


def _keep_waiting(rt: Runtime, tx: Transaction, throttled: _Throttled) -> None:
    """Postpone the queue until the person may have a turn again, or until the oldest text expires."""
    pair = throttled.pair
    _ignore_too_old(rt, tx, pair, rt.now())
    oldest = tx.session.scalar(select(func.min(Message.created_at)).where(*_waiting(pair.id)))
    expires_at = oldest and rules.waits_since(oldest, pair.holder_since) + rt.settings.answer_within
    conversation_queue.postpone(tx, throttled.lease, expires_at and min(throttled.free_at, expires_at))
    limits.notify(rt, tx, pair.id, rt.settings.rate_limit_reply)


def _ignore_too_old(rt: Runtime, tx: Transaction, pair: Conversation, throttled_at: datetime) -> None:
    """Ignore expired texts that waited for a limit. To give each of them up would send a fallback reply for each."""
    expired_since = rt.now() - rt.settings.answer_within
    if pair.holder_since and pair.holder_since > expired_since:
        return  # texts from before wait for the agent since then
    ignored = limits.ignore_waiting(tx, pair.id, min(throttled_at, expired_since), rt.now())
    if ignored:
        log.warning("%s texts in conversation %s are ignored: %s", ignored, pair.id, limits.TOO_MANY)


def _merge(rt: Runtime, tx: Transaction, pair: Conversation, texts: Sequence[Message]) -> Turn:
    """Merge these texts, in order, into a new turn. Expired texts get their own, so that no fresh text is lost."""
    expiries = {
        text.id: rules.waits_since(text.created_at, pair.holder_since) + rt.settings.answer_within for text in texts
    }
    texts = [text for text in texts if expiries[text.id] <= rt.now()] or texts
    turn = Turn(
        conversation_id=pair.id,
        status=TurnStatus.WAITING,
        attempts=0,
        created_at=rt.now(),
        expires_at=min(expiries[text.id] for text in texts),
    )
    tx.session.add(turn)
    tx.session.flush()
    for text in texts:
        text.turn_id, text.status = turn.id, MessageStatus.IN_TURN
    tx.session.flush()
    return turn


def _chat(rt: Runtime, tx: Transaction, turn: Turn, route: Route) -> OpenChat | None:
    """Return the chat that received the turn, or may have. For a turn not asked yet, return the open chat, if any.

    A turn that begins a new chat leaves the open one, unless it is its own.
    """
    if turn.status is TurnStatus.ASKING:
        return rows.find(tx, Chat.id == turn.chat_id)
    chat = rows.find_ongoing(tx, turn.conversation_id, route)
    wishes = instruction.of_row(turn.instruction)
    if chat and wishes and wishes.start and chat.id != turn.chat_id:
        rows.retire(tx, turn.conversation_id, rows.ANOTHER)
        return None
    return chat


@dataclass(frozen=True)
class _Found:
    """The rows of a turn that is claimed alone."""

    lease: Lease
    pair: Conversation
    turn: Turn
    chat: OpenChat | None
    route: Route


def _claimed(tx: Transaction, found: _Found) -> ClaimedTurn:
    turn, chat = found.turn, found.chat
    received = (Message.turn_id == turn.id, Message.direction == Direction.IN)
    texts = tx.session.execute(
        select(Message.id, Message.created_at, Message.body).where(*received).order_by(*AS_SENT)
    ).all()
    return ClaimedTurn(
        lease=found.lease,
        phone=found.pair.phone,
        bridge_number=found.pair.bridge_number,
        turn_id=turn.id,
        content=joined(text.body for text in texts),
        texts=tuple(text.id for text in texts),
        received_at=texts[0].created_at if texts else None,
        attempts=turn.attempts + 1,
        expires_at=turn.expires_at,
        outcome_unknown=turn.status is TurnStatus.ASKING,
        asked_at=turn.asked_at,
        response_received=turn.response_received,
        items_at_last_check=turn.items_at_last_check,
        probed=(),
        failures=turn.failures,
        error=turn.error,
        reopened=turn.reopened,
        agent=(chat.provider, chat.agent_id) if chat else (found.route.provider, found.route.agent_id),
        chat=chat,
        with_human=holder.is_at_provider(found.pair),
        held=holder.is_held(found.pair) and not instruction.is_draft(turn.instruction),
        instruction=instruction.of_row(turn.instruction),
        chat_requested_at=turn.chat_requested_at,
    )


def begin_asking(tx: Transaction, claimed: ClaimedTurn, chat: OpenChat) -> None:
    """Record that the turn is being asked in this chat. It is committed before the call: the agent may receive it."""
    turn = tx.session.get_one(Turn, claimed.turn_id)
    turn.status, turn.chat_id, turn.asked_at = TurnStatus.ASKING, chat.id, tx.now
    turn.response_received, turn.items_at_last_check = False, None
    turn.chat_requested_at, turn.reopened = None, False
    tx.session.get_one(Chat, chat.id).last_activity_at = tx.now
