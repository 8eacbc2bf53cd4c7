"""Twilio's API for messaging services: the one service of the account, if it has one; and the countries it may text.

At Twilio each of the two has its own host.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from flask import Blueprint, Response, request

from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import answer


class MessagingApi:
    """The routes below ``/v1``. They only read."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings

    def blueprint(self) -> Blueprint:
        api = Blueprint("messaging", __name__, url_prefix="/v1")
        api.add_url_rule("/Services", "services", self._guarded(self._services))
        api.add_url_rule("/Services/<service>/PhoneNumbers", "service_numbers", self._guarded(self._numbers))
        api.add_url_rule("/Services/<service>/Compliance/Usa2p", "campaigns", self._guarded(self._campaigns))
        api.add_url_rule("/Messaging/GeoPermissions", "countries", self._guarded(self._countries))
        return api

    def _guarded(self, work: Callable[[], Response]) -> Callable[..., Response]:
        def view(service: str | None = None) -> Response:
            if not self._known_caller():
                return answer({"code": 20003, "message": "Authenticate", "status": 401}, 401)
            if service not in (None, self._settings.messaging_service_sid):
                return answer({"code": 20404, "message": "not found", "status": 404}, 404)
            return work()

        return view

    def _known_caller(self) -> bool:
        its, given = self._settings, request.authorization
        if given is None or given.type != "basic":
            return False
        pairs = [f"{its.account_sid}:{its.auth_token}", f"{its.api_key}:{its.api_secret}"]
        pair = f"{given.username}:{given.password}".encode()
        return any(compare_digest(pair, known.encode()) for known in pairs)

    def _services(self) -> Response:
        its = self._settings
        service = {
            "sid": its.messaging_service_sid,
            "account_sid": its.account_sid,
            "friendly_name": "Simulated service",
            "use_inbound_webhook_on_number": its.service_defers,
            "inbound_request_url": None,
            "inbound_method": "POST",
        }
        return _page("services", [service] if its.messaging_service_sid else [])

    def _numbers(self) -> Response:
        return _page("phone_numbers", [{"phone_number": each} for each in self._settings.numbers])

    def _campaigns(self) -> Response:
        status = self._settings.campaign_status
        return _page("compliance", [{"campaign_status": status}] if status else [])

    def _countries(self) -> Response:
        closed = self._settings.closed_countries
        permissions = [
            {"country_code": country, "type": "country", "enabled": country not in closed}
            for country in sorted({"US", "CA", "GB", *closed})
        ]
        return answer({"permissions": permissions}, 200)


def _page(key: str, items: list[dict[str, Any]]) -> Response:
    return answer({key: items, "meta": {"key": key, "page": 0, "next_page_url": None}}, 200)
