"""Servers of a chaos run, from the programs on this machine. They can be stopped, killed and started again.

They share no data with other servers: each has its own folder and port, and is gone when the run is over.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from kombu import Connection as Broker

from bridge.processes.embedded import free_port
from testkit.proxies import HERE
from testkit.waiting import until

DEBIANS = ("/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin", "/usr/sbin")
"""Folders in which Debian keeps programs that its users should not start by hand."""

STARTS_WITHIN = 60.0
"""Seconds. RabbitMQ takes ten on two busy cores, and a killed PostgreSQL has to read its log."""

CLUSTER = "--username postgres --auth trust --encoding UTF8 --no-locale --no-sync"
POSTGRES_SETTINGS = {"listen_addresses": HERE, "max_connections": "200", "logging_collector": "off"}


class Missing(Exception):
    """A program that the run needs is not on this machine."""


class Server:
    """One server. It keeps its port and its folder when it restarts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        port: int,
        answers: Callable[[], bool],
        *,
        user: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._folder = folder
        self._answers = answers
        self._user = user
        self._settings = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **(settings or {})}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen
        return self._popen.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self._folder / "output").open("ab") as output:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_as(self._user),
            )
        until(self._answers_or_ended, f"{self.name} answers; see {self._folder}/output", STARTS_WITHIN)

    def stop(self, how: signal.Signals) -> None:
        """Stop it, and return when it is gone."""
        self.tell(how)
        self.until_gone()

    def tell(self, how: signal.Signals) -> None:
        """Send a signal. ``SIGKILL`` ends its whole process group."""
        assert self._popen
        if self._popen.poll() is not None:
            return
        if how is signal.SIGKILL:
            os.killpg(self._popen.pid, how)
        else:
            self._popen.send_signal(how)

    def until_gone(self) -> None:
        assert self._popen
        self._popen.wait(STARTS_WITHIN)

    def _answers_or_ended(self) -> bool:
        assert self._popen
        assert self._popen.poll() is None, f"{self.name} has ended; see {self._folder}/output"
        return self._answers()


@contextmanager
def postgres(more: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a new cluster. Its user ``postgres`` needs no password. ``more`` are settings of it."""
    user, port = _unprivileged("postgres"), free_port(HERE)
    with _folder("postgres", user) as folder:
        data = str(folder / "data")
        make = [_program("initdb"), *shlex.split(CLUSTER), "--pgdata", data]
        subprocess.run(make, cwd=folder, check=True, capture_output=True, **_as(user))
        settings = {**POSTGRES_SETTINGS, **(more or {}), "port": port, "unix_socket_directories": folder}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

        def answers() -> bool:
            try:
                psycopg.connect(host=HERE, port=port, user="postgres", connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        server = Server("PostgreSQL", [_program("postgres"), "-D", data, *options], folder, port, answers, user=user)
        with _running(server, signal.SIGQUIT):
            yield server


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate, like Heroku's. So it is its own CA too."""

    file: Path
    key: Path

    @classmethod
    def made_for(cls, name: str, folder: Path) -> Certificate:
        """Make one. ``name`` is an alternative name of OpenSSL: ``IP:127.0.0.1``."""
        made = cls(folder / f"{name.replace(':', '-')}.pem", folder / f"{name.replace(':', '-')}.key")
        new = "req -x509 -nodes -days 2 -subj /CN=bridge-test -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        where = ["-addext", f"subjectAltName={name}", "-out", str(made.file), "-keyout", str(made.key)]
        subprocess.run([_program("openssl"), *shlex.split(new), *where], check=True, capture_output=True)
        return made


@contextmanager
def redis_server(tls: Certificate | None = None, *, clients: Certificate | None = None) -> Iterator[Server]:
    """Run a Redis that keeps nothing on disk, so killing it empties it.

    With a certificate it accepts TLS only. With one for ``clients``, it accepts only clients that present that one.
    """
    port = free_port(HERE)
    with _folder("redis", None) as folder:
        how: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none"} if tls else {}
        if clients:
            how |= {"ssl_certfile": str(clients.file), "ssl_keyfile": str(clients.key)}

        def answers() -> bool:
            try:
                with redis.Redis(HERE, port, socket_timeout=2, **how) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        listen = ["--port", str(port)]
        if tls:
            listen = ["--port", "0", "--tls-port", str(port), "--tls-cert-file", str(tls.file)]
            listen += ["--tls-key-file", str(tls.key), "--tls-ca-cert-file", str((clients or tls).file)]
            listen += ["--tls-auth-clients", "yes" if clients else "no"]
        command = [_program("redis-server"), "--bind", HERE, *listen, "--save", "", "--appendonly", "no"]
        with _running(Server("Redis", command, folder, port, answers), signal.SIGKILL) as server:
            yield server


POOLER = {"pool_mode": "transaction", "default_pool_size": "8", "server_round_robin": "1", "query_wait_timeout": "30"}
"""A transaction uses the server connection that has been idle for longest, so hardly ever the same one twice."""


@contextmanager
def pgbouncer(host: str, port: int, **settings: str) -> Iterator[Server]:
    """Run a pooler for that server, in transaction mode and with the defaults of its package. It admits every user."""
    user, own = _unprivileged("postgres"), free_port(HERE)
    with _folder("pgbouncer", user) as folder:
        told = {**POOLER, "listen_addr": HERE, "listen_port": str(own), "unix_socket_dir": "", "auth_type": "any"}
        lines = ["[databases]", f"* = host={host} port={port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in {**told, **settings}.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines))

        def answers() -> bool:
            try:
                socket.create_connection((HERE, own), timeout=2).close()
            except OSError:
                return False
            return True

        command = [_program("pgbouncer"), str(folder / "pgbouncer.ini")]
        with _running(Server("PgBouncer", command, folder, own, answers, user=user), signal.SIGTERM) as server:
            yield server


@contextmanager
def rabbitmq() -> Iterator[Server]:
    """Run a new node. Its user is ``guest``, as usual."""
    user, port = _unprivileged("rabbitmq"), free_port(HERE)
    with _folder("rabbitmq", user) as folder:
        settings = {
            "RABBITMQ_NODENAME": f"chaos-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HERE,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port(HERE)),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "config"),
        }

        def answers() -> bool:
            try:
                with Broker(f"amqp://guest:guest@{HERE}:{port}//", connect_timeout=2) as broker:
                    broker.connect()
            except OSError:
                return False
            return True

        command = [_program("rabbitmq-server")]
        server = Server("RabbitMQ", command, folder, port, answers, user=user, settings=settings)
        with _running(server, signal.SIGKILL):
            yield server


@contextmanager
def _running(server: Server, end: signal.Signals) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop(end)


@contextmanager
def _folder(name: str, user: str | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"bridge-chaos-{name}-"))
    if user:
        shutil.chown(folder, user)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> str:
    """Return the path of a program, Debian's own first. The wrappers with these names on the path expect root."""
    for pattern in DEBIANS:
        found = sorted(Path("/").glob(f"{pattern[1:]}/{name}"), key=lambda path: path.parts)
        if found:
            return str(found[-1])
    if found_on_path := shutil.which(name):
        return found_on_path
    raise Missing(f"{name} is not on this machine; install PostgreSQL, PgBouncer, Redis and RabbitMQ (apt-get, brew)")


def _unprivileged(user: str) -> str | None:
    """Return the user that runs the server, because root may not. ``None`` means the current user."""
    return user if os.geteuid() == 0 else None


def _as(user: str | None) -> dict[str, str | int]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
