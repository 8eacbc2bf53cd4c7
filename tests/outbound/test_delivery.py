"""The delivery, step by step: what goes to the carrier, when it goes again, and what the carrier's reports do."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bridge.db.engine import Sessions
from bridge.db.models import CircuitBreaker, Message, MessageStatus, OptOut
from bridge.lib.log import Field, fields_of
from bridge.outbound import receipts
from bridge.outbound.delivery.process import process_deliveries
from bridge.providers.carriers.contract import CarriedText, Delivery, OutgoingText, StatusReport
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.turns.process import process_turns
from tests.databases import Unsteady, database
from tests.fakes import FakeAgent, FakeCarrier
from tests.scene import ANN, BOB, NUMBER, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, agent=FakeAgent(lambda said: [f"{said} {n}" for n in (1, 2, 3)]))


ANSWERS = ["hi 1", "hi 2", "hi 3"]

UNKNOWN = [
    OutcomeUnknown("cut off", provider="twilio"),
    OutcomeUnknown("server fault", provider="twilio", status=500),
    OutcomeUnknown("no sid", provider="twilio", status=201),
]
NOT_TAKEN = [
    NotReached("refused", provider="twilio"),
    RateLimited("slow down", provider="twilio", status=429, code=20429),
    AccountRefused("no such token", provider="twilio", status=401, code=20003),
]


def outgoing(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


@pytest.mark.parametrize("error", NOT_TAKEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("times", [1, 3])
def test_what_was_surely_not_taken_is_sent_again_and_the_rest_waits_for_it(
    scene: Scene, error: RemoteError, times: int
) -> None:
    scene.text("hi")
    scene.carrier.fail("send", error, times=times)
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    assert "sent_to" not in [call for call, _ in scene.carrier.calls]


@pytest.mark.parametrize("error", UNKNOWN, ids=str)
@pytest.mark.parametrize("taken", [True, False])
def test_an_unknown_outcome_is_settled_by_the_carriers_list(scene: Scene, error: RemoteError, taken: bool) -> None:
    scene.text("hi")
    scene.carrier.fail("send", error, taken=taken, times=2)
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    assert len({row.carrier_id for row in outgoing(scene)}) == 3


def test_two_equal_texts_to_one_person_both_arrive_once(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["ok", "ok"]
    for taken in (True, False):
        scene.text("hi")
        scene.carrier.fail("send", UNKNOWN[0], taken=taken, times=2)
        scene.work_until_idle()
    assert scene.got() == ["ok"] * 4
    assert len({row.carrier_id for row in outgoing(scene)}) == 4


def from_elsewhere(scene: Scene, body: str) -> None:
    """The account texts the same person from the same number, and none of our rows knows of it."""
    pair = scene.carrier.accepted[0].text
    scene.carrier.send(replace(pair, reference="none of ours", body=body))


def test_a_text_that_only_ends_with_our_words_is_not_ours(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["ok"]
    scene.text("hi")
    scene.work()
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0])
    scene.wake()
    from_elsewhere(scene, "8 pm ok")
    scene.work_until_idle()
    assert scene.got() == ["ok", "8 pm ok", "ok"]
    assert [row.carrier_id for row in outgoing(scene)] == [scene.carrier.accepted[n].carried.id for n in (0, 2)]


class OnTrial(FakeCarrier):
    """Puts its prefix before every text, as Twilio does for an account that nobody pays for."""

    def send(self, text: OutgoingText) -> CarriedText:
        shown = replace(text, body=f"Sent from your Twilio trial account - {text.body}")
        return super().send(shown)


@pytest.mark.parametrize("said", ["ok", "8 pm ok", "two\nlines \n\n of it"])
def test_the_prefix_of_a_trial_account_does_not_hide_a_text_that_was_taken(scene: Scene, said: str) -> None:
    scene.carrier = OnTrial(now=scene.clock)
    scene.rt = replace(scene.rt, carrier=scene.carrier)
    scene.agent.answer = lambda _: [said]
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    scene.work_until_idle()
    [accepted] = scene.carrier.accepted
    assert [row.carrier_id for row in outgoing(scene)] == [accepted.carried.id]


def test_a_callback_settles_what_has_no_known_outcome(scene: Scene) -> None:
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    scene.wake()
    [accepted] = scene.carrier.accepted
    report = StatusReport(accepted.text.reference, accepted.carried.id, Delivery.SENT, ANN)
    assert receipts.report(scene.rt, report)
    scene.wake()  # nobody had to wait for the next look
    assert scene.got() == ANSWERS
    assert outgoing(scene)[0].delivery is Delivery.SENT
    assert "sent_to" not in [call for call, _ in scene.carrier.calls]


def test_what_is_still_on_its_way_is_not_sent_again(scene: Scene) -> None:
    """No answer came in time; the carrier takes the text later than that."""
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0])
    scene.work(seconds=40)
    assert [call for call, _ in scene.carrier.calls].count("send") == 1


def test_a_callback_before_a_failed_answer_does_not_leave_the_rest_waiting(scene: Scene) -> None:
    late = OutcomeUnknown("busy", provider="twilio", status=503, retry_after=3600)
    scene.carrier.fail("send", late, taken=True)

    def callback() -> None:
        [accepted] = scene.carrier.accepted
        receipts.report(scene.rt, StatusReport(accepted.text.reference, accepted.carried.id, Delivery.SENT, ANN))

    scene.text("hi")
    scene.carrier.in_next_call(callback)
    scene.work(seconds=5)
    assert scene.got() == ANSWERS
    assert outgoing(scene)[0].error is None


def test_an_answer_with_the_id_of_another_text_leaves_the_outcome_open(scene: Scene) -> None:
    class Mistaken(FakeCarrier):
        def send(self, text: OutgoingText) -> CarriedText:
            return replace(super().send(text), id="SM" + "1" * 32)

    scene.carrier = Mistaken(now=scene.clock)
    scene.rt = replace(scene.rt, carrier=scene.carrier)
    scene.text("hi")
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    assert {row.status for row in outgoing(scene)} == {MessageStatus.SENT}


def test_a_look_that_fails_is_repeated_and_nothing_is_sent_meanwhile(scene: Scene) -> None:
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    for error in (*UNKNOWN, *NOT_TAKEN, Refused("bad request", provider="twilio", status=400)):
        scene.carrier.fail("sent_to", error)
    scene.work_until_idle()
    assert scene.got() == ANSWERS


def test_a_refused_text_is_given_up_loudly_and_the_next_one_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.text("hi")
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    scene.work_until_idle()
    assert scene.got() == ANSWERS[1:]
    first = outgoing(scene)[0]
    assert (first.status, first.error_code) == (MessageStatus.GIVEN_UP, 21614)
    assert "given up" in caplog.text


def test_a_text_that_cannot_be_sent_in_time_is_given_up(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="5m")
    scene.text("hi")
    scene.carrier.fail("send", NOT_TAKEN[0], times=10_000)
    scene.work_until_idle()
    assert [row.status for row in outgoing(scene)] == [MessageStatus.GIVEN_UP]
    assert 290 < (outgoing(scene)[0].settled_at - outgoing(scene)[0].created_at).total_seconds() < 340


def test_a_text_of_which_nothing_can_be_found_out_is_given_up_and_a_late_report_still_counts(
    sessions: Sessions,
) -> None:
    scene = Scene(sessions, answer_within="5m")
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    scene.carrier.fail("sent_to", UNKNOWN[0], times=10_000)
    scene.work_until_idle()
    assert [row.status for row in outgoing(scene)] == [MessageStatus.GIVEN_UP]
    [accepted] = scene.carrier.accepted
    receipts.report(scene.rt, StatusReport(accepted.text.reference, accepted.carried.id, Delivery.DELIVERED, ANN))
    assert [row.status for row in outgoing(scene)] == [MessageStatus.SENT]
    assert scene.got() == ["You said: hi"]


def test_a_carrier_that_asks_to_wait_is_not_asked_sooner(scene: Scene) -> None:
    scene.text("hi")
    scene.carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, retry_after=90))
    scene.work(seconds=89)
    assert scene.got() == []
    scene.work(seconds=5)
    assert scene.got() == ANSWERS


def test_a_long_answer_is_sent_in_parts_and_in_order(scene: Scene) -> None:
    words = " ".join(f"word{n}" for n in range(600))
    scene.agent.answer = lambda said: [words]
    scene.text("hi")
    scene.work()
    assert len(scene.got()) > 1
    assert " ".join(scene.got()).split() == words.split()


def test_a_worker_that_was_halted_sends_nothing_any_more(scene: Scene) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    scene.rt.heartbeat.stopped = True
    process_deliveries(scene.rt, 1)
    assert scene.carrier.calls == []
    scene.restart()
    scene.work_until_idle()
    assert scene.got() == ANSWERS


@pytest.mark.parametrize("done", [True, False], ids=["committed", "rolled back"])
def test_what_was_taken_is_noted_without_a_look_by_a_database_that_fails_twice(scene: Scene, done: bool) -> None:
    """Also where the commit was carried out, and only its outcome was lost."""
    unsteady = Unsteady()
    base = database(scene.sessions, scene.clock, scene.notifier.wake, unsteady.commit)
    scene.rt = replace(scene.rt, database=base)
    scene.text("hi")
    scene.carrier.in_next_call(lambda: unsteady.fails(times=2, done=done))
    scene.wake()
    assert unsteady.left == 0
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    assert [row.attempts for row in outgoing(scene)] == [1, 1, 1]
    assert "sent_to" not in [call for call, _ in scene.carrier.calls]


# -- the record of each attempt ------------------------------------------------------------------------------------


def outcomes(caplog: pytest.LogCaptureFixture) -> list[Field]:
    """How the attempts at deliveries ended, as the log tells it."""
    told = [fields_of(record) for record in caplog.records if record.name.startswith("bridge.outbound.delivery")]
    return [fields["outcome"] for fields in told if "outcome" in fields]


@pytest.fixture
def unsteady(scene: Scene, caplog: pytest.LogCaptureFixture) -> Unsteady:
    caplog.set_level(logging.INFO, logger="bridge.outbound.delivery")
    unsteady = Unsteady()
    base = database(scene.sessions, scene.clock, scene.notifier.wake, unsteady.commit)
    scene.rt = replace(scene.rt, database=base)
    return unsteady


def test_an_attempt_that_a_callback_has_settled_is_told_once_whatever_its_commits_come_to(
    scene: Scene, unsteady: Unsteady, caplog: pytest.LogCaptureFixture
) -> None:
    scene.agent.answer = lambda said: ["ok"]
    scene.carrier.fail("send", UNKNOWN[1], taken=True)

    def callback() -> None:
        [accepted] = scene.carrier.accepted
        receipts.report(scene.rt, StatusReport(accepted.text.reference, accepted.carried.id, Delivery.SENT, ANN))
        unsteady.fails(times=2, done=False)

    scene.text("hi")
    scene.carrier.in_next_call(callback)
    scene.wake()
    assert unsteady.left == 0
    assert outcomes(caplog) == ["settled_meanwhile"]


@pytest.mark.parametrize("ends", ["waits", "settled_meanwhile"])
def test_what_is_rolled_back_before_a_text_is_sent_again_is_not_told(
    scene: Scene, unsteady: Unsteady, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    """The sender's circuit has opened meanwhile, or the text was settled."""
    scene.agent.answer = lambda said: ["ok"]
    scene.text("hi")
    scene.carrier.fail("send", UNKNOWN[1])
    scene.wake()
    caplog.clear()
    scene.clock.tick(60)
    [row] = outgoing(scene)

    def meanwhile() -> None:
        with scene.sessions.begin() as session:
            if ends == "waits":
                scope, now = f"twilio {NUMBER}", scene.clock()
                session.add(CircuitBreaker(scope=scope, cause="", since=now, probe_at=now + timedelta(hours=1)))
            else:
                session.get_one(Message, row.id).status = MessageStatus.SENT
        unsteady.fails(times=1, done=False)

    scene.carrier.in_next_call(meanwhile)
    with pytest.raises(OperationalError):
        process_deliveries(scene.rt, 1)
    assert outcomes(caplog) == []
    assert [call for call, _ in scene.carrier.calls] == ["send", "sent_to"]


REPORTS = [
    (["sent", "delivered"], "delivered"),
    (["delivered", "sent"], "delivered"),
    (["queued", "sending", "sent", "delivered", "read"], "read"),
    (["read", "delivered"], "read"),
    (["failed", "sent", "delivered"], "failed"),
    (["sent", "sent", "undelivered", "undelivered"], "undelivered"),
]


@pytest.mark.parametrize(("reports", "at_last"), REPORTS)
def test_a_report_never_takes_a_text_back(scene: Scene, reports: list[str], at_last: str) -> None:
    scene.text("hi")
    scene.work()
    row = outgoing(scene)[0]
    for status in reports:
        receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, Delivery(status), ANN))
    assert outgoing(scene)[0].delivery == at_last


def test_a_text_that_was_not_delivered_is_told_in_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.text("hi")
    scene.work()
    row = outgoing(scene)[0]
    receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, Delivery.UNDELIVERED, ANN, error_code=30003))
    assert f"message {row.id} was not delivered: undelivered, error 30003" in caplog.text


def test_reports_for_others_change_nothing(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    row = outgoing(scene)[0]
    for report in (
        StatusReport("f" * 32, "SM" + "f" * 32, Delivery.FAILED, ANN),
        StatusReport(row.reference, row.carrier_id, Delivery.FAILED, BOB),
        StatusReport(row.reference, "SM" + "f" * 32, Delivery.FAILED, ANN),
        StatusReport(None, "SM" + "f" * 32, Delivery.FAILED, ANN),
    ):
        assert not receipts.report(scene.rt, report)
    assert outgoing(scene)[0].delivery is Delivery.QUEUED


@pytest.mark.parametrize(
    ("phone", "told"),
    [
        ("+5215512345678", "+525512345678"),
        ("+525512345678", "+5215512345678"),
        ("+551187654321", "+5511987654321"),
        ("+5511987654321", "+551187654321"),
        ("+541155556666", "+5491155556666"),
        ("+5491155556666", "+5411 15 5555 6666"),
        ("whatsapp:+5215512345678", "whatsapp:+525512345678"),
        ("+5215512345678", "5512345678"),
        (ANN, "15551230001"),
        (ANN, f"rcs:{ANN}"),
        (ANN, "+1555123XXXX"),
        (ANN, ""),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_report_counts_however_it_spells_the_phone(scene: Scene, phone: str, told: str, named: bool) -> None:
    scene.text("hi", phone)
    scene.work()
    row = outgoing(scene)[0]
    reference = row.reference if named else None
    assert receipts.report(scene.rt, StatusReport(reference, row.carrier_id, Delivery.DELIVERED, told))
    assert outgoing(scene)[0].delivery is Delivery.DELIVERED


@pytest.mark.parametrize("told", ["+525512345678", "+5215512345678"])
def test_a_report_in_another_spelling_settles_what_has_no_known_outcome(scene: Scene, told: str) -> None:
    scene.text("hi", "+5215512345678")
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    scene.wake()
    row = outgoing(scene)[0]
    assert receipts.report(scene.rt, StatusReport(row.reference, "SM" + "e" * 32, Delivery.SENT, told))
    assert outgoing(scene)[0].status is MessageStatus.SENT


def test_an_opt_out_that_a_report_tells_counts_in_any_spelling(scene: Scene) -> None:
    scene.text("hi", "+5215512345678")
    scene.work()
    row = outgoing(scene)[0]
    for code in (21610, 30630):
        report = StatusReport(row.reference, row.carrier_id, Delivery.FAILED, "+525512345678", error_code=code)
        receipts.report(scene.rt, report)
    with scene.sessions() as session:
        assert list(session.scalars(select(OptOut.phone))) == ["+5215512345678"]


def test_a_report_of_a_persons_own_text_changes_nothing(scene: Scene) -> None:
    scene.text("hi", sid="SM" + "7" * 32)
    assert not receipts.report(scene.rt, StatusReport(None, "SM" + "7" * 32, Delivery.FAILED, ""))


def test_a_report_that_names_another_persons_text_leaves_that_one_its_id(scene: Scene) -> None:
    """Our reference proves that ours was taken, by whatever name."""
    scene.carrier.fail("send", UNKNOWN[0], taken=True)
    scene.text("hi")
    scene.wake()
    scene.text("there", BOB)
    scene.wake()
    [waits] = [row for row in outgoing(scene) if row.status is MessageStatus.SENDING]
    taken = next(row.carrier_id for row in outgoing(scene) if row.carrier_id)
    receipts.report(scene.rt, StatusReport(waits.reference, taken, Delivery.DELIVERED, ANN))
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    owners = [row.conversation_id for row in outgoing(scene) if row.carrier_id == taken]
    assert owners == [2]


def test_a_report_without_our_reference_is_found_by_the_carriers_id(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    row = outgoing(scene)[0]
    assert receipts.report(scene.rt, StatusReport(None, row.carrier_id, Delivery.DELIVERED, ANN))
    assert outgoing(scene)[0].delivery is Delivery.DELIVERED
