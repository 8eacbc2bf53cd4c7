"""The removal of HTML and similar tags from a text. A phone would show them.

A tag counts if nothing else can be meant: it is closed, it has a value, or it is one that is never closed. So ``5 <
6``, ``a<b>c?`` and ``<your name>`` stay. Other kinds of XML, such as the pauses of SSML, are removed too.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from html import unescape
from html.entities import name2codepoint

from bridge.outbound.formatting.links import is_address, link
from bridge.outbound.formatting.marks import GUARDS, PRIVATE, Mark

# --- code ----------------------------------------------------------------------------------------------------------

_TICKS = re.compile("`+")


def code(text: str) -> list[tuple[int, int]]:
    """Return the positions of Markdown's code, which is literal."""
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(text)]
    waiting: dict[int, deque[int]] = defaultdict(deque)
    for number, (start, end) in enumerate(runs):
        waiting[end - start].append(number)
    spans: list[tuple[int, int]] = []
    done = -1
    for number, (start, end) in enumerate(runs):
        same = waiting[end - start]
        while same and same[0] <= max(number, done):
            same.popleft()
        if number <= done or not same:
            continue
        if end - start < 3 and "\n\n" in text[end : runs[same[0]][0]]:
            continue
        done = same[0]
        spans.append((start, runs[done][1]))
    return spans


# --- entities ------------------------------------------------------------------------------------------------------

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,9});")
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2009"), " ")


def _entity(found: re.Match[str]) -> str:
    name = found[0][1:-1]
    if name[0] != "#" and name not in name2codepoint and name != "apos":
        return found[0]
    shown = unescape(found[0]).translate(_BLANKS)
    if not (shown.isprintable() or shown == "\n") or shown == "\ufffd" or PRIVATE.search(shown):
        return ""
    return shown.translate(GUARDS)


def _decoded(text: str) -> str:
    return _ENTITY.sub(_entity, text) if "&" in text else text


# --- tags ----------------------------------------------------------------------------------------------------------

_TAG = re.compile(
    r"<(?P<closes>/\s?)?(?P<name>[A-Za-z][A-Za-z0-9]*+(?:[-:_][A-Za-z0-9]++)*)"
    r"(?P<values>(?:\s++[^\s\"'<>/=`]++(?:\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'=<>`]++))?)*)\s*+(?P<empty>/)?>"
    r"|<!--(?P<comment>)|<!doctype\b[^<>]*+>|<\?xml\b[^<>]*+>",
    re.IGNORECASE,
)
_POWER = re.compile(r"[-+]?\d{1,3}<")
_VALUE = re.compile(r"""([^\s"'<>/=`]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+))""")

_HAS_VALUE = re.compile(r"""=\s*["']|\bhref=|\b(?:color|time|src|class|style|size)=""")
_NEVER_CLOSED = frozenset({"br", "hr", "wbr", "break"})
_MAY_STAY_OPEN = frozenset({"p", "li", "dt", "dd", "tr", "td", "th", "tbody", "thead"})
"""Their end tags are optional. Their position decides whether a tag is meant."""
_HEADINGS = frozenset(f"h{n}" for n in range(1, 7))
_UNMISTAKABLE = _HEADINGS | {"div", "span", "ul", "ol", "strong", "blockquote", "html", "body", "speak", "prosody"}
"""These tags are only written for a screen, even if unclosed or cut off."""
_NOT_SHOWN = frozenset({"script", "style", "head", "template", "svg", "iframe", "object"})
_PARAGRAPHS = _HEADINGS | frozenset(
    {"p", "blockquote", "pre", "table", "article", "section", "header", "footer", "main", "hr", "figure", "form"}
)
_LINES = frozenset(
    {"div", "ul", "ol", "tr", "dl", "dt", "dd", "option", "address", "center", "caption", "figcaption", "nav", "aside"}
    | {"details", "summary", "thead", "tbody", "tfoot", "select", "fieldset", "legend", "html", "body", "speak"}
)
_INLINE = frozenset(
    {"a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "label", "li", "mark", "q", "s"}
    | {"samp", "small", "span", "strike", "strong", "sub", "sup", "td", "th", "time", "tt", "u", "var", "img", "br"}
    | {"prosody", "say-as", "emphasis", "phoneme", "voice", "audio", "lang", "break", "wbr"}
)
_KNOWN = _PARAGRAPHS | _LINES | _INLINE | _NOT_SHOWN | _NEVER_CLOSED

_MARKS = {
    **dict.fromkeys(("b", "strong", "th", "h1", "h2", "h3", "h4", "h5", "h6"), Mark.BOLD),
    **dict.fromkeys(("i", "em"), Mark.ITALIC),
    **dict.fromkeys(("s", "del", "strike"), Mark.STRUCK),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), Mark.CODE),
}
_BEGINS_HERE = re.compile(r"(?:\A|[\n>.!?:;…])[ \t]{0,9}\Z")


def without_tags(text: str, code: Sequence[tuple[int, int]]) -> str:
    """Return ``text`` as a browser would show it. Text without tags and entities stays unchanged."""
    tags = _counting(text, list(_tags(text, code))) if "<" in text else []
    if not tags and "&" not in text:
        return text
    return _Writer(text, code).write(tags)


def _tags(text: str, code: Sequence[tuple[int, int]]) -> Iterator[re.Match[str]]:
    inside = iter(code)
    start, end = next(inside, (len(text), len(text)))
    for tag in _TAG.finditer(text):
        while tag.start() >= end and end < len(text):
            start, end = next(inside, (len(text), len(text)))
        if tag.start() < start:
            yield tag


def _counting(text: str, tags: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Return the tags that can't mean anything else."""
    paired = _paired(tags)
    sure = {n for n, tag in enumerate(tags) if n in paired or _is_sure(tag)}
    return [tag for n, tag in enumerate(tags) if n in sure or _may_stay_open(text, tag, bool(sure))]


def _paired(tags: Sequence[re.Match[str]]) -> set[int]:
    opened: dict[str, list[int]] = defaultdict(list)
    paired: set[int] = set()
    for number, tag in enumerate(tags):
        if not tag["name"] or tag["empty"]:
            continue
        same = opened[tag["name"].lower()]
        if not tag["closes"]:
            same.append(number)
        elif same:
            paired |= {same.pop(), number}
    return paired


def _is_sure(tag: re.Match[str]) -> bool:
    if not tag["name"]:
        return True  # a comment
    name = tag["name"].lower()
    if tag["closes"]:
        return name in _KNOWN
    if tag["empty"] or _HAS_VALUE.search(tag["values"]) or name in _UNMISTAKABLE:
        return True
    return name in _NEVER_CLOSED and not tag["values"]


def _may_stay_open(text: str, tag: re.Match[str], among_others: bool) -> bool:
    if not tag["name"] or tag["name"].lower() not in _MAY_STAY_OPEN or tag["values"].strip():
        return False
    stands_first = _BEGINS_HERE.search(text[max(0, tag.start() - 10) : tag.start()])
    return among_others or bool(stands_first and text[tag.end() : tag.end() + 1].strip(" \t"))


class _Page:
    """The visible output. Tags start lines and paragraphs, and the blanks around those are removed."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._ends = self._breaks = 0
        """The line ends before the next words: one or two for a block, or the number of ``<br>``."""
        self._swallows = False
        self._item_is_empty = False

    def put(self, words: str) -> None:
        if self._ends or self._breaks:
            bare = words.lstrip()
            if not self._ends:
                self._breaks = max(self._breaks, words[: len(words) - len(bare)].count("\n"))
            words = bare
        elif self._swallows:
            words = words.lstrip()
        if words:
            self.flush()
            self.pieces.append(words)
            self._swallows = self._item_is_empty = False

    def flush(self) -> None:
        if self._ends or self._breaks:
            self._trim()
            if self.pieces:
                self.pieces.append("\n" * max(self._ends, self._breaks))
            self._ends = self._breaks = 0

    def end(self, lines: int) -> None:
        if not self._item_is_empty:
            self._ends = max(self._ends, lines)

    def line_break(self) -> None:
        self._breaks += not self._item_is_empty

    def pause(self) -> None:
        if self.pieces and not self.pieces[-1][-1:].isspace():
            self.put(" ")
        self._swallows = True

    def item(self, sign: str) -> None:
        self._ends = max(self._ends, 1)
        self.flush()
        self.pieces.append(sign)
        self._swallows = self._item_is_empty = True

    def cell(self) -> None:
        self._trim()
        self.pieces.append(" | ")
        self._swallows = self._item_is_empty = True

    def _trim(self) -> None:
        while self.pieces and not self.pieces[-1].strip():
            self.pieces.pop()
        if self.pieces:
            self.pieces[-1] = self.pieces[-1].rstrip()


class _Writer:
    """Read the tags one by one and write the meaning of each to the page."""

    def __init__(self, text: str, code: Sequence[tuple[int, int]]) -> None:
        self._text, self._code = text, deque(code)
        self._page = _Page()
        self._lists: list[int | None] = []
        """The open lists: the number of items of each, or ``None`` for a list without numbers."""
        self._row_has_cells = False
        self._link: tuple[int, str] | None = None
        self._comment_end = 0
        self._unended = False
        self._literal = 0
        """The number of open tags whose words are no Markdown."""

    def write(self, tags: Sequence[re.Match[str]]) -> str:
        place, hidden = 0, ""
        for tag in tags:
            name = (tag["name"] or "").lower()
            if tag.start() < place or (hidden and (name != hidden or not tag["closes"])):
                continue
            if not hidden:
                self._words(place, tag.start())
            hidden = name if name in _NOT_SHOWN and not (tag["closes"] or tag["empty"]) else ""
            place = self._end_of_comment(tag) if tag["comment"] is not None else tag.end()
            if name not in _NOT_SHOWN:
                self._take(name, tag)
        if not hidden:
            self._words(place, len(self._text))
        self._end_link()
        return "".join(self._page.pieces)

    def _end_of_comment(self, tag: re.Match[str]) -> int:
        if self._comment_end < tag.end():
            end = self._text.find("-->", tag.end())
            self._comment_end = end + 3 if end >= 0 else len(self._text)
            self._unended = end < 0
        return tag.start() if self._unended else self._comment_end

    def _words(self, start: int, end: int) -> None:
        while self._code and self._code[0][1] <= start:
            self._code.popleft()
        while self._code and self._code[0][0] < end:
            first, last = self._code.popleft()
            self._shown(_decoded(self._text[start:first]))
            self._page.put(self._text[first:last])
            start = last
        self._shown(_decoded(self._text[start:end]))

    def _shown(self, words: str) -> None:
        self._page.put(words.translate(GUARDS) if self._literal else words)

    def _take(self, name: str, tag: re.Match[str]) -> None:
        closes = bool(tag["closes"])
        mark = None if tag["empty"] else _MARKS.get(name)
        if mark and closes:
            self._page.put(mark.closes)
        if special := _SPECIAL.get(name):
            special(self, name, tag)
        elif name in _PARAGRAPHS or name in _LINES:
            self._page.end(2 if name in _PARAGRAPHS and not self._lists else 1)
        if mark and not closes:
            self._page.put(mark.opens)
        if name in ("code", "pre", "kbd", "samp", "tt"):
            self._literal = max(0, self._literal + (-1 if closes else 1))

    # -- one for each tag that is more than a mark or the end of a line ----------------------------------------------

    def _break(self, name: str, tag: re.Match[str]) -> None:
        self._page.line_break()

    def _pause(self, name: str, tag: re.Match[str]) -> None:
        self._page.pause()

    def _list(self, name: str, tag: re.Match[str]) -> None:
        self._page.end(1)
        if not tag["closes"]:
            self._lists.append(0 if name == "ol" else None)
        elif self._lists:
            self._lists.pop()

    def _item(self, name: str, tag: re.Match[str]) -> None:
        if tag["closes"]:
            self._page.end(1)
            return
        sign = "- "
        if self._lists and (number := self._lists[-1]) is not None:
            self._lists[-1] = number + 1
            sign = f"{number + 1}. "
        self._page.item("  " * min(len(self._lists) - 1, 9) + sign)

    def _row(self, name: str, tag: re.Match[str]) -> None:
        self._page.end(1)
        self._row_has_cells = False

    def _cell(self, name: str, tag: re.Match[str]) -> None:
        if not tag["closes"]:
            if self._row_has_cells:
                self._page.cell()
            self._row_has_cells = True

    def _quote(self, name: str, tag: re.Match[str]) -> None:
        self._page.put('"')

    def _raised(self, name: str, tag: re.Match[str]) -> None:
        if not tag["closes"] and _POWER.match(self._text, tag.end()):
            self._page.put("^")

    def _image(self, name: str, tag: re.Match[str]) -> None:
        values = _values(tag)
        words, source = values.get("alt", ""), values.get("src", "")
        self._page.put(link(words, source) if is_address(source) else words)

    def _anchor(self, name: str, tag: re.Match[str]) -> None:
        self._end_link()
        address = "" if tag["closes"] else _values(tag).get("href", "")
        if is_address(address) and not address.startswith("#"):
            self._page.flush()
            self._link = len(self._page.pieces), address

    def _end_link(self) -> None:
        if self._link:
            start, address = self._link
            self._page.pieces[start:] = [link("".join(self._page.pieces[start:]), address)]
            self._link = None


_SPECIAL: dict[str, Callable[[_Writer, str, re.Match[str]], None]] = {
    "br": _Writer._break,
    "break": _Writer._pause,
    "pause": _Writer._pause,
    "ul": _Writer._list,
    "ol": _Writer._list,
    "li": _Writer._item,
    "tr": _Writer._row,
    "td": _Writer._cell,
    "th": _Writer._cell,
    "q": _Writer._quote,
    "sup": _Writer._raised,
    "img": _Writer._image,
    "a": _Writer._anchor,
}


def _values(tag: re.Match[str]) -> dict[str, str]:
    """Return the values in a tag. The first one of a name counts."""
    found = ((name.lower(), unescape(a or b or c)) for name, a, b, c in _VALUE.findall(tag["values"] or ""))
    return {name: PRIVATE.sub("", " ".join(value.split())) for name, value in reversed(list(found))}
