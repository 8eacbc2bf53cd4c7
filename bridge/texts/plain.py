"""Markdown, taken out of a text: a phone would show it as it is written.

What lives here: what each mark becomes. The text is not written anew from what was parsed; the parser only tells where
the marks are, and they are taken out there. So whatever it does not understand stays, to the blank. How Markdown is
told from what merely looks like it: ``bridge.texts.markdown``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from markdown_it.token import Token

from bridge.texts.markdown import Markdown

_MARKDOWN = Markdown()

_LINE_END = re.compile(r"\r\n?")
_BEFORE = r"(?P<before>\s*(?:(?:[-*+]|\d+[.)])\s+)*)"
"""How far the lists reach that a line stands in."""
_QUOTE = re.compile(rf"{_BEFORE}> ?")
_NO_QUOTE = re.compile(rf"{_BEFORE}>(?:[^\s>]|\s+[\d$€£])")
"""``>:(`` and ``> 18 years``"""
_BULLET = re.compile(r"(?P<before>\s*(?:(?:-|\d+[.)])\s+)*)[*+](?=\s|$)")
_ADDS = re.compile(r"\s*\+\s+[\d$€£]")
"""``+ 5% tax``"""
_HEADING = re.compile(rf"{_BEFORE}#{{1,6}}[ \t]+(?!(?<=^# )(?:of\b|\d))")
"""But not ``# of guests: 4``."""
_ROW = re.compile(rf"{_BEFORE}\|?")
_CELL_END = re.compile(r"(?<!\\)\|")
_SCHEME = re.compile(r"^(?:mailto|tel|sms):", re.IGNORECASE)
_NOT_NAMED = re.compile(r"^(?:https?://)?(?:www\.)?|/$", re.IGNORECASE)


def plain(text: str) -> str:
    """``text`` without the marks of Markdown. What has none of them stays as it is, but for blanks around it."""
    text = _LINE_END.sub("\n", text)
    return _Page(text).without_marks().strip() or text.strip()


class _Page:
    """The lines of a text, from which one block after the other takes its marks."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.gone: set[int] = set()
        """Lines that were nothing but marks."""
        self.rules: set[int] = set()
        """Lines that were drawn across the page; an empty one divides as well."""
        self._lists: list[list[int]] = []
        """The lists that are open, each as the first lines of its items."""
        self._in_table = False
        self._blocks: list[Token] = []
        _MARKDOWN.block.parse(text, _MARKDOWN, {}, self._blocks)

    def without_marks(self) -> str:
        for block in self._blocks:
            if take_marks := _BLOCKS.get(block.type):
                take_marks(self, block)
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
        if not any(_NO_QUOTE.match(self.lines[number]) for number in lines):
            for number in lines:
                self.lines[number] = _replaced(_QUOTE, "", self.lines[number])

    def _open_list(self, block: Token) -> None:
        self._lists.append([])

    def _item(self, block: Token) -> None:
        self._lists[-1].append(_rows(block)[0])

    def _close_list(self, block: Token) -> None:
        """Bullets become dashes. A single one may be the star of a footnote, and a plus a plus."""
        items = self._lists.pop()
        if len(items) > 1 and not any(_ADDS.match(self.lines[number]) for number in items):
            for number in items:
                self.lines[number] = _replaced(_BULLET, "-", self.lines[number])

    def _drop_list(self, block: Token) -> None:
        self._lists.pop()

    def _heading(self, block: Token) -> None:
        first = _rows(block)[0]
        words = self.lines[first].rstrip()
        if _HEADING.match(words):
            closed = words.rstrip("#")
            words = closed.rstrip() if closed.endswith((" ", "\t")) else words
            self.lines[first] = _replaced(_HEADING, "", words)

    def _fence(self, block: Token) -> None:
        first, *inside = _rows(block)
        last = self.lines[inside[-1]].strip(" \t>") if inside else ""
        closed = len(last) >= len(block.markup) and not last.strip(block.markup[0])
        if closed:
            self.gone.add(inside[-1])
        elif block.markup[0] == "~":
            return  # a wavy line, and no code
        before = self.lines[first].partition(block.markup)[0].rstrip()
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
            self.lines[number] = _row(self.lines[number])
        self.gone.add(marks)
        self._in_table = True

    def _close_table(self, block: Token) -> None:
        self._in_table = False

    def _words(self, block: Token) -> None:
        """Marks within the lines; the lines themselves stay."""
        if self._in_table:
            return
        cores = [core.strip() for core in block.content.split("\n")]
        shown = _shown("\n".join(cores)).split("\n")
        if len(shown) != len(cores):  # a link over the end of a line
            shown = [_shown(core) for core in cores]
        numbers = iter(_rows(block))
        for core, words in zip(cores, shown, strict=True):
            for number in numbers:
                before, found, after = self.lines[number].rpartition(core) if core else ("", "", "")
                if found:
                    self.lines[number] = before + words + after
                    break


_BLOCKS: dict[str, Callable[[_Page, Token], None]] = {
    "blockquote_open": _Page._quote,
    "bullet_list_open": _Page._open_list,
    "bullet_list_close": _Page._close_list,
    "ordered_list_open": _Page._open_list,
    "ordered_list_close": _Page._drop_list,
    "list_item_open": _Page._item,
    "heading_open": _Page._heading,
    "fence": _Page._fence,
    "hr": _Page._rule,
    "table_open": _Page._open_table,
    "table_close": _Page._close_table,
    "inline": _Page._words,
}


def _rows(block: Token) -> Sequence[int]:
    """The numbers of the lines that a block stands in."""
    assert block.map
    return range(*block.map)


def _replaced(mark: re.Pattern[str], by: str, line: str) -> str:
    found = mark.match(line)
    return found["before"] + by + line[found.end() :] if found else line


def _row(line: str) -> str:
    """A row of a table: its cells, and something between them."""
    found = _ROW.match(line)
    assert found  # it matches everything
    cells = _CELL_END.split(line[found.end() :].rstrip().removesuffix("|"))
    shown = (_shown(cell.strip().replace("\\|", "|")) for cell in cells)
    return found["before"] + " | ".join(shown)


def _shown(content: str) -> str:
    tokens: list[Token] = []
    _MARKDOWN.inline.parse(content, _MARKDOWN, {}, tokens)
    return _joined(tokens)


def _joined(tokens: Sequence[Token]) -> str:
    words: list[str] = []
    opened: list[tuple[int, str]] = []
    for token in tokens:
        if token.type == "link_open":
            opened.append((len(words), str(token.attrs["href"])))
        elif token.type == "link_close":
            start, address = opened.pop()
            words[start:] = [_link("".join(words[start:]), address)]
        elif token.type == "image":
            source = str(token.attrs["src"])
            words.append(("" if source else "!") + _link(_joined(token.children or ()), source))
        else:
            words.append(token.content)
    return "".join(words)


def _link(label: str, address: str) -> str:
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
