"""PostgreSQL behind PgBouncer in transaction mode: nothing is lost there but what the docs say."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from bridge.db import migrate, revisions
from bridge.db.engine import AWAY, build_engine, build_sessions, must_fit
from bridge.db.models import Conversation
from bridge.db.postgres import IDLE_TIMEOUT, PARAMETERS, STATEMENT_TIMEOUT
from tests.conftest import Pooler, pooler_before
from tests.fakes import FakeClock
from tests.standing import Standing, standing_on

ROOT = Path(__file__).parent.parent

SERVER = text("SELECT pg_backend_pid()")
PREPARED = text("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")


@pytest.fixture
def engine(pooler: Pooler) -> Iterator[Engine]:
    with pooler.database() as url:
        engine = build_engine(url, pool_size=4)
        yield engine
        engine.dispose()


def ask(engine: Engine, what: Any) -> Any:
    """One transaction, one answer."""
    with engine.begin() as connection:
        return connection.scalar(what)


def settings_of(engine: Engine) -> dict[str, Any]:
    with engine.begin() as connection:
        return {name: connection.scalar(text(f"SHOW {name}")) for name in PARAMETERS}


# -- what is set, and where ----------------------------------------------------------------------------------------


def test_the_protections_hold_in_every_transaction(engine: Engine) -> None:
    assert [settings_of(engine) for _ in range(5)] == [PARAMETERS] * 5
    assert {"statement_timeout": f"{STATEMENT_TIMEOUT}s"}.items() <= PARAMETERS.items()
    assert PARAMETERS["idle_in_transaction_session_timeout"] == f"{IDLE_TIMEOUT}s"


def test_nothing_is_left_behind_for_the_next_one_on_a_server_connection(engine: Engine) -> None:
    settings_of(engine)
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        left = [driver.execute(f"SHOW {name}").fetchone()[0] for name in PARAMETERS for _ in range(10)]
    assert set(left) == {"0", "on"}  # what a server has by itself


def test_without_a_pooler_the_same_holds_and_statements_are_prepared(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url, pool_size=1)
    assert settings_of(engine) == PARAMETERS
    for _ in range(10):
        ask(engine, SERVER)
    assert ask(engine, PREPARED) > 0
    with engine.connect() as connection:
        assert not connection.connection.dbapi_connection.pooled  # type: ignore[union-attr]
    engine.dispose()


def test_no_statement_is_prepared_though_it_runs_again_and_again(engine: Engine) -> None:
    for _ in range(50):
        ask(engine, SERVER)
        assert ask(engine, PREPARED) == 0


def test_one_connection_really_meets_several_servers(engine: Engine) -> None:
    """Else the other tests would say nothing."""
    start = threading.Barrier(4)

    def three(_: int) -> set[int]:
        start.wait(30)
        return {ask(engine, SERVER) for _ in range(30)}

    with ThreadPoolExecutor(4) as threads:
        assert max(map(len, threads.map(three, range(4)))) > 1


def test_what_failed_is_rolled_back_and_the_connection_serves_on(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (n int)"))
    with pytest.raises(DBAPIError):
        ask(engine, text("INSERT INTO kept VALUES (1 / (SELECT 0))"))
    with engine.connect() as connection:  # not committed
        connection.execute(text("INSERT INTO kept VALUES (2)"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO kept VALUES (3)"))
    assert ask(engine, text("SELECT string_agg(n::text, ',') FROM kept")) == "3"


def test_a_statement_that_takes_too_long_is_ended_by_the_server(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
        with pytest.raises(AWAY, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(10)"))
    assert settings_of(engine) == PARAMETERS


def test_emoji_come_back_whatever_the_role_says(pooler: Pooler) -> None:
    with pooler.database() as url:
        engine = build_engine(url)
        name = engine.url.database
        with engine.begin() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'"))
        engine.dispose()
        again = build_engine(url)
        assert ask(again, text("SELECT '👍🏽 «é» 漢'")) == "👍🏽 «é» 漢"
        again.dispose()


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "session"},
        {"pool_mode": "transaction", "default_pool_size": "1"},
        {"ignore_startup_parameters": "options,extra_float_digits"},
        {"server_reset_query": "DISCARD ALL", "server_reset_query_always": "1"},
    ],
    ids=["session", "one connection for all", "ignores options", "forgets everything in between"],
)
def test_other_ways_to_pool_are_as_good(postgres: Any, settings: dict[str, str]) -> None:
    with pooler_before(postgres, **settings) as pooler, pooler.database() as url:
        migrate.upgrade(url)
        engine = build_engine(url)
        for n in range(10):
            with build_sessions(engine).begin() as session:
                session.add(Conversation(bridge_number="+1", phone=f"+{n}", created_at=FakeClock()()))
        assert settings_of(engine) == PARAMETERS
        engine.dispose()


def test_a_pooler_that_knows_no_transactions_is_told_at_the_start(postgres: Any) -> None:
    with pooler_before(postgres, pool_mode="statement") as pooler, pooler.database() as url:
        command = [sys.executable, "-m", "bridge", "db", "upgrade"]
        told = subprocess.run(command, cwd=ROOT, env={"DATABASE_URL": url}, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "transaction" in told.stderr


# -- the migrations ------------------------------------------------------------------------------------------------


def test_a_database_that_is_new_is_fit(engine: Engine) -> None:
    must_fit(engine.url.render_as_string(hide_password=False))


def test_several_releases_at_once_do_no_harm(pooler: Pooler) -> None:
    code = "import sys; from bridge.db import migrate; migrate.upgrade(sys.argv[1])"
    with pooler.database() as url:

        def release(_: int) -> tuple[int, str]:
            command = [sys.executable, "-c", code, url]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stderr

        with ThreadPoolExecutor() as pool:
            assert list(pool.map(release, range(3))) == [(0, "")] * 3
        engine = build_engine(url)
        with engine.connect() as connection:
            assert revisions.at_head(connection)
        engine.dispose()


# -- the story -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(pooler: Pooler, leased_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("pooled")
    with pooler.database() as database, standing_on(database, leased_redis_url, folder) as standing:
        yield standing


@pytest.mark.timeout(150)
def test_every_text_is_answered_once_by_way_of_a_pooler(standing: Standing) -> None:
    standing.put_up()
    said = standing.text(standing.people(12), times=4)
    standing.must_have_answered(said)
    assert "Traceback" not in standing.processes.output
    assert " 500 " not in standing.processes.output
