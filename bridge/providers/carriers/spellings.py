"""The spellings of one phone number. Numbering plans have changed, and some systems still write the old form.

A person in Mexico texts from ``+521…`` while the carrier's list and callbacks name ``+52…``, or the other way round.
The bridge keeps each address as it came. This module returns the other spellings, and compares two addresses.
"""

from __future__ import annotations

import re

from bridge.lib.phone import without_channel

_PLANS = (
    (r"\+52([2-9]\d{9})", r"+521\1"),  # Mexico: a 1 before mobile numbers, until 2019
    (r"\+521([2-9]\d{9})", r"+52\1"),
    (r"\+55([1-9]{2})([16-9]\d{7})", r"+55\g<1>9\2"),  # Brazil: a ninth digit before mobile numbers, since 2016
    (r"\+55([1-9]{2})9([16-9]\d{7})", r"+55\1\2"),
    (r"\+54([1-3]\d{9})", r"+549\1"),  # Argentina: a 9 before mobile numbers, from abroad
    (r"\+549([1-3]\d{9})", r"+54\1"),
    (r"\+229(\d{8})", r"+22901\1"),  # Benin: 01 before all numbers, since 2024
    (r"\+22901(\d{8})", r"+229\1"),
)
"""A form, and its other spelling. Every form has its reverse; a test holds that."""

TELLING = 7
"""Last digits that tell two phones of one place apart. The spellings differ only before them."""


def spellings(address: str) -> tuple[str, ...]:
    """Return the address, and the other spellings under which the carrier may know this phone.

    Mostly there are none.
    """
    number = without_channel(address)
    channel = address.removesuffix(number)
    others = (re.sub(form, other, number) for form, other in _PLANS if re.fullmatch(form, number, re.ASCII))
    return (address, *(channel + other for other in others))


def same_phone(one: str, other: str) -> bool:
    """Return True if both addresses may belong to one phone, in any spelling, without plus, or on another channel.

    An address without a number, or with hidden digits, may belong to any phone. So use this only to confirm a text that
    an id has already identified.
    """
    if not (_is_number(one) and _is_number(other)):
        return True
    return _digits(one)[-TELLING:] == _digits(other)[-TELLING:]


def _is_number(address: str) -> bool:
    number = without_channel(address)
    return bool(_digits(number)) and not any(map(str.isalpha, number)) and "*" not in number


def _digits(address: str) -> str:
    return "".join(filter(str.isdecimal, without_channel(address)))
