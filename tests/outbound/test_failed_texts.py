"""Texts that the carrier refuses, or takes and does not deliver: what follows, for every code that is known.

The table here is written down once more, by hand, from the vendor's list of codes, so that the bridge's own can be
wrong.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bridge.chats.recap import recap
from bridge.db.engine import Sessions
from bridge.db.models import UNSENT, Conversation, Message, MessageStatus
from bridge.inbound import receive
from bridge.maintenance import resend, status_poll, sweep
from bridge.outbound import opt_outs, receipts
from bridge.providers.carriers.contract import (
    TREATMENTS,
    Delivery,
    FailureClass,
    InboundText,
    Meaning,
    OutgoingText,
    StatusReport,
)
from bridge.providers.carriers.twilio.error_codes import MEANINGS, TABLE
from bridge.providers.carriers.twilio.errors import refusal
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.providers.http.client import Answer
from bridge.queues import circuit_breakers
from bridge.turns.process import process_turns
from bridge.web.queries import failures
from bridge.web.queries.failures import Failure
from tests.mortal import emptied
from tests.scene import ANN, BOB, NUMBER, Scene

MINUTE = 60.0
HOUR = 3600.0

CODES: dict[str, list[int]] = {
    "recipient": [21211, 21614, 21635, 21612, 21608, 30005, 30006, 63003, 63024],
    "consent": [21610, 30630, 63014, 63033],
    "policy": [21408, 30004, 30007, 63013],
    "setup": [20003, 20404, 21603, 30029, 30030, 35115],
    "account": [30002, 30037],
    "sender": [
        *(21212, 21606, 21703, 21704, 21705, 21664, 21665, 21666, 21667),
        *(30034, 30032, 30024, 63001, 63007, 63051, 63015),
        *(30033, 30035, 30042, 30990, 63112, 21659, 21660, 21661, 21701),
    ],
    "content": [21602, 21617, 21658, 21620, 21654, 21655, 21656, 63005, 63021, 63016, 30044],
    "too_large": [30019],
    "provider_busy": [20429],
    "sender_busy": [21611, 30001, 30022, 63017, 63018],
    "carrier_fault": [30017, 30410, 30500, 63010, 63012],
    "unreachable": [30003],
    "no_reason": [30008],
    "day_is_full": [30023, 30027, 63038],
    "paused": [30450],
    "ambiguous": [20500, 20503],
    "expired": [30036],
    "webhook": [11200, 11205, 11217, 11321, 12300, 13803, 14103, 14109, 23006, 30009, 30122, 57012],
}

RARE: dict[str, list[int]] = {
    "recipient": [21265, 21268, 21653, 21910, 30014, 30015, 30016, 63031, 63032, 63035],
    "policy": [30043, 30110, 30111, 30610, 30615, 30620, 63026, 63039, 63049, 63062],
    "content": [
        21605,
        21618,
        21619,
        21621,
        21622,
        21623,
        21624,
        21627,
        21652,
        30010,
        30011,
        30012,
        30013,
        30400,
        63006,
        63019,
        63025,
        63027,
        63028,
        63029,
        63030,
        63034,
        63037,
        63040,
        63041,
        63042,
        63052,
    ],
    "setup": [21626],
    "sender": [
        21264,
        21267,
        21601,
        21607,
        21616,
        21657,
        21702,
        21708,
        21709,
        21711,
        30018,
        30040,
        30041,
        63002,
        63008,
        63020,
        63022,
        63109,
        63111,
    ],
    "carrier_fault": [30020, 30021, 63009, 63011],
    "unreachable": [63036],
    "no_reason": [63023],
    "day_is_full": [30454],
    "paused": [30453, 30485],
    "ambiguous": [20504],
    "webhook": [30038, 30039],
}
"""More of the vendor's list, which the table has and the plays below do not: what follows is decided by the class."""

LATER: dict[str, list[float]] = {
    "setup": [1, 15, 60],
    "account": [1, 15, 60],
    "sender": [1, 15, 60],
    "provider_busy": [2, 10, 40],
    "sender_busy": [2, 10, 40],
    "carrier_fault": [2, 10, 40],
    "unreachable": [5, 20],
    "no_reason": [5],
    "day_is_full": [24 * 60],
    "paused": [30, 60],
}
"""Minutes after which a text that was not delivered goes again; of the classes that are not here, none does."""

OPEN_CIRCUITS = {"setup", "account", "sender"}
WAITS = {"provider_busy", "sender_busy", "carrier_fault"}
LOOKS = {"ambiguous"}

ROWS = [(code, failure) for failure, codes in CODES.items() for code in codes]
NOT_OPTED_OUT = [row for row in ROWS if row[0] not in opt_outs.UNSUBSCRIBED]
"""What those codes do besides: ``test_opt_outs``."""
NEW = [(99999, "unknown"), (None, "unknown")]


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, answer_within="48h")


@pytest.fixture
def quick(hasty_engine: Engine) -> Scene:
    """For long tables, in which the database is not what matters."""
    return Scene(emptied(hasty_engine), answer_within="48h")


def outgoing(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


def report(scene: Scene, row: Message, status: str, code: int | None = None) -> bool:
    assert row.carrier_id
    return receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, Delivery(status), ANN, code))


def newest_fails(scene: Scene, code: int | None, status: str = "undelivered") -> None:
    assert report(scene, outgoing(scene)[-1], status, code)


def wait(scene: Scene, seconds: float, task: float = 20) -> None:
    """Let time pass with the sweeper at work, however little is due."""
    until = scene.clock() + timedelta(seconds=seconds)
    while scene.clock() < until:
        scene.tick(min(task, (until - scene.clock()).total_seconds()))


def on_hold(scene: Scene) -> bool:
    with scene.sessions() as session:
        return bool(circuit_breakers.open_circuits(session))


def sent(scene: Scene) -> int:
    return len(scene.got())


# -- the table -----------------------------------------------------------------------------------------------------


def test_every_code_has_one_class_and_none_is_left_out() -> None:
    assert sum(map(len, TABLE.values())) == len(MEANINGS)
    beside = {14107, 20005, 21266, 21604, 21609}  # known from elsewhere
    rows = {**dict(ROWS), **{code: failure for failure, codes in RARE.items() for code in codes}}
    assert rows.keys() == MEANINGS.keys() - beside
    assert {code: MEANINGS[code].failure.value for code in rows} == rows


SISTERS = [
    *((30033, 30034), (30035, 30034), (30042, 30034), (30990, 30034), (63112, 63051)),
    *((21659, 21606), (21660, 21606), (21661, 21606), (21701, 21705)),
    *((30027, 30023), (30037, 30002), (30044, 21617), (30630, 21610), (63036, 30003), (63009, 63012)),
]


@pytest.mark.parametrize(("code", "sister"), SISTERS)
def test_a_code_is_treated_as_its_sister(code: int, sister: int) -> None:
    assert MEANINGS[code].failure is MEANINGS[sister].failure


def test_no_place_says_that_every_code_is_known() -> None:
    said = Path("bridge/providers/carriers/twilio/error_codes.py").read_text() + Path("docs/operations.md").read_text()
    assert "2025-02-22" in said
    assert "Every code that it documents" not in said


def test_every_class_has_a_treatment() -> None:
    assert set(TREATMENTS) == set(FailureClass)


@pytest.mark.parametrize("meaning", MEANINGS.values(), ids=lambda meaning: str(meaning.code))
def test_every_code_has_a_sentence_and_a_page(meaning: Meaning) -> None:
    assert meaning.sentence.endswith(".")
    assert 20 < len(meaning.sentence) < 120
    assert meaning.page == f"https://www.twilio.com/docs/api/errors/{meaning.code}"


# -- at once -------------------------------------------------------------------------------------------------------


def refused(code: int | None, status: int = 400) -> RemoteError:
    """What the carrier's adapter makes of such a refusal."""
    body = b'{"message": "no"}' if code is None else b'{"code": %d, "message": "no"}' % code
    return refusal(Answer(status, {}, body), [], sender=NUMBER)


@pytest.mark.parametrize(("code", "failure"), [*NOT_OPTED_OUT, *NEW])
def test_what_follows_a_refusal(quick: Scene, code: int | None, failure: str) -> None:
    """The first text is refused once; a second person's comes right behind it."""
    quick.carrier.fail("send", refused(code))
    quick.text("hi")
    quick.wake()
    first = outgoing(quick)[0]
    assert on_hold(quick) == (failure in OPEN_CIRCUITS)
    if failure in OPEN_CIRCUITS | WAITS | LOOKS:
        assert first.status in UNSENT
        wait(quick, 60)
        assert quick.got() == ["You said: hi"]
        assert [row.status for row in outgoing(quick)] == [MessageStatus.SENT]
        assert not on_hold(quick)
        return
    assert (first.status, first.error_code) == (MessageStatus.GIVEN_UP, code)
    again = LATER.get(failure)
    assert first.resend_at == (quick.clock() + timedelta(minutes=again[0]) if again else None)
    quick.text("more")
    quick.wake()
    assert quick.got() == ["You said: more"]
    if again:
        wait(quick, again[0] * MINUTE + 20, task=again[0] * MINUTE / 5)
        assert quick.got() == ["You said: more", "You said: hi"]


@pytest.mark.parametrize(("code", "failure"), ROWS)
@pytest.mark.parametrize("status", [500, 503])
def test_a_server_fault_leaves_the_outcome_open_whatever_its_code(code: int, failure: str, status: int) -> None:
    assert type(refused(code, status)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("status", "expected"), [(400, Refused), (422, Refused), (429, RateLimited), (401, AccountRefused)]
)
def test_a_code_that_nobody_knows_goes_by_its_status(status: int, expected: type[RemoteError]) -> None:
    assert type(refused(88888, status)) is expected


def test_a_person_who_has_opted_out_can_be_told_by_the_error_and_by_the_report(scene: Scene) -> None:
    error = refused(21610)
    assert isinstance(error, Refused)
    assert scene.rt.carrier.meaning(error.code).failure is FailureClass.CONSENT
    scene.text("hi")
    scene.work()
    newest_fails(scene, 21610)
    assert outgoing(scene)[0].error_code == 21610


def test_a_refusal_that_is_not_for_good_holds_up_nobody(scene: Scene) -> None:
    scene.carrier.fail("send", refused(63038))
    for n in range(3):
        scene.text(f"text {n}")
        scene.work()
    assert scene.got() == ["You said: text 1", "You said: text 2"]


@pytest.mark.parametrize("code", [30034, 99999, None])
def test_an_answer_to_the_send_that_tells_of_a_failure_counts_as_a_callback(scene: Scene, code: int | None) -> None:
    """A message may be made and have failed in the same moment."""
    send = scene.carrier.send
    scene.carrier.send = lambda text: replace(send(text), status=Delivery.FAILED, error_code=code)  # type: ignore[method-assign]
    scene.text("hi")
    scene.wake()
    [row] = outgoing(scene)
    assert (row.status, row.delivery, row.error_code) == (MessageStatus.SENT, Delivery.FAILED, code)
    assert row.poll_status_at is None
    assert on_hold(scene) == (code == 30034)
    assert bool(row.resend_at) == (code == 30034)


def test_a_failure_that_is_found_in_the_carriers_list_counts_as_a_callback(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio", status=500), taken=True)
    scene.text("hi")
    scene.wake()
    [accepted] = scene.carrier.accepted
    scene.carrier.becomes(accepted.carried.id, Delivery.FAILED, 30003)
    wait(scene, 30)
    [row] = outgoing(scene)
    assert (row.delivery, row.error_code, bool(row.resend_at)) == (Delivery.FAILED, 30003, True)


# -- later ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "failure"), [*ROWS, *NEW])
def test_what_follows_a_late_failure(quick: Scene, code: int | None, failure: str) -> None:
    """Every copy fails the same way; in between the person goes on texting and is answered at once."""
    quick.text("hi")
    quick.work()
    newest_fails(quick, code)
    assert on_hold(quick) == (failure in OPEN_CIRCUITS)
    for n, minutes in enumerate(LATER.get(failure, [])):
        failed = outgoing(quick)[-1]
        assert failed.resend_at == quick.clock() + timedelta(minutes=minutes)
        quick.clock.tick(minutes * MINUTE - 1)
        quick.rt.heartbeat.beat()
        sweep.sweep(quick.rt)
        assert sent(quick) == n + 1, "not before its time"
        wait(quick, 10)
        assert sent(quick) == n + 2
        again = outgoing(quick)[-1]
        assert (again.body, again.turn_id, again.expires_at) == (failed.body, failed.turn_id, failed.expires_at)
        assert (again.resends, again.reference != failed.reference) == (n + 1, True)
        newest_fails(quick, code)
    wait(quick, 30 * HOUR, task=HOUR)
    assert sent(quick) == 1 + len(LATER.get(failure, []))
    assert [row.delivery for row in outgoing(quick)] == [Delivery.UNDELIVERED] * sent(quick)
    [shown] = failures.list_failures(quick.rt).failures
    assert (shown.id, shown.error_code, shown.resend_at) == (outgoing(quick)[-1].id, code, None)


@pytest.mark.parametrize(("code", "failure"), [row for row in NOT_OPTED_OUT if row[1] not in OPEN_CIRCUITS])
def test_newer_texts_of_that_person_do_not_wait_for_one_that_failed(quick: Scene, code: int, failure: str) -> None:
    quick.text("hi")
    quick.work()
    newest_fails(quick, code)
    quick.text("more")
    quick.wake()
    assert quick.got() == ["You said: hi", "You said: more"]
    assert not quick.waiting()


# -- in pieces -----------------------------------------------------------------------------------------------------


WIDE = "Завтрак с восьми до десяти. " * 23
"""644 characters: ten segments, the most that is sent at once."""


def told_to_a_new_chat(scene: Scene) -> str:
    with scene.sessions() as session:
        return recap(session, scene.rt.settings, session.get_one(Conversation, 1), scene.clock())


def said(scene: Scene, words: str) -> Scene:
    scene.agent.answer = lambda text: [words]
    scene.text("hi")
    scene.wake()
    return scene


def whole(bodies: list[str]) -> list[str]:
    return " ".join(bodies).split()


def test_a_text_that_is_too_large_goes_again_in_pieces_in_order_and_once(scene: Scene) -> None:
    said(scene, WIDE)
    [first] = outgoing(scene)
    assert first.segments == 10
    newest_fails(scene, 30019)
    wait(scene, MINUTE)
    pieces = outgoing(scene)[1:]
    assert [row.segments for row in pieces] == [5, 5]
    assert [row.status for row in pieces] == [MessageStatus.SENT] * 2
    assert whole(scene.got()[1:]) == WIDE.split()
    assert len({row.reference for row in outgoing(scene)}) == 3
    assert (outgoing(scene)[0].resent_as, outgoing(scene)[0].resend_at) == (pieces[0].id, None)
    wait(scene, 2 * HOUR, task=MINUTE)
    assert sent(scene) == 3


def test_a_text_that_is_refused_at_once_for_its_size_goes_again_in_pieces_too(scene: Scene) -> None:
    scene.carrier.fail("send", refused(30019))
    said(scene, WIDE)
    assert [row.status for row in outgoing(scene)] == [MessageStatus.GIVEN_UP]
    wait(scene, MINUTE)
    assert [row.segments for row in outgoing(scene)[1:]] == [5, 5]
    assert whole(scene.got()) == WIDE.split()
    assert failures.list_failures(scene.rt).failures == []


def test_pieces_that_are_too_large_are_halved_again_until_nothing_can_be_halved(scene: Scene) -> None:
    said(scene, WIDE)
    for _ in range(12):
        for row in outgoing(scene):
            if row.status is MessageStatus.SENT and row.delivery is not Delivery.UNDELIVERED:
                report(scene, row, "undelivered", 30019)
        wait(scene, 30)
    last = [row for row in outgoing(scene) if row.resent_as is None]
    assert {row.segments for row in last} == {1}
    assert sorted(whole([row.body for row in last])) == sorted(WIDE.split())
    assert len(failures.list_failures(scene.rt, limit=200).failures) == len(last)
    sent_before = sent(scene)
    wait(scene, HOUR, task=MINUTE)
    assert sent(scene) == sent_before


def test_one_piece_that_fails_goes_again_and_not_the_others(scene: Scene) -> None:
    said(scene, WIDE)
    newest_fails(scene, 30019)
    wait(scene, MINUTE)
    first, second = outgoing(scene)[1:]
    report(scene, first, "delivered")
    report(scene, second, "undelivered", 30019)
    report(scene, second, "undelivered", 30019)
    wait(scene, MINUTE)
    again = outgoing(scene)[3:]
    assert whole([row.body for row in again]) == second.body.split()
    assert {row.segments for row in again} <= {1, 2}


def test_an_emoji_keeps_only_its_own_piece_wide(scene: Scene) -> None:
    said(scene, "👍 " + "It’s open from nine to five. " * 22)
    assert outgoing(scene)[0].segments == 10
    newest_fails(scene, 30019)
    wait(scene, MINUTE)
    first, *others = outgoing(scene)[1:]
    assert "’" in first.body
    assert not any("’" in row.body for row in others)
    assert all(row.segments <= 5 for row in (first, *others))


def test_sweeps_at_once_send_the_pieces_once(scene: Scene) -> None:
    said(scene, WIDE)
    newest_fails(scene, 30019)
    scene.clock.tick(2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: resend.send_again(scene.rt, 10), range(4)))
    assert len(outgoing(scene)) == 3


def test_pieces_do_not_go_to_who_has_opted_out(scene: Scene) -> None:
    said(scene, WIDE)
    newest_fails(scene, 30019)
    scene.text("STOP")
    wait(scene, MINUTE)
    assert sent(scene) == 1


def test_a_new_chat_is_told_the_pieces_and_not_the_whole_besides(scene: Scene) -> None:
    said(scene, "Nine to five. " * 90)
    newest_fails(scene, 30019)
    wait(scene, MINUTE)
    assert told_to_a_new_chat(scene).count("Nine to five.") == 90


def test_a_process_that_dies_between_the_pieces_sends_each_once(scene: Scene) -> None:
    said(scene, WIDE)
    newest_fails(scene, 30019)
    scene.clock.tick(2)
    resend.send_again(scene.rt, 10)
    assert len(outgoing(scene)) == 3
    scene.restart()
    wait(scene, 3 * MINUTE)
    assert whole(scene.got()[1:]) == WIDE.split()


# -- where it goes again ---------------------------------------------------------------------------------------------


def test_what_goes_again_goes_to_the_end_of_the_line(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30003)
    scene.clock.tick(5 * MINUTE)
    scene.rt.heartbeat.beat()
    scene.text("more")
    process_turns(scene.rt, 1)
    sweep.sweep(scene.rt)
    scene.wake()
    assert scene.got() == ["You said: hi", "You said: more", "You said: hi"]


def test_the_tries_of_one_text_are_counted_whatever_each_of_them_failed_of(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    for n, code in enumerate((30003, 30017, 30500, 30003)):
        assert [row.resends for row in outgoing(scene)] == list(range(n + 1))
        newest_fails(scene, code)
        wait(scene, HOUR, task=5 * MINUTE)
    assert sent(scene) == 4


def test_nothing_goes_again_that_would_come_too_late(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="30m")
    scene.text("hi")
    scene.work()
    newest_fails(scene, 63038)
    assert outgoing(scene)[-1].resend_at is None
    scene.text("more")
    scene.work()
    newest_fails(scene, 30003)
    wait(scene, 6 * MINUTE)
    assert scene.got() == ["You said: hi", "You said: more", "You said: more"]
    newest_fails(scene, 30003)
    assert outgoing(scene)[-1].resend_at is not None
    scene.clock.tick(HOUR)  # nobody was there to send it
    scene.rt.heartbeat.beat()
    scene.tick()
    assert sent(scene) == 3
    assert [row.resend_at for row in outgoing(scene)] == [None] * 3


def test_the_next_day_is_soon_enough_where_the_settings_say_so(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="25h")
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30023)
    wait(scene, 24 * HOUR + 20, task=HOUR)
    assert sent(scene) == 2


def test_a_text_that_somebody_canceled_does_not_go_again(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30003, status="canceled")
    wait(scene, HOUR)
    assert sent(scene) == 1
    assert len(failures.list_failures(scene.rt).failures) == 1


def test_a_text_that_has_arrived_after_all_does_not_go_again(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    row = outgoing(scene)[0]
    assert report(scene, row, "undelivered", 30008)
    assert not report(scene, row, "delivered")
    assert outgoing(scene)[0].delivery is Delivery.UNDELIVERED
    wait(scene, HOUR)
    assert sent(scene) == 1


def test_sweeps_at_once_send_again_once(scene: Scene) -> None:
    phones = [f"+1555777{n:04}" for n in range(20)]
    for phone in phones:
        scene.text("hi", phone)
    scene.work()
    for row, phone in zip(outgoing(scene), phones, strict=True):
        assert receipts.report(
            scene.rt, StatusReport(row.reference, row.carrier_id or "", Delivery.FAILED, phone, 30003)
        )
    scene.clock.tick(5 * MINUTE)
    with ThreadPoolExecutor(4) as threads:
        scene.notifier.wakeups.clear()
        list(threads.map(lambda _: resend.send_again(scene.rt, 100), range(4)))
    assert len(outgoing(scene)) == 40
    assert sorted(row for _, row in scene.notifier.wakeups) == list(range(1, 21))


def test_a_hold_of_its_own_is_not_made_longer_by_what_fails_late(scene: Scene) -> None:
    """A suspended account refuses at once what is new, and fails later what it had taken before."""
    scene.text("hi")
    scene.work()
    suspended = AccountRefused("suspended", provider="twilio", status=403, code=30002)
    scene.carrier.fail("send", suspended, times=100)
    scene.text("more")
    scene.wake()
    wait(scene, 30)
    scene.carrier.recover()
    assert report(scene, outgoing(scene)[0], "failed", 30002)
    wait(scene, 15)
    assert "You said: more" in scene.got()
    assert not on_hold(scene)


def test_a_process_that_dies_in_between_sends_again_once(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30003)
    scene.clock.tick(5 * MINUTE)
    resend.send_again(scene.rt, 10)
    scene.restart()
    wait(scene, 2 * MINUTE)
    assert scene.got() == ["You said: hi"] * 2


def test_what_went_twice_is_told_to_a_new_chat_once(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30003)
    wait(scene, 6 * MINUTE)
    assert told_to_a_new_chat(scene) == "User: hi\nAgent: You said: hi"


# -- our own set-up ------------------------------------------------------------------------------------------------


def unregistered(scene: Scene) -> list[str]:
    """Tell of every text so far of which nothing is known yet that it could not be delivered, as Twilio does."""
    failed = [row for row in outgoing(scene) if row.carrier_id and row.delivery is Delivery.QUEUED]
    for row in failed:
        phone = next(a.text.recipient for a in scene.carrier.accepted if a.text.reference == row.reference)
        assert receipts.report(
            scene.rt, StatusReport(row.reference, row.carrier_id, Delivery.UNDELIVERED, phone, 30034)
        )
    return [row.body for row in failed]


def test_a_late_fault_of_our_set_up_stops_the_others_and_one_at_a_time_tries(scene: Scene) -> None:
    scene.text("one")
    scene.work()
    unregistered(scene)
    for n in range(20):
        scene.text(f"text {n}", f"+1555777{n:04}")
    scene.wake()
    assert len(scene.carrier.accepted) == 1
    for _ in range(60):
        scene.tick(5)
        unregistered(scene)
    assert 3 <= len(scene.carrier.accepted) <= 8, "one a try, at growing pauses"
    assert on_hold(scene)


def test_when_it_is_mended_everything_flows_and_everything_arrives(scene: Scene) -> None:
    phones = [f"+1555777{n:04}" for n in range(10)]
    scene.text("one")
    scene.work()
    unregistered(scene)
    for phone in phones:
        scene.text("hello", phone)
    for _ in range(24):
        scene.tick(5)
        unregistered(scene)
    before = len(scene.carrier.accepted)
    for _ in range(120):
        scene.tick(60)
        for row in outgoing(scene):
            if row.carrier_id and row.delivery is Delivery.QUEUED:
                to = next(a.text.recipient for a in scene.carrier.accepted if a.text.reference == row.reference)
                receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, Delivery.DELIVERED, to))
    assert len(scene.carrier.accepted) > before
    assert not on_hold(scene)
    last = {row.conversation_id: row.delivery for row in outgoing(scene) if row.resent_as is None}
    assert list(last.values()) == [Delivery.DELIVERED] * 11


def test_a_delivered_text_that_is_older_does_not_end_the_hold(scene: Scene) -> None:
    scene.text("hi", BOB)
    scene.text("hi")
    scene.work()
    bobs, anns = outgoing(scene)
    scene.clock.tick(5)
    assert report(scene, anns, "undelivered", 30034)
    assert receipts.report(scene.rt, StatusReport(bobs.reference, bobs.carrier_id, Delivery.DELIVERED, BOB))
    assert on_hold(scene)


def test_without_any_callback_the_hold_ends_by_itself(scene: Scene) -> None:
    """The one that tells what became of a text may be lost; a try that has not failed by the next one will do."""
    scene.text("one")
    scene.work()
    unregistered(scene)
    for n in range(5):
        scene.text(f"text {n}", f"+1555777{n:04}")
    wait(scene, 60, task=5)
    assert not on_hold(scene)
    assert len(scene.carrier.accepted) == 6 + 1  # the failed one again, too


# -- the reducer ---------------------------------------------------------------------------------------------------

REPORTS = [
    ("in order", ["queued", "sending", "sent", "delivered"], "delivered", 0),
    ("out of order", ["delivered", "sent", "sending", "queued"], "delivered", 0),
    ("repeated", ["sent", "sent", "delivered", "delivered"], "delivered", 0),
    ("only the last", ["delivered"], "delivered", 0),
    ("read", ["delivered", "read", "delivered"], "read", 0),
    ("read first", ["read", "sent"], "read", 0),
    ("failed at once", ["failed:30003"], "failed", 1),
    ("failed twice", ["failed:30003", "failed:30003"], "failed", 1),
    ("failed, and sent later", ["failed:30003", "sent"], "failed", 1),
    ("undelivered, then delivered", ["undelivered:30008", "delivered"], "undelivered", 0),
    ("delivered, then undelivered", ["delivered", "undelivered:30003"], "delivered", 0),
    ("delivered, then failed", ["delivered", "failed"], "delivered", 0),
    ("undelivered, then read", ["undelivered:30003", "read"], "read", 0),
    ("failed without a code, then with one", ["failed", "failed:30003"], "failed", 1),
    ("failed with a code, then with another", ["failed:30005", "failed:30003"], "failed", 0),
    ("failed, then undelivered", ["failed:30005", "undelivered:30003"], "failed", 0),
    ("canceled", ["scheduled", "canceled"], "canceled", 0),
    ("canceled, then sent", ["canceled", "sent", "delivered"], "canceled", 0),
    ("accepted", ["accepted", "scheduled"], "queued", 0),
]


@pytest.mark.parametrize("when", ["after the answer", "before the answer", "no answer at all"])
@pytest.mark.parametrize(("said", "at_last", "again"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS])
def test_reports_only_lead_forward(quick: Scene, said: list[str], at_last: str, again: int, when: str) -> None:
    def tell() -> None:
        [accepted] = quick.carrier.accepted
        for word in said:
            status, _, code = word.partition(":")
            receipts.report(
                quick.rt,
                StatusReport(
                    accepted.text.reference, accepted.carried.id, Delivery(status), ANN, int(code) if code else None
                ),
            )

    if when == "before the answer":
        quick.carrier.in_next_call(tell)
    if when == "no answer at all":
        quick.carrier.fail("send", OutcomeUnknown("cut", provider="twilio", status=500), taken=True)
    quick.text("hi")
    process_turns(quick.rt, 1)
    quick.wake()
    if when != "before the answer":
        tell()
    quick.wake()
    row = outgoing(quick)[0]
    assert row.status is MessageStatus.SENT
    # Where nothing but the callbacks tells, "accepted" is all that is known.
    assert row.delivery == ("accepted" if at_last == "queued" and when == "no answer at all" else at_last)
    assert bool(row.resend_at) == bool(again)
    wait(quick, 10 * MINUTE)
    assert sent(quick) == 1 + again


def test_a_report_whose_id_is_another_texts_already_is_told_in_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Service senders: the same person in two conversations. The id stays where it is; the text is known to be sent."""
    other = "+15550002222"
    scene.text("hi")
    scene.work()
    [anns] = outgoing(scene)
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio", status=500))
    receive.receive(scene.rt, InboundText("SM-other", ANN, other, "hi"))
    scene.wake()
    row = outgoing(scene)[-1]
    assert row.status is MessageStatus.SENDING
    assert anns.carrier_id
    assert receipts.report(scene.rt, StatusReport(row.reference, anns.carrier_id, Delivery.SENT, ANN))
    assert "was matched to" in caplog.text
    assert [row.carrier_id for row in outgoing(scene)] == [anns.carrier_id, None]
    wait(scene, MINUTE)
    assert sent(scene) == 1, "what is proven to be sent is not sent again"


def test_a_persons_text_is_never_taken_for_one_of_ours(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio", status=500))
    scene.text("hi", sid="SM-hers")
    scene.wake()
    [row] = outgoing(scene)
    assert receipts.report(scene.rt, StatusReport(row.reference, "SM-hers", Delivery.SENT, ANN))
    hers, ours = scene.rows(Message)
    assert (hers.status, hers.carrier_id) == (MessageStatus.ANSWERED, "SM-hers")
    assert (ours.status, ours.carrier_id) == (MessageStatus.SENT, None)


# -- two texts with the same words ---------------------------------------------------------------------------------

LOST = OutcomeUnknown("cut", provider="twilio", status=500)


def test_an_id_that_a_look_took_for_another_text_goes_to_whom_it_belongs(scene: Scene) -> None:
    """The first text was given up and is at the carrier after all; the second one was never there."""
    scene.agent.answer = lambda said: ["ok"]
    scene.carrier.fail("send", LOST)
    scene.text("one")
    process_turns(scene.rt, 1)
    scene.notifier.wakeups.clear()
    with scene.sessions.begin() as session:
        first = session.get_one(Message, outgoing(scene)[0].id)
        first.status, first.settled_at, first.attempted_at = MessageStatus.GIVEN_UP, scene.clock(), None
        session.get_one(Conversation, first.conversation_id).delivery_due_at = None
        reference = first.reference
    scene.text("two")
    scene.carrier.fail("send", LOST)
    scene.wake()
    second = outgoing(scene)[1]
    assert second.status is MessageStatus.SENDING
    scene.carrier.send(replace(_text(scene, second), reference=reference or ""))  # the first one, late
    wait(scene, 30)
    stray = scene.carrier.accepted[0].carried.id
    assert [row.carrier_id for row in outgoing(scene)] == [None, stray]
    assert receipts.report(scene.rt, StatusReport(reference, stray, Delivery.DELIVERED, ANN))
    wait(scene, 60)
    assert [row.carrier_id for row in outgoing(scene)] == [a.carried.id for a in scene.carrier.accepted]
    assert scene.got() == ["ok", "ok"]


def _text(scene: Scene, row: Message) -> OutgoingText:
    return OutgoingText(row.reference or "", NUMBER, ANN, row.body)


def test_the_second_copy_of_a_text_is_not_taken_for_the_next_one(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["ok"]
    scene.text("one")
    scene.work()
    [first] = outgoing(scene)
    copy = scene.carrier.send(_text(scene, first))
    assert not receipts.report(scene.rt, StatusReport(first.reference, copy.id, Delivery.SENT, ANN))
    assert outgoing(scene)[0].duplicate_carrier_id == copy.id
    scene.clock.tick(10 * MINUTE)
    scene.rt.heartbeat.beat()
    late = replace(scene.carrier.accepted[1].carried, created_at=scene.clock())  # the carrier has made it just now
    scene.carrier.accepted[1] = replace(scene.carrier.accepted[1], carried=late)
    scene.carrier.fail("send", LOST)
    scene.text("two")
    wait(scene, 60)
    ids = [a.carried.id for a in scene.carrier.accepted]
    assert [row.carrier_id for row in outgoing(scene)] == [ids[0], ids[2]]


def test_the_late_twin_of_a_given_up_text_is_not_taken_for_a_later_equal_one(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=None, answer_within="60s")
    scene.agent.answer = lambda said: ["ok"]
    scene.carrier.fail("send", LOST, taken=True)
    scene.carrier.fail("sent_to", LOST, times=100)
    scene.text("one")
    wait(scene, 70)
    assert [row.status for row in outgoing(scene)] == [MessageStatus.GIVEN_UP]
    scene.carrier.recover()
    scene.carrier.fail("send", LOST)
    scene.text("two")
    wait(scene, 50)
    ids = [a.carried.id for a in scene.carrier.accepted]
    assert len(ids) == 2, "the second one was not there, and went again"
    assert [row.carrier_id for row in outgoing(scene)] == [None, ids[1]]


def test_what_was_made_long_before_the_first_attempt_is_another_text(scene: Scene) -> None:
    """Somebody else on this account texts the same person while ours waits in its line."""
    scene.agent.answer = lambda said: ["first", "ok"]
    scene.carrier.fail("send", NotReached("refused", provider="twilio"), times=10_000)
    scene.text("hi")
    wait(scene, MINUTE)
    scene.carrier.recover()
    foreign = scene.carrier.send(_text(scene, outgoing(scene)[1]))
    scene.carrier.fail("send", NotReached("refused", provider="twilio"), times=10_000)
    wait(scene, 10 * MINUTE)
    scene.carrier.recover()
    scene.carrier.in_next_call(lambda: scene.carrier.fail("send", LOST))  # the second one, after the first
    wait(scene, 2 * MINUTE)
    assert scene.got() == ["ok", "first", "ok"]
    assert foreign.id not in {row.carrier_id for row in outgoing(scene)}


# -- no end was told -----------------------------------------------------------------------------------------------


def asked(scene: Scene) -> list[str]:
    return [about for call, about in scene.carrier.calls if call == "fetch"]


def pass_hours(scene: Scene, hours: float) -> None:
    for _ in range(int(hours)):
        scene.clock.tick(HOUR)
        scene.rt.heartbeat.beat()
        sweep.sweep(scene.rt)
        scene.wake()
        status_poll.poll_statuses(scene.rt)


def test_a_text_of_which_no_end_was_told_is_asked_for_twice(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    [row] = outgoing(scene)
    report(scene, row, "sent")
    pass_hours(scene, 11)
    assert asked(scene) == []
    pass_hours(scene, 2)
    assert asked(scene) == [row.carrier_id]
    pass_hours(scene, 22)
    assert len(asked(scene)) == 1
    pass_hours(scene, 200)
    assert len(asked(scene)) == 2
    assert outgoing(scene)[0].delivery is Delivery.SENT
    assert outgoing(scene)[0].poll_status_at is None


@pytest.mark.parametrize("status", ["delivered", "undelivered", "failed", "canceled", "read"])
def test_a_text_that_has_come_to_its_end_is_not_asked_for(scene: Scene, status: str) -> None:
    scene.text("hi")
    scene.work()
    report(scene, outgoing(scene)[0], status, 30005)
    pass_hours(scene, 60)
    assert asked(scene) == []


@pytest.mark.parametrize(
    ("status", "code", "again"), [("delivered", None, 0), ("undelivered", 30005, 0), ("failed", 30003, 1)]
)
def test_what_is_found_counts_as_a_callback(sessions: Sessions, status: str, code: int | None, again: int) -> None:
    scene = Scene(sessions, answer_within="5d")
    scene.text("hi")
    scene.work()
    [row] = outgoing(scene)
    assert row.carrier_id
    scene.carrier.becomes(row.carrier_id, Delivery(status), code)
    pass_hours(scene, 14)
    assert (outgoing(scene)[0].delivery, outgoing(scene)[0].error_code) == (status, code)
    assert sent(scene) == 1 + again
    assert len(asked(scene)) == 1


def test_a_text_that_the_carrier_has_forgotten_is_asked_for_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.text("hi")
    scene.work()
    scene.carrier.accepted.clear()
    pass_hours(scene, 100)
    assert len(asked(scene)) == 1
    assert "not known to the carrier" in caplog.text


def test_a_round_asks_for_one_page_the_oldest_first(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_poll, "PAGE", 3)
    for n in range(5):
        scene.text("hi", f"+1555777{n:04}")
        scene.work()
        scene.clock.tick(1)
    scene.clock.tick(13 * HOUR)
    scene.rt.heartbeat.beat()
    ids = [row.carrier_id for row in outgoing(scene)]
    for expected in (ids[:3], ids, ids):
        status_poll.poll_statuses(scene.rt)
        assert asked(scene) == expected


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (AccountRefused("no such key", provider="twilio", status=401), 1),
        (NotReached("refused", provider="twilio"), 1),
        (OutcomeUnknown("broken", provider="twilio", status=500), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_round_ends_where_the_carrier_serves_nobody(scene: Scene, error: RemoteError, calls: int) -> None:
    for n in range(5):
        scene.text("hi", f"+1555777{n:04}")
    scene.work()
    scene.clock.tick(13 * HOUR)
    scene.carrier.fail("fetch", error, times=calls)
    status_poll.poll_statuses(scene.rt)
    assert len(asked(scene)) == calls
    pass_hours(scene, 2)
    assert len(asked(scene)) == calls + 5, "what could not be told is asked for again"


def test_a_text_of_which_nothing_can_be_told_is_not_asked_for_ever(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    scene.carrier.fail("fetch", OutcomeUnknown("broken", provider="twilio", status=500), times=10_000)
    pass_hours(scene, 80)
    before = len(asked(scene))
    pass_hours(scene, 40)
    assert len(asked(scene)) == before
    assert outgoing(scene)[0].poll_status_at is None


def test_nobody_is_asked_while_the_carrier_is_on_hold(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    scene.clock.tick(13 * HOUR)
    with scene.rt.database.transaction() as tx:
        circuit_breakers.trip(tx, AccountRefused("no such key", provider="twilio", status=401))
    status_poll.poll_statuses(scene.rt)
    assert asked(scene) == []


def test_a_callback_between_the_booking_and_the_answer_counts(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    [row] = outgoing(scene)
    scene.clock.tick(13 * HOUR)
    scene.carrier.in_next_call(lambda: report(scene, row, "delivered"))
    status_poll.poll_statuses(scene.rt)
    assert (outgoing(scene)[0].delivery, outgoing(scene)[0].poll_status_at) == (Delivery.DELIVERED, None)


# -- for people to look at -----------------------------------------------------------------------------------------


def test_what_was_not_delivered_is_shown_in_plain_words(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.text("a secret word")
    scene.work()
    began = scene.clock()
    newest_fails(scene, 30003)
    [row] = outgoing(scene)
    assert failures.list_failures(scene.rt).failures == [
        Failure(
            kind=failures.Kind.MESSAGE,
            id=row.id,
            conversation_id=1,
            phone=ANN,
            at=began,
            error=None,
            error_code=30003,
            delivery=Delivery.UNDELIVERED,
            resend_at=began + timedelta(minutes=5),
            failure=FailureClass.UNREACHABLE,
            meaning=MEANINGS[30003].sentence,
            page="https://www.twilio.com/docs/api/errors/30003",
        )
    ]
    assert caplog.messages[-1] == (
        f"message {row.id} was not delivered: undelivered, error 30003 (unreachable): {MEANINGS[30003].sentence}"
        "; it is sent again at 2026-11-02 12:05:00 UTC"
    )
    assert ANN not in caplog.text
    assert "secret" not in caplog.text


def test_a_refused_text_is_shown_with_what_its_code_means(scene: Scene) -> None:
    scene.carrier.fail("send", refused(21614))
    scene.text("hi")
    scene.work()
    [shown] = failures.list_failures(scene.rt).failures
    assert (shown.error, shown.error_code, shown.delivery) == ("twilio (400): no", 21614, None)
    assert (shown.failure, shown.meaning) == (FailureClass.RECIPIENT, MEANINGS[21614].sentence)


def test_a_text_that_went_again_and_arrived_is_no_failure_any_more(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    newest_fails(scene, 30003)
    wait(scene, 6 * MINUTE)
    assert failures.list_failures(scene.rt).failures == []
    report(scene, outgoing(scene)[-1], "delivered")
    assert failures.list_failures(scene.rt).failures == []


def test_failures_of_every_kind_are_one_list_the_newest_first(scene: Scene) -> None:
    scene.agent.fail("create_chat", Refused("no", provider="retell", status=400))
    scene.text("one")
    scene.work()
    scene.clock.tick(1)
    scene.carrier.fail("send", refused(21614))
    scene.text("two")
    scene.work()
    scene.clock.tick(1)
    scene.text("three")
    scene.work()
    newest_fails(scene, 30005)
    shown: list[Failure] = []
    cursor = None
    for _ in range(3):
        page = failures.list_failures(scene.rt, limit=1, cursor=cursor)
        shown += page.failures
        cursor = page.next
    assert cursor is None
    assert [(each.kind, each.error_code) for each in shown] == [("message", 30005), ("message", 21614), ("turn", None)]
