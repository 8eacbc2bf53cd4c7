"""``bridge up`` and ``bridge demo``: the whole bridge in one process."""

from __future__ import annotations

import click

from bridge.commands.arguments import PORT, usable_settings
from bridge.config import warn_of_unknown_names
from bridge.lib import log as logs
from bridge.processes import embedded, telemetry
from bridge.providers.agents.registry import AGENTS

DEFAULT_PORT = 8000


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
