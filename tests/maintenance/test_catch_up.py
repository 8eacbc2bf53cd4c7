"""Catch-up: the texts that no webhook brought are found in the carrier's list, and no text is stored twice."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from bridge.config import Settings
from bridge.db import migrate
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Direction, InboundCursor, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import receive
from bridge.maintenance.catch_up import LEAVE_TO_WEBHOOK, OVERLAP, catch_up
from bridge.processes import embedded
from bridge.providers.carriers.contract import InboundText
from bridge.providers.carriers.twilio.list_pages import Page, Pages
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from tests.databases import away
from tests.fakes import FakeCarrier
from tests.scene import ANN, BOB, NUMBER, Scene

OTHER_NUMBER = "+15550002222"
HOUR = 3600.0
A_LITTLE_OLDER = LEAVE_TO_WEBHOOK.total_seconds()


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """A bridge that has looked into the list before."""
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    catch_up(scene.rt)
    scene.clock.tick(HOUR)
    scene.carrier.calls.clear()
    return scene


def lost(scene: Scene, body: str, phone: str = ANN, media: int = 0) -> InboundText:
    """A person texts, and no webhook tells us."""
    return scene.carrier.receive(phone, NUMBER, body, media)


def brought(scene: Scene, body: str, phone: str = ANN) -> InboundText:
    """A person texts, and the webhook brings it."""
    text = scene.carrier.receive(phone, NUMBER, body)
    receive.receive(scene.rt, replace(text, sent_at=None))
    return text


def stored(scene: Scene) -> list[str]:
    """What came in, in the order in which it will be said."""
    with scene.sessions() as session:
        came_in = select(Message).where(Message.direction == Direction.IN).order_by(Message.id)
        return [row.body for row in session.scalars(came_in)]


def read_until(scene: Scene, number: str = NUMBER) -> datetime | None:
    with scene.sessions() as session:
        return session.scalar(select(InboundCursor.read_until).where(InboundCursor.bridge_number == number))


def test_an_hour_away_loses_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for n in range(6):
        lost(scene, f"text {n}", ANN if n % 2 else BOB)
        scene.clock.tick(HOUR / 6)
    catch_up(scene.rt)
    scene.work_until_idle()
    assert scene.agent.received == ["text 0\ntext 2\ntext 4", "text 1\ntext 3\ntext 5"]
    assert scene.got(BOB) == ["You said: text 0\ntext 2\ntext 4"]
    assert "6 texts came in by the carrier's list, and by no webhook" in caplog.messages


def test_texts_of_many_pages_come_in_by_their_age(scene: Scene) -> None:
    scene.carrier.page_size = 3
    sent = [lost(scene, f"text {n}").body for n in range(11)]
    scene.clock.tick(HOUR)
    catch_up(scene.rt)
    assert stored(scene) == sent


def test_what_is_known_is_left_alone(scene: Scene) -> None:
    for n in range(3):
        brought(scene, f"text {n}")
    scene.work_until_idle()
    scene.clock.tick(60)
    before = [(row.id, row.status) for row in scene.rows(Message)]
    catch_up(scene.rt)
    assert [(row.id, row.status) for row in scene.rows(Message)] == before
    assert scene.notifier.wakeups == []


def test_only_the_lost_ones_come_in(scene: Scene) -> None:
    for n in range(6):
        (lost if n % 3 else brought)(scene, f"text {n}")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert stored(scene) == ["text 0", "text 3", "text 1", "text 2", "text 4", "text 5"]


def test_a_quiet_time_costs_one_request_and_writes_no_text(scene: Scene) -> None:
    for n in range(20):
        brought(scene, f"text {n}")
    scene.clock.tick(60)
    statements: list[str] = []
    event.listen(scene.rt.engine, "before_cursor_execute", lambda *said: statements.append(said[2].split()[0]))
    catch_up(scene.rt)
    assert scene.carrier.calls == [("received_by", NUMBER)]
    assert [word for word in statements if word != "BEGIN"] == ["SELECT", "SELECT", "UPDATE", "UPDATE"]


def test_a_bridge_without_numbers_asks_nobody(sessions: Sessions) -> None:
    scene = Scene(sessions)
    lost(scene, "hello")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert scene.carrier.calls == []


def test_texts_to_the_other_spelling_of_a_number_come_in_too(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=("+5215512345678",))
    for number in ("+5215512345678", "+525512345678"):
        scene.carrier.receive(ANN, number, f"to {number}")
    scene.clock.tick(60)
    for _ in range(2):
        catch_up(scene.rt)
    assert sorted(stored(scene)) == ["to +5215512345678", "to +525512345678"]


def test_texts_to_other_numbers_stay_where_they_are(scene: Scene) -> None:
    scene.carrier.receive(ANN, OTHER_NUMBER, "not for us")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert stored(scene) == []


def test_a_picture_is_refused_as_if_the_webhook_had_brought_it(scene: Scene) -> None:
    lost(scene, "look at this", media=1)
    scene.clock.tick(HOUR)
    catch_up(scene.rt)
    scene.work_until_idle()
    assert scene.agent.calls == []
    assert scene.got() == [scene.rt.settings.media_reply]
    assert scene.rows(Message)[0].status == MessageStatus.REFUSED


# -- how far back, how far forth -----------------------------------------------------------------------------------


def test_a_new_bridge_has_no_answers_to_last_weeks_texts(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    lost(scene, "last week")
    scene.clock.tick(7 * 24 * HOUR)
    lost(scene, "while it was set up")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert stored(scene) == ["while it was set up"]


def test_nothing_is_lost_when_the_first_look_fails(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    scene.carrier.fail("received_by", NotReached("away", provider="twilio"))
    catch_up(scene.rt, pauses=())
    lost(scene, "hello")
    scene.clock.tick(HOUR)
    catch_up(scene.rt)
    assert stored(scene) == ["hello"]


def test_a_week_away_is_read_to_its_beginning(scene: Scene) -> None:
    lost(scene, "hello")
    scene.clock.tick(7 * 24 * HOUR)
    catch_up(scene.rt)
    assert stored(scene) == ["hello"]


def test_a_text_that_may_still_be_on_its_way_is_left_to_the_webhook(scene: Scene) -> None:
    lost(scene, "hello")
    scene.clock.tick(A_LITTLE_OLDER - 1)
    catch_up(scene.rt)
    assert stored(scene) == []
    scene.clock.tick(1)
    catch_up(scene.rt)
    assert stored(scene) == ["hello"]


def test_texts_that_were_left_are_behind_the_mark(scene: Scene) -> None:
    text = lost(scene, "hello")
    scene.clock.tick(A_LITTLE_OLDER - 1)
    catch_up(scene.rt)
    assert text.sent_at
    assert read_until(scene) == text.sent_at - timedelta(seconds=1)


def test_a_text_that_the_list_shows_late_is_found(scene: Scene) -> None:
    late = lost(scene, "late")
    scene.carrier.received.remove(late)
    scene.clock.tick(OVERLAP.total_seconds())
    catch_up(scene.rt)
    scene.carrier.received.append(late)
    catch_up(scene.rt)
    assert stored(scene) == ["late"]


def test_a_text_without_a_date_comes_in_at_once_and_counts_from_now(scene: Scene) -> None:
    scene.carrier.received.append(InboundText("SM1", ANN, NUMBER, "hello"))
    catch_up(scene.rt)
    assert [row.created_at for row in scene.rows(Message)] == [scene.clock()]


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OutcomeUnknown, AccountRefused, NotReached, RateLimited, Refused])
def test_a_list_that_can_not_be_read_leaves_the_mark_where_it_was(
    scene: Scene, caplog: pytest.LogCaptureFixture, kind: type[RemoteError]
) -> None:
    lost(scene, "hello")
    scene.clock.tick(HOUR)
    before = read_until(scene)
    scene.carrier.fail("received_by", kind("no", provider="twilio"))
    catch_up(scene.rt, pauses=())
    assert (read_until(scene), stored(scene)) == (before, [])
    assert "could not be read: twilio: no" in caplog.text
    assert NUMBER[1:] not in caplog.text
    catch_up(scene.rt)
    assert stored(scene) == ["hello"]


def test_a_burst_that_is_cut_off_goes_on_where_it_was(scene: Scene) -> None:
    scene.carrier.page_size = 2
    sent = []
    for n in range(6):
        sent.append(lost(scene, f"text {n}"))
        scene.clock.tick(HOUR)
    scene.carrier.fail("next_page", OutcomeUnknown("cut", provider="twilio"))
    catch_up(scene.rt, pauses=())
    assert stored(scene) == ["text 0", "text 1"]
    assert read_until(scene) == sent[1].sent_at
    lost(scene, "text 6")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert stored(scene) == [f"text {n}" for n in range(7)]
    assert read_until(scene) == scene.clock() - LEAVE_TO_WEBHOOK


def test_a_fault_in_the_middle_of_a_list_does_not_make_it_begin_anew(scene: Scene) -> None:
    scene.carrier.page_size = 2
    for n in range(6):
        lost(scene, f"text {n}")
    scene.clock.tick(HOUR)
    scene.carrier.fail("received_by", RateLimited("busy", provider="twilio"), times=2)
    scene.carrier.fail("next_page", OutcomeUnknown("cut", provider="twilio"), times=2)
    catch_up(scene.rt, pauses=(0, 0))
    assert stored(scene) == [f"text {n}" for n in range(6)]
    assert scene.carrier.calls == 3 * [("received_by", NUMBER)]


def test_a_page_that_will_never_come_is_not_asked_for_again(scene: Scene) -> None:
    scene.carrier.fail("received_by", Refused("no", provider="twilio", status=400))
    catch_up(scene.rt, pauses=(0, 0))
    assert scene.carrier.calls == [("received_by", NUMBER)]


def test_a_database_that_is_away_for_a_moment_does_not_make_a_look_begin_anew(scene: Scene) -> None:
    lost(scene, "hello")
    scene.clock.tick(HOUR)
    catch_up(replace(scene.rt, database=away(scene.sessions, 2, now=scene.clock)))
    assert stored(scene) == ["hello"]
    assert scene.carrier.calls == [("received_by", NUMBER)]


def test_what_is_no_fault_of_the_carrier_is_told_and_leaves_the_mark_behind_the_text(scene: Scene) -> None:
    lost(scene, "hello")
    scene.clock.tick(HOUR)
    before = read_until(scene)
    broken = replace(scene.rt, settings=scene.rt.settings.model_copy(update={"answer_within": None}))
    scene.carrier.received[0] = replace(scene.carrier.received[0], media=1)
    with pytest.raises(TypeError):
        catch_up(broken)
    assert read_until(scene) == before
    catch_up(scene.rt)
    assert stored(scene) == ["hello"]


def test_one_number_that_can_not_be_read_does_not_delay_the_next(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER, OTHER_NUMBER))
    catch_up(scene.rt)
    for number in (NUMBER, OTHER_NUMBER):
        scene.carrier.receive(ANN, number, f"to {number}")
    scene.clock.tick(HOUR)
    before = {number: read_until(scene, number) for number in (NUMBER, OTHER_NUMBER)}
    scene.carrier.fail("received_by", Refused("no", provider="twilio", status=400))
    catch_up(scene.rt)
    [read] = stored(scene)
    unread = NUMBER if read == f"to {OTHER_NUMBER}" else OTHER_NUMBER
    assert read_until(scene, unread) == before[unread]


@pytest.mark.parametrize(
    "error",
    [
        AccountRefused("no", provider="twilio", status=401),
        NotReached("refused", provider="twilio"),
        OutcomeUnknown("no answer in time", provider="twilio"),
    ],
    ids=str,
)
def test_a_carrier_that_is_away_is_not_waited_for_at_every_number(sessions: Sessions, error: RemoteError) -> None:
    numbers = tuple(f"+1555000{n:04}" for n in range(20))
    scene = Scene(sessions, twilio_numbers=numbers)
    scene.carrier.fail("received_by", error, times=100)
    catch_up(scene.rt, pauses=())
    assert len(scene.carrier.calls) == 1
    scene.carrier.recover()
    catch_up(scene.rt)
    assert len(scene.carrier.calls) == 1 + len(numbers)


def test_a_number_whose_list_never_comes_does_not_keep_the_others_from_being_read(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER, OTHER_NUMBER))
    for _ in range(60):
        scene.carrier.fail("received_by", OutcomeUnknown("no answer in time", provider="twilio"))
        catch_up(scene.rt, pauses=())  # one after the other: the first that is asked fails, whichever it is
    asked = {number for call, number in scene.carrier.calls if call == "received_by"}
    assert asked == {NUMBER, OTHER_NUMBER}


# -- age -----------------------------------------------------------------------------------------------------------


def test_a_text_waits_since_it_was_sent(scene: Scene) -> None:
    sent_at = lost(scene, "hello").sent_at
    scene.clock.tick(3 * HOUR)
    catch_up(scene.rt)
    scene.work()
    assert scene.rows(Message)[0].created_at == sent_at
    assert sent_at
    [turn] = scene.rows(Turn)
    assert (turn.status, turn.expires_at) == (TurnStatus.ANSWERED, sent_at + scene.rt.settings.answer_within)


def test_a_text_that_is_too_old_is_given_up_loudly(scene: Scene) -> None:
    lost(scene, "hello")
    scene.clock.tick(5 * HOUR)
    catch_up(scene.rt)
    scene.work_until_idle()
    assert scene.agent.calls == []
    assert scene.rows(Message)[0].status == MessageStatus.GIVEN_UP
    assert scene.got() == [scene.rt.settings.fallback_reply]


def test_a_carriers_clock_that_is_ahead_makes_no_text_of_the_future(scene: Scene) -> None:
    ahead = scene.clock() + timedelta(hours=1)
    receive.receive(scene.rt, InboundText("SM1", ANN, NUMBER, "hello", sent_at=ahead))
    assert scene.rows(Message)[0].created_at == scene.clock()


# -- several at once, and very many --------------------------------------------------------------------------------


def test_several_looks_at_once_do_no_harm(scene: Scene) -> None:
    scene.carrier.page_size = 7
    sent = [lost(scene, f"text {n}").body for n in range(40)]
    scene.clock.tick(HOUR)
    together = threading.Barrier(4)

    def look(_: int) -> None:
        together.wait()
        catch_up(scene.rt)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(look, range(4)))
    assert stored(scene) == sent


def test_a_webhook_that_comes_after_all_changes_nothing(scene: Scene) -> None:
    text = lost(scene, "hello")
    scene.clock.tick(HOUR)
    catch_up(scene.rt)
    assert not receive.receive(scene.rt, replace(text, sent_at=None))
    assert stored(scene) == ["hello"]


class Overtaken(FakeCarrier):
    """While its list is being read, another look comes and goes."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(now=scene.clock)
        self._scene = scene

    def received_by(self, number: str, since: datetime) -> Iterator[list[InboundText]]:
        yield [InboundText("SM1", ANN, number, "hello", sent_at=since)]
        self._scene.clock.tick(HOUR)
        catch_up(self._scene.rt)


def test_a_look_that_was_overtaken_does_not_move_the_mark_back(scene: Scene) -> None:
    catch_up(replace(scene.rt, carrier=Overtaken(scene)))
    assert read_until(scene) == scene.clock() - LEAVE_TO_WEBHOOK


class Flood(FakeCarrier):
    """Far more texts than anybody should keep, made as they are asked for."""

    def __init__(self, alive: Mapping[int, InboundText], **how: Any) -> None:
        super().__init__(**how)
        self.most = 0
        self._alive = alive

    def received_by(self, number: str, since: datetime) -> Iterator[list[InboundText]]:
        for page in range(20):
            ids = range(page * self.page_size, (page + 1) * self.page_size)
            yield [InboundText(f"SM{n:032x}", ANN, number, f"text {n}", sent_at=since) for n in ids]
            self.most = max(self.most, len(self._alive))


def test_a_flood_is_never_in_memory_as_a_whole(scene: Scene, alive: Mapping[int, InboundText]) -> None:
    flood = Flood(alive, now=scene.clock)
    catch_up(replace(scene.rt, carrier=flood))
    assert stored(scene) == [f"text {n}" for n in range(20 * flood.page_size)]
    assert flood.page_size <= flood.most <= 2 * flood.page_size


class Endless(FakeCarrier):
    """Its list leads on and on."""

    def received_by(self, number: str, since: datetime) -> Iterator[list[InboundText]]:
        pages = itertools.count(1)

        def page_at(address: str | None) -> Page[InboundText]:
            texts = [replace(text) for text in self.received] if address is None else []
            return Page(texts, f"page {next(pages)}")

        return Pages(page_at, "to one of ours")


def test_a_list_without_an_end_is_told_and_the_mark_moves_on(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    endless = Endless(now=scene.clock)
    endless.receive(ANN, NUMBER, "hello")
    scene.clock.tick(60)
    catch_up(replace(scene.rt, carrier=endless))
    assert stored(scene) == ["hello"]
    assert read_until(scene) == scene.clock() - LEAVE_TO_WEBHOOK
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "reads no further back" in told and NUMBER not in told


# -- the whole bridge ----------------------------------------------------------------------------------------------


def test_a_bridge_that_was_off_for_an_hour_answers_what_it_missed(tmp_path: Path) -> None:
    people = [f"+1555123000{n}" for n in range(1, 5)]
    providers = SimulatorSettings(echo=True, clock=lambda: time.time() - 50 * 60)
    simulator = Simulator(providers)
    simulator.faults.set("webhooks_lost")
    simulator.faults.set("callbacks_lost")
    for n in range(3):
        for phone in people:
            simulator.phones.text(phone, f"text {n} of {phone[-1]}")
    with serve(simulator) as address:
        settings = Settings.load(
            environ={},
            database_url=f"sqlite:///{tmp_path / 'bridge.sqlite3'}",
            public_url="http://127.0.0.1:9",
            twilio_account_sid=providers.account_sid,
            twilio_auth_token=providers.auth_token,
            twilio_numbers=providers.number,
            twilio_api_base_url=address,
            retell_api_key=providers.retell_api_key,
            retell_agent_id=providers.agent_id,
            retell_base_url=address,
        )
        looked_an_hour_ago(settings)
        with embedded.running(settings, "127.0.0.1", 0):
            assert simulator.wait_until_settled(30)
    assert judge(simulator.ledger).ok
    for phone in people:
        answers = "\n".join(simulator.phones.inbox(phone)).split("\n")
        assert answers == [f"re: text {n} of {phone[-1]}" for n in range(3)]


def looked_an_hour_ago(settings: Settings) -> None:
    migrate.upgrade(settings.database_url)
    engine = build_engine(settings.database_url)
    with build_sessions(engine).begin() as session:
        [number] = settings.twilio_numbers
        session.add(InboundCursor(bridge_number=number, read_until=datetime.now(UTC) - timedelta(hours=1)))
    engine.dispose()
