"""The keywords: which texts they are, and who answers them."""

from __future__ import annotations

import pytest

from bridge.keywords import HELP_WORDS, START_WORDS, STOP_WORDS, Keyword, bridge_answers, keyword

NUMBER = "+15550001111"
TOLL_FREE = "+18885550100"

WORDS = [
    *[(word, Keyword.STOP) for word in sorted(STOP_WORDS)],
    *[(word, Keyword.START) for word in sorted(START_WORDS)],
    *[(word, Keyword.HELP) for word in sorted(HELP_WORDS)],
]
VARIANTS = [
    ("stop", Keyword.STOP),
    ("StopAll", Keyword.STOP),
    (" \n\tSTOP\u00a0\r\n", Keyword.STOP),
    ("Stop.", Keyword.STOP),
    ("STOP!!!", Keyword.STOP),
    ("stop ! ", Keyword.STOP),
    ("start", Keyword.START),
    (" Yes ", Keyword.START),
    ("help\n", Keyword.HELP),
]
NO_KEYWORD = [
    "",
    " ",
    ".",
    "!",
    "STOP please",
    "please stop",
    "stop all",
    "opt out",
    "opt-out",
    "stopp",
    "nonstop",
    "STOP?",
    ".stop",
    "s t o p",
    "can you cancel",
    "the end",
    "Yes.",
    "yes!",
    "START!",
    "Help!",
    "info?",
    "stop\nstop",
    "🛑",
    "\u200b",
]


def test_the_words_are_the_carriers() -> None:
    assert {"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"} == STOP_WORDS
    assert {"START", "UNSTOP", "YES"} == START_WORDS
    assert {"HELP", "INFO"} == HELP_WORDS


@pytest.mark.parametrize(("body", "word"), [*WORDS, *VARIANTS], ids=repr)
def test_a_text_that_is_a_word_alone_is_a_keyword(body: str, word: Keyword) -> None:
    assert keyword(body, NUMBER) is word


@pytest.mark.parametrize("body", NO_KEYWORD, ids=repr)
def test_a_text_that_is_more_or_other_than_a_word_is_none(body: str) -> None:
    assert keyword(body, NUMBER) is None


@pytest.mark.parametrize("body", ["STOP", "START", "ARRET", "", "hello"])
@pytest.mark.parametrize("said", ["STOP", "START", "HELP"])
def test_what_the_carrier_says_goes_before_what_it_reads_like(body: str, said: str) -> None:
    assert keyword(body, NUMBER, said) is Keyword(said)


@pytest.mark.parametrize("prefix", ["800", "833", "844", "855", "866", "877", "888"])
def test_yes_opts_in_nobody_on_a_toll_free_number(prefix: str) -> None:
    number = f"+1{prefix}5550100"
    assert keyword("YES", number) is None
    assert keyword("YES", number, "START") is Keyword.START
    assert (keyword("START", number), keyword("UNSTOP", number)) == (Keyword.START, Keyword.START)
    assert keyword("STOP", number) is Keyword.STOP


@pytest.mark.parametrize(
    "number", ["+15550001111", "+18225550100", "+448005550100", "+1888", "88855", "whatsapp:+18885550100"]
)
def test_other_numbers_are_not_toll_free(number: str) -> None:
    assert keyword("YES", number) is Keyword.START


ANSWERED = [
    ("+15550001111", None, False),
    (TOLL_FREE, None, False),
    ("+123", None, False),
    ("123", None, True),
    ("55512", None, True),
    ("12345678", None, True),
    ("12", None, False),
    ("123456789", None, False),
    ("whatsapp:+15550001111", None, True),
    ("rcs:brand_agent", None, False),
    ("whatsapp:+15550001111", "STOP", False),
    ("55512", "HELP", False),
]


@pytest.mark.parametrize(("number", "said", "ours"), ANSWERED)
def test_the_bridge_answers_where_the_carrier_does_not(number: str, said: str | None, ours: bool) -> None:
    assert bridge_answers("auto", number, said) is ours
    assert bridge_answers("bridge", number, said) is True
    assert bridge_answers("twilio", number, said) is False
