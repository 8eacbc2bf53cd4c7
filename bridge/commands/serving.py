"""The commands that run until they are told to end: ``bridge up``, ``bridge demo`` and ``bridge mcp``."""

from __future__ import annotations

import logging

import click

from bridge.commands.arguments import usable_settings
from bridge.config import or_exit, warn_of_unknown_names
from bridge.lib import log as logs
from bridge.processes import embedded, telemetry
from bridge.providers.agents.registry import AGENTS

DEFAULT_PORT = 8000
PORT = click.IntRange(1, 65535)

NEEDED_BY_MCP = ("mcp", "mcp_types", "uvicorn", "starlette", "anyio")
"""The packages of the extra ``mcp`` that the command imports."""

NO_MCP = (
    "bridge mcp needs packages that are not installed. Install them where the bridge is installed: "
    "python -m pip install 'sms-bridge[mcp]', or in a checkout: .venv/bin/python -m pip install '.[mcp]'"
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, envvar="PORT", help="Where to listen.")
def up(host: str, port: int) -> None:
    """Run everything in one process, with your Twilio number and your agent."""
    settings = usable_settings()
    logs.configure(secrets=logs.secrets_in(settings), form=settings.log_format)
    telemetry.start(settings)
    warn_of_unknown_names()
    try:
        with embedded.running(settings, host, port) as (_, server):
            expected = f"{settings.public_url}/twilio/inbound"
            click.echo(f"The bridge listens on http://{host}:{port} and expects Twilio at {expected}")
            embedded.serve_until_told(server)
    except embedded.CannotRun as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option(
    "--port",
    type=PORT,
    default=DEFAULT_PORT,
    show_default=True,
    help="The phone's; the bridge itself takes a free one.",
)
@click.option("--agent", type=click.Choice(list(AGENTS)), default="retell", show_default=True, help="Its provider.")
@click.option("--browser/--no-browser", default=True, help="Open the phone in a browser.")
def demo(port: int, agent: str, browser: bool) -> None:
    """Text a simulated agent from a phone in your browser. Needs no account and no network."""
    from bridge.processes.demo import run

    logs.configure()
    run(port, agent, open_browser=browser)


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
