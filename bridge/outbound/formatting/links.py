"""Links as plain text: the label and the address.

Only an address can be tapped on a phone, so the module finds addresses and writes links around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|mailto:|tel:|sms:|www\.|[/#]|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?:[/?#:]|$))\S*",
    re.IGNORECASE,
)
"""The forms of a link's address. The ``list[n](x)`` of a programmer is no link."""

_IN_TEXT = re.compile(
    r"(?<![\w@.+-])(?:[a-z][a-z0-9+.-]*+://|(?:tel|sms|mailto):|www\.|(?:[a-z0-9-]++\.)+[a-z]{2,}+[/?#])"
    r"[^\s<>\"“”「」『』《》，。！？；：、]*+",
    re.IGNORECASE,
)
"""An address in plain text. Its possessive quantifiers read each address only once.

None of them repeats a group: Python before 3.11.5 gets that wrong (gh-106052).
"""

_END = re.compile(r"[*_~`.,;:!?'’)\]}]+\Z")
"""Characters at the end that belong to the text around the address."""

_PAIRS = {")": "(", "]": "["}
_SCHEME = re.compile(r"^(?:mailto|tel|sms):", re.IGNORECASE)
_NOT_NAMED = re.compile(r"^(?:https?://)?(?:www\.)?|/$", re.IGNORECASE)


def is_address(text: str) -> bool:
    return bool(_ADDRESS.fullmatch(text))


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of addresses in ``text``."""
    for found in _IN_TEXT.finditer(text):
        address = found[0][: _unbalanced(found[0])]
        trimmed = address[: -len(end[0])] if (end := _END.search(address[-100:])) else address
        closes_own_star = address[len(trimmed) :].startswith("*") and trimmed.count("*") % 2
        yield found.start(), found.start() + len(trimmed) + closes_own_star


def _unbalanced(address: str) -> int:
    """Return the position of a closing bracket that was not opened in the address."""
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
    """Return ``label (address)``, or only one of them if the other adds nothing."""
    if not address:  # the ``call[n]()`` of a programmer
        return f"[{label}]()"
    shown, tapped = _SCHEME.subn("", address, count=1)
    if tapped:  # it opens the phone's own program
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
