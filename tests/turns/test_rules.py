"""The decisions about one conversation, on values: when a turn simply begins, and when its answer is simply sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.chats.rows import OpenChat
from bridge.outbound.formatting.shape import Shaped, Sms
from bridge.providers.agents.transcript import Bookmark
from bridge.queues.timing import MAX_CLOCK_SKEW
from bridge.turns.rules import MAX_TEXTS, answers_counted, before_due, expiry, may_send, may_settle
from bridge.turns.store import DueQueue, Outlook, Snapshot, Text
from tests.databases import NOON
from tests.fakes import fake_settings

SETTINGS = fake_settings(turns_per_hour="5", turns_per_minute="", answer_within="4h")
ROUTE = SETTINGS.default_route
DUE = NOON - MAX_CLOCK_SKEW
"""When a queue is due that gets a text at noon."""
QUEUE = DueQueue(
    1, "+15550001111", "+15551230001", token=3, throttled=False, held=False, held_until=None, noted=False, due_at=DUE
)
CHAT = OpenChat(7, ROUTE.provider, ROUTE.agent_id, "chat_1", Bookmark())
PLAIN = Snapshot(
    QUEUE, (Text(1, "hello", NOON),), has_open_turn=False, has_history=True, recent=0, circuits=0, chat=CHAT
)
OUTLOOK = Outlook("+15550001111", 2, delivers_nothing=True, more=False, opted_out=False, circuits=0, drafts=False)
ONE = Shaped([Sms("fine", 1)])


def begins(**changes: Any) -> bool:
    return expiry(replace(PLAIN, **changes), SETTINGS, ROUTE, NOON) is not None


def waiting(number: int) -> tuple[Text, ...]:
    return tuple(Text(n, "hello", NOON) for n in range(number))


def test_a_text_in_an_open_chat_begins_a_turn() -> None:
    assert begins()


def test_a_text_without_a_chat_begins_one_too() -> None:
    assert begins(chat=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"has_open_turn": True},
        {"queue": replace(QUEUE, throttled=True)},
        {"queue": replace(QUEUE, held=True)},
        {"circuits": 1},
        {"texts": ()},
        {"texts": waiting(MAX_TEXTS + 1)},
        {"recent": 5},
        {"chat": replace(CHAT, failures=1)},
        {"chat": replace(CHAT, agent_id="agent_of_old")},
        {"chat": replace(CHAT, provider="uponai")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_else_is_decided_alone(changes: dict[str, Any]) -> None:
    assert not begins(**changes)


@given(st.lists(st.integers(-5 * 3600, 0), min_size=1, max_size=MAX_TEXTS))
def test_a_turn_expires_with_its_oldest_text_and_none_begins_with_an_expired_one(ages: list[int]) -> None:
    texts = tuple(Text(n, "hello", NOON + timedelta(seconds=age)) for n, age in enumerate(ages))
    ends = NOON + timedelta(seconds=min(ages)) + SETTINGS.answer_within
    assert expiry(replace(PLAIN, texts=texts), SETTINGS, ROUTE, NOON) == (ends if ends > NOON else None)


@pytest.mark.parametrize(("hour", "minute", "counted"), [("5", "", 5), ("500", "20", 20), ("", "", 0), ("3", "9", 3)])
def test_answers_are_counted_as_far_as_the_nearest_limit(hour: str, minute: str, counted: int) -> None:
    assert answers_counted(fake_settings(turns_per_hour=hour, turns_per_minute=minute)) == counted


def test_without_a_limit_no_number_of_answers_matters() -> None:
    free = fake_settings(turns_per_hour="", turns_per_minute="")
    assert expiry(replace(PLAIN, recent=1000), free, ROUTE, NOON)


@pytest.mark.parametrize(
    ("outlook", "shaped", "settles"),
    [
        (OUTLOOK, ONE, True),
        (OUTLOOK, Shaped([]), True),
        (replace(OUTLOOK, opted_out=True), ONE, False),
        (replace(OUTLOOK, opted_out=True), Shaped([]), True),
        (OUTLOOK, Shaped([Sms("fine", 1)], left_out=True), False),
        (replace(OUTLOOK, more=True), ONE, True),
    ],
)
def test_an_answer_is_settled_with_others_unless_something_must_be_told(
    outlook: Outlook, shaped: Shaped, settles: bool
) -> None:
    assert may_settle(outlook, shaped, SETTINGS) is settles


def test_a_person_who_may_still_be_typing_is_settled_alone() -> None:
    assert not may_settle(replace(OUTLOOK, more=True), ONE, fake_settings(reply_debounce="5s"))


@pytest.mark.parametrize(
    ("outlook", "shaped", "sends"),
    [
        (OUTLOOK, ONE, True),
        (OUTLOOK, Shaped([]), False),
        (replace(OUTLOOK, delivers_nothing=False), ONE, False),
        (replace(OUTLOOK, circuits=1), ONE, False),
    ],
)
def test_an_answer_is_sent_at_once_unless_something_is_before_it(outlook: Outlook, shaped: Shaped, sends: bool) -> None:
    assert may_send(outlook, shaped) is sends


# -- the time before a queue is due --------------------------------------------------------------------------------


def waited(due_at: datetime, *, debounced: bool = False) -> float:
    """The seconds for which a text of noon waited before its queue was due."""
    return before_due(replace(QUEUE, due_at=due_at, debounced=debounced), NOON)


def test_a_text_that_is_due_at_once_has_not_waited() -> None:
    assert waited(DUE) == 0


def test_a_text_waits_to_the_end_of_a_debounce() -> None:
    assert waited(NOON + timedelta(seconds=3), debounced=True) == 3


def test_a_text_waits_until_what_stopped_its_queue_is_over() -> None:
    """An answer to the text before it, or a person who had the conversation."""
    assert waited(DUE + timedelta(minutes=5)) == 300


def test_a_queue_that_was_due_before_its_text_came_is_none_that_waits() -> None:
    assert waited(DUE - timedelta(minutes=5)) == 0
    assert waited(NOON - timedelta(seconds=1), debounced=True) == 0
