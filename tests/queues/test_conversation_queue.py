"""The waiting line: who holds a claim may settle it, and nobody else, however late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.db.engine import Sessions
from bridge.db.models import Conversation
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import (
    DELIVERIES,
    LONGEST_BACKOFF,
    LONGEST_RETRY_AFTER,
    TURNS,
    Lease,
    LeaseLost,
    backoff,
)

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)


@pytest.fixture
def conversation(sessions: Sessions) -> int:
    with sessions.begin() as session:
        row = Conversation(bridge_number="+1", phone="+2", created_at=NOW, turn_due_at=NOW)
        session.add(row)
        session.flush()
        return row.id


def claim(session: Session, conversation: int, worker: str, now: datetime = NOW) -> Lease | None:
    return conversation_queue.claim(session, TURNS, conversation, worker=worker, now=now, lease_for=LEASE)


def test_a_line_is_claimed_once(sessions: Sessions, conversation: int) -> None:
    with sessions.begin() as session:
        assert claim(session, conversation, "a")
        assert claim(session, conversation, "b") is None


def test_a_line_that_is_not_due_is_not_claimed(sessions: Sessions, conversation: int) -> None:
    with sessions.begin() as session:
        assert claim(session, conversation, "a", NOW - timedelta(seconds=1)) is None


def test_the_two_lines_of_a_conversation_do_not_know_each_other(sessions: Sessions, conversation: int) -> None:
    with sessions.begin() as session:
        assert conversation_queue.claim(session, DELIVERIES, conversation, worker="a", now=NOW, lease_for=LEASE) is None
        assert claim(session, conversation, "a")


@pytest.mark.parametrize("second", ["a", "b"])
def test_a_claim_whose_booking_ended_is_worth_nothing_once_another_has_claimed(
    sessions: Sessions, conversation: int, second: str
) -> None:
    """Not even when the other one is the same worker."""
    with sessions.begin() as session:
        late = claim(session, conversation, "a")
        newer = claim(session, conversation, second, NOW + 2 * LEASE)
    assert late and newer
    for change in (
        conversation_queue.verify_lease,
        lambda s, c: conversation_queue.settle(s, c, NOW),
        lambda s, c: conversation_queue.postpone(s, c, NOW),
    ):
        with pytest.raises(LeaseLost), sessions.begin() as session:
            change(session, late)
    with sessions.begin() as session:
        conversation_queue.settle(session, newer, NOW)


def test_a_claim_can_be_let_go_of_once(sessions: Sessions, conversation: int) -> None:
    """A commit with an unknown outcome is run again: the second time it must not count."""
    with sessions.begin() as session:
        mine = claim(session, conversation, "a")
        assert mine
        conversation_queue.postpone(session, mine, NOW)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        conversation_queue.settle(session, mine, NOW)


def test_an_empty_line_is_due_no_more(sessions: Sessions, conversation: int) -> None:
    with sessions.begin() as session:
        mine = claim(session, conversation, "a")
        assert mine
        conversation_queue.settle(session, mine, NOW)
        assert session.scalar(select(Conversation.turn_due_at)) is None


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6))
def test_a_pause_grows_to_its_limit_and_respects_what_a_vendor_asks_for_within_reason(
    attempts: int, retry_after: float | None
) -> None:
    seconds = backoff(attempts, retry_after).total_seconds()
    assert backoff(attempts) <= backoff(attempts + 1) <= timedelta(seconds=LONGEST_BACKOFF)
    assert seconds >= min(retry_after or 0, LONGEST_RETRY_AFTER) - 1e-5
    assert 1 <= seconds <= max(LONGEST_BACKOFF, LONGEST_RETRY_AFTER)


@pytest.mark.parametrize("waited", [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
def test_who_has_waited_longest_is_rung_for_first(sessions: Sessions, waited: tuple[int, ...]) -> None:
    with sessions.begin() as session:
        for n, seconds in enumerate(waited):
            due = NOW - timedelta(seconds=seconds)
            session.add(Conversation(bridge_number="+1", phone=f"+{n}", created_at=NOW, turn_due_at=due))
        session.flush()
        woken = conversation_queue.find_unnotified(session, TURNS, NOW, 10)
        phones = dict(session.execute(select(Conversation.id, Conversation.phone)).all())
    assert [phones[id_] for id_ in woken] == [f"+{waited.index(seconds)}" for seconds in (3, 2, 1)]


def test_lines_that_are_rung_for_again_and_again_do_not_keep_out_others(sessions: Sessions) -> None:
    """As those do whose vendor is on hold: they are due for longer than all others, and each was told."""
    with sessions.begin() as session:
        for n in range(5):
            told = NOW - timedelta(seconds=30 + n)
            due = NOW - timedelta(hours=1)
            session.add(
                Conversation(bridge_number="+1", phone=f"+{n}", created_at=NOW, turn_due_at=due, turn_notified_at=told)
            )
        session.add(Conversation(bridge_number="+1", phone="+new", created_at=NOW, turn_due_at=NOW))
        session.flush()
        phones = dict(session.execute(select(Conversation.id, Conversation.phone)).all())
        woken = [phones[conversation_queue.find_unnotified(session, TURNS, NOW, 1)[0]] for _ in range(3)]
    assert woken == ["+new", "+4", "+3"]
