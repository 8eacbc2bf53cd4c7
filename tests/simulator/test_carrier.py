"""The simulated carrier beyond plain texts: opt-out, phones that fail, WhatsApp and RCS, services, parts of a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from flask import Response
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from bridge.simulator.channels import Channel, bare, channel, on
from bridge.simulator.encoding import segments, smart
from bridge.simulator.ledger import CarrierReply, Failed, Refused, Sent, Text
from bridge.simulator.opt_out import HELP_WORDS, START_WORDS, STOP_WORDS
from bridge.simulator.reasons import REASONS, failing_phone, fate, reason
from testkit.waiting import until
from tests.simulator.test_twilio import Receiver, connected, receiving, refused, send, twiml

ANA, BEN = "+15551230001", "+15551230002"
OURS, OTHER, TOLL_FREE = "+15550001111", "+15550002222", "+18885550000"
WHATSAPP_ANA, RCS_ANA = f"whatsapp:{ANA}", f"rcs:{ANA}"
WHATSAPP_OURS, RCS_OURS = f"whatsapp:{OURS}", "rcs:harbour_table_agent"
SERVICE = "MG" + "a" * 32
DAY = 86_400.0


@dataclass
class Stage:
    """The simulator on the network, Twilio's own client, and whoever is told."""

    simulator: Simulator
    client: Client
    receiver: Receiver

    def send(self, body: str = "hello", to: str = ANA, **more: object) -> str:
        return send(self.client, body, to, **{"status_callback": f"{self.receiver.address}/status", **more})

    def told(self) -> list[str]:
        """The statuses that were called back, once nothing is under way."""
        assert self.simulator.wait_until_settled(10)
        return [call.form["MessageStatus"] for call in self.receiver.to("/status")]

    def webhook(self) -> dict[str, str]:
        return until(lambda: self.receiver.to("/in"))[-1].form

    def write(self, body: str, phone: str = ANA, to: str | None = None) -> None:
        self.simulator.phones.text(phone, body, to=to)

    def answers(self) -> list[str]:
        return [reply.body for reply in self.simulator.ledger.of(CarrierReply)]


Opened = Callable[..., Stage]


@pytest.fixture
def stage() -> Iterator[Opened]:
    """Opens stages; all are closed at the end."""
    with ExitStack() as stack:

        def opened(**settings: object) -> Stage:
            simulator = Simulator(SimulatorSettings(**{"callback_seconds": 0.002, **settings}))  # type: ignore[arg-type]
            receiver = Receiver()
            stack.enter_context(receiving(receiver))
            simulator.webhook_url = f"{receiver.address}/in"
            address = stack.enter_context(serve(simulator))
            login = simulator.settings.account_sid, simulator.settings.auth_token
            client = stack.enter_context(contextmanager(connected)(address, *login))
            return Stage(simulator, client, receiver)

        yield opened


class TestOptOut:
    @pytest.mark.parametrize("word", [*sorted(STOP_WORDS), "Stop", " stop\n"])
    def test_every_stop_word_shuts_the_way_and_still_reaches_the_webhook(self, stage: Opened, word: str) -> None:
        here = stage()
        here.write(word)
        assert here.webhook()["Body"] == word
        assert "OptOutType" not in here.webhook()
        assert "unsubscribed" in here.answers()[0]
        assert refused(here.client) == (400, 21610)
        assert here.simulator.ledger.of(Refused)[0].code == 21610

    @pytest.mark.parametrize("word", sorted(START_WORDS))
    def test_every_start_word_opens_it_again(self, stage: Opened, word: str) -> None:
        here = stage()
        here.write("STOP")
        here.write(word)
        assert "re-subscribed" in here.answers()[1]
        assert here.send()

    @pytest.mark.parametrize("word", sorted(START_WORDS))
    def test_who_has_not_opted_out_says_yes_to_the_agent(self, stage: Opened, word: str) -> None:
        here = stage()
        here.write(word)
        assert here.answers() == []
        assert here.simulator.ledger.of(Text)[0].keyword is None

    @pytest.mark.parametrize("word", sorted(HELP_WORDS))
    def test_help_is_answered_and_changes_nothing(self, stage: Opened, word: str) -> None:
        here = stage()
        here.write(word.lower())
        assert here.answers() == ["Reply STOP to unsubscribe. Msg&Data Rates May Apply."]
        assert here.send()

    def test_the_carriers_own_words_are_none_of_the_bridges(self, stage: Opened) -> None:
        here = stage()
        here.write("STOP")
        until(lambda: here.receiver.to("/in"))
        assert here.simulator.ledger.of(Sent) == []
        assert judge(here.simulator.ledger).ok
        assert here.simulator.wait_until_settled(5)

    def test_a_text_that_was_taken_before_stop_arrives(self, stage: Opened) -> None:
        here = stage(callback_seconds=0.05)
        sid = here.send()
        here.write("STOP")
        until(lambda: here.client.messages(sid).fetch().status == "delivered")

    def test_an_answer_in_the_webhook_does_not_get_through_either(self, stage: Opened) -> None:
        here = stage()
        here.receiver.answers = [lambda: twiml("<Message>Bye!</Message>")]
        here.write("STOP")
        until(lambda: here.simulator.ledger.of(Refused))
        assert "Bye!" not in here.simulator.phones.inbox(ANA)
        assert judge(here.simulator.ledger).sent_after_stop == 1

    def test_on_a_toll_free_number_the_network_knows_three_words(self, stage: Opened) -> None:
        here = stage(number=TOLL_FREE)
        here.write("UNSUBSCRIBE")
        here.write("HELP")
        assert here.answers() == []
        here.write("stop")
        here.write("YES")
        assert refused(here.client, from_=TOLL_FREE) == (400, 21610)
        here.write("unstop")
        assert here.send(from_=TOLL_FREE)
        assert [answer.startswith("NETWORK MSG") for answer in here.answers()] == [True, True]

    def test_on_a_short_code_nobody_does_anything(self, stage: Opened) -> None:
        here = stage(number="12345")
        here.write("STOP")
        assert here.answers() == []
        assert here.send(from_="12345")

    def test_on_whatsapp_nobody_does_anything(self, stage: Opened) -> None:
        here = stage(advanced_opt_out=True)
        here.write("STOP", WHATSAPP_ANA)
        assert here.answers() == []
        assert "OptOutType" not in here.webhook()
        assert here.send(to=WHATSAPP_ANA, from_=WHATSAPP_OURS)

    def test_unless_it_is_told_to(self, stage: Opened) -> None:
        here = stage(whatsapp_opt_out=True)
        here.write("STOP", WHATSAPP_ANA)
        assert here.webhook()["OptOutType"] == "STOP"
        assert refused(here.client, to=WHATSAPP_ANA, from_=WHATSAPP_OURS) == (400, 21610)
        assert here.send(), "her SMS are another matter"

    def test_it_holds_for_the_number_that_was_texted(self, stage: Opened) -> None:
        here = stage(more_numbers=(OTHER,))
        here.write("STOP", to=OTHER)
        assert refused(here.client, from_=OTHER) == (400, 21610)
        assert here.send(from_=OURS)

    def test_in_a_messaging_service_it_holds_for_all_its_numbers_on_sms_and_rcs(self, stage: Opened) -> None:
        here = stage(more_numbers=(OTHER,), messaging_service_sid=SERVICE)
        here.write("STOP", RCS_ANA)
        assert here.webhook()["MessagingServiceSid"] == SERVICE
        assert refused(here.client, from_=OTHER) == (400, 21610)
        assert refused(here.client, from_=None, messaging_service_sid=SERVICE) == (400, 21610)


class TestFailingPhones:
    @pytest.mark.parametrize(
        ("phone", "code"),
        [
            ("+15005550001", 21211),
            ("+15005550002", 21612),
            ("+15005550003", 21408),
            ("+15005550004", 21610),
            ("+15005550009", 21614),
            (failing_phone(21635), 21635),
        ],
    )
    def test_some_are_refused_at_once(self, stage: Opened, phone: str, code: int) -> None:
        here = stage()
        assert refused(here.client, to=phone) == (400, code)
        [refusal] = here.simulator.ledger.of(Refused)
        assert (refusal.phone, refusal.code, refusal.body) == (phone, code, "hello")
        assert here.simulator.ledger.of(Sent) == []

    @pytest.mark.parametrize(
        ("code", "statuses"),
        [
            *((code, ["sent", "undelivered"]) for code in (30003, 30005, 30006, 30007, 30008, 30034)),
            *((code, ["failed"]) for code in (30001, 63016)),
        ],
    )
    def test_others_fail_later_with_their_reason(self, stage: Opened, code: int, statuses: list[str]) -> None:
        here = stage()
        sid = here.send(to=failing_phone(code))
        assert here.told() == statuses
        *before, last = here.receiver.to("/status")
        assert last.form["ErrorCode"] == str(code)
        assert all("ErrorCode" not in call.form for call in before)
        message = here.client.messages(sid).fetch()
        assert (message.status, message.error_code) == (statuses[-1], code)
        assert message.error_message == REASONS[code].message
        [failure] = here.simulator.ledger.of(Failed)
        assert (failure.sid, failure.code, failure.status) == (sid, code, statuses[-1])

    def test_they_can_text_all_the_same(self, stage: Opened) -> None:
        here = stage()
        here.write("hello?", failing_phone(30003))
        assert here.webhook()["From"] == failing_phone(30003)

    def test_the_test_senders_are_refused_too(self, stage: Opened) -> None:
        here = stage()
        for sender, code in (("+15005550001", 21212), ("+15005550007", 21606), ("+15005550008", 21611)):
            assert refused(here.client, from_=sender) == (400, code)

    def test_everybody_else_gets_her_texts(self) -> None:
        assert fate(ANA) is None
        assert fate("+15005512345") is None
        assert fate(f"whatsapp:{failing_phone(63024)}") is REASONS[63024]
        with pytest.raises(ValueError, match="no phone fails with 12345"):
            failing_phone(12345)
        assert reason(39999).message == "Error 39999"


class TestPlayedFailures:
    @pytest.mark.parametrize(("code", "status"), [(21610, 400), (21211, 400), (30022, 400), (20503, 503), (29999, 400)])
    def test_the_send_is_refused_with_the_code_of_the_fault(self, stage: Opened, code: int, status: int) -> None:
        here = stage()
        here.simulator.faults.next("carrier_code", code=code)
        assert refused(here.client) == (status, code)
        assert here.send(), "it struck once"

    def test_a_full_queue_takes_the_text_later(self, stage: Opened) -> None:
        here = stage()
        here.simulator.faults.next("carrier_queue_full")
        assert refused(here.client) == (400, 21611)
        assert here.send()

    def test_a_text_can_fail_with_the_code_of_the_fault(self, stage: Opened) -> None:
        here = stage()
        here.simulator.faults.next("callbacks_failed", code=30007)
        sid = here.send()
        assert here.told() == ["failed"]
        assert here.receiver.to("/status")[0].form["ErrorCode"] == "30007"
        assert here.client.messages(sid).fetch().error_code == 30007

    def test_a_failure_that_overtakes_what_was_before_it_stays(self, stage: Opened) -> None:
        here = stage()
        here.simulator.faults.set("callbacks_reordered")
        sid = here.send(to=failing_phone(30006))
        assert here.told() == ["undelivered", "sent"]
        message = here.client.messages(sid).fetch()
        assert (message.status, message.error_code) == ("undelivered", 30006)


class TestChannels:
    def test_a_whatsapp_text_tells_who_writes(self, stage: Opened) -> None:
        here = stage()
        here.write("hi", WHATSAPP_ANA)
        form = here.webhook()
        assert (form["From"], form["To"]) == (WHATSAPP_ANA, WHATSAPP_OURS)
        assert (form["ProfileName"], form["WaId"], form["NumSegments"]) == ("Ana", ANA[1:], "1")
        assert json.loads(form["ChannelMetadata"])["type"] == "whatsapp"
        assert "FromCity" not in form
        call = here.receiver.to("/in")[0]
        validator = RequestValidator(here.simulator.settings.auth_token)
        assert validator.validate(f"{here.receiver.address}/in", call.form, call.headers["X-Twilio-Signature"])

    def test_an_rcs_text_comes_to_our_agent_there(self, stage: Opened) -> None:
        here = stage()
        here.write("hi", RCS_ANA)
        form = here.webhook()
        assert (form["From"], form["To"]) == (RCS_ANA, RCS_OURS)
        assert json.loads(form["ChannelMetadata"])["type"] == "rcs"
        assert "WaId" not in form

    @pytest.mark.parametrize(("phone", "ours"), [(WHATSAPP_ANA, WHATSAPP_OURS), (RCS_ANA, RCS_OURS)])
    def test_the_answer_is_read_and_has_no_parts(self, stage: Opened, phone: str, ours: str) -> None:
        here = stage()
        here.write("hi", phone)
        message = here.client.messages.create(
            to=phone, from_=ours, body="x" * 400, status_callback=f"{here.receiver.address}/status"
        )
        assert message.num_segments == "1"
        until(lambda: len(here.receiver.to("/status")) == 3)
        calls = here.receiver.to("/status")
        assert [call.form["MessageStatus"] for call in calls] == ["sent", "delivered", "read"]
        assert [call.form.get("EventType") for call in calls] == [None, None, "READ"]
        assert calls[2].form["ChannelPrefix"] == channel(phone)
        assert "RawDlrDoneDate" not in calls[1].form
        assert here.client.messages(message.sid).fetch().status == "read"

    def test_a_day_after_the_last_text_whatsapp_takes_and_fails_what_is_said(self, stage: Opened) -> None:
        clock = [1_000_000.0]
        here = stage(clock=lambda: clock[0])
        here.write("hi", WHATSAPP_ANA)
        clock[0] += DAY - 1
        early = here.send("in time", WHATSAPP_ANA, from_=WHATSAPP_OURS)
        until(lambda: here.client.messages(early).fetch().status == "read")
        clock[0] += 1
        sid = here.send("too late", WHATSAPP_ANA, from_=WHATSAPP_OURS)
        until(lambda: here.client.messages(sid).fetch().error_code == 63016)
        assert here.client.messages(sid).fetch().status == "failed"
        here.write("still there?", WHATSAPP_ANA)
        again = here.send("yes", WHATSAPP_ANA, from_=WHATSAPP_OURS)
        until(lambda: here.client.messages(again).fetch().status == "read")

    def test_or_refuses_it_at_once(self, stage: Opened) -> None:
        here = stage(window_seconds=0.0, window_refused_at_once=True)
        here.write("hi", WHATSAPP_ANA)
        pair = {"to": WHATSAPP_ANA, "from_": WHATSAPP_OURS}
        assert refused(here.client, **pair) == (400, 63016)
        assert here.send(**pair, body=None, content_sid="HX" + "0" * 32), "a template may be sent at any time"
        assert here.send(), "SMS knows no such window"

    @pytest.mark.parametrize(
        ("pair", "code"),
        [
            ({"to": WHATSAPP_ANA, "from_": OURS}, 21910),
            ({"to": ANA, "from_": WHATSAPP_OURS}, 21910),
            ({"to": WHATSAPP_ANA, "from_": "whatsapp:+15550009999"}, 63007),
            ({"to": RCS_ANA, "from_": "rcs:somebody_else"}, 63007),
            ({"to": "whatsapp:ana"}, 21211),
        ],
    )
    def test_both_ends_are_on_the_same_channel(self, stage: Opened, pair: dict[str, object], code: int) -> None:
        assert refused(stage().client, **pair) == (400, code)

    def test_a_whatsapp_address_may_hide_the_number(self, stage: Opened) -> None:
        here, hidden = stage(), "whatsapp:US.13491208655302741918"
        here.write("hi", hidden)
        assert here.webhook()["From"] == hidden
        assert here.send(to=hidden, from_=WHATSAPP_OURS)

    @given(st.sampled_from(Channel), st.sampled_from([ANA, WHATSAPP_ANA, RCS_ANA]))
    def test_the_same_person_on_another_channel_is_the_same_person(self, way: Channel, phone: str) -> None:
        assert channel(on(way, phone)) is way
        assert bare(on(way, phone)) == ANA


class TestService:
    def test_the_sender_is_picked_after_the_text_was_accepted(self, stage: Opened) -> None:
        here = stage(messaging_service_sid=SERVICE, callback_seconds=0.05)
        message = here.client.messages.create(
            to=ANA,
            messaging_service_sid=SERVICE,
            body="x" * 200,
            status_callback=f"{here.receiver.address}/status",
        )
        assert (message.status, message.from_, message.num_segments) == ("accepted", None, "0")
        until(lambda: here.client.messages(message.sid).fetch().status == "delivered")
        fetched = here.client.messages(message.sid).fetch()
        assert (fetched.from_, fetched.num_segments) == (OURS, "2")
        assert here.told() == ["queued", "sent", "delivered"]

    def senders(self, here: Stage, *people: str) -> list[str]:
        for phone in people:
            here.client.messages.create(to=phone, messaging_service_sid=SERVICE, body="hi")
        return [sent.sender for sent in here.simulator.ledger.of(Sent)]

    def test_everybody_keeps_her_number(self, stage: Opened) -> None:
        here = stage(messaging_service_sid=SERVICE, more_numbers=(OTHER,))
        here.write("hi", BEN, to=OTHER)
        assert self.senders(here, ANA, BEN, ANA, "+15551230003", ANA) == [OURS, OTHER, OURS, OTHER, OURS]

    def test_unless_the_service_does_not_mind(self, stage: Opened) -> None:
        here = stage(messaging_service_sid=SERVICE, more_numbers=(OTHER,), sticky_sender=False)
        assert self.senders(here, ANA, ANA, ANA) == [OURS, OTHER, OURS]

    def test_on_another_channel_it_picks_our_address_there(self, stage: Opened) -> None:
        here = stage(messaging_service_sid=SERVICE)
        here.write("hi", RCS_ANA)
        assert self.senders(here, WHATSAPP_ANA, RCS_ANA, ANA) == [WHATSAPP_OURS, RCS_OURS, OURS]


class TestValidity:
    def test_what_waits_for_too_long_fails(self, stage: Opened) -> None:
        here = stage(queue_seconds=60.0)
        sid = here.send(validity_period=1)
        until(lambda: here.receiver.to("/status"))
        assert here.told() == ["failed"]
        assert here.receiver.to("/status")[0].form["ErrorCode"] == "30036"
        assert here.client.messages(sid).fetch().error_code == 30036

    def test_what_may_wait_arrives(self, stage: Opened) -> None:
        here = stage(queue_seconds=0.1)
        here.send(validity_period=300)
        assert here.told() == ["sent", "delivered"]

    @pytest.mark.parametrize("seconds", [0, 36_001, "soon"])
    def test_a_period_out_of_range_is_refused(self, stage: Opened, seconds: object) -> None:
        assert refused(stage().client, validity_period=seconds) == (400, 21624)


class TestParts:
    @pytest.mark.parametrize(
        ("body", "parts"),
        [
            ("", 1),
            ("a" * 160, 1),
            ("a" * 161, 2),
            ("a" * 306, 2),
            ("a" * 307, 3),
            ("€" * 80, 1),
            ("€" * 81, 2),
            ("€" * 153, 3),
            ("a" * 152 + "€" + "a" * 152, 3),
            ("a" * 159 + "€", 2),
            ("[ok] {a}", 1),
            ("ç" * 70, 1),
            ("ç" * 71, 2),
            ("ç" * 134, 2),
            ("ç" * 135, 3),
            ("a" * 70 + "`", 2),
            ("👍" * 35, 1),
            ("👍" * 36, 2),
            ("👍" * 67, 3),
            ("a" * 66 + "👍" + "a" * 66, 3),
            ("a" * 1600, 11),
            ("中" * 1600, 24),
        ],
    )
    def test_they_are_counted_as_twilio_counts_them(self, body: str, parts: int) -> None:
        assert segments(body) == parts

    @given(st.text(max_size=400))
    def test_more_words_never_take_fewer_parts(self, body: str) -> None:
        assert segments(body + "👍") >= segments(body)

    def test_smart_encoding_swaps_what_only_looks_nice(self, stage: Opened) -> None:
        here, body = stage(), "“Hi”—it’s me… " + "x" * 100
        assert here.client.messages.create(to=ANA, from_=OURS, body=body).num_segments == "2"
        swapped = here.client.messages.create(to=ANA, from_=OURS, body=body, smart_encoded=True)
        assert (swapped.num_segments, swapped.body) == ("1", body)
        assert here.simulator.phones.inbox(ANA) == [body, '"Hi"-it\'s me... ' + "x" * 100]
        assert [sent.body for sent in here.simulator.ledger.of(Sent)] == [body, body]

    @given(st.text(alphabet=st.characters(max_codepoint=0x7E, min_codepoint=0x20).filter(lambda c: c != "`")))
    def test_it_leaves_plain_words_alone(self, body: str) -> None:
        assert smart(body) == body
        assert smart("ＡＢ　中") == "AB 中"

    def test_an_inbound_text_tells_its_parts(self, stage: Opened) -> None:
        here = stage()
        here.write("ç" * 71)
        assert here.webhook()["NumSegments"] == "2"


def test_a_fault_takes_numbers_only(stage: Opened) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        stage().simulator.faults.set("carrier_code", code="soon")  # type: ignore[arg-type]


def test_the_webhooks_answer_to_a_whatsapp_person_comes_from_whatsapp(stage: Opened) -> None:
    here = stage()
    here.receiver.answers = [lambda: Response("ok", content_type="text/plain")]
    here.write("hi", WHATSAPP_ANA)
    [sent] = until(lambda: here.simulator.ledger.of(Sent))
    assert (sent.to, sent.sender, sent.body) == (WHATSAPP_ANA, WHATSAPP_OURS, "ok")
