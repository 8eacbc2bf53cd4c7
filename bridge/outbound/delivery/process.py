"""One delivery: a text of the outbox goes to the carrier.

    claim      lease the conversation's queue; record that its first text is being sent               [commit]
    send       hand it to the carrier; if an earlier request may have arrived, reconcile first        no session open
    settle     the carrier's id into the row, lease ended                                             [one commit]

The carrier's later reports: ``bridge.outbound.receipts.report``.
"""

from __future__ import annotations

import logging

from bridge.lib import waits
from bridge.lib.log import fields
from bridge.outbound.delivery.claim import claim_delivery
from bridge.outbound.delivery.reconcile import reconcile
from bridge.outbound.delivery.send import send
from bridge.outbound.delivery.settle import give_up, not_known, wait_for_key
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import DELIVERIES, LeaseLost
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def process_deliveries(rt: Runtime, conversation_id: int) -> None:
    """Send the texts of this conversation, in order, until none is due."""
    with rt.heartbeat.working_on(DELIVERIES, conversation_id):
        _process(rt, conversation_id, None)


def deliver_claimed(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """Send a text that was leased with the settling of its turn and is in hand already, and those that follow."""
    conversation_id = claimed.lease.conversation_id
    try:
        _process(rt, conversation_id, claimed)
    finally:
        rt.heartbeat.let_go(DELIVERIES, [conversation_id])


def _process(rt: Runtime, conversation_id: int, first: ClaimedDelivery | None) -> None:
    try:
        claimed = first or claim_delivery(rt, conversation_id)
        while claimed and _attempt(rt, claimed):
            claimed = claim_delivery(rt, conversation_id)
    except LeaseLost as late:
        lost = fields(outcome="lease_lost", conversation=conversation_id)
        log.warning("%s; the result of this worker is thrown away", late, extra=lost)
        rt.notifier.wake(DELIVERIES.task, conversation_id)  # or only the outcome of the commit was lost


def _attempt(rt: Runtime, claimed: ClaimedDelivery) -> bool:
    """Make one attempt. Every way out leaves the text settled or due again. Return whether another text is due."""
    waits.begin()
    if claimed.give_up_reason:
        return give_up(rt, claimed, claimed.give_up_reason)
    if claimed.unreadable:
        return wait_for_key(rt, claimed, claimed.unreadable)
    try:
        return reconcile(rt, claimed) if claimed.outcome_unknown else send(rt, claimed)
    except RemoteError as error:
        return not_known(rt, claimed, error)
