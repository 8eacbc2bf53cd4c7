"""Twilio's REST API as the official client sees it. The texts themselves live in ``carrier``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hmac import compare_digest
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, request

from bridge.simulator.carrier import API, Carrier, Text, rfc2822, utf16_units
from bridge.simulator.changes import Changes
from bridge.simulator.faults import Faults
from bridge.simulator.ledger import Ledger, Sent
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.wire import Striker, answer, cut, dawdle, striker

_ADDRESS = re.compile(r"(whatsapp:|rcs:)?\+[1-9]\d{6,14}")
_LONGEST_BODY = 1600
_PAGE = 50
_LARGEST_PAGE = 1000
_NUMBER_SETTINGS = {
    "SmsUrl": "sms_url",
    "SmsMethod": "sms_method",
    "SmsFallbackUrl": "sms_fallback_url",
    "SmsFallbackMethod": "sms_fallback_method",
    "FriendlyName": "friendly_name",
}


class Refusal(Exception):
    """The call is refused with Twilio's error number."""

    def __init__(self, code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        body = {"code": self.code, "message": str(self), "more_info": more, "status": self.status}
        return answer(body, self.status, self.headers)


class TwilioApi:
    """The routes below ``/2010-04-01/Accounts``."""

    def __init__(
        self,
        settings: SimulatorSettings,
        carrier: Carrier,
        faults: Faults,
        ledger: Ledger,
        changes: Changes,
        report: Callable[[Text], None],
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._faults = faults
        self._ledger = ledger
        self._changes = changes
        self._report = report

    def blueprint(self) -> Blueprint:
        api = Blueprint("twilio", __name__, url_prefix=API)
        for rule, method, name, call, work in (
            ("/<account>/Messages.json", "POST", "send", "send", self._send),
            ("/<account>/Messages.json", "GET", "messages", "list", self._list),
            ("/<account>/Messages/<sid>.json", "GET", "message", "get", self._get),
            ("/<account>/IncomingPhoneNumbers.json", "GET", "numbers", "numbers", self._numbers),
            ("/<account>/IncomingPhoneNumbers/<sid>.json", "GET", "number", "numbers", self._number),
            ("/<account>/IncomingPhoneNumbers/<sid>.json", "POST", "set_number", "numbers", self._set_number),
        ):
            api.add_url_rule(rule, name, self._guarded(call, work), methods=[method])
        api.add_url_rule("/<account>/Messages/<sid>/Media/<media>", "media", self._media)
        api.add_url_rule("/<account>.json", "account", self._guarded("account", self._account))
        return api

    def _guarded(self, call: str, work: Callable[..., Response]) -> Callable[..., Response]:
        """Credentials, the faults that come before anything else, and how a refusal looks."""

        def view(account: str, **path: str) -> Response:
            strike = striker(self._faults, call, self._settings.clock)
            try:
                self._let_in(account, strike)
                if strike("carrier_cut_before"):
                    return cut()
                dawdle(strike("carrier_slow"), self._changes)
                done = work(**path)
                return self._late_fault(strike) or done
            except Refusal as refusal:
                return refusal.response()

        return view

    def _let_in(self, account: str, strike: Striker) -> None:
        if not self._known_caller() or strike("carrier_401"):
            raise Refusal(20003, "Authenticate", 401)
        if account != self._settings.account_sid:
            raise Refusal(20404, f"The requested resource {request.path} was not found", 404)
        if limit := strike("carrier_429"):
            raise Refusal(20429, "Too Many Requests", 429, {"Retry-After": f"{limit.options['retry_after']:g}"})
        if strike("carrier_500"):
            raise Refusal(20500, "Internal Server Error", 500)

    def _known_caller(self) -> bool:
        given = request.authorization
        if given is None or given.type != "basic":
            return False
        pair = f"{given.username}:{given.password}".encode()
        known = [f"{self._settings.account_sid}:{self._settings.auth_token}"]
        if self._settings.api_key and self._settings.api_secret:
            known.append(f"{self._settings.api_key}:{self._settings.api_secret}")
        return any(compare_digest(pair, one.encode()) for one in known)

    def _late_fault(self, strike: Striker) -> Response | None:
        if strike("carrier_500_after"):
            raise Refusal(20500, "Internal Server Error", 500)
        if strike("carrier_cut"):
            return cut()
        return Response(status=201, content_type="application/json") if strike("carrier_no_sid") else None

    def _send(self) -> Response:
        form = request.form
        to, body, service = form.get("To", ""), form.get("Body", ""), form.get("MessagingServiceSid")
        sender = self._sender(form.get("From"), service)
        media = tuple(form.getlist("MediaUrl"))
        self._check(to, sender, body, media, form.get("StatusCallback"))
        text = self._carrier.keep(
            "outbound-api",
            sender,
            to,
            body,
            status="accepted" if service else "queued",
            media=media,
            service=service,
            callback=form.get("StatusCallback"),
        )
        resource = text.resource(self._settings.account_sid)
        at = text.created.timestamp()
        self._ledger.write(Sent(at=at, sid=text.sid, to=to, sender=sender, body=body))
        self._report(text)
        return answer(resource, 201)

    def _sender(self, sender: str | None, service: str | None) -> str:
        if service is not None:
            if service != self._settings.messaging_service_sid:
                raise Refusal(21703, f"The Messaging Service {service} does not exist")
            return sender or self._settings.number
        if not sender:
            raise Refusal(21603, "A 'From' phone number is required.")
        if sender not in self._carrier.numbers:
            raise Refusal(21606, f"The 'From' phone number {sender} is not a valid, message-capable number.")
        return sender

    def _check(self, to: str, sender: str, body: str, media: tuple[str, ...], callback: str | None) -> None:
        if not to:
            raise Refusal(21604, "A 'To' phone number is required.")
        if not _ADDRESS.fullmatch(to):
            raise Refusal(21211, f"Invalid 'To' Phone Number: {to}")
        if to == sender:
            raise Refusal(21266, "'To' and 'From' number cannot be the same")
        if not body and not media:
            raise Refusal(21602, "Message body is required.")
        if utf16_units(body) > _LONGEST_BODY:
            raise Refusal(21617, "The concatenated message body exceeds the 1600 character limit.")
        if callback and urlsplit(callback).scheme not in {"http", "https"}:
            raise Refusal(21609, f"The 'StatusCallback' URL {callback} is not a valid URL.")
        if self._carrier.opted_out(to, sender):
            raise Refusal(21610, "Attempt to send to unsubscribed recipient")

    def _list(self) -> Response:
        found = [text for text in self._carrier.newest_first(_arg("From"), _arg("To")) if _in_time(text)]
        size = min(max(request.args.get("PageSize", _PAGE, int), 1), _LARGEST_PAGE)
        number, token = request.args.get("Page", 0, int), request.args.get("PageToken", "")
        start = next((i + 1 for i, text in enumerate(found) if f"PA{text.sid}" == token), number * size)
        page = found[start : start + size]
        following = _page_uri(size, number + 1, f"PA{page[-1].sid}") if found[start + size :] else None
        return answer(
            {
                "messages": [text.resource(self._settings.account_sid) for text in page],
                "page": number,
                "page_size": size,
                "start": start,
                "end": start + max(len(page) - 1, 0),
                "uri": request.full_path.rstrip("?"),
                "first_page_uri": _page_uri(size, 0, ""),
                "next_page_uri": following,
                "previous_page_uri": None,
            },
            200,
        )

    def _get(self, sid: str) -> Response:
        text = self._carrier.get(sid)
        if text is None:
            raise _not_found()
        return answer(text.resource(self._settings.account_sid), 200)

    def _media(self, account: str, sid: str, media: str) -> Response:
        """The one picture that every phone sends. Open to everybody, as Twilio's are by default."""
        picture = files(__package__).joinpath("static/picture.png").read_bytes()
        return Response(picture, content_type="image/png")

    def _numbers(self) -> Response:
        wanted = request.args.get("PhoneNumber", "")
        found = [n.resource(self._settings.account_sid) for n in self._carrier.numbers.values() if wanted in n.number]
        first = f"{request.path}?{urlencode({'PageSize': _PAGE, 'Page': 0})}"
        return answer(
            {
                "incoming_phone_numbers": found,
                "page": 0,
                "page_size": _PAGE,
                "start": 0,
                "end": max(len(found) - 1, 0),
                "uri": first,
                "first_page_uri": first,
                "next_page_uri": None,
                "previous_page_uri": None,
            },
            200,
        )

    def _number(self, sid: str) -> Response:
        number = self._carrier.number_by_sid(sid)
        if number is None:
            raise _not_found()
        return answer(number.resource(self._settings.account_sid), 200)

    def _set_number(self, sid: str) -> Response:
        number = self._carrier.number_by_sid(sid)
        if number is None:
            raise _not_found()
        number.settings |= {ours: request.form[name] for name, ours in _NUMBER_SETTINGS.items() if name in request.form}
        return self._number(sid)

    def _account(self) -> Response:
        shown: dict[str, Any] = {
            "sid": self._settings.account_sid,
            "friendly_name": "Simulated account",
            "status": "active",
            "type": "Full",
            "owner_account_sid": self._settings.account_sid,
            "date_created": rfc2822(datetime(2026, 1, 1, tzinfo=UTC)),
            "date_updated": rfc2822(datetime(2026, 1, 1, tzinfo=UTC)),
            "uri": f"{API}/{self._settings.account_sid}.json",
            "subresource_uris": {},
        }
        return answer(shown, 200)


def _not_found() -> Refusal:
    return Refusal(20404, f"The requested resource {request.path} was not found", 404)


def _arg(name: str) -> str | None:
    return request.args.get(name) or None


def _page_uri(size: int, number: int, token: str) -> str:
    kept = {name: value for name, value in request.args.items() if not name.startswith("Page")}
    paging = {"PageSize": size, "Page": number, **({"PageToken": token} if token else {})}
    return f"{request.path}?{urlencode({**kept, **paging})}"


def _in_time(text: Text) -> bool:
    """Do the date filters let it pass? A text that is not sent yet has no date, and passes none of them."""
    for name, fits in (("DateSent", _on), ("DateSent<", _until), ("DateSent>", _since)):
        wanted = _arg(name)
        if wanted and (text.sent is None or not fits(text.sent, wanted)):
            return False
    return True


def _on(sent: datetime, wanted: str) -> bool:
    moment, whole_day = _moment(wanted)
    return sent.date() == moment.date() if whole_day else sent.replace(microsecond=0) == moment


def _until(sent: datetime, wanted: str) -> bool:
    moment, whole_day = _moment(wanted)
    return sent.date() <= moment.date() if whole_day else sent.replace(microsecond=0) <= moment


def _since(sent: datetime, wanted: str) -> bool:
    moment, whole_day = _moment(wanted)
    return sent.date() >= moment.date() if whole_day else sent.replace(microsecond=0) >= moment


def _moment(wanted: str) -> tuple[datetime, bool]:
    """The moment and whether it means the whole day."""
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        raise Refusal(20001, f"{wanted} is no date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC), len(wanted) == len("2026-01-01")
