"""The Markdown parser: CommonMark as agents write it, with stricter rules for text that only looks like it.

It is markdown-it with our own rules for emphasis, escapes and addresses. Strict CommonMark would turn 2*3*4 into 234,
and would take the mouth from ^_^ and ^_^.
"""

from __future__ import annotations

import re
from collections.abc import Container

import regex
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

from bridge.outbound.formatting.links import addresses, is_address
from bridge.outbound.formatting.marks import OURS

RULES = ("blockquote", "fence", "heading", "hr", "list", "table", "autolink", "backticks", "emphasis", "image", "link")
"""The rules in use. Left out are accidental ones (indented code, entities, HTML, references, underlined headings),
and what an SMS shows well enough (``~~$50~~`` means that the price is no longer $50)."""

_ESCAPE = re.compile(r"(?<!¯)\\(?P<char>[*_`#\[\](){}<>~|!.+$&-])|(?<![:=-])\\(?=\n)")
"""Escaped characters, and the break at the end of a line; but no shrugging ¯\\_(ツ)_/¯ and no wry :-\\ face."""

_LETTER = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{N}"
"""A star between two of these belongs to a word or to a sum. Other scripts set no spaces around their words."""

_INSIDE = r"(?=[\p{Ps}\p{Pi}\"'*_`~<¿¡#@$€£¥+\-–−.…&" + OURS + r"]{0,3}[\p{L}\p{N}\p{So}])"
"""Emphasis begins with a character that can be emphasized."""

_NOT_INSIDE = r"(?<![\s\p{Ps}\p{Pi}</=^&@#\\])"
"""Emphasis does not end with an opening bracket or a similar character."""

_OPENS = {
    "*": regex.compile(rf"(?<![{_LETTER}=^\\])\*{{1,3}}+(?!\*){_INSIDE}"),
    "_": regex.compile(rf"(?<![\w/=^\\@&.:-])_{{1,3}}+(?!_){_INSIDE}"),
}
_CLOSES = {
    "*": regex.compile(rf"{_NOT_INSIDE}\*{{1,3}}+(?!\*)(?![{_LETTER}])|(?<=[:.!?…])\*\*(?!\*)"),
    "_": regex.compile(rf"{_NOT_INSIDE}_{{1,3}}+(?!_)(?![\w/]|[.@=&-]\w)"),
}


class Markdown(MarkdownIt):
    """The parser. It leaves addresses as they are written."""

    def __init__(self, *more_rules: str) -> None:
        super().__init__("zero")
        self.enable([*RULES, *more_rules])
        self.inline.ruler.at("emphasis", _emphasis)
        self.inline.ruler.after("text", "escape_or_break", _escape)
        # Compile the rules here. Two threads must not do it at once.
        self.render("_")

    def validateLink(self, url: str) -> bool:  # noqa: N802 - its name over there
        return is_address(url)

    def normalizeLink(self, url: str) -> str:  # noqa: N802
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link


def opens(text: str, place: int, marker: str = "*", end: int | None = None) -> bool:
    """Return True if the run of markers at this place may open emphasis."""
    return bool(_OPENS[marker].match(text, place, end))


def closes(text: str, place: int, marker: str = "*", end: int | None = None) -> bool:
    """Return True if the run of markers at this place may close emphasis."""
    return bool(_CLOSES[marker].match(text, place, end))


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Read a run of stars or underscores. The library pairs them."""
    marker = state.src[state.pos]
    if silent or marker not in _OPENS or state.pos in _in_addresses(state):
        return False
    is_open, is_closed = (rule(state.src, state.pos, marker, state.posMax) for rule in (opens, closes))
    run = _run(state, marker)
    for _ in range(run):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=run,
                token=len(state.tokens) - 1,
                end=-1,
                open=is_open,
                close=is_closed,
            )
        )
    state.pos += run
    return True


def _in_addresses(state: StateInline) -> Container[int]:
    """Return the positions inside addresses in the text. No character there is a mark."""
    if state.src not in state.env:
        state.env[state.src] = {place for start, end in addresses(state.src) for place in range(start, end)}
    places: Container[int] = state.env[state.src]
    return places


def _run(state: StateInline, marker: str) -> int:
    stop = state.pos
    while stop < state.posMax and state.src[stop] == marker:
        stop += 1
    return stop - state.pos


def _escape(state: StateInline, silent: bool) -> bool:
    found = _ESCAPE.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.pending += found["char"] or ""
    state.pos = found.end()
    return True
