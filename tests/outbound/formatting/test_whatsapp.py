"""WhatsApp has marks of its own: Markdown and HTML become those, and nothing is marked that would not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.outbound.formatting.plain import plain
from tests.outbound.formatting.test_plain import DOCUMENTS, LOOKALIKES


def shown(text: str) -> str:
    return plain(text, whatsapp=True)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("We open at **9 am**.", "We open at *9 am*."),
        ("__Tomorrow__, *today*, _never_", "*Tomorrow*, _today_, _never_"),
        ("***both*** and **bold _both_**", "_*both*_ and *bold _both_*"),
        ("~~$50~~ $40, ~~no~~", "~$50~ $40, ~no~"),
        ("`STOP *now*` and ``a``", "`STOP *now*` and `a`"),
        ("(**a**), “**b**” — **c**: **$4.50**!", "(*a*), “*b*” — *c*: *$4.50*!"),
        ("**Yes**/**No**", "*Yes*/*No*"),
        ("**over two\nlines**", "*over two*\n*lines*"),
        ("<b>a</b> <strong>b</strong> <i>c</i> <em>d</em> <del>e</del> <code>f</code>", "*a* *b* _c_ _d_ ~e~ `f`"),
        ("<b> a </b><i><b>b</b></i>", "*a* _*b*_"),
        ("**[our menu](https://x.example/a_b)**", "*our menu (https://x.example/a_b)*"),
        ("[**our** menu](https://x.example)", "*our* menu (https://x.example)"),
    ],
)
def test_stress_is_marked_as_whatsapp_does(written: str, sent: str) -> None:
    assert shown(written) == sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("# Hours\nNine", "*Hours*\nNine"),
        ("## **Hours** ##\n\nNine", "*Hours*\n\nNine"),
        ("### 2. *All* prices", "*2. _All_ prices*"),
        ("<h2>Hours</h2>Nine", "*Hours*\n\nNine"),
        ("* Mon **9-5**\n* Tue", "- Mon *9-5*\n- Tue"),
        ("- Mon\n* Tue\n+ Wed", "- Mon\n- Tue\n- Wed"),
        ("1. one\n2. **two**", "1. one\n2. *two*"),
        ("<ul><li><b>Mon</b></li><li>Tue</li></ul>", "- *Mon*\n- Tue"),
        ("> We **never** close.", "> We *never* close."),
        ("```python\nx = **1**\n```", "```\nx = **1**\n```"),
        ("Run:\n~~~\nls\n~~~\nthen", "Run:\n```\nls\n```\nthen"),
        ("| Size | Price |\n|---|---|\n| **S** | $1 |", "Size | Price\n*S* | $1"),
        ("one\n\n---\n\ntwo", "one\n\ntwo"),
    ],
)
def test_blocks_are_what_whatsapp_shows(written: str, sent: str) -> None:
    assert shown(written) == sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("这是**重点**内容", "这是重点内容"),
        ("**Name:**John", "Name:John"),
        ("**2*3*4**", "2*3*4"),
        ("~~a~~b", "ab"),
        ("**<b>a</b>**", "*a*"),
        ("<b></b>a<i> </i>", "a"),
    ],
)
def test_a_sign_that_would_stay_a_sign_is_left_out(written: str, sent: str) -> None:
    assert shown(written) == sent


@pytest.mark.parametrize("text", [t for t in LOOKALIKES if "~~" not in t and not t.startswith(">")])
def test_what_only_looks_like_markdown_is_left_alone(text: str) -> None:
    assert shown(text) == text.strip()


@given(DOCUMENTS)
def test_no_markdown_is_left_that_whatsapp_does_not_know(text: str) -> None:
    sent = shown(text)
    assert "**" not in sent
    assert "](" not in sent
    assert "## " not in sent


@given(st.text("ab1 *_~\n#>-+|.é中", max_size=80))
def test_no_letter_is_lost(text: str) -> None:
    assert list(filter(str.isalnum, shown(text))) == list(filter(str.isalnum, text))
