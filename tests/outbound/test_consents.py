"""The consent record: each change of an opt-out is proved, in the transaction of the change."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge.db import migrate
from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import Audit, Consent, OptOut
from bridge.db.transaction import Sessions
from bridge.operators import consent_exports
from bridge.outbound import consents, opt_outs
from bridge.outbound.consents import Evidence
from bridge.outbound.opt_outs import Reach
from bridge.providers.errors import Refused
from tests.databases import NOON, Unsteady, database, transaction
from tests.scene import ANN, BOB, NUMBER, Scene

REACH = Reach(ANN, NUMBER, None, everywhere=False)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def told(scene: Scene) -> list[tuple[bool, str, str, str]]:
    return [(row.wants_texts, row.cause, row.channel, row.words) for row in scene.rows(Consent)]


def test_a_stop_and_a_start_are_recorded_with_the_persons_words(scene: Scene) -> None:
    scene.text(" Stop ")
    scene.clock.tick(60)
    scene.text("START")
    assert told(scene) == [(False, "by text", "sms", " Stop "), (True, "by text", "sms", "START")]
    first, second = scene.rows(Consent)
    assert second.at - first.at == timedelta(seconds=60)
    assert {(row.phone, row.bridge_number, row.scope) for row in (first, second)} == {(ANN, NUMBER, NUMBER)}


def test_a_refusal_of_the_carrier_is_recorded_without_words(scene: Scene) -> None:
    scene.carrier.fail("send", Refused("opted out", provider="twilio", status=400, code=21610))
    scene.text("hello")
    scene.work_until_idle()
    assert told(scene) == [(False, opt_outs.BY_CARRIER, "sms", "")]


@pytest.mark.parametrize(("channel", "name"), [("", "sms"), ("rcs:", "rcs"), ("whatsapp:", "whatsapp")])
def test_the_channel_is_recorded(scene: Scene, channel: str, name: str) -> None:
    scene.text("STOP", channel + ANN, to=channel + NUMBER)
    assert [row.channel for row in scene.rows(Consent)] == [name]


def test_what_changes_nothing_is_not_recorded(scene: Scene) -> None:
    for body in ("START", "hello", "HELP", "STOP", "STOP", "STOP"):
        scene.text(body)
    assert told(scene) == [(False, "by text", "sms", "STOP")]


def test_a_late_stop_that_a_start_has_overtaken_is_not_recorded(scene: Scene) -> None:
    late = scene.clock()
    scene.clock.tick(60)
    scene.text("START", sent_at=scene.clock())
    scene.text("STOP", sent_at=late)
    assert told(scene) == []


@pytest.mark.parametrize("done", [True, False])
def test_the_change_and_its_record_are_one_commit(scene: Scene, done: bool) -> None:
    unsteady = Unsteady()
    object.__setattr__(scene.rt, "database", database(scene.sessions, scene.clock, commit=unsteady.commit))
    unsteady.fails(times=1, done=done)
    with pytest.raises(DBAPIError):
        scene.text("STOP")
    assert len(scene.rows(Consent)) == len(scene.rows_of(OptOut)) == int(done)


def test_long_words_are_cut(sessions: Sessions) -> None:
    with transaction(sessions) as tx:
        opt_outs.record(tx, REACH, Evidence("by text", NOON, "sms", "s" * 10_000))
    with sessions() as session:
        assert [len(row.words) for row in session.query(Consent)] == [consents.LONGEST_WORDS]


@pytest.fixture
def migrated(bare_database_url: str) -> Iterator[Sessions]:
    migrate.upgrade(bare_database_url)
    engine = build_engine(bare_database_url)
    yield build_sessions(engine)
    engine.dispose()


def test_the_database_refuses_every_change_of_the_record(migrated: Sessions) -> None:
    with transaction(migrated) as tx:
        opt_outs.record(tx, REACH, Evidence("by text", NOON, "sms", "STOP"))
    for change in ("UPDATE consents SET words = 'START'", "DELETE FROM consents"):
        with pytest.raises(DBAPIError, match="never changed or deleted"), migrated.begin() as session:
            session.execute(text(change))
    with migrated() as session:
        assert [row.words for row in session.query(Consent)] == ["STOP"]


# -- the export ----------------------------------------------------------------------------------------------------


def test_the_record_is_exported_in_order_from_a_moment_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_exports, "PAGE", 2)
    for n in range(5):
        scene.text("STOP", f"+1555123{n:04}")
        scene.clock.tick(60)
    rows = list(consent_exports.export(scene.rt, "ana"))
    assert [row["phone"] for row in rows] == [f"+1555123{n:04}" for n in range(5)]
    later = list(consent_exports.export(scene.rt, "ana", rows[3]["recorded_at"]))
    assert [row["id"] for row in later] == [rows[3]["id"], rows[4]["id"]]
    written = io.StringIO()
    csv.DictWriter(written, consent_exports.COLUMNS).writerows(rows)
    assert written.getvalue().count("STOP") == 5


def test_an_export_of_the_record_is_in_the_audit(scene: Scene) -> None:
    scene.text("STOP", BOB)
    consent_exports.export(scene.rt, "ana")
    assert [(row.operator, row.action, row.subject) for row in scene.rows(Audit)] == [
        ("ana", "export", "consent record")
    ]
