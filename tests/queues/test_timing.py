"""Times that must keep an order, or two workers may work on one text."""

from __future__ import annotations

from datetime import timedelta

from bridge.config import Settings
from bridge.db.engine import PATIENCE
from bridge.providers.carriers.twilio.client import SEND_TIMEOUT as CARRIER_TIMEOUT
from bridge.providers.http.deadline import BEGIN_WITHIN, CONNECT_TIMEOUT
from bridge.queues.timing import (
    DELIVERY_LEASE,
    HEARTBEAT_EVERY,
    LIVE_FOR,
    MAX_CLOCK_SKEW,
    RENOTIFY_AFTER,
    STALLED_AFTER,
    TURN_LEASE_MARGIN,
)
from tests.fakes import fake_settings


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_a_request_of_a_halted_worker_has_begun_before_its_lease_goes_to_another_one() -> None:
    """The last moment to start one is that of the last heartbeat, and as long again as its first byte may take."""
    assert seconds(LIVE_FOR + BEGIN_WITHIN) + MAX_CLOCK_SKEW < STALLED_AFTER


def test_several_heartbeats_may_fail_before_a_worker_counts_as_stalled() -> None:
    assert 3 * HEARTBEAT_EVERY < LIVE_FOR < STALLED_AFTER.total_seconds()


def test_the_lease_of_a_turn_outlasts_two_answers_and_a_patient_commit() -> None:
    settings: Settings = fake_settings()
    lease = 2 * settings.agent_timeout + TURN_LEASE_MARGIN
    assert 2 * settings.agent_timeout + seconds(CONNECT_TIMEOUT + PATIENCE) < lease


def test_the_lease_of_a_delivery_outlasts_two_calls_and_a_patient_commit() -> None:
    assert seconds(2 * CARRIER_TIMEOUT + PATIENCE) < DELIVERY_LEASE


def test_a_lost_wake_up_is_repeated_before_anything_is_reported() -> None:
    assert seconds(60) > RENOTIFY_AFTER
