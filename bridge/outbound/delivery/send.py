"""Sending: the one call that hands the text to the carrier."""

from __future__ import annotations

from dataclasses import replace

from bridge.outbound.delivery.settle import not_accepted, not_known, settle_accepted
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import LeaseLost
from bridge.runtime import Runtime


def send(rt: Runtime, claimed: ClaimedDelivery) -> bool:
    """Make the one call that must never be made twice. ``SENDING`` was committed just before.

    Return whether another delivery is due.
    """
    if not rt.heartbeat.may_start_work(claimed.lease.worker):
        raise LeaseLost("this worker has had no heartbeat")
    try:
        carried = rt.carrier.send(replace(claimed.text, valid_for=claimed.expires_at - rt.now()))
    except RemoteError as error:
        if error.maybe_done:
            return not_known(rt, claimed, error, response_received=error.response_received)
        return not_accepted(rt, claimed, error)
    return settle_accepted(rt, claimed, carried)
