"""The connection to PostgreSQL: its class, and the checks when it is opened.

Every wait has an end, a pooler is detected, and a server that does not fit is refused. The engine is in
``bridge.db.engine``.

**A pooler** (PgBouncer in transaction mode, Supavisor and others) gives each transaction any free connection to the
server. Session state is lost or reaches other clients: startup options, ``SET``, prepared statements.

The bridge sends no startup options. It asks each new connection for its process number at the server. A pooler has
reported another number at the start. Without a pooler, the same query sets the timeouts for the session. With a pooler,
each BEGIN carries them, and no statement is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

CONNECT_TIMEOUT = 2
"""Seconds to wait for a connection. The webhook must answer 503 well before Twilio's 15 s are over."""

TCP_TIMEOUT = 5000
"""Milliseconds without an acknowledgement after which a vanished database host is noticed, long before TCP gives up."""

STATEMENT_TIMEOUT = 15
"""Seconds for one statement. The bridge's own need less than one; a lock that is held longer belongs to a process that
hangs."""

IDLE_TIMEOUT = 15
"""Seconds without a statement in a transaction. No outside call is made there: an idle process was halted, and it
holds locks."""

ON_CONNECT: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "tcp_user_timeout": TCP_TIMEOUT,
    "application_name": "bridge",
    "client_encoding": "UTF8",  # whatever the environment or the role has: people write emoji
}
"""All of these stay on our side, or every pooler knows them."""

PARAMETERS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
    **dict.fromkeys(("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit"), "off"),
}
"""The parameters of every transaction of the bridge: its timeouts and its plans.

Every statement finds its rows by an index. PostgreSQL keeps a plan that it made while a table was small or had no
statistics. To read whole tables is best then, and the slowest later. On tables of some thousand rows this saves half of
PostgreSQL's processor time. Compiling a plan never pays for statements as short as these.
"""

BEGIN = "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in PARAMETERS.items())])
"""The BEGIN behind a pooler: one message to the server, like a plain BEGIN."""

OLDEST = 12
"""The oldest release of PostgreSQL that is accepted. Older ones have had no fixes for years."""

ENCODING = "UTF8"
"""The only encoding of a database that can store every character that people write."""

T = TypeVar("T")


class Unfit(psycopg.OperationalError):
    """The server answers and can't be used. The text has the reason and the fix."""


class Connection(psycopg.Connection[Any]):
    """A connection that does not wait for ever for a server, or a proxy before it, that accepts and never answers."""

    silence: float | None = None
    pooled = False

    @classmethod
    def opened(cls, *args: Any, silence: float | None, **kwargs: Any) -> Self:
        """Return a new connection, ready for transactions. Raises :class:`Unfit`."""
        connection = cls.connect(*args, autocommit=True, **kwargs)
        connection.silence = silence
        try:
            connection._check_server()
            connection._find_pooler()
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, timeout=timeout or self.silence)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # the outcome of the statement is unknown: the connection is of no use
            raise psycopg.OperationalError("the database does not answer") from None

    def _check_server(self) -> None:
        """Refuse a server that does not fit. It reports version and encoding at the start, so this costs no query."""
        if fault := fault_of_server(self.info.parameter_status("server_encoding"), self.info.server_version):
            raise Unfit(fault)

    def _find_pooler(self) -> None:
        """Detect a pooler. Behind one the connection stays in autocommit, and transactions begin by :data:`BEGIN`."""
        found = self.execute(_set_where_direct(PARAMETERS), {"number": self.info.backend_pid}).fetchone()
        assert found
        (direct,) = found
        self.pooled = not direct
        if self.pooled:
            self.prepare_threshold = None
        else:
            self.autocommit = False


def fault_of_server(encoding: str | None, version: int) -> str | None:
    """Return why a server can't be used, or ``None``. A value that it does not report counts as good.

    ``version`` is written as PostgreSQL does: 150004 is 15.4.
    """
    if 0 < version < OLDEST * 10_000:
        release = version // 10_000 if version >= 100_000 else f"{version // 10_000}.{version // 100 % 100}"
        return f"leads to PostgreSQL {release}, which is too old; the bridge needs {OLDEST} or newer"
    if encoding not in {ENCODING, None}:
        return (
            f"leads to a database in the encoding {encoding}, which can't store all that people write; "
            "make one by: CREATE DATABASE bridge ENCODING 'UTF8' TEMPLATE template0"
        )
    return None


def _set_where_direct(parameters: Mapping[str, str]) -> str:
    """Return a query that sets these for the session, but not behind a pooler: they would reach other clients."""
    sets = " AND ".join(f"set_config('{name}', '{value}', false) IS NOT NULL" for name, value in parameters.items())
    return f"SELECT CASE WHEN pg_backend_pid() = %(number)s THEN {sets} ELSE false END"
