"""Retell's chat API as the official SDK uses it. ``agent`` carries out the calls."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from bridge.simulator.agent import Agent, Chat
from bridge.simulator.changes import Changes
from bridge.simulator.chat_api import UNKNOWN_ASSET, ChatApi, Refusal, body, check_variables
from bridge.simulator.faults import Faults
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import Striker, answer

_UPDATABLE = {"metadata", "override_dynamic_variables", "custom_attributes", "data_storage_setting"}
_MOST_CHATS = 1000
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


_OPS = {"enum": {"in"}, "number": {*_COMPARE}, "string": {"eq", "ne"}, "range": {"bt"}}
"""The types of filters, and what each can compare. Filters for parts of a text are not simulated."""


class RetellApi(ChatApi):
    """The routes below the agent's base address."""

    def __init__(self, settings: SimulatorSettings, agent: Agent, faults: Faults, changes: Changes) -> None:
        super().__init__(settings, agent, faults, changes)
        self.key = settings.retell_api_key
        self.agent_id = settings.agent_id

    def blueprint(self) -> Blueprint:
        api = Blueprint("retell", __name__)
        for rule, method, call, work in (
            ("/create-chat", "POST", "create", self._create),
            ("/get-chat/<chat_id>", "GET", "get", self._get),
            ("/v3/list-chats", "POST", "list", self._list),
            ("/update-chat/<chat_id>", "PATCH", "update", self._update),
            ("/end-chat/<chat_id>", "PATCH", "end", self._end),
            ("/delete-chat/<chat_id>", "DELETE", "delete", self._delete),
        ):
            api.add_url_rule(rule, call, self.guarded(call, self.plain(work)), methods=[method])
        completion = self.guarded("completion", self._complete)
        api.add_url_rule("/create-chat-completion", "completion", completion, methods=["POST"])
        return api

    def refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        return answer({"status": "error", "message": message}, status, headers)

    def _complete(self, strike: Striker) -> Response:
        given = body()
        return self.completed(strike, self.chat(given.get("chat_id")), given.get("content"))

    def _create(self) -> Response:
        given = body()
        if given.get("agent_id") != self.agent_id:
            raise Refusal(422, UNKNOWN_ASSET)
        variables = check_variables(self.settings, given.get("retell_llm_dynamic_variables") or {})
        version = given.get("agent_version", 0)
        chat = self.agent.create(self.agent_id, version, given.get("metadata"), variables)
        return answer(self.agent.show(chat), 201)

    def _get(self, chat_id: str) -> Response:
        return answer(self.agent.show(self.chat(chat_id)), 200)

    def _end(self, chat_id: str) -> Response:
        self.agent.end(self.chat(chat_id), "bridge")
        return Response(status=204)

    def _delete(self, chat_id: str) -> Response:
        self.agent.delete(self.chat(chat_id))
        return Response(status=204)

    def _update(self, chat_id: str) -> Response:
        chat, changes = self.chat(chat_id), body()
        if unknown := set(changes) - _UPDATABLE:
            raise Refusal(400, f"unknown field {', '.join(sorted(unknown))}")
        self.agent.update(chat, changes)
        return answer(self.agent.show(chat), 200)

    def _listed(self, chat: Chat) -> dict[str, Any]:
        shown = self.agent.show(chat, transcript=False)
        return shown if self.settings.lists_metadata else {k: v for k, v in shown.items() if k != "metadata"}

    def _list(self) -> Response:
        given = body()
        criteria = given.get("filter_criteria") or {}
        found = [chat for chat in self.chats() if _matches(chat, criteria)]
        if given.get("sort_order", "descending") == "descending":
            found.reverse()
        start = _start(found, given)
        page = found[start : start + min(int(given.get("limit", 50)), _MOST_CHATS)]
        more = start + len(page) < len(found)
        shown: dict[str, Any] = {
            "items": [self._listed(chat) for chat in page],
            "has_more": more,
        }
        if more:
            shown["pagination_key"] = page[-1].id
        if given.get("include_total"):
            shown["total"] = len(found)
        return answer(shown, 200)


def _start(found: list[Chat], body: dict[str, Any]) -> int:
    key = body.get("pagination_key")
    if key is None:
        return int(body.get("skip", 0))
    if "skip" in body:
        raise Refusal(400, "skip and pagination_key can't be used together")
    return next((i + 1 for i, chat in enumerate(found) if chat.id == key), len(found))


def _matches(chat: Chat, criteria: dict[str, Any]) -> bool:
    agents = criteria.get("agent")
    return (
        (not agents or any(a.get("agent_id") == chat.agent_id for a in agents))
        and _passes(criteria.get("chat_status"), chat.status)
        and _passes(criteria.get("chat_type"), "api_chat")
        and _passes(criteria.get("chat_id"), chat.id)
        and _passes(criteria.get("start_timestamp"), chat.started * 1000)
    )


def _passes(wanted: dict[str, Any] | None, value: Any) -> bool:
    """Return whether the value passes a filter. Each filter has its type, as the SDK declares it."""
    if not wanted:
        return True
    if wanted["op"] not in _OPS.get(wanted.get("type", ""), ()):
        raise Refusal(400, f"a filter of type {wanted.get('type')} has no op {wanted['op']}")
    if wanted["op"] == "in":
        return value in wanted["value"]
    if wanted["op"] == "bt":
        low, high = wanted["value"]
        return bool(low <= value <= high)
    return _COMPARE[wanted["op"]](value, wanted["value"])
