"""Words that are meant for machines: no phone gets them, and what only looks like them stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.outbound.formatting.shape import Recipient, answer
from tests.scene import ANN

WHATSAPP = f"whatsapp:{ANN}"


def read(*texts: str, address: str = ANN) -> list[str]:
    """What the phone gets; in its own characters, so that nothing is left of the agent's typography."""
    return [sms.body for sms in answer(texts, Recipient(address), join=False).messages]


# --- nothing to say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "NO_RESPONSE_NEEDED", "  NO_RESPONSE_NEEDED\n", "NO_RESPONSE_NEEDED.", "no_response_needed",
        "...NO_RESPONSE_NEEDED",
        '"NO_RESPONSE_NEEDED"', "`NO_RESPONSE_NEEDED`", "**NO_RESPONSE_NEEDED**", "_NO_RESPONSE_NEEDED_",
        "[NO_RESPONSE_NEEDED]", "“NO_RESPONSE_NEEDED”", "NO\\_RESPONSE\\_NEEDED", "<p>NO_RESPONSE_NEEDED</p>",
        "<think>nothing to add</think>NO_RESPONSE_NEEDED", "```\nNO_RESPONSE_NEEDED\n```", "NO_RESPONSE_NEEDED\\n",
        "NO_RESPONSE_NEEDED NO_RESPONSE_NEEDED", "Take your time. NO_RESPONSE_NEEDED", "你好 NO_RESPONSE_NEEDED",
        "Take your time!\n\n**NO_RESPONSE_NEEDED**.", "👍 NO_RESPONSE_NEEDED",
        "", " ", "<br>", "<p></p>", "<think>only thoughts</think>",
        "【4:0†source】", "\ue200cite\ue202turn0search0\ue201",
    ],
)  # fmt: skip
def test_nothing_to_say_is_silence(text: str) -> None:
    assert read(text) == []
    assert read(text, address=WHATSAPP) == []


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("NO_RESPONSE_NEEDED Take your time.", "Take your time."),
        ("Take your time. NO_RESPONSE_NEEDED Here I am.", "Take your time. Here I am."),
        ("No response needed.", "No response needed."),
        ("See NO_RESPONSE_NEEDED_2 and MY_NO_RESPONSE_NEEDED", "See NO_RESPONSE_NEEDED_2 and MY_NO_RESPONSE_NEEDED"),
    ],
)
def test_words_behind_it_are_for_the_person(text: str, got: str) -> None:
    assert read(text) == [got]


# --- thoughts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("<think>She wants 7 pm.</think>Seven it is.", "Seven it is."),
        ("<think>\nShe wants\n\n7 pm.\n</think>\n\nSeven it is.", "Seven it is."),
        ("She wants 7 pm.</think>Seven it is.", "Seven it is."),
        ("Hello <thinking>hm</thinking>there", "Hello there"),
        ("<THINK >a<think>b</think>c</THINK>Hello", "Hello"),
        ("<think>a <think> tag</think> Hello", "Hello"),
        ("<think>a</think>Hi <think>b</think>there", "Hi there"),
        ("<think>a</think>Hi</think> there", "Hi there"),
        ("<think/>Hello", "Hello"),
        ("Hello. <think>cut o", "Hello."),
        ("<reasoning effort='high'>a</reasoning>Hello", "Hello"),
        ("<reflection>a</reflection>\n<scratchpad>b</scratchpad>\nHello", "Hello"),
        ("<thought>if a<b and b>c</thought>Hello", "Hello"),
        ("[THINK]a[/THINK]Hello", "Hello"),
        ("◁think▷a◁/think▷Hello", "Hello"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>", "Hello"),
        ("&lt;think&gt;a&lt;/think&gt;Hello", "Hello"),
        ("\\u003cthink\\u003ea\\u003c/think\\u003eHello", "Hello"),
        ("Hello<|im_end|>", "Hello"),
        ("<｜end▁of▁sentence｜>Hello", "Hello"),
        ("I think <so>, and thinking <3 of you", "I think <so>, and thinking <3 of you"),
        ("A model writes `<think>` first.", "A model writes <think> first."),
    ],
)  # fmt: skip
def test_thoughts_are_kept_to_oneself(text: str, got: str) -> None:
    assert read(text) == [got]
    assert read(f"{text}\n\nBye")[-1:] == ([got] if "cut o" in text else [f"{got}\n\nBye"])


# --- citations and private characters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("We open at 9【4:0†source】.", "We open at 9."),
        ("We open at 9 【12†menu.pdf】【13†L3-L5】 today", "We open at 9 today"),
        ("We open 【1】 at 9 【2:3】", "We open at 9"),
        ("We open\ue200cite\ue202turn0search0\ue202turn1search2\ue201 at 9", "We open at 9"),
        ("We open \ue200filecite\ue202turn0file1\ue202L1-L2\ue201", "We open"),
        ("We open citeturn0search0.", "We open."),
        ("We open citeturn0search0turn2news1 at 9", "We open at 9"),
        ("\ue203Nine\ue204 \ue206to five \uf8ff \U000f0001\U0010fffd", "Nine to five"),
        ("See \ue200url\ue202our menu\ue202https://x.example/m\ue201.", "See our menu (https://x.example/m)."),
        ('In \ue200entity\ue202["city","Paris","capital"]\ue201.', "In Paris."),
        ("Nine :contentReference[oaicite:2]{index=2} to five [oaicite:0]", "Nine to five"),
        ("Nine [^1^] to five [doc1] (turn0search0)", "Nine to five"),
        ("Nine [4:0†source] to five (12†menu.pdf).", "Nine to five."),
        ("【重要】 nine, † and ‡, [a†b]", "【重要】 nine, † and ‡, [a†b]"),
        ("[1] [x] [^1] cite this, recite", "[1] [x] [^1] cite this, recite"),
    ],
)
def test_citations_are_for_a_program(text: str, got: str) -> None:
    assert read(text) == [got]


# --- escapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("One\\nTwo", "One\nTwo"),
        ("One\\n\\nTwo\\r\\nThree", "One\n\nTwo\nThree"),
        ("one\\ntwo\\", "one\ntwo\\"),
        ("Hours:\\n* **Mon** 9-5\\n* Tue", "Hours:\n- Mon 9-5\n- Tue"),
        ("One\\\\nTwo", "One\nTwo"),
        ("Pane\\ne vino! \\nu ok?", "Pane\ne vino! \nu ok?"),
        ("One\\n\nTwo", "One\n\nTwo"),
        ('He said \\"nine\\", it\\\'s late', 'He said "nine", it\'s late'),
        ("caf\\u00e9 \\ud83d\\udc4d \\u2013 ok", "café 👍 – ok"),
        ("half \\ud83d one, private \\ue000 one", "half  one, private  one"),
        ("C:\\temp\\new, (D:\\new) and \\\\server\\new", "C:\\temp\\new, (D:\\new) and \\\\server\\new"),
        ("a \\neq b, \\nabla x", "a \\neq b, \\nabla x"),
        ("print(`a\\nb`)\nthen", "print(a\\nb)\nthen"),
        ("Run `a\\nb`, then\\nstop", "Run a\\nb, then\nstop"),
        ("Run:\\n```\\nls\\n```\\nthen", "Run:\nls\nthen"),
        ("¯\\_(ツ)_/¯ \\o/ :-\\", "¯\\_(ツ)_/¯ \\o/ :-\\"),
    ],
)
def test_what_was_escaped_twice_is_read(text: str, got: str) -> None:
    assert read(text) == [got]


# --- any text --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["<think>", "</think>", "<thinking>", "NO_RESPONSE_NEEDED", "no_response_needed", "citeturn0search0",
     "\ue200cite\ue202turn0search0\ue201", "\ue200", "\ue201", "\ue202", "【4:0†source】", "【", "†", "】", "\\n",
     "\\u0041", "\\", "\n", "<p>", "</p>", "<br>", "<b>", "</b>", "<s>", "</s>", "<break time='1s'/>", "&amp;", "&lt;",
     "&#xe000;", "\\ue001", "**", "*", "_", "`", "```\n", "~~", "# ", "- ", "* ", "> ", "|", "Hello", "you 👍", " ",
     ". ", "https://x.example/_a_"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3) | st.characters(categories=["Co"]), max_size=25).map("".join)
NEVER = re.compile(
    r"[\ue000-\uf8ff\U000f0000-\U0010fffd]|</?think(?:ing)?>|(?<![\w])NO_RESPONSE_NEEDED(?!\w)|【\d+:\d+†source】"
)


@given(TEXTS, st.sampled_from([ANN, WHATSAPP, f"rcs:{ANN}"]))
def test_no_phone_ever_gets_words_for_machines(text: str, address: str) -> None:
    for body in read(text, address=address):
        assert body.strip() == body != ""
        assert not re.search(r"[\ue000-\uf8ff\U000f0000-\U0010fffd]", body)
        if "`" not in text:  # what is quoted as code is meant to the letter
            assert not NEVER.search(body)


PLAIN = st.text("abz AB  \n0189.,!?:;'\"()/@%$=éß中👍", max_size=100)


@given(PLAIN, st.sampled_from([ANN, WHATSAPP]))
def test_plain_words_are_sent_as_they_are(text: str, address: str) -> None:
    assert read(text, address=address) == ([text.strip()] if text.strip() else [])
