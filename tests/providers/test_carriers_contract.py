"""What every carrier keeps, shown on the fake and on the real adapter: so the fake can't lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest

from bridge.providers.carriers.contract import (
    RANK,
    Carrier,
    Delivery,
    FailureClass,
    InboundText,
    OutgoingText,
    SentText,
)
from bridge.providers.carriers.registry import build_carrier
from bridge.providers.carriers.twilio.client import PAGE_SIZE
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, RemoteError
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.fakes import FakeCarrier, FakeClock, fake_settings
from tests.vendor import closed_port

ANN = "+15551230001"
BOB = "+15551230002"
NUMBER = "+15550001111"
OTHER_NUMBER = "+15550002222"
WHATSAPP_NUMBER = f"whatsapp:{NUMBER}"
NOT_OURS = "+15550009999"


class Stage(Protocol):
    """A carrier, its clock and the hand behind it."""

    carrier: Carrier
    clock: FakeClock
    page_size: int

    def receive(self, body: str, *, phone: str = ..., number: str = ..., media: int = 0) -> str:
        """A person texts one of our numbers; the text's id. Nobody is told."""

    def write_outside(self, body: str, *, phone: str = ..., number: str = ...) -> str:
        """Somebody texts a person from one of our numbers with another tool; the text's id."""

    def fails(self, carrier_id: str, error_code: int) -> None:
        """A text of ours can't be delivered."""

    def break_list(self) -> None:
        """The next page of a list can't be read."""

    def redact(self) -> None:
        """From now on the account hides what texts say."""

    def cut(self, *, taken: bool) -> None:
        """The next text gets no answer."""

    def limit(self) -> None:
        """The next text is one too many, and may come again after 7 s."""

    def lock_out(self) -> None:
        """The next call is refused for the account's sake."""


class FakeStage:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self._carrier = FakeCarrier(now=self.clock)
        self._carrier.refuses = {NOT_OURS}
        self.carrier: Carrier = self._carrier
        self.page_size = self._carrier.page_size

    def receive(self, body: str, *, phone: str = ANN, number: str = NUMBER, media: int = 0) -> str:
        return self._carrier.receive(phone, number, body, media).carrier_id

    def write_outside(self, body: str, *, phone: str = ANN, number: str = NUMBER) -> str:
        return self._carrier.write_outside(phone, number, body).carried.id

    def fails(self, carrier_id: str, error_code: int) -> None:
        self._carrier.becomes(carrier_id, Delivery.UNDELIVERED, error_code)

    def break_list(self) -> None:
        for page in ("received_by", "sent_by", "next_page"):
            self._carrier.fail(page, OutcomeUnknown("HTTP 500", provider="twilio", status=500))

    def redact(self) -> None:
        self._carrier.redacts = True

    def cut(self, *, taken: bool) -> None:
        self._carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=taken)

    def limit(self) -> None:
        self._carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, retry_after=7))

    def lock_out(self) -> None:
        for call in ("send", "received_by", "sent_by", "fetch"):
            self._carrier.fail(call, AccountRefused("no such key", provider="twilio", status=401))


class TwilioStage:
    def __init__(self, simulator: Simulator, clock: FakeClock, address: str) -> None:
        self.clock = clock
        self.page_size = PAGE_SIZE
        self._phones = simulator.phones
        self._texts = simulator.carrier
        self._faults = simulator.faults
        self._faults.set("webhooks_lost")
        self.carrier: Carrier = build_carrier(
            fake_settings(
                public_url=address,
                twilio_api_base_url=address,
                twilio_account_sid=simulator.settings.account_sid,
                twilio_auth_token=simulator.settings.auth_token,
            )
        )

    def receive(self, body: str, *, phone: str = ANN, number: str = NUMBER, media: int = 0) -> str:
        return self._phones.text(phone, body, media, to=number)

    def write_outside(self, body: str, *, phone: str = ANN, number: str = NUMBER) -> str:
        return self._phones.write_outside(phone, body, number)

    def fails(self, carrier_id: str, error_code: int) -> None:
        text = self._texts.get(carrier_id)
        assert text
        self._texts.move(text, "undelivered", error_code)

    def break_list(self) -> None:
        self._faults.next("carrier_500", calls=["list"])

    def redact(self) -> None:
        self._texts.redacts = True

    def cut(self, *, taken: bool) -> None:
        self._faults.next("carrier_cut" if taken else "carrier_cut_before", calls=["send"])

    def limit(self) -> None:
        self._faults.next("carrier_429", calls=["send"], retry_after=7)

    def lock_out(self) -> None:
        self._faults.next("carrier_401")


@pytest.fixture(params=["fake", "twilio"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "fake":
        yield FakeStage()
        return
    clock = FakeClock()
    simulator = Simulator(
        SimulatorSettings(more_numbers=(OTHER_NUMBER, WHATSAPP_NUMBER), clock=lambda: clock().timestamp())
    )
    with serve(simulator) as address:
        stage = TwilioStage(simulator, clock, address)
        yield stage
        stage.carrier.close()


def text(body: str, *, to: str = ANN, sender: str = NUMBER) -> OutgoingText:
    return OutgoingText(reference="r1", sender=sender, recipient=to, body=body)


def listed(stage: Stage) -> list[str]:
    """What the carrier has taken from us for this pair."""
    return [t.body for t in stage.carrier.sent_to(ANN, NUMBER, stage.clock() - timedelta(hours=1))]


def test_a_text_is_taken_and_has_a_name_and_a_moment(stage: Stage) -> None:
    taken = stage.carrier.send(text("hello"))
    assert taken.id
    assert taken.body == "hello"
    assert taken.created_at == stage.clock()
    assert taken.error_code is None


@pytest.mark.parametrize("seconds", [-1, 0.5, 300, 36_000, 1_000_000])
def test_a_text_may_say_how_long_it_is_of_use(stage: Stage, seconds: float) -> None:
    taken = stage.carrier.send(replace(text("hello"), valid_for=timedelta(seconds=seconds)))
    assert taken.body == "hello"
    assert listed(stage) == ["hello"]


def test_a_channel_is_kept_and_its_addresses_are_others_than_the_numbers_in_them(stage: Stage) -> None:
    stage.carrier.send(text("by WhatsApp", to=f"whatsapp:{ANN}", sender=WHATSAPP_NUMBER))
    stage.carrier.send(text("by SMS"))
    since = stage.clock() - timedelta(hours=1)
    assert [found.body for found in stage.carrier.sent_to(f"whatsapp:{ANN}", WHATSAPP_NUMBER, since)] == ["by WhatsApp"]
    assert listed(stage) == ["by SMS"]


def test_without_a_service_every_address_has_a_queue_of_its_own(stage: Stage) -> None:
    assert [stage.carrier.sending_identity(sender) for sender in (NUMBER, WHATSAPP_NUMBER)] == [NUMBER, WHATSAPP_NUMBER]


def test_a_text_is_found_again_as_it_was_taken(stage: Stage) -> None:
    taken = stage.carrier.send(text("Hé, 10:00 ok? 👍"))
    [found] = stage.carrier.sent_to(ANN, NUMBER, stage.clock() - timedelta(hours=1))
    assert (found.id, found.body, found.created_at) == (taken.id, "Hé, 10:00 ok? 👍", taken.created_at)


def test_an_erased_text_is_in_no_list_any_more(stage: Stage) -> None:
    ours = stage.carrier.send(text("hello")).id
    stage.fails(ours, 30003)
    theirs = stage.receive("a picture", media=2)
    since = stage.clock() - timedelta(hours=1)
    for _ in range(2):  # it may be repeated
        stage.carrier.erase(ours, with_media=False)
        stage.carrier.erase(theirs, with_media=True)
    assert listed(stage) == []
    assert [each for page in stage.carrier.received_by(NUMBER, since) for each in page] == []
    assert stage.carrier.fetch(ours) is None


def test_only_the_named_text_is_erased(stage: Stage) -> None:
    stage.carrier.send(text("stays"))
    gone = stage.receive("goes")
    stage.receive("stays too")
    stage.carrier.erase(gone, with_media=False)
    since = stage.clock() - timedelta(hours=1)
    assert [each.body for page in stage.carrier.received_by(NUMBER, since) for each in page] == ["stays too"]
    assert listed(stage) == ["stays"]


def test_texts_are_found_newest_first(stage: Stage) -> None:
    for body in ("one", "two", "three"):
        stage.carrier.send(text(body))
        stage.clock.tick(1)
    assert listed(stage) == ["three", "two", "one"]


def test_texts_of_the_same_second_are_found_newest_first(stage: Stage) -> None:
    for body in ("one", "two", "three"):
        stage.carrier.send(text(body))
    assert listed(stage) == ["three", "two", "one"]


def test_only_texts_of_the_pair_are_found(stage: Stage) -> None:
    for other in (text("to another", to=BOB), text("from another", sender=OTHER_NUMBER), text("ours")):
        stage.carrier.send(other)
    assert listed(stage) == ["ours"]


def test_only_texts_since_the_moment_are_found(stage: Stage) -> None:
    stage.carrier.send(text("before"))
    stage.clock.tick(60)
    since = stage.clock()
    stage.carrier.send(text("then"))
    stage.clock.tick(60)
    stage.carrier.send(text("after"))
    assert [found.body for found in stage.carrier.sent_to(ANN, NUMBER, since)] == ["after", "then"]


def test_nothing_is_found_where_nothing_was_sent(stage: Stage) -> None:
    assert listed(stage) == []


def test_a_text_whose_answer_is_lost_is_found_and_is_not_sent_twice(stage: Stage) -> None:
    stage.cut(taken=True)
    with pytest.raises(OutcomeUnknown) as caught:
        stage.carrier.send(text("hello"))
    assert caught.value.maybe_done
    assert listed(stage) == ["hello"]


def test_a_text_that_was_cut_off_is_not_found(stage: Stage) -> None:
    stage.cut(taken=False)
    with pytest.raises(OutcomeUnknown):
        stage.carrier.send(text("hello"))
    assert listed(stage) == []


def test_a_rate_limit_does_nothing_and_says_how_long_to_wait(stage: Stage) -> None:
    stage.limit()
    with pytest.raises(RateLimited) as caught:
        stage.carrier.send(text("hello"))
    assert caught.value.retry_after == 7
    assert_surely_not_sent(stage, caught.value)


def test_a_refused_account_does_nothing_and_speaks_for_all_texts(stage: Stage) -> None:
    stage.lock_out()
    with pytest.raises(AccountRefused) as caught:
        stage.carrier.send(text("hello"))
    assert caught.value.provider_wide
    assert_surely_not_sent(stage, caught.value)


def test_a_refused_sender_does_nothing_and_speaks_for_its_own_texts(stage: Stage) -> None:
    with pytest.raises(AccountRefused) as caught:
        stage.carrier.send(text("hello", sender=NOT_OURS))
    assert caught.value.provider_wide
    assert caught.value.scope == f"twilio {NOT_OURS}"
    assert not caught.value.maybe_done
    assert stage.carrier.sent_to(ANN, NOT_OURS, stage.clock() - timedelta(hours=1)) == []
    assert stage.carrier.send(text("hello")).id


def assert_surely_not_sent(stage: Stage, error: RemoteError) -> None:
    assert error.worth_retry
    assert not error.maybe_done
    assert error.provider == "twilio"
    assert listed(stage) == []


# -- one text ------------------------------------------------------------------------------------------------------


def test_one_text_is_shown_as_it_was_taken(stage: Stage) -> None:
    stage.carrier.send(text("another"))
    taken = stage.carrier.send(text("Hé, 10:00 ok? 👍"))
    shown = stage.carrier.fetch(taken.id)
    assert shown
    assert (shown.id, shown.body, shown.created_at, shown.error_code) == (taken.id, taken.body, taken.created_at, None)
    assert RANK[shown.status] >= RANK[taken.status]


def test_a_text_that_failed_is_shown_with_its_code(stage: Stage) -> None:
    taken = stage.carrier.send(text("hello"))
    stage.fails(taken.id, 30003)
    shown = stage.carrier.fetch(taken.id)
    assert shown
    assert (shown.id, shown.status, shown.error_code) == (taken.id, Delivery.UNDELIVERED, 30003)


def test_a_text_that_nobody_knows_is_not_shown(stage: Stage) -> None:
    stage.carrier.send(text("hello"))
    assert stage.carrier.fetch("SM" + "f" * 32) is None


def test_a_refused_account_shows_no_text(stage: Stage) -> None:
    taken = stage.carrier.send(text("hello"))
    stage.lock_out()
    with pytest.raises(AccountRefused) as caught:
        stage.carrier.fetch(taken.id)
    assert caught.value.provider_wide


def test_a_code_has_a_meaning_also_when_nobody_knows_it(stage: Stage) -> None:
    known, unknown, none = (stage.carrier.meaning(code) for code in (21610, 99999, None))
    assert (known.failure, known.code) == (FailureClass.CONSENT, 21610)
    assert (unknown.failure, unknown.code) == (FailureClass.UNKNOWN, 99999)
    assert (none.failure, none.code, none.page) == (FailureClass.UNKNOWN, None, None)


# -- what people sent ----------------------------------------------------------------------------------------------


def received(stage: Stage, since: float = 3600) -> list[InboundText]:
    """What people sent to this number in the last seconds."""
    pages = stage.carrier.received_by(NUMBER, stage.clock() - timedelta(seconds=since))
    return [sent for page in pages for sent in page]


def bodies(texts: Iterable[InboundText]) -> list[str]:
    return [sent.body for sent in texts]


def test_a_persons_text_is_shown_as_it_was_sent(stage: Stage) -> None:
    carrier_id = stage.receive("Hé, 10:00 ok? 👍", media=2)
    assert received(stage) == [InboundText(carrier_id, ANN, NUMBER, "Hé, 10:00 ok? 👍", media=2, sent_at=stage.clock())]


def test_peoples_texts_are_shown_oldest_first(stage: Stage) -> None:
    for body, phone in (("one", ANN), ("two", BOB), ("three", ANN)):
        stage.receive(body, phone=phone)
        stage.clock.tick(1)
    assert bodies(received(stage)) == ["one", "two", "three"]


def test_peoples_texts_of_the_same_second_are_shown_oldest_first(stage: Stage) -> None:
    for body in ("one", "two", "three"):
        stage.receive(body)
    assert bodies(received(stage)) == ["one", "two", "three"]


def test_a_persons_text_is_shown_by_its_id(stage: Stage) -> None:
    carrier_id = stage.receive("hello")
    shown = stage.carrier.fetch_received(carrier_id)
    assert shown
    assert (shown.carrier_id, shown.phone, shown.bridge_number, shown.body) == (carrier_id, ANN, NUMBER, "hello")
    assert stage.carrier.fetch_received("SM" + "f" * 32) is None


def test_an_account_may_hide_what_texts_say(stage: Stage) -> None:
    """There they are all the same, and it is told of each that its words are hidden."""
    taken = stage.carrier.send(text("hello"))
    carrier_id = stage.receive("my secret")
    stage.redact()
    [ours] = stage.carrier.sent_to(ANN, NUMBER, stage.clock() - timedelta(hours=1))
    assert (ours.id, ours.body, ours.segments) == (taken.id, "", 1)
    [[theirs]] = list(stage.carrier.received_by(NUMBER, stage.clock() - timedelta(hours=1)))
    assert (theirs.carrier_id, theirs.body, theirs.hidden) == (carrier_id, "", True)
    asked = stage.carrier.fetch_received(carrier_id)
    assert asked and asked.hidden


def test_segments_are_counted(stage: Stage) -> None:
    stage.carrier.send(text("x" * 161))
    [shown] = stage.carrier.sent_to(ANN, NUMBER, stage.clock() - timedelta(hours=1))
    assert shown.segments == 2


def test_only_peoples_texts_since_the_moment_are_shown(stage: Stage) -> None:
    for body in ("before", "then", "after"):
        stage.receive(body)
        stage.clock.tick(60)
    assert bodies(received(stage, since=120)) == ["then", "after"]


def test_a_moment_that_was_yesterday_is_not_the_whole_day(stage: Stage) -> None:
    for body in ("before", "yesterday", "today"):
        stage.receive(body)
        stage.clock.tick(12 * 3600 - 60)
    assert bodies(received(stage, since=24 * 3600)) == ["yesterday", "today"]


def test_only_peoples_texts_to_the_number_are_shown(stage: Stage) -> None:
    stage.receive("to another", number=OTHER_NUMBER)
    stage.receive("to us")
    assert bodies(received(stage)) == ["to us"]


def test_what_we_sent_is_not_shown_as_a_persons_text(stage: Stage) -> None:
    stage.carrier.send(text("between our own numbers", to=NUMBER, sender=OTHER_NUMBER))
    stage.carrier.send(text("to a person"))
    assert received(stage) == []


@pytest.mark.parametrize("pages", [1, 2, 3])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_long_list_is_shown_whole_and_in_order(stage: Stage, pages: int, more: int) -> None:
    sent = [f"text {n}" for n in range(pages * stage.page_size + more)]
    for body in sent:
        stage.receive(body, phone=ANN if len(body) % 2 else BOB)
    assert bodies(received(stage)) == sent


def test_a_long_list_ends_at_the_moment(stage: Stage) -> None:
    for n in range(4 * stage.page_size):
        stage.receive(f"text {n}")
        stage.clock.tick(1)
    recent = 2 * stage.page_size
    assert bodies(received(stage, since=recent)) == [f"text {n}" for n in range(recent, 2 * recent)]


def test_texts_that_come_while_a_list_is_read_push_nothing_out_of_it(stage: Stage) -> None:
    sent = [stage.receive(f"text {n}") for n in range(3 * stage.page_size)]
    pages = stage.carrier.received_by(NUMBER, stage.clock() - timedelta(hours=1))
    shown = [*next(pages)]
    for n in range(stage.page_size // 2):
        stage.receive(f"late text {n}")
    shown += [text for page in pages for text in page]
    assert [text.carrier_id for text in shown][: len(sent)] == sent


def test_a_list_that_can_not_be_read_can_be_asked_for_again(stage: Stage) -> None:
    stage.receive("hello")
    stage.break_list()
    with pytest.raises(OutcomeUnknown):
        received(stage)
    assert bodies(received(stage)) == ["hello"]


def test_what_comes_before_a_page_that_can_not_be_read_is_shown(stage: Stage) -> None:
    sent = [stage.receive(f"text {n}") for n in range(3 * stage.page_size)]
    pages = stage.carrier.received_by(NUMBER, stage.clock() - timedelta(hours=1))
    assert [text.carrier_id for text in next(pages)] == sent[: stage.page_size]
    stage.break_list()
    with pytest.raises(OutcomeUnknown):
        next(pages)


def test_a_page_that_could_not_be_read_comes_next_all_the_same(stage: Stage) -> None:
    sent = [stage.receive(f"text {n}") for n in range(3 * stage.page_size)]
    pages = stage.carrier.received_by(NUMBER, stage.clock() - timedelta(hours=1))
    shown: list[InboundText] = []
    faults = 0
    while len(shown) < len(sent):
        if faults <= len(shown) // stage.page_size:
            stage.break_list()
        try:
            shown += next(pages)
        except OutcomeUnknown:
            faults += 1
    assert [text.carrier_id for text in shown] == sent
    assert faults >= 2


def test_a_refused_account_shows_no_list(stage: Stage) -> None:
    stage.lock_out()
    with pytest.raises(AccountRefused) as caught:
        received(stage)
    assert caught.value.provider_wide


Call = Callable[[Carrier], object]


@pytest.mark.parametrize(
    "call",
    [
        lambda carrier: carrier.send(text("hello")),
        lambda carrier: carrier.sent_to(ANN, NUMBER, FakeClock()()),
        lambda carrier: carrier.fetch("SM" + "f" * 32),
        lambda carrier: next(carrier.received_by(NUMBER, FakeClock()())),
        lambda carrier: next(carrier.sent_by(NUMBER, FakeClock()())),
    ],
)
def test_a_carrier_that_is_away_has_taken_nothing(call: Call) -> None:
    carrier = build_carrier(fake_settings(twilio_api_base_url=f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(NotReached):
        call(carrier)
    carrier.close()


# -- the texts from our numbers, whoever has sent them -------------------------------------------------------------


def sent(stage: Stage, number: str = NUMBER, since: float = 3600) -> list[SentText]:
    pages = stage.carrier.sent_by(number, stage.clock() - timedelta(seconds=since))
    return [text for page in pages for text in page]


def test_what_another_tool_has_sent_is_shown_beside_our_own_texts(stage: Stage) -> None:
    ours = stage.carrier.send(text("by the bridge")).id
    stage.clock.tick(1)
    theirs = stage.write_outside("by another tool")
    shown = {each.carried.id: each for each in sent(stage)}
    assert theirs in shown
    assert shown[theirs].carried.body == "by another tool"
    assert (shown[theirs].sender, shown[theirs].recipient) == (NUMBER, ANN)
    assert (shown[theirs].sent_at, shown[theirs].carried.created_at) == (stage.clock(), stage.clock())
    assert (shown[theirs].is_reply, shown[theirs].media, shown[theirs].hidden) == (False, 0, False)
    assert shown.keys() <= {ours, theirs}, "one that is not sent yet may be missing"


def test_texts_of_other_tools_are_shown_oldest_first_and_only_since_the_moment(stage: Stage) -> None:
    for body in ("before", "then", "after"):
        stage.write_outside(body, phone=BOB if body == "then" else ANN)
        stage.clock.tick(60)
    assert [each.carried.body for each in sent(stage, since=120)] == ["then", "after"]


def test_only_texts_from_the_number_are_shown(stage: Stage) -> None:
    stage.write_outside("from another one", number=OTHER_NUMBER)
    stage.receive("from a person")
    assert sent(stage) == []
    assert [each.carried.body for each in sent(stage, OTHER_NUMBER)] == ["from another one"]


def test_a_reconciled_pair_shows_texts_of_other_tools_too(stage: Stage) -> None:
    theirs = stage.write_outside("by another tool")
    assert [each.id for each in stage.carrier.sent_to(ANN, NUMBER, stage.clock() - timedelta(hours=1))] == [theirs]


def test_a_long_list_of_sent_texts_is_shown_whole_and_in_order(stage: Stage) -> None:
    ids = []
    for n in range(stage.page_size + 3):
        ids.append(stage.write_outside(f"text {n}"))
    assert [each.carried.id for each in sent(stage)] == ids


def test_an_account_may_hide_what_sent_texts_say(stage: Stage) -> None:
    stage.redact()
    stage.write_outside("hello")
    [shown] = sent(stage)
    assert (shown.carried.body, shown.hidden) == ("", True)


def test_a_list_of_sent_texts_that_can_not_be_read_can_be_asked_for_again(stage: Stage) -> None:
    stage.write_outside("hello")
    stage.break_list()
    with pytest.raises(OutcomeUnknown):
        sent(stage)
    assert [each.carried.body for each in sent(stage)] == ["hello"]


def test_a_refused_account_shows_no_list_of_sent_texts(stage: Stage) -> None:
    stage.lock_out()
    with pytest.raises(AccountRefused):
        sent(stage)
