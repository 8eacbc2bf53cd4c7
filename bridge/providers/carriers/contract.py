"""The contract that every carrier keeps, and the values that pass through it.

Each carrier is one package. The tasks know only this contract.
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
    """How far the carrier has brought a text. ``RANK`` orders the values; a text never goes back."""

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
        """Return the status for the carrier's word, or ``None`` for an unknown word.

        Carriers add new ones unannounced.
        """
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
"""Callbacks arrive out of order. A report counts only if it ranks higher than the stored status."""

FINAL = 4
"""The lowest rank at which the carrier's decision is final."""

ARRIVED = (Delivery.DELIVERED, Delivery.READ)
NOT_DELIVERED = (Delivery.UNDELIVERED, Delivery.FAILED, Delivery.CANCELED)


class FailureClass(StrEnum):
    """The reason why a text was refused or not delivered. ``TREATMENTS`` says what the bridge does about it."""

    RECIPIENT = "recipient"
    """This phone can't receive texts."""
    CONSENT = "consent"
    """This person does not want texts."""
    POLICY = "policy"
    """A rule forbids the text: the country is not enabled, or a filter blocked it."""
    CONTENT = "content"
    """The carrier never accepts these words, or this form."""
    SETUP = "setup"
    """Our setup is wrong. The next text fails in the same way."""
    ACCOUNT = "account"
    """The carrier finds a fault with our account. The next text fails in the same way."""
    SENDER = "sender"
    """One of our senders has a fault. Its next text fails in the same way; other senders are not affected."""
    TOO_LARGE = "too_large"
    """The text has more segments than the operator accepts."""
    PROVIDER_BUSY = "provider_busy"
    """Too many calls at once, or too many texts between two numbers. The sender's other texts are not affected."""
    SENDER_BUSY = "sender_busy"
    """Too many texts of this sender: its queue is full, or its rate is used up. Other senders are not affected."""
    CARRIER_FAULT = "carrier_fault"
    """Something broke on the way, and will be repaired."""
    UNREACHABLE = "unreachable"
    """The phone is off or out of reach."""
    NO_REASON = "no_reason"
    """The carrier can't say why. The text may even have arrived."""
    DAY_IS_FULL = "day_is_full"
    """The quota of one day is used up."""
    PAUSED = "paused"
    """The carrier suspects abuse and has blocked a group of numbers for a while. An operator should check the
    traffic."""
    AMBIGUOUS = "ambiguous"
    """The carrier had a fault, and may have accepted the text."""
    EXPIRED = "expired"
    """The text waited too long at the carrier. The answer would be stale now."""
    WEBHOOK = "webhook"
    """The carrier has trouble with our webhooks. This appears only in the carrier's own log, never for a text."""
    UNKNOWN = "unknown"
    """The code is missing or in no table. Carriers add new ones unannounced."""


@dataclass(frozen=True)
class Treatment:
    """The bridge's reaction to a failure."""

    refused: type[RemoteError]
    """The error that ``send`` raises for this refusal. It decides whether the same delivery is tried again."""
    send_again: tuple[timedelta, ...] = ()
    """The pauses before an undelivered text is sent again, as a new text at the end of the queue. Empty: never.

    They also apply to a text that the carrier refused for good (:class:`~bridge.providers.errors.Refused`).
    """

    in_pieces: bool = False
    """The text is sent again in parts of at most half as many segments. A text of one segment is not sent again."""
    sender_only: bool = False
    """Only texts of the same sender are affected."""

    @property
    def concerns_others(self) -> bool:
        """Return True if the next text would fail too. Then the circuit of the carrier, or of the sender, opens."""
        return self.refused.provider_wide


_SOON = (timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=40))
_WHEN_MENDED = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1))
"""People repair a setup, and may not be done at the second attempt. The new text waits while the circuit is open."""

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
"""One line for each class; a test holds that none is missing.

All attempts of one text count together, whatever the reason of each failure. Only a ``NO_REASON`` text may have arrived
after all, so it is sent again once.
"""


@dataclass(frozen=True)
class Meaning:
    """The meaning of one of the carrier's error codes, for operators."""

    code: int | None
    failure: FailureClass
    sentence: str
    """What has happened and how to fix it."""
    page: str | None
    """The address of the carrier's page about it."""

    @property
    def treatment(self) -> Treatment:
        return TREATMENTS[self.failure]


@dataclass(frozen=True)
class OutgoingText:
    """One text as the bridge gives it to the carrier."""

    reference: str
    """Our own id of the text. Every status callback returns it."""
    sender: str
    recipient: str
    body: str
    valid_for: timedelta | None = None
    """The carrier must not send the text after this time."""


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
    """The carrier's count. ``None`` if the carrier has not counted yet."""


@dataclass(frozen=True)
class SentText:
    """A text from one of our numbers in the carrier's list. The bridge has sent it, or somebody with another tool."""

    carried: CarriedText
    sender: str
    recipient: str
    sent_at: datetime | None
    """In UTC, by the carrier's clock. ``None``: it is not sent yet."""
    is_reply: bool = False
    """The carrier has answered a text of the person with it, and nobody has called its API: a keyword, for example."""
    media: int = 0
    hidden: bool = False
    """The carrier shows that the text exists, but not its words."""


class Attachment(StrEnum):
    """The kind of media that came with a text. The bridge can't read any of them."""

    PICTURE = "picture"
    VOICE = "voice"
    CONTACT = "contact"
    FILE = "file"
    """Any other kind, or several kinds."""


@dataclass(frozen=True)
class InboundText:
    """A text from a person, as the webhook or the carrier's list shows it."""

    carrier_id: str
    phone: str
    """The person's address. It is opaque and may have a channel prefix."""
    bridge_number: str
    body: str
    """The person's own words, written or tapped."""
    media: int = 0
    """The number of pictures or files."""
    opt_out: str | None = None
    """``STOP``, ``START`` or ``HELP`` if the carrier names the keyword."""
    sent_at: datetime | None = None
    """In UTC, by the carrier's clock. ``None`` for a text from the webhook."""
    hidden: bool = False
    """The carrier shows that the text exists, but not its words."""
    service: str | None = None
    """The messaging service of our number, if the carrier names one."""
    aside: str = ""
    """More content for the agent beside the words: a place, a button's payload, a form's answers."""
    attachment: Attachment = Attachment.FILE
    """The kind of the media."""
    extras: tuple[tuple[str, str], ...] = ()
    """Other facts from the carrier, under its names. They are for operators and do not go to the agent."""

    @property
    def content(self) -> str:
        """Return the whole content for the agent."""
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
    """The interface of a carrier, which brings texts to phones.

    Every method may raise a :class:`bridge.providers.errors.RemoteError` and nothing else. No method repeats a call.
    """

    provider: str
    """The name in errors and circuit breakers."""

    def sending_identity(self, sender: str) -> str:
        """Return the sender whose queue holds the texts of this address: itself, or its messaging service."""
        ...

    def send(self, text: OutgoingText) -> CarriedText:
        """Send one text. Return when the carrier has accepted it."""
        ...

    def sent_to(self, recipient: str, sender: str, since: datetime) -> list[CarriedText]:
        """Return the texts that the carrier accepted for this pair since then (UTC), newest first.

        The worker uses it to reconcile a delivery with an unknown outcome.
        """
        ...

    def fetch(self, carrier_id: str) -> CarriedText | None:
        """Return one text as the carrier knows it now, or ``None`` if the carrier has no such text (any more)."""
        ...

    def meaning(self, code: int | None) -> Meaning:
        """Return the meaning of an error code, without a call."""
        ...

    def received_by(self, number: str, since: datetime) -> Iterator[Sequence[InboundText]]:
        """Yield the texts from people to one of our numbers since then (UTC), oldest first, page by page.

        Only a few pages of a long list are in memory at once. Any page may raise an error, also while the oldest page
        is being searched. The next call of ``next`` continues from there.
        """
        ...

    def sent_by(self, number: str, since: datetime) -> Iterator[Sequence[SentText]]:
        """Yield the texts from one of our numbers since then (UTC), in the same way, whoever has sent them."""
        ...

    def fetch_received(self, carrier_id: str) -> InboundText | None:
        """Return one text from a person as the carrier knows it now, or ``None`` if the carrier does not know it."""
        ...

    def erase(self, carrier_id: str, *, with_media: bool) -> None:
        """Delete one text there, in either direction: its words, its pictures and files, and its entry in the lists.

        An unknown text is no error. It may be repeated, also after a part of it was done.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def scopes(carrier: Carrier, number: str) -> tuple[str, str]:
    """Return the scopes whose circuits must be closed for a text from this number: our account, and the sender."""
    return scope_of(carrier.provider), scope_of(carrier.provider, carrier.sending_identity(number))
