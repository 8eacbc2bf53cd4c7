"""Splitting long texts: nothing is lost, nothing is too long, nothing that people see as one is torn."""

from __future__ import annotations

import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from bridge.outbound.formatting.segments import segments
from bridge.outbound.formatting.smart import smart
from bridge.outbound.formatting.split import LIMIT, Capacity, split

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
FLAG = "🇩🇪"
ACCENTED = "e\u0301"

PIECES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [" ", "\n", "\r\n", "\n\n", " \u0301", ". ", "。", "\u200d", "\x1c", FAMILY, FLAG, ACCENTED, "\ud800"]
    ),
    st.builds(lambda char, times: char * times, st.characters(), st.integers(1, LIMIT + 50)),
    st.sampled_from(
        ["word " * 200, FAMILY * 200, FLAG * 500, "A sentence of some words. " * 50, "e" + "\u0301" * 2000]
    ),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def without_blanks(text: str) -> str:
    return "".join(text.split())


def clusters(text: str) -> list[str]:
    return [found for found in regex.findall(r"\X", text) if not found.isspace()]


@given(TEXTS)
def test_the_parts_together_say_what_the_text_said(text: str) -> None:
    assert without_blanks("".join(split(text))) == without_blanks(text)


@given(TEXTS)
def test_no_part_is_too_long_or_blank(text: str) -> None:
    parts = split(text)
    assert all(units(part) <= LIMIT for part in parts)
    assert all(part.strip() for part in parts)


@given(TEXTS)
def test_what_people_see_as_one_character_is_never_torn(text: str) -> None:
    whole = clusters(text)
    if all(units(cluster) <= LIMIT for cluster in whole):
        assert [cluster for part in split(text) for cluster in clusters(part)] == whole


@given(TEXTS)
def test_a_part_is_not_split_again(text: str) -> None:
    assert all(split(part) == [part] for part in split(text))


@given(st.lists(st.text("ab.\n", min_size=1, max_size=12), min_size=1, max_size=800).map(" ".join))
def test_a_word_that_fits_into_a_message_is_never_cut(text: str) -> None:
    assert [word for part in split(text) for word in part.split()] == text.split()


@pytest.mark.parametrize("blank", ["", " ", "\n\n\t", "\u00a0", "\x1c", " " * 5000])
def test_a_blank_text_has_no_parts(blank: str) -> None:
    assert split(blank) == []


def test_a_text_that_fits_stays_as_it_is() -> None:
    text = "Hello.\n\nTwo paragraphs,  two blanks."
    assert split(text) == [text]
    assert split(f"\n {text} \n") == [text]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a" * 1000 + "\n\n" + "b" * 300 + ". " + "c" * 1000, "a" * 1000),
        ("a" * 1000 + "\n" + "b" * 300 + ". " + "c" * 1000, "a" * 1000),
        ("a" * 1000 + ". " + "b" * 300 + " " + "c" * 1000, "a" * 1000 + "."),
        ("a" * 1000 + '." ' + "b" * 300 + " " + "c" * 1000, "a" * 1000 + '."'),
        ("a" * 1000 + "。" + "b" * 300 + " " + "c" * 1000, "a" * 1000 + "。"),
        ("a" * 1000 + " " + "b" * 300 + "c" * 1000, "a" * 1000),
        ("a" * LIMIT + " b", "a" * LIMIT),
        ("a" * LIMIT + "\n \n" * 900 + "b", "a" * LIMIT),
        ("a" * 100 + "\n\n" + "b" * 1400 + " " + "c" * 300, "a" * 100 + "\n\n" + "b" * 1400),
    ],
    ids=["paragraph", "line", "sentence", "quote", "cjk", "word", "exact", "many blanks", "not in the first half"],
)
def test_the_cut_comes_at_the_best_seam_of_the_second_half(text: str, first: str) -> None:
    assert split(text)[0] == first


def test_a_word_of_five_thousand_letters_is_cut_where_the_message_is_full() -> None:
    assert [len(part) for part in split("x" * 5000)] == [1600, 1600, 1600, 200]


def test_units_count_as_in_utf_16() -> None:
    assert [len(part) for part in split("👍" * 1000)] == [800, 200]


def test_one_character_longer_than_a_message_is_cut_between_code_points() -> None:
    parts = split("e" + "\u0301" * 2000)
    assert [len(part) for part in parts] == [1600, 401]


@pytest.mark.parametrize("unit", ["word ", "x", "a.\n", "\n ", ".", FAMILY])
def test_the_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    """Ten times the text may take ten times as long; were it quadratic, it would take a hundred times as long."""

    def seconds(characters: int) -> float:
        """The best of three: a busy machine makes the others slower."""
        text = unit * (characters // len(unit)) + "x"
        took = []
        for _ in range(3):
            began = time.thread_time()
            split(text)
            took.append(time.thread_time() - began)
        return min(took)

    assert seconds(100_000) < 40 * max(seconds(10_000), 0.001)


# --- so many segments at most ----------------------------------------------------------------------------------------


@given(TEXTS, st.integers(1, 24), st.booleans())
def test_no_part_has_more_segments_than_are_wanted(text: str, most: int, smart_encoding: bool) -> None:
    capacity = Capacity(segments=most, smart=smart_encoding)
    parts = split(text, capacity)
    assert without_blanks("".join(parts)) == without_blanks(text)
    for part in parts:
        written = smart(part) if smart_encoding else part
        assert min(segments(part), segments(written)) <= most
        assert units(part) <= LIMIT or units(written) <= LIMIT


@given(st.text(max_size=200), st.integers(1, 3))
def test_a_part_in_its_room_is_not_split_again(text: str, most: int) -> None:
    capacity = Capacity(segments=most)
    assert all(split(part, capacity) == [part] for part in split(text, capacity))


@pytest.mark.parametrize(
    ("text", "most", "sizes"),
    [
        ("ж" * 1590, 10, [670, 670, 250]),
        ("x" * 1590, 10, [1530, 60]),
        ("{" * 800, 10, [760, 40]),  # an escape is not torn over two segments: 76 of them in each
        ("👍" * 500, 10, [330, 170]),  # nor are the two halves of an emoji: 33 in each
        ("x" * 100 + "ж" * 600, 10, [670, 30]),
        ("x" * 800 + "ж", 10, [800, 1]),
        ("ж" * 150, 1, [70, 70, 10]),
        ("x" * 330, 1, [160, 160, 10]),
        ("ж" * 1590, 24, [1590]),
        ("x" * 3300, 24, [1600, 1600, 100]),
    ],
)
def test_a_part_is_as_full_as_its_segments(text: str, most: int, sizes: list[int]) -> None:
    assert [len(part) for part in split(text, Capacity(segments=most))] == sizes


def test_typography_that_will_be_plain_takes_the_room_of_plain_characters() -> None:
    text = "👍 " + "it’s " * 500
    first, second, *_ = split(text, Capacity(segments=10, smart=True))
    assert segments(first) == 10
    assert (segments(smart(second)), segments(second)) == (10, 23)


@pytest.mark.parametrize("spare", [3, 13])
def test_room_is_kept_for_what_comes_behind(spare: int) -> None:
    for text in ("ж" * 900, "x" * 2000):
        first = split(text, Capacity(segments=10, spare=spare))[0]
        assert segments(first + "." * spare) == 10
