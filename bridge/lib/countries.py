"""Countries of phone numbers, by the tables of libphonenumber."""

from __future__ import annotations

import phonenumbers

from bridge.lib.phone import without_channel

COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Two letters each, as ISO 3166 has them."""


def country_of(address: str) -> str | None:
    """Of the number in an address, with or without a channel before it; ``None`` where it has none.

    A number that nobody was given counts for the largest country of its code: +1 555… is taken for one of the US.
    """
    try:
        number = phonenumbers.parse(without_channel(address))
    except phonenumbers.NumberParseException:
        return None
    country = phonenumbers.region_code_for_number(number)
    return country or phonenumbers.region_code_for_country_code(number.country_code or 0)
