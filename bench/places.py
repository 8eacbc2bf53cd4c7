"""Where a chaos run takes place: a database and a broker of its own on the real servers, and how to spoil them.

The servers are those of the tests: ``BRIDGE_TEST_POSTGRES``, ``BRIDGE_TEST_REDIS``, ``BRIDGE_TEST_RABBITMQ``.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import redis
from kombu import Connection as Broker
from kombu import Queue
from sqlalchemy.engine import make_url

from bridge.broker import CLOCK_QUEUE, queue_of
from bridge.steps import STEPS
from tests.conftest import LEASE, LEASE_SECONDS, LEFTOVER, POSTGRES, RABBITMQ, RABBITMQ_HERE, REDIS, Postgres

QUEUES = (CLOCK_QUEUE, *map(queue_of, STEPS), "celery")
"""Ours, and the tutorial's."""

Target = tuple[str, int]


@dataclass(frozen=True)
class Place:
    """What the bridge is given, before the doors are put in between."""

    database: str
    broker: str | None = None
    empty: Callable[[], None] = lambda: None
    """Makes the broker forget everything."""
    sqlite: Path | None = None
    targets: dict[str, Target] = field(default_factory=dict)
    """Where the doors lead."""

    def through(self, ports: dict[str, int]) -> dict[str, str]:
        """The settings that lead through the doors."""
        settings = {"DATABASE_URL": _moved(self.database, ports.get("database"))}
        if self.broker:
            settings["CELERY_BROKER_URL"] = _moved(self.broker, ports["broker"])
        return settings


@contextmanager
def postgres_redis(folder: Path) -> Iterator[Place]:
    with Postgres(make_url(POSTGRES)).database() as database, _redis() as (broker, empty):
        yield Place(database, broker, empty, targets=_targets(database, broker))


@contextmanager
def postgres_rabbitmq(folder: Path) -> Iterator[Place]:
    with Postgres(make_url(POSTGRES)).database() as database, _rabbitmq() as (broker, empty):
        yield Place(database, broker, empty, targets=_targets(database, broker))


@contextmanager
def up_sqlite(folder: Path) -> Iterator[Place]:
    path = folder / "bridge.sqlite3"
    yield Place(f"sqlite:///{path}", sqlite=path)


PLACES = {"postgres-redis": postgres_redis, "postgres-rabbitmq": postgres_rabbitmq, "up-sqlite": up_sqlite}


@contextmanager
def sqlite_lock(path: Path) -> Iterator[None]:
    """Nobody else can write meanwhile."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


@contextmanager
def _redis() -> Iterator[tuple[str, Callable[[], None]]]:
    """A database of Redis that nobody uses, leased as the tests do it."""
    client = next(filter(None, map(_lease, range(1, 16))), None)
    assert client, "all databases of Redis are in use"

    def empty() -> None:
        with client.pipeline() as all_at_once:
            all_at_once.flushdb()
            all_at_once.set(LEFTOVER, 1)
            all_at_once.set(LEASE, os.getpid(), ex=LEASE_SECONDS)
            all_at_once.execute()

    empty()
    try:
        yield f"{REDIS.rstrip('/')}/{client.get_connection_kwargs()['db']}", empty
    finally:
        client.flushdb()
        client.close()


def _lease(number: int) -> redis.Redis | None:
    """A database that is empty, or was left behind by a run that was killed; never one with somebody's data."""
    client = redis.Redis.from_url(REDIS, db=number, socket_connect_timeout=3)
    if client.set(LEASE, os.getpid(), nx=True, ex=LEASE_SECONDS) and (client.exists(LEFTOVER) or client.dbsize() == 1):
        return client
    client.close()
    return None


@contextmanager
def _rabbitmq() -> Iterator[tuple[str, Callable[[], None]]]:
    """A virtual host of its own, or the one that the environment names."""
    if RABBITMQ:
        yield RABBITMQ, lambda: _purge(RABBITMQ)
        return
    name = f"bridge-chaos-{uuid.uuid4().hex}"
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        yield f"{RABBITMQ_HERE}/{name}", lambda: _purge(f"{RABBITMQ_HERE}/{name}")
    finally:
        _rabbitmqctl("delete_vhost", name)


def _purge(url: str) -> None:
    """Of the queues that can be named, ours and the tutorial's."""
    with Broker(url, connect_timeout=5) as broker:
        for name in QUEUES:
            with broker.channel() as channel:
                queue = Queue(name, channel=channel)
                queue.declare()
                queue.purge()


def _rabbitmqctl(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "--quiet", *arguments], check=True, capture_output=True, timeout=60)


def _targets(database: str, broker: str) -> dict[str, Target]:
    url, parts = make_url(database), urlsplit(broker)
    broker_port = parts.port or (6379 if parts.scheme == "redis" else 5672)
    return {
        "database": (url.host or "127.0.0.1", url.port or 5432),
        "broker": (parts.hostname or "127.0.0.1", broker_port),
    }


def _moved(address: str, port: int | None) -> str:
    """The same address on this machine's ``port``."""
    if port is None:
        return address
    parts = urlsplit(address)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return parts._replace(netloc=f"{user}127.0.0.1:{port}").geturl()
