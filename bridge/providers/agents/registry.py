"""All agent providers, one line each.

Only the runtime imports this module. The contract and the routes know no adapter, and no adapter knows another.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.config import Settings
from bridge.providers.agents.contract import Agent
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.routes import Agents
from bridge.providers.agents.uponai.client import UponAI

AGENTS: dict[str, Callable[[Settings], Agent]] = {
    "retell": Retell.from_settings,
    "uponai": UponAI.from_settings,
}


def build_agents(settings: Settings) -> Agents:
    """Build the API of each provider whose settings are there. All agents of a provider share one API.

    A provider that no route names any more is built too: its open chats must be read and ended.
    """
    return Agents(settings, {provider: AGENTS[provider](settings) for provider in settings.providers})
