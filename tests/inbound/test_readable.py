"""What a person can read in a text, and what only looks like something to a program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.inbound.readable import readable


@pytest.mark.parametrize(
    "body",
    [
        "a",
        "?",
        "1",
        "…",
        "中",
        "é",
        "e\u0301",
        "£",
        "👍",
        "❤️",
        "👨‍👩‍👧",
        "🇳🇴",
        "1️⃣",
        "☎",
        "\U0001fae8",
        "\U0001fad7",
        "  x  ",
    ],
)
def test_what_leaves_ink_is_readable(body: str) -> None:
    assert readable(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        " \t\r\n",
        "\u00a0\u2003\u3000",
        "\x00\x07\x1b",
        "\u200b\u200c\u200d\u2060\ufeff",
        "\u200e\u202e\u2066",
        "\ufe0f\ufe0e\U000e0100",
        "\u0301",
        "\u00ad\u034f\u180e",
        "\u115f\u1160\u3164\uffa0",
        "\u2800",
        "\ufffc\ufffd",
        "\ue000\uf8ff",
        "\U000e0041\U000e007f",
        "\ud83d",
        "\u0378",
    ],
    ids=ascii,
)
def test_what_leaves_none_is_not(body: str) -> None:
    assert not readable(body)


@given(st.text(), st.text())
def test_more_text_never_makes_a_text_unreadable(one: str, other: str) -> None:
    assert readable(one + other) == (readable(one) or readable(other))
