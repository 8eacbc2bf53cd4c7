"""``bridge mcp``: the operators' tools for a model."""

from __future__ import annotations

import logging

import click

from bridge.commands.arguments import PORT
from bridge.config import or_exit
from bridge.lib import log as logs

NEEDED_BY_MCP = ("mcp", "mcp_types", "uvicorn", "starlette", "anyio")
"""The packages of the extra ``mcp`` that the command imports."""

NO_MCP = (
    "bridge mcp needs packages that are not installed. Install them where the bridge is installed: "
    "python -m pip install 'sms-bridge[mcp]', or in a checkout: .venv/bin/python -m pip install '.[mcp]'"
)


@click.command()
@click.option(
    "--http",
    "port",
    type=PORT,
    metavar="PORT",
    help="Serve on this port, in place of the client that has started this process.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen with --http. Only at 127.0.0.1 and localhost is the Host header checked.",
)
def mcp(port: int | None, host: str) -> None:
    """Give the operators' tools to a model, over the Model Context Protocol."""
    try:
        from bridge.mcp import serve
        from bridge.mcp.settings import McpSettings
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in NEEDED_BY_MCP:
            raise
        raise click.ClickException(NO_MCP) from None
    settings = or_exit(McpSettings.load)
    logs.configure(level=logging.WARNING, secrets=logs.secrets_in(settings))
    try:
        serve.over_http(settings, host, port) if port else serve.over_stdio(settings)
    except serve.CannotListen as error:
        raise click.ClickException(str(error)) from error
