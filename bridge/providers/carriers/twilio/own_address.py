"""PUBLIC_URL, called as Twilio would call it: does the address lead to this bridge, and is the signature accepted?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from bridge.config import Settings
from bridge.providers.http.client import Answer, Api

INBOUND_PATH = "/twilio/inbound"

TIMEOUT = 10.0
"""Seconds for each call. Twilio waits for 15."""


@dataclass(frozen=True)
class Signer:
    """The account that signs webhooks."""

    account_sid: str
    token: str = field(repr=False)

    def signature(self, url: str, form: Mapping[str, str]) -> str:
        signature: str = RequestValidator(self.token).compute_signature(url, form)
        return signature


class OwnAddress:
    """The bridge behind PUBLIC_URL, as others see it. No call changes anything there."""

    def __init__(self, public_url: str, signer: Signer) -> None:
        self._url = public_url
        self._signer = signer
        self._api = Api("PUBLIC_URL", public_url)

    @classmethod
    def from_settings(cls, settings: Settings) -> OwnAddress:
        token = settings.twilio_auth_token.get_secret_value()
        return cls(settings.public_url, Signer(settings.twilio_account_sid, token))

    def health(self) -> Answer:
        return self._api.call("GET", "/healthz", deadline=self._deadline())

    def readiness(self) -> Answer:
        return self._api.call("GET", "/readyz", deadline=self._deadline())

    def webhook(self, *, signed: bool) -> Answer:
        """Call the webhook for texts without a text.

        A bridge with our account and token, at the same PUBLIC_URL, answers 400 to the signed call, because it accepts
        the signature and misses the text. It answers 403 to the other one.
        """
        form = {"AccountSid": self._signer.account_sid}
        signature = self._signer.signature(self._url + INBOUND_PATH, form) if signed else "none"
        headers = {"X-Twilio-Signature": signature}
        return self._api.call("POST", INBOUND_PATH, data=form, headers=headers, deadline=self._deadline())

    def close(self) -> None:
        self._api.close()

    def _deadline(self) -> float:
        return time.monotonic() + TIMEOUT
