"""What the tests stand on: databases and brokers of their own, on the real servers where these are there.

A server that is not there skips its tests and says so at the end of the run. ``BRIDGE_TEST_SERVICES=required`` makes
that a failure: so the CI can't go green by having tested nothing. Addresses: ``BRIDGE_TEST_POSTGRES``,
``BRIDGE_TEST_REDIS`` (its databases 1 to 15 are used), ``BRIDGE_TEST_RABBITMQ`` (used as it is, virtual host included).
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import hypothesis
import pytest
import redis
from flask import Flask
from kombu import Connection as Broker
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import OperationalError
from xdist.scheduler import LoadScopeScheduling

from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Base
from bridge.lib.garbage import collect_less
from bridge.providers.carriers.contract import InboundText
from testkit.places import Place, postgres_redis
from testkit.servers import Certificate, Missing, Server, pgbouncer, redis_server
from tests.compiled_once import share
from tests.databases import EMPTIED, never_flushed

POSTGRES = os.environ.get("BRIDGE_TEST_POSTGRES") or "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
REDIS = os.environ.get("BRIDGE_TEST_REDIS") or "redis://127.0.0.1:6379"
RABBITMQ = os.environ.get("BRIDGE_TEST_RABBITMQ")
RABBITMQ_HERE = "amqp://guest:guest@127.0.0.1:5672"
REQUIRED = os.environ.get("BRIDGE_TEST_SERVICES") == "required"

DATABASES = ["sqlite", "postgresql"]
BROKERS = ["redis", "rabbitmq"]

NUMBERED = {"audit", "conversations", "chats", "turns", "messages", "handoff_notices", "draft_requests", "notes"}
"""Tables whose rows are numbered, from 1 in every test."""

LEASE = "bridge-test:lease"
LEFTOVER = "bridge-test"
LEASE_SECONDS = 3600
"""A run that was killed gives its Redis database back after this time."""


def not_there(service: str, why: object) -> NoReturn:
    reason = f"{service} is not there: {str(why).strip().splitlines()[0]}"
    if REQUIRED:
        pytest.fail(f"{reason} (and BRIDGE_TEST_SERVICES=required)", pytrace=False)
    pytest.skip(reason)


def _stay_home(event: str, arguments: tuple[object, ...]) -> None:
    """Nothing that is tested may call the real Twilio or the real agent."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    try:
        address = ip_address(str(arguments[1][0]).partition("%")[0])
    except ValueError:
        return  # a name: what it resolves to comes by again
    if not address.is_private:
        raise RuntimeError(f"a test wants to connect to {address}")


sys.addaudithook(_stay_home)

share(Flask)

# A busy machine is no reason to fail.
hypothesis.settings.register_profile("bridge", deadline=None)
hypothesis.settings.load_profile("bridge")


LONG = (
    "test_story",
    "test_outages",
    "test_crash",
    "test_bad_input",
    "test_openapi",
    "test_nasty_events",
    "test_failed_texts",
    "test_circuit_breakers",
    "test_growth",
    "test_opt_outs",
)
"""Files that take minutes. They run first, so that no process has one left at the end: those that mostly wait, and stay
in one process, beside those that need the processor."""

WAITING = ("test_embedded", "test_strangers", "test_broker", "test_package", "test_every_tool", "test_encryption")
"""Files whose tests mostly wait. They are spread over the run: many at a time would leave the processor idle."""

SPREAD = 0.8
"""Over this share of the run. None is left for its end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = [item for item in items if item.path.stem in LONG]
    waiting = [item for item in items if item.path.stem in WAITING]
    others = [item for item in items if item.path.stem not in (*LONG, *WAITING)]
    first.sort(key=lambda item: LONG.index(item.path.stem))
    spread = [(SPREAD * n / len(waiting), item) for n, item in enumerate(waiting)]
    filled = [(n / len(others), item) for n, item in enumerate(others)]
    items[:] = [*first, *(item for _, item in sorted(spread + filled, key=lambda placed: placed[0]))]


def pytest_collection_finish() -> None:
    """Thousands of tests are there to stay. The collector would go through them again and again."""
    collect_less()


STANDING = (
    "test_story",
    "test_outages",
    "test_worker",
    "test_pooler",
    "test_broker_tls",
    "test_package",
    "test_plans",
    "test_every_tool",
    "test_serve",
)
"""Files whose tests share what takes long to be put up."""

BROKER = re.compile(r"\[.*\b(redis|rabbitmq)\b")


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """What stands for several tests is put up once, in one process; each broker's by itself. All the other tests run
    wherever there is room. xdist's own groups, by a mark, come to nothing under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if Path(file).stem not in STANDING:
            return nodeid
        broker = BROKER.search(nodeid)
        return f"{file} on {broker[1]}" if broker else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the reasons why tests were skipped, one line for each."""
    skipped = terminalreporter.stats.get("skipped", [])
    for reason, times in Counter(str(report.longrepr[2]) for report in skipped).most_common():
        terminalreporter.write_line(f"not tested ({times}): {reason.removeprefix('Skipped: ')}", yellow=True)


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Mapping[int, InboundText]:
    """The inbound texts that exist, of those that are made during the test."""
    made: WeakValueDictionary[int, InboundText] = WeakValueDictionary()
    really, numbers = InboundText.__init__, itertools.count()

    def noted(text: InboundText, *args: Any, **kwargs: Any) -> None:
        really(text, *args, **kwargs)
        made[next(numbers)] = text

    monkeypatch.setattr(InboundText, "__init__", noted)
    return made


# --- batches ---


class _Alone(logging.Handler):
    """It keeps what a group commit says of requests that it has run alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.why.append(record.getMessage())


@pytest.fixture(autouse=True)
def _no_batch_fails_silently(request: pytest.FixtureRequest) -> Iterator[None]:
    """A request at which its batch fails is carried out alone, so a mistake in a statement would not be noticed.

    An id that two texts claim is the one cause that is expected.
    """
    handler, logger = _Alone(), logging.getLogger("bridge.db.group_commit")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if request.path.stem != "test_group_commit":
        assert [why for why in handler.why if not why.endswith("after IntegrityError")] == []


# --- databases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Postgres:
    """A server on which databases are made and dropped."""

    address: URL

    @contextmanager
    def database(self, more: str = "", template: str = "template0") -> Iterator[str]:
        """The address of a fresh database: empty, or a copy of another one, to which nobody is connected."""
        name = f"bridge_test_{uuid.uuid4().hex}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} {more}")
        try:
            yield self.address.set(database=name).render_as_string(hide_password=False)
        finally:
            self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        engine = create_engine(
            self.address, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 3}
        )
        with engine.connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    server = Postgres(make_url(POSTGRES))
    try:
        server._do("SELECT 1")
    except OperationalError as error:
        not_there("PostgreSQL", error.orig)
    return server


@pytest.fixture(scope="session")
def _postgres_with_tables(postgres: Postgres) -> Iterator[Engine]:
    with postgres.database() as url:
        engine = build_engine(url, pool_size=1)
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture
def postgresql_url(_postgres_with_tables: Engine) -> str:
    """PostgreSQL with the tables of the models, empty."""
    # Deleting from small tables takes a tenth of the time that truncating them does. ALTER SEQUENCE would make a file.
    emptied = [f"DELETE FROM {name}" for name in EMPTIED]
    numbered = [f"SELECT setval('{name}_id_seq', 1, false)" for name in sorted(NUMBERED)]
    with _postgres_with_tables.begin() as connection:
        connection.exec_driver_sql("; ".join(emptied + numbered))
    return _postgres_with_tables.url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def _memory() -> Iterator[Path]:
    """A folder in memory if there is one: tests lose no power, and flushing to disk takes time."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="bridge-test-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _sqlite_with_tables(_memory: Path) -> Path:
    path = _memory / "empty.sqlite3"
    engine = build_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(_sqlite_with_tables: Path) -> str:
    """A file with the tables of the models, empty; a fresh one at the same place, so that its engine can be shared."""
    path = _sqlite_with_tables.with_name("bridge.sqlite3")
    for old in path.parent.glob("bridge.sqlite3*"):
        old.unlink()
    return f"sqlite:///{shutil.copy(_sqlite_with_tables, path)}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn, with the tables of the models, empty."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=DATABASES)
def bare_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of database in turn, with nothing in it at all. For the migrations; slower than ``database_url``."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.sqlite3'}"
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


@pytest.fixture(scope="session")
def _engines() -> Iterator[dict[str, Engine]]:
    """By address. An engine remembers the statements that it has compiled; to do so for each test takes long."""
    engines: dict[str, Engine] = {}
    yield engines
    for engine in engines.values():
        engine.dispose()


@pytest.fixture
def engine(database_url: str, _engines: dict[str, Engine]) -> Iterator[Engine]:
    shared = _engines.get(database_url) or _engines.setdefault(database_url, build_engine(database_url))
    is_file = shared.dialect.name == "sqlite"  # each test has another file
    if is_file:
        shared.dispose()  # a thread that the test before has left may have opened its file once more
    yield shared.execution_options()  # so that a listener listens for one test only
    if is_file:
        shared.dispose()  # a server's connections stay: it plans for each new one anew, for 300 ms


@pytest.fixture(scope="session")
def hasty_engine(_memory: Path) -> Iterator[Engine]:
    """SQLite that is never flushed: thousands of runs, in which only processes "die"."""
    with never_flushed(_memory / "hasty.sqlite3") as engine:
        yield engine


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    """Sessions on each kind of database in turn."""
    return build_sessions(engine)


@dataclass(frozen=True)
class Pooler:
    """PgBouncer before the server of the tests."""

    postgres: Postgres
    server: Server

    def through(self, url: str) -> str:
        """The address of the same database, by way of the pooler."""
        return make_url(url).set(host="127.0.0.1", port=self.server.port).render_as_string(hide_password=False)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a fresh, empty database."""
        with self.postgres.database() as url:
            yield self.through(url)


@contextmanager
def pooler_before(postgres: Postgres, **settings: str) -> Iterator[Pooler]:
    """A pooler with these settings of its own; the test is skipped where PgBouncer is not installed."""
    address = postgres.address
    with ExitStack() as running:
        try:
            server = running.enter_context(pgbouncer(address.host or "127.0.0.1", address.port or 5432, **settings))
        except Missing as missing:
            not_there("PgBouncer", missing)
        yield Pooler(postgres, server)


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[Pooler]:
    """In transaction mode, strict about startup options."""
    with pooler_before(postgres) as pooler:
        yield pooler


@pytest.fixture
def silent_database() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"postgresql+psycopg://somebody@127.0.0.1:{server.getsockname()[1]}/nothing"


@pytest.fixture
def locked_database(sqlite_url: str) -> Iterator[str]:
    """A file in which another connection holds the write lock."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield sqlite_url


# --- brokers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _leased_redis() -> Iterator[redis.Redis]:
    try:
        client = next(filter(None, map(_lease, range(1, 16))), None)
    except redis.RedisError as error:
        not_there("Redis", error)
    if client is None:
        not_there("Redis", "all its databases are in use")
    yield client
    client.flushdb()
    client.close()


def _lease(number: int) -> redis.Redis | None:
    """A database that is empty, or was left behind by a run that was killed; never one with real data."""
    client = redis.Redis.from_url(REDIS, db=number, socket_connect_timeout=3)
    if client.set(LEASE, os.getpid(), nx=True, ex=LEASE_SECONDS) and (client.exists(LEFTOVER) or client.dbsize() == 1):
        client.set(LEFTOVER, 1)
        return client
    client.close()
    return None


@pytest.fixture(scope="session")
def leased_redis_url(_leased_redis: redis.Redis) -> str:
    """The Redis database of this run; unlike ``redis_url``, not emptied before each test."""
    where = _leased_redis.get_connection_kwargs()
    user = f"{where.get('username') or ''}:{where['password']}@" if where.get("password") else ""
    return f"redis://{user}{where['host']}:{where['port']}/{where['db']}"


@contextmanager
def tls_redis(certificate: Certificate, clients: Certificate | None = None) -> Iterator[str]:
    """The address of a Redis of the test's own that takes TLS and nothing else."""
    with ExitStack() as running:
        try:
            server = running.enter_context(redis_server(certificate, clients=clients))
        except Missing as missing:
            not_there("A Redis of the test's own", missing)
        yield f"rediss://127.0.0.1:{server.port}"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """``here`` is good for this machine, ``elsewhere`` for another one."""
    folder = tmp_path_factory.mktemp("certificates")
    names = {"here": "IP:127.0.0.1", "elsewhere": "DNS:elsewhere.example"}
    try:
        return {which: Certificate.made_for(name, folder) for which, name in names.items()}
    except Missing as missing:
        not_there("OpenSSL's program", missing)


@pytest.fixture
def redis_url(_leased_redis: redis.Redis) -> str:
    """A Redis database that belongs to this run; emptied before each test."""
    with _leased_redis.pipeline() as all_at_once:
        all_at_once.flushdb()
        all_at_once.set(LEFTOVER, 1)
        all_at_once.set(LEASE, os.getpid(), ex=LEASE_SECONDS)
        all_at_once.execute()
    return f"{REDIS.rstrip('/')}/{_leased_redis.get_connection_kwargs()['db']}"


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A virtual host of RabbitMQ that belongs to this run."""
    if RABBITMQ:
        _knock(RABBITMQ)
        yield RABBITMQ
        return
    _knock(f"{RABBITMQ_HERE}//")
    name = f"bridge-test-{uuid.uuid4().hex}"
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        yield f"{RABBITMQ_HERE}/{name}"
    finally:
        _rabbitmqctl("delete_vhost", name)


def _knock(url: str) -> None:
    try:
        with Broker(url, connect_timeout=3) as broker:
            broker.connect()
    except OSError as error:
        not_there("RabbitMQ", error)


def _rabbitmqctl(*arguments: str) -> None:
    try:
        subprocess.run(["rabbitmqctl", "--quiet", *arguments], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        not_there("A virtual host of RabbitMQ", f"{error}; or set BRIDGE_TEST_RABBITMQ")


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A PostgreSQL and a Redis of their own: they may be stopped, killed and started again."""
    with ExitStack() as running:
        try:
            place = running.enter_context(postgres_redis(tmp_path_factory.mktemp("servers")))
        except Missing as missing:
            not_there("A server of the test's own", missing)
        yield place


@pytest.fixture(params=BROKERS)
def broker_url(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn, belonging to this run."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
