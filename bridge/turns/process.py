"""One turn: the agent is asked, and its answer goes into the outbox.

claim      lease the conversation's queue; merge the texts that wait into one turn                [commit]
check      in place of the next steps, if a human at the provider has the chat: is it back?       no session open
ask        send it to the agent; if an earlier request may have arrived, reconcile first          no session open
settle     answers into the outbox, turn closed, lease ended                                      [one commit]
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from bridge.db.models import TurnStatus
from bridge.lib import waits
from bridge.lib.log import fields
from bridge.outbound import unreadable
from bridge.outbound.delivery.process import deliver_claimed
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import QUEUES, TURNS, LeaseLost
from bridge.runtime import Runtime
from bridge.turns.ask import ask
from bridge.turns.claim import claim_turn
from bridge.turns.greet import greet
from bridge.turns.handoff import check
from bridge.turns.reconcile import reconcile
from bridge.turns.settle import failed, give_up, postpone, settle_answered, wait_for_agent, wait_for_person
from bridge.turns.values import (
    Answer,
    ClaimedCheck,
    ClaimedTurn,
    Escalated,
    GiveUp,
    NotAsked,
    NotReceived,
    Outcome,
    RetryAt,
)

log = logging.getLogger(__name__)


TOO_LATE = "there was no answer within ANSWER_WITHIN"
TOO_LATE_WITH_HUMAN = f"{TOO_LATE}: a human at the agent's provider had the chat"

Deliver = Callable[[Runtime, ClaimedDelivery], None]
"""What sends the first text of an answer, in the thread that has settled the turn."""


def process_turns(rt: Runtime, conversation_id: int, deliver: Deliver = deliver_claimed) -> None:
    """Work on the turns of this conversation until none is due."""
    with rt.heartbeat.working_on(TURNS, conversation_id):
        _process(rt, conversation_id, None, deliver)


def process_claimed(rt: Runtime, claimed: ClaimedTurn, deliver: Deliver = deliver_claimed) -> None:
    """Work on a turn that was claimed together with others and is in hand already, and on what follows."""
    conversation_id = claimed.lease.conversation_id
    try:
        _process(rt, conversation_id, claimed, deliver)
    finally:
        rt.heartbeat.let_go(TURNS, [conversation_id])


def _process(rt: Runtime, conversation_id: int, first: ClaimedTurn | None, deliver: Deliver) -> None:
    try:
        claimed = first or claim_turn(rt, conversation_id)
        while claimed and _attempt(rt, claimed, deliver):
            claimed = claim_turn(rt, conversation_id)
    except LeaseLost as late:
        lost = fields(outcome="lease_lost", conversation=conversation_id)
        log.warning("%s; the result of this worker is thrown away", late, extra=lost)
        for queue in QUEUES:  # or it was committed, and only the outcome of the commit was lost
            rt.notifier.wake(queue.task, conversation_id)


def _attempt(rt: Runtime, claimed: ClaimedTurn | ClaimedCheck, deliver: Deliver) -> bool:
    """Make one attempt. Every way out leaves the turn settled or due again. Return whether another turn is due."""
    waits.begin()
    if isinstance(claimed, ClaimedCheck):
        return check(rt, claimed)
    try:
        outcome = _outcome(rt, claimed)
    except RemoteError as error:
        return failed(rt, claimed, error)
    match outcome:
        case Answer():
            settled = settle_answered(rt, claimed, outcome)
            if settled.delivery:
                deliver(rt, settled.delivery)
            return settled.more
        case RetryAt():
            return postpone(rt, claimed, outcome)
        case Escalated():
            return wait_for_agent(rt, claimed, outcome)
        case NotAsked():
            return wait_for_person(rt, claimed)
        case GiveUp():
            return give_up(rt, claimed, outcome, retire=_may_answer_late(claimed))
        case NotReceived(refusal):
            return failed(rt, claimed, refusal, TurnStatus.WAITING)


def _too_late(claimed: ClaimedTurn) -> str:
    if claimed.unreadable:
        return f"{TOO_LATE}: {claimed.unreadable}"
    return TOO_LATE_WITH_HUMAN if claimed.with_human else TOO_LATE


def _may_answer_late(claimed: ClaimedTurn) -> bool:
    """Return whether the chat of a turn that is given up must not be used again. A human's chat is left alone."""
    return not claimed.with_human and (claimed.outcome_unknown or claimed.spent)


def _outcome(rt: Runtime, claimed: ClaimedTurn) -> Outcome:
    if rt.now() >= claimed.expires_at:
        return GiveUp(_too_late(claimed))
    if claimed.unreadable:
        unreadable.tell(rt, TURNS, claimed.lease.conversation_id, claimed.unreadable)
        return RetryAt(claimed.unreadable, claimed.next_try(rt.now()))
    if claimed.greets:
        return greet(rt, claimed)
    return reconcile(rt, claimed) if claimed.outcome_unknown else ask(rt, claimed)
