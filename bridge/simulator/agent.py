"""The memory of the simulated agent: its chats, the turns that it received, and its answers.

``retell_api`` and ``uponai_api`` serve it. ``receptionist`` makes its answers.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.simulator import receptionist
from bridge.simulator.changes import Changes
from bridge.simulator.ledger import (
    ChatClosed,
    ChatOpened,
    ClosingWords,
    Greeted,
    HandedBack,
    HandedOver,
    Ledger,
    Poisoned,
    Received,
    Replied,
    Wrong,
)
from bridge.simulator.receptionist import Item
from bridge.simulator.settings import SimulatorSettings

_PHONE_NAMES = ("sms_user_number", "user_number", "phone", "user")
"""The places where a bridge may note the person of a chat: in the dynamic variables, else in the metadata."""


BESIDE_HUMAN = "beside_human"
"""The name of the wrong: the agent is asked although the bridge has been shown that a human has the chat."""


class Ended(Exception):
    """The chat takes no more messages."""


class WithHuman(Exception):
    """A human has the chat."""


@dataclass(frozen=True)
class Handoff:
    """How the agent hands a chat to a human."""

    says: Callable[[receptionist.State], receptionist.Reply] | None = None
    """Its answer to the turn. ``None``: the human gets the chat before the turn."""
    status: str = ""

    @property
    def is_told(self) -> bool:
        """The answer shows the handoff."""
        return self.says not in (None, receptionist.say_nothing)


HANDOFFS = {
    "agent_hands_over": Handoff(lambda state: receptionist.hand_over(state, in_words=True)),
    "agent_hands_over_in_call": Handoff(lambda state: receptionist.hand_over(state, in_words=False)),
    "agent_hands_over_silently": Handoff(receptionist.say_nothing),
    "agent_status_unknown": Handoff(status="transferred"),
}


@dataclass
class Chat:
    """One chat. It changes only under the agent's lock."""

    id: str
    agent_id: str
    version: int | str
    metadata: Any
    variables: dict[str, str]
    started: float
    phone: str
    quiet_since: float
    items: list[Item] = field(default_factory=list)
    ended: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    state: receptionist.State = field(default_factory=receptionist.State)
    open_turns: int = 0
    poisoned: bool = False
    """Every turn in it fails, and the agent does not receive it."""
    with_human: bool = False
    """A human has it. It refuses messages, in words that no document has."""
    human_status: str = ""
    """Its status meanwhile. Empty: ``ongoing``, with a flag."""
    back_at: float | None = None
    """When the human gives it back. ``None``: not by themselves."""
    seen_with_human: bool = False
    """The bridge has been shown that a human has it."""

    @property
    def status(self) -> str:
        if self.ended is not None:
            return "ended"
        return (self.with_human and self.human_status) or "ongoing"

    def resource(self, *, transcript: bool = True) -> dict[str, Any]:
        """Return the JSON that Retell shows of it. A list leaves the transcript out."""
        shown: dict[str, Any] = {
            "chat_id": self.id,
            "agent_id": self.agent_id,
            "version": self.version if isinstance(self.version, int) else 0,
            "chat_status": self.status,
            "chat_type": "api_chat",
            "start_timestamp": _ms(self.started),
            "custom_attributes": self.attributes,
            "chat_cost": {"combined_cost": 0, "product_costs": []},
        }
        if self.with_human and not self.human_status:
            shown["is_escalated"] = True
        if self.metadata is not None:
            shown["metadata"] = self.metadata
        if self.variables:
            shown["retell_llm_dynamic_variables"] = self.variables
        if self.ended is not None:
            shown |= {"end_timestamp": _ms(self.ended), "collected_dynamic_variables": {}}
            shown["chat_analysis"] = self._analysis()
        if transcript:
            shown |= {"transcript": self._transcript(), "message_with_tool_calls": list(self.items)}
        return shown

    def _analysis(self) -> dict[str, Any]:
        asked = sum(item["role"] == "user" for item in self.items)
        summary = f"Messages of the person: {asked}."
        return {"chat_summary": summary, "user_sentiment": "Neutral", "chat_successful": True}

    def _transcript(self) -> str:
        replied_to = [item for item in self.items if item["role"] in {"user", "agent"}]
        return "\n".join(f"{item['role'].capitalize()}: {item['content']}" for item in replied_to)


@dataclass(frozen=True)
class Turn:
    """A completion that the agent has received and not answered yet."""

    chat: Chat
    content: str


class Agent:
    """The agent. It receives turns and answers them. Thread-safe."""

    def __init__(self, settings: SimulatorSettings, ledger: Ledger, changes: Changes) -> None:
        self._settings = settings
        self._ledger = ledger
        self._changes = changes
        self._lock = threading.RLock()
        self._chats: dict[str, Chat] = {}
        self.on_event: Callable[[str, Chat], None] = lambda event, chat: None
        """Called with ``chat_started``, ``chat_ended`` and ``chat_analyzed``."""
        self.on_received: Callable[[str, str], None] = lambda phone, content: None
        """Called with every turn that the agent receives."""

    def received(self, phone: str | None = None) -> list[str]:
        """Return the contents that the agent received, in order, from one person or from all."""
        return [event.content for event in self._ledger.of(Received) if phone in {None, event.phone}]

    def thinking(self) -> set[str]:
        """Return the people whose turn is in progress."""
        with self._lock:
            return {chat.phone for chat in self._chats.values() if chat.open_turns}

    def create(self, agent_id: str, version: int | str, metadata: Any, variables: dict[str, str]) -> Chat:
        now = self._settings.clock()
        phone = _phone(variables, metadata)
        chat = Chat("chat_" + uuid.uuid4().hex, agent_id, version, metadata, variables, now, phone, now)
        with self._lock:
            beside = [each.id for each in self._chats.values() if each.seen_with_human and _same_person(each, chat)]
            self._chats[chat.id] = chat
            if self._settings.greeting:
                self._add(chat, "agent", self._settings.greeting)
        for each in beside:
            self._ledger.write(Wrong(at=now, name=BESIDE_HUMAN, phone=phone, detail=f"a new chat beside {each}"))
        self._ledger.write(ChatOpened(at=now, chat=chat.id, phone=phone, turn=_turn(metadata)))
        if self._settings.greeting:
            self._ledger.write(Greeted(at=now, chat=chat.id, phone=phone, content=self._settings.greeting))
        self.on_event("chat_started", chat)
        return chat

    def get(self, chat_id: str) -> Chat | None:
        with self._lock:
            chat = self._chats.get(chat_id)
            if chat:
                self._take_back_in_time(chat)
                self._close_if_quiet(chat)
            return chat

    def show(self, chat: Chat, *, transcript: bool = True) -> dict[str, Any]:
        with self._lock:
            return chat.resource(transcript=transcript)

    def receive(self, chat: Chat, content: str) -> Turn:
        """Receive a completion. Its user item is in the chat from now on."""
        now = self._settings.clock()
        with self._lock:
            if chat.ended is not None:
                raise Ended
            if chat.with_human:
                self._refuse(chat)
            self._add(chat, "user", content)
            parallel = chat.open_turns > 0
            chat.open_turns += 1
            self._ledger.write(Received(at=now, chat=chat.id, phone=chat.phone, content=content))
        if parallel:
            self._ledger.write(Wrong(at=now, name="parallel", phone=chat.phone, detail=chat.id))
        self.on_received(chat.phone, content)
        return Turn(chat, content)

    def hand_over(self, chat: Chat, status: str = "", seconds: float = 0.0) -> None:
        """Give the chat to a human. ``status``: its status meanwhile, in place of a flag. ``seconds``: for so long."""
        now = self._settings.clock()
        with self._lock:
            if chat.with_human or chat.ended is not None:
                return
            chat.with_human, chat.human_status, chat.seen_with_human = True, status, False
            chat.back_at = now + seconds if seconds else None
        self._ledger.write(HandedOver(at=now, chat=chat.id, phone=chat.phone))
        self.on_event("chat_transferred", chat)

    def hand_back(self, chat: Chat) -> None:
        with self._lock:
            if not chat.with_human:
                return
            chat.with_human = chat.seen_with_human = False
            chat.quiet_since = self._settings.clock()
        self._ledger.write(HandedBack(at=self._settings.clock(), chat=chat.id, phone=chat.phone))

    def is_seen(self, chat: Chat) -> None:
        """Record that the bridge has been shown the chat as it is."""
        with self._lock:
            chat.seen_with_human = chat.with_human

    def _refuse(self, chat: Chat) -> None:
        if chat.seen_with_human:
            self._ledger.write(
                Wrong(at=self._settings.clock(), name=BESIDE_HUMAN, phone=chat.phone, detail=f"asked in {chat.id}")
            )
        raise WithHuman

    def _take_back_in_time(self, chat: Chat) -> None:
        if chat.back_at is not None and self._settings.clock() >= chat.back_at:
            self.hand_back(chat)

    def fail(self, chat: Chat, content: str) -> None:
        """Fail because of poisoned words. The completion fails each time, and leaves nothing in the chat."""
        self._ledger.write(Poisoned(at=self._settings.clock(), chat=chat.id, phone=chat.phone, content=content))

    def answer(
        self, turn: Turn, instead: Callable[[receptionist.State], receptionist.Reply] | None = None
    ) -> list[Item]:
        """Make the answer. Its items are in the chat from now on. ``instead`` makes another one."""
        chat = turn.chat
        with self._lock:
            try:
                made, ends = self._make(chat, turn.content, instead)
                items = [self._finish(chat, item) for item in made]
                for words in _for_the_person(items):
                    self._ledger.write(
                        Replied(at=self._settings.clock(), chat=chat.id, phone=chat.phone, content=words)
                    )
            finally:
                self.leave(turn)
        if ends:
            self.end(chat, "agent")
        return items

    def rehearse(self, history: list[Item], variables: Mapping[str, str]) -> list[Item]:
        """Return the answer to this history. No chat and no ledger has it."""
        asked = [str(item.get("content", "")) for item in history if item.get("role") == "user"] or [""]
        if self._settings.echo:
            return [self._named(item) for item in receptionist.echo(asked[-1], self._settings.n_answers)]
        answer = receptionist.Reply((), receptionist.State())
        for content in asked:
            answer = receptionist.reply(answer.state, content, variables)
        return [self._named(item) for item in answer.items]

    def leave(self, turn: Turn) -> None:
        """End the turn."""
        with self._lock:
            turn.chat.open_turns -= 1
            turn.chat.quiet_since = self._settings.clock()
        self._changes.bump()

    def end(self, chat: Chat, why: str) -> None:
        """Close the chat. Raise :class:`Ended` if it is closed already."""
        with self._lock:
            if chat.ended is not None:
                raise Ended
            chat.ended = self._settings.clock()
        self._ledger.write(ChatClosed(at=chat.ended, chat=chat.id, phone=chat.phone, why=why))
        for event in ("chat_ended", "chat_analyzed"):
            self.on_event(event, chat)

    def update(self, chat: Chat, changes: Mapping[str, Any]) -> None:
        with self._lock:
            if "metadata" in changes:
                chat.metadata = changes["metadata"]
            for name, value in (changes.get("override_dynamic_variables") or {}).items():
                chat.variables = {**chat.variables, name: value}
            chat.attributes = {**chat.attributes, **(changes.get("custom_attributes") or {})}

    def delete(self, chat: Chat) -> None:
        with self._lock:
            self._chats.pop(chat.id, None)

    def chats(self) -> list[Chat]:
        """Return all chats, oldest first."""
        with self._lock:
            for chat in self._chats.values():
                self._close_if_quiet(chat)
            return list(self._chats.values())

    def _make(
        self, chat: Chat, content: str, instead: Callable[[receptionist.State], receptionist.Reply] | None
    ) -> tuple[tuple[Item, ...], bool]:
        if instead:
            answer = instead(chat.state)
            chat.state = answer.state
            return answer.items, answer.ends
        if self._settings.echo:
            return receptionist.echo(content, self._settings.n_answers), False
        answer = receptionist.reply(chat.state, content, chat.variables)
        chat.state = answer.state
        return answer.items, answer.ends

    def _close_if_quiet(self, chat: Chat) -> None:
        silence = self._settings.clock() - chat.quiet_since
        busy = chat.open_turns or chat.with_human
        if chat.ended is None and not busy and silence >= self._settings.silence_seconds:
            self._add_closing_words(chat)
            self.end(chat, "silence")

    def _add_closing_words(self, chat: Chat) -> None:
        if words := self._settings.auto_close_message:
            self._add(chat, "agent", words)
            now = self._settings.clock()
            self._ledger.write(ClosingWords(at=now, chat=chat.id, phone=chat.phone, content=words))

    def _add(self, chat: Chat, role: str, content: str) -> None:
        chat.items.append(self._named({"role": role, "content": content}))

    def _finish(self, chat: Chat, item: Item) -> Item:
        named = self._named(item)
        if "tool_call_id" in named:
            named["tool_call_id"] = f"{chat.id}_{named['tool_call_id']}"
        chat.items.append(named)
        return named

    def _named(self, item: Item) -> Item:
        created = _ms(self._settings.clock())
        return {"message_id": "message_" + uuid.uuid4().hex[:24], "created_timestamp": created, **item}


def _for_the_person(items: list[Item]) -> list[str]:
    """Return the agent's messages, and that of a handoff if it stands in the tool call alone."""
    words = [str(item["content"]) for item in items if item["role"] == "agent" and item["content"].strip()]
    handoffs = [item for item in items if item["role"] == "tool_call_invocation" and item["type"] == "escalate"]
    return words if words or not handoffs else [receptionist.HANDOFF]


def _same_person(one: Chat, other: Chat) -> bool:
    return bool(one.phone) and (one.phone, one.agent_id) == (other.phone, other.agent_id) and one.ended is None


def _turn(metadata: Any) -> str:
    return str(metadata.get("turn_id", "")) if isinstance(metadata, Mapping) else ""


def _phone(variables: Mapping[str, str], metadata: Any) -> str:
    noted = metadata if isinstance(metadata, Mapping) else {}
    for source in (variables, noted):
        for name in _PHONE_NAMES:
            if isinstance(source.get(name), str):
                return str(source[name])
    return ""


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
