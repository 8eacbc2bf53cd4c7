"""The order in which transactions lock rows, as ``bridge.queues.conversation_queue`` documents it.

PostgreSQL alone: SQLite has one lock for the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event, select

from bridge.chats import ending
from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Holder, Message, MessageStatus, OptOut, Turn, TurnStatus
from bridge.inbound import agent_events
from bridge.maintenance import handoffs, status_poll
from bridge.maintenance.outside_texts import SETTLED_AFTER, hold_for_outside_texts
from bridge.operators import drafts, failures, holding, pausing, retry, texts
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked
from bridge.operators.texts import Pair
from bridge.outbound import notices, outbox, receipts
from bridge.providers.agents.contract import ChatState, Item, Speaker
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import AccountRefused, OutcomeUnknown, QueueFull, Refused
from tests.fakes import TEAM
from tests.scene import ANN, BOB, NUMBER, Scene

CAROL = "+15551230003"
DAVE = "+15551230004"
EVE = "+15551230005"
TEAM_PHONE = "+15559990000"
ANOTHER_NUMBER = "+15550001112"

PLACES = {
    "idempotency_keys": -1,
    "opt_outs": 0,
    "conversations": 1,
    **dict.fromkeys(("messages", "turns", "chats", "senders", "circuit_breakers"), 2),
    "contact_updates": 3,
    "handoff_notices": 4,
}
"""The place of each table in the order."""

ID = "lpad(id::text, 9, '0')"
KEYS = {
    "idempotency_keys": "operator || key",
    "opt_outs": "phone || scope",
    "senders": "name",
    "circuit_breakers": "scope",
}
"""The primary keys that are not ``id``, as words that sort."""

LOCKED = " UNION ALL ".join(
    f"SELECT '{table}', ({KEYS.get(table, 'id')})::text FROM {table} "
    "WHERE (txid_current_if_assigned() % 4294967296)::text IN (xmin::text, xmax::text)"
    for table in PLACES
)
"""PostgreSQL writes the number of a transaction into each row that it locks or changes."""

CHANGED = re.compile(r"\b(?:UPDATE|INSERT INTO|DELETE FROM) (\w+)")
SELECTED = re.compile(r"\b(?:FROM|JOIN) (\w+)")


@dataclass(frozen=True)
class Lock:
    """Rows of one table that one statement has locked."""

    table: str
    keys: tuple[str, ...]


@dataclass
class Recorder:
    """Record the locks for which each transaction may have to wait, in order. A row counts when it is locked first.

    A statement that skips locked rows never waits. The check of a foreign key is left out: it locks rows FOR KEY SHARE,
    and may come after any change of a row that the same transaction has changed before.
    """

    transactions: list[list[Lock]] = field(default_factory=list)
    _locked: set[tuple[str, str]] = field(default_factory=set)

    def begin(self, _connection: object) -> None:
        self.transactions.append([])
        self._locked = set()

    def executed(self, _connection: object, cursor: Any, statement: str, *_: object) -> None:
        locks = CHANGED.findall(statement) + (SELECTED.findall(statement) if "FOR UPDATE" in statement else [])
        if not locks:
            return
        all_ours = cursor.connection.execute(LOCKED).fetchall()
        new = sorted({(table, key) for table, key in all_ours if table in locks} - self._locked)
        self._locked |= set(new)
        if "SKIP LOCKED" in statement:
            return
        for table in sorted(set(locks) & PLACES.keys(), key=PLACES.__getitem__):
            keys = tuple(key for its, key in new if its == table)
            deleted = statement.startswith("DELETE") and cursor.rowcount > 0
            if keys or deleted:
                self.transactions[-1].append(Lock(table, keys))

    def out_of_order(self, table: str) -> list[list[tuple[str, ...]]]:
        """Return the rows of the transactions that lock a row of this table after one with a higher key."""
        rows = [[lock.keys for lock in locks if lock.table == table and lock.keys] for locks in self.transactions]
        return [keys for keys in rows if any(max(one) > min(next_one) for one, next_one in pairwise(keys))]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def scene(postgresql_url: str, recorder: Recorder) -> Iterator[Scene]:
    engine = build_engine(postgresql_url, pool_size=1)
    event.listen(engine, "begin", recorder.begin)
    event.listen(engine, "after_cursor_execute", recorder.executed)
    yield Scene(
        build_sessions(engine),
        twilio_numbers=f"{NUMBER}, {ANOTHER_NUMBER}",
        send_auto_close_message=True,
        retell_contacts="write",
        handoff_within="30m",
        handoff_give_back=True,
        handoff_number=TEAM_PHONE,
        **TEAM,
    )
    engine.dispose()


def report(scene: Scene, n: int, status: Delivery, code: int | None = None) -> None:
    """The carrier reports the status of its ``n``-th text."""
    sent = scene.carrier.accepted[n]
    receipts.report(scene.rt, StatusReport(sent.text.reference, sent.carried.id, status, sent.text.recipient, code))


def opt_outs(scene: Scene) -> list[OptOut]:
    with scene.sessions() as session:
        return list(session.scalars(select(OptOut)))


def texts_are_answered(scene: Scene) -> None:
    for phone in (ANN, BOB):
        scene.text("one", phone)
        scene.text("two", phone)
        scene.text("three", phone, to=ANOTHER_NUMBER)
    scene.text("", CAROL, media=1)
    scene.work_until_idle()
    for n in range(len(scene.carrier.accepted)):
        report(scene, n, Delivery.SENT)
        report(scene, n, Delivery.DELIVERED)
    assert len(scene.carrier.accepted) >= 5


def a_turn_is_given_up(scene: Scene) -> None:
    scene.text("hello", DAVE)
    scene.work_until_idle()
    scene.agent.fail("complete", Refused("no", provider="retell", status=400), times=100)
    scene.text("and now?", DAVE)
    scene.work_until_idle()
    scene.agent.recover()
    assert TurnStatus.GIVEN_UP in {turn.status for turn in scene.rows(Turn)}


def circuits_are_opened_and_closed(scene: Scene) -> None:
    for phone in (ANN, BOB, CAROL):
        scene.text("is anybody there?", phone)
    scene.agent.fail("complete", AccountRefused("no key", provider="retell", status=401), times=2)
    scene.agent.fail("create_chat", AccountRefused("no key", provider="retell", status=401), times=2)
    scene.work(seconds=5)
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401), times=4)
    scene.work_until_idle()


def deliveries_fail(scene: Scene) -> None:
    scene.carrier.fail("send", QueueFull("full", provider="twilio", status=429, code=21611))
    scene.carrier.fail("send", OutcomeUnknown("timeout", provider="twilio"), taken=True)
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    for phone in (ANN, BOB, CAROL, DAVE):
        scene.text("four", phone)
    scene.work_until_idle()


def texts_are_sent_again(scene: Scene) -> None:
    scene.text("five", ANN)
    scene.work_until_idle()
    report(scene, -1, Delivery.UNDELIVERED, 30003)
    scene.text("six", BOB)
    scene.work_until_idle()
    report(scene, -1, Delivery.FAILED, 30002)  # trips the circuit of the carrier
    scene.text("seven", BOB)
    scene.work(seconds=3600)
    report(scene, -1, Delivery.DELIVERED)
    assert any(message.resent_as for message in scene.rows(Message))


def people_opt_out_and_in(scene: Scene) -> None:
    for phone in (ANN, BOB):
        scene.text("eight", phone)
        scene.text("eight", phone, to=ANOTHER_NUMBER)
        scene.text("STOP", phone)
        scene.work_until_idle()
        scene.text("START", phone)
    scene.carrier.fail("send", Refused("unsubscribed", provider="twilio", status=400, code=21610))
    scene.text("nine", BOB)
    scene.work_until_idle()
    scene.text("ten", CAROL)
    scene.work_until_idle()
    report(scene, -1, Delivery.UNDELIVERED, 21610)
    assert {row.cause for row in opt_outs(scene)} == {"by text", "the carrier refuses with 21610"}


def statuses_are_polled(scene: Scene) -> None:
    scene.text("eleven", DAVE)
    scene.work_until_idle()
    scene.carrier.becomes(scene.carrier.accepted[-1].carried.id, Delivery.UNDELIVERED, 30002)
    scene.clock.tick(13 * 3600)
    status_poll.poll_statuses(scene.rt)
    assert scene.rows(Message)[-1].delivery is Delivery.UNDELIVERED


def chats_are_ended(scene: Scene) -> None:
    ending.end_one(scene.rt, scene.rows(Chat)[-1].id)
    scene.restart()
    scene.work(seconds=60)


def chats_end_at_their_provider(scene: Scene) -> None:
    """With the agent's last words in one of them, and a text that waits in the other."""
    for phone in (ANN, BOB):
        scene.text("twelve", phone)
    scene.work_until_idle()
    scene.text("thirteen", BOB)
    open_chats = [row for row in scene.rows(Chat) if row.status is ChatStatus.ONGOING]
    for row in open_chats:
        scene.agent.end(row.provider_chat_id)
        items = (*scene.agent.chats[row.provider_chat_id].items, Item(Speaker.AGENT, "Bye", id="last"))
        for kind in EventKind:
            event = ChatEvent(kind, "retell", row.provider_chat_id, scene.clock(), items)
            agent_events.record(scene.rt, event)
    scene.work_until_idle()
    assert "Bye" in scene.got(ANN)
    assert "Bye" not in scene.got(BOB)


def operators_act(scene: Scene) -> None:
    for phone in (ANN, BOB):
        texts.write(scene.rt, Asked("ana", f"key {phone}", "r"), Pair(phone, NUMBER), "fourteen")
    scene.work_until_idle()
    failures.dismiss(scene.rt, "ana", failures.Kind.MESSAGE, None, 1)
    assert retry.retry_some(scene.rt, "ana", None, 100).turns
    pausing.begin(scene.rt, "ana")
    scene.text("fifteen")
    scene.work(seconds=5)
    pausing.end(scene.rt, "ana")
    scene.work_until_idle()
    scene.clock.tick(25 * 3600)
    scene.tick()


def another_tool_texts(scene: Scene) -> None:
    scene.clock.tick(3600)
    for phone in (ANN, EVE):
        scene.carrier.write_outside(phone, NUMBER, "hi")
    scene.tick(SETTLED_AFTER.total_seconds())
    hold_for_outside_texts(scene.rt)
    assert MessageStatus.OUTSIDE in {message.status for message in scene.rows(Message)}


def operators_hold_conversations(scene: Scene) -> None:
    """With an answer that is being given, a draft that is sent, a human at the provider, and nobody who comes."""
    scene.agent.in_next_call(lambda: _take_over_all(scene))
    for phone in (BOB, ANN):
        scene.text("sixteen", phone)
    scene.work_until_idle()
    draft = next(row for row in scene.rows(Message) if row.status is MessageStatus.DRAFT)
    drafts.send(scene.rt, Asked("ana", "draft", "r"), draft.id, "sixteen, by Ana")
    held = [row for row in scene.rows(Conversation) if row.holder is Holder.PERSON]
    for n, row in enumerate(held):
        scene.agent.hand_over(_chat_of(scene, row.id)) if n else None
        holding.hand_back(scene.rt, "ana", row.id, HandBack("seventeen", answer=bool(n)))
    scene.work(seconds=60)
    for row in held:
        holding.hand_to_team(scene.rt, "ben", row.id, "why")
    scene.work(seconds=5)
    scene.clock.tick(3600)
    scene.rt.heartbeat.beat()
    handoffs.end_waits(scene.rt)
    for chat in scene.agent.chats.values():
        scene.agent.hand_back(chat.id) if chat.state is ChatState.WITH_HUMAN else None
    handoffs.check_again(scene.rt)
    scene.work_until_idle()
    assert {row.holder for row in scene.rows(Conversation)} == {Holder.AGENT}


def _take_over_all(scene: Scene) -> None:
    for row in scene.rows(Conversation):
        if row.phone in (ANN, BOB) and row.bridge_number == NUMBER:
            holding.take_over(scene.rt, "ana", row.id)


def _chat_of(scene: Scene, conversation_id: int) -> str:
    [chat] = [
        row.provider_chat_id
        for row in scene.rows(Chat)
        if row.conversation_id == conversation_id and row.status is ChatStatus.ONGOING
    ]
    return str(chat)


def the_team_is_told(scene: Scene) -> None:
    for phone in (DAVE, ANN):
        with scene.rt.database.transaction() as tx:
            notices.put(scene.rt, tx, outbox.opened(tx, phone=phone, bridge_number=NUMBER), "why")
    scene.team.fail(Refused("no", provider="HANDOFF_WEBHOOK", status=410))
    scene.team.fail(OutcomeUnknown("cut", provider="HANDOFF_WEBHOOK"))
    scene.work(seconds=60)
    assert retry.retry_some(scene.rt, "ana", failures.Kind.NOTICE, 10).notices
    scene.work_until_idle()
    assert len(scene.got(TEAM_PHONE)) == 2


def test_every_transaction_locks_opt_outs_then_conversations_then_the_rest(scene: Scene, recorder: Recorder) -> None:
    texts_are_answered(scene)
    a_turn_is_given_up(scene)
    circuits_are_opened_and_closed(scene)
    deliveries_fail(scene)
    texts_are_sent_again(scene)
    people_opt_out_and_in(scene)
    statuses_are_polled(scene)
    chats_are_ended(scene)
    chats_end_at_their_provider(scene)
    operators_act(scene)
    the_team_is_told(scene)
    operators_hold_conversations(scene)
    another_tool_texts(scene)
    orders = {tuple(lock.table for lock in locks) for locks in recorder.transactions}
    assert {table for order in orders for table in order} == PLACES.keys()
    assert ("opt_outs", "conversations", "messages") in {order[:3] for order in orders}
    assert [order for order in orders if sorted(order, key=PLACES.__getitem__) != list(order)] == []
    for table in ("conversations", "circuit_breakers"):
        assert recorder.out_of_order(table) == []
    pairs = [[table for table in order if table in ("senders", "circuit_breakers")] for order in orders]
    assert [pair for pair in pairs if pair != sorted(pair, reverse=True)] == []
