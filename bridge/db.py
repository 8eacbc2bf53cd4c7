"""The door to the database: an engine with the habits that both PostgreSQL and SQLite need."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential

from bridge.fair_pool import FairPool

CONNECT_TIMEOUT = 2
"""Seconds. The webhook must say 503 while Twilio still listens, well before its 15 s."""

TCP_TIMEOUT = 5000
"""Milliseconds. A database host that vanished without a word is noticed, and not waited for until TCP gives up."""

POOL_TIMEOUT = 10
"""Seconds a thread waits for a free connection. Sessions are short: longer means that the database hangs."""

STATEMENT_TIMEOUT = 15
"""Seconds. No statement of the bridge needs one; a lock that is held longer belongs to something that hangs."""

IDLE_TIMEOUT = 15
"""Seconds in the middle of a transaction. Nothing outside is called there: who is idle is halted, and holds locks."""

SILENCE = 20
"""Seconds. Longer than any statement may take: who says nothing for so long will say nothing more."""

SQLITE_BUSY_TIMEOUT = 10
"""Seconds that a writer waits for the other writer."""

AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""How a database that is away, restarting or overloaded shows itself."""

PATIENCE = 60
"""Seconds that the result of an outside call is kept in hand while the database is away. Bookings are longer."""

Sessions = sessionmaker[Session]

T = TypeVar("T")

patient = retry(
    retry=retry_if_exception_type(AWAY),
    stop=stop_after_delay(PATIENCE),
    wait=wait_exponential(multiplier=0.1, max=2),
    reraise=True,
)
"""Decorates a transaction that may be run again when its commit had no known outcome."""


def build_engine(url: str, *, pool_size: int = 10, silence: float = SILENCE) -> Engine:
    """An engine on PostgreSQL (psycopg 3) or SQLite, connecting only when first used.

    ``silence`` is how many seconds PostgreSQL may leave a statement without an answer. Errors never show parameters:
    they hold numbers and texts. On SQLite there is one connection, whatever ``pool_size`` and ``silence`` say.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    engine = create_engine(
        url,
        poolclass=FairPool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "tcp_user_timeout": TCP_TIMEOUT,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT}s",
            "application_name": "bridge",
        },
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, args: Any, kwargs: Any) -> psycopg.Connection[Any]:
        connection = Impatient.connect(*args, **kwargs)
        connection.silence = silence
        return connection

    return engine


class Impatient(psycopg.Connection[Any]):
    """A connection that does not wait for ever for a server, or a proxy before it, that takes words and gives none."""

    silence: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, timeout=timeout or self.silence)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # what the server makes of the statement is not known: this connection is of no use
            raise psycopg.OperationalError("the database does not answer") from None


def build_sessions(engine: Engine) -> Sessions:
    """Sessions of this engine.

    A row may still be read for the log after its commit; nothing else of it leaves a session.

    An UPDATE leaves alone what the session has loaded of its rows: nothing here looks at that afterwards, and to
    compare would cost a fifth of the processor's time of a turn.
    """
    return sessionmaker(engine, expire_on_commit=False, execution_options={"synchronize_session": False})


def insert_if_new(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can leave alone what is there. Both databases can; only the dialects' own INSERTs can say it."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _sqlite(url: str) -> Engine:
    """One connection, for which the threads queue: there is one writer at a time anyway, and where many connections
    wait for the file's lock, SQLite lets each of them try again now and then, and some for seconds.
    """
    engine = create_engine(
        url,
        poolclass=FairPool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: see _begin
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that starts by reading and writes later fails at once when another one wrote in between;
        # one that takes the write lock first only waits.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
