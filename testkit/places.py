"""The places of a chaos run: a database and a broker of its own, and ways to break them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from kombu import Connection as Broker
from kombu import Queue

from bridge.processes.broker import CLOCK_QUEUE, queue_name
from bridge.processes.tasks import TASKS
from testkit.proxies import HERE
from testkit.servers import Server, postgres, rabbitmq, redis_server

QUEUES = (CLOCK_QUEUE, *map(queue_name, TASKS), "celery")
"""Our queues, and the tutorial's."""

DATABASE = f"postgresql+psycopg://postgres@{HERE}:{{port}}/postgres"
REDIS = f"redis://{HERE}:{{port}}/0"
RABBITMQ = f"amqp://guest:guest@{HERE}:{{port}}//"


@dataclass(frozen=True)
class Place:
    """The servers of a bridge, without the proxies in front of them."""

    servers: dict[str, Server] = field(default_factory=dict)
    """The servers by the names of their proxies."""
    broker: str = ""
    empty: Callable[[], None] = lambda: None
    """Empty the broker."""
    sqlite: Path | None = None

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports of the servers themselves."""
        return {name: server.port for name, server in self.servers.items()}

    def settings(self, ports: dict[str, int]) -> dict[str, str]:
        """Return the addresses of the servers at these ports."""
        if self.sqlite:
            return {"DATABASE_URL": f"sqlite:///{self.sqlite}"}
        return {
            "DATABASE_URL": DATABASE.format(port=ports["database"]),
            "CELERY_BROKER_URL": self.broker.format(port=ports["broker"]),
        }


@contextmanager
def postgres_redis(folder: Path) -> Iterator[Place]:
    with postgres() as database, redis_server() as broker:

        def empty() -> None:
            with redis.Redis(HERE, broker.port) as client:
                client.flushall()

        yield Place({"database": database, "broker": broker}, REDIS, empty)


@contextmanager
def postgres_rabbitmq(folder: Path) -> Iterator[Place]:
    with postgres() as database, rabbitmq() as broker:
        yield Place({"database": database, "broker": broker}, RABBITMQ, lambda: _purge(broker))


@contextmanager
def up_sqlite(folder: Path) -> Iterator[Place]:
    yield Place(sqlite=folder / "bridge.sqlite3")


PLACES = {"postgres-redis": postgres_redis, "postgres-rabbitmq": postgres_rabbitmq, "up-sqlite": up_sqlite}


@contextmanager
def sqlite_lock(path: Path) -> Iterator[None]:
    """Lock the file against all other writers."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


def _purge(server: Server) -> None:
    """Empty the known queues: ours and the tutorial's."""
    with Broker(RABBITMQ.format(port=server.port), connect_timeout=5) as broker:
        for name in QUEUES:
            with broker.channel() as channel:
                queue = Queue(name, channel=channel)
                queue.declare()
                queue.purge()
