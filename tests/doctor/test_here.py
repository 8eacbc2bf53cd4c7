"""What the doctor checks without a provider: settings, database, processes, broker and clocks; and how it reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from bridge import __version__
from bridge.db import migrate, revisions
from bridge.db.engine import build_engine
from bridge.db.models import InboundCursor, Worker
from bridge.doctor import report
from bridge.doctor.broker import broker
from bridge.doctor.clocks import judged, providers
from bridge.doctor.context import BrokerAway, Context, Pong
from bridge.doctor.database import database
from bridge.doctor.findings import Finding, Mark, fault, ok, warning
from bridge.doctor.processes import clock, workers
from bridge.doctor.run import CHECKS, examine
from bridge.doctor.settings import settings
from tests.doctor.conftest import MakeDoctor, told
from tests.vendor import Vendor, closed_port, vendor

NUMBER = "+15550001111"
LOCAL = "PUBLIC_URL is an address of this machine or its network, which Twilio can't reach."
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


# -- settings ------------------------------------------------------------------------------------------------------


def test_complete_settings_are_told_in_one_finding(doctor: MakeDoctor) -> None:
    its = doctor(twilio_numbers=NUMBER, admin_token="t" * 20)
    assert its.finds(settings) == [(Mark.OK, "are complete.")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"public_url": "http://127.0.0.1:8000"}, LOCAL),
        ({"public_url": "http://localhost:8000"}, LOCAL),
        ({"public_url": "http://10.0.0.7"}, LOCAL),
        ({"public_url": "http://sms.example.com"}, "PUBLIC_URL has no https, so texts cross the network in the clear."),
        ({"twilio_numbers": ""}, "TWILIO_NUMBERS is empty: texts that came while the bridge was away are not fetched"),
        ({"admin_token": None}, "no ADMIN_TOKEN is set, so /admin and /console are closed. Set ADMIN_TOKEN."),
    ],
)
def test_settings_that_are_valid_and_unwise_are_told(doctor: MakeDoctor, changed: dict[str, str], words: str) -> None:
    [(mark, found)] = doctor(**{"twilio_numbers": NUMBER, "admin_token": "t" * 20, **changed}).finds(settings)
    assert mark == Mark.WARNING
    assert found.startswith(words)


# -- database ------------------------------------------------------------------------------------------------------


def test_a_database_at_the_newest_migration_is_well(doctor: MakeDoctor, bare_database_url: str) -> None:
    migrate.upgrade(bare_database_url)
    [first, *clocks] = doctor(database_url=bare_database_url).finds(database)
    kind = bare_database_url.partition("+")[0].partition(":")[0]
    assert first == (Mark.OK, f"{kind} answers, and is at the newest migration.")
    assert clocks == ([] if kind == "sqlite" else [(Mark.OK, "the clock of the database agrees with ours.")])


def test_a_missing_migration_is_told(doctor: MakeDoctor, database_url: str) -> None:
    """These tables were not made by a migration."""
    first, *_ = doctor(database_url=database_url).finds(database)
    assert first == (
        Mark.FAULT,
        f"is not at the newest migration, which is {revisions.head()}. "
        "Run: bridge db upgrade (bridge up does so itself).",
    )


def test_a_file_that_is_not_there_is_told_and_not_made(doctor: MakeDoctor, tmp_path: Path) -> None:
    its = doctor(database_url=f"sqlite:///{tmp_path}/bridge.sqlite3")
    [(mark, words)] = its.finds(database)
    assert (mark, words.split(". ")[0]) == (Mark.FAULT, "the file bridge.sqlite3 is not there yet")
    assert its.finds(workers) == [(Mark.WARNING, "its heartbeat can't be read. Repair the database first.")]
    assert its.finds(clock) == [(Mark.WARNING, "its traces can't be read. Repair the database first.")]
    assert [*tmp_path.iterdir()] == []


def test_a_database_that_is_away_is_told_without_its_password(doctor: MakeDoctor) -> None:
    url = f"postgresql://somebody:not-to-be-shown@127.0.0.1:{closed_port()}/bridge"
    [(mark, words)] = doctor(database_url=url).finds(database)
    assert mark == Mark.FAULT
    assert words.startswith("can't be used: ")
    assert words.endswith("Check DATABASE_URL, and whether the server runs.")
    assert "not-to-be-shown" not in words


# -- processes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "mark"), [(5, Mark.OK), (30, Mark.FAULT), (None, Mark.FAULT)])
def test_a_worker_counts_by_its_heartbeat(doctor: MakeDoctor, database_url: str, age: int | None, mark: Mark) -> None:
    if age is not None:
        store(database_url, insert(Worker).values(id="w", last_heartbeat_at=datetime.now(UTC) - timedelta(seconds=age)))
    [(found, words)] = doctor(database_url=database_url).finds(workers)
    assert (found, words.split(".")[0]) == (
        mark,
        "1 alive" if mark == Mark.OK else "none is alive, so no text is answered",
    )


@pytest.mark.parametrize(
    ("age", "mark", "words"),
    [
        (1, Mark.OK, "catch-up, one of its jobs, has run within the last minutes."),
        (50, Mark.FAULT, "catch-up, a job of the clock, has read nothing for 50 minutes. Start the bridge"),
        (200, Mark.FAULT, "catch-up, a job of the clock, has read nothing for 3 hours. Start the bridge"),
        (None, Mark.FAULT, "catch-up, a job of the clock, has never read Twilio's list of texts. Start the bridge"),
    ],
)
def test_the_clock_is_known_by_the_cursor_of_catch_up(
    doctor: MakeDoctor, database_url: str, age: int | None, mark: Mark, words: str
) -> None:
    if age is not None:
        then = datetime.now(UTC) - timedelta(minutes=age, seconds=5)
        store(database_url, insert(InboundCursor).values(bridge_number=NUMBER, read_until=then))
    [(found, told)] = doctor(database_url=database_url, twilio_numbers=NUMBER).finds(clock)
    assert found == mark
    assert told.startswith(words)


def test_a_clock_without_numbers_leaves_no_trace(doctor: MakeDoctor, sqlite_url: str) -> None:
    [found] = doctor(database_url=sqlite_url).finds(clock)
    assert found == (Mark.WARNING, "leaves no trace without TWILIO_NUMBERS. Set TWILIO_NUMBERS.")


def store(url: str, statement: object) -> None:
    engine = build_engine(url)
    with engine.begin() as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    engine.dispose()


# -- broker --------------------------------------------------------------------------------------------------------


def test_no_broker_fits_bridge_up(doctor: MakeDoctor) -> None:
    assert doctor().finds(broker) == [(Mark.OK, "none is set, as bridge up wants it.")]


def test_a_call_that_came_back_is_well(doctor: MakeDoctor) -> None:
    found = doctor().finds(broker, ping=lambda: Pong(NOW, __version__), now=lambda: NOW)
    assert found == [
        (Mark.OK, "a call has reached a worker and come back in 0.0 s."),
        (Mark.OK, "the clock of a worker agrees with ours."),
    ]


def test_a_worker_of_another_version_is_told(doctor: MakeDoctor) -> None:
    found, _ = doctor().finds(broker, ping=lambda: Pong(NOW, "0.0.1"), now=lambda: NOW)
    words = f"a worker answers, of version 0.0.1; this is {__version__}. Restart the processes with one version."
    assert found == (Mark.WARNING, words)


def test_a_broker_without_a_worker_is_told(doctor: MakeDoctor) -> None:
    assert doctor().finds(broker, ping=lambda: None) == [
        (
            Mark.FAULT,
            "takes a call, but no worker has answered it in time. "
            "Start a worker with this broker: see worker in the Procfile.",
        )
    ]


def test_a_broker_that_is_away_is_told(doctor: MakeDoctor) -> None:
    def ping() -> Pong | None:
        raise BrokerAway("OperationalError")

    words = "can't be used: OperationalError. Check CELERY_BROKER_URL and whether the broker runs."
    assert doctor().finds(broker, ping=ping) == [(Mark.FAULT, words)]


# -- clocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "unsure", "mark", "words"),
    [
        (0.9, 0, Mark.OK, "the clock of a worker agrees with ours."),
        (3, 0, Mark.WARNING, "the clock of a worker is 3.0 s ahead of ours. Synchronize the clocks"),
        (-3, 0, Mark.WARNING, "the clock of a worker is 3.0 s behind ours. Synchronize the clocks"),
        (3, 2.5, Mark.OK, "the clock of a worker agrees with ours."),
        (-60, 0.5, Mark.FAULT, "the clock of a worker is 60.0 s behind ours. Synchronize the clocks"),
    ],
)
def test_the_difference_of_a_clock_is_judged(ahead: float, unsure: float, mark: Mark, words: str) -> None:
    found = told(judged("a worker", timedelta(seconds=ahead), unsure=timedelta(seconds=unsure)))
    assert found[0] == mark
    assert found[1].startswith(words)


@pytest.fixture
def provider() -> Iterator[Vendor]:
    with vendor() as server:
        yield server


def test_the_clocks_of_providers_are_read_from_their_answers(doctor: MakeDoctor, provider: Vendor) -> None:
    for _ in range(2):
        provider.says(404, {})
    found = doctor(twilio_api_base_url=provider.address, retell_base_url=provider.address).finds(providers)
    assert found == [
        (Mark.OK, "the clock of Twilio agrees with ours."),
        (Mark.OK, "the clock of Retell agrees with ours."),
    ]
    assert [each.headers.get("Authorization") for each in provider.asked] == [None, None]


def test_a_machine_with_the_wrong_time_is_told(doctor: MakeDoctor, provider: Vendor) -> None:
    for _ in range(2):
        provider.says(404, {})
    wrong = datetime.now(UTC) + timedelta(minutes=10)
    its = doctor(twilio_api_base_url=provider.address, retell_base_url=provider.address)
    found = its.finds(providers, now=lambda: wrong)
    assert [mark for mark, _ in found] == [Mark.FAULT, Mark.FAULT]
    assert "behind ours" in found[0][1]


def test_a_provider_that_is_away_has_no_clock(doctor: MakeDoctor) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    assert doctor(twilio_api_base_url=nobody, retell_base_url=nobody).finds(providers) == []


# -- all checks, and the report ------------------------------------------------------------------------------------


def test_findings_come_in_the_order_of_the_checks_and_not_of_their_ends(doctor: MakeDoctor) -> None:
    second = threading.Event()

    def slow(context: Context) -> Sequence[Finding]:
        assert second.wait(10)
        return [ok("slow", "has waited")]

    def fast(context: Context) -> Sequence[Finding]:
        second.set()
        return [ok("fast", "is done")]

    found = examine(doctor().context, {"slow": slow, "fast": fast})
    assert [each.subject for each in found] == ["slow", "fast"]


def test_a_check_that_is_not_done_in_time_is_a_fault_and_does_not_stop_the_others(doctor: MakeDoctor) -> None:
    never = threading.Event()

    def hangs(context: Context) -> Sequence[Finding]:
        never.wait(10)
        return []

    found = examine(doctor().context, {"hangs": hangs, "fast": lambda _: [ok("fast", "is done")]}, limit=0.2)
    never.set()
    assert found == [
        fault("hangs", "no result within 0.2 s", "Check the network, then try again.", code="check-late"),
        ok("fast", "is done"),
    ]


def test_a_bug_of_a_check_is_a_fault_without_its_words(doctor: MakeDoctor) -> None:
    def broken(context: Context) -> Sequence[Finding]:
        raise ValueError("+15551230001")

    [found] = examine(doctor().context, {"broken": broken})
    assert told(found) == (Mark.FAULT, "its check has failed: ValueError. This is a bug of the bridge.")


def test_every_subject_has_its_check() -> None:
    assert [*CHECKS] == ["settings", "database", "encryption", "broker", "worker", "clock", "time", "PUBLIC_URL"]


FOUND = [
    ok("settings", "are complete"),
    warning("clock", "is late", "Start it.", code="c"),
    fault("PUBLIC_URL", "is away", "Set it.", code="u"),
]


def test_a_report_has_one_line_for_each_finding() -> None:
    assert report.as_text(FOUND).splitlines() == [
        "✓ settings    are complete.",
        "! clock       is late. Start it.",
        "✗ PUBLIC_URL  is away. Set it.",
        "",
        "1 fault, 1 warning.",
    ]
    assert report.as_text(FOUND[:1]).splitlines()[-1] == "All is well."


def test_a_report_for_programs_has_the_same() -> None:
    read = json.loads(report.as_json(FOUND))
    assert (read["faults"], read["warnings"]) == (1, 1)
    assert read["findings"][2] == {
        "subject": "PUBLIC_URL",
        "mark": "fault",
        "words": "is away",
        "remedy": "Set it.",
        "code": "u",
    }
