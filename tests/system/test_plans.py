"""The way of a text and the clock's jobs do not become slower as the tables grow: every statement looks rows up.

PostgreSQL runs each statement twice here: first explained and rolled back, then for good. So the plans are those of the
values and rows of that moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from bridge.chats import ending
from bridge.db.engine import build_engine, build_sessions, without_transaction
from bridge.db.models import Base, Holder
from bridge.db.statements import Statement
from bridge.inbound import store as inbound_store
from bridge.operators import labels
from bridge.outbound import receipts
from bridge.outbound import store as outbound_store
from bridge.outbound.delivery import store as delivery_store
from bridge.processes.tasks import SCHEDULE, tick
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.queues import answer_times
from bridge.queues.conversation_queue import ANY_DUE
from bridge.turns import store as turn_store
from bridge.web.queries import changes, conversations, texts
from bridge.web.queries.changes import Position
from bridge.web.queries.conversations import Filter, Reader
from bridge.web.queries.paging import write_cursor
from tests.conftest import Postgres
from tests.fakes import FakeClock
from tests.scene import BOB, NUMBER, Scene

CONVERSATIONS, TEXTS_EACH = 6_000, 8

LARGE = {**dict.fromkeys(("conversations", "chats", "turns"), CONVERSATIONS), "messages": CONVERSATIONS * TEXTS_EACH}
"""The rows of the large tables."""

BLOCKS = 300
"""Blocks of 8 kB that one statement may touch. The texts here have a thousand. A look-up by an index touches three or
four, and one statement makes up to fifty. How full the pages are differs from run to run, by a tenth."""

PAGE_BLOCKS = 3_500
"""The same for a page of fifty conversations: each is looked up, with up to eight texts, some sixty blocks in all."""

CHANGED = 40
"""Blocks for each row that it changes, which has an entry in each of up to ten indexes."""

SORTED = 200
"""Rows that one statement may sort: those of its batch, of one conversation, or of one page."""

UNDER_WAY = {"ix_messages_unsent", "ix_messages_operator"}
"""Indexes of what the history has none of: of texts that are being sent, and of texts of operators."""

ONGOING = {"uq_chats_ongoing", "ix_chats_idle"}
"""Indexes of ongoing chats. In a new database all of one seems to cost as little as a part of it, until PostgreSQL has
analyzed the table."""


def reads_all(node: dict[str, Any], small: Set[str] = UNDER_WAY) -> bool:
    """Return whether this step scans a large table, or goes through a whole index of it."""
    if node["Node Type"] not in {"Seq Scan", "Index Scan", "Index Only Scan"} or node["Relation Name"] not in LARGE:
        return False
    if node["Node Type"] == "Seq Scan":
        return True
    if "Index Cond" in node or node["Index Name"] in small:
        return False
    was_run = "Actual Rows" in node
    return not was_run or node["Actual Rows"] + node.get("Rows Removed by Filter", 0) >= LARGE[node["Relation Name"]]


HISTORY = (
    """INSERT INTO conversations (bridge_number, phone, created_at, changed_at)
       SELECT :number, '+1415' || lpad(n::text, 7, '0'), :then, :then FROM generate_series(1, :conversations) AS n""",
    """INSERT INTO chats (conversation_id, provider, provider_chat_id, agent_id, status, started_at, last_activity_at,
                          ended_at, user_items)
       SELECT id, 'retell', 'chat_old' || id, 'agent_1', CASE WHEN id % 10 = 0 THEN 'ongoing' ELSE 'ended' END,
           :then, CAST(:then AS timestamptz) - id * interval '1 second', CASE WHEN id % 10 > 0 THEN :then END, 1
       FROM conversations""",
    """INSERT INTO turns (conversation_id, chat_id, status, created_at, expires_at, settled_at)
       SELECT conversation_id, id, 'answered', :then, :then, :then FROM chats""",
    """INSERT INTO messages (conversation_id, turn_id, direction, status, body, created_at, settled_at, carrier_id,
                             reference, delivery)
       SELECT t.conversation_id, t.id, CASE WHEN n % 2 = 0 THEN 'out' ELSE 'in' END,
           CASE WHEN n % 2 = 0 THEN 'sent' ELSE 'answered' END, repeat('word ', 20), :then, :then,
           'SM' || md5(t.id || '/' || n), CASE WHEN n % 2 = 0 THEN md5(t.id || '/' || n) END,
           CASE WHEN n % 2 = 0 THEN 'delivered' END
       FROM turns t, generate_series(1, :texts) AS n""",
)


@dataclass(frozen=True)
class Plan:
    """A statement and how PostgreSQL ran it."""

    statement: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    @property
    def changed(self) -> int:
        """Return how many rows it has inserted or updated."""
        return sum(node["Plans"][0]["Actual Rows"] for node in self.nodes() if node["Node Type"] == "ModifyTable")

    @property
    def faults(self) -> list[str]:
        blocks = self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"]
        found = [f"touches {blocks} blocks"] if blocks > BLOCKS + CHANGED * self.changed else []
        for node in self.nodes():
            if reads_all(node):
                found.append(f"reads all of {node['Relation Name']}")
            if node["Node Type"] == "Sort" and node["Actual Rows"] > SORTED:
                found.append(f"sorts {node['Actual Rows']} rows")
        return found


@contextmanager
def explained(engine: Engine) -> Iterator[list[Plan]]:
    plans: list[Plan] = []

    def explain(_connection: object, cursor: Any, statement: str, values: Any, *_: object) -> None:
        if statement.startswith(("SAVEPOINT", "RELEASE", "SET")):
            return
        driver = cursor.connection
        with driver.transaction(force_rollback=True):
            shown = driver.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values).fetchone()[0]
        plans.append(Plan(statement, (json.loads(shown) if isinstance(shown, str) else shown)[0]["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(engine, "before_cursor_execute", explain)


NOW = FakeClock()()
"""When each scene begins."""


@pytest.fixture(scope="module")
def history(postgres: Postgres) -> Iterator[str]:
    """The name of a database with a long history, of which nothing waits."""
    values = {
        "number": NUMBER,
        "then": NOW - timedelta(hours=23),
        "conversations": CONVERSATIONS,
        "texts": TEXTS_EACH,
    }
    with postgres.database() as url:
        engine = build_engine(url)
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            for statement in HISTORY:
                connection.execute(text(statement), values)
        with engine.connect() as connection, without_transaction(connection):
            connection.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum does, sooner or later
        engine.dispose()
        yield str(engine.url.database)


@pytest.fixture
def postgresql_engine(postgres: Postgres, history: str) -> Iterator[Engine]:
    with postgres.database(template=history) as url:
        engine = build_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def scene(postgresql_engine: Engine) -> Scene:
    return Scene(build_sessions(postgresql_engine), twilio_numbers=NUMBER, retention="1d")


def person(n: int) -> str:
    return f"+1415{n:07}"


def wrong(plans: list[Plan]) -> dict[str, list[str]]:
    return {plan.statement: plan.faults for plan in plans if plan.faults}


def test_the_way_of_a_text_looks_rows_up_by_indexes(scene: Scene, postgresql_engine: Engine) -> None:
    with explained(postgresql_engine) as plans:
        for phone in (BOB, person(10), person(11)):  # new; with an open chat; whose chat has ended
            scene.text("hello", phone)
            scene.wake()
        scene.text("", BOB, media=1)
        scene.text("STOP", BOB)
        scene.text("START", BOB)
        scene.work_until_idle()
        for sent in scene.carrier.accepted[:3]:
            for status in (Delivery.SENT, Delivery.DELIVERED):
                receipts.report(
                    scene.rt, StatusReport(sent.text.reference, sent.carried.id, status, sent.text.recipient, None)
                )
    assert wrong(plans) == {}
    assert len(plans) > 60
    assert scene.got(person(10))
    assert scene.got(person(11))


MOMENTS = {"now", "due"}
"""Values whose type PostgreSQL does not see everywhere."""

GENERIC = {
    f"{module.__name__}.{name}": statement
    for module in (inbound_store, turn_store, delivery_store, outbound_store, answer_times)
    for name, statement in vars(module).items()
    if isinstance(statement, Statement)
} | {f"any due of {queue.task}": statement for queue, statement in ANY_DUE.items()}


@pytest.fixture(scope="module")
def of_size(postgres: Postgres, history: str) -> Iterator[dict[str, str]]:
    """The addresses of a database with a long history, and of a new one that nobody has analyzed."""
    with postgres.database(template=history) as large, postgres.database() as new:
        engine = build_engine(new)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield {"large": large, "new": new}


@pytest.mark.parametrize("size", ["large", "new"])
@pytest.mark.parametrize("which", GENERIC)
def test_no_generic_plan_reads_a_large_table(of_size: dict[str, str], which: str, size: str) -> None:
    """After five executions PostgreSQL keeps the generic plan if it seems cheap. Such a plan is made without values.

    A plan that was made in a new database is kept while its tables grow.
    """
    sql, names = GENERIC[which].on("postgresql"), dict[str, int]()
    sql = re.sub(r"(?<!:):([a-z_]+)", lambda found: f"${names.setdefault(found[1], len(names) + 1)}", sql)
    engine = build_engine(of_size[size])
    with engine.connect() as connection:
        driver = connection.connection.cursor()
        driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        types = ", ".join("timestamptz" if name in MOMENTS else "unknown" for name in names)
        driver.execute(f"PREPARE generic ({types}) AS {sql}".encode())
        values = f"({', '.join(['NULL'] * len(names))})" if names else ""
        [[shown]] = driver.execute(f"EXPLAIN (FORMAT JSON) EXECUTE generic{values}").fetchall()
        driver.execute("DEALLOCATE generic")
    engine.dispose()
    small = UNDER_WAY | ONGOING if size == "new" else UNDER_WAY
    assert [node for node in Plan(sql, shown[0]["Plan"]).nodes() if reads_all(node, small)] == []


def test_so_do_the_transactions_of_uncommon_texts(scene: Scene, postgresql_engine: Engine) -> None:
    """Each request is run alone, as those are that no batch takes."""
    with explained(postgresql_engine) as plans:
        for n in range(3):
            scene.text("hello", person(n + 20))
        scene.rt = scene.alone
        scene.work_until_idle()
    assert wrong(plans) == {}
    assert all(scene.got(person(n + 20)) for n in range(3))


@pytest.mark.parametrize("job", sorted(SCHEDULE))
def test_so_do_the_jobs_of_the_clock(scene: Scene, postgresql_engine: Engine, job: str) -> None:
    scene.text("waits", person(30))
    scene.clock.tick(60)
    with explained(postgresql_engine) as plans:
        tick(scene.rt, job)
    assert wrong(plans) == {}
    assert plans


def test_so_does_the_search_for_stale_chats(scene: Scene, postgresql_engine: Engine) -> None:
    idle = timedelta(hours=24)
    with explained(postgresql_engine) as plans:
        for dry_run in (True, False):
            assert ending.end_stale(scene.rt, idle, limit=20, dry_run=dry_run).matched == 20
    assert wrong(plans) == {}


READ_BY_OPERATORS = {
    "conversations": lambda: Filter("ana"),
    "a page in the middle": lambda: Filter("ana", cursor=write_cursor(4102444800000000, 3000)),
    "of a holder": lambda: Filter("ana", holder=Holder.WAITING),
    "of a tag": lambda: Filter("ana", tag="vip"),
    "of a number": lambda: Filter("ana", phone=person(7)),
    "of last digits": lambda: Filter("ana", phone=person(7)[-7:]),
    "of a common word": lambda: Filter("ana", q="word"),
    "of a word and a holder": lambda: Filter("ana", q="word", holder=Holder.WAITING),
}


@pytest.mark.parametrize("which", READ_BY_OPERATORS)
def test_so_do_the_lists_of_operators(scene: Scene, postgresql_engine: Engine, which: str) -> None:
    held(scene)
    with explained(postgresql_engine) as plans:
        page = conversations.list_conversations(scene.rt, READ_BY_OPERATORS[which]())
    assert {statement: faults for statement, faults in wrong(plans).items() if not of_a_page(faults)} == {}
    assert page.conversations


def test_a_rare_word_is_found_by_the_index(scene: Scene, postgresql_engine: Engine) -> None:
    """The newest texts are read first. A word that is in none of them is not searched in all of the others."""
    with scene.sessions.begin() as session:
        session.execute(text("UPDATE messages SET body = 'an umbrella' WHERE id = 77"))
    with explained(postgresql_engine) as plans:
        page = conversations.list_conversations(scene.rt, Filter("ana", q="umbrella"))
    assert len(page.conversations) == 1
    [by_index] = [plan for plan in plans if "MATERIALIZED" in plan.statement]
    assert by_index.faults == []
    assert "ix_messages_words" in {node.get("Index Name") for node in by_index.nodes()}


def test_so_does_one_conversation_and_what_has_changed(scene: Scene, postgresql_engine: Engine) -> None:
    held(scene)
    with explained(postgresql_engine) as plans:
        assert conversations.get_conversation(scene.rt, 77, Reader("ana"))
        assert changes.read(scene.rt, Position.at_moment(scene.clock())).position
        labels.mark_read(scene.rt, "ana", 77, 10**9)
        assert next(texts.all_of(scene.rt, 77, 200))
    assert wrong(plans) == {}


def held(scene: Scene) -> None:
    """Let a few conversations wait for the team, with a tag."""
    with scene.sessions.begin() as session:
        session.execute(
            text("UPDATE conversations SET holder = 'waiting', holder_since = :now WHERE id % 300 = 7"),
            {"now": scene.clock()},
        )
        session.execute(text("INSERT INTO tags SELECT id, 'vip' FROM conversations WHERE id % 300 = 7"))
        session.execute(text("ANALYZE"))


def of_a_page(faults: list[str]) -> bool:
    """Return whether the only fault is that a page has as many conversations as it shows, each looked up by indexes."""
    blocks = [int(fault.split()[1]) for fault in faults if fault.startswith("touches")]
    return len(faults) == 1 and bool(blocks) and blocks[0] <= PAGE_BLOCKS


def test_a_statement_that_reads_a_whole_table_is_found(scene: Scene, postgresql_engine: Engine) -> None:
    with explained(postgresql_engine) as plans, postgresql_engine.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM messages WHERE body = 'no such text'")
    [faults] = wrong(plans).values()
    assert "reads all of messages" in faults
