"""The facts that every provider's agent gets with a new chat."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.providers.agents.contract import NewChat

RESERVED = frozenset({"user_number", "agent_number"})
"""Retell sets these itself for calls. No provider's documentation says whether a chat may set them."""


def metadata(about: NewChat) -> dict[str, str]:
    return {
        "sms_user_number": about.user_number,
        "sms_agent_number": about.agent_number,
        "conversation_id": str(about.conversation_id),
    }


def ever_fewer_variables(about: NewChat) -> Iterator[dict[str, str]]:
    """Yield all variables, then those without reserved names, then none.

    The numbers have two sets of names. Those of calls may be in use in prompts already. The ``sms_`` names are
    certainly free.
    """
    variables = {
        "user_number": about.user_number,
        "agent_number": about.agent_number,
        "sms_user_number": about.user_number,
        "sms_agent_number": about.agent_number,
        "previous_conversation": about.previous_conversation,
    }
    yield variables
    yield {name: value for name, value in variables.items() if name not in RESERVED}
    yield {}


def private(about: NewChat) -> list[str]:
    """Return the words that an error must not quote."""
    return [about.user_number, about.agent_number, *about.previous_conversation.splitlines()]
