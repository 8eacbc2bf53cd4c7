"""The ways to the MCP server: standard input and output, or HTTP behind a token."""

from __future__ import annotations

import logging
import signal
import socket
from dataclasses import dataclass

import anyio
import click
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.lib.bearer import bears
from bridge.lib.errors import BridgeError
from bridge.mcp.api import Api
from bridge.mcp.server import build
from bridge.mcp.settings import McpSettings

log = logging.getLogger(__name__)

PATH = "/mcp"
GRACE = 3
"""Seconds that calls in progress get at the end. A turn goes on without them."""

REFUSED = "Send the header Authorization: Bearer and the MCP_TOKEN, or without one the ADMIN_TOKEN, of bridge mcp.\n"


class CannotListen(BridgeError):
    """Another process has the port, or this machine does not have the address."""


@dataclass(frozen=True)
class Guard:
    """It passes on only requests with the token."""

    app: ASGIApp
    token: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or bears(self.token, _authorization(scope)):
            await self.app(scope, receive, send)
            return
        log.warning("a call is refused: it does not have the token")
        refusal = PlainTextResponse(REFUSED, 401, {"WWW-Authenticate": 'Bearer realm="bridge mcp"'})
        await refusal(scope, receive, send)


def over_stdio(settings: McpSettings) -> None:
    """Serve the client that has started this process, until it closes our input."""
    anyio.run(_over_stdio, build(settings))


def over_http(settings: McpSettings, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM. Raise :class:`CannotListen`."""
    app = Guard(
        build(settings).streamable_http_app(host=host, streamable_http_path=PATH), settings.opens.get_secret_value()
    )
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn has its own while it serves, and then raises the signal again
    with _listening(host, port) as ours:
        click.echo(f"The MCP server listens on http://{host}:{port}{PATH}")
        uvicorn.Server(config).run(sockets=[ours])


async def _over_stdio(server: Server[Api]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        why, _, _ = str(error.strerror or error).partition(" (while ")  # which repeats the address
        raise CannotListen(f"can't listen on {host}:{port}: {why}") from error


def _authorization(scope: Scope) -> str:
    """Return the header; empty: it is not there, or not once."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0].decode("latin-1") if len(found) == 1 else ""
