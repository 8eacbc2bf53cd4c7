"""The words by which people opt out, opt in again and ask for help.

What lives here: pure questions. Is a text such a word, and who answers it? What follows from it: ``bridge.inbox``.
"""

from __future__ import annotations

from enum import StrEnum

from bridge.phone import SHORT_CODE, TOLL_FREE, WHATSAPP


class Keyword(StrEnum):
    """What a text that is a keyword asks for; Twilio's names for it."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})

START_WORDS_TOLL_FREE = START_WORDS - {"YES"}
"""There the network keeps the list, and YES means nothing to it."""


def keyword(body: str, number: str, said: str | None = None) -> Keyword | None:
    """What a text to this number of ours asks for; what the carrier ``said`` of it goes before what it reads like.

    The whole text must be the word, as for the carrier. Only a word that opts out may end like a sentence: whoever
    writes "Stop." wants it, also where the carrier does not see it. A "Help!" or a "Yes." to which the carrier is deaf
    would be answered by nobody, so these are for the agent.
    """
    if said:
        return Keyword(said)
    word = body.strip().upper()
    if word.rstrip(".! ") in STOP_WORDS:
        return Keyword.STOP
    if word in start_words(number):
        return Keyword.START
    return Keyword.HELP if word in HELP_WORDS else None


def start_words(number: str) -> frozenset[str]:
    """The words that opt in again at this number of ours."""
    return START_WORDS_TOLL_FREE if TOLL_FREE.fullmatch(number) else START_WORDS


def bridge_answers(answered_by: str, number: str, said: str | None = None) -> bool:
    """Is it for us to confirm a keyword? ``answered_by`` is the setting.

    By itself Twilio answers on phone numbers and over RCS; not on short codes of one's own, and on WhatsApp only with
    Advanced Opt-Out, which then names the keyword.
    """
    if answered_by != "auto":
        return answered_by == "bridge"
    return said is None and (number.startswith(WHATSAPP) or bool(SHORT_CODE.fullmatch(number)))
