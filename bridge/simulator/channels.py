"""The ways by which a person and a number talk, and what an address says about them."""

from __future__ import annotations

import re
from enum import StrEnum


class Channel(StrEnum):
    SMS = "sms"
    WHATSAPP = "whatsapp"
    RCS = "rcs"

    @property
    def reads(self) -> bool:
        """Does the sender learn that a text was read?"""
        return self is not Channel.SMS


_TOLL_FREE = re.compile(r"\+1(?:800|833|844|855|866|877|888)\d{7}")
_SHORT_CODE = re.compile(r"\d{3,6}")


def channel(address: str) -> Channel:
    """``whatsapp:+1555…`` says so itself; a plain number is SMS."""
    prefix = address.partition(":")[0] if ":" in address else ""
    return Channel(prefix) if prefix in {Channel.WHATSAPP, Channel.RCS} else Channel.SMS


def bare(address: str) -> str:
    """The address without its channel."""
    return address if channel(address) is Channel.SMS else address.partition(":")[2]


def on(way: Channel, address: str) -> str:
    """The same person or number on this channel."""
    return bare(address) if way is Channel.SMS else f"{way}:{bare(address)}"


def toll_free(number: str) -> bool:
    return _TOLL_FREE.fullmatch(number) is not None


def short_code(number: str) -> bool:
    return _SHORT_CODE.fullmatch(number) is not None
