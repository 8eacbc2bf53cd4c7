"""The facts that every provider's agent gets with a new chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bridge.providers.agents.contract import NewChat

RESERVED = frozenset({"user_number", "agent_number"})
"""Retell sets these itself for calls. No provider's documentation says whether a chat may set them."""

OURS = RESERVED | {"sms_user_number", "sms_agent_number", "previous_conversation", "team_note"}
"""The variables that the bridge sets itself. An operator can't set them."""

SEARCH_PAGE = 100
LONGEST_SEARCH = 10
"""Entries of a page, and pages, of the provider's list in which the chat of one turn is searched. Larger pages may be
larger than an answer may be."""


def metadata(about: NewChat) -> dict[str, str]:
    return {
        "sms_user_number": about.user_number,
        "sms_agent_number": about.agent_number,
        "conversation_id": str(about.conversation_id),
        "turn_id": str(about.turn_id),
    }


def is_opened_for(about: NewChat, shown: object) -> bool:
    """Return whether a chat with this metadata was opened for this turn."""
    return isinstance(shown, Mapping) and all(shown.get(name) == value for name, value in metadata(about).items())


def ever_fewer_variables(about: NewChat, contact: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Yield all variables, then those without reserved names, then those without the contact's, then the operator's.

    The numbers have two sets of names. Those of calls may be in use in prompts already. The ``sms_`` names are
    certainly free. A field of the ``contact`` never replaces one of an operator, and neither of them one of ours.
    """
    wishes = {name: value for name, value in about.variables.items() if name not in OURS}
    variables = {
        **wishes,
        "user_number": about.user_number,
        "agent_number": about.agent_number,
        "sms_user_number": about.user_number,
        "sms_agent_number": about.agent_number,
        "previous_conversation": about.previous_conversation,
        "team_note": about.team_note,
    }
    unreserved = {name: value for name, value in variables.items() if name not in RESERVED}
    if contact:
        yield {**contact, **variables}
        yield {name: value for name, value in contact.items() if name not in variables} | unreserved
    else:
        yield variables
    yield unreserved
    yield wishes


def private(about: NewChat, contact: Mapping[str, str] | None = None) -> list[str]:
    """Return the words that an error must not quote."""
    known = [about.previous_conversation, about.team_note, *(contact or {}).values(), *about.variables.values()]
    return [about.user_number, about.agent_number, *(line for words in known for line in words.splitlines())]
