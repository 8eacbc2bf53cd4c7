"""What operators wait for with a million conversations: each list, page and search of the admin API.

.venv/bin/python -m bench.many
.venv/bin/python -m bench.many --conversations 100000 --keep

It fills a PostgreSQL database of its own, by SQL inside of it, and asks the views as a client would. ``--keep`` leaves
the database, and the next run asks it again. Bodies have words as languages have them: few are common, most are rare.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
from flask.testing import FlaskClient

from bridge.config import Settings
from bridge.db.engine import build_engine
from bridge.db.models import Base
from bridge.operators import sessions
from bridge.runtime import Runtime
from bridge.web.app import build_web
from bridge.web.console.security import COOKIE, PATH
from bridge.web.queries import changes
from bridge.web.queries.changes import Position
from bridge.web.queries.paging import write_cursor

SERVER = "postgresql://postgres@127.0.0.1:5432"
NAME = "bridge_many"
NUMBER = "+15550001111"
TOKEN = "token-of-ana"
TEXTS_EACH = 10
TIMES = 40
DAYS = 90

LARGE = ("conversations", "chats", "turns", "messages")
"""The tables that are filled without indexes and foreign keys. Both come back afterwards."""

PREPARE = (
    """CREATE TABLE bench_words AS SELECT n,
           'w' || substr(translate(md5(n::text), '0123456789', 'ghijklmnop'), 1, 3 + n % 6)
           || CASE WHEN n > 200 THEN n::text ELSE '' END AS word FROM generate_series(1, 30000) AS n""",
    "ALTER TABLE bench_words ADD PRIMARY KEY (n)",
    """CREATE TABLE bench_bodies AS SELECT g, string_agg(word, ' ') AS body FROM (
           SELECT g, 1 + floor(30000 * power(random(), 4))::int AS n FROM generate_series(1, 100000) AS g,
               generate_series(1, 16)) AS picked JOIN bench_words USING (n) GROUP BY g""",
    "ALTER TABLE bench_bodies ADD PRIMARY KEY (g)",
)

FILL = (
    """INSERT INTO conversations (bridge_number, phone, created_at, changed_at, holder, holder_name, holder_since)
       SELECT %(number)s, '+1415' || lpad(((n * 7919::bigint) %% 10000000)::text, 7, '0'),
           %(now)s::timestamptz - interval '90 days', %(now)s::timestamptz - (%(many)s - n) * interval '7 seconds',
           CASE WHEN n %% 500 = 0 THEN 'waiting' WHEN n %% 1000 = 1 THEN 'person' ELSE 'agent' END,
           CASE WHEN n %% 1000 = 1 THEN 'ana' END, CASE WHEN n %% 500 < 2 THEN %(now)s::timestamptz END
       FROM generate_series(1, %(many)s) AS n""",
    """INSERT INTO chats (conversation_id, provider, provider_chat_id, agent_id, status, started_at, last_activity_at,
                          ended_at)
       SELECT id, 'retell', 'chat_' || id, 'agent_1', CASE WHEN id %% 10 = 0 THEN 'ongoing' ELSE 'ended' END,
           changed_at, changed_at, CASE WHEN id %% 10 > 0 THEN changed_at END FROM conversations ORDER BY id""",
    """INSERT INTO turns (conversation_id, chat_id, status, created_at, expires_at, settled_at, error)
       SELECT conversation_id, id, CASE WHEN id %% 1000 = 7 THEN 'given_up' ELSE 'answered' END, started_at, started_at,
           started_at, CASE WHEN id %% 1000 = 7 THEN 'no answer' END FROM chats ORDER BY id""",
    """INSERT INTO messages (conversation_id, turn_id, direction, status, body, created_at, settled_at, carrier_id,
                             reference, delivery, segments)
       SELECT 1 + n %% %(many)s, 1 + n %% %(many)s, CASE WHEN way THEN 'out' ELSE 'in' END,
           CASE WHEN way THEN 'sent' ELSE 'answered' END,
           body || CASE WHEN n %% 1000 = 0 THEN ' ref' || n ELSE '' END, at, at, 'SM' || md5(n::text),
           CASE WHEN way THEN md5('r' || n) END,
           CASE WHEN way THEN CASE WHEN n %% 2000 < 4 THEN 'undelivered' ELSE 'delivered' END END,
           CASE WHEN way THEN 1 END
       FROM generate_series(1::bigint, %(texts)s) AS n
       CROSS JOIN LATERAL (SELECT (n / %(many)s) %% 2 = 1 AS way, %(now)s::timestamptz
           - (%(texts)s - n) * (interval '90 days' / %(texts)s) AS at) AS made
       JOIN bench_bodies ON g = 1 + (n * 31) %% 100000""",
    "INSERT INTO tags SELECT id, 'vip' FROM conversations WHERE id %% 100 = 3",
    "INSERT INTO tags SELECT id, 'rare' FROM conversations WHERE id %% 100000 = 3",
    """INSERT INTO opt_outs (phone, scope, since, cause) SELECT phone, bridge_number, changed_at, 'by text'
       FROM conversations WHERE id %% 100 = 9""",
    """INSERT INTO read_marks SELECT 'ana', id, id FROM conversations WHERE id %% 20 = 0""",
    """INSERT INTO audit (at, operator, action, conversation_id, subject, details)
       SELECT %(now)s::timestamptz - (%(many)s - n) * interval '7 seconds',
           CASE WHEN n %% 50000 = 3 THEN 'rare' ELSE 'ana' END, 'send_text', n, 'message ' || n, '{}'
       FROM generate_series(1, %(many)s) AS n""",
)


@dataclass(frozen=True)
class Place:
    """The database, and how much is in it."""

    url: str
    conversations: int

    @property
    def texts(self) -> int:
        return self.conversations * TEXTS_EACH


# -- what is filled in ---------------------------------------------------------------------------------------------


def fill(place: Place) -> None:
    engine = build_engine(place.url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    engine.dispose()
    values = {"number": NUMBER, "now": datetime.now(UTC), "many": place.conversations, "texts": place.texts}
    with psycopg.connect(place.url, autocommit=True) as database:
        database.execute("SET maintenance_work_mem = '1GB'")
        database.execute("SET synchronous_commit = off")
        again = _dropped(database)
        for statement in PREPARE:
            database.execute(statement)
        for statement in FILL:
            _timed(" ".join(statement.split())[:60], lambda statement=statement: database.execute(statement, values))
        for statement in again:
            _timed(statement[:90], lambda statement=statement: database.execute(statement))
        _timed("VACUUM ANALYZE", lambda: database.execute("VACUUM ANALYZE"))


def _dropped(database: psycopg.Connection[Any]) -> list[str]:
    """Drop the indexes and foreign keys of the large tables. Return the statements that make them again."""
    again = []
    keys = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
    for table, name, definition in database.execute(keys).fetchall():
        database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(%s)"
    for name, definition in database.execute(indexes, (list(LARGE),)).fetchall():
        if not name.endswith("_pkey"):
            database.execute(f"DROP INDEX {name}")
            again.insert(0, definition)
    return again


def _timed(what: str, work: Callable[[], object]) -> None:
    began = time.monotonic()
    work()
    print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True)


# -- what is asked -------------------------------------------------------------------------------------------------


def cases(place: Place, words: list[str]) -> Iterator[tuple[str, Callable[[random.Random], str]]]:
    """Yield each case with the path of a request. The first words are the most common ones."""
    many, texts = place.conversations, place.texts
    now = datetime.now(UTC)

    def somewhere(rng: random.Random) -> str:
        at = now - timedelta(seconds=rng.random() * 7 * many)
        return write_cursor(int(at.timestamp() * 1_000_000), rng.randrange(1, many))

    def phone(rng: random.Random) -> str:
        return f"+1415{rng.randrange(1, many) * 7919 % 10_000_000:07}"

    lists = "/admin/conversations"
    yield "conversations, first page", lambda rng: lists
    yield "conversations, a page in the middle", lambda rng: f"{lists}?cursor={somewhere(rng)}"
    yield "conversations, 200 at a time", lambda rng: f"{lists}?limit=200&cursor={somewhere(rng)}"
    for holder in ("agent", "waiting", "person", "outside"):
        yield f"conversations, holder {holder}", lambda rng, holder=holder: f"{lists}?holder={holder}"
    for tag in ("vip", "rare", "none"):
        yield f"conversations, tag {tag}", lambda rng, tag=tag: f"{lists}?tag={tag}"
    yield "number, whole", lambda rng: f"{lists}?phone={quote(phone(rng))}"
    yield "number, last 7 digits", lambda rng: f"{lists}?phone={phone(rng)[-7:]}"
    yield "number, last 4 digits", lambda rng: f"{lists}?phone={phone(rng)[-4:]}"
    yield "words, in one text", lambda rng: f"{lists}?q=ref{1000 * rng.randrange(1, texts // 1000)}"
    yield "words, in no text", lambda rng: f"{lists}?q=nothing{rng.random()}"
    for name, first, last in (("most common", 0, 10), ("common", 50, 200), ("less common", 1000, 3000)):
        yield f"words, {name}", lambda rng, a=first, b=last: f"{lists}?q={words[rng.randrange(a, b)]}"
    yield "words, rare", lambda rng: f"{lists}?q={words[rng.randrange(20_000, 29_000)]}"
    yield "words, two common", lambda rng: f"{lists}?q={words[rng.randrange(10)]}+{words[rng.randrange(50, 200)]}"
    yield (
        "words, three less common",
        lambda rng: f"{lists}?q={'+'.join(words[rng.randrange(300, 3000)] for _ in range(3))}",
    )
    yield "words, common, holder waiting", lambda rng: f"{lists}?holder=waiting&q={words[rng.randrange(50, 200)]}"
    yield (
        "words, common, a page in the middle",
        lambda rng: f"{lists}?q={words[rng.randrange(200)]}&cursor={write_cursor(texts // 2)}",
    )
    yield "one conversation", lambda rng: f"{lists}/{rng.randrange(1, many)}"
    yield "chats, first page", lambda rng: "/admin/chats"
    for status in ("ongoing", "ending", "ended"):
        yield f"chats, {status}", lambda rng, status=status: f"/admin/chats?status={status}"
    yield "chats of a number", lambda rng: f"/admin/chats?phone={quote(phone(rng))}"
    yield "one chat", lambda rng: f"/admin/chats/{rng.randrange(1, many)}"
    yield "failures", lambda rng: "/admin/failures"
    yield "audit, first page", lambda rng: "/admin/audit"
    yield "audit, of a conversation", lambda rng: f"/admin/audit?conversation_id={rng.randrange(1, many)}"
    yield "audit, of a rare operator", lambda rng: "/admin/audit?operator=rare"
    for page in ("", "inbox", "inbox?holder=waiting", "failures", "audit", "live?v=x", "overview/figures"):
        yield f"console, {page or 'overview'}", lambda rng, page=page: f"/console/{page}"
    yield "console, inbox, last 4 digits", lambda rng: f"/console/inbox?q={phone(rng)[-4:]}"
    yield "console, a conversation", lambda rng: f"/console/conversations/{rng.randrange(1, many)}"


def ask(place: Place, which: str) -> None:
    settings = Settings(
        database_url=place.url,
        public_url="https://x.example",
        twilio_account_sid="AC" + "0" * 32,
        twilio_auth_token="t" * 32,
        retell_api_key="key_" + "0" * 24,
        retell_agent_id="agent_1",
        admin_tokens=f"ana:{TOKEN}",
        twilio_numbers=NUMBER,
    )
    rt = Runtime.build(settings, _NoNotifier(), pool_size=4)
    client = build_web(rt).test_client()
    client.set_cookie(COOKIE, sessions.begin(rt, "ana") or "", path=PATH)
    with psycopg.connect(place.url) as database:
        words = [word for (word,) in database.execute("SELECT word FROM bench_words ORDER BY n")]
    print(f"\n| {place.conversations:,} conversations, {place.texts:,} texts | p50, ms | p95, ms | slowest, ms |")
    print("|---|--:|--:|--:|")
    for name, path in cases(place, words):
        if re.search(which, name):
            _print(name, _measured(client, path))
    moment = Position.at_moment(datetime.now(UTC) - timedelta(hours=1))
    _print("what has changed, of an hour", [_seconds(lambda: changes.read(rt, moment)) for _ in range(TIMES)])
    rt.close()


def _measured(client: FlaskClient, path: Callable[[random.Random], str]) -> list[float]:
    rng = random.Random(7)
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def once() -> None:
        answer = client.get(path(rng), headers=headers)
        assert answer.status_code in (200, 404), answer.text

    once()
    return [_seconds(once) for _ in range(TIMES)]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _print(name: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * each for each in seconds)
    p50, p95 = ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered)) - 1]
    print(f"| {name} | {p50:.0f} | {p95:.0f} | {ordered[-1]:.0f} |", flush=True)


class _NoNotifier:
    def wake(self, task: str, row: int) -> None:
        """Nobody works here."""

    def reachable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def database(server: str, conversations: int, keep: bool) -> Iterator[Place]:
    """A database of this bench's own, filled. It is dropped at the end, unless it is kept."""
    place = Place(f"{server}/{NAME}", conversations)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as own:
        known = own.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,)).fetchone()
        if not known:
            own.execute(f"CREATE DATABASE {NAME}")
            fill(place)
        try:
            yield place
        finally:
            if not keep:
                own.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--server", default=SERVER, help=f"default: {SERVER}")
    arguments.add_argument("--conversations", type=int, default=1_000_000)
    arguments.add_argument("--keep", action="store_true", help="leave the database for the next run")
    arguments.add_argument("--cases", default="", help="a pattern of their names; default: all")
    wanted = arguments.parse_args()
    with database(wanted.server, wanted.conversations, wanted.keep) as place:
        ask(place, wanted.cases)


if __name__ == "__main__":
    main()
