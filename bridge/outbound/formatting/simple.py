"""The commonest Markdown, read without the parser: paragraphs, lists with dashes, and bold words.

The parser takes most of the time of an answer. These functions return the same, or ``None`` for text that may hold
anything else. Then the parser must read it.
"""

from __future__ import annotations

import re

from markdown_it.token import Token

from bridge.outbound.formatting.links import addresses
from bridge.outbound.formatting.markdown import closes, opens

_BOLD_OR_WORDS = r"(?:\*\*(?=[^\s*])|[^\s>#*+_`~|:0-9-]|[0-9]++(?![.)]))"
"""The beginning of a line that starts no block: no quote, heading, rule, fence, list or row of a table."""
_PLAIN = re.compile(_BOLD_OR_WORDS)
_DASH = re.compile(rf"- {_BOLD_OR_WORDS}")

_NOT_BOLD = re.compile(r"[_`\[<\\~]|(?<!\*)\*(?!\*)|\*{3}")
"""A mark within a line, other than two stars."""
_STARS = re.compile(r"\*\*")
_OF_ADDRESSES = ("://", "www.", "tel:", "sms:", "mailto:")


def blocks(lines: list[str]) -> list[Token] | None:
    """Return the blocks of words, which may hold marks. Dashes at the start of a line begin a new block, and stay.

    The lines may have blanks at their ends, which the parser removes from the last one.
    """
    found: list[Token] = []
    start = 0
    content: list[str] = []
    for number, line in enumerate(lines):
        if not line.strip(" \t"):
            _add(found, start, content)
            content = []
        elif _PLAIN.match(line):
            start = start if content else number
            content.append(line)
        elif _DASH.match(line):
            _add(found, start, content)
            start, content = number, [line[2:]]
        else:
            return None
    _add(found, start, content)
    return found


def _add(found: list[Token], start: int, content: list[str]) -> None:
    if content:
        found.append(Token("inline", "", 0, map=[start, start + len(content)], content="\n".join(content)))


def bold(content: str, before: str, behind: str) -> str | None:
    """Return ``content`` with these marks in place of the stars around bold words."""
    if _NOT_BOLD.search(content) or _may_have_address(content):
        return None
    *pieces, last = _STARS.split(content)
    if len(pieces) % 2:
        return None
    shown, place = "", 0
    for number, piece in enumerate(pieces):
        place += len(piece)
        is_first = not number % 2
        if opens(content, place) is not is_first or closes(content, place) is is_first:
            return None
        shown += piece + (before if is_first else behind)
        place += len("**")
    return shown + last


def _may_have_address(content: str) -> bool:
    """Return True for an address, in which no star is a mark. Most texts need no search for that."""
    if content.isascii() and not ("." in content and any(char in content for char in "/?#")):
        lower = content.lower()
        return any(part in lower for part in _OF_ADDRESSES)
    return any(addresses(content))
