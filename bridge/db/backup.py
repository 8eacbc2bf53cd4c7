"""``bridge backup``: a copy of the SQLite file, made while the bridge runs.

SQLite's own backup copies one moment of the database, with what is in its write-ahead log. Writers do not wait for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import make_url

from bridge.lib.errors import BridgeError
from bridge.lib.new_files import new_file_beside, put

OF_SQLITE = ("", "-wal", "-shm", "-journal", "-lock")
"""The ends of the names of the files that belong to a database. No backup may replace one of them."""


class CannotBackUp(BridgeError):
    """The message says why, and what to do."""


def back_up(database_url: str, to: Path, *, replace: bool = False) -> int:
    """Write a checked copy to this file, for its owner alone, and return its size in bytes.

    The file is there as a whole, or not at all. An older one is replaced only if ``replace`` is set.
    """
    source = _file_of(database_url)
    if to.resolve() in {Path(f"{source.resolve()}{end}") for end in OF_SQLITE}:
        raise CannotBackUp(f"{to} belongs to the database itself; give the backup another name")
    if to.exists() and not replace:
        raise CannotBackUp(f"{to} is there already; choose another name, or replace it with --force")
    try:
        with new_file_beside(to) as new:
            _copy(source, new)
            _check(new, source)
            put(new, to, replace=replace)
    except OSError as error:
        raise CannotBackUp(f"can't write {to}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise CannotBackUp(f"can't copy {source}: {error}") from error
    return to.stat().st_size


def _file_of(database_url: str) -> Path:
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        raise CannotBackUp(
            "the database is PostgreSQL, which has its own tool: pg_dump --format=custom --file=FILE (or your "
            "platform's backups)"
        )
    source = Path(url.database or "")
    if not source.is_file():
        raise CannotBackUp(f"there is no database {url.database}; check DATABASE_URL and the folder you are in")
    return source


def _copy(source: Path, new: Path) -> None:
    live = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    with closing(live), closing(sqlite3.connect(new, isolation_level=None)) as copy:
        live.backup(copy)  # all pages at once: in steps, each write of the bridge would restart it
        copy.execute("PRAGMA journal_mode=DELETE")  # a log beside it would be forgotten when the file is moved


def _check(new: Path, source: Path) -> None:
    with closing(sqlite3.connect(new)) as copy:
        found = [row[0] for row in copy.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise CannotBackUp(f"{source} is damaged, so there is no new backup: {found[0]}")
        if not copy.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            raise CannotBackUp(f"{source} has no tables of a bridge; check DATABASE_URL")
