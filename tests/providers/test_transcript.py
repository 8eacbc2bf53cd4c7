"""Reading a chat after an unknown outcome: pure, so it is tried with every chat that can be thought of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.agents.contract import Item, Speaker
from bridge.providers.agents.transcript import (
    HIDDEN,
    NOT_RECEIVED,
    Bookmark,
    advance,
    at_the_end,
    bookmark,
    find_turn,
    handoff,
    unread_handoff,
)

SPEECH = st.sampled_from(["ok", "yes", "ok"])
AGENT_SIDE = st.lists(
    st.builds(Item, st.sampled_from([Speaker.AGENT, Speaker.OTHER]), SPEECH, pending=st.just(False)), max_size=4
)
TURNS = st.lists(st.tuples(SPEECH, AGENT_SIDE), max_size=5)


def chat(turns: Sequence[tuple[str, list[Item]]], *, ids: bool) -> list[Item]:
    items = [item for said, answer in turns for item in (Item(Speaker.USER, said), *answer)]
    return [Item(item.speaker, item.content, f"m{n}" if ids else None) for n, item in enumerate(items)]


@given(TURNS, SPEECH, AGENT_SIDE, st.booleans())
def test_what_was_said_is_found_with_its_answer_however_often_it_was_said_before(
    before: list[tuple[str, list[Item]]], said: str, answer: list[Item], ids: bool
) -> None:
    old = chat(before, ids=ids)
    now = chat([*before, (said, answer)], ids=ids)
    found = find_turn(now, bookmark(old))
    assert found.received is True
    assert found.answer == tuple(now[len(old) + 1 :])


@given(TURNS, st.booleans())
def test_what_was_not_said_is_not_found(before: list[tuple[str, list[Item]]], ids: bool) -> None:
    items = chat(before, ids=ids)
    assert find_turn(items, bookmark(items)) == NOT_RECEIVED


@given(TURNS, st.booleans())
def test_a_bookmark_that_is_advanced_turn_by_turn_stands_where_the_chat_does(
    turns: list[tuple[str, list[Item]]], ids: bool
) -> None:
    """A completion's answer does not show the person's own item: the bookmark must do without it."""
    stands = Bookmark()
    for n in range(len(turns)):
        items = chat(turns[: n + 1], ids=ids)
        found = find_turn(items, stands)
        assert found.received
        stands = advance(stands, found.answer, turns[n][0])
    assert find_turn(chat(turns, ids=ids), stands) == NOT_RECEIVED


@given(TURNS.filter(bool), st.booleans())
def test_a_chat_that_does_not_show_its_items_tells_nothing(turns: list[tuple[str, list[Item]]], ids: bool) -> None:
    stands = bookmark(chat(turns, ids=ids))
    assert find_turn(None, stands) == HIDDEN
    assert find_turn([], stands) == HIDDEN


def test_a_fresh_chat_without_items_has_heard_nothing() -> None:
    assert find_turn(None, Bookmark()) == NOT_RECEIVED


@given(TURNS, st.booleans())
def test_words_that_somebody_else_said_in_the_chat_are_not_taken_for_ours(
    before: list[tuple[str, list[Item]]], ids: bool
) -> None:
    """An operator may test the agent in the vendor's dashboard."""
    foreign, ours = Item(Speaker.AGENT, "to them"), Item(Speaker.AGENT, "to us")
    now = chat([*before, ("somebody else's", [foreign]), ("ours", [ours])], ids=ids)
    found = find_turn(now, bookmark(chat(before, ids=ids)), "ours")
    assert [item.content for item in found.answer] == ["to us"]


def exchange(said: str, *replies: str) -> list[Item]:
    return [Item(Speaker.USER, said), *(Item(Speaker.AGENT, reply) for reply in replies)]


DISTINCT = [[*exchange("one", "1"), Item(Speaker.OTHER, "a tool")], exchange("two"), exchange("ok", "3", "and more")]


def shown(turns: Sequence[Sequence[Item]], last: int | None = None) -> list[Item]:
    """The newest items, as many as the chat shows."""
    items = [item for turn in turns for item in turn]
    return items if last is None else items[max(0, len(items) - last) :]


@pytest.mark.parametrize("last", range(3, 9))
def test_a_chat_without_ids_that_shows_only_its_end_is_read_by_its_words(last: int) -> None:
    before = bookmark(shown(DISTINCT))
    now = shown([*DISTINCT, exchange("four", "4")], last)
    found = find_turn(now, before, "four")
    known = any(item.content == "ok" for item in now)
    assert found.received is (True if known else None)
    assert [item.content for item in found.answer] == (["4"] if known else [])


@pytest.mark.parametrize("last", range(1, 7))
def test_a_chat_without_ids_that_hides_its_beginning_is_not_said_to_lack_a_text_that_it_shows(last: int) -> None:
    """The person has sent the same text twice, so that its words alone do not tell the two apart."""
    turns = [exchange("a", "1"), exchange("ok", "2")]
    before = bookmark(shown(turns))
    assert find_turn(shown([*turns, exchange("ok", "3")], last), before, "ok").received is not False


@given(TURNS.filter(bool), SPEECH, st.integers(1, 20))
def test_a_chat_without_ids_may_hide_any_part_and_no_text_counts_as_missing(
    turns: list[tuple[str, list[Item]]], said: str, last: int
) -> None:
    replied = [(words, [Item(Speaker.AGENT, f"reply {n}"), *rest]) for n, (words, rest) in enumerate(turns)]
    old = chat(replied, ids=False)
    now = chat([*replied, (said, [Item(Speaker.AGENT, "the newest reply")])], ids=False)
    found = find_turn(now[-last:], bookmark(old), said)
    assert found.received is not False
    if found.received:
        assert [item.content for item in found.answer] == ["the newest reply"]


@pytest.mark.parametrize("last", range(1, 9))
def test_the_same_exchange_once_more_is_told_from_the_one_before_it(last: int) -> None:
    turns = [exchange("one", "1"), exchange("ok", "fine"), exchange("ok", "fine")]
    before = bookmark(shown(turns))
    assert find_turn(shown([*turns, exchange("ok", "fine")], last), before, "ok").received is not False
    assert find_turn(shown(turns), before, "ok") == NOT_RECEIVED


@given(TURNS, SPEECH)
def test_a_late_reply_to_the_last_text_does_not_move_the_mark(before: list[tuple[str, list[Item]]], said: str) -> None:
    stands = advance(bookmark(chat(before, ids=False)), (), said)
    late = chat([*before, (said, [Item(Speaker.AGENT, "late")])], ids=False)
    assert find_turn(late, stands, "next") == NOT_RECEIVED
    assert find_turn([*late, *exchange("next", "yes")], stands, "next").answer == (Item(Speaker.AGENT, "yes"),)


def test_blanks_that_the_provider_changes_do_not_matter_to_a_mark() -> None:
    stands = advance(Bookmark(), [Item(Speaker.AGENT, "Hello,\n  you ")], "hi  there\n")
    assert find_turn(exchange("hi there", "Hello, you"), stands) == NOT_RECEIVED


def test_a_reply_that_is_shown_in_other_words_does_not_hide_the_chat() -> None:
    stands = advance(Bookmark(1), [Item(Speaker.AGENT, "one"), Item(Speaker.AGENT, "two")], "hi")
    assert find_turn([*exchange("hello", "yes?"), *exchange("hi", "one\ntwo")], stands) == NOT_RECEIVED


def test_an_answer_without_items_keeps_the_id_of_a_provider_that_has_ids() -> None:
    assert advance(Bookmark(1, "m2"), (), "hi") == Bookmark(2, "m2")


def test_an_answer_counts_only_without_an_open_tool_call() -> None:
    said = Item(Speaker.USER, "hi", "m1")
    open_call = Item(Speaker.OTHER, "", "m3", pending=True)
    replied = Item(Speaker.AGENT, "One moment.", "m2")
    assert find_turn([said, replied], Bookmark()).answered
    assert not find_turn([said, replied, open_call], Bookmark()).answered
    assert not find_turn([said, Item(Speaker.OTHER, "", "m2")], Bookmark()).answered


# -- a human gets the chat -----------------------------------------------------------------------------------------

NOOR = "Noor answers you here."
CALL = Item(Speaker.OTHER, id="c", escalates=True)
WITH_MESSAGE = Item(Speaker.OTHER, id="c", escalates=True, handoff=NOOR)


def agent(words: str, id_: str = "a") -> Item:
    return Item(Speaker.AGENT, words, id_)


@pytest.mark.parametrize(
    ("items", "left"),
    [
        ([], ""),
        ([agent("One moment.")], ""),
        ([CALL], ""),
        ([agent("One moment."), CALL], ""),
        ([CALL, agent(NOOR)], None),
        ([WITH_MESSAGE], NOOR),
        ([agent("One moment."), WITH_MESSAGE], NOOR),
        ([WITH_MESSAGE, agent("One moment.")], NOOR),
        ([WITH_MESSAGE, agent(f"Sure!\n{NOOR}")], None),
        ([agent("Noor  answers you here."), WITH_MESSAGE], None),
    ],
)
def test_what_a_person_must_still_read_is_told_by_the_answer(items: list[Item], left: str | None) -> None:
    assert handoff(items) == left


OLD = [Item(Speaker.USER, "hi", "m1"), agent("Hello!", "m2")]


@pytest.mark.parametrize(
    ("new", "left"),
    [
        ([], ""),
        ([WITH_MESSAGE], NOOR),
        ([agent("Hold on.", "m3")], "Hold on."),
        ([agent("Hold on.", "m3"), WITH_MESSAGE], f"Hold on.\n{NOOR}"),
        ([WITH_MESSAGE, agent(NOOR, "m3")], NOOR),
        ([Item(Speaker.USER, "and?", "m3"), agent("Hold on.", "m4")], ""),
    ],
)
def test_what_a_person_must_still_read_is_told_by_the_chat(new: list[Item], left: str) -> None:
    assert unread_handoff([*OLD, *new], bookmark(OLD)) == left
    assert unread_handoff(None, bookmark(OLD)) == ""


@given(TURNS, TURNS, st.booleans())
def test_a_bookmark_moves_behind_what_came_in_no_answer(
    before: list[tuple[str, list[Item]]], more: list[tuple[str, list[Item]]], ids: bool
) -> None:
    old, now = chat(before, ids=ids), chat([*before, *more], ids=ids)
    assert at_the_end(now, bookmark(old)) == bookmark(now)
    assert at_the_end(None, bookmark(now)) == bookmark(now)


def test_a_bookmark_stays_where_the_chat_hides_a_part() -> None:
    items = chat([("one", []), ("two", []), ("three", [])], ids=True)
    assert at_the_end(items[2:], bookmark(items)) == bookmark(items)
