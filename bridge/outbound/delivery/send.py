"""The sending: the text is handed over to the carrier."""

from __future__ import annotations

from dataclasses import replace

from bridge.outbound.delivery.settle import not_accepted, outcome_unknown, settle_accepted
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import LeaseLost
from bridge.runtime import Runtime


def send(rt: Runtime, booked: ClaimedDelivery) -> None:
    """The one call that must never be made twice. ``SENDING`` has been committed just before."""
    if not rt.pulse.in_charge(booked.claim.worker):
        raise LeaseLost("this worker has had no pulse")
    try:
        carried = rt.carrier.send(replace(booked.text, valid_for=booked.send_by - rt.now()))
    except RemoteError as error:
        if error.maybe_done:
            outcome_unknown(rt, booked, error, call_over=error.call_over)
        else:
            not_accepted(rt, booked, error)
    else:
        settle_accepted(rt, booked, carried)
