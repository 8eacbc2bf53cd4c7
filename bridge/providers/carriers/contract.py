"""Carriers: who takes the texts to the phones.

What lives here: the contract that every carrier keeps, and the small values that pass through it.
One package per carrier; the steps know only this contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from bridge.providers.errors import (
    AccountRefused,
    OutcomeUnknown,
    QueueFull,
    RateLimited,
    Refused,
    RemoteError,
    scope_of,
)


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

FINAL = 4
"""From this rank on the carrier has nothing more to decide."""

ARRIVED = (Delivery.DELIVERED, Delivery.READ)
NOT_DELIVERED = (Delivery.UNDELIVERED, Delivery.FAILED, Delivery.CANCELED)


class FailureClass(StrEnum):
    """Why a text was not taken, or was taken and not delivered. ``TREATMENTS`` says what the bridge does about it."""

    RECIPIENT = "recipient"
    """This phone can't be texted."""
    CONSENT = "consent"
    """This person does not want to be texted."""
    POLICY = "policy"
    """Somebody's rules forbid it: the country is not enabled, a filter did not like it."""
    CONTENT = "content"
    """These words, or this form, will never be taken."""
    SETUP = "setup"
    """Our own set-up is at fault: the next text fails just the same."""
    ACCOUNT = "account"
    """Something of the account is not in order with the carrier: likewise."""
    SENDER = "sender"
    """One sender of ours is not in order: its next text fails just the same, and those of the others do not."""
    TOO_LARGE = "too_large"
    """It has more segments than the operator takes."""
    PROVIDER_BUSY = "provider_busy"
    """Too many calls at once, or too many texts between two numbers: the sender's other texts are not concerned."""
    SENDER_BUSY = "sender_busy"
    """Too many texts of this sender: its queue is full, or its rate is used up. Other senders are not concerned."""
    CARRIER_FAULT = "carrier_fault"
    """Something broke on the way, and will be mended."""
    UNREACHABLE = "unreachable"
    """The phone is off or out of reach."""
    NO_REASON = "no_reason"
    """The carrier can't tell why. It may even have arrived."""
    DAY_IS_FULL = "day_is_full"
    """What may be sent in one day is used up."""
    PAUSED = "paused"
    """The carrier suspects abuse and has closed a group of numbers for a while: somebody should look at the traffic."""
    AMBIGUOUS = "ambiguous"
    """A fault of the carrier's, in which the text may have been taken."""
    EXPIRED = "expired"
    """It waited for too long at the carrier; the answer would be stale now."""
    WEBHOOK = "webhook"
    """The carrier's trouble with our webhooks. Stands in its own log and in no answer about a text."""
    UNKNOWN = "unknown"
    """No table knows the code, or there is none. New ones come unannounced."""


@dataclass(frozen=True)
class Treatment:
    """What the bridge does about a failure."""

    refused: type[RemoteError]
    """The error that a send raises which is refused for this reason; it says whether the same line tries again."""
    send_again: tuple[timedelta, ...] = ()
    """The pauses before a text that was not delivered is sent again, as a new one at the end of the line. None: never.

    For a text that was refused for good at once (:class:`~bridge.providers.errors.Refused`) they count too.
    """

    in_pieces: bool = False
    """It goes again as several texts of at most half as many segments; of one segment, not at all."""
    sender_only: bool = False
    """What others it concerns are those of the same sender, and not all."""

    @property
    def concerns_others(self) -> bool:
        """It would cost the next text the same: the carrier, or the sender there, is put on hold."""
        return self.refused.provider_wide


_SOON = (timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=40))
_WHEN_MENDED = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1))
"""People mend a set-up, and at the second try they may still be at it. While the hold lasts, the new text waits too."""

TREATMENTS: dict[FailureClass, Treatment] = {
    FailureClass.RECIPIENT: Treatment(Refused),
    FailureClass.CONSENT: Treatment(Refused),
    FailureClass.POLICY: Treatment(Refused),
    FailureClass.CONTENT: Treatment(Refused),
    FailureClass.TOO_LARGE: Treatment(Refused, (timedelta(0),) * 4, in_pieces=True),
    FailureClass.SETUP: Treatment(AccountRefused, _WHEN_MENDED),
    FailureClass.ACCOUNT: Treatment(AccountRefused, _WHEN_MENDED),
    FailureClass.SENDER: Treatment(AccountRefused, _WHEN_MENDED, sender_only=True),
    FailureClass.PROVIDER_BUSY: Treatment(RateLimited, _SOON),
    FailureClass.SENDER_BUSY: Treatment(QueueFull, _SOON),
    FailureClass.CARRIER_FAULT: Treatment(RateLimited, _SOON),
    FailureClass.UNREACHABLE: Treatment(Refused, (timedelta(minutes=5), timedelta(minutes=20))),
    FailureClass.NO_REASON: Treatment(Refused, (timedelta(minutes=5),)),
    FailureClass.DAY_IS_FULL: Treatment(Refused, (timedelta(days=1),)),
    FailureClass.PAUSED: Treatment(Refused, (timedelta(minutes=30), timedelta(minutes=60))),
    FailureClass.AMBIGUOUS: Treatment(OutcomeUnknown),
    FailureClass.EXPIRED: Treatment(Refused),
    FailureClass.WEBHOOK: Treatment(Refused),
    FailureClass.UNKNOWN: Treatment(Refused),
}
"""One line per class; a test holds that none is left out.

The tries of one text are counted together, whatever each of them failed of. ``NO_REASON`` is the only one that may have
arrived after all, so it is sent again once.
"""


@dataclass(frozen=True)
class Meaning:
    """What one of the carrier's error codes means, for operators."""

    code: int | None
    failure: FailureClass
    sentence: str
    """What has happened and how to mend it."""
    page: str | None
    """The address at which the carrier tells more."""

    @property
    def treatment(self) -> Treatment:
        return TREATMENTS[self.failure]


@dataclass(frozen=True)
class OutgoingText:
    """One text as the carrier gets it."""

    reference: str
    """Our own name for it; comes back in every status callback."""
    sender: str
    recipient: str
    body: str
    valid_for: timedelta | None = None
    """What the carrier has not sent by then it is not to send any more."""


@dataclass(frozen=True)
class CarriedText:
    """One text as the carrier knows it."""

    id: str
    status: Delivery
    body: str = ""
    created_at: datetime | None = None
    """In UTC, by the carrier's clock."""
    error_code: int | None = None
    segments: int | None = None
    """As the carrier counts them; ``None`` where it has not done so yet."""


class Attachment(StrEnum):
    """What came with a text that can't be read."""

    PICTURE = "picture"
    VOICE = "voice"
    CONTACT = "contact"
    FILE = "file"
    """Anything else, or of several kinds."""


@dataclass(frozen=True)
class InboundText:
    """A text that a person sent, as the webhook or the carrier's list tells it."""

    carrier_id: str
    phone: str
    """The person's address; opaque, may carry a channel prefix."""
    bridge_number: str
    body: str
    """The person's own words, written or tapped."""
    media: int = 0
    """How many pictures or files came with it."""
    opt_out: str | None = None
    """``STOP``, ``START`` or ``HELP`` where the carrier says so itself."""
    sent_at: datetime | None = None
    """In UTC, by the carrier's clock; ``None`` for one that comes just now."""
    hidden: bool = False
    """The carrier shows that there is a text and not what it says."""
    service: str | None = None
    """The messaging service that our number belongs to, where the carrier names one."""
    aside: str = ""
    """What the agent is told beside the words: a place, the payload of a button, the answers of a form."""
    attachment: Attachment = Attachment.FILE
    """What the media are."""
    extras: tuple[tuple[str, str], ...] = ()
    """What else the carrier told, by its names; for operators, and not said to the agent."""

    @property
    def content(self) -> str:
        """What the agent is told."""
        return (" " if self.aside.startswith("(") else "\n").join(filter(None, (self.body, self.aside)))


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

    Every method may raise a :class:`bridge.providers.errors.RemoteError` and nothing else, and never repeats a call by
    itself.
    """

    provider: str
    """Its name in errors and holds."""

    def sending_identity(self, sender: str) -> str:
        """The sender in whose queue a text from this address waits: itself, or the service that sends for it."""
        ...

    def send(self, text: OutgoingText) -> CarriedText:
        """Hand one text over. Returns once the carrier has taken it."""
        ...

    def sent_to(self, recipient: str, sender: str, since: datetime) -> list[CarriedText]:
        """What the carrier took from us for this pair since then (UTC), newest first; to settle an unknown outcome."""
        ...

    def fetch(self, carrier_id: str) -> CarriedText | None:
        """One text as the carrier knows it now; ``None`` for one that it does not know, or has forgotten."""
        ...

    def meaning(self, code: int | None) -> Meaning:
        """What an error code means. Asks nobody."""
        ...

    def received_by(self, number: str, since: datetime) -> Iterator[Sequence[InboundText]]:
        """What people sent to one of our numbers since then (UTC), the oldest first, page by page.

        Of a long list only a few pages are in memory at once. An error may come in place of each page, also while the
        oldest is still looked for; the next call of ``next`` goes on from there.
        """
        ...

    def fetch_received(self, carrier_id: str) -> InboundText | None:
        """One text that a person sent, as the carrier knows it now; ``None`` for one that it does not know."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


def scopes(carrier: Carrier, number: str) -> tuple[str, str]:
    """What must not be on hold for a text from this number: our account there, and the sender."""
    return scope_of(carrier.provider), scope_of(carrier.provider, carrier.sending_identity(number))
