"""A connection to PostgreSQL: patient only for a while, aware of a pooler, and only to a server that will do.

What lives here: the connection's class, and what is done once when it is opened. The engine is in ``bridge.db.engine``.

**A pooler** (PgBouncer in transaction mode, Supavisor and their like) gives each transaction whichever connection to
the server is free. What belongs to a session is lost or reaches others: startup options, ``SET``, prepared statements.

The bridge sends no startup options at all. It asks each new connection for its number at the server. A pooler has told
another number at the start. Without a pooler, the same question sets the timeouts for the session. With one, they go
along with each BEGIN, and no statement is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

CONNECT_TIMEOUT = 2
"""Seconds. The webhook must say 503 while Twilio still listens, well before its 15 s."""

TCP_TIMEOUT = 5000
"""Milliseconds. A database host that vanished without a word is noticed, and not waited for until TCP gives up."""

STATEMENT_TIMEOUT = 15
"""Seconds. No statement of the bridge needs one; a lock that is held longer belongs to something that hangs."""

IDLE_TIMEOUT = 15
"""Seconds in the middle of a transaction. Nothing outside is called there: who is idle is halted, and holds locks."""

ON_CONNECT: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "tcp_user_timeout": TCP_TIMEOUT,
    "application_name": "bridge",
    "client_encoding": "UTF8",  # whatever the environment or the role says: people write emoji
}
"""All of it is kept on our side, or known to every pooler."""

PROTECTIONS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
}
"""What holds in every transaction of the bridge."""

BEGIN = "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in PROTECTIONS.items())])
"""One message to the server, like a plain BEGIN."""

OLDEST = 12
"""The oldest release of PostgreSQL that is accepted; older ones have had no corrections for years."""

ENCODING = "UTF8"
"""The only encoding of a database that holds every character that people write."""

T = TypeVar("T")


class Unfit(psycopg.OperationalError):
    """The server is there, and can't be used. Says why, and how to mend it."""


class Connection(psycopg.Connection[Any]):
    """Does not wait for ever for a server, or a proxy before it, that takes words and gives none."""

    silence: float | None = None
    pooled = False

    @classmethod
    def opened(cls, *args: Any, silence: float | None, **kwargs: Any) -> Self:
        """A new one, ready for transactions. Raises :class:`Unfit`."""
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
            self.pgconn.finish()  # what the server makes of the statement is not known: this connection is of no use
            raise psycopg.OperationalError("the database does not answer") from None

    def _check_server(self) -> None:
        """The server has told both at the start: this costs nothing."""
        if fault := fault_of_server(self.info.parameter_status("server_encoding"), self.info.server_version):
            raise Unfit(fault)

    def _find_pooler(self) -> None:
        """With one in between, the connection stays in autocommit, and each transaction begins by :data:`BEGIN`."""
        found = self.execute(_set_where_direct(PROTECTIONS), {"number": self.info.backend_pid}).fetchone()
        assert found
        (direct,) = found
        self.pooled = not direct
        if self.pooled:
            self.prepare_threshold = None
        else:
            self.autocommit = False


def fault_of_server(encoding: str | None, version: int) -> str | None:
    """Why a server can't be used; ``None`` when it can. What it does not tell is taken for good.

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
    """Sets these for the session only where it is ours alone; behind a pooler they would reach other people's work."""
    sets = " AND ".join(f"set_config('{name}', '{value}', false) IS NOT NULL" for name, value in parameters.items())
    return f"SELECT CASE WHEN pg_backend_pid() = %(number)s THEN {sets} ELSE false END"
