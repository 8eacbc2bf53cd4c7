"""The words for machines in an agent's messages, and their removal.

    thoughts          <think>…</think> and similar tags                                   a model thinks aloud
    citations         【4:0†source】, and private characters around cite…turn0search0       a program should show them
    control words     <|im_end|>, NO_RESPONSE_NEEDED                                      a program should obey them
    escapes           a backslash and an n in place of a line end                         written as JSON twice

``bridge.outbound.formatting.markup`` removes the tags for a screen, such as HTML and SSML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bridge.outbound.formatting.marks import PRIVATE

# --- thoughts ------------------------------------------------------------------------------------------------------

_THOUGHT = re.compile(
    r"(?:<|&lt;|\\u003[cC])\s?(?P<closes>/)?\s?(?:\w{1,9}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|inner_monologue)"
    r"(?:\s[^<>]{0,99})?(?P<empty>/)?(?:>|&gt;|\\u003[eE])"
    r"|\[(?P<closes2>/)?THINK\]|◁(?P<closes3>/)?think▷",
    re.IGNORECASE,
)
_OF_THOUGHTS = "<&\\[◁"
"""Every thought has one of these."""
_FINAL = "<|channel|>final<|message|>"
_ANALYSIS = re.compile(r"<\|channel\|>(?:analysis|commentary)\b")


def without_thoughts(text: str) -> str:
    """Remove the thoughts, also if only their end or their beginning is there."""
    return _without_thoughts(text) if any(char in text for char in _OF_THOUGHTS) else text


def _without_thoughts(text: str) -> str:
    if _ANALYSIS.search(text):
        text = text.rpartition(_FINAL)[2] if _FINAL in text else text[: text.index("<|channel|>")]
    kept: list[str] = []
    start = depth = thought_end = 0
    for tag in _THOUGHT.finditer(text):
        if tag["empty"] or _is_code(text, tag.start(), tag.end()):
            continue
        if not (tag["closes"] or tag["closes2"] or tag["closes3"]):
            if not depth:
                kept.append(text[start : tag.start()])
                thought_end = 0
            depth += 1
            continue
        if not depth and not kept:  # the prompt has opened it
            start = tag.end()
            kept.append("")
        elif depth:
            depth -= 1
            start = thought_end = tag.end()
        else:
            kept.append(text[start : tag.start()])
            start = tag.end()
    if not depth or thought_end:  # or it thought about the tag itself, and closed it once
        kept.append(text[start:])
    return "".join(kept) if len(kept) != 1 else kept[0]


def _is_code(text: str, start: int, end: int) -> bool:
    return text[start - 1 : start] == "`" == text[end : end + 1]


# --- citations and control words -----------------------------------------------------------------------------------

_CITATION = re.compile(
    r"(?<![ \t])[ \t]*+(?:"
    r"【[^【】†\n]*+†[^【】\n]*+】|[\[(]\d+(?::\d+)*†[^\[\]()\n]*+[\])]|【\d+(?::\d+)*】"
    "|\ue200(?:file)?cite[^\ue200\ue201]*+\ue201?|\ue200(?:navlist|image|i|video)\ue202[^\ue200\ue201]*+\ue201?"
    r"|\b(?:file)?cite(?:turn\d+[a-z]+\d+)+"
    r"|(?::contentReference)?\[oaicite:[^\[\]\n]*+\](?:\{index=\d+\})?"
    r"|\[\^\d+\^\]|[\[(](?:turn\d+[a-z]+\d+|doc\d+)[\])]"
    r")"
)
_OF_CITATIONS = ("†", "【", "\ue200", "cite", "[^", "turn", "doc")
"""Every citation has one of these."""
_LINKED = re.compile("\ue200url\ue202([^\ue200-\ue206]*)\ue202([^\ue200-\ue206]*)\ue201")
_NAMED = re.compile('\ue200entity\ue202\\["[^"\ue200\ue201]*", ?"([^"\ue200\ue201]*)"[^\ue200\ue201]*\ue201')
_TOKEN = re.compile(r"<[|｜][\w▁ ]{1,40}[|｜]>|\[/?INST\]")
_NOTHING_TO_SAY = re.compile(
    r"(?<!\s)\s*+(?<!\w)[*_`\"“'(\[{]{0,3}NO\\?_RESPONSE\\?_NEEDED[*_`\"”')\]}]{0,3}(?!\w)[.!]?", re.IGNORECASE
)
"""Retell's documented stop word. An agent writes it to stay silent."""


def without_citations(text: str) -> str:
    """Remove citations, all private characters, and the tokens of a model."""
    if "\ue200" in text:
        text = _NAMED.sub(r"\1", _LINKED.sub(r"\1 (\2)", text))
    if any(part in text for part in _OF_CITATIONS):
        text = _CITATION.sub("", text)
    if not text.isascii():
        text = PRIVATE.sub("", text)
    return _TOKEN.sub("", text)


def without_stop_word(text: str) -> str:
    """Return nothing if the text ends with the stop word: the agent wants to stay silent. Elsewhere remove the word."""
    found = [*_NOTHING_TO_SAY.finditer(text)] if "needed" in text.lower() else []
    if not found:
        return text
    return _NOTHING_TO_SAY.sub("", text) if _says_something(text[found[-1].end() :]) else ""


def _says_something(text: str) -> bool:
    return any(char.isalnum() or ord(char) > 0x2FFF for char in text)


# --- escapes -------------------------------------------------------------------------------------------------------

_TOKENS = re.compile(r"\S+")
_PATH = re.compile(r"[\"'“(\[<]{0,2}(?:[A-Za-z]:\\|\\\\[A-Za-z0-9])")
_ESCAPE = re.compile(
    r"\\{1,2}r\\{1,2}n|\\{1,2}(?P<char>[nrt\"']|u[0-9a-fA-F]{4}(?:\\{1,2}u[dD][c-fC-F][0-9a-fA-F]{2})?)"
)
_FORMULA = re.compile(r"(?<![\w.,!?:;])\\(?:neq|nabla|not(?:in)?|rho|right|rm|times|text\w*|theta|tau|tan)(?![A-Za-z])")
_MEANING = {"n": "\n", "r": "\n", "t": " ", '"': '"', "'": "'"}


def unescaped(text: str, code: Sequence[tuple[int, int]]) -> str:
    """Turn a backslash and an n into a line end, but not in ``C:\\new``, in a formula or in ``code``."""
    if not re.search(r"\\[nru\"']", text):
        return text
    return "".join(piece if literal else _TOKENS.sub(_token, piece) for piece, literal in _pieces(text, code))


def _pieces(text: str, code: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    begin = 0
    for start, end in code:
        yield text[begin:start], False
        yield text[start:end], True
        begin = end
    yield text[begin:], False


def _token(token: re.Match[str]) -> str:
    if "\\" not in token[0] or _PATH.match(token[0]) or _FORMULA.search(token[0]):
        return token[0]
    return _ESCAPE.sub(_character, token[0])


def _character(escape: re.Match[str]) -> str:
    char = escape["char"] or "n"
    if char in _MEANING:
        return _MEANING[char]
    units = bytes.fromhex("".join(re.findall(r"u([0-9a-fA-F]{4})", char)))
    try:
        shown = units.decode("utf-16-be")
    except UnicodeDecodeError:  # half of one
        return ""
    return shown if shown.isprintable() and not PRIVATE.search(shown) else ""
