"""One batch is as one by one: the same rows, the same calls. A faulty or locked row is left out. Costs are counted.

"Together" is what several threads bring at the same moment; here the stages are called with such lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text, update

from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Chat, Conversation, Message, MessageStatus, OptOut, Turn
from bridge.inbound.receive import receive, store_many
from bridge.outbound.delivery.settle import settle_many as settle_deliveries
from bridge.outbound.delivery.store import Accepted
from bridge.outbound.formatting import shape
from bridge.outbound.outbox import recipient
from bridge.outbound.receipts import report_many
from bridge.processes.dispatcher import find
from bridge.processes.tasks import TASKS
from bridge.providers.agents.contract import Item, Speaker, ToolCall
from bridge.providers.agents.transcript import Bookmark, advance
from bridge.providers.carriers.contract import Delivery, InboundText, StatusReport
from bridge.queues.conversation_queue import TURNS, Lease
from bridge.turns.ask import open_many
from bridge.turns.claim import claim_due
from bridge.turns.settle import Answered, Settled, settle_many
from bridge.turns.store import NewChatRow
from bridge.turns.values import Answer, ClaimedTurn
from tests.databases import empty as delete_all
from tests.scene import NUMBER, Scene

PEOPLE = [f"+1555123{n:04}" for n in range(50)]


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, sender_rate=10_000)


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    engine = build_engine(postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_sessions(postgresql_engine: Engine) -> Sessions:
    return build_sessions(postgresql_engine)


def inbound(scene: Scene, body: str, phone: str) -> InboundText:
    return InboundText(next(scene.sids), phone, NUMBER, body)


def answered(turn: ClaimedTurn, scene: Scene, words: Sequence[str] = ("fine",)) -> Answered:
    """The agent's answer to this turn, as ``settle_answered`` brings it."""
    assert turn.chat
    items = (Item("u", Speaker.USER, turn.content), *(Item(f"a{n}", Speaker.AGENT, w) for n, w in enumerate(words)))
    shaped = shape.answer(words, recipient(scene.rt, turn.phone), join=False)
    references = tuple(f"{turn.turn_id:030x}{n:02x}" for n, _ in enumerate(shaped.messages))
    return Answered(turn, Answer(turn.chat, items, advance(turn.chat.bookmark, items), False), shaped, references)


def claimed(scene: Scene, people: Sequence[str], body: str = "hello") -> list[ClaimedTurn]:
    """The turns of these people, being asked in chats that are open."""
    for phone in people:
        receive(scene.rt, inbound(scene, body, phone))
    turns, others = claim_due(scene.rt, len(people))
    assert not others
    new = [
        NewChatRow(turn.lease, turn.turn_id, "retell", "agent_1", f"chat_of_{turn.phone}", Bookmark()) for turn in turns
    ]
    chats = open_many(scene.rt, new)
    return [replace(turn, chat=chat) for turn, chat in zip(turns, chats, strict=True)]


# -- the same as one by one ----------------------------------------------------------------------------------------

BOOK = "book a table"
"""A text at which the agent calls a tool."""
CALL = ToolCall("find table", "{}", "c1")

STORIES = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE[:4]),
        st.sampled_from(["hello", BOOK, "again", "STOP", "START", "Loved an image", "   ", "x" * 30]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
"""Who texts what, and whether the worker works before the next text."""


def told(scene: Scene) -> dict[str, list[tuple[Any, ...]]]:
    """What the rows say of each person, in order, without names that are drawn by lot and numbers of rows."""
    text = (Message.direction, Message.status, Message.body, Message.segments, Message.delivery, Message.attempts)
    turn = (Turn.status, Turn.attempts, Turn.expires_at, Turn.error, Turn.steps)
    chat = (Chat.status, Chat.user_items, Chat.end_reason)
    queue = (Conversation.turn_due_at, Conversation.delivery_due_at, Conversation.turn_leased_by)
    found: dict[str, list[tuple[Any, ...]]] = {}
    with scene.sessions() as session:
        for phone in PEOPLE[:4]:
            for columns in (text, turn, chat):
                theirs = select(*columns).join(Conversation).where(Conversation.phone == phone)
                found[f"{phone} {columns[0].class_.__tablename__}"] = list(
                    map(tuple, session.execute(theirs.order_by(columns[0].class_.id)))
                )
            theirs = select(*queue).where(Conversation.phone == phone)
            found[f"{phone} queue"] = list(map(tuple, session.execute(theirs)))
        found["opt-outs"] = sorted(map(tuple, session.execute(select(OptOut.phone, OptOut.scope, OptOut.ended_at))))
    return found


class AloneScene(Scene):
    """It claims one by one, too."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(sessions)
        self.rt = self.alone

    def wake(self) -> None:
        while self.notifier.wakeups:
            task, row = self.notifier.wakeups.pop(0)
            TASKS[task](self.rt, row)


def play(scene: Scene, story: Sequence[tuple[str, str, bool]]) -> tuple[Any, ...]:
    scene.agent.uses_tools_on = {BOOK: (CALL,)}
    for phone, body, works in story:
        scene.text(body, phone)
        if works:
            scene.work()
    scene.work_until_idle()
    got = {phone: scene.got(phone) for phone in PEOPLE[:4]}
    return got, sorted(scene.agent.received), told(scene)


@pytest.fixture
def emptied(engine: Engine) -> Callable[[], None]:
    def empty() -> None:
        with engine.begin() as connection:
            delete_all(connection)
            for table in ("conversations", "chats", "turns", "messages"):
                if engine.dialect.name == "postgresql":
                    connection.execute(text(f"ALTER SEQUENCE {table}_id_seq RESTART"))

    return empty


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORIES)
def test_a_batch_leaves_what_transactions_one_by_one_leave(
    sessions: Sessions, emptied: Callable[[], None], story: list[tuple[str, str, bool]]
) -> None:
    ends = []
    for way in (Scene, AloneScene):
        emptied()
        scene = way(sessions)
        ends.append(play(scene, story))
    assert ends[0] == ends[1]


# -- one row of many -----------------------------------------------------------------------------------------------


def test_a_row_that_somebody_has_locked_holds_up_nobody_else(postgresql_sessions: Sessions) -> None:
    scene = Scene(postgresql_sessions)
    turns = claimed(scene, PEOPLE[:3])
    with postgresql_sessions() as halted:
        halted.get_one(Conversation, turns[1].lease.conversation_id, with_for_update=True)
        texts = [inbound(scene, "more", phone) for phone in PEOPLE[:3]]
        assert [bool(stored) for stored in store_many(scene.rt, texts)] == [True, False, True]
        ended = settle_many(scene.rt, [answered(turn, scene) for turn in turns])
        assert [bool(each) for each in ended] == [True, False, True]
        assert [work.row for work in find(scene.rt, TURNS, 10) or ()] == [1, 3]
    assert [bool(stored) for stored in store_many(scene.rt, texts)] == [False, True, False]


def test_a_faulty_row_of_a_batch_is_left_and_the_others_are_settled(scene: Scene) -> None:
    turns = claimed(scene, PEOPLE[:3])
    requests = [answered(turn, scene) for turn in turns]
    requests[1] = replace(requests[1], references=requests[0].references)  # a name that is taken
    with pytest.raises(Exception, match=r"(?i)unique"):
        settle_many(scene.rt, requests)
    ended = [scene.rt.together(settle_many, each) for each in (requests[0], requests[1], requests[2])]
    assert [bool(each) for each in ended] == [True, False, True]


def test_a_lost_lease_of_a_batch_changes_nothing_for_its_row_alone(scene: Scene) -> None:
    turns = claimed(scene, PEOPLE[:3])
    with scene.sessions.begin() as session:
        taken = update(Conversation).where(Conversation.id == turns[0].lease.conversation_id)
        session.execute(taken.values(turn_lease_token=Conversation.turn_lease_token + 1))
    ended = settle_many(scene.rt, [answered(turn, scene) for turn in turns])
    assert [bool(each) for each in ended] == [False, True, True]
    sent = [row.status for row in scene.rows(Message) if row.reference]
    assert sent == [MessageStatus.SENDING] * 2


def test_batches_that_overlap_never_wait_for_each_other_for_ever(postgresql_sessions: Sessions) -> None:
    """Eight threads store and settle in orders of their own. A deadlock would be an error after a second."""
    scene = Scene(postgresql_sessions)
    orders = list(itertools.islice(itertools.cycle([PEOPLE[:20], PEOPLE[19::-1], PEOPLE[5:25]]), 8))
    batches = [[inbound(scene, f"{n} hello", phone) for phone in order] for n, order in enumerate(orders)]

    def store_all(texts: list[InboundText]) -> int:
        stored = store_many(scene.rt, texts)
        return sum(bool(done or receive(scene.rt, each)) for done, each in zip(stored, texts, strict=True))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(store_all, batches)) == 160
        turns = [turn for found in threads.map(lambda _: claim_due(scene.rt, 7)[0], range(8)) for turn in found]
    assert len(turns) == 25
    assert len({turn.turn_id for turn in turns}) == 25
    assert sum(len(turn.content.split("\n")) for turn in turns) == 160


# -- what it costs -------------------------------------------------------------------------------------------------


@dataclass
class Costs:
    statements: int = 0
    transactions: int = 0


@contextmanager
def counted(engine: Engine) -> Iterator[Costs]:
    costs = Costs()

    def statement(*_: object) -> None:
        costs.statements += 1

    def commit(*_: object) -> None:
        costs.transactions += 1

    listeners = (("before_cursor_execute", statement), ("commit", commit))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield costs
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


STAGES = {
    # (statements on PostgreSQL, statements on SQLite), for one text and for fifty alike
    "store": (2, 3),
    "claim": (5, 6),
    "settle": (4, 8),
    "accept": (3, 4),
}
"""In an open chat. On SQLite, statements that PostgreSQL gets as one are counted one by one. SQLite's BEGIN counts too,
and is left out here."""


def begins(engine: Engine) -> int:
    return 1 if engine.dialect.name == "sqlite" else 0


def must_cost_what_stages_cost(scene: Scene, engine: Engine, people: list[str]) -> None:
    """Each stage is one transaction of as many statements as in the table, however many people have written."""
    settle_all(scene, claimed(scene, people))
    found: dict[str, Costs] = {}
    with counted(engine) as found["store"]:
        assert all(store_many(scene.rt, [inbound(scene, "again", phone) for phone in people]))
    with counted(engine) as found["claim"]:
        turns, others = claim_due(scene.rt, len(people))
    assert (len(turns), others) == (len(people), [])
    with counted(engine) as found["settle"]:
        ended = settle_many(scene.rt, [answered(turn, scene) for turn in turns])
    with counted(engine) as found["accept"]:
        assert settle_deliveries(scene.rt, [accepted(each) for each in ended]) == [False] * len(people)
    place = 0 if engine.dialect.name == "postgresql" else 1
    assert {name: costs.statements - begins(engine) for name, costs in found.items()} == {
        name: both[place] for name, both in STAGES.items()
    }
    assert {name: costs.transactions for name, costs in found.items()} == dict.fromkeys(STAGES, 1)


@pytest.mark.parametrize("people", [PEOPLE[:1], PEOPLE], ids=["one", "fifty at once"])
def test_each_stage_is_one_transaction_of_a_few_statements_however_many_wait(
    scene: Scene, engine: Engine, people: list[str]
) -> None:
    must_cost_what_stages_cost(scene, engine, people)


def accepted(ended: Settled | None) -> Accepted:
    assert ended
    assert ended.delivery
    lease: Lease = ended.delivery.lease
    return Accepted(lease, ended.delivery.message_id, f"SM{ended.delivery.message_id:032d}", Delivery.QUEUED)


def settle_all(scene: Scene, turns: list[ClaimedTurn]) -> None:
    ended = settle_many(scene.rt, [answered(turn, scene) for turn in turns])
    assert settle_deliveries(scene.rt, [accepted(each) for each in ended]) == [False] * len(turns)
    scene.clock.tick(timedelta(minutes=2).total_seconds())
    scene.rt.heartbeat.beat()  # type: ignore[attr-defined]


def test_an_answer_that_has_used_tools_costs_no_statement_more(scene: Scene, engine: Engine) -> None:
    settle_all(scene, claimed(scene, PEOPLE[:2]))
    assert all(store_many(scene.rt, [inbound(scene, BOOK, phone) for phone in PEOPLE[:2]]))
    plain, with_tools = (answered(turn, scene) for turn in claim_due(scene.rt, 2)[0])
    items = (Item(Speaker.OTHER, steps=(CALL,)), *with_tools.answer.items)
    with counted(engine) as spent:
        assert all(settle_many(scene.rt, [plain, replace(with_tools, answer=replace(with_tools.answer, items=items))]))
    place = 0 if engine.dialect.name == "postgresql" else 1
    assert (spent.statements - begins(engine), spent.transactions) == (STAGES["settle"][place], 1)


def test_a_text_in_a_new_chat_and_one_in_an_open_chat_cost_so_much_in_all(
    postgresql_engine: Engine, postgresql_sessions: Sessions
) -> None:
    """Calls, transactions and statements. A careless change makes this fail; one that saves something, too."""
    scene = Scene(postgresql_sessions)
    scene.text("warm up", PEOPLE[2])
    scene.work()
    costs = []
    for _ in range(2):
        calls = len(scene.agent.calls) + len(scene.carrier.calls)
        with counted(postgresql_engine) as spent:
            scene.text("hello")
            scene.wake()
        costs.append((len(scene.agent.calls) + len(scene.carrier.calls) - calls, spent.transactions, spent.statements))
    assert costs == [(3, 5, 18), (2, 4, 15)]


@pytest.mark.parametrize("people", [PEOPLE[:1], PEOPLE], ids=["one", "fifty at once"])
def test_reports_of_progress_are_one_transaction_of_two_statements(
    scene: Scene, engine: Engine, people: list[str]
) -> None:
    settle_all(scene, claimed(scene, people))
    sent = [(row.reference, row.carrier_id, phone) for row, phone in zip(outbound(scene), people, strict=True)]
    for status, final in ((Delivery.SENT, False), (Delivery.DELIVERED, True)):
        reports = [StatusReport(reference, sid, status, phone) for reference, sid, phone in sent]
        with counted(engine) as spent:
            assert report_many(scene.rt, reports) == [True] * len(people)
        assert (spent.statements - begins(engine), spent.transactions) == (2, 1)
        assert report_many(scene.rt, reports) == [False] * len(people)
        assert [(row.delivery, row.poll_status_at is None) for row in outbound(scene)] == [(status, final)] * len(
            people
        )


def outbound(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


def test_reports_that_may_change_more_are_left_to_their_callers(scene: Scene) -> None:
    settle_all(scene, claimed(scene, PEOPLE[:3]))
    first, second, third = outbound(scene)
    reports = [
        StatusReport(first.reference, first.carrier_id or "", Delivery.DELIVERED, PEOPLE[0]),
        StatusReport(first.reference, first.carrier_id or "", Delivery.SENT, PEOPLE[0]),
        StatusReport(second.reference, "SM_of_another", Delivery.SENT, PEOPLE[1]),
        StatusReport(third.reference, third.carrier_id or "", Delivery.SENT, PEOPLE[0]),
        StatusReport("no such text", "SM1", Delivery.SENT, PEOPLE[2]),
    ]
    assert report_many(scene.rt, reports) == [True, False, None, None, None]
    assert [row.delivery for row in outbound(scene)] == [Delivery.DELIVERED, Delivery.QUEUED, Delivery.QUEUED]
