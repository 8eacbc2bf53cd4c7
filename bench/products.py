"""The bridges under measurement, and how each is started, with its own services and providers.

The module knows nothing about the inside of a bridge, only its processes, environment variables and addresses.
"""

from __future__ import annotations

import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import meters, providers
from bench.load import Burst, Outcome
from bridge.processes.embedded import free_port
from testkit.places import RABBITMQ, REDIS
from testkit.procfile import ROOT, Process
from testkit.proxies import HERE
from testkit.servers import Missing, Server, postgres, rabbitmq, redis_server
from testkit.waiting import until

PEER = ROOT / "bench" / "peer"
DATABASE = f"postgresql://postgres@{HERE}:{{port}}/postgres"

STARTS_WITHIN = 60.0
ENDS_WITHIN = 40.0

ADMIN = "token-of-the-operator"

LARGEST_RATE = "10000"
"""Segments a second that a sender may send. The peers do not limit it, so ours must not either."""

SERVICES = {"postgres": postgres, "redis": redis_server, "rabbitmq": rabbitmq}
GENERATOR = "generator"


@dataclass(frozen=True)
class Product:
    """One bridge: the services that it needs, and its processes by name."""

    name: str
    services: tuple[str, ...]
    commands: Mapping[str, str]
    release: str | None = None


def _procfile(path: Path) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in path.read_text().splitlines())


def _of_procfile(name: str, path: Path, *services: str) -> Product:
    commands = _procfile(path)
    release = commands.pop("release")
    return Product(name, services, commands, release)


PRODUCTS = {
    product.name: product
    for product in (
        Product("peer", ("redis",), {"web": f"node {PEER / 'server.mjs'}"}),
        _of_procfile("tutorial", ROOT / "bench" / "tutorial" / "Procfile", "postgres", "redis"),
        _of_procfile("ours", ROOT / "Procfile", "postgres", "redis"),
        _of_procfile("ours-rabbitmq", ROOT / "Procfile", "postgres", "rabbitmq"),
        Product("up-sqlite", (), {"up": f"{sys.executable} -m bridge up --port $PORT"}),
    )
}


@dataclass(frozen=True)
class Conditions:
    """The conditions that are the same for all bridges."""

    agent_delay: float = 0.3
    create_delay: float = 0.0
    callbacks: bool = False
    catch_up: bool = True
    """``TWILIO_NUMBERS`` names the number, so that our bridge reads the carrier's list of texts."""
    workers: int = 1
    more: Mapping[str, str] = field(default_factory=dict)
    """Settings of our bridge."""
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Settings of PostgreSQL."""


class Generator:
    """The client of the load generator's process."""

    def __init__(self, webhook: str, conditions: Conditions) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        delays = {"agent_delay": conditions.agent_delay, "create_delay": conditions.create_delay}
        self.ports = self._ask({**delays, "webhook": webhook})

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, burst: Burst) -> Outcome:
        return Outcome(**self._ask(asdict(burst)))

    def begin(self, burst: Burst) -> None:
        """Start a burst without waiting for its end. ``end`` waits."""
        self._say(asdict(burst))

    def has_answered(self, within: float) -> bool:
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], within)[0])

    def end(self) -> Outcome:
        return Outcome(**self._answer())

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, what: Mapping[str, Any]) -> Any:
        self._say(what)
        return self._answer()

    def _say(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the load generator has ended"
        return json.loads(line)


@dataclass(frozen=True)
class Running:
    """A running bridge, and its services."""

    product: Product
    conditions: Conditions
    processes: Mapping[str, list[Process]]
    services: Mapping[str, Server]
    generator: Generator
    url: str
    _start: Callable[[], None]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop its processes meanwhile. The services stay."""
        _end(self.processes)
        yield
        self._start()

    def cpu(self) -> dict[str, float]:
        """Return the seconds so far: of each process by name, each service, the generator and the machine."""
        return meters.cpu({**self._own(), **self._of_services(), GENERATOR: [self.generator.pid]})

    def memory(self) -> dict[str, meters.Memory]:
        """Return the memory by the names of its processes."""
        return {name: meters.memory(pids) for name, pids in self._own().items()}

    def run(self, burst: Burst) -> Outcome:
        return self.generator.run(burst)

    def ended(self) -> list[str]:
        return [name for name, processes in self.processes.items() if not all(p.running for p in processes)]

    def _own(self) -> dict[str, list[int]]:
        return {name: [process.pid for process in processes] for name, processes in self.processes.items()}

    def _of_services(self) -> dict[str, list[int]]:
        return {name: [server.pid] for name, server in self.services.items()}


@contextmanager
def running(product: Product, conditions: Conditions) -> Iterator[Running]:
    """Start a bridge on empty services, and prove it with one text. Nothing of it is left at the end."""
    if product.name == "peer" and not (PEER / "node_modules").exists():
        raise Missing("the peer is not installed: `npm install --prefix bench/peer --no-package-lock`")
    folder = Path(tempfile.mkdtemp(prefix=f"bridge-bench-{product.name}-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        services = {name: stack.enter_context(_service(name, conditions)) for name in product.services}
        port = free_port(HERE)
        url = f"http://{HERE}:{port}"
        generator = Generator(f"{url}/twilio/inbound", conditions)
        stack.callback(generator.close)
        environment = _environment(conditions, services, generator.ports, folder, port)
        processes: dict[str, list[Process]] = {}
        stack.callback(_end, processes)

        def start() -> None:
            _start(product, conditions, folder, environment, processes)
            until(lambda: _listens(port), f"{product.name} listens", STARTS_WITHIN)

        start()
        began = Running(product, conditions, processes, services, generator, url, start)
        proof = began.run(Burst(rate=1, texts=1, drain=STARTS_WITHIN))
        output = "\n".join(process.output[-2000:] for group in processes.values() for process in group)
        assert proof.answered == 1, f"{product.name} does not answer: {proof}\n{output}"
        yield began


def _service(name: str, conditions: Conditions) -> Any:
    return postgres(conditions.postgres) if name == "postgres" else SERVICES[name]()


def _start(
    product: Product,
    conditions: Conditions,
    folder: Path,
    environment: Mapping[str, str],
    processes: dict[str, list[Process]],
) -> None:
    if product.release:
        release = _process("release", product.release, folder, environment)
        assert release.wait(STARTS_WITHIN) == 0, release.output
    for name, command in product.commands.items():
        count = conditions.workers if name == "worker" else 1
        processes[name] = [_process(name, command, folder, environment) for _ in range(count)]


def _process(name: str, command: str, folder: Path, environment: Mapping[str, str]) -> Process:
    return Process(name, ["/bin/sh", "-c", f"exec {command}"], folder, environment)


def _end(processes: Mapping[str, list[Process]]) -> None:
    """Ask the processes to end. Kill those that do not end in time."""
    all_processes = [process for group in processes.values() for process in group]
    for process in all_processes:
        if process.running:
            process.tell(signal.SIGTERM)
    for process in all_processes:
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.clear()


def _environment(
    conditions: Conditions, services: Mapping[str, Server], ports: Mapping[str, int], folder: Path, port: int
) -> dict[str, str]:
    """Return the variables of all bridges together. Each reads its own."""
    url, agent = f"http://{HERE}:{port}", f"http://{HERE}:{ports['agent']}"
    return {
        **_addresses(services, folder),
        "PORT": str(port),
        "PUBLIC_URL": url,
        "WEB_CONCURRENCY": "1",
        "GUNICORN_CMD_ARGS": f"--bind {HERE}:{port}",
        "NODE_ENV": "production",
        "TWILIO_ACCOUNT_SID": providers.ACCOUNT,
        "TWILIO_AUTH_TOKEN": providers.TOKEN,
        "TWILIO_API_BASE_URL": f"http://{HERE}:{ports['carrier']}",
        "TWILIO_NUMBERS": providers.NUMBER if conditions.catch_up else "",
        "RETELL_API_KEY": providers.KEY,
        "RETELL_AGENT_ID": providers.AGENT,
        "RETELL_BASE_URL": agent,
        "AGENT_KEY": providers.KEY,
        "AGENT_ID": providers.AGENT,
        "AGENT_URL": agent,
        "SENDER_RATE": LARGEST_RATE,
        "ADMIN_TOKEN": ADMIN,
        **({"STATUS_URL": f"{url}/twilio/inbound"} if conditions.callbacks else {}),
        **conditions.more,
    }


def _addresses(services: Mapping[str, Server], folder: Path) -> dict[str, str]:
    found = {"DATABASE_URL": f"sqlite:///{folder / 'bridge.sqlite3'}"}
    if server := services.get("postgres"):
        found["DATABASE_URL"] = DATABASE.format(port=server.port)
    if server := services.get("redis"):
        found["REDIS_URL"] = found["CELERY_BROKER_URL"] = REDIS.format(port=server.port)
    if server := services.get("rabbitmq"):
        found["CELERY_BROKER_URL"] = RABBITMQ.format(port=server.port)
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0
