"""The time to shape an answer grows with it and not faster, whatever an agent, or who talks to it, makes it say.

Each row of the table is repeated to a text, and to one whose length is doubled three times. Eight times the text may
take eight times as long; were it quadratic, it would take 64 times as long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from bridge.outbound.formatting.shape import Recipient, answer
from tests.scene import ANN

WHATSAPP = f"whatsapp:{ANN}"

MARKDOWN = [
    "[", "![", "*", "**a ", "**a** ", "*a**b***c ", "***a*** ", "_a ", "_*a*_ ", "~~", "~~a~~ ", "> ", "- ", "> - ",
    "1. ", "`", "``", "`a` ", "`` ` ", "```\n", "~~~\n", "[a](", '[a](b.cd "', "[x](a.", "](", "|", "|a", "| |\n|-|\n",
    "a|b\n-|-\n", "# ", " #", "\\", "- a\n", "  - a\n", "* a\n", "* a\n  - b\n", "- a\n* b\n", "- a\n\n* b\n\n",
    "+ 1\n", "1. a\n- b\n", "> a\n- b\n", "a\n---\n", "*_", "a*", "a* ",
]  # fmt: skip
CHARACTERS = [
    "x", "word ", "а", "é\u0301", "\U0001f1e9", "\U0001f1e9\U0001f1ea", "\U0001f1e9\u0301", "\u0600\U0001f1e9", "👍 ",
    "👨\u200d", "👍🏽", "1\ufe0f\u20e3", "\ufe0f", "\u200d", "\u0301", "\u0915\u094d", "\u0600", "\u1100", "…", "’",
    "。", ". ", ".) ", ".\"' ", "\n", "\n ", "\r", "\r\n", " ", "\t", "\u00a0", "\x1c", "(((", "([{", '"',
]  # fmt: skip
TAGS = [
    "<", "</", "<a", "<a ", " b=c", "<b>", "</b>", "<b>x</b>", "<i><b>", "<p>", "<li>", "<ul><li>", "<br>",
    "<table><tr><td>", "<td>", "<pre>", "<code>", "<code>`", "<script>", "<!--", "<!-- -->",
    "<a b='", '<a b="', "<a b=c", "<a href=x.yz>", "<img src='x.yz'>", "<sup>1", "<q>", "<x-",
    "<a:", "<x y='", "&", "&a", "&amp;", "&#",
    "&lt;b&gt;", "<a\n",
]  # fmt: skip
MACHINES = [
    "【", "【1", "【1†", "【1†】", "†", "cite", "citeturn0search0", "citeturn0a1turn", "\ue200", "\ue201", "\ue000",
    "\ue200cite", "\ue200url\ue202", "<think>", "</think>", "<think></think>", "<think", "<think ", "\\n", "\\\\n",
    "\\u00e9", "C:\\n", "\\n ", "NO_RESPONSE_NEEDED", "NO_RESPONSE_NEEDED ", "NO_", "<|", "<|a|>", "[^1^]", "[doc1]",
    "[oaicite:",
]  # fmt: skip
ADDRESSES = [
    "https://", "https://x.yz/", "https://x.yz/(", "https://x.yz/)", "https://x.yz/*a* ", "www.", "x.yz/", "a.", "a.b.",
    "a-", "a+", "http", "://", "a@", "mailto:",
]  # fmt: skip


def seconds(texts: Sequence[str], address: str = ANN) -> float:
    began = time.thread_time()
    answer(texts, Recipient(address), join=False)
    return time.thread_time() - began


def at_best(texts: Sequence[str]) -> float:
    """The best of two: a busy machine makes the other slower."""
    return min(seconds(texts) for _ in range(2))


def holds(unit: str, address: str) -> bool:
    """Whether it is linear. A busy machine may spoil one measurement; what is quadratic fails all three."""
    return any(_grew_with(unit, address) for _ in range(3))


def _grew_with(unit: str, address: str) -> bool:
    short, long = (seconds([unit * (length // len(unit)) + "x"], address) for length in (4_000, 32_000))
    return long < 32 * max(short, 0.001)


@pytest.mark.parametrize("unit", [*MARKDOWN, *CHARACTERS, *TAGS, *MACHINES, *ADDRESSES])
def test_the_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    assert holds(unit, ANN)


@pytest.mark.parametrize(
    "unit", ["**a** ", "*_", "~~a~~ ", "`a` ", "# a\n", "```\n", "<b>", "<i><b>x</b></i>", "- a\n* b\n"]
)
def test_so_it_does_for_whatsapp(unit: str) -> None:
    assert holds(unit, WHATSAPP)


@pytest.mark.parametrize("text", ["- item", "**a**", "\U0001f1e9", "x" * 500, "<b>a</b>"])
def test_a_turn_has_one_budget_however_many_texts_it_has(text: str) -> None:
    """Twice as many texts take no longer: what is over the budget is not looked at."""
    many, twice = (at_best([text] * times) for times in (45_000, 90_000))
    assert many < 2
    assert twice < 3 * max(many, 0.01)
    result = answer([text] * 45_000, Recipient(ANN), join=False)
    assert result.left_out
    assert 1 <= len(result.messages) <= 10


def test_the_longest_answer_takes_a_moment() -> None:
    """64,000 flags once took 21 s, in a transaction."""
    assert at_best(["\U0001f1e9" * 64_000]) < 2
