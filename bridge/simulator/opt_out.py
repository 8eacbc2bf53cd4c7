"""STOP, START and HELP: the carrier's keywords, its answers to them, and the list of opted-out people.

The effect of a word depends on the number that was texted. On an ordinary number, Twilio does everything. On a
toll-free one, the network does a part. On a short code and on WhatsApp nothing happens, unless Advanced Opt-Out is on.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.simulator.channels import Channel, bare, channel, short_code, toll_free
from bridge.simulator.settings import SimulatorSettings

STOP, START, HELP = "STOP", "START", "HELP"

STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})

NOT_FOR_THE_AGENT = (STOP_WORDS | START_WORDS | HELP_WORDS) - {"YES"}
"""A bridge need not pass these to the agent. YES is an ordinary answer of a person who gets texts."""


_ONLY_STOPS = re.compile("(?:" + "|".join(STOP_WORDS) + ")+")


def meant(body: str) -> str | None:
    """Return the keyword that a person means, also if the carrier does not recognize it.

    A bridge may obey a STOP in any form, and then START.
    """
    letters = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", body)).upper()
    if _ONLY_STOPS.fullmatch(letters):
        return STOP
    return START if body.strip().upper() in START_WORDS else None


@dataclass(frozen=True)
class _Policy:
    """The effect of the words on one kind of number."""

    words: Mapping[str, frozenset[str]]
    answers: Mapping[str, str]

    def keyword(self, body: str) -> str | None:
        """Return the keyword. The whole text must be the word; case and surrounding blanks do not matter."""
        word = body.strip().upper()
        return next((keyword for keyword, words in self.words.items() if word in words), None)


_ORDINARY = _Policy(
    {STOP: STOP_WORDS, START: START_WORDS, HELP: HELP_WORDS},
    {
        STOP: "You have successfully been unsubscribed. You will not receive any more messages from this number. "
        "Reply START to resubscribe.",
        START: "You have successfully been re-subscribed to messages from this number. Reply HELP for help. "
        "Reply STOP to unsubscribe.",
        HELP: "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
    },
)
_TOLL_FREE = _Policy(
    {STOP: frozenset({"STOP"}), START: frozenset({"START", "UNSTOP"})},
    {
        STOP: 'NETWORK MSG: You replied "stop", which blocks all texts from this number. '
        'Text back "unstop" to receive them again.',
        START: "NETWORK MSG: You replied unstop and will get texts from this number again.",
    },
)
_NOTHING = _Policy({}, {})


@dataclass(frozen=True)
class KeywordReply:
    """The carrier recognized a keyword and answers it."""

    keyword: str
    answer: str


class OptOuts:
    """The list of opted-out people. Thread-safe."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._closed: set[tuple[str, str]] = set()

    def take(self, phone: str, number: str, body: str) -> KeywordReply | None:
        """Return the carrier's reply if the text is a keyword, and record the opt-out or opt-in."""
        policy, scope = self._policy(number), self._scope(phone, number)
        keyword = policy.keyword(body)
        with self._lock:
            if keyword == START and scope not in self._closed:
                return None
            if keyword == STOP:
                self._closed.add(scope)
            elif keyword == START:
                self._closed.discard(scope)
        return KeywordReply(keyword, policy.answers[keyword]) if keyword else None

    def closed(self, phone: str, number: str) -> bool:
        """Return True if the carrier blocks all texts to this phone."""
        with self._lock:
            return self._scope(phone, number) in self._closed

    def named(self, number: str) -> bool:
        """Return True if the webhook names the keyword. On WhatsApp all of this comes with Advanced Opt-Out."""
        return self._settings.advanced_opt_out or channel(number) is Channel.WHATSAPP

    def _policy(self, number: str) -> _Policy:
        if channel(number) is Channel.WHATSAPP:
            return _ORDINARY if self._settings.whatsapp_opt_out else _NOTHING
        if short_code(number):
            return _NOTHING
        return _TOLL_FREE if toll_free(number) else _ORDINARY

    def _scope(self, phone: str, number: str) -> tuple[str, str]:
        """Return the person with the number, or with the whole messaging service. SMS and RCS count as one."""
        person = phone if channel(phone) is Channel.WHATSAPP else bare(phone)
        return person, self._settings.messaging_service_sid or number
