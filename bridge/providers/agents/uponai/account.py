"""The account at UponAI: whether the token fits the workspace. No document has a call that reads a chat agent."""

from __future__ import annotations

import time

from bridge.config import Settings
from bridge.providers.agents.uponai.errors import AT_CREATE, PROVIDER, refusal, unreadable
from bridge.providers.http.client import Api

TIMEOUT = 15.0
"""Seconds for the call."""


class UponAIAccount:
    """The account of the token."""

    def __init__(self, key: str, workspace_id: int, base_url: str) -> None:
        self._key = key
        self._workspace_id = workspace_id
        self._api = Api(PROVIDER, base_url, headers={"Authorization": f"Bearer {key}"})

    @classmethod
    def from_settings(cls, settings: Settings) -> UponAIAccount | None:
        """Return ``None`` if no token is set."""
        key, workspace = settings.uponai_api_key, settings.uponai_workspace_id
        return cls(key.get_secret_value(), workspace, settings.uponai_base_url) if key and workspace else None

    def read_workspace(self) -> None:
        """Read one chat of the workspace. Raise RemoteError if that is refused."""
        asked = {"workspaceId": self._workspace_id, "limit": 1}
        answer = self._api.call("GET", "/api/chats", params=asked, deadline=time.monotonic() + TIMEOUT)
        if not answer.ok:
            raise refusal(answer, [self._key], AT_CREATE)
        if not isinstance((answer.payload or {}).get("data"), list):
            raise unreadable(answer)

    def close(self) -> None:
        self._api.close()
