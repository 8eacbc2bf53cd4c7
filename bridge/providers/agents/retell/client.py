"""The calls of Retell's chat API.

    create_chat   POST  /create-chat               201
    complete      POST  /create-chat-completion    201
    get_chat      GET   /get-chat/{id}             200
    end_chat      PATCH /end-chat/{id}             204
    delete_chat   DELETE /delete-chat/{id}         204 by the library; no document says so
    list_chats    POST  /v3/list-chats             200
    find_chats    POST  /v3/list-chats             200
    draft         POST  /agent-playground-completion/{id}    200 or 201: no document says which

``bridge.providers.agents.retell.parse`` reads the JSON; ``bridge.providers.agents.retell.errors`` reads the refusals.
The calls for contacts: ``bridge.providers.agents.retell.contacts``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bridge.config import Route, Settings
from bridge.providers.agents.contract import ChatPage, ChatState, Item, NewChat, RemoteChat, Speaker
from bridge.providers.agents.opening import (
    LONGEST_SEARCH,
    SEARCH_PAGE,
    ever_fewer_variables,
    is_opened_for,
    metadata,
    private,
)
from bridge.providers.agents.retell import parse
from bridge.providers.agents.retell.contacts import Contacts
from bridge.providers.agents.retell.errors import (
    AT_CREATE,
    CHAT_UNKNOWN,
    PROVIDER,
    chat_refusal,
    refusal,
    unreadable,
)
from bridge.providers.errors import ChatEnded, OutcomeUnknown, Refused, RemoteError, WithHuman
from bridge.providers.http.client import Answer, Api
from bridge.providers.http.deadline import NewTransport

log = logging.getLogger(__name__)

QUICK_TIMEOUT = 15.0
"""Seconds for every call that does not wait for the agent's answer."""

LARGEST_PAGE = 1000

MOST_CANDIDATES = 5
"""Chats that are read one by one if the list does not show the metadata. No document says that it does."""

Page = tuple[list[dict[str, Any]], str | None]
"""The entries of a page of the list, and the key of the next page."""

ROLES = {Speaker.USER: "user", Speaker.AGENT: "agent"}
"""The messages of a history."""

Offer = Callable[[dict[str, str], float], Answer]
"""A call with these variables and this deadline."""

VARIABLES_REFUSED = frozenset({400, 422})

BY_STATE: Mapping[ChatState, type[RemoteError]] = {ChatState.ENDED: ChatEnded, ChatState.WITH_HUMAN: WithHuman}
"""Why a chat in such a state refuses a message."""
ONGOING = {"type": "enum", "op": "in", "value": ["ongoing"]}


class Retell:
    """Retell's chat agents. See :class:`bridge.providers.agents.contract.Agent`."""

    provider = PROVIDER
    writes_drafts = True
    deletes_chats = True

    def __init__(
        self,
        *,
        api_key: str,
        agent_id: str | None,
        agent_version: str,
        base_url: str,
        timeout: float,
        reads_contacts: bool = False,
        transport: NewTransport | None = None,
    ) -> None:
        self._key = api_key.strip()
        self._route = Route(provider=PROVIDER, agent_id=agent_id, agent_version=agent_version) if agent_id else None
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {self._key}"}
        self._api = Api(PROVIDER, base_url, headers=headers, transport=transport)
        self._contacts = Contacts(self._api, self._key)
        self._reads_contacts = reads_contacts

    @classmethod
    def from_settings(cls, settings: Settings) -> Retell:
        assert settings.retell_api_key
        return cls(
            api_key=settings.retell_api_key.get_secret_value(),
            agent_id=settings.retell_agent_id,
            agent_version=settings.retell_agent_version,
            base_url=settings.retell_base_url,
            timeout=settings.agent_timeout.total_seconds(),
            reads_contacts=settings.retell_contacts is not None,
        )

    def create_chat(self, about: NewChat) -> RemoteChat:
        """Open a chat. If Retell refuses the variables, open it with fewer of them."""
        route = self._route_of(about)

        def create(variables: dict[str, str], deadline: float) -> Answer:
            body = _new_chat(route, about, variables)
            return self._api.call("POST", "/create-chat", json=body, deadline=deadline)

        return _chat(self._with_variables(about, create, self._quick), chat_status="ongoing")

    def draft(self, about: NewChat, history: Sequence[Item]) -> tuple[Item, ...]:
        """Ask the agent in Retell's playground, with the whole history. If Retell refuses the variables, send fewer."""
        route = self._route_of(about)
        messages = [{"role": ROLES[item.speaker], "content": item.content} for item in history if item.speaker in ROLES]
        path, version = _path("agent-playground-completion", str(route.agent_id)), {"version": route.agent_version}

        def complete(variables: dict[str, str], deadline: float) -> Answer:
            body = {"messages": messages} | ({"dynamic_variables": variables} if variables else {})
            return self._api.call("POST", path, json=body, params=version, deadline=deadline)

        secrets = [line for item in history for line in item.content.splitlines()]
        answer = self._with_variables(about, complete, lambda: time.monotonic() + self._timeout, secrets)
        items = _payload(answer).get("messages")
        if not isinstance(items, list):
            raise unreadable(answer)
        return parse.items(items)

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        deadline = time.monotonic() + self._timeout
        body = {"chat_id": chat_id, "content": content}
        answer = self._api.call("POST", "/create-chat-completion", json=body, deadline=deadline)
        if not answer.ok:
            error = chat_refusal(answer, [self._key, *content.splitlines()])
            raise self._check_chat(error, chat_id, deadline)
        messages = _payload(answer).get("messages")
        if not isinstance(messages, list):
            raise unreadable(answer)
        return parse.items(messages)

    def get_chat(self, chat_id: str) -> RemoteChat:
        return self._find_chat(chat_id, self._quick())

    def end_chat(self, chat_id: str) -> None:
        deadline = self._quick()
        answer = self._api.call("PATCH", _path("end-chat", chat_id), deadline=deadline)
        if answer.ok:
            return
        error = self._check_chat(chat_refusal(answer, [self._key]), chat_id, deadline)
        if not isinstance(error, ChatEnded):
            raise error

    def delete_chat(self, chat_id: str) -> None:
        answer = self._api.call("DELETE", _path("delete-chat", chat_id), deadline=self._quick())
        if answer.ok:
            return
        error = refusal(answer, [self._key], CHAT_UNKNOWN)
        if not isinstance(error, ChatEnded):
            raise error

    def list_chats(self, *, ongoing_only: bool = False, limit: int = 50, after: str | None = None) -> ChatPage:
        body = {
            "filter_criteria": _filters(self._route) | ({"chat_status": ONGOING} if ongoing_only else {}),
            "sort_order": "descending",
            "limit": max(1, min(limit, LARGEST_PAGE)),
        }
        entries, key = self._page(body, after, self._quick())
        chats = [parse.chat(entry) for entry in entries]
        return ChatPage(tuple(chat for chat in chats if chat), next=key)

    def find_chats(self, about: NewChat, since: datetime) -> tuple[RemoteChat, ...]:
        """Read the list from then on, oldest first: the chat is near its beginning, however late the search is."""
        deadline = self._quick()
        started = {"type": "number", "op": "ge", "value": int(since.timestamp() * 1000)}
        filters = {**_filters(about.route or self._route), "chat_status": ONGOING, "start_timestamp": started}
        body = {"filter_criteria": filters, "sort_order": "ascending", "limit": SEARCH_PAGE}
        entries, key = self._page(body, None, deadline)
        for _ in range(1, LONGEST_SEARCH):
            if key is None:
                break
            more, key = self._page(body, key, deadline)
            entries += more
        if not any("metadata" in entry for entry in entries):
            entries = [self._read(entry, deadline) for entry in entries[:MOST_CANDIDATES]]
        found = [parse.chat(entry) for entry in entries if is_opened_for(about, entry.get("metadata"))]
        return tuple(replace(chat, items=None) for chat in found if chat)

    def set_do_not_call(self, phone: str, wanted: bool) -> None:
        self._contacts.set_do_not_call(phone, wanted)

    def close(self) -> None:
        self._api.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    def _quick(self) -> float:
        return time.monotonic() + min(QUICK_TIMEOUT, self._timeout)

    def _route_of(self, about: NewChat) -> Route:
        route = about.route or self._route
        assert route
        return route

    def _with_variables(
        self, about: NewChat, call: Offer, begin: Callable[[], float], secrets: Sequence[str] = ()
    ) -> Answer:
        """Make the call, and again with fewer variables while Retell refuses them: it has done nothing then.

        ``begin`` returns the deadline, and ``secrets`` are words that an error must not quote.
        """
        contact = self._contacts.variables(about.user_number) if self._reads_contacts else {}
        deadline, agent_id = begin(), self._route_of(about).agent_id
        hidden = [self._key, *private(about, contact), *secrets]
        first: RemoteError | None = None
        for variables in ever_fewer_variables(about, contact):
            answer = call(variables, deadline)
            if answer.ok:
                return answer
            error = refusal(answer, hidden, AT_CREATE, agent_id=agent_id)
            if answer.status not in VARIABLES_REFUSED:
                raise error
            first = first or error
            log.warning("a request with %s variables was refused: %s", len(variables), error)
        assert first
        raise first

    def _page(self, body: dict[str, Any], after: str | None, deadline: float) -> Page:
        """Return the entries of a page of the list, and the key of the next one."""
        page = {"pagination_key": after} if after else {}
        answer = self._api.call("POST", "/v3/list-chats", json=body | page, deadline=deadline)
        if not answer.ok:
            raise refusal(answer, [self._key])
        return _entries(answer)

    def _read(self, entry: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Return the whole chat of this entry."""
        answer = self._get(str(entry.get("chat_id")), deadline)
        return _payload(answer)

    def _find_chat(self, chat_id: str, deadline: float) -> RemoteChat:
        return _chat(self._get(chat_id, deadline), chat_id=chat_id)

    def _get(self, chat_id: str, deadline: float) -> Answer:
        answer = self._api.call("GET", _path("get-chat", chat_id), deadline=deadline)
        if not answer.ok:
            raise chat_refusal(answer, [self._key])
        return answer

    def _check_chat(self, error: RemoteError, chat_id: str, deadline: float) -> RemoteError:
        """Read the chat to tell one that has ended, or that a human has, from another refusal.

        Retell may refuse both in words that the bridge does not know.
        """
        if type(error) is not Refused:
            return error
        try:
            state = self._find_chat(chat_id, deadline).state
        except ChatEnded:
            state = ChatState.ENDED
        except RemoteError as fault:
            why = f"{error.reason}; and the chat could not be read: {fault.reason}"
            return OutcomeUnknown(why, provider=PROVIDER, status=error.status)
        meaning = BY_STATE.get(state)
        return meaning(error.reason, provider=PROVIDER, status=error.status) if meaning else error


# -- answers -------------------------------------------------------------------------------------------------------


def _payload(answer: Answer) -> dict[str, Any]:
    if answer.payload is None:
        raise unreadable(answer)
    return answer.payload


def _chat(answer: Answer, **known: str) -> RemoteChat:
    """Read the chat in an answer. ``known`` fills in the fields that the answer leaves out."""
    payload = known | _payload(answer)
    chat = parse.chat(payload)
    if chat is None or not isinstance(payload.get("chat_status"), str):
        raise unreadable(answer)
    return chat


def _entries(answer: Answer) -> Page:
    payload = _payload(answer)
    entries, key = payload.get("items"), payload.get("pagination_key")
    if not isinstance(entries, list):
        raise unreadable(answer)
    more = bool(payload.get("has_more")) and isinstance(key, str) and key != ""
    return [entry for entry in entries if isinstance(entry, dict)], key if more else None


# -- questions -----------------------------------------------------------------------------------------------------


def _path(verb: str, id_: str) -> str:
    return f"/{verb}/{quote(id_, safe='')}"


def _filters(route: Route | None) -> dict[str, Any]:
    return {"agent": [{"agent_id": route.agent_id}]} if route else {}


def _new_chat(route: Route, about: NewChat, variables: dict[str, str]) -> dict[str, Any]:
    version = route.agent_version
    body: dict[str, Any] = {
        "agent_id": route.agent_id,
        "agent_version": int(version) if version.isdecimal() else version,
        "metadata": metadata(about),
    }
    return body | ({"retell_llm_dynamic_variables": variables} if variables else {})
