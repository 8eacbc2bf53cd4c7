"""Retell's chat API as the official SDK uses it. ``agent`` carries out the calls."""

from __future__ import annotations

import operator
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from flask import Blueprint, Response, request

from bridge.simulator.agent import Agent, Chat, Ended
from bridge.simulator.changes import Changes
from bridge.simulator.faults import POISON, Faults
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import Striker, answer, cut, dawdle, striker, web_page

_RESERVED = {"user_number", "agent_number"}
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


class Refusal(Exception):
    """The call is refused with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RetellApi:
    """The routes below the agent's base address."""

    def __init__(self, settings: SimulatorSettings, agent: Agent, faults: Faults, changes: Changes) -> None:
        self._settings = settings
        self._agent = agent
        self._faults = faults
        self._changes = changes

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
            api.add_url_rule(rule, call, self._guarded(call, self._plain(work)), methods=[method])
        completion = self._guarded("completion", self._complete)
        api.add_url_rule("/create-chat-completion", "completion", completion, methods=["POST"])
        return api

    def _guarded(self, call: str, work: Callable[..., Response]) -> Callable[..., Response]:
        """Check the key, play the early faults, and turn a refusal into a response."""

        def view(**path: str) -> Response:
            strike = striker(self._faults, call, self._settings.clock)
            try:
                return self._early_fault(strike) or work(strike, **path)
            except Refusal as refusal:
                return _refusal(refusal.status, str(refusal))
            except Ended:
                return _refusal(400, "Chat already ended")

        return view

    def _plain(self, work: Callable[..., Response]) -> Callable[..., Response]:
        """Serve a call without a turn. Its answer may get lost after the work is done."""

        def with_late_faults(strike: Striker, **path: str) -> Response:
            dawdle(strike("agent_slow"), self._changes)
            done = work(**path)
            return _late_fault(strike) or done

        return with_late_faults

    def _early_fault(self, strike: Striker) -> Response | None:
        given = request.headers.get("Authorization", "").encode()
        if not compare_digest(given, f"Bearer {self._settings.retell_api_key}".encode()) or strike("agent_401"):
            return _refusal(401, "API key is missing or invalid.")
        if limit := strike("agent_429"):
            return _refusal(429, "Account rate limited.", {"Retry-After": f"{limit.options['retry_after']:g}"})
        if strike("agent_500"):
            return _refusal(500, "An unexpected server error occurred.")
        if strike("agent_cut_before"):
            return cut()
        return None

    def _complete(self, strike: Striker) -> Response:
        body = _body()
        chat, content = self._chat(body.get("chat_id")), body.get("content")
        if not isinstance(content, str) or not content.strip():
            raise Refusal(400, "content must be a non-empty string")
        self._play_poison(strike, chat, content)
        if strike("agent_chat_ended") and chat.ended is None:
            self._agent.end(chat, "fault")
        turn = self._agent.receive(chat, content)
        self._changes.pause(self._settings.thinking_seconds)
        dawdle(strike("agent_slow"), self._changes)
        items = self._agent.answer(turn)
        return _late_fault(strike) or answer({"messages": items}, 201)

    def _play_poison(self, strike: Striker, chat: Chat, content: str) -> None:
        text = POISON in content.casefold() and strike("agent_poisoned_text")
        chat.poisoned = chat.poisoned or bool(strike("agent_poisoned_chat"))
        if text:
            self._agent.fail(chat, content)
        if text or chat.poisoned:
            raise Refusal(500, "An unexpected server error occurred.")

    def _create(self) -> Response:
        body = _body()
        if body.get("agent_id") != self._settings.agent_id:
            raise Refusal(422, "Cannot find requested asset under given api key.")
        variables = body.get("retell_llm_dynamic_variables") or {}
        self._check_variables(variables)
        version = body.get("agent_version", 0)
        chat = self._agent.create(body["agent_id"], version, body.get("metadata"), variables)
        return answer(self._agent.show(chat), 201)

    def _get(self, chat_id: str) -> Response:
        return answer(self._agent.show(self._chat(chat_id)), 200)

    def _end(self, chat_id: str) -> Response:
        self._agent.end(self._chat(chat_id), "bridge")
        return Response(status=204)

    def _delete(self, chat_id: str) -> Response:
        self._agent.delete(self._chat(chat_id))
        return Response(status=204)

    def _update(self, chat_id: str) -> Response:
        chat, changes = self._chat(chat_id), _body()
        if unknown := set(changes) - _UPDATABLE:
            raise Refusal(400, f"unknown field {', '.join(sorted(unknown))}")
        self._agent.update(chat, changes)
        return answer(self._agent.show(chat), 200)

    def _list(self) -> Response:
        body = _body()
        criteria = body.get("filter_criteria") or {}
        found = [chat for chat in self._agent.chats() if _matches(chat, criteria)]
        if body.get("sort_order", "descending") == "descending":
            found.reverse()
        start = _start(found, body)
        page = found[start : start + min(int(body.get("limit", 50)), _MOST_CHATS)]
        more = start + len(page) < len(found)
        shown: dict[str, Any] = {
            "items": [self._agent.show(chat, transcript=False) for chat in page],
            "has_more": more,
        }
        if more:
            shown["pagination_key"] = page[-1].id
        if body.get("include_total"):
            shown["total"] = len(found)
        return answer(shown, 200)

    def _chat(self, chat_id: object) -> Chat:
        chat = self._agent.get(chat_id) if isinstance(chat_id, str) else None
        if chat is None:
            raise Refusal(422, "Cannot find requested asset under given api key.")
        return chat

    def _check_variables(self, variables: object) -> None:
        if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
            raise Refusal(400, "retell_llm_dynamic_variables must be key value pairs of string")
        if self._settings.reject_reserved_variables and _RESERVED & set(variables):
            raise Refusal(400, "user_number and agent_number are reserved")


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object")
    return body


def _late_fault(strike: Striker) -> Response | None:
    if strike("agent_500_after"):
        return _refusal(500, "An unexpected server error occurred.")
    if strike("agent_cut"):
        return cut()
    return web_page() if strike("agent_garbage") else None


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"status": "error", "message": message}, status, headers)


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
    if not wanted:
        return True
    if wanted["op"] == "in":
        return value in wanted["value"]
    if wanted["op"] == "bt":
        low, high = wanted["value"]
        return bool(low <= value <= high)
    if wanted["op"] not in _COMPARE:
        raise Refusal(400, f"unknown op {wanted['op']}")
    return _COMPARE[wanted["op"]](value, wanted["value"])
