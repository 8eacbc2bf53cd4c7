"""The account at Twilio as an operator has set it up: its numbers with their webhooks, and its messaging services.

    account      GET  /2010-04-01/Accounts/{sid}.json
    numbers      GET  /2010-04-01/Accounts/{sid}/IncomingPhoneNumbers.json
    number       GET  the same with ?PhoneNumber=…
    set_webhook  POST /2010-04-01/Accounts/{sid}/IncomingPhoneNumbers/{number}.json
    services     GET  /v1/Services, /v1/Services/{service}/PhoneNumbers and …/Compliance/Usa2p, at messaging.twilio.com
    closed_countries  GET  /v1/Messaging/GeoPermissions, at accounts.twilio.com

Only ``set_webhook`` changes something. No text is sent and none is read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bridge.config import Settings
from bridge.providers.carriers.twilio.errors import PROVIDER, refusal, unreadable
from bridge.providers.http.client import Answer, Api
from bridge.providers.redaction import storable

ACCOUNTS = "/2010-04-01/Accounts"
SERVICES = "/v1/Services"
COUNTRIES = "/v1/Messaging/GeoPermissions"

TIMEOUT = 15.0
"""Seconds for each question."""

MOST_SERVICES = 20
"""Services whose numbers are read. Each costs two calls."""

PAGE = {"PageSize": 100}

VERIFIED = "VERIFIED"
"""The status of a campaign that US carriers have accepted."""


@dataclass(frozen=True)
class AccountState:
    """What Twilio says of the account."""

    status: str
    trial: bool


@dataclass(frozen=True)
class Webhook:
    """What Twilio does with a text to a number."""

    url: str
    method: str
    application_sid: str = ""
    """A TwiML app. If there is one, Twilio calls its address, and not ``url``."""


@dataclass(frozen=True)
class OwnNumber:
    """A number of the account."""

    sid: str
    can_text: bool
    webhook: Webhook


@dataclass(frozen=True)
class MessagingService:
    """A messaging service with its numbers."""

    sid: str
    numbers: frozenset[str]
    defers: bool
    """Its numbers' own webhooks are called."""
    webhook: Webhook
    """Its own webhook, if it does not defer."""
    campaigns: tuple[str, ...]
    """The statuses of its campaigns for texts to the US."""


@dataclass(frozen=True)
class Login:
    """A user name and a password of the API."""

    username: str
    password: str = field(repr=False)


class TwilioAccount:
    """The account of the settings. Any number of threads may use it."""

    def __init__(self, account_sid: str, token: Login, calls: Login, base_url: str) -> None:
        self._path = f"{ACCOUNTS}/{account_sid}"
        self._token = token
        self._calls = calls
        self._api = Api(PROVIDER, base_url)
        self._messaging = Api(PROVIDER, _other_host(base_url, "messaging"))
        self._accounts = Api(PROVIDER, _other_host(base_url, "accounts"))

    @classmethod
    def from_settings(cls, settings: Settings) -> TwilioAccount:
        sid = settings.twilio_account_sid
        token = Login(sid, settings.twilio_auth_token.get_secret_value())
        key, secret = settings.twilio_api_key, settings.twilio_api_secret
        calls = Login(key, secret.get_secret_value()) if key and secret else token
        return cls(sid, token, calls, settings.twilio_api_base_url)

    def account(self) -> AccountState:
        """Return its state. The call uses the token, which signs the webhooks: a standard API key may not make it."""
        shown = _payload(self._call(self._api, "GET", f"{self._path}.json", self._token))
        return AccountState(status=_text(shown, "status"), trial=_text(shown, "type").lower() == "trial")

    def may_call(self) -> None:
        """Make a call with the credentials that are used for texts. Raise RemoteError if they are refused."""
        self._call(self._api, "GET", f"{self._path}/IncomingPhoneNumbers.json", self._calls, params={"PageSize": 1})

    def numbers(self) -> list[str]:
        """Return the numbers of the account that can text: the first hundred."""
        answer = self._call(self._api, "GET", f"{self._path}/IncomingPhoneNumbers.json", self._calls, params=PAGE)
        found = _items(answer, "incoming_phone_numbers")
        return [_text(each, "phone_number") for each in found if _can_text(each.get("capabilities"))]

    def number(self, number: str) -> OwnNumber | None:
        """Return the number; ``None`` if the account does not have it."""
        asked = {"PhoneNumber": number, **PAGE}
        answer = self._call(self._api, "GET", f"{self._path}/IncomingPhoneNumbers.json", self._calls, params=asked)
        found = [each for each in _items(answer, "incoming_phone_numbers") if each.get("phone_number") == number]
        return _number(found[0], answer) if found else None

    def set_webhook(self, number: OwnNumber, webhook: Webhook) -> OwnNumber:
        """Let Twilio call this webhook for texts to the number."""
        fields = {"SmsUrl": webhook.url, "SmsMethod": webhook.method, "SmsApplicationSid": webhook.application_sid}
        path = f"{self._path}/IncomingPhoneNumbers/{number.sid}.json"
        answer = self._call(self._api, "POST", path, self._calls, data=fields)
        return _number(_payload(answer), answer)

    def services(self) -> list[MessagingService]:
        """Return the messaging services, the first :data:`MOST_SERVICES` of them."""
        found = _items(self._call(self._messaging, "GET", SERVICES, self._calls, params=PAGE), "services")
        return [self._service(each) for each in found[:MOST_SERVICES]]

    def closed_countries(self) -> frozenset[str]:
        """Return the countries that Twilio does not text for this account (21408)."""
        listed = _items(self._call(self._accounts, "GET", COUNTRIES, self._token), "permissions")
        return frozenset(_text(each, "country_code") for each in listed if each.get("enabled") is False)

    def close(self) -> None:
        for api in (self._api, self._messaging, self._accounts):
            api.close()

    def _service(self, its: dict[str, Any]) -> MessagingService:
        sid = _text(its, "sid")
        numbers = self._of_service(sid, "PhoneNumbers", "phone_numbers")
        campaigns = self._of_service(sid, "Compliance/Usa2p", "compliance")
        return MessagingService(
            sid=sid,
            numbers=frozenset(_text(each, "phone_number") for each in numbers),
            defers=its.get("use_inbound_webhook_on_number") is True,
            webhook=Webhook(_text(its, "inbound_request_url"), _text(its, "inbound_method")),
            campaigns=tuple(_text(each, "campaign_status") for each in campaigns),
        )

    def _of_service(self, sid: str, what: str, key: str) -> list[dict[str, Any]]:
        answer = self._call(self._messaging, "GET", f"{SERVICES}/{sid}/{what}", self._calls, params=PAGE)
        return _items(answer, key)

    def _call(self, api: Api, method: str, path: str, login: Login, **request: Any) -> Answer:
        auth = (login.username, login.password)
        answer = api.call(method, path, deadline=time.monotonic() + TIMEOUT, auth=auth, **request)
        if not answer.ok:
            raise refusal(answer, [login.password])
        return answer


def _other_host(base_url: str, name: str) -> str:
    """Return the address of another API of Twilio's. A server that is not Twilio's serves them all."""
    return base_url.replace("://api.", f"://{name}.", 1)


def _payload(answer: Answer) -> dict[str, Any]:
    if answer.payload is None:
        raise unreadable(answer)
    return answer.payload


def _items(answer: Answer, key: str) -> list[dict[str, Any]]:
    items = _payload(answer).get(key)
    if not isinstance(items, list):
        raise unreadable(answer)
    return [each for each in items if isinstance(each, dict)]


def _number(its: dict[str, Any], answer: Answer) -> OwnNumber:
    sid = _text(its, "sid")
    if not sid.isalnum():
        raise unreadable(answer)
    webhook = Webhook(_text(its, "sms_url"), _text(its, "sms_method"), _text(its, "sms_application_sid"))
    return OwnNumber(sid, _can_text(its.get("capabilities")), webhook)


def _can_text(capabilities: object) -> bool:
    """Read the capabilities. Older answers write their names in capitals."""
    its = capabilities if isinstance(capabilities, dict) else {}
    return any(able is True for name, able in its.items() if str(name).lower() == "sms")


def _text(its: dict[str, Any], name: str) -> str:
    value = its.get(name)
    return storable(value) if isinstance(value, str) else ""
