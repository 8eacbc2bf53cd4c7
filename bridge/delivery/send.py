"""The sending: the text is handed over to the carrier."""

from __future__ import annotations

from dataclasses import replace

from bridge.delivery.settle import not_known, not_taken, settle
from bridge.delivery.values import Booked
from bridge.errors import RemoteError
from bridge.line import Outlived
from bridge.runtime import Runtime


def send(rt: Runtime, booked: Booked) -> None:
    """The one call that must never be made twice. ``SENDING`` has been committed just before."""
    if not rt.pulse.in_charge(booked.claim.worker):
        raise Outlived("this worker has had no pulse")
    try:
        carried = rt.carrier.send(replace(booked.text, valid_for=booked.send_by - rt.now()))
    except RemoteError as error:
        if error.maybe_done:
            not_known(rt, booked, error, call_over=error.call_over)
        else:
            not_taken(rt, booked, error)
    else:
        settle(rt, booked, carried)
