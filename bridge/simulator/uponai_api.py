"""UponAI's chat API: documented calls and shapes, and the likeliest of what is not documented.

``agent`` carries out the calls. Answers are in camel case, and messages have neither ids nor times. No error is
documented; the statuses and the envelope here are inventions, and the settings change some of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from bridge.simulator.agent import Agent, Chat
from bridge.simulator.changes import Changes
from bridge.simulator.chat_api import ChatApi, Refusal, body, check_variables
from bridge.simulator.faults import Faults
from bridge.simulator.receptionist import Item
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import Striker, answer

_MOST_CHATS = 1000
_CREATE = {"workspaceId", "agent_id", "metadata", "uponai_dynamic_variables"}
_COMPLETE = {"workspaceId", "content"}
_UPDATE = {"workspaceId", "metadata", "custom_attributes", "override_dynamic_variables"}
_END = {"workspaceId"}
_ROLES = {"agent": "assistant", "user": "user", "tool_call_invocation": "assistant"}
"""The documented roles. Items of all others are dropped."""


class UponAIApi(ChatApi):
    """The routes below ``/api/chats``."""

    unknown_status = 404

    def __init__(self, settings: SimulatorSettings, agent: Agent, faults: Faults, changes: Changes) -> None:
        super().__init__(settings, agent, faults, changes)
        self.key = settings.uponai_api_key
        self.agent_id = settings.uponai_agent_id
        self.ended_status = settings.uponai_ended_status

    def blueprint(self) -> Blueprint:
        api = Blueprint("uponai", __name__, url_prefix="/api/chats")
        for rule, method, call, work in (
            ("", "POST", "create", self._create),
            ("", "GET", "list", self._list),
            ("/<chat_id>", "GET", "get", self._get),
            ("/<chat_id>", "PATCH", "update", self._update),
            ("/<chat_id>/end", "POST", "end", self._end),
        ):
            api.add_url_rule(rule, call, self.guarded(call, self.plain(work)), methods=[method])
        completion = self.guarded("completion", self._complete)
        api.add_url_rule("/<chat_id>/completions", "completion", completion, methods=["POST"])
        return api

    def refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        return answer({"statusCode": status, "error": {"message": message}}, status, headers)

    def shown(self, items: list[Item]) -> list[Item]:
        if self.settings.uponai_passes_roles_on:
            return [_without_id(item) for item in items]
        return [_documented(item) for item in items if item["role"] in _ROLES]

    def _complete(self, strike: Striker, chat_id: str) -> Response:
        given = self._body(_COMPLETE)
        return self.completed(strike, self.chat(chat_id), given.get("content"))

    def _create(self) -> Response:
        given = self._body(_CREATE)
        if given.get("agent_id") != self.agent_id:
            raise Refusal(404, "agent not found")
        variables = check_variables(self.settings, given.get("uponai_dynamic_variables") or {})
        chat = self.agent.create(self.agent_id, 0, given.get("metadata"), variables)
        return answer(self._resource(chat), 201)

    def _get(self, chat_id: str) -> Response:
        self._check_workspace(request.args.get("workspaceId"))
        return answer(self._resource(self.chat(chat_id)), 200)

    def _end(self, chat_id: str) -> Response:
        self._body(_END)
        self.agent.end(self.chat(chat_id), "bridge")
        return Response(status=204)

    def _update(self, chat_id: str) -> Response:
        changes = self._body(_UPDATE)
        chat = self.chat(chat_id)
        self.agent.update(chat, changes)
        return answer(self._resource(chat), 200)

    def _list(self) -> Response:
        self._check_workspace(request.args.get("workspaceId"))
        found = self.chats()
        if request.args.get("sortOrder", "descending") == "descending":
            found.reverse()
        key, limit = request.args.get("paginationKey"), request.args.get("limit", _MOST_CHATS, int)
        start = next((i + 1 for i, chat in enumerate(found) if chat.id == key), len(found)) if key else 0
        page = found[start : start + min(limit, _MOST_CHATS)]
        more = start + len(page) < len(found)
        shown = [self._resource(chat) for chat in page]
        return answer({"data": shown, "pagination_key": page[-1].id if more else None}, 200)

    def _body(self, known: set[str]) -> dict[str, Any]:
        given = body()
        if unknown := given.keys() - known:
            raise Refusal(400, f"unknown field {', '.join(sorted(unknown))}")
        if not isinstance(given.get("workspaceId"), int):
            raise Refusal(400, "workspaceId must be an integer")
        self._check_workspace(str(given["workspaceId"]))
        return given

    def _check_workspace(self, given: str | None) -> None:
        if given != str(self.settings.uponai_workspace_id):
            raise Refusal(403, "the token may not use this workspace")

    def _resource(self, chat: Chat) -> dict[str, Any]:
        known = self.agent.show(chat)
        items = self.shown(known["message_with_tool_calls"])
        newest = self.settings.uponai_messages_shown
        return {
            "chatId": chat.id,
            "agentId": chat.agent_id,
            "version": 0,
            "status": known["chat_status"],
            **({"isEscalated": True} if known.get("is_escalated") else {}),
            "type": "web_chat",
            "metadata": chat.metadata,
            "customAttributes": chat.attributes,
            "startedAt": _moment(chat.started),
            "endedAt": _moment(chat.ended),
            "transcript": known["transcript"] or None,
            "messages": items if newest is None else items[max(0, len(items) - newest) :],
            "chatCost": None,
            "chatAnalysis": None,
            "collectedDynamicVariables": {},
            "uponai_dynamic_variables": chat.variables,
            "overrideDynamicVariables": None,
        }


def _without_id(item: Item) -> Item:
    return {name: value for name, value in item.items() if name not in {"message_id", "created_timestamp"}}


def _documented(item: Item) -> Item:
    """Return the item in the documented form: a tool call is a message without words."""
    called = item["role"] == "tool_call_invocation"
    call = {"id": item.get("tool_call_id"), "type": item.get("type"), "name": item.get("name")}
    return {
        "role": _ROLES[item["role"]],
        "content": "" if called else item["content"],
        "name": None,
        "tool_calls": [{**call, "arguments": item["arguments"]}] if called else [],
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
