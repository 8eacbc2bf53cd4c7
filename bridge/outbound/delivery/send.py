"""The sending: the text is handed over to the carrier."""

from __future__ import annotations

from dataclasses import replace

from bridge.outbound.delivery.settle import not_accepted, outcome_unknown, settle_accepted
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import LeaseLost
from bridge.runtime import Runtime


def send(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """The one call that must never be made twice. ``SENDING`` has been committed just before."""
    if not rt.heartbeat.may_start_work(claimed.lease.worker):
        raise LeaseLost("this worker has had no pulse")
    try:
        carried = rt.carrier.send(replace(claimed.text, valid_for=claimed.expires_at - rt.now()))
    except RemoteError as error:
        if error.maybe_done:
            outcome_unknown(rt, claimed, error, response_received=error.response_received)
        else:
            not_accepted(rt, claimed, error)
    else:
        settle_accepted(rt, claimed, carried)
