"""The routes from our numbers to the agents of the providers.

An open chat stays with the provider that opened it. A route only decides where the next chat is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.config import Route, Settings
from bridge.providers.agents.contract import Agent
from bridge.providers.agents.retell.client import Retell
from bridge.providers.errors import AccountRefused, scope_of

AGENTS: dict[str, Callable[[Settings], Agent]] = {"retell": Retell.from_settings}
"""All providers, one line each."""


class Agents:
    """The routes of the settings, and the API of each provider that they name."""

    def __init__(self, settings: Settings, apis: Mapping[str, Agent]) -> None:
        self.default = settings.default_route
        self.routes: Mapping[str, Route] = settings.agent_routes
        self._apis = apis

    def route(self, number: str) -> Route:
        """Return the agent for this number of ours. The number is written as the carrier shows it."""
        return self.routes.get(number, self.default)

    def of(self, provider: str) -> Agent:
        """Return the API of this provider. Raise AccountRefused if the settings no longer name the provider."""
        api = self._apis.get(provider)
        if api is None:
            raise AccountRefused(
                "no route names this provider; keep one in AGENT_ROUTES until its chats end",
                provider=provider,
            )
        return api

    def close(self) -> None:
        """Close all connections."""
        for api in self._apis.values():
            api.close()


def scopes(route: Route) -> tuple[str, str]:
    """Return the scopes whose circuits must be closed for a new chat: our account there, and this agent."""
    return scope_of(route.provider), scope_of(route.provider, route.agent_id)


def build_agents(settings: Settings) -> Agents:
    """Build the agents of ``AGENT_PROVIDER`` and ``AGENT_ROUTES``. All agents of a provider share one API."""
    routes = (settings.default_route, *settings.agent_routes.values())
    return Agents(settings, {provider: AGENTS[provider](settings) for provider in {r.provider for r in routes}})
