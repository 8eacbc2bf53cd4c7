"""The context of all checks: the settings, and access to what they check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from bridge.config import Settings
from bridge.config.misspelt import Unknown
from bridge.db.engine import build_engine
from bridge.db.sealing import Keyring
from bridge.doctor.findings import Finding
from bridge.lib.errors import BridgeError
from bridge.providers.agents.retell.account import RetellAccount
from bridge.providers.agents.uponai.account import UponAIAccount
from bridge.providers.carriers.twilio.account import TwilioAccount
from bridge.providers.carriers.twilio.own_address import OwnAddress

SILENCE = 5.0
"""Seconds to wait for the database's answer to a statement."""


class BrokerAway(BridgeError):
    """The broker can't be used. The message has no address."""


@dataclass(frozen=True)
class Pong:
    """A worker's answer to a ping."""

    at: datetime
    """The worker's clock."""
    version: str


Ping = Callable[[], Pong | None]
"""Send a call through the broker to any worker and back. ``None``: no worker has answered in time. Raise
:class:`BrokerAway`."""


@dataclass(frozen=True)
class Context:
    """Everything that a check may use. Nothing is opened before its first use."""

    settings: Settings
    engine: Engine
    address: OwnAddress
    twilio: TwilioAccount
    retell: RetellAccount | None
    uponai: UponAIAccount | None
    ping: Ping | None
    """``None``: no broker is set."""
    unknown_names: Sequence[Unknown] = ()
    """Names in the environment that may be settings with a typing error."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @classmethod
    def build(cls, settings: Settings, ping: Ping | None) -> Context:
        return cls(
            settings=settings,
            engine=build_engine(settings.database_url, pool_size=4, silence=SILENCE, keyring=Keyring(settings.keys)),
            address=OwnAddress.from_settings(settings),
            twilio=TwilioAccount.from_settings(settings),
            retell=RetellAccount.from_settings(settings),
            uponai=UponAIAccount.from_settings(settings),
            ping=ping,
        )

    def close(self) -> None:
        """Close every connection."""
        for api in (self.address, self.twilio, self.retell, self.uponai):
            if api:
                api.close()
        self.engine.dispose()


Check = Callable[[Context], Sequence[Finding]]
"""It changes nothing. An expected fault is a finding; any other error is a bug of the check."""
