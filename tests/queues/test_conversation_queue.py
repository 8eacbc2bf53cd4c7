"""The conversation queue: only the worker with the newest lease may settle it, however late another one is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from bridge.db.engine import Sessions
from bridge.db.models import Conversation
from bridge.db.transaction import Transaction
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import (
    DELIVERIES,
    TURNS,
    Lease,
    LeaseLost,
)
from bridge.queues.timing import LONGEST_BACKOFF, LONGEST_RETRY_AFTER, backoff
from tests.databases import transaction

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)


@pytest.fixture
def conversation(sessions: Sessions) -> int:
    with sessions.begin() as session:
        row = Conversation(bridge_number="+1", phone="+2", created_at=NOW, turn_due_at=NOW)
        session.add(row)
        session.flush()
        return row.id


def claim(sessions: Sessions, conversation: int, worker: str, now: datetime = NOW) -> Lease | None:
    with transaction(sessions, now) as tx:
        return conversation_queue.claim(tx, TURNS, conversation, worker=worker, lease_for=LEASE)


def test_a_queue_is_claimed_once(sessions: Sessions, conversation: int) -> None:
    assert claim(sessions, conversation, "a")
    assert claim(sessions, conversation, "b") is None


def test_a_queue_that_is_not_due_is_not_claimed(sessions: Sessions, conversation: int) -> None:
    assert claim(sessions, conversation, "a", NOW - timedelta(seconds=1)) is None


def test_the_two_queues_of_a_conversation_are_independent(sessions: Sessions, conversation: int) -> None:
    with transaction(sessions, NOW) as tx:
        assert conversation_queue.claim(tx, DELIVERIES, conversation, worker="a", lease_for=LEASE) is None
    assert claim(sessions, conversation, "a")


@pytest.mark.parametrize("second", ["a", "b"])
def test_a_lease_that_ended_is_lost_once_another_claim_has_come(
    sessions: Sessions, conversation: int, second: str
) -> None:
    """Also if the other claim is of the same worker."""
    late = claim(sessions, conversation, "a")
    newer = claim(sessions, conversation, second, NOW + 2 * LEASE)
    assert late and newer
    for change in (
        conversation_queue.verify_lease,
        conversation_queue.settle,
        lambda tx, lease: conversation_queue.postpone(tx, lease, NOW),
    ):
        with pytest.raises(LeaseLost), transaction(sessions, NOW) as tx:
            change(tx, late)
    with transaction(sessions, NOW) as tx:
        conversation_queue.settle(tx, newer)


def test_a_lease_can_be_ended_once(sessions: Sessions, conversation: int) -> None:
    """A commit with an unknown outcome is run again: the second time it must not count."""
    mine = claim(sessions, conversation, "a")
    assert mine
    with transaction(sessions, NOW) as tx:
        conversation_queue.postpone(tx, mine, NOW)
    with pytest.raises(LeaseLost), transaction(sessions, NOW) as tx:
        conversation_queue.settle(tx, mine)


def test_an_empty_queue_is_due_no_more(sessions: Sessions, conversation: int) -> None:
    mine = claim(sessions, conversation, "a")
    assert mine
    with transaction(sessions, NOW) as tx:
        assert not conversation_queue.settle(tx, mine)
        assert tx.session.scalar(select(Conversation.turn_due_at)) is None


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6))
def test_a_backoff_grows_to_its_limit_and_respects_a_providers_retry_after_within_reason(
    attempts: int, retry_after: float | None
) -> None:
    seconds = backoff(attempts, retry_after).total_seconds()
    assert backoff(attempts) <= backoff(attempts + 1) <= timedelta(seconds=LONGEST_BACKOFF)
    assert seconds >= min(retry_after or 0, LONGEST_RETRY_AFTER) - 1e-5
    assert 1 <= seconds <= max(LONGEST_BACKOFF, LONGEST_RETRY_AFTER)


@pytest.mark.parametrize("waited", [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
def test_the_queue_that_has_waited_longest_is_notified_first(sessions: Sessions, waited: tuple[int, ...]) -> None:
    with sessions.begin() as session:
        for n, seconds in enumerate(waited):
            due = NOW - timedelta(seconds=seconds)
            session.add(Conversation(bridge_number="+1", phone=f"+{n}", created_at=NOW, turn_due_at=due))
        session.flush()
        woken = conversation_queue.find_unnotified(session, TURNS, 10, NOW)
        phones = dict(session.execute(select(Conversation.id, Conversation.phone)).all())
    assert [phones[id_] for id_ in woken] == [f"+{waited.index(seconds)}" for seconds in (3, 2, 1)]


def test_queues_of_which_a_worker_was_told_in_vain_come_back_a_few_at_a_time(sessions: Sessions) -> None:
    """As behind an open circuit: those queues are due for longer than all others, and each was notified."""
    with sessions.begin() as session:
        for n in range(5):
            told = NOW - timedelta(seconds=30 + n)
            due = NOW - timedelta(hours=1, seconds=n)
            session.add(
                Conversation(bridge_number="+1", phone=f"+{n}", created_at=NOW, turn_due_at=due, turn_notified_at=told)
            )
        session.add(Conversation(bridge_number="+1", phone="+new", created_at=NOW, turn_due_at=NOW))
        session.flush()
        phones = dict(session.execute(select(Conversation.id, Conversation.phone)).all())
        found = []
        for _ in range(3):
            found.append([phones[id_] for id_ in conversation_queue.find_unnotified(session, TURNS, 10, NOW)])
            conversation_queue.forget_lost(Transaction(session.connection(), sessions, NOW), TURNS, 1)
    assert found == [["+new"], ["+4", "+new"], ["+4", "+3", "+new"]]
