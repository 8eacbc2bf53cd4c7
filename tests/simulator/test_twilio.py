"""The simulated Twilio, as the official client and a webhook's receiver see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
import requests
from flask import Flask, Response, request
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.hook import Overrides
from bridge.simulator.ledger import Callback, CarrierReply, FaultStruck, Sent, Webhook, Wrong
from testkit.waiting import until

ANA, BEN = "+15551230001", "+15551230002"
OURS = "+15550001111"
OVERRIDES = "#rc=2&rp=5xx,ct,rt&rt=200"


@dataclass
class Call:
    """One webhook as it arrived."""

    path: str
    query: str
    form: dict[str, str]
    headers: dict[str, str]


@dataclass
class Receiver:
    """A bridge's web side that writes down what comes in and answers what it is told."""

    address: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[Callable[[], Response]] = field(default_factory=list)
    """Used up one by one; then it answers like a healthy bridge."""
    hang: threading.Event = field(default_factory=threading.Event)

    def app(self) -> Flask:
        app = Flask("receiver")
        app.add_url_rule("/<path:path>", "take", self.take, methods=["POST"])
        return app

    def take(self, path: str) -> Response:
        self.calls.append(
            Call(f"/{path}", request.query_string.decode(), request.form.to_dict(), dict(request.headers.items()))
        )
        return self.answers.pop(0)() if self.answers else twiml()

    def to(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def bodies(self) -> list[str]:
        return [call.form["Body"] for call in self.to("/in")]

    def never(self) -> Response:
        self.hang.wait(10)
        return twiml()


def twiml(inner: str = "") -> Response:
    return Response(f"<Response>{inner}</Response>", content_type="text/xml")


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"  # no connection is left open

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Web(ThreadedWSGIServer):
    daemon_threads = False


@contextmanager
def receiving(receiver: Receiver) -> Iterator[None]:
    server = Web("127.0.0.1", 0, receiver.app(), Quiet)
    receiver.address = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield
    receiver.hang.set()
    server.shutdown()
    thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with receiving(receiver):
        yield receiver


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(SimulatorSettings(callback_seconds=0.002, api_key="SK" + "1" * 32, api_secret="s3cret"))


@pytest.fixture
def address(simulator: Simulator, receiver: Receiver) -> Iterator[str]:
    simulator.webhook_url = f"{receiver.address}/in{OVERRIDES}"
    with serve(simulator) as address:
        yield address


@pytest.fixture
def client(simulator: Simulator, address: str) -> Iterator[Client]:
    yield from connected(address, simulator.settings.account_sid, simulator.settings.auth_token)


def connected(address: str, account: str, token: str, **more: str) -> Iterator[Client]:
    client = Client(account, token, **more)
    client.api.base_url = address
    yield client
    client.http_client.session.close()


def send(client: Client, body: str = "hello", to: str = ANA, **more: object) -> str:
    return client.messages.create(**{"to": to, "from_": OURS, "body": body} | more).sid


def webhooks(simulator: Simulator) -> list[Webhook]:
    return simulator.ledger.of(Webhook)


def refused(client: Client, **message: object) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as error:
        send(client, **message)
    return error.value.status, error.value.code


class TestSending:
    def test_a_text_reaches_the_phone_and_comes_back_as_a_resource(self, simulator: Simulator, client: Client) -> None:
        message = client.messages.create(to=ANA, from_=OURS, body="Hé, 10:00 ok? 👍")
        assert message.sid.startswith("SM")
        assert (message.status, message.direction, message.num_segments) == ("queued", "outbound-api", "1")
        assert (message.to, message.from_, message.body) == (ANA, OURS, "Hé, 10:00 ok? 👍")
        assert abs(message.date_created - datetime.now(UTC)) < timedelta(seconds=5)
        assert simulator.phones.inbox(ANA) == ["Hé, 10:00 ok? 👍"]
        assert simulator.phones.inbox(BEN) == []
        assert simulator.ledger.of(Sent)[0].sid == message.sid

    def test_it_can_be_fetched_and_is_delivered_in_the_end(self, client: Client) -> None:
        sid = send(client)
        until(lambda: client.messages(sid).fetch().status == "delivered")
        assert client.messages(sid).fetch().date_sent

    def test_an_api_key_opens_the_account_too(self, simulator: Simulator, address: str) -> None:
        settings = simulator.settings
        for client in connected(address, settings.api_key or "", "s3cret", account_sid=settings.account_sid):
            assert send(client)

    @pytest.mark.parametrize(
        ("message", "verdict"),
        [
            ({"to": "+1"}, (400, 21211)),
            ({"to": "12345"}, (400, 21211)),
            ({"body": ""}, (400, 21602)),
            ({"body": "x" * 1601}, (400, 21617)),
            ({"body": "👍" * 801}, (400, 21617)),
            ({"from_": "+15550009999"}, (400, 21606)),
            ({"to": OURS}, (400, 21266)),
            ({"status_callback": "bridge"}, (400, 21609)),
            ({"messaging_service_sid": "MG" + "0" * 32}, (400, 21703)),
        ],
    )
    def test_what_twilio_would_refuse_is_refused(
        self, simulator: Simulator, client: Client, message: dict[str, object], verdict: tuple[int, int]
    ) -> None:
        assert refused(client, **message) == verdict
        assert simulator.phones.inbox(ANA) == []

    def test_the_longest_text_passes(self, client: Client) -> None:
        assert send(client, "x" * 1600)

    def test_a_wrong_token_is_refused(self, simulator: Simulator, address: str) -> None:
        for client in connected(address, simulator.settings.account_sid, "wrong"):
            assert refused(client) == (401, 20003)

    def test_another_account_is_not_found(self, simulator: Simulator, address: str) -> None:
        token = simulator.settings.auth_token
        for client in connected(address, simulator.settings.account_sid, token, account_sid="AC" + "9" * 32):
            assert refused(client)[0] == 404

    def test_an_unknown_message_is_not_found(self, client: Client) -> None:
        with pytest.raises(TwilioRestException) as error:
            client.messages("SM" + "0" * 32).fetch()
        assert (error.value.status, error.value.code) == (404, 20404)

    def test_a_messaging_service_picks_the_number(self, receiver: Receiver) -> None:
        service = "MG" + "a" * 32
        simulator = Simulator(SimulatorSettings(messaging_service_sid=service, callback_seconds=0.002))
        with serve(simulator) as address:
            for client in connected(address, simulator.settings.account_sid, simulator.settings.auth_token):
                callback = f"{receiver.address}/status"
                message = client.messages.create(
                    to=ANA, messaging_service_sid=service, body="hi", status_callback=callback
                )
                assert (message.status, message.num_segments) == ("accepted", "0")
                until(lambda: len(receiver.to("/status")) == 3)
        assert [c.form["MessageStatus"] for c in receiver.calls] == ["queued", "sent", "delivered"]
        assert receiver.calls[0].form["MessagingServiceSid"] == service
        assert receiver.calls[0].form["From"] == OURS


class TestListing:
    def test_the_newest_comes_first_and_both_directions_are_there(self, simulator: Simulator, client: Client) -> None:
        simulator.phones.text(ANA, "one")
        send(client, "two")
        simulator.phones.text(BEN, "three")
        rows = client.messages.list()
        assert [row.body for row in rows] == ["three", "two", "one"]
        assert [row.direction for row in rows] == ["inbound", "outbound-api", "inbound"]
        assert rows[2].status == "received"
        assert rows[2].date_sent

    def test_it_filters_by_both_ends(self, simulator: Simulator, client: Client) -> None:
        simulator.phones.text(ANA, "in")
        send(client, "to ana")
        send(client, "to ben", to=BEN)
        assert [m.body for m in client.messages.list(to=ANA)] == ["to ana"]
        assert [m.body for m in client.messages.list(from_=OURS)] == ["to ben", "to ana"]
        assert [m.body for m in client.messages.list(from_=OURS, to=BEN)] == ["to ben"]
        assert [m.body for m in client.messages.list(to=OURS)] == ["in"]
        assert client.messages.list(to="+15559999999") == []

    @pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 2), (4, 2), (7, 3), (7, 1000), (60, None)])
    def test_the_pages_hold_every_text_once(
        self, simulator: Simulator, client: Client, count: int, size: int | None
    ) -> None:
        for i in range(count):
            simulator.phones.text(ANA, f"text {i}")
        bodies = [m.body for m in client.messages.stream(from_=ANA, page_size=size)]
        assert bodies == [f"text {i}" for i in reversed(range(count))]

    def test_what_arrives_while_somebody_pages_shifts_nothing(self, simulator: Simulator, client: Client) -> None:
        for i in range(4):
            simulator.phones.text(ANA, f"text {i}")
        first = client.messages.page(page_size=2)
        seen = [m.body for m in first]
        simulator.phones.text(ANA, "late")
        following = first.next_page()
        assert following
        assert seen + [m.body for m in following] == ["text 3", "text 2", "text 1", "text 0"]
        assert following.next_page() is None

    def test_a_limit_ends_the_reading(self, simulator: Simulator, client: Client) -> None:
        for i in range(5):
            simulator.phones.text(ANA, f"text {i}")
        assert len(client.messages.list(limit=3, page_size=2)) == 3

    def test_it_filters_by_moment_and_by_day(self, receiver: Receiver) -> None:
        now = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
        clock = [now.timestamp()]
        simulator = Simulator(SimulatorSettings(clock=lambda: clock[0]))
        for hours in range(0, 72, 12):
            clock[0] = (now + timedelta(hours=hours)).timestamp()
            simulator.phones.text(ANA, f"{hours}")
        with serve(simulator) as address:
            for client in connected(address, simulator.settings.account_sid, simulator.settings.auth_token):
                noon = now + timedelta(hours=24)
                assert bodies(client, date_sent_after=noon) == ["60", "48", "36", "24"]
                assert bodies(client, date_sent_before=noon) == ["24", "12", "0"]
                assert bodies(client, date_sent=noon) == ["24"]
                assert bodies(client, date_sent_after=now.date() + timedelta(days=2)) == ["60", "48", "36"]
        url = f"{{}}/2010-04-01/Accounts/{simulator.settings.account_sid}/Messages.json?DateSent={{}}"
        with serve(simulator) as address:
            account = (simulator.settings.account_sid, simulator.settings.auth_token)
            day = requests.get(url.format(address, "2026-03-05"), auth=account, timeout=5).json()
            assert [row["body"] for row in day["messages"]] == ["24", "12"]
            assert requests.get(url.format(address, "soon"), auth=account, timeout=5).status_code == 400

    def test_a_text_that_is_not_sent_yet_has_no_date_to_be_found_by(self) -> None:
        simulator = Simulator(SimulatorSettings(callback_seconds=60))
        with serve(simulator) as address:
            for client in connected(address, simulator.settings.account_sid, simulator.settings.auth_token):
                send(client)
                assert client.messages.list(date_sent_after=datetime.now(UTC) - timedelta(days=1)) == []
                assert [m.status for m in client.messages.list(to=ANA)] == ["queued"]


def bodies(client: Client, **filters: object) -> list[str]:
    return [m.body for m in client.messages.list(**filters)]


class TestNumbers:
    def test_a_number_is_found_and_pointed_elsewhere(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        [number] = client.incoming_phone_numbers.list(phone_number=OURS)
        assert (number.phone_number, number.sms_url) == (OURS, simulator.webhook_url)
        number.update(sms_url=f"{receiver.address}/elsewhere", sms_method="POST")
        assert client.incoming_phone_numbers(number.sid).fetch().sms_url == f"{receiver.address}/elsewhere"
        simulator.phones.text(ANA, "hello")
        until(lambda: receiver.to("/elsewhere"))

    def test_an_unknown_number_is_not_there(self, client: Client) -> None:
        assert client.incoming_phone_numbers.list(phone_number="+15559999999") == []
        with pytest.raises(TwilioRestException):
            client.incoming_phone_numbers("PN" + "0" * 32).update(sms_url="http://x.example")

    def test_the_account_can_be_read(self, simulator: Simulator, client: Client) -> None:
        assert client.api.accounts(simulator.settings.account_sid).fetch().status == "active"

    def test_several_numbers_have_their_own_webhooks(self, receiver: Receiver) -> None:
        simulator = Simulator(SimulatorSettings(more_numbers=("+15550002222",)))
        simulator.webhook_url = f"{receiver.address}/in"
        with serve(simulator):
            simulator.phones.text(ANA, "hi", to="+15550002222")
            until(lambda: receiver.to("/in"))
        assert receiver.calls[0].form["To"] == "+15550002222"
        with pytest.raises(ValueError, match="is none of"):
            simulator.phones.text(ANA, "hi", to="+15550003333")


class TestStatusCallbacks:
    def test_they_tell_of_sent_and_delivered_signed_with_our_query(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        url = f"{receiver.address}/status?ref=abc_1"
        sid = send(client, status_callback=url)
        until(lambda: len(receiver.calls) == 2)
        assert [call.form["MessageStatus"] for call in receiver.calls] == ["sent", "delivered"]
        call = receiver.calls[1]
        assert call.query == "ref=abc_1"
        assert call.form["MessageSid"] == call.form["SmsSid"] == sid
        assert (call.form["From"], call.form["To"], call.form["AccountSid"]) == (
            OURS,
            ANA,
            simulator.settings.account_sid,
        )
        assert len(call.form["RawDlrDoneDate"]) == 10
        assert signed(simulator, url, call)

    def test_without_an_address_nobody_is_told(self, simulator: Simulator, client: Client, receiver: Receiver) -> None:
        sid = send(client)
        until(lambda: client.messages(sid).fetch().status == "delivered")
        assert receiver.calls == []
        assert simulator.ledger.of(Callback) == []

    def test_one_that_fails_is_written_down(self, simulator: Simulator, client: Client, receiver: Receiver) -> None:
        receiver.answers = [lambda: Response(status=500)]
        send(client, status_callback=f"{receiver.address}/status")
        until(lambda: len(simulator.ledger.of(Callback)) == 2)
        assert [event.ok for event in simulator.ledger.of(Callback)] == [False, True]

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ("callbacks_lost", []),
            ("callbacks_doubled", ["sent", "sent", "delivered", "delivered"]),
            ("callbacks_reordered", ["delivered", "sent"]),
            ("callbacks_undelivered", ["sent", "undelivered"]),
        ],
    )
    def test_every_fault_does_what_it_says(
        self, simulator: Simulator, client: Client, receiver: Receiver, fault: str, told: list[str]
    ) -> None:
        simulator.faults.set(fault)
        send(client, status_callback=f"{receiver.address}/status")
        assert simulator.wait_until_settled(5)
        assert [call.form["MessageStatus"] for call in receiver.calls] == told
        if fault == "callbacks_undelivered":
            assert receiver.calls[1].form["ErrorCode"] == "30003"

    def test_an_early_one_comes_before_the_answer_of_the_post(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        simulator.faults.set("callbacks_early")
        send(client, status_callback=f"{receiver.address}/status")
        assert receiver.calls[0].form["MessageStatus"] == "sent"


def signed(simulator: Simulator, url: str, call: Call) -> bool:
    validator = RequestValidator(simulator.settings.auth_token)
    return bool(validator.validate(url, call.form, call.headers["X-Twilio-Signature"]))


class TestWebhooks:
    def test_a_text_is_announced_with_everything_that_twilio_sends(
        self, simulator: Simulator, address: str, receiver: Receiver
    ) -> None:
        sid = simulator.phones.text(ANA, "Hé, 10:00 ok? 👍")
        until(lambda: webhooks(simulator))
        [call] = receiver.calls
        assert {call.form[name] for name in ("MessageSid", "SmsSid", "SmsMessageSid")} == {sid}
        expected = {
            "AccountSid": simulator.settings.account_sid,
            "From": ANA,
            "To": OURS,
            "Body": "Hé, 10:00 ok? 👍",
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            "FromCity": "",
        }
        assert expected.items() <= call.form.items()
        assert "MessagingServiceSid" not in call.form
        assert call.headers["User-Agent"] == "TwilioProxy/1.1"
        assert call.headers["I-Twilio-Idempotency-Token"]
        assert signed(simulator, f"{receiver.address}/in", call), "the fragment is not part of what is signed"
        assert (webhooks(simulator)[0].ok, webhooks(simulator)[0].status) == (True, 200)

    def test_a_picture_is_announced_with_an_address_that_works(
        self, simulator: Simulator, address: str, receiver: Receiver
    ) -> None:
        sid = simulator.phones.text(ANA, "", media=2)
        until(lambda: receiver.calls)
        form = receiver.calls[0].form
        assert sid.startswith("MM")
        assert (form["NumMedia"], form["MediaContentType1"]) == ("2", "image/png")
        with urlopen(form["MediaUrl0"]) as picture:
            assert picture.read(4) == b"\x89PNG"

    def test_each_phones_texts_come_in_order_and_phones_do_not_wait_for_each_other(
        self, simulator: Simulator, address: str, receiver: Receiver
    ) -> None:
        receiver.answers = [receiver.never]
        simulator.webhook_url = f"{receiver.address}/in"
        simulator.phones.text(ANA, "first")
        until(lambda: receiver.calls)
        for i in range(5):
            simulator.phones.text(ANA, f"ana {i}")
        simulator.phones.text(BEN, "ben")
        until(lambda: "ben" in receiver.bodies())
        assert receiver.bodies() == ["first", "ben"]
        receiver.hang.set()
        until(lambda: len(receiver.calls) == 7)
        assert receiver.bodies()[2:] == [f"ana {i}" for i in range(5)]

    def test_plain_text_is_texted_to_the_person(self, simulator: Simulator, address: str, receiver: Receiver) -> None:
        receiver.answers = [lambda: Response("ok", content_type="text/plain")]
        simulator.phones.text(ANA, "hi")
        until(lambda: simulator.phones.inbox(ANA))
        assert simulator.phones.inbox(ANA) == ["ok"]

    def test_twiml_can_answer_too(self, simulator: Simulator, address: str, receiver: Receiver) -> None:
        receiver.answers = [lambda: twiml("<Message>one</Message><Message>two</Message>")]
        simulator.phones.text(ANA, "hi")
        until(lambda: len(simulator.phones.inbox(ANA)) == 2)
        assert simulator.phones.inbox(ANA) == ["one", "two"]

    @pytest.mark.parametrize(("body", "kind"), [("<Response>", "text/xml"), ("{}", "application/json")])
    def test_an_answer_that_is_no_twiml_is_written_down(
        self, simulator: Simulator, address: str, receiver: Receiver, body: str, kind: str
    ) -> None:
        receiver.answers = [lambda: Response(body, content_type=kind)]
        simulator.phones.text(ANA, "hi")
        until(lambda: simulator.ledger.of(Wrong))
        assert simulator.ledger.of(Wrong)[0].name == "webhook_answer"

    def test_announced_twice_it_is_the_same_text(self, simulator: Simulator, address: str, receiver: Receiver) -> None:
        simulator.faults.next("webhooks_doubled")
        sid = simulator.phones.text(ANA, "hi")
        until(lambda: len(webhooks(simulator)) == 2)
        assert [call.form["MessageSid"] for call in receiver.calls] == [sid, sid]

    def test_not_announced_it_stands_in_the_list_only(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        simulator.faults.next("webhooks_lost")
        sid = simulator.phones.text(ANA, "hi")
        assert not webhooks(simulator)[0].ok
        assert [m.sid for m in client.messages.list(to=OURS)] == [sid]
        simulator.phones.text(ANA, "again")
        until(lambda: receiver.calls)
        assert receiver.bodies() == ["again"]


class TestConnectionOverrides:
    def test_the_defaults_are_twilios(self) -> None:
        assert Overrides.of("http://x.example/in") == Overrides(1, frozenset({"ct"}), 5.0, 15.0, 15.0)

    def test_all_of_them_are_read_and_kept_in_range(self) -> None:
        url = "http://x.example/in?a=1#rc=9&rp=5xx,rt&ct=50&rt=99999&tt=2000"
        assert Overrides.of(url) == Overrides(5, frozenset({"5xx", "rt"}), 0.1, 15.0, 2.0)

    @pytest.mark.parametrize(
        ("fragment", "calls"),
        [
            ("", 1),
            ("#rc=2", 1),
            ("#rc=2&rp=4xx", 1),
            ("#rc=2&rp=5xx", 3),
            ("#rc=1&rp=5xx", 2),
            ("#rc=2&rp=all", 3),
            ("#rc=0&rp=5xx", 1),
        ],
    )
    def test_a_5xx_is_repeated_only_where_they_say_so(
        self, simulator: Simulator, address: str, receiver: Receiver, fragment: str, calls: int
    ) -> None:
        receiver.answers = [lambda: Response(status=503)] * 9
        simulator.webhook_url = f"{receiver.address}/in{fragment}"
        simulator.phones.text(ANA, "hi")
        until(lambda: webhooks(simulator))
        [outcome] = webhooks(simulator)
        assert (outcome.ok, outcome.status, outcome.attempts) == (False, 503, calls)
        assert len(receiver.calls) == calls
        assert len({call.headers["I-Twilio-Idempotency-Token"] for call in receiver.calls}) == 1

    def test_the_second_attempt_can_succeed(self, simulator: Simulator, address: str, receiver: Receiver) -> None:
        receiver.answers = [lambda: Response(status=503)]
        simulator.phones.text(ANA, "hi")
        until(lambda: webhooks(simulator))
        assert (webhooks(simulator)[0].ok, webhooks(simulator)[0].attempts) == (True, 2)

    def test_a_late_answer_counts_as_none(self, simulator: Simulator, address: str, receiver: Receiver) -> None:
        receiver.answers = [receiver.never]
        simulator.webhook_url = f"{receiver.address}/in#rt=100"
        simulator.phones.text(ANA, "hi")
        until(lambda: webhooks(simulator))
        assert webhooks(simulator)[0].detail == "no answer in time"

    @pytest.mark.parametrize("body", ["", "<Respon"])
    def test_an_answer_that_breaks_off_counts_as_none(
        self, simulator: Simulator, address: str, receiver: Receiver, body: str
    ) -> None:
        def broken_off() -> Response:
            answer = Response(body, content_type="text/xml")
            answer.content_length = len("<Response/>")
            return answer

        receiver.answers = [broken_off]
        simulator.phones.text(ANA, "hi")
        until(lambda: webhooks(simulator))
        [outcome] = webhooks(simulator)
        assert (outcome.ok, outcome.detail) == (False, "the connection was cut")
        assert not simulator.ledger.of(Wrong)

    def test_with_nobody_there_the_text_stays_in_the_list(self, simulator: Simulator, client: Client) -> None:
        simulator.webhook_url = "http://127.0.0.1:9/in"
        simulator.phones.text(ANA, "hi")
        until(lambda: webhooks(simulator))
        [outcome] = webhooks(simulator)
        assert (outcome.ok, outcome.attempts, outcome.detail) == (False, 2, "no server listens there")
        assert bodies(client) == ["hi"]

    def test_the_fallback_is_called_with_what_went_wrong(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        receiver.answers = [lambda: Response(status=404)]
        [number] = client.incoming_phone_numbers.list()
        number.update(sms_fallback_url=f"{receiver.address}/fallback")
        sid = simulator.phones.text(ANA, "hi")
        until(lambda: receiver.to("/fallback"))
        form = receiver.to("/fallback")[0].form
        assert (form["MessageSid"], form["ErrorCode"]) == (sid, "11200")
        assert form["ErrorUrl"] == f"{receiver.address}/in"


class TestOptOut:
    def test_stop_is_answered_by_the_carrier_and_closes_the_way(
        self, simulator: Simulator, client: Client, receiver: Receiver
    ) -> None:
        simulator.phones.text(ANA, " stop ")
        until(lambda: receiver.calls)
        assert "OptOutType" not in receiver.calls[0].form
        assert "unsubscribed" in simulator.phones.inbox(ANA)[0]
        assert refused(client) == (400, 21610)
        assert send(client, to=BEN)
        simulator.phones.text(ANA, "START")
        assert send(client)
        assert len(simulator.ledger.of(CarrierReply)) == 2

    def test_a_sentence_with_the_word_is_just_a_sentence(self, simulator: Simulator, client: Client) -> None:
        simulator.phones.text(ANA, "stop calling me")
        assert send(client)

    def test_advanced_opt_out_says_so_itself(self, receiver: Receiver) -> None:
        simulator = Simulator(SimulatorSettings(advanced_opt_out=True))
        simulator.webhook_url = f"{receiver.address}/in"
        with serve(simulator):
            simulator.phones.text(ANA, "STOP")
            until(lambda: receiver.calls)
        assert receiver.calls[0].form["OptOutType"] == "STOP"


class TestCarrierFaults:
    @pytest.mark.parametrize(
        ("fault", "verdict", "taken"),
        [
            ("carrier_401", (401, 20003), False),
            ("carrier_429", (429, 20429), False),
            ("carrier_500", (500, 20500), False),
            ("carrier_500_after", (500, 20500), True),
        ],
    )
    def test_an_error_says_nothing_about_what_was_done(
        self, simulator: Simulator, client: Client, fault: str, verdict: tuple[int, int], taken: bool
    ) -> None:
        simulator.faults.next(fault)
        assert refused(client) == verdict
        assert simulator.phones.inbox(ANA) == (["hello"] if taken else [])
        assert [event.name for event in simulator.ledger.of(FaultStruck)] == [fault]
        assert send(client), "it struck once"

    @pytest.mark.parametrize(("fault", "taken"), [("carrier_cut_before", False), ("carrier_cut", True)])
    def test_a_cut_leaves_the_caller_without_an_answer(
        self, simulator: Simulator, client: Client, fault: str, taken: bool
    ) -> None:
        simulator.faults.next(fault)
        with pytest.raises(requests.exceptions.ConnectionError):
            send(client)
        assert simulator.phones.inbox(ANA) == (["hello"] if taken else [])

    def test_an_empty_answer_names_no_sid(self, simulator: Simulator, client: Client) -> None:
        simulator.faults.next("carrier_no_sid")
        assert client.messages.create(to=ANA, from_=OURS, body="hello").sid is None
        assert simulator.phones.inbox(ANA) == ["hello"]

    def test_a_slow_one_takes_its_time(self, simulator: Simulator, client: Client) -> None:
        simulator.faults.next("carrier_slow", seconds=0.1)
        started = time.monotonic()
        send(client)
        assert time.monotonic() - started >= 0.1

    def test_a_429_says_when_to_come_back(self, simulator: Simulator, address: str) -> None:
        simulator.faults.next("carrier_429", retry_after=7)
        path = f"/2010-04-01/Accounts/{simulator.settings.account_sid}/Messages.json"
        account = (simulator.settings.account_sid, simulator.settings.auth_token)
        answer = requests.post(address + path, auth=account, timeout=5)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        assert answer.json().keys() == {"code", "message", "more_info", "status"}

    def test_a_fault_can_be_aimed_at_another_call(self, simulator: Simulator, client: Client) -> None:
        simulator.faults.set("carrier_500", calls=["list"])
        assert send(client)
        with pytest.raises(TwilioException):
            client.messages.list()

    def test_sometimes_is_the_same_sometimes_for_the_same_seed(self) -> None:
        def struck() -> list[bool]:
            faults = Simulator(SimulatorSettings(seed=7)).faults
            faults.set("agent_500", percent=30)
            return [faults.strike("agent_500", "completion", 0.0) is not None for _ in range(1000)]

        assert struck() == struck()
        assert 250 < sum(struck()) < 350

    def test_clear_ends_them_and_unknown_ones_are_named(self, simulator: Simulator) -> None:
        simulator.faults.set("agent_500")
        simulator.faults.clear()
        assert simulator.faults.strike("agent_500", "completion", 0.0) is None
        with pytest.raises(ValueError, match="agent_slow"):
            simulator.faults.set("agent_sleepy")
        with pytest.raises(ValueError, match="no option"):
            simulator.faults.set("agent_500", seconds=3)


class TestServing:
    def test_everything_is_closed_at_the_end_even_what_waits(self, simulator: Simulator, receiver: Receiver) -> None:
        receiver.answers = [receiver.never]
        threads = threading.active_count()
        simulator.webhook_url = f"{receiver.address}/in"
        with serve(simulator) as address:
            simulator.phones.text(ANA, "hi")
            until(lambda: receiver.calls)
            known = requests.get(f"{address}/simulator/state", timeout=5).json()
            waiting = threading.Thread(target=ask_for_news, args=(address, known))
            waiting.start()
        waiting.join(5)
        receiver.hang.set()
        until(lambda: threading.active_count() <= threads)

    def test_a_connection_that_its_owner_keeps_open_holds_nothing_up(self, simulator: Simulator) -> None:
        with requests.Session() as session:
            with serve(simulator) as address:
                ports = {port_of(session.get(f"{address}/simulator/faults", stream=True, timeout=5)) for _ in range(3)}
                assert len(ports) == 1, "they went over the same connection"
            with pytest.raises(requests.exceptions.ConnectionError):
                session.get(f"{address}/simulator/faults", timeout=5)

    def test_it_can_be_served_again_with_what_it_remembers(self, simulator: Simulator) -> None:
        with serve(simulator):
            simulator.phones.text(ANA, "hi")
        with serve(simulator) as address:
            account = (simulator.settings.account_sid, simulator.settings.auth_token)
            url = f"{address}/2010-04-01/Accounts/{account[0]}/Messages.json"
            assert len(requests.get(url, auth=account, timeout=5).json()["messages"]) == 1

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "bridge.example"])
    def test_it_serves_this_machine_only(self, simulator: Simulator, host: str) -> None:
        with pytest.raises(ValueError, match="this machine only"), serve(simulator, host=host):
            pass


def port_of(answer: requests.Response) -> int:
    """Our own end of the connection that it came by."""
    port = int(answer.raw.connection.sock.getsockname()[1])
    assert answer.json()
    return port


def ask_for_news(address: str, known: dict[str, str]) -> None:
    """None will come: the simulator ends first, perhaps in the middle of an answer."""
    with suppress(requests.exceptions.RequestException):
        requests.get(f"{address}/simulator/state", params={k: known[k] for k in ("version", "watched")}, timeout=30)
