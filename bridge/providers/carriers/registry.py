"""All carriers, one line each."""

from __future__ import annotations

from collections.abc import Callable

from bridge.config import Settings
from bridge.providers.carriers.contract import Carrier
from bridge.providers.carriers.twilio.client import Twilio

CARRIERS: dict[str, Callable[[Settings], Carrier]] = {"twilio": Twilio.from_settings}


def build_carrier(settings: Settings) -> Carrier:
    """Build the only carrier so far. A second one needs a setting like ``AGENT_PROVIDER``."""
    return CARRIERS["twilio"](settings)
