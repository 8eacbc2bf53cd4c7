"""Which country a number belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.lib.countries import COUNTRIES, country_of


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("+12125551234", "US"),
        ("+14165551234", "CA"),
        ("+18765551234", "JM"),
        ("+4915112345678", "DE"),
        ("+447400123456", "GB"),
        ("whatsapp:+4915112345678", "DE"),
        ("rcs:+14165551234", "CA"),
        ("+15551230001", "US"),
        ("+441111111111", "GB"),
    ],
)
def test_a_number_belongs_to_a_country(address: str, country: str) -> None:
    assert country_of(address) == country


@pytest.mark.parametrize(
    "address", ["", "12345", "ACME", "+", "whatsapp:", "+0123456789", "+999123456789", "\x00", "+1" * 200, "tel:abc"]
)
def test_what_is_no_number_belongs_to_none_that_is_served(address: str) -> None:
    assert country_of(address) not in COUNTRIES


@given(st.text() | st.from_regex(r"(whatsapp:)?\+[0-9 ()-]{0,30}", fullmatch=True))
def test_every_address_has_a_country_or_none(address: str) -> None:
    country = country_of(address)
    assert country is None or country.isalnum()


def test_numbers_of_no_country_are_not_served() -> None:
    assert country_of("+80012345678") not in COUNTRIES
