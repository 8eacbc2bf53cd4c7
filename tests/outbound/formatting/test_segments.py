"""What a text costs: the carrier's own table, and what must hold for every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.outbound.formatting.segments import BASIC, EXTENDED, is_gsm, off_sms, segments

GSM_CHARS = st.sampled_from(sorted(BASIC | EXTENDED))
ANY_CHARS = GSM_CHARS | st.sampled_from("ç`中👍\u2019\ud800") | st.characters()
LONG = {"min_size": 60, "max_size": 400}
TEXTS = st.one_of(st.text(GSM_CHARS), st.text(GSM_CHARS, **LONG), st.text(ANY_CHARS), st.text(ANY_CHARS, **LONG))


def units(text: str) -> int:
    if is_gsm(text):
        return len(text) + sum(char in EXTENDED for char in text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize(
    ("text", "gsm", "counted", "parts"),
    [
        ("", True, 0, 1),
        ("a" * 160, True, 160, 1),
        ("a" * 161, True, 161, 2),
        ("a" * 306, True, 306, 2),
        ("a" * 307, True, 307, 3),
        ("€" * 80, True, 160, 1),
        ("€" * 81, True, 162, 2),
        ("€" * 153, True, 306, 3),
        ("a" * 152 + "€" + "a" * 152, True, 306, 3),
        ("a" * 159 + "€", True, 161, 2),
        ("[ok] {a}", True, 12, 1),
        ("ç" * 70, False, 70, 1),
        ("ç" * 71, False, 71, 2),
        ("ç" * 134, False, 134, 2),
        ("ç" * 135, False, 135, 3),
        ("a" * 70 + "`", False, 71, 2),
        ("👍" * 35, False, 70, 1),
        ("👍" * 36, False, 72, 2),
        ("👍" * 67, False, 134, 3),
        ("a" * 66 + "👍" + "a" * 66, False, 134, 3),
        ("a" * 1600, True, 1600, 11),
        ("中" * 1600, False, 1600, 24),
    ],
)
def test_the_carriers_own_examples(text: str, gsm: bool, counted: int, parts: int) -> None:
    assert (is_gsm(text), units(text), segments(text)) == (gsm, counted, parts)


def test_the_sets_are_those_of_the_standard() -> None:
    assert (len(BASIC), len(EXTENDED)) == (127, 10)  # of 128 the escape is no character
    assert not BASIC & EXTENDED


@pytest.mark.parametrize("char", ["`", "\t", "ç", "ê", "ï", "\u2019", "…", "•", "👍", "\u00a0"])
def test_one_foreign_character_makes_the_text_wide(char: str) -> None:
    assert segments("a" * 100) == 1
    assert segments("a" * 100 + char) == 2


@pytest.mark.parametrize("address", ["whatsapp:+15551230001", "rcs:+15551230001", "whatsapp:user.17"])
def test_off_sms_there_are_no_segments(address: str) -> None:
    assert off_sms(address)
    assert segments("中" * 1600, address) == 1


@pytest.mark.parametrize("address", ["+15551230001", "12345", "ACME", "", "messenger:1"])
def test_every_other_address_gets_an_sms(address: str) -> None:
    assert segments("a" * 161, address) == 2


@given(TEXTS, TEXTS)
def test_more_text_never_costs_less(text: str, more: str) -> None:
    assert segments(text) <= segments(text + more)


@given(TEXTS)
def test_as_many_as_its_units_need_and_hardly_more(text: str) -> None:
    single, part = (160, 153) if is_gsm(text) else (70, 67)
    if units(text) <= single:
        assert segments(text) == 1
    else:
        # A part may have one unit to spare, before a character of two.
        assert -(-units(text) // part) <= segments(text) <= -(-units(text) // (part - 1))


@given(st.text(GSM_CHARS, max_size=400), st.text(GSM_CHARS, max_size=400))
def test_two_messages_never_cost_less_than_one_of_both(one: str, other: str) -> None:
    assert segments(one + other) <= segments(one) + segments(other) + 1
