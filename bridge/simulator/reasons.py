"""The reasons why a text does not arrive: Twilio's error numbers, and the phones whose texts always fail.

Like Twilio's test numbers, which are among them, these phones are magic. A text to ``+150055`` and an error number
fails for that reason. ``+15005530003`` is switched off, ``+15005521614`` is refused by the send call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bridge.simulator.channels import bare


class Bars(StrEnum):
    """The texts that a reason stops."""

    NOW = "now"
    """Only now. The carrier will accept the same text later."""
    TEXT = "text"
    """This text, now and later."""
    PERSON = "person"
    """Every text to this person."""


@dataclass(frozen=True)
class Reason:
    """One error number. Codes from 30000 on come in a callback, the others as the send's answer."""

    code: int
    bars: Bars
    message: str
    """Twilio's message."""
    plain: str
    """The words for people, after "not delivered:"."""
    final: str = "undelivered"
    """The status of a text that fails later."""
    http: int = 400

    @property
    def at_once(self) -> bool:
        return self.code < 30000


_NOW, _TEXT, _PERSON = Bars.NOW, Bars.TEXT, Bars.PERSON
_FAILED = "failed"

_TABLE = (
    Reason(14107, _NOW, "Message rate limit exceeded", "too many texts between these two numbers"),
    Reason(20003, _NOW, "Authenticate", "the account is not accepted", http=401),
    Reason(20404, _NOW, "The requested resource was not found", "there is no such account", http=404),
    Reason(20429, _NOW, "Too Many Requests", "too many calls at once", http=429),
    Reason(20500, _NOW, "Internal Server Error", "the carrier has a fault of its own", http=500),
    Reason(20503, _NOW, "Service Unavailable", "the carrier is not available", http=503),
    Reason(21211, _PERSON, "Invalid 'To' Phone Number", "this is no phone number"),
    Reason(21212, _TEXT, "Invalid 'From' Number", "the sender is no phone number"),
    Reason(21408, _PERSON, "Permission to send an SMS has not been enabled for the region", "this country is closed"),
    Reason(21606, _TEXT, "The 'From' number can't send messages", "the sender can't send texts"),
    Reason(21608, _PERSON, "The 'To' number is unverified", "a trial account may not text this number"),
    Reason(21610, _PERSON, "Attempt to send to unsubscribed recipient", "this person has sent STOP"),
    Reason(21611, _NOW, "The 'From' number has exceeded its message queue", "the carrier's queue is full"),
    Reason(21612, _PERSON, "The 'To' number is not reachable from the 'From' number", "no way leads there"),
    Reason(21614, _PERSON, "The 'To' number is not a valid mobile number", "this is no mobile phone"),
    Reason(21635, _PERSON, "The 'To' number can't be a landline", "this is a landline"),
    Reason(30001, _NOW, "Queue overflow", "the carrier's queue is full", _FAILED),
    Reason(30002, _TEXT, "Account suspended", "the account is suspended", _FAILED),
    Reason(30003, _TEXT, "Unreachable destination handset", "the phone is switched off or out of reach"),
    Reason(30004, _PERSON, "Message blocked", "this person blocks such texts"),
    Reason(30005, _PERSON, "Unknown destination handset", "this number is not in use"),
    Reason(30006, _PERSON, "Landline or unreachable carrier", "this is a landline"),
    Reason(30007, _TEXT, "Message filtered", "the carrier took it for spam"),
    Reason(30008, _TEXT, "Unknown error", "the carrier does not say why"),
    Reason(30017, _NOW, "Carrier network congestion", "the network is too busy"),
    Reason(30022, _NOW, "Rate limit of the 10DLC campaign exceeded", "more than the campaign may send", _FAILED),
    Reason(30023, _NOW, "Daily message cap of the carrier reached", "the carrier's daily limit is reached", _FAILED),
    Reason(30024, _TEXT, "Sender not provisioned by the carrier", "the carrier does not know the sender", _FAILED),
    Reason(30032, _TEXT, "Toll-free number has not been verified", "the toll-free number is not verified"),
    Reason(30034, _TEXT, "Message from an unregistered number", "the number is not registered in the US"),
    Reason(30036, _TEXT, "Validity period expired", "it waited for too long", _FAILED),
    Reason(30410, _NOW, "Provider timeout", "the carrier's provider did not answer"),
    Reason(30450, _NOW, "Message blocked by pumping protection", "taken for a pumping attack", _FAILED),
    Reason(30500, _NOW, "Provider error", "the carrier's provider has a fault"),
    Reason(63001, _TEXT, "Channel could not authenticate the request", "the channel refuses the account", _FAILED),
    Reason(63003, _PERSON, "Channel could not find the To address", "this address does not exist there", _FAILED),
    Reason(63005, _TEXT, "Channel did not accept the content", "the channel refuses what it says", _FAILED),
    Reason(63007, _TEXT, "Channel with the specified From address not found", "we have no such sender", _FAILED),
    Reason(63013, _TEXT, "Channel policy violation", "it is against the channel's rules", _FAILED),
    Reason(63016, _TEXT, "Freeform message outside the allowed window", "the person wrote 24 hours ago", _FAILED),
    Reason(63018, _NOW, "Rate limit of the channel exceeded", "more than the channel may send", _FAILED),
    Reason(63024, _PERSON, "Invalid message recipient", "this address does not exist there", _FAILED),
    Reason(63038, _NOW, "Daily message limit of the account reached", "the carrier's daily limit is reached", _FAILED),
)

REASONS: dict[int, Reason] = {reason.code: reason for reason in _TABLE}

_TEST_NUMBERS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
TEST_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
_MAGIC = re.compile(r"\+150055(\d{5})")

SHOWN = (30003, 30005, 30006, 30007, 30008, 30034, 21211, 21408, 21610, 21614)
"""The phones that the page offers."""


def reason(code: int) -> Reason:
    """Return the reason for a code. An unlisted one is final: Twilio adds numbers unannounced."""
    return REASONS.get(code) or Reason(code, _TEXT, f"Error {code}", "for an unknown reason")


def fate(phone: str) -> Reason | None:
    """Return the reason why texts to this phone fail, or ``None`` for an ordinary phone."""
    number = bare(phone)
    if number in _TEST_NUMBERS:
        return REASONS[_TEST_NUMBERS[number]]
    found = _MAGIC.fullmatch(number)
    return REASONS.get(int(found[1])) if found else None


def failing_phone(code: int) -> str:
    """Return the phone whose texts fail with this code."""
    if code not in REASONS:
        raise ValueError(f"no phone fails with {code}; there are {', '.join(map(str, REASONS))}")
    return f"+150055{code}"
