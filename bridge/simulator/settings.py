"""The settings of a simulated Twilio account and of a simulated agent at Retell and at UponAI."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Watch = Callable[[], list[dict[str, Any]]]
"""The bridge's activity, newest first: dicts of ``time`` (ISO), ``phone``, ``kind``, ``state`` and ``detail``."""


@dataclass(frozen=True)
class SimulatorSettings:
    """One account with its numbers, one agent that two providers offer, and their behaviour."""

    account_sid: str = "AC" + "0" * 32
    auth_token: str = "simulated_auth_token"  # noqa: S105 - opens nothing
    api_key: str | None = None
    """``SK…``: accepted for sending besides the token."""
    api_secret: str | None = None
    account_status: str = "active"
    account_type: str = "Full"
    number: str = "+15550001111"
    more_numbers: tuple[str, ...] = ()
    messaging_service_sid: str | None = None
    service_defers: bool = True
    """The service calls the webhook of the number. Otherwise its own, which is not set."""
    campaign_status: str = "VERIFIED"
    """Of the service's campaign for texts to the US. Empty: it has none."""
    closed_countries: tuple[str, ...] = ()
    """The countries that the account may not text: two letters each."""
    advanced_opt_out: bool = False
    """Send ``OptOutType`` in the webhook, as Twilio does if that product is on."""
    whatsapp_opt_out: bool = False
    """Let it handle STOP, START and HELP on WhatsApp too. Without it, WhatsApp ignores them."""
    rcs_sender: str = "rcs:harbour_table_agent"
    """Our address for people on RCS. Our addresses on WhatsApp are our numbers."""
    sticky_sender: bool = True
    """Let a messaging service keep the number that a person knows."""
    window_seconds: float = 86_400.0
    """Seconds after a person's last text in which WhatsApp allows free text."""
    window_refused_at_once: bool = False
    """Refuse a later text (63016) in the send's answer. Otherwise it is accepted, and fails."""
    redacts: bool = False
    """Message redaction: the API hides the words of every text. Webhooks and phones still get them."""
    smart_encoding: bool = False
    """Replace the typography of every text, and show the result in lists."""
    respells: bool = False
    """Use the other spelling for phones of Mexico, Brazil and Argentina, in lists and in callbacks."""
    queue_seconds: float = 0.0
    """Seconds that every text waits in the queue. A text with a shorter validity period fails instead (30036)."""
    webhook_url: str | None = None
    """The webhook's address. Its fragment may have connection overrides. ``None``: no announcements."""

    team_secret: str = "simulated_team_secret"  # noqa: S105 - opens nothing
    """The secret of the business's server that is told who waits for a person."""

    retell_api_key: str = "key_simulated"
    agent_id: str = "agent_simulated"
    agent_is_voice: bool = False
    """The agent is a voice agent, which has no chats."""
    agent_published: bool = True
    agent_version: int = 0
    """Its newest version."""
    agent_stores: str = "everything"
    """The setting ``data_storage_setting`` of the agent."""
    uponai_api_key: str = "token_simulated"
    uponai_workspace_id: int = 42
    uponai_agent_id: str = "agent_at_uponai"
    uponai_passes_roles_on: bool = False
    """Show all roles of the provider below UponAI, such as ``agent`` and tool calls. Else the documented two."""
    uponai_messages_shown: int | None = None
    """How many of the newest messages a chat shows. ``None``: all."""
    uponai_ended_status: int = 409
    """The status with which an ended chat refuses a message."""
    uponai_webhook_key: str = "badge_simulated"
    """The key that signs UponAI's events. Retell signs with its API key."""
    events_url: str | None = None
    """Retell's address for ``chat_started``, ``chat_ended`` and ``chat_analyzed``. ``None``: no announcements."""
    uponai_events_url: str | None = None
    """UponAI's address for the same events."""
    silence_seconds: float = 3600.0
    """Seconds without a message from the person after which a chat ends."""
    auto_close_message: str = ""
    """The agent's last message in a chat that ends by silence. Empty: none."""
    greeting: str = ""
    """The first message of a new chat. Empty: the agent waits for the person."""
    listed_after: float = 0.0
    """Seconds after its beginning from which on a chat is in the list."""
    lists_metadata: bool = True
    """Show the metadata of chats in Retell's list. The transcript is never there."""
    thinking_seconds: float = 0.0
    """Seconds that every answer takes."""
    reject_reserved_variables: bool = False
    """Refuse a chat whose variables set ``user_number`` or ``agent_number``."""
    echo: bool = False
    """For load: the agent answers every line with ``re: <line>`` instead of the receptionist's words."""
    n_answers: int = 1
    """Messages for each line of an echo."""

    callback_seconds: float = 0.02
    """Seconds between two status callbacks of one text."""
    webhook_threads: int = 32
    """Webhooks and callbacks in progress at once."""
    seed: int = 1
    """With the same seed, random faults strike in the same order."""
    watch: Watch | None = None
    clock: Callable[[], float] = time.time

    def agent_at(self, provider: str, address: str) -> dict[str, str]:
        """Return the environment in which a bridge has this agent at all numbers. ``address``: of the provider."""
        return {
            "retell": {
                "RETELL_API_KEY": self.retell_api_key,
                "RETELL_AGENT_ID": self.agent_id,
                "RETELL_BASE_URL": address,
            },
            "uponai": {
                "AGENT_PROVIDER": "uponai",
                "UPONAI_API_KEY": self.uponai_api_key,
                "UPONAI_WORKSPACE_ID": str(self.uponai_workspace_id),
                "UPONAI_AGENT_ID": self.uponai_agent_id,
                "UPONAI_BASE_URL": address,
                "UPONAI_WEBHOOK_KEY": self.uponai_webhook_key,
            },
        }[provider]

    def agents_at_both(self, address: str) -> dict[str, str]:
        """Do the same with the agent of Retell at the first number and that of UponAI at all others."""
        uponai = {"provider": "uponai", "agent_id": self.uponai_agent_id}
        return {
            **self.agent_at("uponai", address),
            **self.agent_at("retell", address),
            "AGENT_PROVIDER": "retell",
            "AGENT_ROUTES": json.dumps(dict.fromkeys(self.more_numbers, uponai)),
        }

    @property
    def numbers(self) -> tuple[str, ...]:
        return (self.number, *self.more_numbers)
