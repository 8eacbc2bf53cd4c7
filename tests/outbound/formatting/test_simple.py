"""What is read without the parser, or not read at all, is the same as if it were."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.outbound.formatting import machine
from bridge.outbound.formatting.links import addresses
from bridge.outbound.formatting.machine import _without_thoughts, without_citations, without_stop_word, without_thoughts
from bridge.outbound.formatting.marks import PRIVATE
from bridge.outbound.formatting.plain import _is_special, _Page
from bridge.outbound.formatting.simple import _may_have_address, blocks, bold

WORDS = [
    *("**", "**bold**", "**two words**", "**Bold:**", "**Bold**:", "*", "***", "_", "`", "~~", "*a*", "\\"),
    *(
        "[a](https://x.example)",
        "https://x.example/**a**",
        "www.x.example",
        "x.example/a",
        "mailto:a@x.example",
        "TEL:+1",
    ),
    *("word", "2 tables", "7 pm.", "é", "“quoted”", "Ⓐ", "中文", "$5", "1", "2.", "3)", "4. "),
    *("!", "?", "(", ")", ",", ":", "&"),
]
STARTS = [
    *("", "", "- ", "- ", "-", "-\t", "* ", "+ ", "> ", "# ", "1. ", "2) "),
    *(" ", "  ", "    ", "\t", "\xa0", "\x0b", "|", ":-", "---", "~~~"),
]
LINE = st.tuples(st.sampled_from(STARTS), st.lists(st.sampled_from(WORDS), max_size=5), st.sampled_from([" ", " ", ""]))
TEXT = st.lists(LINE.map(lambda line: line[0] + line[2].join(line[1])), max_size=6).map("\n".join)
ANY = st.text(st.sampled_from("ab *_-+#>|:`~[](!\\\n\t1.)\xa0\x85é中&<"), max_size=40)


@pytest.mark.parametrize("whatsapp", [False, True])
@given(st.one_of(TEXT, ANY))
@settings(max_examples=400)
@example("**a**\n- **b** c\n- d\ne\n\n- f **g**")
@example("- a\n- - b")
@example("a\n-- | -")
@example("a | b\n- | -")
@example("- **a**\nb **c**\n\n\nd")
def test_the_parser_reads_the_same(whatsapp: bool, text: str) -> None:
    simple, complete = (_Page(text, whatsapp=whatsapp, simple=simple) for simple in (True, False))
    found = blocks(text.split("\n"))
    if found is not None:
        parsed = [block for block in complete._blocks if block.type == "inline"]
        assert [(block.content.rstrip(), block.map) for block in found] == [
            (block.content.rstrip(), block.map) for block in parsed
        ]
    assert simple.without_marks() == complete.without_marks()


@given(st.lists(st.sampled_from([*WORDS, " ", "\n"]), max_size=8).map("".join))
@settings(max_examples=400)
def test_bold_words_are_those_of_the_parser(content: str) -> None:
    shown = bold(content, "<", ">")
    if shown is not None:
        tokens = _Page("", whatsapp=False, simple=False)._markdown.parseInline(content)[0].children or []
        signs = {"strong_open": "<", "strong_close": ">"}
        assert shown == "".join(signs.get(token.type) or token.content for token in tokens)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("a **b** c **d**", "a <b> c <d>"),
        ("**Bold:** x", "<Bold:> x"),
        ("see x.example, it is **new**?", "see x.example, it is <new>?"),
        ("plain", "plain"),
        ("a ** b **", None),
        ("**a** **", None),
        ("*a* **b**", None),
        ("**a [b](c)**", None),
        ("https://x.example **a**", None),
    ],
)
def test_only_certain_bold_words_need_no_parser(content: str, shown: str | None) -> None:
    assert bold(content, "<", ">") == shown


def test_usual_markdown_needs_no_parser_for_its_blocks() -> None:
    assert blocks(["Your **table**:", "", "- tonight, 7 pm", "- **menu** for 2", "and more", "", "Bye"])
    for line in ("# a", "> a", "* a", "+ a", "1. a", "| a", "---", "- - a", "```", "~~~", "  a", "-", "- ", "2) a"):
        assert blocks(["words", line]) is None


@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=3).map("".join), st.text(max_size=20)))
def test_no_address_is_overlooked(text: str) -> None:
    assert _may_have_address(text) or not any(addresses(text))


# -- words for machines ---------------------------------------------------------------------------------------------

MACHINE = [
    *("<think>", "</think>", "&lt;think&gt;", "\\u003cthink\\u003e", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷"),
    *("<|channel|>analysis", "<|channel|>final<|message|>", "<|im_end|>", "[INST]", "think"),
    *("【4:0†source】", "【3】", "(1†a)", "[2†b]", "[^1^]", "[turn0search1]", "(doc2)", "[doc1]", "citeturn0search0"),
    *("\ue200cite\ue202turn0search0\ue201", "[oaicite:1]", ":contentReference[oaicite:0]{index=0}"),
    *("\ue200url\ue202a\ue202b\ue201", '\ue200entity\ue202["a", "b"]\ue201', "\ue200i\ue202x\ue201"),
    *("NO_RESPONSE_NEEDED", "no_reſponse_needed", "No\\_Response\\_Needed.", "**NO_RESPONSE_NEEDED**"),
    *(" ", "\n", "a", "é", ".", "*", "-", "--", "- - -", "\r", "\uf8ff", "\U000f0000"),
]
SAID = st.one_of(st.lists(st.sampled_from(MACHINE), max_size=5).map("".join), st.text(max_size=20))


@given(SAID)
def test_a_text_without_the_signs_of_a_thought_has_none(text: str) -> None:
    assert without_thoughts(text) == _without_thoughts(text)


@given(SAID)
def test_a_text_without_the_signs_of_a_citation_has_none(text: str) -> None:
    linked = machine._NAMED.sub(r"\1", machine._LINKED.sub(r"\1 (\2)", text))
    assert without_citations(text) == machine._TOKEN.sub("", PRIVATE.sub("", machine._CITATION.sub("", linked)))


@given(SAID)
def test_a_text_without_the_stop_word_is_not_searched_for_it(text: str) -> None:
    assert machine._NOTHING_TO_SAY.search(text) or without_stop_word(text) == text
    assert "needed" in text.lower() or not machine._NOTHING_TO_SAY.search(text)


@given(SAID)
def test_special_is_what_any_reader_acts_on(text: str) -> None:
    special = re.compile(
        r"[*_`#\[\]<>~|\\&+\r\0【†◁\ue000-\uf8ff\U000f0000-\U0010ffff]|cite(?:turn)|^[ \t]*-[ \t]*-[- \t]*$",
        re.MULTILINE,
    )
    assert _is_special(text) is bool(special.search(text))
