"""``bridge backup``: a whole copy or none, of one moment, and never in place of something else."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from bridge.db import migrate, revisions
from bridge.db.backup import OF_SQLITE, CannotBackUp, back_up
from bridge.db.engine import build_engine


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A migrated database, with its log beside it as while the bridge runs."""
    path = tmp_path / "bridge.sqlite3"
    migrate.upgrade(url_of(path))
    return path


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def phones(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT phone FROM opt_outs ORDER BY phone")]


def opt_out(database: sqlite3.Connection, phone: str) -> None:
    row = "INSERT INTO opt_outs (phone, scope, since, cause) VALUES (?, '*', '2026-01-01 00:00:00', 'stop')"
    database.execute(row, [phone])


def test_the_copy_has_everything_also_what_is_only_in_the_log(live: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(live, isolation_level=None)) as running:
        opt_out(running, "+15550000001")
        assert Path(f"{live}-wal").stat().st_size
        size = back_up(url_of(live), tmp_path / "copy")
    assert phones(tmp_path / "copy") == ["+15550000001"]
    assert size == (tmp_path / "copy").stat().st_size


def test_the_copy_is_one_file_that_only_its_owner_reads(live: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    umask = os.umask(0)
    try:
        back_up(url_of(live), folder / "copy")
    finally:
        os.umask(umask)
    assert [path.name for path in folder.iterdir()] == ["copy"]
    assert stat.S_IMODE((folder / "copy").stat().st_mode) == 0o600
    with closing(sqlite3.connect(folder / "copy")) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_the_copy_is_a_database_for_the_bridge(live: Path, tmp_path: Path) -> None:
    back_up(url_of(live), tmp_path / "copy")
    engine = build_engine(url_of(tmp_path / "copy"))
    with engine.connect() as connection:
        assert revisions.at_head(connection)
    engine.dispose()


def test_it_waits_for_no_writer_and_takes_nothing_that_is_not_committed(live: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(live, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        opt_out(writer, "+15550000001")
        back_up(url_of(live), tmp_path / "copy")
    assert phones(tmp_path / "copy") == []


def test_no_transaction_is_torn_while_another_process_writes(live: Path, tmp_path: Path) -> None:
    """Each transaction writes two rows. Every copy has both of them, or none."""
    begun, enough = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(live, isolation_level=None)) as writer:
            for n in range(100_000):
                writer.execute("BEGIN IMMEDIATE")
                opt_out(writer, f"a{n}")
                opt_out(writer, f"b{n}")
                writer.execute("COMMIT")
                begun.set()
                if enough.is_set():
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        begun.wait()
        sizes = []
        for n in range(10):
            back_up(url_of(live), tmp_path / f"copy-{n}")
            found = phones(tmp_path / f"copy-{n}")
            assert found == [f"{which}{each}" for which in "ab" for each in sorted(map(str, range(len(found) // 2)))]
            sizes.append(len(found))
    finally:
        enough.set()
        thread.join()
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0], "nothing was written meanwhile"


def test_a_file_that_is_there_stays_unless_it_is_told(live: Path, tmp_path: Path) -> None:
    old = tmp_path / "copy"
    old.write_text("something else")
    with pytest.raises(CannotBackUp, match="--force"):
        back_up(url_of(live), old)
    assert old.read_text() == "something else"
    back_up(url_of(live), old, replace=True)
    assert phones(old) == []


@pytest.mark.parametrize("end", OF_SQLITE)
def test_the_database_itself_is_never_replaced(live: Path, tmp_path: Path, end: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    before = live.read_bytes()
    with pytest.raises(CannotBackUp, match="belongs to the database itself"):
        back_up(url_of(live), link / f"{live.name}{end}", replace=True)
    assert live.read_bytes() == before


def test_a_damaged_database_replaces_no_good_copy(live: Path, tmp_path: Path) -> None:
    back_up(url_of(live), tmp_path / "copy")
    good = (tmp_path / "copy").read_bytes()
    with live.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(CannotBackUp, match=r"damaged|malformed"):
        back_up(url_of(live), tmp_path / "copy", replace=True)
    assert (tmp_path / "copy").read_bytes() == good
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".copy")]


@pytest.mark.parametrize("content", ["", "a letter to my aunt " * 100])
def test_a_file_that_is_no_database_of_a_bridge_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bridge.sqlite3").write_text(content)
    with pytest.raises(CannotBackUp, match=r"no tables of a bridge|not a database"):
        back_up(url_of(tmp_path / "bridge.sqlite3"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_database_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="check DATABASE_URL"):
        back_up(url_of(tmp_path / "nowhere.sqlite3"), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(live: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="No such file or directory"):
        back_up(url_of(live), tmp_path / "nowhere" / "copy")


def test_postgresql_has_its_own_tool(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="pg_dump") as refused:
        back_up("postgresql+psycopg://somebody:not-to-be-shown@127.0.0.1:1/name", tmp_path / "copy")
    assert "not-to-be-shown" not in str(refused.value)
