"""Carriers: who takes the texts to the phones.

What lives here: the contract that every carrier keeps, and the small values that pass through it.
One package per carrier; the steps know only this contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bridge.config import Settings


class Delivery(StrEnum):
    """How far the carrier has brought a text. ``RANK`` orders them; a text never goes back."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"
    READ = "read"

    @classmethod
    def of(cls, word: object) -> Delivery | None:
        """The carrier's word for it; ``None`` for one that is not known. New ones come unannounced."""
        return next((known for known in cls if known == word), None)


RANK = {
    Delivery.ACCEPTED: 0,
    Delivery.SCHEDULED: 0,
    Delivery.QUEUED: 1,
    Delivery.SENDING: 2,
    Delivery.SENT: 3,
    Delivery.DELIVERED: 4,
    Delivery.UNDELIVERED: 4,
    Delivery.FAILED: 4,
    Delivery.CANCELED: 4,
    Delivery.READ: 5,
}
"""Callbacks arrive out of order: a report counts only if it ranks higher than what is known."""


@dataclass(frozen=True)
class OutgoingText:
    """One text as the carrier gets it."""

    reference: str
    """Our own name for it; comes back in every status callback."""
    sender: str
    recipient: str
    body: str


@dataclass(frozen=True)
class CarriedText:
    """One text as the carrier knows it."""

    id: str
    status: Delivery
    body: str = ""
    created_at: datetime | None = None
    """In UTC, by the carrier's clock."""
    error_code: int | None = None


@dataclass(frozen=True)
class InboundText:
    """A text that a person sent, as the webhook or the carrier's list tells it."""

    carrier_id: str
    phone: str
    """The person's address; opaque, may carry a channel prefix."""
    bridge_number: str
    body: str
    media: int = 0
    """How many pictures or files came with it."""
    opt_out: str | None = None
    """``STOP``, ``START`` or ``HELP`` where the carrier says so itself."""
    sent_at: datetime | None = None
    """In UTC, by the carrier's clock; ``None`` for one that comes just now."""


@dataclass(frozen=True)
class StatusReport:
    """One status callback."""

    reference: str | None
    carrier_id: str
    status: Delivery
    recipient: str
    error_code: int | None = None


class Carrier(Protocol):
    """Takes texts to phones.

    Every method may raise a :class:`bridge.errors.RemoteError` and nothing else, and never repeats a call by itself.
    """

    provider: str
    """Its name in errors and holds."""

    def send(self, text: OutgoingText) -> CarriedText:
        """Hand one text over. Returns once the carrier has taken it."""
        ...

    def sent_to(self, recipient: str, sender: str, since: datetime) -> list[CarriedText]:
        """What the carrier took from us for this pair since then (UTC), newest first; to settle an unknown outcome."""
        ...

    def received_by(self, number: str, since: datetime) -> Iterator[Sequence[InboundText]]:
        """What people sent to one of our numbers since then (UTC), the oldest first, page by page.

        Of a long list only a few pages are in memory at once. An error may come before each of them.
        """
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


def _twilio(settings: Settings) -> Carrier:
    from bridge.carriers.twilio.client import Twilio

    return Twilio.from_settings(settings)


CARRIERS: dict[str, Callable[[Settings], Carrier]] = {"twilio": _twilio}
"""One line per carrier."""


def build_carrier(settings: Settings) -> Carrier:
    """The only carrier so far; a second one gets a setting like ``AGENT_PROVIDER``."""
    return CARRIERS["twilio"](settings)
