"""Reading a chat after an unknown outcome: pure, so it is tried with every chat that can be thought of."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.agents.contract import Item, Speaker
from bridge.providers.agents.transcript import HIDDEN, NOT_RECEIVED, Bookmark, advance, bookmark, find_turn

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
        stands = advance(stands, found.answer)
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


def test_an_answer_counts_only_without_an_open_tool_call() -> None:
    said = Item(Speaker.USER, "hi", "m1")
    open_call = Item(Speaker.OTHER, "", "m3", pending=True)
    replied = Item(Speaker.AGENT, "One moment.", "m2")
    assert find_turn([said, replied], Bookmark()).answered
    assert not find_turn([said, replied, open_call], Bookmark()).answered
    assert not find_turn([said, Item(Speaker.OTHER, "", "m2")], Bookmark()).answered
