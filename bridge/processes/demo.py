"""The demo: the embedded bridge between a simulated Twilio and a simulated agent, and a phone to text from.

It stores nothing beyond its end: the simulated providers and the bridge's database are deleted.
"""

from __future__ import annotations

import secrets
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import click

from bridge.config import Settings
from bridge.processes import embedded
from bridge.runtime import Runtime
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.web.queries import activity

HOST = "127.0.0.1"
"""This machine only: the demo has no login."""


def run(port: int, *, open_browser: bool) -> None:
    """Serve the phone on this port, and the bridge itself on a free one, until Ctrl-C."""
    providers = SimulatorSettings(auth_token=secrets.token_hex(16), retell_api_key=secrets.token_hex(16))
    simulator = Simulator(providers)
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder, serve(simulator, HOST, port) as address:
        own_port = embedded.free_port(HOST)
        settings = _settings(providers, address, f"http://{HOST}:{own_port}", Path(folder))
        with embedded.running(settings, HOST, own_port) as (rt, server):
            simulator.webhook_url = f"{settings.public_url}/twilio/inbound#rc=5&rp=5xx,ct,rt"
            simulator.watch = lambda: _watch(rt)
            _greet(address, open_browser)
            embedded.serve_until_told(server)


def _settings(providers: SimulatorSettings, address: str, own: str, folder: Path) -> Settings:
    """Return settings as an operator would set them, but for the simulated providers."""
    return Settings.load(
        environ={},
        database_url=f"sqlite:///{folder / 'bridge.sqlite3'}",
        public_url=own,
        twilio_account_sid=providers.account_sid,
        twilio_auth_token=providers.auth_token,
        twilio_numbers=providers.number,
        twilio_api_base_url=address,
        retell_api_key=providers.retell_api_key,
        retell_agent_id=providers.agent_id,
        retell_base_url=address,
        agent_timeout="15s",  # short, so that a viewer sees the timeout of a slow agent
    )


def _watch(rt: Runtime) -> list[dict[str, Any]]:
    return [
        {"time": row.at.isoformat(), "phone": row.phone, "kind": row.kind, "state": row.state, "detail": row.detail}
        for row in activity.recent(rt)
    ]


def _greet(address: str, open_browser: bool) -> None:
    click.echo(f"\n  The phone is at  {address}\n\n  Text the agent from there. Ctrl-C ends the demo.\n")
    if open_browser:
        webbrowser.open(address)
