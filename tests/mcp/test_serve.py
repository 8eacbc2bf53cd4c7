"""How ``bridge mcp`` is started and reached: its settings, its token over HTTP, and a bridge that is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from bridge.processes.embedded import free_port
from testkit.procfile import Processes, environment
from tests.imports import imported_by
from tests.mcp.desk import ANA, MCP, Desk, laptop, over_http, over_stdio
from tests.up import BRIDGE, HERE

TIMEOUT = 60
NOWHERE = "http://127.0.0.1:1"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def start(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; its client has closed its input already."""
    return subprocess.run(
        [*BRIDGE, "mcp", *options],
        cwd=folder,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


# -- settings ------------------------------------------------------------------------------------------------------


def test_it_needs_the_address_and_the_token_and_nothing_else(tmp_path: Path) -> None:
    told = start(tmp_path, BRIDGE_URL="nowhere", ADMIN_TOKEN="")
    assert told.returncode == 2
    assert [line.split(" ")[0] for line in told.stderr.splitlines()] == ["BRIDGE_URL", "ADMIN_TOKEN"]
    assert start(tmp_path, **laptop(NOWHERE)).returncode == 0


def test_where_the_bridge_runs_its_own_settings_are_enough(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PUBLIC_URL={NOWHERE}\nADMIN_TOKEN=t\nDATABASE_URL=sqlite:////no/such/folder/x\n")
    told = start(tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".env"], "it makes no database"


def test_an_address_below_the_bridge_is_refused(tmp_path: Path) -> None:
    told = start(tmp_path, **laptop("https://sms.example.com/admin/"))
    assert (told.returncode, "leave it out" in told.stderr) == (2, True)


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "mcp.py").write_text("raise ModuleNotFoundError('No module named mcp', name='mcp')\n")
    settings = environment(laptop(NOWHERE))
    settings["PYTHONPATH"] = os.pathsep.join([str(absent), settings["PYTHONPATH"]])
    told = subprocess.run([*BRIDGE, "mcp"], cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=TIMEOUT)
    assert told.returncode == 1
    assert "pip install 'sms-bridge[mcp]'" in told.stderr
    assert "Traceback" not in told.stderr


# -- a bridge that is not there ------------------------------------------------------------------------------------


class _NoBridge(BaseHTTPRequestHandler):
    """Somebody else's page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if "failures" in self.path else "text/html")
        self.end_headers()
        self.wfile.write(b'{"failures": 7}')

    def log_message(self, format: str, *arguments: object) -> None:
        return


@contextmanager
def no_bridge() -> Iterator[str]:
    with ThreadingHTTPServer((HERE, 0), _NoBridge) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HERE}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_bridge_that_is_away_or_none_is_told_by_every_call(tmp_path: Path) -> None:
    with over_stdio(laptop(NOWHERE), tmp_path) as tools:
        assert "No bridge answers at http://127.0.0.1:1." in tools("list_failures").error
    with no_bridge() as address, over_stdio(laptop(address), tmp_path) as tools:
        assert "not as the admin API of a bridge" in tools("list_conversations").error
        assert "Bring both to the same version" in tools("list_failures").error
    assert "Traceback" not in (tmp_path / "mcp.log").read_text()


def test_a_wrong_operator_s_token_is_told_with_its_remedy(ours: Desk) -> None:
    with over_stdio(laptop(ours.address, "wrong"), ours.folder) as tools:
        assert "Set ADMIN_TOKEN to the token of an operator" in tools("list_failures").error


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Bearer {ANA}", f"Basic {MCP}", f"{MCP}"])
def test_over_http_nothing_is_answered_without_the_token(address: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for url in (address, address.replace("/mcp", "/")):
        told = httpx.post(url, json=CALL, headers=headers)
        assert (told.status_code, told.headers["WWW-Authenticate"]) == (401, 'Bearer realm="bridge mcp"')
        assert "MCP_TOKEN" in told.text


def test_two_tokens_at_once_are_none(address: str) -> None:
    headers = [("Authorization", f"Bearer {MCP}"), ("Authorization", "Bearer wrong")]
    assert httpx.post(address, json=CALL, headers=headers).status_code == 401


def test_a_page_of_another_site_is_refused_even_with_the_token(address: str) -> None:
    headers = {"Authorization": f"Bearer {MCP}", "Host": "evil.example", "Content-Type": "application/json"}
    assert httpx.post(address, json=CALL, headers=headers).status_code == 421


def test_without_a_token_of_its_own_it_takes_the_operator_s_and_listens_only_here(ours: Desk) -> None:
    port = free_port(HERE)
    processes = Processes(ours.folder, laptop(ours.address))
    try:
        server = processes.start("own", [*BRIDGE, "mcp", "--http", str(port)])
        server.until_it_says(f"The MCP server listens on http://{HERE}:{port}/mcp")
        with pytest.raises(OSError, match=r"."):
            socket.create_connection(("127.0.0.2", port), timeout=1)

        with over_http(f"http://{HERE}:{port}/mcp", ANA) as tools:
            assert tools("list_failures").error == ""
        second = start(ours.folder, "--http", str(port), **laptop(ours.address))
        assert second.returncode == 1
        assert second.stderr == f"Error: can't listen on {HERE}:{port}: Address already in use\n"
        assert server.stop() == 0
        assert "Traceback" not in server.output
    finally:
        processes.close()


def test_elsewhere_than_at_localhost_the_token_alone_protects_it(ours: Desk) -> None:
    """As docs/mcp.md says: a proxy before it has a name of its own."""
    port = free_port(HERE)
    processes = Processes(ours.folder, laptop(ours.address))
    try:
        server = processes.start("open", [*BRIDGE, "mcp", "--http", str(port), "--host", "0.0.0.0"])
        server.until_it_says("The MCP server listens on")
        named = {"Host": "tools.example.com", "Accept": "application/json, text/event-stream"}
        address = f"http://{HERE}:{port}/mcp"
        assert httpx.post(address, json=CALL, headers=named).status_code == 401
        assert httpx.post(address, json=CALL, headers={**named, "Authorization": f"Bearer {ANA}"}).status_code != 421
    finally:
        processes.close()


def test_importing_it_brings_no_database_and_no_queue() -> None:
    assert imported_by("import bridge.mcp.serve", "bridge.db", "celery") == []
