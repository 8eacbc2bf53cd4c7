"""The removal of Markdown from a text. A phone would show it raw; WhatsApp gets its own marks instead.

The module also sets the order in which machine words, tags and Markdown are read. The parser only finds the marks, and
the module removes them from the original text. So everything that the parser does not understand stays exactly as it
is. ``bridge.outbound.formatting.markdown`` tells Markdown from text that only looks like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markdown_it.token import Token

from bridge.outbound.formatting.links import link
from bridge.outbound.formatting.machine import unescaped, without_citations, without_stop_word
from bridge.outbound.formatting.markdown import Markdown
from bridge.outbound.formatting.marks import Mark, written
from bridge.outbound.formatting.markup import code, without_tags
from bridge.outbound.formatting.simple import blocks, bold

_MARKDOWN = Markdown()
_FOR_WHATSAPP = Markdown("strikethrough")

_SPECIAL = re.compile(r"[*_`#\[\]<>~|\\&+\r\0【†◁\ue000-\uf8ff\U000f0000-\U0010ffff]")
_RULE = re.compile(r"^[ \t]*-[ \t]*-[- \t]*$", re.MULTILINE)
"""The characters that any of the readers acts on, and a line of dashes. Most texts have none of them, and are not read
at all."""

_INLINE = re.compile(r"[*_`\[<\\~]")
"""Each mark within a line has one of these."""

_LINE_END = re.compile(r"\r\n?")
_BEFORE = r"(?P<before>\s*(?:(?:[-*+]|\d+[.)])\s+)*)"
"""The list marks at the start of a line."""
_QUOTE = re.compile(rf"{_BEFORE}> ?")
_NO_QUOTE = re.compile(rf"{_BEFORE}>(?:[^\s>]|\s+[\d$€£])")
"""``>:(`` and ``> 18 years``"""
_BULLET = re.compile(r"(?P<before>\s*(?:(?:-|\d+[.)])\s+)*)[*+](?=\s|$)")
_STARRED = re.compile(r"\s*(?:[-+*]|\d+[.)])\s[^*]*[^\s*]\*(?!\w)[^*]*\Z")
"""An item with a star that a footnote may explain."""
_ADDS = re.compile(r"\s*\+\s+[\d$€£]")
"""``+ 5% tax``"""
_HEADING = re.compile(rf"{_BEFORE}#{{1,6}}[ \t]+(?!(?<=^# )(?:of\b|\d))")
"""A heading, but not ``# of guests: 4``."""
_ROW = re.compile(rf"{_BEFORE}\|?")
_CELL_END = re.compile(r"(?<!\\)\|")


def plain(text: str, *, whatsapp: bool = False) -> str:
    """Return ``text`` as a person reads it. A text without marks only loses surrounding blanks."""
    if not _is_special(text):
        return text.strip()
    text = without_stop_word(_without_markup(without_citations(_LINE_END.sub("\n", text))))
    read = _Page(text, whatsapp=whatsapp).without_marks()
    return written(read, whatsapp=whatsapp).strip() or written(text, whatsapp=whatsapp).strip()


def _is_special(text: str) -> bool:
    return bool(_SPECIAL.search(text)) or "citeturn" in text or ("-" in text and bool(_RULE.search(text)))


def _without_markup(text: str) -> str:
    if "\\" in text:
        literal = [span for span in code(text) if "\n" in text or not text.startswith("```", span[0])]
        text = unescaped(text, literal)
    return without_tags(text, code(text)) if "<" in text or "&" in text else text


@dataclass
class _List:
    """A list, with bullets or with numbers."""

    first: int
    last: int
    """The first and the last line."""
    has_bullets: bool
    nested: bool
    """It is in another list, or contains one. Then even a single star is a bullet."""
    items: list[int] = field(default_factory=list)
    """The first line of each item."""


class _Bullets:
    """Turn bullets into dashes. A single bullet may be the star of a footnote, and a plus may be a plus."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._open: list[_List] = []
        self._closed: dict[int, list[_List]] = {}
        """The closed lists that may continue, by depth. Bullets of another kind begin a new list."""

    def open(self, block: Token) -> None:
        first, last = _rows(block)[0], _rows(block)[-1]
        while last > first and not self._lines[last].strip():
            last -= 1
        for around in self._open[-1:]:
            around.nested = True
        self._open.append(_List(first, last, block.type == "bullet_list_open", nested=bool(self._open)))

    def item(self, block: Token) -> None:
        self._open[-1].items.append(_rows(block)[0])

    def close(self) -> None:
        closed, depth = self._open.pop(), len(self._open)
        row = self._closed.get(depth, [])
        if not (row and closed.has_bullets and self._goes_on(row[-1], closed)):
            self._write(row)
            row = []
        self._closed[depth] = [*row, closed] if closed.has_bullets else row

    def finish(self) -> None:
        for row in self._closed.values():
            self._write(row)

    def _goes_on(self, before: _List, after: _List) -> bool:
        """Return True if the next list is one more bullet, and no footnote can be meant."""
        between = self._lines[before.last + 1 : after.first]
        if any(line.strip() for line in between) or any(_STARRED.match(self._lines[n]) for n in before.items):
            return False
        tight = len(before.items) > 1 and all(self._lines[number - 1].strip() for number in before.items[1:])
        return not (between and tight)

    def _write(self, row: Sequence[_List]) -> None:
        if sum(len(each.items) for each in row) < 2 and not any(each.nested for each in row):
            return
        for each in row:
            if not any(_ADDS.match(self._lines[number]) for number in each.items):
                for number in each.items:
                    self._lines[number] = _replaced(_BULLET, "-", self._lines[number])


class _Page:
    """The lines of a text. Each block removes its marks from them."""

    def __init__(self, text: str, *, whatsapp: bool, simple: bool = True) -> None:
        """``simple``: read what is simple without the parser. The result is the same."""
        self.lines = text.split("\n")
        self.gone: set[int] = set()
        """Lines that had only marks."""
        self.rules: set[int] = set()
        """Rules across the page. An empty line divides as well."""
        self._whatsapp = whatsapp
        self._markdown = _FOR_WHATSAPP if whatsapp else _MARKDOWN
        self._bullets = _Bullets(self.lines)
        self._in_table = False
        self._simple = simple
        self._blocks = (blocks(self.lines) if simple else None) or self._parsed(text)

    def _parsed(self, text: str) -> list[Token]:
        parsed: list[Token] = []
        self._markdown.block.parse(text, self._markdown, {}, parsed)
        return parsed

    def without_marks(self) -> str:
        for block in self._blocks:
            if take_marks := _BLOCKS.get(block.type):
                take_marks(self, block)
        self._bullets.finish()
        return "\n".join(self._left())

    def _left(self) -> Iterator[str]:
        last, after_rule = "", False
        for number, line in enumerate(self.lines):
            if number in self.gone or (after_rule and not line.strip()):
                continue
            after_rule = number in self.rules
            if after_rule and not last.strip():
                continue
            last = "" if after_rule else line
            yield last

    # -- one for each kind of block --------------------------------------------------------------------------------

    def _quote(self, block: Token) -> None:
        lines = _rows(block)
        if self._whatsapp:  # WhatsApp shows quotes
            return
        if not any(_NO_QUOTE.match(self.lines[number]) for number in lines):
            for number in lines:
                self.lines[number] = _replaced(_QUOTE, "", self.lines[number])

    def _open_list(self, block: Token) -> None:
        self._bullets.open(block)

    def _item(self, block: Token) -> None:
        self._bullets.item(block)

    def _close_list(self, block: Token) -> None:
        self._bullets.close()

    def _heading(self, block: Token) -> None:
        first = _rows(block)[0]
        words = self.lines[first].rstrip()
        if _HEADING.match(words):
            closed = words.rstrip("#")
            words = closed.rstrip() if closed.endswith((" ", "\t")) else words
            around = (Mark.BOLD.opens, Mark.BOLD.closes) if self._whatsapp else ("", "")
            self.lines[first] = _replaced(_HEADING, around[0], words) + around[1]

    def _fence(self, block: Token) -> None:
        first, *inside = _rows(block)
        last = self.lines[inside[-1]].strip(" \t>") if inside else ""
        closed = len(last) >= len(block.markup) and not last.strip(block.markup[0])
        if closed:
            self.gone.add(inside[-1])
        elif block.markup[0] == "~":
            return  # a wavy line, not code
        before = self.lines[first].partition(block.markup)[0].rstrip()
        if closed and self._whatsapp:
            self.lines[first] = self.lines[first].partition(block.markup)[0] + "```"
            self.lines[inside[-1]] = self.lines[inside[-1]].replace(last, "```")
            self.gone.discard(inside[-1])
            return
        self.lines[first] = before
        if not before:
            self.gone.add(first)

    def _rule(self, block: Token) -> None:
        first = _rows(block)[0]
        if not self.lines[first].strip("*-_ \t"):
            self.rules.add(first)

    def _open_table(self, block: Token) -> None:
        head, marks, *rows = _rows(block)
        for number in (head, *rows):
            self.lines[number] = self._row(self.lines[number])
        self.gone.add(marks)
        self._in_table = True

    def _close_table(self, block: Token) -> None:
        self._in_table = False

    def _words(self, block: Token) -> None:
        """Remove the marks within the lines. The lines themselves stay."""
        if self._in_table or not _INLINE.search(block.content):
            return
        cores = [core.strip() for core in block.content.split("\n")]
        shown = self._shown("\n".join(cores)).split("\n")
        if len(shown) != len(cores):  # a link over the end of a line
            shown = [self._shown(core) for core in cores]
        numbers = iter(_rows(block))
        for core, words in zip(cores, shown, strict=True):
            for number in numbers:
                before, found, after = self.lines[number].rpartition(core) if core else ("", "", "")
                if found:
                    self.lines[number] = before + words + after
                    break

    def _row(self, line: str) -> str:
        """Return a table's row as its cells with separators."""
        found = _ROW.match(line)
        assert found  # it matches everything
        cells = _CELL_END.split(line[found.end() :].rstrip().removesuffix("|"))
        shown = (self._shown(cell.strip().replace("\\|", "|")) for cell in cells)
        return found["before"] + " | ".join(shown)

    def _shown(self, content: str) -> str:
        if not _INLINE.search(content):
            return content
        signs = _SIGNS if self._whatsapp else {}
        shown = bold(content, signs.get("strong_open", ""), signs.get("strong_close", "")) if self._simple else None
        if shown is not None:
            return shown
        tokens: list[Token] = []
        self._markdown.inline.parse(content, self._markdown, {}, tokens)
        return _joined(tokens, signs)


_BLOCKS: dict[str, Callable[[_Page, Token], None]] = {
    "blockquote_open": _Page._quote,
    "bullet_list_open": _Page._open_list,
    "bullet_list_close": _Page._close_list,
    "ordered_list_open": _Page._open_list,
    "ordered_list_close": _Page._close_list,
    "list_item_open": _Page._item,
    "heading_open": _Page._heading,
    "fence": _Page._fence,
    "hr": _Page._rule,
    "table_open": _Page._open_table,
    "table_close": _Page._close_table,
    "inline": _Page._words,
}


def _rows(block: Token) -> Sequence[int]:
    """Return the line numbers of a block."""
    assert block.map
    return range(*block.map)


def _replaced(mark: re.Pattern[str], by: str, line: str) -> str:
    found = mark.match(line)
    return found["before"] + by + line[found.end() :] if found else line


def _joined(tokens: Sequence[Token], signs: Mapping[str, str]) -> str:
    words: list[str] = []
    opened: list[tuple[int, str]] = []
    for token in tokens:
        if token.type == "link_open":
            opened.append((len(words), str(token.attrs["href"])))
        elif token.type == "link_close":
            start, address = opened.pop()
            words[start:] = [link("".join(words[start:]), address)]
        elif token.type == "image":
            source = str(token.attrs["src"])
            words.append(("" if source else "!") + link(_joined(token.children or (), {}), source))
        elif token.type == "code_inline" and signs:
            words += [Mark.CODE.opens, token.content, Mark.CODE.closes]
        else:
            words.append(signs.get(token.type) or token.content)
    return "".join(words)


_SIGNS = {
    f"{token}_{side}": getattr(mark, f"{side}s")
    for token, mark in {"strong": Mark.BOLD, "em": Mark.ITALIC, "s": Mark.STRUCK}.items()
    for side in ("open", "close")
}
"""The parser's tokens and the marks for each of them."""
