"""The metrics for Prometheus: sent texts, waiting work, failures and open circuits.

Several processes do the work, and any web process may answer. So no process counts anything: each answer reads the
tables, and all answers agree. No query reads the history. Partial indexes find waiting and failed work, and the rows of
the senders hold the totals of sent texts.

No label holds a full phone number. ``bridge.web.prometheus`` decides who may read them.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.models import InboundCursor
from bridge.lib.phone import masked
from bridge.outbound import rate_limiter
from bridge.queues import answer_times, circuit_breakers, conversation_queue, pause, task_errors
from bridge.queues.answer_times import MORE, Which
from bridge.queues.conversation_queue import DELIVERIES, TURNS
from bridge.runtime import Runtime
from bridge.web.queries import failures
from bridge.web.queries.failures import Kind

FOR_EVER = timedelta(days=365)
"""What is shown for a job that has never run."""

QUEUES = {"turns": TURNS, "deliveries": DELIVERIES}


class Tables:
    """The collector. It reads the tables each time, and may raise one of :data:`bridge.db.engine.AWAY`."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt

    def collect(self) -> list[Metric]:
        now = self._rt.now()
        with self._rt.database.read() as session:
            metrics = [*_sent(session), *_waiting(session, now), *_failed(session)]
            metrics += _not_answered(session, self._rt.settings)
            metrics += [_failing(session, now), _open_circuits(session), _paused(session)]
            return [*metrics, *_times(session), *_caught_up(session, self._rt.settings, now)]


def build_registry(rt: Runtime) -> CollectorRegistry:
    """Build our own registry. The library's global one describes one process, not the bridge."""
    registry = CollectorRegistry()
    registry.register(Tables(rt))
    return registry


def _sent(session: Session) -> tuple[Metric, ...]:
    """Return the totals of each sender. Senders with the same masked name count as one."""
    counted: Counter[str] = Counter()
    billed: Counter[str] = Counter()
    for total in rate_limiter.totals(session):
        counted[masked(total.sender)] += total.texts
        billed[masked(total.sender)] += total.segments
    texts = CounterMetricFamily("bridge_texts", "Texts that got a slot to be sent.", labels=["sender"])
    segments = CounterMetricFamily("bridge_segments", "Segments of these texts, by our count.", labels=["sender"])
    for family, numbers in ((texts, counted), (segments, billed)):
        for sender, number in sorted(numbers.items()):
            family.add_metric([sender], number)
    return texts, segments


def _waiting(session: Session, now: datetime) -> tuple[Metric, ...]:
    waiting = GaugeMetricFamily("bridge_waiting", "Conversation queues that are due and not leased.", labels=["queue"])
    for name, each in QUEUES.items():
        waiting.add_metric([name], conversation_queue.count_due(session, each, now))
    oldest = conversation_queue.oldest_due(session, now)
    seconds = (now - oldest).total_seconds() if oldest else 0.0
    return waiting, GaugeMetricFamily(
        "bridge_oldest_waiting_seconds", "Seconds for which the oldest of them is due; 0: there is none.", value=seconds
    )


def _failed(session: Session) -> tuple[Metric, ...]:
    counts = failures.count(session)
    given_up = GaugeMetricFamily(
        "bridge_given_up",
        "Turns, texts and notices to the team that were given up, and contacts that can't be changed.",
        labels=["kind"],
    )
    given_up.add_metric([Kind.TURN.value], counts.turns)
    given_up.add_metric([Kind.MESSAGE.value], counts.not_sent)
    given_up.add_metric([Kind.CONTACT.value], counts.contacts)
    given_up.add_metric([Kind.NOTICE.value], counts.notices)
    not_delivered = GaugeMetricFamily(
        "bridge_not_delivered", "Texts that the carrier accepted and did not deliver.", value=counts.not_delivered
    )
    ignored = GaugeMetricFamily(
        "bridge_ignored", "Texts of people that were ignored because of a limit.", value=counts.ignored
    )
    unanswerable = GaugeMetricFamily(
        "bridge_unanswerable", "Texts from senders that can't receive an answer.", value=counts.unanswerable
    )
    not_erased = GaugeMetricFamily(
        "bridge_not_erased",
        "Chats and texts of forgotten people whose deletion at the provider was given up.",
        value=failures.count_not_erased(session),
    )
    return given_up, not_delivered, ignored, unanswerable, not_erased


def _not_answered(session: Session, settings: Settings) -> tuple[Metric, ...]:
    with_human = GaugeMetricFamily(
        "bridge_with_human",
        "Conversations that a human at the agent's provider has.",
        value=failures.count_with_human(session),
    )
    waiting = GaugeMetricFamily(
        "bridge_waiting_for_team",
        "Conversations that wait for somebody of the team.",
        value=failures.count_waiting(session),
    )
    silent = GaugeMetricFamily(
        "bridge_silent",
        "Conversations in which the agent gave no word in the last SILENT_TURNS turns.",
        value=failures.count_silent(session, settings),
    )
    return with_human, waiting, silent


def _failing(session: Session, now: datetime) -> Metric:
    failing = GaugeMetricFamily(
        "bridge_failing_tasks", "Conversations in which a task fails again and again.", labels=["task"]
    )
    for task, number in sorted(task_errors.count(session, now).items()):
        failing.add_metric([task], number)
    return failing


def _open_circuits(session: Session) -> Metric:
    open_circuits = GaugeMetricFamily(
        "bridge_circuit_open", "1: the circuit of this provider, agent or sender is open.", labels=["scope"]
    )
    for scope in sorted({breaker.scope for breaker in circuit_breakers.open_circuits(session)}):
        open_circuits.add_metric([scope], 1)
    return open_circuits


def _paused(session: Session) -> Metric:
    value = 1 if pause.read(session) else 0
    return GaugeMetricFamily("bridge_paused", "1: an operator keeps all agents still.", value=value)


TIMES = {
    Which.ANSWER: ("bridge_answer_seconds", "From a person's text to the carrier's acceptance of the first text back."),
    Which.ADDED: (
        "bridge_added_seconds",
        "The part of it in which the text was due, and the bridge waited for no provider.",
    ),
}


def _times(session: Session) -> list[Metric]:
    """Return the histograms. Prometheus wants each bucket with all that is below it."""
    shown: list[Metric] = []
    for which, buckets in answer_times.read(session).items():
        below, cumulative = 0, []
        for up_to, bucket in buckets.items():
            below += bucket.texts
            cumulative.append(("+Inf" if up_to == MORE else str(up_to / 1000), below))
        total = sum(bucket.milliseconds for bucket in buckets.values()) / 1000
        shown.append(HistogramMetricFamily(*TIMES[which], buckets=cumulative, sum_value=total))
    return shown


def _caught_up(session: Session, settings: Settings, now: datetime) -> list[Metric]:
    """Return how long ago catch-up has last read: the one trace of a clock that runs. Without numbers it has none."""
    if not settings.twilio_numbers:
        return []
    latest = session.scalar(select(func.max(InboundCursor.read_until)))
    ago = now - latest if latest else timedelta.max
    return [
        GaugeMetricFamily(
            "bridge_catch_up_seconds",
            "Seconds since catch-up, a job of the clock, has last read the list of texts.",
            value=min(ago, FOR_EVER).total_seconds(),
        )
    ]
