"""The migrations make what the models say, on an empty database and on an old one, also when two run at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from bridge.db import migrate, revisions
from bridge.db.engine import build_engine
from bridge.db.models import Base
from tests.imports import imported_by

ROOT = Path(__file__).parents[2]


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = build_engine(url)
    yield engine
    engine.dispose()


def from_first_to_newest() -> list[str]:
    """The revisions as Alembic knows them."""
    directory = ScriptDirectory.from_config(migrate.config_for("sqlite://"))
    return [script.revision for script in directory.walk_revisions()][::-1]


def at_head(url: str) -> bool:
    with engine_of(url) as engine, engine.connect() as connection:
        return revisions.at_head(connection)


def make_tables(url: str) -> None:
    with engine_of(url) as engine:
        Base.metadata.create_all(engine)


def schema_of(url: str) -> dict[str, object]:
    with engine_of(url) as engine:
        return schema(engine)


def schema(engine: Engine) -> dict[str, object]:
    """Everything about the tables that the database tells, in an order of its own."""
    tables = inspect(engine)
    told = {}
    for table in sorted(set(tables.get_table_names()) - {"alembic_version"}):
        columns = [{**column, "type": str(column["type"])} for column in tables.get_columns(table)]
        keys = [tables.get_pk_constraint(table), tables.get_foreign_keys(table), tables.get_check_constraints(table)]
        told[table] = (columns, keys, tables.get_unique_constraints(table))
    return {**told, "indexes": _definitions(engine)}


def _definitions(engine: Engine) -> list[str]:
    """The indexes as the database would write them, conditions included."""
    told = {
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
        "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    }
    with engine.connect() as connection:
        return sorted(connection.execute(text(told[engine.dialect.name])).scalars())


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified")  # PostgreSQL's, compared below
def test_alembic_finds_no_difference_to_the_models(bare_database_url: str) -> None:
    migrate.upgrade(bare_database_url)
    command.check(migrate.config_for(bare_database_url))


def test_the_migrated_tables_are_the_tables_of_the_models(bare_database_url: str) -> None:
    migrate.upgrade(bare_database_url)
    migrated = schema_of(bare_database_url)
    command.downgrade(migrate.config_for(bare_database_url), "base")
    make_tables(bare_database_url)
    assert schema_of(bare_database_url) == migrated


def test_upgrading_twice_is_upgrading_once(bare_database_url: str) -> None:
    assert not at_head(bare_database_url)
    migrate.upgrade(bare_database_url)
    assert at_head(bare_database_url)
    migrate.upgrade(bare_database_url)
    assert at_head(bare_database_url)


def test_every_revision_can_be_taken_back(bare_database_url: str) -> None:
    """One by one, and each leaves what was there before it."""
    before = {"base": schema_of(bare_database_url)}
    assert before["base"] == {"indexes": []}
    for revision in from_first_to_newest():
        command.upgrade(migrate.config_for(bare_database_url), revision)
        before[revision] = schema_of(bare_database_url)
    newest = before.pop(from_first_to_newest()[-1])
    for revision in reversed(before):
        command.downgrade(migrate.config_for(bare_database_url), revision)
        assert schema_of(bare_database_url) == before[revision]
    migrate.upgrade(bare_database_url)
    assert schema_of(bare_database_url) == newest


def test_a_database_that_a_newer_release_took_further_is_fine(bare_database_url: str) -> None:
    migrate.upgrade(bare_database_url)
    with engine_of(bare_database_url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert at_head(bare_database_url)


def test_an_upgrade_by_an_older_release_changes_nothing(bare_database_url: str) -> None:
    assert migrate.upgrade(bare_database_url)
    before = schema_of(bare_database_url)
    with engine_of(bare_database_url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not migrate.upgrade(bare_database_url)
    assert schema_of(bare_database_url) == before
    with engine_of(bare_database_url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_two_releases_at_once_do_no_harm(bare_database_url: str) -> None:
    code = "import sys; from bridge.db import migrate; migrate.upgrade(sys.argv[1])"

    def release(_: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", code, bare_database_url]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)

    with ThreadPoolExecutor() as pool:
        releases = list(pool.map(release, range(4)))
    assert [(r.returncode, r.stderr) for r in releases] == [(0, "")] * 4
    assert at_head(bare_database_url)


def test_a_revision_that_fails_leaves_nothing_behind(bare_database_url: str) -> None:
    with engine_of(bare_database_url) as engine:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE workers (id INTEGER)"))  # the last one that the first revision makes
        with pytest.raises(DBAPIError, match="already exists"):
            migrate.upgrade(bare_database_url)
        assert inspect(engine).get_table_names() == ["workers"]


def test_migrating_leaves_the_logging_alone(bare_database_url: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("bridge.queues.conversation_queue").disabled)
    migrate.upgrade(bare_database_url)
    assert (root.level, list(root.handlers), logging.getLogger("bridge.queues.conversation_queue").disabled) == before


def test_a_percent_sign_in_the_address_means_nothing_to_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/100%(here)s.sqlite3"
    migrate.upgrade(url)
    assert at_head(url)


def test_the_revisions_are_one_line() -> None:
    numbers = from_first_to_newest()
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]
    assert (sorted(revisions.known()), revisions.head()) == (numbers, numbers[-1])


def test_the_web_process_goes_without_alembic() -> None:
    """It only asks for the revision, and Alembic would take 7 MB of each web process."""
    assert imported_by("import bridge.processes.web", "alembic", "mako") == []
