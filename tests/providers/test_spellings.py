"""One phone in several spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.carriers.spellings import same_phone, spellings

TWINS = [
    ("+525512345678", "+5215512345678"),
    ("whatsapp:+525512345678", "whatsapp:+5215512345678"),
    ("+528112345678", "+5218112345678"),
    ("+551187654321", "+5511987654321"),
    ("+558591234567", "+5585991234567"),
    ("whatsapp:+551187654321", "whatsapp:+5511987654321"),
    ("+541155556666", "+5491155556666"),
    ("+542214445555", "+5492214445555"),
    ("rcs:+543514445555", "rcs:+5493514445555"),
    ("+22997123456", "+2290197123456"),
]
ALONE = [
    "+15551230001",
    "+447700900123",
    "+551123456789",  # a landline of São Paulo: with a 9 it would be somebody's mobile phone
    "+5511923456789",  # and without it, the landline of somebody else
    "+5255123456",
    "+52155123456789",
    "whatsapp:US.1234567890",
    "rcs:harbour_table_agent",
    "VERIFY",
    "24042",
    "",
    ":",
    "+52٥٥١٢٣٤٥٦٧٨",
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_a_phone_is_looked_for_by_both_of_its_spellings(one: str, other: str) -> None:
    assert spellings(one) == (one, other)
    assert spellings(other) == (other, one)
    assert same_phone(one, other) and same_phone(other, one)


@pytest.mark.parametrize("address", ALONE)
def test_other_addresses_have_one_spelling(address: str) -> None:
    assert spellings(address) == (address,)


@given(st.from_regex(r"(whatsapp:|rcs:)?\+(52|521|55|54|549|229|22901|1)[0-9]{7,11}", fullmatch=True))
def test_each_spelling_leads_back(address: str) -> None:
    for other in spellings(address):
        assert address in spellings(other)
        assert same_phone(address, other)
        assert spellings(other)[0] == other


SAME = [
    ("+5215512345678", "5215512345678"),
    ("+5215512345678", "+52 1 55 1234 5678"),
    ("+5215512345678", "005215512345678"),
    ("+5491155556666", "+5411 15 5555 6666"),
    ("+5491155556666", "01155556666"),
    ("+5215512345678", "whatsapp:+525512345678"),
    ("+15551230001", "rcs:+15551230001"),
    ("+15551230001", "whatsapp:US.13491208655302741918"),
    ("+15551230001", "+1555123XXXX"),
    ("+15551230001", "+1555123****"),
    ("+15551230001", ""),
    ("24042", "24042"),
    ("rcs:somebody", "rcs:somebody.else"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_may_be_the_same_phone_is_taken_for_it(one: str, other: str) -> None:
    assert same_phone(one, other) and same_phone(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("+15551230001", "+15551230002"), ("+5215512345678", "+5215512345679"), ("24042", "24043")]
)
def test_two_phones_are_two(one: str, other: str) -> None:
    assert not same_phone(one, other) and not same_phone(other, one)
