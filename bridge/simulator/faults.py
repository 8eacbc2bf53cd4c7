"""The table of the faults, and the switchboard that decides when one strikes.

The fault itself happens where the call is served: in ``chat_api``, ``twilio_api``, ``dispatch``, ``postman`` and
``reporter``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.simulator.changes import Changes
from bridge.simulator.ledger import FaultStruck, Ledger


class Group(StrEnum):
    """The party that has the fault."""

    AGENT = "agent"
    CARRIER = "carrier"
    CALLBACKS = "callbacks"
    WEBHOOKS = "webhooks"


CONTACT_CALLS = ("contact_get", "contact_create", "contact_update")
ACCOUNT_CALLS = ("key_info", "chat_agent", "voice_agent")
AGENT_CALLS = (
    *("create", "completion", "get", "list", "update", "end", "delete", "playground"),
    *CONTACT_CALLS,
    *ACCOUNT_CALLS,
)
CARRIER_CALLS = ("send", "list", "get", "numbers", "set_number", "account")


@dataclass(frozen=True)
class Fault:
    """One line of the table."""

    name: str
    group: Group
    title: str
    description: str
    calls: tuple[str, ...]
    """The calls that it strikes by default."""
    options: Mapping[str, float] = field(default_factory=dict)


_COMPLETION = ("completion",)
_SEND = ("send",)
_CALLBACK = ("callback",)
_WEBHOOK = ("webhook",)

_TABLE = (
    Fault("agent_slow", Group.AGENT, "Slow agent", "Receives, then waits a while.", _COMPLETION, {"seconds": 5.0}),
    Fault("agent_500", Group.AGENT, "Agent answers 500", "Has not received the turn.", _COMPLETION),
    Fault("agent_500_after", Group.AGENT, "Agent answers 500, late", "Received, answered, then 500.", _COMPLETION),
    Fault("agent_429", Group.AGENT, "Too many requests (429)", "Asks to wait.", _COMPLETION, {"retry_after": 1.0}),
    Fault("agent_cut_before", Group.AGENT, "Agent cut off early", "Hangs up, received nothing.", _COMPLETION),
    Fault("agent_cut", Group.AGENT, "Agent cut off late", "Receives, answers, hangs up.", _COMPLETION),
    Fault("agent_chat_ended", Group.AGENT, "Chat ended", "The chat ends just before the turn.", _COMPLETION),
    Fault("agent_garbage", Group.AGENT, "Unreadable answer", "Receives, then shows a web page.", _COMPLETION),
    Fault("agent_401", Group.AGENT, "Agent account refused", "The key is not accepted.", AGENT_CALLS),
    Fault("carrier_slow", Group.CARRIER, "Slow carrier", "Takes its time before the text.", _SEND, {"seconds": 3.0}),
    Fault("carrier_500", Group.CARRIER, "Carrier answers 500", "Has not accepted the text.", _SEND),
    Fault("carrier_500_after", Group.CARRIER, "Carrier answers 500, late", "Sends it, answers 500.", _SEND),
    Fault("carrier_429", Group.CARRIER, "Too many requests (429)", "Asks to wait.", _SEND, {"retry_after": 1.0}),
    Fault("carrier_cut_before", Group.CARRIER, "Carrier cut off early", "Hangs up, accepted nothing.", _SEND),
    Fault("carrier_cut", Group.CARRIER, "Carrier cut off late", "Sends the text, hangs up.", _SEND),
    Fault("carrier_no_sid", Group.CARRIER, "Empty answer", "Sends the text, does not name it.", _SEND),
    Fault("carrier_queue_full", Group.CARRIER, "Queue full (21611)", "Can't queue the text now.", _SEND),
    Fault("carrier_401", Group.CARRIER, "Carrier account refused", "The token is not accepted.", CARRIER_CALLS),
    Fault("callbacks_lost", Group.CALLBACKS, "Status lost", "A delivery report never comes.", _CALLBACK),
    Fault("callbacks_doubled", Group.CALLBACKS, "Status twice", "A delivery report comes twice.", _CALLBACK),
    Fault("callbacks_reordered", Group.CALLBACKS, "Status out of order", "Delivered comes before sent.", _CALLBACK),
    Fault("callbacks_early", Group.CALLBACKS, "Status too early", "Comes before the send's answer.", _CALLBACK),
    Fault("callbacks_undelivered", Group.CALLBACKS, "Not delivered", "The handset can't be reached.", _CALLBACK),
    Fault("webhooks_doubled", Group.WEBHOOKS, "Text announced twice", "The same text, at the same time.", _WEBHOOK),
    Fault("webhooks_lost", Group.WEBHOOKS, "Text not announced", "It is in the list only.", _WEBHOOK),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _TABLE}
"""Faults that strike a single call, or a handset, and do not affect the next one."""

_VERDICTS = (
    Fault("carrier_code", Group.CARRIER, "Carrier refuses", "Refuses the text:", _SEND, {"code": 21614}),
    Fault("callbacks_failed", Group.CALLBACKS, "Text fails", "Accepts it, then gives up:", _CALLBACK, {"code": 30008}),
)

VERDICTS: dict[str, Fault] = {fault.name: fault for fault in _VERDICTS}
"""The carrier's verdicts with the reason of the option ``code``, mostly final. A bridge can't repair them."""

POISON = "poison"
"""The word that makes a text a poisoned one, in any case."""

_POISONS = (
    Fault("agent_poisoned_text", Group.AGENT, "Poisoned text", f'500 for texts with "{POISON}".', _COMPLETION),
    Fault("agent_poisoned_chat", Group.AGENT, "Poisoned chat", "From now on 500 in this chat.", _COMPLETION),
)

POISONS: dict[str, Fault] = {fault.name: fault for fault in _POISONS}
"""Faults that strike one text, or one chat, each time, while all others are served. A bridge may give such a text
up."""

_FOR = {"seconds": 0.0}
"""Seconds until the human hands the chat back. 0: when ``agent_hands_back`` strikes."""

_HANDOFFS = (
    Fault("agent_hands_over", Group.AGENT, "Hands over, and says so", "A human gets the chat.", _COMPLETION, _FOR),
    Fault("agent_hands_over_in_call", Group.AGENT, "… says so in a tool call", "In no message.", _COMPLETION, _FOR),
    Fault("agent_hands_over_silently", Group.AGENT, "… and says nothing", "No word, no tool call.", _COMPLETION, _FOR),
    Fault("agent_status_unknown", Group.AGENT, "Unknown status", "The chat is transferred.", _COMPLETION, _FOR),
    Fault("agent_hands_back", Group.AGENT, "Human hands back", "At the next call.", ("get", "completion")),
    Fault("agent_silent", Group.AGENT, "Silent agent", "Receives, and gives no word.", _COMPLETION),
)

HANDOFFS: dict[str, Fault] = {fault.name: fault for fault in _HANDOFFS}
"""A human gets a chat, and gives it back; or nobody says a word. Meanwhile texts wait, and nothing fails."""

_ALL = {**FAULTS, **VERDICTS, **POISONS, **HANDOFFS}


@dataclass(frozen=True)
class Strike:
    """A fault that strikes this call."""

    name: str
    options: Mapping[str, float]


@dataclass
class _Switch:
    percent: float = 0.0
    next: int = 0
    calls: tuple[str, ...] = ()
    options: dict[str, float] = field(default_factory=dict)


class Faults:
    """The switchboard. Every fault is off until it is set."""

    def __init__(self, seed: int, ledger: Ledger, changes: Changes) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._switches: dict[str, _Switch] = {}
        self._ledger = ledger
        self._changes = changes

    def set(self, name: str, percent: float = 100, calls: Collection[str] | None = None, **options: float) -> None:
        """Let the fault strike this share of the calls. 0 switches it off."""
        self._switch(name, calls, options, percent=percent)

    def next(self, name: str, n: int = 1, calls: Collection[str] | None = None, **options: float) -> None:
        """Let the fault strike the next ``n`` calls."""
        self._switch(name, calls, options, n=n)

    def clear(self, name: str | None = None) -> None:
        """Switch one fault off, or all."""
        if name is not None:
            _known(name)
        with self._lock:
            for key in [name] if name else list(self._switches):
                self._switches.pop(key, None)
        self._changes.bump()

    def strike(self, name: str, call: str, at: float) -> Strike | None:
        """Return the fault if it strikes this call, and record it."""
        if name not in self._switches:  # most are off, and every call checks many
            return None
        with self._lock:
            switch = self._switches.get(name)
            if switch is None or call not in switch.calls or not self._falls(switch):
                return None
            strike = Strike(name, dict(switch.options))
        self._ledger.write(FaultStruck(at=at, name=name, call=call))
        return strike

    def describe(self) -> list[dict[str, Any]]:
        """Return the table with the current settings."""
        with self._lock:
            return [_describe(fault, self._switches.get(fault.name)) for fault in _ALL.values()]

    def _switch(
        self, name: str, calls: Collection[str] | None, options: dict[str, float], *, percent: float = 0.0, n: int = 0
    ) -> None:
        fault = _known(name)
        if unknown := set(options) - set(fault.options):
            raise ValueError(f"{name} has no option {', '.join(sorted(unknown))}")
        numbers = {name: float(value) for name, value in options.items()}
        switch = _Switch(percent, n, tuple(calls or fault.calls), {**fault.options, **numbers})
        with self._lock:
            self._switches[name] = switch
            if not percent and not n:
                del self._switches[name]
        self._changes.bump()

    def _falls(self, switch: _Switch) -> bool:
        if switch.next > 0:
            switch.next -= 1
            return True
        return switch.percent > 0 and self._random.random() * 100 < switch.percent


def _known(name: str) -> Fault:
    if name not in _ALL:
        raise ValueError(f"no fault is called {name}; there are {', '.join(_ALL)}")
    return _ALL[name]


def _describe(fault: Fault, switch: _Switch | None) -> dict[str, Any]:
    return {
        "name": fault.name,
        "group": fault.group,
        "title": fault.title,
        "description": fault.description,
        "percent": switch.percent if switch else 0,
        "next": switch.next if switch else 0,
        "options": switch.options if switch else dict(fault.options),
    }
