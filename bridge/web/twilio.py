"""Twilio's webhooks: verify, parse, store. They make no decisions and no calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

from flask import Blueprint, Response, abort, request
from werkzeug.exceptions import HTTPException

from bridge.config import Settings
from bridge.inbound import receive
from bridge.outbound import receipts
from bridge.providers.carriers.twilio import webhooks
from bridge.runtime import Runtime
from bridge.web.auth import CARRIER, declares
from bridge.web.time_limit import WITHIN, InTime

log = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"

NOTHING_TO_SAY = "<Response/>"
"""TwiML. The answer goes out by REST. A text in the webhook's answer could be neither repeated nor traced."""

View = Callable[[], Response]


def blueprint(rt: Runtime, within: float = WITHIN) -> Blueprint:
    """Build ``/twilio/inbound`` and ``/twilio/status``."""
    twilio = Blueprint("twilio", __name__, url_prefix="/twilio")
    signed = _signed(rt.settings)
    in_time = InTime(within)

    @twilio.post("/inbound")
    @signed
    def inbound() -> Response:
        text = webhooks.parse_inbound(_form())
        in_time(lambda: receive.receive(rt, text))
        return Response(NOTHING_TO_SAY, mimetype="text/xml")

    @twilio.post("/status")
    @signed
    def status() -> Response:
        report = webhooks.parse_status(_form(), request.args.get("message"))
        if report and not receipts.report_later(rt, report):
            in_time(lambda: receipts.report(rt, report))
        return Response(status=204)

    return twilio


def _signed(settings: Settings) -> Callable[[View], View]:
    """Require Twilio's signature for our account. The log has the reason of every refusal, without a number."""

    def decorate(view: View) -> View:
        @declares(CARRIER)
        @wraps(view)
        def checked() -> Response:
            try:
                _check(settings)
                return view()
            except webhooks.BadField as fault:
                log.warning("%s refused with 400: %s", request.path, fault)
                abort(400, str(fault))
            except HTTPException as refusal:
                log.warning("%s refused with %s: %s", request.path, refusal.code, refusal.description)
                raise

        return checked

    return decorate


def _check(settings: Settings) -> None:
    if request.mimetype != FORM:
        abort(415, f"Send {FORM}.")
    url = webhooks.public_address(settings.public_url, request.path, request.query_string.decode("latin-1"))
    if not webhooks.signed(settings.signing_tokens, url, _form(), request.headers.get("X-Twilio-Signature")):
        abort(403, "The signature does not fit. Check TWILIO_AUTH_TOKEN and PUBLIC_URL.")
    if request.form.get("AccountSid") != settings.twilio_account_sid:
        abort(403, "The account is not ours. Check TWILIO_ACCOUNT_SID.")


def _form() -> dict[str, list[str]]:
    """Return all values of every field. Twilio signs each of them."""
    return request.form.to_dict(flat=False)
