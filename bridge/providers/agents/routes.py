"""The routes from our numbers to the agents of the providers.

An open chat stays with the provider that opened it. A route only decides where the next chat is opened.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.config import Route, Settings
from bridge.providers.agents.contract import Agent
from bridge.providers.errors import AccountRefused, scope_of


class Agents:
    """The routes of the settings, and the API of each provider."""

    def __init__(self, settings: Settings, apis: Mapping[str, Agent]) -> None:
        self.default = settings.default_route
        self.routes: Mapping[str, Route] = settings.agent_routes
        self._apis = apis

    def route(self, number: str) -> Route:
        """Return the agent for this number of ours. The number is written as the carrier shows it."""
        return self.routes.get(number, self.default)

    def of(self, provider: str) -> Agent:
        """Return the API of this provider. Raise AccountRefused if its settings are not there any more."""
        api = self._apis.get(provider)
        if api is None:
            raise AccountRefused(
                "its settings are not set any more; keep them until its chats have ended",
                provider=provider,
            )
        return api

    def can_delete(self, provider: str) -> bool:
        """Return whether chats can be deleted there; False too if its settings are not there any more."""
        api = self._apis.get(provider)
        return api is not None and api.deletes_chats

    def close(self) -> None:
        """Close all connections."""
        for api in self._apis.values():
            api.close()


def scopes(route: Route) -> tuple[str, str]:
    """Return the scopes whose circuits must be closed for a new chat: our account there, and this agent."""
    return scope_of(route.provider), scope_of(route.provider, route.agent_id)
