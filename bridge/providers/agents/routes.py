"""Who answers where: which agent of which provider belongs to which of our numbers.

A chat that is open stays with the provider that opened it; a route says only where the next one is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.config import Route, Settings
from bridge.providers.agents.contract import Agent
from bridge.providers.agents.retell.client import Retell
from bridge.providers.errors import AccountRefused, scope_of

AGENTS: dict[str, Callable[[Settings], Agent]] = {"retell": Retell.from_settings}
"""Which providers there are: one line each."""


class Agents:
    """The routes of the settings, and the API of each provider that they name."""

    def __init__(self, settings: Settings, apis: Mapping[str, Agent]) -> None:
        self.default = settings.default_route
        self.routes: Mapping[str, Route] = settings.agent_routes
        self._apis = apis

    def route(self, number: str) -> Route:
        """Who answers at this number of ours, written as the carrier shows it."""
        return self.routes.get(number, self.default)

    def of(self, provider: str) -> Agent:
        """The API in which this provider's chats live. One that is not set any more serves nobody."""
        api = self._apis.get(provider)
        if api is None:
            raise AccountRefused("no route of the settings leads there any more", provider=provider)
        return api

    def close(self) -> None:
        """Give every connection back."""
        for api in self._apis.values():
            api.close()


def scopes(route: Route) -> tuple[str, str]:
    """What must not be on hold for a new chat: our account there, and this agent."""
    return scope_of(route.provider), scope_of(route.provider, route.agent_id)


def build_agents(settings: Settings) -> Agents:
    """The agents that ``AGENT_PROVIDER`` and ``AGENT_ROUTES`` name; one API serves all agents of a provider."""
    routes = (settings.default_route, *settings.agent_routes.values())
    return Agents(settings, {provider: AGENTS[provider](settings) for provider in {r.provider for r in routes}})
