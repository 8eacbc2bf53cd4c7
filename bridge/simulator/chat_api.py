"""The common part of the simulated chat APIs: the key, the faults around a call, and a turn.

Each API has its own routes, its own JSON and its own envelope for refusals. All of them serve one agent, and none shows
the chats of another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from flask import Response, request

from bridge.simulator import receptionist
from bridge.simulator.agent import HANDOFFS, Agent, Chat, Ended, Handoff, WithHuman
from bridge.simulator.changes import Changes
from bridge.simulator.faults import POISON, Faults
from bridge.simulator.receptionist import Item
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.transport import Striker, answer, cut, dawdle, striker, web_page

UNKNOWN_ASSET = "Cannot find requested asset under given api key."

_RESERVED = {"user_number", "agent_number"}
TRANSFERRED = "This conversation has been transferred."
_BROKEN = "An unexpected server error occurred."


class Refusal(Exception):
    """The call is refused with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ChatApi(ABC):
    """The calls that are the same at every provider."""

    key: str
    """The key that is accepted."""
    agent_id: str
    """The only agent. Its chats are the only ones that this API shows."""
    unknown_status = 422
    ended_status = 400

    def __init__(self, settings: SimulatorSettings, agent: Agent, faults: Faults, changes: Changes) -> None:
        self.settings = settings
        self.agent = agent
        self._faults = faults
        self._changes = changes

    @abstractmethod
    def refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        """Return a refusal in the provider's envelope."""

    def shown(self, items: list[Item]) -> list[Item]:
        """Return the items of a chat as the provider shows them."""
        return items

    def guarded(self, call: str, work: Callable[..., Response]) -> Callable[..., Response]:
        """Check the key, play the early faults, and turn a refusal into a response."""

        def view(**path: str) -> Response:
            strike = striker(self._faults, call, self.settings.clock)
            try:
                return self._early_fault(strike) or work(strike, **path)
            except Refusal as refusal:
                return self.refusal(refusal.status, str(refusal))
            except Ended:
                return self.refusal(self.ended_status, "Chat already ended")
            except WithHuman:
                return self.refusal(400, TRANSFERRED)

        return view

    def plain(self, work: Callable[..., Response]) -> Callable[..., Response]:
        """Serve a call without a turn. Its answer may get lost after the work is done."""

        def with_late_faults(strike: Striker, **path: str) -> Response:
            dawdle(strike("agent_slow"), self._changes)
            chat = self.agent.get(path.get("chat_id", ""))
            self._hand_back(strike, chat)
            done = work(**path)
            lost = self._late_fault(strike)
            if chat and not lost:
                self.agent.is_seen(chat)
            return lost or done

        return with_late_faults

    def completed(self, strike: Striker, chat: Chat, content: object) -> Response:
        """Let the agent receive a turn, and return its answer."""
        if not isinstance(content, str) or not content.strip():
            raise Refusal(400, "content must be a non-empty string")
        self._play_poison(strike, chat, content)
        if strike("agent_chat_ended") and chat.ended is None:
            self.agent.end(chat, "fault")
        self._hand_back(strike, chat)
        handoff, seconds = self._handoff(strike, chat)
        if handoff and not handoff.says:
            self.agent.hand_over(chat, handoff.status, seconds)
        turn = self.agent.receive(chat, content)
        self._changes.pause(self.settings.thinking_seconds)
        dawdle(strike("agent_slow"), self._changes)
        silent = receptionist.say_nothing if strike("agent_silent") else None
        items = self.agent.answer(turn, (handoff and handoff.says) or silent)
        if handoff:
            self.agent.hand_over(chat, handoff.status, seconds)
        lost = self._late_fault(strike)
        if handoff and handoff.is_told and not lost:
            self.agent.is_seen(chat)
        return lost or answer({"messages": self.shown(items)}, 201)

    def _handoff(self, strike: Striker, chat: Chat) -> tuple[Handoff | None, float]:
        """Return how the agent hands over in this turn, and for how many seconds. It can't where a human has it."""
        for name, handoff in HANDOFFS.items() if not chat.with_human and chat.ended is None else ():
            if struck := strike(name):
                return handoff, struck.options["seconds"]
        return None, 0.0

    def _hand_back(self, strike: Striker, chat: Chat | None) -> None:
        if chat and chat.with_human and strike("agent_hands_back"):
            self.agent.hand_back(chat)

    def chat(self, chat_id: object) -> Chat:
        chat = self.agent.get(chat_id) if isinstance(chat_id, str) else None
        if chat is None or chat.agent_id != self.agent_id:
            raise Refusal(self.unknown_status, UNKNOWN_ASSET)
        return chat

    def chats(self) -> list[Chat]:
        """Return the chats that the list of this API shows, oldest first."""
        shown_from = self.settings.clock() - self.settings.listed_after
        return [chat for chat in self.agent.chats() if chat.agent_id == self.agent_id and chat.started <= shown_from]

    def _early_fault(self, strike: Striker) -> Response | None:
        given = request.headers.get("Authorization", "").encode()
        if not compare_digest(given, f"Bearer {self.key}".encode()) or strike("agent_401"):
            return self.refusal(401, "API key is missing or invalid.")
        if limit := strike("agent_429"):
            return self.refusal(429, "Account rate limited.", {"Retry-After": f"{limit.options['retry_after']:g}"})
        if strike("agent_500"):
            return self.refusal(500, _BROKEN)
        if strike("agent_cut_before"):
            return cut()
        return None

    def _late_fault(self, strike: Striker) -> Response | None:
        if strike("agent_500_after"):
            return self.refusal(500, _BROKEN)
        if strike("agent_cut"):
            return cut()
        return web_page() if strike("agent_garbage") else None

    def _play_poison(self, strike: Striker, chat: Chat, content: str) -> None:
        text = POISON in content.casefold() and strike("agent_poisoned_text")
        chat.poisoned = chat.poisoned or bool(strike("agent_poisoned_chat"))
        if text:
            self.agent.fail(chat, content)
        if text or chat.poisoned:
            raise Refusal(500, _BROKEN)


def body() -> dict[str, Any]:
    """Return the JSON object of the request."""
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        raise Refusal(400, "the body must be a JSON object")
    return given


def check_variables(settings: SimulatorSettings, variables: object) -> dict[str, str]:
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise Refusal(400, "dynamic variables must be key value pairs of string")
    if settings.reject_reserved_variables and _RESERVED & set(variables):
        raise Refusal(400, "user_number and agent_number are reserved")
    return variables
