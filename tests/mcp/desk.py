"""A running bridge between simulated providers, and the SDK's own client at ``bridge mcp``, over each transport."""

from __future__ import annotations

import itertools
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

from bridge.simulator import Simulator, SimulatorSettings
from testkit.procfile import environment
from testkit.waiting import until
from tests.up import BRIDGE, Up, up_in

ANA, BEN, MCP = "token-of-ana", "token-of-ben", "token-of-the-mcp-server"
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

    def __init__(self, up: Up, folder: Path) -> None:
        self.simulator = up.simulator
        self.folder = folder
        self.address = up.address
        self.processes = up.processes
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


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    simulator = Simulator(SimulatorSettings(echo=True))
    operators = f"ana:{ANA},ben:{BEN}"
    with up_in(folder, simulator, ADMIN_TOKENS=operators, TWILIO_NUMBERS=simulator.settings.number) as up:
        up.start()
        yield Desk(up, folder)


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
