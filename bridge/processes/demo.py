"""The demo: the embedded bridge between a simulated Twilio and agent, a phone to text from, and the console.

It stores nothing beyond its end: the simulated providers and the bridge's database are deleted.
"""

from __future__ import annotations

import secrets
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import click

from bridge.config import ADMIN, Settings
from bridge.processes import embedded
from bridge.runtime import Runtime
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.team import PATH as TEAM_PATH
from bridge.web.console import login
from bridge.web.queries import activity

HOST = "127.0.0.1"
"""This machine only: the phone has no login."""


def run(port: int, agent: str, *, open_browser: bool) -> None:
    """Serve the phone on this port, and the bridge itself on a free one, until Ctrl-C."""
    tokens = [secrets.token_hex(16) for _ in range(5)]
    providers = SimulatorSettings(
        auth_token=tokens[0],
        retell_api_key=tokens[1],
        uponai_api_key=tokens[2],
        uponai_webhook_key=tokens[3],
        team_secret=tokens[4],
    )
    simulator = Simulator(providers)
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder, serve(simulator, HOST, port) as address:
        own_port = embedded.free_port(HOST)
        own = f"http://{HOST}:{own_port}"
        settings = _settings(providers, address, own, Path(folder), providers.agent_at(agent, address))
        with embedded.running(settings, HOST, own_port) as (rt, server):
            simulator.webhook_url = f"{settings.public_url}/twilio/inbound#rc=5&rp=5xx,ct,rt"
            simulator.events_url = f"{settings.public_url}/retell/events"
            simulator.uponai_events_url = f"{settings.public_url}/uponai/events"
            simulator.watch = lambda: _watch(rt)
            simulator.console = lambda: _console(rt)
            _greet(address, _console(rt))
            _tell_programs(settings)
            if open_browser:
                webbrowser.open(address)
            embedded.serve_until_told(server)


def _settings(providers: SimulatorSettings, address: str, own: str, folder: Path, agent: dict[str, str]) -> Settings:
    """Return settings as an operator would set them, but for the simulated providers."""
    return Settings.load(
        environ=agent,
        database_url=f"sqlite:///{folder / 'bridge.sqlite3'}",
        public_url=own,
        twilio_account_sid=providers.account_sid,
        twilio_auth_token=providers.auth_token,
        twilio_numbers=providers.number,
        twilio_api_base_url=address,
        handoff_webhook=f"{address}{TEAM_PATH}",
        handoff_webhook_secret=providers.team_secret,
        handoff_words="human, a human, a human please, can I talk to a human, person, agent",
        drafts=True,
        agent_timeout="15s",  # short, so that a viewer sees the timeout of a slow agent
        admin_token=secrets.token_hex(16),
    )


def _watch(rt: Runtime) -> list[dict[str, Any]]:
    return [
        {"time": row.at.isoformat(), "phone": row.phone, "kind": row.kind, "state": row.state, "detail": row.detail}
        for row in activity.recent(rt)
    ]


def _console(rt: Runtime) -> str:
    """Return the address of the console that logs in, once and soon."""
    return login.link(rt, ADMIN, secrets.token_hex(8))


def _greet(address: str, console: str) -> None:
    click.echo(f"\n  The phone is at  {address}\n  The operators' console is at  {console}\n")
    click.echo("  Text the agent from the phone, and step in at the console. Ctrl-C ends the demo.\n")


def _tell_programs(settings: Settings) -> None:
    """Show what a client of the admin API needs. The token opens this demo alone, and ends with it."""
    assert settings.admin_token
    token = settings.admin_token.get_secret_value()
    click.echo(f"  For the admin API and bridge mcp: BRIDGE_URL={settings.public_url} ADMIN_TOKEN={token}\n")
