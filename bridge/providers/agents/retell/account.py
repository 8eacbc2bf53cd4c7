"""The account at Retell as an operator has set it up: whose key it is, and the chat agent. These calls only read.

owner     GET /get-api-key-info
agent     GET /get-chat-agent/{id}?version=…
is_voice  GET /get-agent/{id}
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from bridge.config import Settings
from bridge.providers.agents.retell.errors import PROVIDER, refusal, unreadable
from bridge.providers.http.client import Answer, Api
from bridge.providers.redaction import safe_words

TIMEOUT = 15.0
"""Seconds for each call."""

UNKNOWN = frozenset({400, 404, 422})
"""There is no such agent, or no such version. 422 is Retell's word for an asset that is not found."""

DEFAULT_SILENCE = timedelta(hours=1)
LONGEST_SILENCE = timedelta(hours=72)


@dataclass(frozen=True)
class ChatAgent:
    """A version of a chat agent."""

    is_first: bool
    """There is no version before it."""
    is_published: bool
    closes_after: timedelta
    """The silence after which Retell ends a chat."""
    stores_transcripts: bool


class RetellAccount:
    """The account of the key. Any number of threads may use it."""

    def __init__(self, key: str, base_url: str) -> None:
        self._key = key
        self._api = Api(PROVIDER, base_url, headers={"Authorization": f"Bearer {key}"})

    @classmethod
    def from_settings(cls, settings: Settings) -> RetellAccount | None:
        """Return ``None`` if no key is set."""
        key = settings.retell_api_key
        return cls(key.get_secret_value(), settings.retell_base_url) if key else None

    def owner(self) -> str:
        """Return the name of the organization whose key it is."""
        shown = self._read("/get-api-key-info")
        return safe_words(shown.get("org_name"), [self._key]) or "an organization without a name"

    def agent(self, agent_id: str, version: str | None = None) -> ChatAgent | None:
        """Return this version of the chat agent, by default the newest; ``None`` if there is none."""
        answer = self._get(f"/get-chat-agent/{quote(agent_id, safe='')}", {"version": version} if version else {})
        return _chat_agent(_checked(answer, self._key)) if answer.status not in UNKNOWN else None

    def is_voice(self, agent_id: str) -> bool:
        """Return True if there is a voice agent with this id."""
        return self._get(f"/get-agent/{quote(agent_id, safe='')}", {}).ok

    def close(self) -> None:
        self._api.close()

    def _read(self, path: str) -> dict[str, Any]:
        return _checked(self._get(path, {}), self._key)

    def _get(self, path: str, params: dict[str, str]) -> Answer:
        return self._api.call("GET", path, params=params, deadline=time.monotonic() + TIMEOUT)


def _checked(answer: Answer, key: str) -> dict[str, Any]:
    if not answer.ok:
        raise refusal(answer, [key])
    if answer.payload is None:
        raise unreadable(answer)
    return answer.payload


def _chat_agent(its: dict[str, Any]) -> ChatAgent:
    milliseconds = its.get("end_chat_after_silence_ms")
    is_set = isinstance(milliseconds, int) and 0 < milliseconds <= LONGEST_SILENCE // timedelta(milliseconds=1)
    return ChatAgent(
        is_first=its.get("version") in (None, 0),
        is_published=its.get("is_published") is True,
        closes_after=timedelta(milliseconds=milliseconds) if is_set and milliseconds else DEFAULT_SILENCE,
        stores_transcripts=its.get("data_storage_setting") != "basic_attributes_only",
    )
