"""Twilio's REST API as the official client uses it.

``carrier`` keeps the texts; ``dispatch`` accepts or refuses them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hmac import compare_digest
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request

from bridge.simulator.carrier import API, Carrier, Text, rfc2822
from bridge.simulator.changes import Changes
from bridge.simulator.dispatch import Dispatch, Refusal
from bridge.simulator.faults import Faults
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import Striker, answer, cut, dawdle, striker

_PAGE = 50
_LARGEST_PAGE = 1000
_ON_ITS_WAY = ("accepted", "queued", "sending", "scheduled")
_NUMBER_SETTINGS = {
    "SmsUrl": "sms_url",
    "SmsMethod": "sms_method",
    "SmsFallbackUrl": "sms_fallback_url",
    "SmsFallbackMethod": "sms_fallback_method",
    "SmsApplicationSid": "sms_application_sid",
    "FriendlyName": "friendly_name",
}


class TwilioApi:
    """The routes below ``/2010-04-01/Accounts``."""

    def __init__(
        self,
        settings: SimulatorSettings,
        carrier: Carrier,
        faults: Faults,
        changes: Changes,
        dispatch: Dispatch,
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._faults = faults
        self._changes = changes
        self._dispatch = dispatch

    def blueprint(self) -> Blueprint:
        api = Blueprint("twilio", __name__, url_prefix=API)
        for rule, method, name, call, work in (
            ("/<account>/Messages.json", "POST", "send", "send", self._send),
            ("/<account>/Messages.json", "GET", "messages", "list", self._list),
            ("/<account>/Messages/<sid>.json", "GET", "message", "get", self._get),
            ("/<account>/Messages/<sid>.json", "POST", "redact", "redact", self._redact),
            ("/<account>/Messages/<sid>.json", "DELETE", "erase", "erase", self._erase),
            ("/<account>/Messages/<sid>/Media.json", "GET", "media_list", "media", self._list_media),
            ("/<account>/Messages/<sid>/Media/<media>.json", "DELETE", "erase_media", "media", self._erase_medium),
            ("/<account>/IncomingPhoneNumbers.json", "GET", "numbers", "numbers", self._numbers),
            ("/<account>/IncomingPhoneNumbers/<sid>.json", "GET", "number", "numbers", self._number),
            ("/<account>/IncomingPhoneNumbers/<sid>.json", "POST", "set_number", "set_number", self._set_number),
        ):
            api.add_url_rule(rule, name, self._guarded(call, work), methods=[method])
        api.add_url_rule("/<account>/Messages/<sid>/Media/<media>", "media", self._media)
        api.add_url_rule("/<account>.json", "account", self._guarded("account", self._account))
        return api

    def _guarded(self, call: str, work: Callable[..., Response]) -> Callable[..., Response]:
        """Check the credentials, play the early faults, and turn a refusal into a response."""

        def view(account: str, **path: str) -> Response:
            strike = striker(self._faults, call, self._settings.clock)
            g.asked_at = self._settings.clock()
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
        return answer(self._dispatch.take(request.form, g.asked_at), 201)

    def _list(self) -> Response:
        found = [text for text in self._carrier.newest_first(_arg("From"), _arg("To")) if _in_time(text)]
        size = min(max(request.args.get("PageSize", _PAGE, int), 1), _LARGEST_PAGE)
        number, token = request.args.get("Page", 0, int), request.args.get("PageToken", "")
        start = next((i + 1 for i, text in enumerate(found) if f"PA{text.sid}" == token), number * size)
        page = found[start : start + size]
        following = _page_uri(size, number + 1, f"PA{page[-1].sid}") if found[start + size :] else None
        return answer(
            {
                "messages": [self._carrier.shown(text) for text in page],
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
        return answer(self._carrier.shown(self._known(sid)), 200)

    def _known(self, sid: str) -> Text:
        text = self._carrier.get(sid)
        if text is None:
            raise _not_found()
        return text

    def _redact(self, sid: str) -> Response:
        """Empty the words. Twilio changes nothing else of a text, except that a scheduled one can be canceled."""
        if request.form.get("Body") != "":
            raise Refusal(20001, "Body must be empty")
        text = self._known(sid)
        self._carrier.redact(text)
        return answer(self._carrier.shown(text), 200)

    def _erase(self, sid: str) -> Response:
        text = self._known(sid)
        if text.status in _ON_ITS_WAY:
            raise Refusal(20009, "Cannot delete this resource before it is complete", 409)
        self._carrier.erase(text)
        return Response(status=204)

    def _list_media(self, sid: str) -> Response:
        text = self._known(sid)
        path = f"{API}/{self._settings.account_sid}/Messages/{sid}/Media"
        listed = [
            {"sid": medium, "parent_sid": sid, "content_type": "image/png", "uri": f"{path}/{medium}.json"}
            for medium in text.media
        ]
        return answer({"media_list": listed, "page": 0, "page_size": _PAGE, "next_page_uri": None}, 200)

    def _erase_medium(self, sid: str, media: str) -> Response:
        if media not in self._known(sid).media:
            raise _not_found()
        self._carrier.erase_medium(self._known(sid), media)
        return Response(status=204)

    def _media(self, account: str, sid: str, media: str) -> Response:
        """Return the one picture of all phones. It is public, as Twilio's are by default."""
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
            "status": self._settings.account_status,
            "type": self._settings.account_type,
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
    """Return True if the text passes the date filters. An unsent text has no date, and passes none."""
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
    """Return the moment, and whether it means the whole day."""
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        raise Refusal(20001, f"{wanted} is no date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC), len(wanted) == len("2026-01-01")
