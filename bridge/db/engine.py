"""The door to the database: an engine with the habits that both PostgreSQL and SQLite need."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential

from bridge.config import SettingsError
from bridge.db.fair_pool import FairPool
from bridge.db.postgres import BEGIN, ON_CONNECT, Connection, Unfit

POOL_TIMEOUT = 10
"""Seconds a thread waits for a free connection. Sessions are short: longer means that the database hangs."""

SILENCE = 20
"""Seconds. Longer than any statement may take: who says nothing for so long will say nothing more."""

SQLITE_BUSY_TIMEOUT = 10
"""Seconds that a writer waits for the other writer."""

OLDEST_SQLITE = (3, 35)
"""The first one that can tell what an INSERT or an UPDATE has done."""

AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""How a database that is away, restarting or overloaded shows itself."""

PATIENCE = 60
"""Seconds that the result of an outside call is kept in hand while the database is away. Bookings are longer."""

Sessions = sessionmaker[Session]

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
        connect_args=ON_CONNECT,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, args: Any, kwargs: Any) -> Connection:
        connection = Connection.opened(*args, silence=silence, **kwargs)
        if connection.pooled:  # only then: one who listens costs each statement of an engine some time
            event.listen(engine, "begin", _begin_behind_a_pooler)
        return connection

    return engine


def _begin_behind_a_pooler(connection: Any) -> None:
    if connection.connection.dbapi_connection.pooled:
        connection.exec_driver_sql(BEGIN)


def must_fit(url: str) -> None:
    """Raises :class:`SettingsError` where this database can never be used. One that is away may come back."""
    if make_url(url).get_backend_name() == "sqlite":
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise SettingsError(
                [f"SQLite is {sqlite3.sqlite_version} here, which is too old; it must be {oldest} or newer"]
            )
        return
    engine = build_engine(url, pool_size=1)
    try:
        engine.connect().close()
    except AWAY as error:
        if fault := unfit(error):
            raise SettingsError([f"DATABASE_URL {fault}"]) from None
    finally:
        engine.dispose()


def unfit(error: BaseException) -> str | None:
    """Why the database can't be used, where it is not just away."""
    cause = getattr(error, "orig", None)
    return str(cause) if isinstance(cause, Unfit) else None


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
