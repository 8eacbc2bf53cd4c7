"""What a simulated Twilio account and a simulated Retell agent are told at the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Watch = Callable[[], list[dict[str, Any]]]
"""What the bridge does, newest first: dicts of ``time`` (ISO), ``phone``, ``kind``, ``state`` and ``detail``."""


@dataclass(frozen=True)
class SimulatorSettings:
    """One account with its numbers, one agent, and how they behave."""

    account_sid: str = "AC" + "0" * 32
    auth_token: str = "simulated_auth_token"  # noqa: S105 - opens nothing
    api_key: str | None = None
    """``SK…``: accepted for sending beside the token."""
    api_secret: str | None = None
    number: str = "+15550001111"
    more_numbers: tuple[str, ...] = ()
    messaging_service_sid: str | None = None
    advanced_opt_out: bool = False
    """Say ``OptOutType`` in the webhook, as Twilio does where that product is on."""
    whatsapp_opt_out: bool = False
    """Let it take STOP, START and HELP on WhatsApp too; nobody does else."""
    rcs_sender: str = "rcs:harbour_table_agent"
    """Our address for people who write by RCS; those of WhatsApp are our numbers."""
    sticky_sender: bool = True
    """A messaging service goes on using the number that a person knows."""
    window_seconds: float = 86_400.0
    """How long after a person's last text WhatsApp lets us speak freely."""
    window_refused_at_once: bool = False
    """Refuse what comes after that (63016) as the send's answer; else it is taken, and fails."""
    redacts: bool = False
    """Message redaction: the API shows of no text what it says. Webhooks and phones get it all the same."""
    smart_encoding: bool = False
    """Swap the typography of every text, and show in lists what came of it."""
    respells: bool = False
    """Know phones of Mexico, Brazil and Argentina by their other spelling, in lists and in callbacks."""
    queue_seconds: float = 0.0
    """Every text waits so long for its turn. One whose validity period is shorter fails instead (30036)."""
    webhook_url: str | None = None
    """Where texts are announced; may carry connection overrides in its fragment. ``None``: nobody is told."""

    retell_api_key: str = "key_simulated"
    agent_id: str = "agent_simulated"
    events_url: str | None = None
    """Where the agent announces ``chat_started``, ``chat_ended`` and ``chat_analyzed``. ``None``: nobody is told."""
    silence_seconds: float = 3600.0
    """A chat ends by itself after this silence of the person."""
    greeting: str = ""
    """Stands in a new chat before the person has said anything; empty: the agent waits."""
    thinking_seconds: float = 0.0
    """Every answer takes this long."""
    reject_reserved_variables: bool = False
    """Refuse a chat whose variables set ``user_number`` or ``agent_number``."""
    echo: bool = False
    """For load: the agent answers every line by ``re: <line>`` in place of the receptionist's talk."""
    n_answers: int = 1
    """How many messages an echo makes of one line."""

    callback_seconds: float = 0.02
    """Between two status callbacks of one text."""
    webhook_threads: int = 32
    """How many webhooks and callbacks are under way at once."""
    seed: int = 1
    """The faults that strike sometimes do it in the same order for the same seed."""
    watch: Watch | None = None
    clock: Callable[[], float] = time.time

    @property
    def numbers(self) -> tuple[str, ...]:
        return (self.number, *self.more_numbers)
