"""Countries of phone numbers, from the tables of libphonenumber."""

from __future__ import annotations

import phonenumbers

from bridge.lib.phone import without_channel

COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Codes of two letters, as in ISO 3166."""


def country_of(address: str) -> str | None:
    """Return the country of the number in an address, with or without a channel, or ``None``.

    An unassigned number counts for the largest country of its code: +1 555… counts as one of the US.
    """
    try:
        number = phonenumbers.parse(without_channel(address))
    except phonenumbers.NumberParseException:
        return None
    country = phonenumbers.region_code_for_number(number)
    return country or phonenumbers.region_code_for_country_code(number.country_code or 0)
