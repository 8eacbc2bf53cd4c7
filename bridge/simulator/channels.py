"""The channels between a person and a number, and their addresses."""

from __future__ import annotations

import re
from enum import StrEnum


class Channel(StrEnum):
    SMS = "sms"
    WHATSAPP = "whatsapp"
    RCS = "rcs"

    @property
    def reads(self) -> bool:
        """Return True if the sender learns that a text was read."""
        return self is not Channel.SMS


_TOLL_FREE = re.compile(r"\+1(?:800|833|844|855|866|877|888)\d{7}")
_OTHER_SPELLINGS = (
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
    (re.compile(r"\+52(\d{10})"), r"+521\1"),
    (re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),
    (re.compile(r"\+55(\d\d)([6-9]\d{7})"), r"+55\g<1>9\2"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+54([1-3]\d{9})"), r"+549\1"),
)
_SHORT_CODE = re.compile(r"\d{3,6}")


def channel(address: str) -> Channel:
    """Return the channel of an address. ``whatsapp:+1555…`` names it; a plain number is SMS."""
    prefix = address.partition(":")[0] if ":" in address else ""
    return Channel(prefix) if prefix in {Channel.WHATSAPP, Channel.RCS} else Channel.SMS


def bare(address: str) -> str:
    """Return the address without its channel."""
    return address if channel(address) is Channel.SMS else address.partition(":")[2]


def on(way: Channel, address: str) -> str:
    """Return the same person or number on this channel."""
    return bare(address) if way is Channel.SMS else f"{way}:{bare(address)}"


def respelled(address: str) -> str:
    """Return the carrier's other spelling of a phone: with or without Mexico's 1, Brazil's ninth digit or Argentina's
    9.
    """
    number = bare(address)
    for form, other in _OTHER_SPELLINGS:
        if form.fullmatch(number):
            return on(channel(address), form.sub(other, number))
    return address


def toll_free(number: str) -> bool:
    return _TOLL_FREE.fullmatch(number) is not None


def short_code(number: str) -> bool:
    return _SHORT_CODE.fullmatch(number) is not None
