"""A running bridge between simulated providers, and the SDK's own client at ``bridge mcp``, over each transport."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from bridge.processes.embedded import free_port
from bridge.simulator import Simulator, SimulatorSettings, serve
from testkit.procfile import Processes, environment
from testkit.waiting import until

HERE = "127.0.0.1"
ANA, BEN, MCP = "token-of-ana", "token-of-ben", "token-of-the-mcp-server"
BRIDGE = [sys.executable, "-m", "bridge"]
WORD = "tangerine"
"""A word of every text here, which must be in no log."""


@dataclass
class Called:
    """What one call of a tool has given."""

    error: str
    """Empty: it has succeeded."""
    answer: dict[str, Any]
    progress: list[tuple[float, str]]


class Tools:
    """The tools of a connected server. It remembers which were called."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client
        self.called: set[str] = set()

    def __call__(self, name: str, **arguments: Any) -> Called:
        self.called.add(name)
        return self._portal.call(self._call, name, arguments)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Called:
        progress: list[tuple[float, str]] = []

        async def note(done: float, total: float | None, words: str | None) -> None:
            progress.append((done, words or ""))

        told = await self._client.call_tool(name, arguments, progress_callback=note)
        words = told.content[0].text
        return Called(words if told.is_error else "", told.structured_content or {}, progress)


class Desk:
    """The bridge, its people, and an operator called ana with ``bridge mcp``."""

    def __init__(self, simulator: Simulator, folder: Path, providers: str) -> None:
        self.simulator = simulator
        self.folder = folder
        port = free_port(HERE)
        self.address = f"http://{HERE}:{port}"
        simulator.webhook_url = f"{self.address}/twilio/inbound#rc=5&rp=5xx,ct,rt"
        self.processes = Processes(folder, self._settings(providers))
        self.processes.start("up", [*BRIDGE, "up", "--port", str(port)]).until_it_says("The bridge listens")
        self._numbers = itertools.count(4_000_000)

    def somebody(self) -> str:
        """A phone whose first text was answered."""
        phone = f"+1555{next(self._numbers)}"
        self.says(phone, f"{WORD} one")
        return phone

    def says(self, phone: str, body: str) -> None:
        before = len(self.got(phone))
        self.simulator.phones.text(phone, body)
        until(lambda: len(self.got(phone)) > before, "it is answered")

    def got(self, phone: str) -> list[str]:
        return self.simulator.phones.inbox(phone)

    def as_ben(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Another operator does something at the admin API."""
        told = httpx.post(f"{self.address}/admin{path}", json=body or {}, headers={"Authorization": f"Bearer {BEN}"})
        told.raise_for_status()
        found: dict[str, Any] = told.json()
        return found

    def _settings(self, providers: str) -> dict[str, str]:
        settings = self.simulator.settings
        return {
            "DATABASE_URL": f"sqlite:///{self.folder / 'bridge.sqlite3'}",
            "PUBLIC_URL": self.address,
            "TWILIO_ACCOUNT_SID": settings.account_sid,
            "TWILIO_AUTH_TOKEN": settings.auth_token,
            "TWILIO_NUMBERS": settings.number,
            "TWILIO_API_BASE_URL": providers,
            **settings.agent_at("retell", providers),
            "ADMIN_TOKENS": f"ana:{ANA},ben:{BEN}",
        }


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    simulator = Simulator(SimulatorSettings(echo=True))
    with serve(simulator) as providers:
        standing = Desk(simulator, folder, providers)
        try:
            yield standing
        finally:
            standing.processes.close()


def laptop(address: str, token: str = ANA) -> dict[str, str]:
    """The settings of an operator's machine. It has no others."""
    return {"BRIDGE_URL": address, "ADMIN_TOKEN": token}


@contextmanager
def over_stdio(settings: dict[str, str], folder: Path) -> Iterator[Tools]:
    """``bridge mcp`` as a client starts it. What it logs is in ``mcp.log``."""
    command, *arguments = [*BRIDGE, "mcp"]
    server = StdioServerParameters(command=command, args=arguments, env=environment(settings), cwd=folder)
    with (folder / "mcp.log").open("a") as log, _connected(Client(stdio_client(server, errlog=log))) as tools:
        yield tools


@contextmanager
def over_http(address: str, token: str = MCP) -> Iterator[Tools]:
    with _connected(_client_at(address, token)) as tools:
        yield tools


@asynccontextmanager
async def _client_at(address: str, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        yield client


@contextmanager
def _connected(client: AbstractAsyncContextManager[Client]) -> Iterator[Tools]:
    """The client has a loop of its own beside the test."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client) as open_client:
        yield Tools(portal, open_client)
