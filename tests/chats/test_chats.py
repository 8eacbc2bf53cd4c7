"""Chats: shown page by page, ended when nothing happens in them, and never while something does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from bridge.chats import ending
from bridge.chats.ending import Ending, Outcome
from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.providers.carriers.contract import FailureClass
from bridge.queues.heartbeat import Heartbeat
from bridge.runtime import Runtime
from bridge.web.queries import chats, failures
from bridge.web.queries.paging import LARGEST_ID, BadCursor, read_cursor, write_cursor
from tests.databases import database
from tests.fakes import FakeCarrier, FakeClock, FakeNotifier, fake_agents, fake_settings

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def rt(sessions) -> Runtime:
    return runtime(sessions)


class Rows:
    """Writes rows, each with what it must have."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._chats = 0

    def _add(self, row):
        with self._rt.database.transaction() as tx:
            tx.session.add(row)
            tx.session.flush()
            return row.id

    def conversation(self, phone: str = "+15551230001", **more) -> int:
        bridge_number = more.pop("bridge_number", "+15550001111")
        return self._add(Conversation(phone=phone, bridge_number=bridge_number, created_at=NOON, **more))

    def chat(self, conversation_id: int | None = None, *, idle: timedelta = 2 * DAY, **more) -> int:
        self._chats += 1
        values = {
            "conversation_id": conversation_id or self.conversation(f"+1555123{self._chats:04}"),
            "provider": "retell",
            "provider_chat_id": f"chat_{self._chats}",
            "status": ChatStatus.ONGOING,
            "started_at": NOON - 3 * DAY,
            "last_activity_at": NOON - idle,
        }
        return self._add(Chat(**{**values, **more}))

    def turn(self, conversation_id: int, **more) -> int:
        values = {"status": TurnStatus.ANSWERED, "created_at": NOON, "expires_at": NOON + HOUR}
        return self._add(Turn(conversation_id=conversation_id, **{**values, **more}))

    def message(self, conversation_id: int, body: str, **more) -> int:
        values = {"direction": Direction.OUT, "status": MessageStatus.SENT, "created_at": NOON}
        return self._add(Message(conversation_id=conversation_id, body=body, **{**values, **more}))


@pytest.fixture
def rows(rt: Runtime) -> Rows:
    return Rows(rt)


def runtime(sessions, **settings) -> Runtime:
    clock, notifier = FakeClock(NOON), FakeNotifier()
    base = database(sessions, clock, notifier.wake)
    return Runtime(
        settings=fake_settings(**settings),
        database=base,
        agents=fake_agents(),
        carrier=FakeCarrier(),
        notifier=notifier,
        heartbeat=Heartbeat(base),
        now=clock,
    )


def chat_row(rt: Runtime, chat_id: int) -> Chat:
    with rt.database.read() as session:
        return session.get_one(Chat, chat_id)


# -- show ----------------------------------------------------------------------------------------------------------


def test_chats_are_listed_newest_first_and_page_by_page(rt, rows) -> None:
    ids = [rows.chat() for _ in range(5)]
    first = chats.list_chats(rt, chats.Filter(limit=2))
    rows.chat()  # what is new does not move the pages
    second = chats.list_chats(rt, chats.Filter(limit=2, cursor=first.next))
    third = chats.list_chats(rt, chats.Filter(limit=2, cursor=second.next))
    assert [chat.id for page in (first, second, third) for chat in page.chats] == ids[::-1]
    assert third.next is None


def test_a_last_page_that_is_full_has_no_cursor(rt, rows) -> None:
    rows.chat(), rows.chat()
    assert chats.list_chats(rt, chats.Filter(limit=2)).next is None


def test_a_chat_is_shown_whole(rt, rows) -> None:
    conversation = rows.conversation("+15551239999")
    chat_id = rows.chat(
        conversation, provider_chat_id="chat_x", status=ChatStatus.ENDED, ended_at=NOON, end_reason="stale"
    )
    (shown,) = chats.list_chats(rt, chats.Filter()).chats
    assert shown == chats.ChatView(
        id=chat_id,
        conversation_id=conversation,
        phone="+15551239999",
        bridge_number="+15550001111",
        provider="retell",
        chat_id="chat_x",
        status=ChatStatus.ENDED,
        started_at=NOON - 3 * DAY,
        last_activity_at=NOON - 2 * DAY,
        ended_at=NOON,
        end_reason="stale",
    )


def test_chats_are_listed_by_status_and_by_phone(rt, rows) -> None:
    person, other = rows.conversation("+15551230001"), rows.conversation("+15551230002")
    ended = rows.chat(person, status=ChatStatus.ENDED)
    ongoing = rows.chat(person)
    foreign = rows.chat(other)
    assert [c.id for c in chats.list_chats(rt, chats.Filter(status=ChatStatus.ONGOING)).chats] == [foreign, ongoing]
    assert [c.id for c in chats.list_chats(rt, chats.Filter(phone="+15551230001")).chats] == [ongoing, ended]
    assert [c.id for c in chats.list_chats(rt, chats.Filter(phone="+15551230001", status=ChatStatus.ENDED)).chats] == [
        ended
    ]
    assert chats.list_chats(rt, chats.Filter(phone="+1555123")).chats == []


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "====",
        "\x00",
        "W10",
        "WzBd",
        "Wy0xXQ",
        "WzEsMl0",
        "W3RydWVd",
        "eyJhIjoxfQ",
        write_cursor(LARGEST_ID + 1),
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(rt, cursor) -> None:
    with pytest.raises(BadCursor, match="not one that this list has given"):
        chats.list_chats(rt, chats.Filter(cursor=cursor))


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert read_cursor(write_cursor(7, "é?", 9), int, str, int) == [7, "é?", 9]
    with pytest.raises(ValueError, match="not one"):
        read_cursor("[" * 100_000, int)


def test_a_chat_is_shown_with_what_was_said_in_it(rt, rows) -> None:
    conversation = rows.conversation()
    chat_id, other = rows.chat(conversation), rows.chat(conversation, status=ChatStatus.ENDED)
    turn, foreign = rows.turn(conversation, chat_id=chat_id), rows.turn(conversation, chat_id=other)
    rows.message(conversation, "before", turn_id=foreign)
    said = {"direction": Direction.IN, "status": MessageStatus.ANSWERED, "carrier_id": "SM1", "turn_id": turn}
    rows.message(conversation, "Hello", media=1, **said)
    rows.message(conversation, "Hi", turn_id=turn, error="later", error_code=30003)
    rows.message(conversation, "by the bridge itself")
    found = chats.get_chat(rt, chat_id)
    assert found
    chat, messages = found.chat, found.messages
    assert chat.id == chat_id
    assert [(m.direction, m.body, m.media, m.carrier_id) for m in messages] == [
        ("in", "Hello", 1, "SM1"),
        ("out", "Hi", 0, None),
    ]
    assert (messages[1].error, messages[1].error_code, messages[1].created_at) == ("later", 30003, NOON)


def test_an_unknown_chat_is_none(rt) -> None:
    assert chats.get_chat(rt, 1) is None


# -- end -----------------------------------------------------------------------------------------------------------


def test_stale_chats_are_marked_and_rung_for(rt, rows) -> None:
    stale, fresh = rows.chat(idle=25 * HOUR), rows.chat(idle=23 * HOUR)
    assert ending.end_stale(rt, DAY) == ending.StaleResult(matched=1, queued=1, chat_ids=[stale])
    row = chat_row(rt, stale)
    assert (row.status, row.due_at, row.end_reason, row.ended_at) == (ChatStatus.ENDING, NOON, "stale", None)
    assert chat_row(rt, fresh).status is ChatStatus.ONGOING
    assert rt.notifier.wakeups == [("end_chat", stale)]


def test_a_dry_run_changes_and_rings_nothing(rt, rows) -> None:
    stale = rows.chat()
    assert ending.end_stale(rt, DAY, dry_run=True) == ending.StaleResult(matched=1, queued=0, chat_ids=[stale])
    assert chat_row(rt, stale).status is ChatStatus.ONGOING
    assert rt.notifier.wakeups == []


@pytest.mark.parametrize("status", [ChatStatus.ENDING, ChatStatus.ENDED])
def test_what_is_over_is_not_ended_again(rt, rows, status) -> None:
    rows.chat(status=status)
    assert ending.end_stale(rt, DAY).chat_ids == []


def test_a_conversation_in_which_something_waits_is_left_alone(rt, rows) -> None:
    rows.chat(rows.conversation(turn_due_at=NOON + HOUR))
    assert ending.end_stale(rt, DAY).matched == 0


def test_the_longest_idle_are_ended_first_and_no_more_than_the_limit(rt, rows) -> None:
    ids = [rows.chat(idle=DAY + hours * HOUR) for hours in (1, 3, 2)]
    assert ending.end_stale(rt, DAY, limit=2).chat_ids == sorted([ids[1], ids[2]])
    assert ending.end_stale(rt, DAY, limit=2).chat_ids == [ids[0]]


def test_ten_at_once_end_each_chat_once(rt, rows) -> None:
    ids = [rows.chat() for _ in range(40)]
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: ending.end_stale(rt, DAY), range(10)))
    assert sorted(chat_id for result in results for chat_id in result.chat_ids) == ids
    assert sorted(rt.notifier.wakeups) == [("end_chat", chat_id) for chat_id in ids]


@pytest.mark.parametrize("touched", [Chat, Conversation])
def test_a_chat_that_somebody_is_busy_with_is_left_alone(postgresql_url, touched) -> None:
    """A text that is being stored has its conversation locked, a turn that begins has its chat locked as well."""
    engine = build_engine(postgresql_url)
    rt = runtime(build_sessions(engine))
    rows = Rows(rt)
    busy, idle = rows.chat(), rows.chat()
    with rt.database.transaction() as tx:
        row = tx.session.get_one(Chat, busy)
        tx.session.get_one(touched, row.id if touched is Chat else row.conversation_id, with_for_update=True)
        assert ending.end_stale(rt, DAY).chat_ids == [idle]
    assert ending.end_stale(rt, DAY).chat_ids == [busy]
    engine.dispose()


def test_an_operator_ends_any_chat_once(rt, rows) -> None:
    active = rows.chat(rows.conversation(turn_due_at=NOON), idle=timedelta(0))
    assert [ending.end_one(rt, active) for _ in range(2)] == [Outcome.QUEUED, Outcome.ENDED_ALREADY]
    row = chat_row(rt, active)
    assert (row.status, row.due_at, row.end_reason) == (ChatStatus.ENDING, NOON, "ended by an operator")
    assert rt.notifier.wakeups == [("end_chat", active)]


def test_an_unknown_or_ended_chat_can_not_be_ended(rt, rows) -> None:
    ended = rows.chat(status=ChatStatus.ENDED)
    assert ending.end_one(rt, ended) is Outcome.ENDED_ALREADY
    assert ending.end_one(rt, ended + 1) is Outcome.UNKNOWN
    assert rt.notifier.wakeups == []


def test_only_a_chat_that_is_to_end_is_told_of(rt, rows) -> None:
    chat_id = rows.chat(provider_chat_id="chat_x")
    assert ending.ending(rt, chat_id) is None
    ending.end_one(rt, chat_id)
    assert ending.ending(rt, chat_id) == Ending("retell", "chat_x")
    assert ending.mark_ended(rt, chat_id) is True
    assert ending.ending(rt, chat_id) is None
    assert ending.mark_ended(rt, chat_id) is False
    row = chat_row(rt, chat_id)
    assert (row.status, row.ended_at, row.due_at) == (ChatStatus.ENDED, NOON, None)
    assert row.end_reason == "ended by an operator"


def woken(rt: Runtime, limit: int) -> list[int]:
    """The chats for which a sweep wakes a worker."""
    rt.notifier.wakeups.clear()
    ending.wake_for_endings(rt, limit)
    return [row for task, row in rt.notifier.wakeups if task == ending.TASK]


def test_endings_that_are_due_are_booked_once(rt, rows) -> None:
    first, second = rows.chat(), rows.chat()
    rows.chat()
    ending.end_one(rt, first), ending.end_one(rt, second)
    assert woken(rt, 1) == [first]
    assert woken(rt, 9) == [second]
    assert woken(rt, 9) == []
    assert chat_row(rt, first).due_at == NOON + ending.RETRY_END_AFTER
    rt.now.tick(ending.RETRY_END_AFTER.total_seconds())
    assert woken(rt, 9) == [first, second]


# -- failures ------------------------------------------------------------------------------------------------------


def test_what_was_given_up_is_listed_newest_first(rt, rows) -> None:
    one = rows.conversation("+15551230001")
    given_up = {"status": TurnStatus.GIVEN_UP, "error": "no answer"}
    turns = [rows.turn(one, settled_at=NOON + n * HOUR, **given_up) for n in range(3)]
    lost = {"status": MessageStatus.GIVEN_UP, "error": "no phone", "error_code": 21211}
    texts = [rows.message(one, "x", settled_at=NOON + n * HOUR, **lost) for n in range(3)]
    rows.turn(one)
    rows.message(one, "sent")
    rows.message(one, "shown by its turn", direction=Direction.IN, turn_id=turns[0], **lost)
    found, cursor = [], None
    while True:
        page = failures.list_failures(rt, limit=2, cursor=cursor)
        found += page.failures
        if not (cursor := page.next):
            break
    expected = [(kind, ids[n]) for n in (2, 1, 0) for kind, ids in (("turn", turns), ("message", texts))]
    assert [(failure.kind, failure.id) for failure in found] == expected
    meaning = rt.carrier.meaning(21211)
    assert found[1] == failures.Failure(
        kind=failures.Kind.MESSAGE,
        id=texts[2],
        conversation_id=one,
        phone="+15551230001",
        at=NOON + 2 * HOUR,
        error="no phone",
        error_code=21211,
        delivery=None,
        resend_at=None,
        failure=FailureClass.RECIPIENT,
        meaning=meaning.sentence,
        page=meaning.page,
    )


@pytest.mark.parametrize("cursor", [write_cursor(1), write_cursor(LARGEST_ID, "turn", 1), "x"])
def test_a_cursor_of_another_list_is_refused(rt, cursor) -> None:
    with pytest.raises(BadCursor):
        failures.list_failures(rt, cursor=cursor)
