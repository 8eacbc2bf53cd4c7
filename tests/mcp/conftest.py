"""One bridge for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.processes.embedded import free_port
from tests.mcp.desk import MCP, Desk, Tools, desk, laptop, over_http, over_stdio
from tests.up import BRIDGE, HERE


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("bridge")) as standing:
        yield standing


@pytest.fixture(scope="module")
def address(ours: Desk) -> str:
    """The address of ``bridge mcp --http`` at this bridge."""
    port = free_port(HERE)
    command = ["env", *(f"{name}={text}" for name, text in laptop(ours.address).items()), f"MCP_TOKEN={MCP}"]
    server = ours.processes.start("mcp", [*command, *BRIDGE, "mcp", "--http", str(port)])
    server.until_it_says("The MCP server listens on")
    return f"http://{HERE}:{port}/mcp"


@pytest.fixture(scope="module", params=["stdio", "http"])
def tools(request: pytest.FixtureRequest, ours: Desk) -> Iterator[Tools]:
    """The SDK's own client, over each transport in turn."""
    if request.param == "stdio":
        with over_stdio(laptop(ours.address), ours.folder) as connected:
            yield connected
    else:
        with over_http(request.getfixturevalue("address")) as connected:
            yield connected
