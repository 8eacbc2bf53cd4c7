"""Message redaction: the account hides what texts say, in lists and in single texts. Nothing goes out twice for it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Message, MessageStatus
from bridge.maintenance.catch_up import catch_up
from bridge.outbound import receipts
from bridge.providers.carriers.contract import CarriedText, Delivery, OutgoingText, StatusReport
from bridge.providers.carriers.hidden_text import hidden
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, Refused, RemoteError
from bridge.web.queries import failures
from tests.fakes import Accepted, FakeAgent
from tests.scene import ANN, NUMBER, Scene

CUT = OutcomeUnknown("cut off", provider="twilio")
FAULT = OutcomeUnknown("server fault", provider="twilio", status=500)
HELLO = "hello"


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, agent=FakeAgent(lambda said: [f"You said: {said}"]), twilio_numbers=(NUMBER,))
    catch_up(scene.rt)
    scene.clock.tick(600)
    scene.carrier.calls.clear()
    scene.carrier.redacts = True
    return scene


def outgoing(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


def of_another(scene: Scene, body: str, seconds: float = 0, **fields: object) -> CarriedText:
    """Another program sends to the same phone from the same number, by the carrier's clock so much later."""
    made = scene.clock() + timedelta(seconds=seconds)
    carried = CarriedText(f"SM{len(scene.carrier.accepted) + 0xF000:032x}", Delivery.SENT, body, made, segments=1)
    carried = replace(carried, **fields)  # type: ignore[arg-type]
    scene.carrier.accepted.append(Accepted(OutgoingText("", NUMBER, ANN, body), carried))
    return carried


def sends(scene: Scene) -> int:
    return sum(call == "send" for call, _ in scene.carrier.calls)


@pytest.mark.parametrize("body", ["", " ", "\n", "[Redacted]", "REDACTED", "**redacted**", "<redacted>"])
def test_words_that_are_hidden_are_seen_as_such(body: str) -> None:
    assert hidden(body)


@pytest.mark.parametrize("body", ["x", "xxx", "👍", "the redacted file", ".", "1"])
def test_words_that_are_not_hidden_are_not(body: str) -> None:
    assert not hidden(body)


# -- our texts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [CUT, FAULT], ids=str)
@pytest.mark.parametrize("body", [HELLO, "x" * 1000, "ж" * 300, "a – b “c”", "👩‍👩‍👧‍👦" * 30])
def test_a_text_that_was_taken_is_settled_by_all_but_its_words(scene: Scene, error: RemoteError, body: str) -> None:
    scene.carrier.fail("send", error, taken=True)
    scene.text(body)
    scene.work_until_idle()
    assert {row.status for row in outgoing(scene)} == {MessageStatus.SENT}
    assert outgoing(scene)[0].carrier_id == scene.carrier.accepted[0].carried.id
    assert sends(scene) == len(outgoing(scene))


@pytest.mark.parametrize("error", [CUT, FAULT], ids=str)
def test_a_text_that_was_not_taken_is_sent_again(scene: Scene, error: RemoteError) -> None:
    scene.carrier.fail("send", error)
    scene.text(HELLO)
    scene.work_until_idle()
    assert scene.got() == ["You said: hello"]
    assert outgoing(scene)[0].status is MessageStatus.SENT


def test_our_own_earlier_texts_are_no_reason_to_wait(scene: Scene) -> None:
    for n in range(3):
        scene.text(f"text {n}")
        scene.wake()
    scene.carrier.fail("send", CUT)
    scene.text(HELLO)
    scene.work_until_idle()
    assert len(scene.got()) == 4


OTHERS = [
    ("one that was made with it", [{"seconds": 2}]),
    ("two", [{"seconds": -20}, {"seconds": 2}]),
    ("one with a mark for words", [{"seconds": 2, "body": "[Redacted]"}]),
    ("one that nobody has counted", [{"seconds": 2, "segments": None}]),
    ("one without a date", [{"created_at": None}]),
    ("one a moment before", [{"seconds": -20}, {"seconds": -30}]),
    ("one of a segment more", [{"seconds": 2, "segments": 2}, {"seconds": 3}]),
]


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("others", [row[1] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_what_can_not_be_told_is_never_sent_twice(
    scene: Scene, caplog: pytest.LogCaptureFixture, others: list[dict[str, object]], taken: bool
) -> None:
    """Two that may be it, or one that may be another: only the callback can tell."""
    scene.text(HELLO)
    scene.carrier.fail("send", CUT, taken=taken)
    for fields in others:
        of_another(scene, **{"body": "something else", **fields})  # type: ignore[arg-type]
    of_another(scene, "something else", seconds=1)
    scene.work(600)
    assert sends(scene) == 1
    row = outgoing(scene)[0]
    assert row.status is MessageStatus.SENDING
    assert "the account hides the words of its texts" in str(row.error) and "callback" in str(row.error)
    assert f"message {row.id} waits for its callback" in caplog.text
    receipts.report(scene.rt, StatusReport(row.reference, "SM" + "e" * 32, Delivery.DELIVERED, ANN))
    scene.text("next")
    scene.work_until_idle()
    assert [row.status for row in outgoing(scene)] == [MessageStatus.SENT] * 2
    assert sends(scene) == 2


def test_what_no_callback_ever_tells_is_given_up_loudly_and_costs_few_looks(scene: Scene) -> None:
    scene.text(HELLO)
    scene.carrier.fail("send", CUT)
    for seconds in (1, 2):
        of_another(scene, "something else", seconds)
    scene.work_until_idle()
    row = outgoing(scene)[0]
    assert (row.status, sends(scene)) == (MessageStatus.GIVEN_UP, 1)
    assert "no callback came" in str(row.error)
    assert sum(call == "sent_to" for call, _ in scene.carrier.calls) < 40


NOT_IT = [
    ("words that are shown", {"body": "something else", "shown": True}),
    ("long ago", {"seconds": -200}),
    ("long after", {"seconds": 3000}),
    ("many more segments", {"segments": 9}),
]


@pytest.mark.parametrize("fields", [row[1] for row in NOT_IT], ids=[row[0] for row in NOT_IT])
def test_a_text_that_is_surely_another_is_no_reason_to_wait(scene: Scene, fields: dict[str, object]) -> None:
    scene.carrier.redacts = "shown" not in fields
    made = {name: value for name, value in fields.items() if name != "shown"}
    scene.text(HELLO)
    scene.carrier.fail("send", CUT)
    of_another(scene, **{"body": "something else", **made})  # type: ignore[arg-type]
    scene.work_until_idle()
    assert (outgoing(scene)[0].status, sends(scene)) == (MessageStatus.SENT, 2)


def test_an_equal_text_that_was_given_up_just_before_is_not_taken_for_this_one(scene: Scene) -> None:
    """Its own copy may turn up late: then nobody can tell the two apart."""
    scene.text(HELLO)
    scene.carrier.fail("send", Refused("no", provider="twilio", status=400, code=30007))
    scene.wake()
    first = outgoing(scene)[0]
    assert first.status is MessageStatus.GIVEN_UP
    scene.text("again")
    scene.carrier.fail("send", CUT, taken=True)
    scene.work(300)
    assert sends(scene) == 2
    assert outgoing(scene)[1].status is MessageStatus.SENDING


SWAPPED = [
    ("“Hi” – it’s me…", '"Hi" - it\'s me...'),
    ("½ price—today", "1/2 price-today"),
    ("a\u200bb\u2060c", "abc"),
    ("5\u00a0€ → 6\u202f€", "5 € -> 6 €"),
    ("• one\n• two", "- one\n- two"),
    ("ＯＫ！", "OK!"),
    ("cafe\u0301 ´s", "café 's"),
]


@pytest.mark.parametrize(("written", "carried"), SWAPPED)
@pytest.mark.parametrize("prefix", ["", "Sent from your Twilio trial account - "])
def test_typography_that_the_account_swaps_hides_no_text(
    sessions: Sessions, written: str, carried: str, prefix: str
) -> None:
    """Smart Encoding: the list shows what it made of the words."""
    scene = Scene(sessions, agent=FakeAgent(lambda said: ["👍 " + written]))
    scene.carrier.fail("send", CUT, taken=True)
    scene.text(HELLO)
    scene.wake()
    [accepted] = scene.carrier.accepted
    shown = replace(accepted.carried, body=prefix + "👍 " + carried)
    scene.carrier.accepted[0] = replace(accepted, carried=shown)
    scene.work_until_idle()
    assert (outgoing(scene)[0].status, sends(scene)) == (MessageStatus.SENT, 1)


@pytest.mark.parametrize("other", ["Yes, at 8", "yes at 7", "Yes, at 7 pm", "👎"])
def test_other_words_stay_another_text(sessions: Sessions, other: str) -> None:
    scene = Scene(sessions, agent=FakeAgent(lambda said: ["Yes, at 7"]))
    scene.carrier.fail("send", CUT)
    scene.text(HELLO)
    of_another(scene, other, 1)
    scene.work_until_idle()
    assert (outgoing(scene)[0].status, sends(scene)) == (MessageStatus.SENT, 2)


# -- people's texts ------------------------------------------------------------------------------------------------


def incoming(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if not row.reference]


def looked(scene: Scene) -> None:
    scene.clock.tick(60)
    catch_up(scene.rt, pauses=(0.0,))
    scene.work_until_idle()


def test_a_hidden_text_is_told_to_the_operator_and_never_answered_as_a_picture(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    scene.carrier.receive(ANN, NUMBER, "my secret")
    looked(scene)
    looked(scene)
    [row] = incoming(scene)
    assert (row.status, scene.got(), scene.agent.received) == (MessageStatus.IGNORED, [], [])
    assert "the carrier hides its words" in str(row.error)
    [shown] = failures.list_failures(scene.rt).failures
    assert (shown.id, shown.error) == (row.id, row.error)
    assert "the carrier hides its words" in caplog.text and ANN not in caplog.text
    assert [call for call, _ in scene.carrier.calls].count("fetch_received") == 1


def test_a_text_whose_words_are_shown_by_its_id_is_answered(scene: Scene) -> None:
    text = scene.carrier.receive(ANN, NUMBER, "my secret")
    scene.carrier.redacts = False
    scene.carrier.received[0] = replace(text, body="", hidden=True)
    scene.carrier.in_next_call(lambda: scene.carrier.received.__setitem__(0, text))
    looked(scene)
    assert (scene.agent.received, scene.got()) == (["my secret"], ["You said: my secret"])


def test_what_the_webhook_has_brought_is_not_asked_for(scene: Scene) -> None:
    text = scene.carrier.receive(ANN, NUMBER, "my secret")
    scene.text("my secret", sid=text.carrier_id)
    looked(scene)
    assert "fetch_received" not in [call for call, _ in scene.carrier.calls]
    assert scene.got() == ["You said: my secret"]


def test_words_that_the_webhook_brings_after_all_are_answered_once(scene: Scene) -> None:
    """A fallback address may be called half a minute later."""
    text = scene.carrier.receive(ANN, NUMBER, "my secret")
    looked(scene)
    for new in (True, False):
        assert scene.text("my secret", sid=text.carrier_id) == new
        scene.work_until_idle()
        looked(scene)
    [row] = incoming(scene)
    assert (row.status, row.body, row.error) == (MessageStatus.ANSWERED, "my secret", None)
    assert (scene.agent.received, scene.got()) == (["my secret"], ["You said: my secret"])


def test_an_opt_out_whose_words_come_late_opts_out(scene: Scene) -> None:
    text = scene.carrier.receive(ANN, NUMBER, "STOP")
    looked(scene)
    scene.text("STOP", sid=text.carrier_id)
    assert [row.status for row in incoming(scene)] == [MessageStatus.KEYWORD]


def test_a_picture_stays_a_picture(scene: Scene) -> None:
    scene.carrier.receive(ANN, NUMBER, "", media=1)
    looked(scene)
    assert incoming(scene)[0].status is MessageStatus.REFUSED
    assert len(scene.got()) == 1


@pytest.mark.parametrize(
    ("error", "times", "stored"),
    [
        (OutcomeUnknown("cut off", provider="twilio"), 1, True),
        (Refused("no", provider="twilio", status=400), 1, True),
        (OutcomeUnknown("its answer does not have the documented form", provider="twilio", status=200), 5, True),
        (NotReached("refused", provider="twilio"), 5, False),
        (AccountRefused("no", provider="twilio", status=401), 5, False),
    ],
    ids=["a moment", "refused", "unreadable for good", "away", "the account"],
)
def test_a_text_that_can_not_be_asked_for_is_told_and_one_of_an_account_that_is_away_is_looked_for_again(
    scene: Scene, error: RemoteError, times: int, stored: bool
) -> None:
    scene.carrier.receive(ANN, NUMBER, "my secret")
    scene.carrier.fail("fetch_received", error, times=times)
    looked(scene)
    assert bool(incoming(scene)) == stored
    scene.carrier.recover()
    looked(scene)
    assert [row.status for row in incoming(scene)] == [MessageStatus.IGNORED]
