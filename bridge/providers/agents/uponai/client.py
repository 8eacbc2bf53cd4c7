"""The calls of UponAI's chat API. Each names the workspace, in the body of a POST and in the query of a GET.

    create_chat   POST /api/chats                    201
    complete      POST /api/chats/{id}/completions   201
    get_chat      GET  /api/chats/{id}               200
    end_chat      POST /api/chats/{id}/end           204
    list_chats    GET  /api/chats                    200
    find_chats    GET  /api/chats                    200

``bridge.providers.agents.uponai.parse`` reads the JSON; ``bridge.providers.agents.uponai.errors`` reads the refusals.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bridge.config import Settings
from bridge.providers.agents.contract import ChatPage, ChatState, Item, NewChat, RemoteChat
from bridge.providers.agents.opening import (
    LONGEST_SEARCH,
    SEARCH_PAGE,
    ever_fewer_variables,
    is_opened_for,
    metadata,
    private,
)
from bridge.providers.agents.uponai import parse
from bridge.providers.agents.uponai.errors import (
    AT_CREATE,
    CHAT_UNKNOWN,
    MAY_MEAN_UNKNOWN,
    PROVIDER,
    refusal,
    says_ended,
    unreadable,
)
from bridge.providers.errors import ChatEnded, OutcomeUnknown, Refused, RemoteError
from bridge.providers.http.client import Answer, Api
from bridge.providers.http.deadline import NewTransport

log = logging.getLogger(__name__)

CHATS = "/api/chats"

QUICK_TIMEOUT = 15.0
"""Seconds for every call that does not wait for the agent's answer."""

LARGEST_PAGE = 1000

Page = tuple[list[dict[str, Any]], str | None]
"""The entries of a page of the list, and the key of the next page."""

VARIABLES_REFUSED = frozenset({400, 422})


@dataclass(frozen=True)
class Account:
    """The settings of the account."""

    api_key: str = field(repr=False)
    workspace_id: int
    agent_id: str | None
    """The agent for all numbers. ``None``: only routes name agents here."""
    base_url: str
    timeout: float
    """Seconds for one answer of the agent."""


class UponAI:
    """UponAI's chat agents. See :class:`bridge.providers.agents.contract.Agent`."""

    provider = PROVIDER
    writes_drafts = False
    deletes_chats = False

    def __init__(self, account: Account, transport: NewTransport | None = None) -> None:
        self._account = account
        self._key = account.api_key.strip()
        self._workspace = {"workspaceId": account.workspace_id}
        headers = {"Authorization": f"Bearer {self._key}"}
        self._api = Api(PROVIDER, account.base_url, headers=headers, transport=transport)

    @classmethod
    def from_settings(cls, settings: Settings) -> UponAI:
        assert settings.uponai_api_key and settings.uponai_workspace_id
        account = Account(
            api_key=settings.uponai_api_key.get_secret_value(),
            workspace_id=settings.uponai_workspace_id,
            agent_id=settings.uponai_agent_id,
            base_url=settings.uponai_base_url,
            timeout=settings.agent_timeout.total_seconds(),
        )
        return cls(account)

    def create_chat(self, about: NewChat) -> RemoteChat:
        """Open a chat. If UponAI refuses the variables, open it with fewer of them."""
        deadline = self._quick()
        agent_id = about.route.agent_id if about.route else self._account.agent_id
        first: RemoteError | None = None
        for variables in ever_fewer_variables(about):
            body = {**self._workspace, "agent_id": agent_id, "metadata": metadata(about)}
            body |= {"uponai_dynamic_variables": variables} if variables else {}
            answer = self._api.call("POST", CHATS, json=body, deadline=deadline)
            if answer.ok:
                return _chat(answer, status="ongoing")
            error = refusal(answer, [self._key, *private(about)], AT_CREATE, agent_id=agent_id)
            if answer.status not in VARIABLES_REFUSED:
                raise error
            first = first or error
            log.warning("a new chat with %s variables was refused: %s", len(variables), error)
        assert first
        raise first

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        deadline = time.monotonic() + self._account.timeout
        body = {**self._workspace, "content": content}
        answer = self._api.call("POST", f"{_path(chat_id)}/completions", json=body, deadline=deadline)
        if not answer.ok:
            error = refusal(answer, [self._key, *content.splitlines()])
            raise self._if_not_ended(error, answer, chat_id, deadline)
        messages = _payload(answer).get("messages")
        if not isinstance(messages, list):
            raise unreadable(answer)
        return parse.items(messages)

    def get_chat(self, chat_id: str) -> RemoteChat:
        return self._find_chat(chat_id, self._quick())

    def end_chat(self, chat_id: str) -> None:
        """Close the chat. Whatever the refusal: what matters is whether the chat takes messages after it."""
        deadline = self._quick()
        answer = self._api.call("POST", f"{_path(chat_id)}/end", json=self._workspace, deadline=deadline)
        if answer.ok:
            return
        error = refusal(answer, [self._key])
        if not error.maybe_done or not self._has_ended(chat_id, deadline):
            raise error

    def delete_chat(self, chat_id: str) -> None:
        raise Refused("it has no call that deletes a chat", provider=PROVIDER)

    def list_chats(self, *, ongoing_only: bool = False, limit: int = 50, after: str | None = None) -> ChatPage:
        """Return a page of the workspace. The API has no filters, so a page may show fewer chats than it has."""
        entries, key = self._page(max(1, min(limit, LARGEST_PAGE)), after, self._quick())
        chats = [parse.chat(entry) for entry in entries if self._account.agent_id in (None, entry.get("agentId"))]
        shown = [replace(chat, items=None) for chat in chats if chat and (_is_ongoing(chat) or not ongoing_only)]
        return ChatPage(tuple(shown), next=key)

    def find_chats(self, about: NewChat, since: datetime) -> tuple[RemoteChat, ...]:
        """Read the list, newest first, back to then. The API has no filters."""
        deadline = self._quick()
        agent_id = about.route.agent_id if about.route else self._account.agent_id
        found: list[RemoteChat] = []
        key = None
        for _ in range(LONGEST_SEARCH):
            entries, key = self._page(SEARCH_PAGE, key, deadline)
            recent = [entry for entry in entries if not _began_before(entry, since)]
            ours = [entry for entry in recent if is_opened_for(about, entry.get("metadata"))]
            chats = [parse.chat(entry) for entry in ours if entry.get("agentId") == agent_id]
            found += [replace(chat, items=None) for chat in chats if chat and _is_ongoing(chat)]
            if key is None or len(recent) < len(entries):
                break
        return tuple(found)

    def set_do_not_call(self, phone: str, wanted: bool) -> None:
        raise Refused("it keeps no contacts", provider=PROVIDER)

    def draft(self, about: NewChat, history: Sequence[Item]) -> tuple[Item, ...]:
        raise Refused("it writes no drafts", provider=PROVIDER)

    def close(self) -> None:
        self._api.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    def _quick(self) -> float:
        return time.monotonic() + min(QUICK_TIMEOUT, self._account.timeout)

    def _page(self, limit: int, after: str | None, deadline: float) -> Page:
        """Return the entries of a page of the list, newest first, and the key of the next one."""
        query = {**self._workspace, "sortOrder": "descending", "limit": limit}
        query |= {"paginationKey": after} if after else {}
        answer = self._api.call("GET", CHATS, params=query, deadline=deadline)
        if not answer.ok:
            raise refusal(answer, [self._key])
        entries, key = _payload(answer).get("data"), _payload(answer).get("pagination_key")
        if not isinstance(entries, list):
            raise unreadable(answer)
        return [entry for entry in entries if isinstance(entry, dict)], key if isinstance(key, str) and key else None

    def _find_chat(self, chat_id: str, deadline: float) -> RemoteChat:
        answer = self._api.call("GET", _path(chat_id), params=self._workspace, deadline=deadline)
        if not answer.ok:
            raise refusal(answer, [self._key], CHAT_UNKNOWN)
        return _chat(answer, chatId=chat_id)

    def _if_not_ended(self, error: RemoteError, answer: Answer, chat_id: str, deadline: float) -> RemoteError:
        """Return :class:`ChatEnded` if the chat itself confirms what the refusal says, else the error.

        The refusal says that the chat has ended, or that it is unknown. The status of an ended chat alone proves
        nothing: the agent may have received this message, and ended the chat after it. Nor does the status of a chat
        that a human has, so ``bridge.turns.reconcile`` decides about that.
        """
        unknown = answer.status in MAY_MEAN_UNKNOWN
        if not error.maybe_done or not (unknown or says_ended(answer)):
            return error
        try:
            chat = self._find_chat(chat_id, deadline)
            confirmed = says_ended(answer) and not _is_ongoing(chat)
        except ChatEnded:
            confirmed = True
        except RemoteError as fault:
            why = f"{error.reason}; and the chat could not be read: {fault.reason}"
            return OutcomeUnknown(why, provider=PROVIDER, status=error.status)
        return ChatEnded(error.reason, provider=PROVIDER, status=error.status) if confirmed else error

    def _has_ended(self, chat_id: str, deadline: float) -> bool:
        """Return whether the chat surely takes no more messages. One that can't be read may take some."""
        try:
            return self._find_chat(chat_id, deadline).state is ChatState.ENDED
        except ChatEnded:
            return True
        except RemoteError:
            return False


# -- answers -------------------------------------------------------------------------------------------------------


def _payload(answer: Answer) -> dict[str, Any]:
    if answer.payload is None:
        raise unreadable(answer)
    return answer.payload


def _chat(answer: Answer, **known: str) -> RemoteChat:
    """Read the chat in an answer. ``known`` fills in the fields that the answer leaves out."""
    payload = known | _payload(answer)
    chat = parse.chat(payload)
    if chat is None or not isinstance(payload.get("status"), str):
        raise unreadable(answer)
    return chat


def _is_ongoing(chat: RemoteChat) -> bool:
    return chat.state is ChatState.ONGOING


def _began_before(entry: dict[str, Any], moment: datetime) -> bool:
    chat = parse.chat(entry)
    return bool(chat and chat.started_at and chat.started_at < moment)


def _path(chat_id: str) -> str:
    return f"{CHATS}/{quote(chat_id, safe='')}"
