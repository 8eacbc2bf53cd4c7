"""The engine and the sessions, set up for what PostgreSQL and SQLite each need."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from psycopg import Error
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential

from bridge.config import SettingsError
from bridge.db.fair_pool import FairPool
from bridge.db.postgres import BEGIN, ON_CONNECT, Connection, Unfit
from bridge.db.sealing import NO_KEYS, Keyring, give

POOL_TIMEOUT = 10
"""Seconds to wait for a free connection. Sessions are short: a longer wait means that the database hangs."""

SILENCE = 20
"""Seconds to wait for an answer of the server. Longer than any statement may take: no answer will come after that."""

SQLITE_BUSY_TIMEOUT = 10
"""Seconds for which a writer waits for the other writer."""

CHECK_AFTER = 1.0
"""Seconds. The server may have gone since the last use of a connection that was idle for so long."""

OLDEST_SQLITE = (3, 35)
"""The first release with RETURNING."""

AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""The errors of a database that is away, restarting or overloaded."""

PATIENCE = 60
"""Seconds for which a worker keeps the result of an outside call while the database is away. Leases are longer."""

Sessions = sessionmaker[Session]

P = ParamSpec("P")
T = TypeVar("T")

_again = retry(
    retry=retry_if_exception_type(AWAY),
    stop=stop_after_delay(PATIENCE),
    wait=wait_exponential(multiplier=0.1, max=2),
    reraise=True,
)


def patient(run: Callable[P, T]) -> Callable[P, T]:
    """Decorate a transaction that may run again if the outcome of its commit is unknown."""

    @wraps(run)
    def patiently(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return run(*args, **kwargs)  # mostly the only time: tenacity costs more than some statements
        except AWAY:
            return _again(run)(*args, **kwargs)

    return patiently


def build_engine(url: str, *, pool_size: int = 10, silence: float = SILENCE, keyring: Keyring = NO_KEYS) -> Engine:
    """Return an engine on PostgreSQL (psycopg 3) or SQLite. It connects when it is first used.

    ``silence``: how many seconds to wait for PostgreSQL's answer to a statement. Errors never show parameters: these
    hold phone numbers and texts. SQLite has one connection, whatever ``pool_size`` and ``silence`` are. ``keyring``:
    what seals the words in it, and opens them.
    """
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = _sqlite(url) if is_sqlite else _postgresql(url, pool_size, silence)
    give(engine, keyring)
    return engine


def _postgresql(url: str, pool_size: int, silence: float) -> Engine:
    engine = create_engine(
        url,
        poolclass=FairPool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
        connect_args=ON_CONNECT,
    )

    _check_after_a_pause(engine)

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, args: Any, kwargs: Any) -> Connection:
        connection = Connection.opened(*args, silence=silence, **kwargs)
        if connection.pooled:  # only then: a listener costs time at each statement
            event.listen(engine, "begin", _begin_behind_a_pooler)
        return connection

    return engine


def _check_after_a_pause(engine: Engine) -> None:
    """Check a connection before its use if it was idle for long. A check before every use would cost as a statement."""

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", time.monotonic()) < CHECK_AFTER:
            return
        try:
            engine.dialect.do_ping(connection)
        except Error:
            raise InvalidatePoolError from None  # SQLAlchemy connects anew


def _begin_behind_a_pooler(connection: Any) -> None:
    if connection.connection.dbapi_connection.pooled:
        connection.exec_driver_sql(BEGIN)


def must_fit(url: str) -> None:
    """Raise :class:`SettingsError` if this database can never be used. A database that is away may come back."""
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
    """Return why the database can never be used; None if it is only away."""
    cause = getattr(error, "orig", None)
    return str(cause) if isinstance(cause, Unfit) else None


def build_sessions(engine: Engine) -> Sessions:
    """Return a maker of sessions on this engine.

    A row can be read after its commit, but only for the log. No other use of it leaves a session.

    An UPDATE does not refresh the rows that the session has loaded. No code reads them afterwards, and the comparison
    would cost a fifth of a turn's processor time.
    """
    return sessionmaker(engine, expire_on_commit=False, execution_options={"synchronize_session": False})


@contextmanager
def dbapi_errors(connection: SqlConnection, sql: str) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy does for its own statements."""
    driver = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except driver as error:
        gone = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql, None, error, driver, hide_parameters=True, connection_invalidated=gone, dialect=connection.dialect
        ) from error


@contextmanager
def without_transaction(connection: SqlConnection) -> Iterator[None]:
    """Let each statement of this connection be a transaction of its own. SQLite's and a pooler's are so already."""
    own: Any = connection.connection.dbapi_connection
    if not isinstance(own, Connection) or own.autocommit:
        yield
        return
    own.autocommit = True
    try:
        yield
    finally:
        if not own.closed:
            own.autocommit = False


def insert_if_new(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT with an ON CONFLICT clause, which only the dialects' own INSERTs have."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _sqlite(url: str) -> Engine:
    """Return an engine with one connection, for which the threads queue.

    SQLite has one writer at a time anyway. If many connections wait for the file's lock, each only polls for it, and
    some wait for seconds.
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
        connection.isolation_level = None  # the driver must not begin transactions: see _begin
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that reads first and writes later fails when another one has written in between.
        # A transaction that takes the write lock first only waits.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
