"""The end of an attempt: the turn is settled, or due again. Each is one transaction that may be run twice."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlalchemy import update

from bridge.chats import rows
from bridge.chats.steps import record
from bridge.db.engine import patient
from bridge.db.models import Conversation, Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.lib import waits
from bridge.outbound import outbox, rate_limiter
from bridge.outbound.delivery.claim import STILL_ON_ITS_WAY
from bridge.outbound.delivery.values import Answers, ClaimedDelivery
from bridge.outbound.formatting import shape
from bridge.outbound.formatting.shape import Shaped
from bridge.outbound.outbox import Draft
from bridge.providers.agents.contract import Item
from bridge.providers.agents.transcript import handoff
from bridge.providers.carriers.contract import OutgoingText
from bridge.providers.errors import RemoteError
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, TURNS, Lease
from bridge.queues.timing import DELIVERY_LEASE, MAX_CLOCK_SKEW
from bridge.runtime import Runtime
from bridge.turns import poison, rules, store
from bridge.turns.record import ended
from bridge.turns.store import LeasedText, OutboundText, Outlook, Settlement
from bridge.turns.values import Answer, ClaimedTurn, Escalated, GiveUp, RetryAt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """An answer, and what the phone gets of it."""

    claimed: ClaimedTurn
    answer: Answer
    shaped: Shaped
    references: tuple[str, ...]
    """The names of its texts: they show whether an earlier commit, whose outcome was lost, was carried out."""
    waited: float = 0.0
    """The seconds of the calls to the agent's provider."""


@dataclass(frozen=True)
class Settled:
    """What follows from a settled turn."""

    more: bool
    """Another turn of this conversation is due, for this worker."""
    delivery: ClaimedDelivery | None = None
    """The first text of the answer, leased to be sent now."""


def settle_answered(rt: Runtime, claimed: ClaimedTurn, answer: Answer) -> Settled:
    """Close the turn, put its answers into the outbox, and lease the first of them, in one commit."""
    to = outbox.recipient(rt, claimed.phone)
    shaped = shape.answer(answer.texts, to, join=rt.settings.reply_join)  # before the transaction: it may take a second
    special = claimed.instruction or claimed.probed or claimed.with_human
    settled = None
    if not (special or answer.ended or answer.escalated or answer.silent):
        references = tuple(secrets.token_hex(16) for _ in shaped.messages)
        settled = _together(rt, Answered(claimed, answer, shaped, references, waits.seconds()))
    settled = settled or Settled(_settle(rt, claimed, answer, shaped))
    empty = ", and the answer has no text for the person" if answer.texts and not shaped.messages else ""
    log.info("turn %s is answered%s", claimed.turn_id, empty, extra=ended(claimed, "answered"))
    return settled


@patient
def _together(rt: Runtime, answered: Answered) -> Settled | None:
    """Settle it with others. Run again, it finds what the first run has committed."""
    settled = rt.together(settle_many, answered)
    return settled or _committed(rt, answered)


def _committed(rt: Runtime, answered: Answered) -> Settled | None:
    """Return what a commit has left whose outcome was lost, if the first text still has this worker's lease."""
    claimed = answered.claimed
    with rt.database.transaction() as tx:
        found = store.find_leased(tx, claimed.lease, answered.references[:1])
        if found is None:
            return None
        rt.heartbeat.take(DELIVERIES, [claimed.lease.conversation_id])
        first = OutboundText(answered.shaped.messages[0].body, 1, answered.references[0])
        return Settled(False, _delivery(answered, found, first, tx.now))


def settle_many(rt: Runtime, answered: Sequence[Answered]) -> Sequence[Settled | None]:
    """Settle turns that were answered. ``None``: the turn needs a transaction of its own."""
    leased: list[int] = []
    try:
        with rt.database.transaction() as tx:
            outlooks = store.outlooks(tx, [each.claimed.lease for each in answered])
            may = {
                n: each
                for n, each in enumerate(answered)
                if n in outlooks and rules.may_settle(outlooks[n], each.shaped, rt.settings)
            }
            slots = _slots(
                rt, tx, {n: each for n, each in may.items() if rules.may_send(outlooks[n], each.shaped)}, outlooks
            )
            ends = {n: _settlement(tx, each, outlooks[n], slots.get(n)) for n, each in may.items()}
            leased = [end.lease.conversation_id for end in ends.values() if end.leases_delivery]
            rt.heartbeat.take(DELIVERIES, leased)
            ids = store.settle(tx, list(ends.values())) if ends else {}
            for end in ends.values():
                _wake(tx, end)
            return [
                _settled(tx, each, outlooks[n], ends[n], ids) if n in ends else None for n, each in enumerate(answered)
            ]
    except BaseException:
        rt.heartbeat.let_go(DELIVERIES, leased)
        raise


def _slots(
    rt: Runtime, tx: Transaction, sent: Mapping[int, Answered], outlooks: Mapping[int, Outlook]
) -> dict[int, datetime]:
    """Reserve a slot for the first text of each of these answers, in order. Texts without one get it later."""
    senders: dict[str, list[int]] = {}
    for n in sent:
        senders.setdefault(rt.carrier.sending_identity(outlooks[n].bridge_number), []).append(n)
    slots: dict[int, datetime] = {}
    for sender, places in sorted(senders.items()):
        segments = [sent[n].shaped.messages[0].segments for n in places]
        expires_at = min(sent[n].claimed.expires_at for n in places)
        airtime = partial(rate_limiter.airtime, rt.settings, sender)
        moments = rate_limiter.reserve_many(tx, sender, segments, airtime, expires_at) if expires_at > tx.now else None
        slots.update(zip(places, moments or (), strict=False))
    return slots


def _settlement(tx: Transaction, each: Answered, outlook: Outlook, slot: datetime | None) -> Settlement:
    claimed, messages = each.claimed, each.shaped.messages
    now = slot is not None and slot <= tx.now
    named = zip(messages, each.references, strict=True)
    texts = [OutboundText(sms.body, sms.segments, reference) for sms, reference in named]
    if slot:
        texts[0] = replace(texts[0], not_before=slot, sending=now)
    waits_until = slot or tx.now - MAX_CLOCK_SKEW
    return Settlement(
        lease=claimed.lease,
        turn_id=claimed.turn_id,
        chat_id=each.answer.chat.id,
        bookmark=each.answer.bookmark,
        more=outlook.more,
        expires_at=claimed.expires_at,
        texts=tuple(texts),
        deliver_at=(tx.now + DELIVERY_LEASE if now else waits_until) if texts else None,
        leases_delivery=now,
        steps=record(each.answer.items),
    )


def _wake(tx: Transaction, end: Settlement) -> None:
    """Wake workers for what this worker does not do itself."""
    if end.more:
        tx.wake(TURNS.task, end.lease.conversation_id)
    if end.texts and not end.leases_delivery:
        tx.wake(DELIVERIES.task, end.lease.conversation_id)


def _settled(tx: Transaction, each: Answered, outlook: Outlook, end: Settlement, ids: Mapping[str, int]) -> Settled:
    if not end.leases_delivery:
        return Settled(more=False)
    first = end.texts[0]
    leased = LeasedText(ids[first.reference], outlook.bridge_number, outlook.delivery_token + 1)
    return Settled(more=False, delivery=_delivery(each, leased, first, tx.now))


def _delivery(answered: Answered, leased: LeasedText, text: OutboundText, now: datetime) -> ClaimedDelivery:
    claimed = answered.claimed
    return ClaimedDelivery(
        lease=Lease(DELIVERIES, claimed.lease.conversation_id, leased.token, claimed.lease.worker),
        message_id=leased.message_id,
        text=OutgoingText(text.reference, leased.bridge_number, claimed.phone, text.body),
        attempts=1,
        first_attempt_at=now,
        expires_at=claimed.expires_at,
        outcome_unknown=False,
        absent_after=now + STILL_ON_ITS_WAY,
        answers=_answers(answered),
    )


def _answers(answered: Answered) -> Answers | None:
    claimed = answered.claimed
    if claimed.received_at is None:
        return None
    waited = None
    if claimed.attempts == 1 and claimed.before_due is not None:
        waited = claimed.before_due + answered.waited
    return Answers(claimed.turn_id, min(claimed.texts), claimed.received_at, waited=waited)


@patient
def _settle(rt: Runtime, claimed: ClaimedTurn, answer: Answer, shaped: Shaped) -> bool:
    with rt.database.transaction() as tx:
        more = conversation_queue.settle(tx, claimed.lease, rt.settings.reply_debounce)
        _close_circuits(tx, claimed)
        _close_turn(tx, claimed, TurnStatus.ANSWERED, MessageStatus.ANSWERED)
        _keep_steps(tx, claimed, answer.items)
        rows.advance(tx, answer.chat, answer.bookmark, answer.ended)
        draft = Draft(shaped, expires_at=claimed.expires_at, turn_id=claimed.turn_id)
        pair = tx.session.get_one(Conversation, claimed.lease.conversation_id)
        is_draft = holder.is_held(pair) or tx.session.get_one(Turn, claimed.turn_id).draft
        (outbox.keep if is_draft or not claimed.sends else outbox.put)(tx, pair.id, draft)
        if holder.is_held(pair):
            if answer.escalated:
                holder.report(rt, tx, pair.id, answer.chat.provider)
            return more
        _settle_holder(rt, tx, claimed, answer)
        _count_silence(rt, tx, claimed, answer)
    return more


def _settle_holder(rt: Runtime, tx: Transaction, claimed: ClaimedTurn, answer: Answer) -> None:
    """Record who answers the person's next text: a human who has got the chat, or the agent that has answered."""
    conversation_id = claimed.lease.conversation_id
    if answer.escalated and not claimed.sends:  # the person is told when they write
        holder.report(rt, tx, conversation_id, answer.chat.provider)
    elif answer.escalated:
        holder.escalate(rt, tx, conversation_id, answer.chat.provider, handoff(answer.items))
    elif claimed.with_human:
        holder.give_back(tx, conversation_id)


def _count_silence(rt: Runtime, tx: Transaction, claimed: ClaimedTurn, answer: Answer) -> None:
    """Count the turns in a row without a word of the agent, and tell the operators once there are too many.

    What an operator says to the agent does not count.
    """
    if claimed.instruction:
        return
    pair = tx.session.get_one(Conversation, claimed.lease.conversation_id)
    if not answer.silent:
        pair.silent_turns, pair.silent_since = 0, None
        return
    pair.silent_turns, pair.silent_since = pair.silent_turns + 1, pair.silent_since or tx.now
    if pair.silent_turns != rt.settings.silent_turns:
        return
    log.warning("conversation %s: the agent gives no word, %s turns in a row", pair.id, pair.silent_turns)
    if "silence" in rt.settings.handoff_on:
        holder.ask_for_team(rt, tx, pair.id, f"the agent gave no word, {pair.silent_turns} turns in a row")


@patient
def wait_for_agent(rt: Runtime, claimed: ClaimedTurn, outcome: Escalated) -> bool:
    """Let the turn wait until the human gives the chat back. It has cost no attempt. Tell the person once."""
    conversation_id, provider = claimed.lease.conversation_id, outcome.chat.provider
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        since = tx.session.get_one(Conversation, conversation_id).holder_since if claimed.with_human else tx.now
        due_at = min(holder.next_check(since, tx.now), claimed.expires_at)
        conversation_queue.postpone(tx, claimed.lease, due_at)
        turn = tx.session.get_one(Turn, claimed.turn_id)
        turn.status, turn.error = outcome.status or turn.status, holder.reason(provider)
        turn.attempts -= 1
        _close_circuits(tx, claimed)
        rows.move_bookmark(tx, outcome.chat, outcome.bookmark)
        holder.escalate(rt, tx, conversation_id, provider, outcome.words)
    log.info("turn %s waits for the agent: a human has the chat", claimed.turn_id, extra=ended(claimed, "with_human"))
    return False


@patient
def wait_for_person(rt: Runtime, claimed: ClaimedTurn) -> bool:
    """Let the turn wait, and the queue be due. The next claim sees who has the conversation by then."""
    with rt.database.transaction() as tx:
        conversation_queue.postpone(tx, claimed.lease, tx.now - MAX_CLOCK_SKEW)
        tx.session.get_one(Turn, claimed.turn_id).status = TurnStatus.WAITING
        _close_circuits(tx, claimed)
    log.info("turn %s waits: a person has the conversation", claimed.turn_id, extra=ended(claimed, "held"))
    return True


def failed(rt: Runtime, claimed: ClaimedTurn, error: RemoteError, status: TurnStatus | None = None) -> bool:
    """End the attempt with the provider's error: the turn comes due again, or is given up if no retry can help."""
    if not error.worth_retry:
        return give_up(rt, claimed, GiveUp(str(error)), retire=True)
    due_at = claimed.next_try(rt.now(), error.retry_after)
    retry = RetryAt(str(error), due_at, error=error, response_received=error.response_received)
    return postpone(rt, claimed, retry, status)


@patient
def postpone(rt: Runtime, claimed: ClaimedTurn, retry: RetryAt, status: TurnStatus | None = None) -> bool:
    """End the lease until ``retry.due_at``. An error of the whole provider trips its circuit and costs no attempt."""
    error = retry.error
    trips = error is not None and error.provider_wide
    with rt.database.transaction() as tx:
        conversation_queue.postpone(tx, claimed.lease, tx.now if trips else retry.due_at)
        turn = tx.session.get_one(Turn, claimed.turn_id)
        turn.error, turn.items_at_last_check = retry.reason, retry.items_at_last_check
        turn.status = status or turn.status
        if status is TurnStatus.WAITING and turn.chat_requested_at:  # this request has surely opened no chat
            turn.chat_requested_at = claimed.chat_requested_at
        _close_circuits(tx, claimed, error)
        turn.response_received = turn.response_received or retry.response_received
        if error:
            _record_error(tx, claimed, turn, error)
    words = "turn %s waits, attempt %s: %s"
    log.info(words, claimed.turn_id, claimed.attempts, retry.reason, extra=ended(claimed, "waits"))
    return False


def _record_error(tx: Transaction, claimed: ClaimedTurn, turn: Turn, error: RemoteError) -> None:
    if not error.too_much:
        poison.count(tx, turn, claimed.agent)
    if error.provider_wide:
        turn.attempts -= 1
        circuit_breakers.trip(tx, error)


@patient
def give_up(rt: Runtime, claimed: ClaimedTurn, outcome: GiveUp, *, retire: bool) -> bool:
    """Give the turn up, in the table and in the log, and notify the person once. Return whether another turn is due.

    The person does not know of what an operator says to the agent, and gets no notice of it.
    ``retire``: the next text gets a new chat.
    """
    with rt.database.transaction() as tx:
        more = conversation_queue.settle(tx, claimed.lease, rt.settings.reply_debounce)
        _close_circuits(tx, claimed)
        _close_turn(tx, claimed, TurnStatus.GIVEN_UP, MessageStatus.GIVEN_UP)
        _keep_steps(tx, claimed, outcome.items)
        tx.session.get_one(Turn, claimed.turn_id).error = outcome.reason
        if retire:
            rows.retire(tx, claimed.lease.conversation_id, rows.GIVEN_UP)
        if claimed.instruction is None:
            _tell_person(rt, tx, claimed)
    words = "turn %s given up after %s attempts: %s"
    log.error(words, claimed.turn_id, claimed.attempts, outcome.reason, extra=ended(claimed, "given_up"))
    return more


def _tell_person(rt: Runtime, tx: Transaction, claimed: ClaimedTurn) -> None:
    """Send FALLBACK_REPLY, or ask for the team, which tells the person. A person who has the conversation does it."""
    conversation_id = claimed.lease.conversation_id
    pair = tx.session.get_one(Conversation, conversation_id)
    if holder.is_held(pair):
        return
    if "failure" in rt.settings.handoff_on and not holder.is_at_provider(pair):
        holder.ask_for_team(rt, tx, conversation_id, "a text could not be answered")
    else:
        outbox.put_notice(rt, tx, conversation_id, rt.settings.fallback_reply)


def _close_circuits(tx: Transaction, claimed: ClaimedTurn, error: RemoteError | None = None) -> None:
    if claimed.probed:
        circuit_breakers.close(tx, claimed.probed, TURNS, error)


def _close_turn(tx: Transaction, claimed: ClaimedTurn, turn: TurnStatus, texts: MessageStatus) -> None:
    row = tx.session.get_one(Turn, claimed.turn_id)
    row.status, row.settled_at, row.items_at_last_check = turn, tx.now, None
    merged = (Message.turn_id == claimed.turn_id, Message.direction == Direction.IN)
    tx.session.execute(update(Message).where(*merged).values(status=texts, settled_at=tx.now))


def _keep_steps(tx: Transaction, claimed: ClaimedTurn, items: Sequence[Item]) -> None:
    """Record the tools that the agent has called. What an earlier attempt has recorded stays if there are none."""
    if steps := record(items):
        tx.session.get_one(Turn, claimed.turn_id).steps = steps
