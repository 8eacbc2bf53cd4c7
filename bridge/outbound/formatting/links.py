"""Links: what they say and where they lead, as one text.

What lives here: what counts as an address, and how a link is written where nothing can be tapped but an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|mailto:|tel:|sms:|www\.|[/#]|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?:[/?#:]|$))\S*",
    re.IGNORECASE,
)
"""Where a link can lead. The ``list[n](x)`` of a programmer is no link."""

_IN_TEXT = re.compile(
    r"(?<![\w@.+-])(?:[a-z][a-z0-9+.-]*+://|(?:tel|sms|mailto):|www\.|(?:[a-z0-9-]++\.)++[a-z]{2,}+[/?#])"
    r"[^\s<>\"“”「」『』《》，。！？；：、]*+",
    re.IGNORECASE,
)
"""An address that stands open in a text. Each is read once: what may follow itself gives nothing back."""

_END = re.compile(r"[*_~`.,;:!?'’)\]}]+\Z")
"""Belongs to the text around it."""

_PAIRS = {")": "(", "]": "["}
_SCHEME = re.compile(r"^(?:mailto|tel|sms):", re.IGNORECASE)
_NOT_NAMED = re.compile(r"^(?:https?://)?(?:www\.)?|/$", re.IGNORECASE)


def is_address(text: str) -> bool:
    return bool(_ADDRESS.fullmatch(text))


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Where addresses stand open in ``text``."""
    for found in _IN_TEXT.finditer(text):
        address = found[0][: _unbalanced(found[0])]
        trimmed = address[: -len(end[0])] if (end := _END.search(address[-100:])) else address
        closes_own_star = address[len(trimmed) :].startswith("*") and trimmed.count("*") % 2
        yield found.start(), found.start() + len(trimmed) + closes_own_star


def _unbalanced(address: str) -> int:
    """Where a bracket is closed that was not opened in it."""
    opened = dict.fromkeys(_PAIRS.values(), 0)
    for position, char in enumerate(address):
        if char in opened:
            opened[char] += 1
        elif opens := _PAIRS.get(char):
            if not opened[opens]:
                return position
            opened[opens] -= 1
    return len(address)


def link(label: str, address: str) -> str:
    """``label (address)``, or only one of them where the other says nothing new."""
    if not address:  # the ``call[n]()`` of a programmer
        return f"[{label}]()"
    shown, tapped = _SCHEME.subn("", address, count=1)
    if tapped:  # it opens the phone's own program, whoever it names
        shown = shown.partition("?")[0]
    if not label.strip():
        return shown
    if _core(label, tapped) == _core(shown, tapped):
        return label if tapped else shown
    return f"{label} ({shown})"


def _core(address: str, tapped: int) -> str:
    if tapped:
        return "".join(filter(str.isalnum, address)).casefold()
    return _NOT_NAMED.sub("", address.strip()).casefold()
