"""How the admin API is called: through which proxy, with which certificates, and never with the token elsewhere."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from bridge.config import SettingsError
from bridge.mcp.api import Api
from bridge.mcp.outputs import Failures
from bridge.mcp.problems import ToolError
from bridge.mcp.settings import McpSettings
from testkit.servers import Certificate
from tests.mcp.desk import ANA, laptop, over_stdio
from tests.up import HERE

HERE_BUT_NOT_LOOPBACK = "0.0.0.0"
"""An address of this machine for which the environment's proxy counts."""


class Proxy:
    """A proxy that writes down what it gets, and refuses everything."""

    def __init__(self) -> None:
        self.got = b""
        self._listening = socket.create_server((HERE, 0))
        self.address = f"http://{HERE}:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        socket.create_connection(self._listening.getsockname()).close()  # without a word: the end
        self._thread.join(10)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                connection.settimeout(10)
                asked = connection.recv(65536)
                if not asked:
                    return
                self.got += asked
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.address)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    try:
        yield proxy
    finally:
        proxy.close()


def told_at(address: str) -> str:
    """What a call at this address fails with."""

    async def read() -> str:
        api = Api(McpSettings.load(laptop(address)))
        try:
            await api.read("/admin/failures", Failures)
        except ToolError as error:
            return str(error)
        finally:
            await api.close()
        return ""

    return anyio.run(read)


def test_a_proxy_on_the_way_to_https_gets_a_tunnel_and_not_the_token(proxy: Proxy) -> None:
    told = told_at("https://sms.example.com")
    assert "No bridge answers at https://sms.example.com. Nothing was done." in told
    assert "HTTPS_PROXY" in told
    assert proxy.got.startswith(b"CONNECT sms.example.com:443 ")
    assert ANA.encode() not in proxy.got


def test_a_bridge_without_https_is_called_without_the_proxy(proxy: Proxy) -> None:
    told = told_at(f"http://{HERE_BUT_NOT_LOOPBACK}:1")
    assert told.startswith(f"No bridge answers at http://{HERE_BUT_NOT_LOOPBACK}:1. Nothing was done.")
    assert "Check BRIDGE_URL" in told
    assert proxy.got == b""


@pytest.mark.parametrize(("scheme", "counts"), [("https", True), ("http", False)])
def test_the_settings_check_the_proxy_that_is_used(scheme: str, counts: bool) -> None:
    environ = {**laptop(f"{scheme}://sms.example.com"), "ALL_PROXY": "nowhere"}
    if counts:
        with pytest.raises(SettingsError, match="ALL_PROXY has no scheme"):
            McpSettings.load(environ)
    else:
        McpSettings.load(environ)


# -- a private authority -------------------------------------------------------------------------------------------


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


@contextmanager
def served_with(certificate: Certificate) -> Iterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file, certificate.key)
    with ThreadingHTTPServer((HERE, 0), _Page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def test_the_certificates_of_a_private_authority_count(tmp_path: Path) -> None:
    certificate = Certificate.made_for("DNS:localhost", tmp_path)
    with served_with(certificate) as address:
        assert "No bridge answers" in told_at(address)
        trusted = {**laptop(address), "SSL_CERT_FILE": str(certificate.file)}
        with over_stdio(trusted, tmp_path) as tools:
            assert "not as the admin API of a bridge" in tools("list_failures").error
