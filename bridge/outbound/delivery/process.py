"""The delivery: what stands in the outbox goes to the carrier, one text after the other.

    claim    take the head of the conversation's line and note that it is being sent                 [commit]
    send     hand it over. When it may have been handed over before, ask the carrier first           no session open
    settle   the carrier's id into the row, the line moved on                                        [one commit]

One module for each of them, and ``look`` for asking the carrier. What lives here: the step ``process_deliveries``, and
which way an attempt goes. What the carrier tells later: ``bridge.outbound.receipts.report``.
"""

from __future__ import annotations

import logging

from bridge.outbound.delivery.claim import claim_delivery
from bridge.outbound.delivery.reconcile import reconcile
from bridge.outbound.delivery.send import send
from bridge.outbound.delivery.settle import give_up, outcome_unknown
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import DELIVERIES, LeaseLost
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def process_deliveries(rt: Runtime, conversation_id: int) -> None:
    """Send what waits for this phone, in order, until nothing is due any more."""
    try:
        with rt.heartbeat.working_on(DELIVERIES, conversation_id):
            while claimed := claim_delivery(rt, conversation_id):
                _take(rt, claimed)
    except LeaseLost as late:
        log.warning("%s; what this worker found out is thrown away", late)
        rt.notifier.wake(DELIVERIES.task, conversation_id)  # or it was stored, and only the commit's outcome was lost


def _take(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """One attempt at one text. Every way out leaves it settled or due again."""
    if claimed.give_up_reason:
        give_up(rt, claimed, claimed.give_up_reason)
        return
    try:
        if claimed.outcome_unknown:
            reconcile(rt, claimed)
        else:
            send(rt, claimed)
    except RemoteError as error:
        outcome_unknown(rt, claimed, error)
