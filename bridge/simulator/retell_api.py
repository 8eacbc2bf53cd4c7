"""Retell's chat API as the official SDK uses it. ``agent`` carries out the calls."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from bridge.simulator.agent import Agent, Chat
from bridge.simulator.changes import Changes
from bridge.simulator.chat_api import UNKNOWN_ASSET, ChatApi, Refusal, body, check_variables
from bridge.simulator.contacts import CHANGEABLE, Contacts
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

    def __init__(
        self, settings: SimulatorSettings, agent: Agent, contacts: Contacts, faults: Faults, changes: Changes
    ) -> None:
        super().__init__(settings, agent, faults, changes)
        self.key = settings.retell_api_key
        self.agent_id = settings.agent_id
        self._contacts = contacts

    def blueprint(self) -> Blueprint:
        api = Blueprint("retell", __name__)
        for rule, method, call, work in (
            ("/create-chat", "POST", "create", self._create),
            ("/get-chat/<chat_id>", "GET", "get", self._get),
            ("/v3/list-chats", "POST", "list", self._list),
            ("/update-chat/<chat_id>", "PATCH", "update", self._update),
            ("/end-chat/<chat_id>", "PATCH", "end", self._end),
            ("/delete-chat/<chat_id>", "DELETE", "delete", self._delete),
            ("/agent-playground-completion/<agent_id>", "POST", "playground", self._playground),
            ("/get-contact-by-phone/<phone>", "GET", "contact_get", self._get_contact),
            ("/get-api-key-info", "GET", "key_info", self._key_info),
            ("/get-chat-agent/<agent_id>", "GET", "chat_agent", self._chat_agent),
            ("/get-agent/<agent_id>", "GET", "voice_agent", self._voice_agent),
            ("/create-contact", "POST", "contact_create", self._create_contact),
            ("/update-contact/<contact_id>", "PATCH", "contact_update", self._update_contact),
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

    def _playground(self, agent_id: str) -> Response:
        """Answer the whole history. Nothing is kept."""
        given = body()
        if agent_id != self.agent_id:
            raise Refusal(422, UNKNOWN_ASSET)
        variables = check_variables(self.settings, given.get("dynamic_variables") or {})
        messages = given.get("messages")
        if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
            raise Refusal(400, "messages must be an array of messages")
        return answer({"messages": self.agent.rehearse(messages, variables)}, 201)

    def _key_info(self) -> Response:
        return answer({"org_id": "org_simulated", "org_name": "Harbour Table", "api_key_name": "bridge"}, 200)

    def _chat_agent(self, agent_id: str) -> Response:
        its = self.settings
        version = request.args.get("version")
        unpublished = version == "latest_published" and not its.agent_published
        unknown = version is not None and version not in {"0", "latest", "latest_published"}
        if agent_id != self.agent_id or its.agent_is_voice or unpublished or unknown:
            raise Refusal(422, UNKNOWN_ASSET)
        shown = {
            "agent_id": agent_id,
            "version": its.agent_version,
            "is_published": its.agent_published,
            "last_modification_timestamp": 0,
            "response_engine": {"type": "retell-llm", "llm_id": "llm_simulated"},
            "end_chat_after_silence_ms": int(its.silence_seconds * 1000),
            "data_storage_setting": its.agent_stores,
        }
        return answer(shown, 200)

    def _voice_agent(self, agent_id: str) -> Response:
        if agent_id != self.agent_id or not self.settings.agent_is_voice:
            raise Refusal(422, UNKNOWN_ASSET)
        return answer({"agent_id": agent_id, "version": 0, "is_published": True}, 200)

    def _get_contact(self, phone: str) -> Response:
        contact = self._contacts.find(phone)
        if contact is None:
            raise Refusal(404, "contact not found")
        return answer(contact, 200)

    def _create_contact(self) -> Response:
        given = body()
        phone = given.pop("phone_number", None)
        if not isinstance(phone, str) or not re.fullmatch(r"\+[1-9][0-9]{6,14}", phone):
            raise Refusal(400, "phone_number must be in E.164 format")
        contact = self._contacts.create(phone, _contact_fields(given))
        if contact is None:
            raise Refusal(400, "a contact with this phone number exists already")
        return answer(contact, 201)

    def _update_contact(self, contact_id: str) -> Response:
        contact = self._contacts.update(contact_id, _contact_fields(body()))
        if contact is None:
            raise Refusal(404, "contact not found")
        return answer(contact, 200)

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


def _contact_fields(given: dict[str, Any]) -> dict[str, Any]:
    if unknown := given.keys() - CHANGEABLE:
        raise Refusal(400, f"unknown field {', '.join(sorted(unknown))}")
    if not isinstance(given.get("do_not_call", False), bool):
        raise Refusal(400, "do_not_call must be a boolean")
    return given


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
