"""Typography in plain characters: where it makes a text cheaper, and nowhere else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.outbound.formatting.segments import is_gsm, segments
from bridge.outbound.formatting.smart import SISTERS, skeleton, smart

TYPOGRAPHY = st.sampled_from(sorted("".join(SISTERS.values())))
TEXTS = st.text(st.characters() | TYPOGRAPHY | st.sampled_from("ab é€ç👍"), max_size=80)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("We\u2019re open \u2013 9\u201317", "We're open - 9-17"),
        ("\u201cYes\u201d \u2014 he said\u2026", '"Yes" - he said...'),
        ("10\u00a0am\u202f\u2192\u200910\u202f30", "10 am -> 10 30"),
        ("\u2022 one\n\u2022 two", "- one\n- two"),
        ("2\u00d73 \u2212 1 \u2264 5", "2x3 - 1 <= 5"),
        ("a\tb", "a b"),
        ("`code`", "'code'"),
        ("soft\u00adhyphen, zero\u200bwidth, mark\ufeff", "softhyphen, zerowidth, mark"),
        ("cafe\u0301 \u2014 sen\u0303or", "café - señor"),
        ("«Là» €5", '"Là" €5'),
    ],
)
def test_typography_becomes_plain(text: str, sent: str) -> None:
    assert smart(text) == sent
    assert is_gsm(sent)


@pytest.mark.parametrize(
    "text",
    [
        "We\u2019re open \u2013 come in 👍",
        "\u201cReçu\u201d \u2014 merci\u2026",
        "你好\u2026",
        "21\u00b0C \u2013 sunny",
        "1\u00bd \u2013 2 h",
        "e\u0302tre",
    ],
    ids=["emoji", "accent", "script", "degrees", "fraction", "decomposed"],
)
def test_it_stays_where_the_text_is_wide_anyway(text: str) -> None:
    assert smart(text) == text


def test_it_stays_where_the_plain_text_is_dearer() -> None:
    assert (segments("\u2026" * 134), segments("..." * 134)) == (2, 3)
    assert smart("\u2026" * 134) == "\u2026" * 134


def test_what_shows_nothing_at_all_is_not_made_empty() -> None:
    assert smart("\u200b") == "\u200b"


@pytest.mark.parametrize("plain", SISTERS)
def test_every_sister_is_plain(plain: str) -> None:
    assert is_gsm(plain)


def test_no_plain_character_is_replaced_and_none_twice() -> None:
    replaced = "".join(SISTERS.values())
    assert len(set(replaced)) == len(replaced)
    assert not any(map(is_gsm, replaced))


@given(TEXTS)
def test_it_is_all_or_nothing(text: str) -> None:
    assert smart(text) == text or is_gsm(smart(text))


@given(TEXTS)
def test_twice_is_once(text: str) -> None:
    assert smart(smart(text)) == smart(text)


@given(st.text(TYPOGRAPHY | st.sampled_from("abc é.,"), max_size=400))
def test_it_never_costs_more(text: str) -> None:
    assert segments(smart(text)) <= segments(text)


@given(TEXTS)
def test_letters_and_digits_are_never_touched(text: str) -> None:
    """The few letters of the table are written as quotes are, or as a times sign is."""

    def letters(words: str) -> list[str]:
        composed = unicodedata.normalize("NFC", words)
        return [char for char in composed if char.isalnum() and char not in "".join(SISTERS.values()) + "x"]

    assert letters(smart(text)) == letters(text)


@given(st.text())
def test_the_skeleton_of_a_text_is_that_of_its_plain_form(text: str) -> None:
    assert skeleton(skeleton(text)) == skeleton(text)
    assert skeleton(text.strip()) == skeleton(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a — b", "a - b"), ("don’t", "don't"), ("“x”…", '"x"...'), ("½", "1/2"), ("wo\u200brd", "word"), ("x→y", "x->y")],
)
def test_typography_leaves_the_skeleton_as_it_is(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other) == skeleton(smart(one))


@pytest.mark.parametrize(("one", "other"), [("at 7", "at 8"), ("yes", "no"), ("word", "wo rd"), ("é", "e")])
def test_letters_and_digits_are_the_skeleton(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)
