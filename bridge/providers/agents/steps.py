"""The reader of what an agent does beside writing: calls of tools, their results, and moves in its flow.

These are the forms of Retell. UponAI passes on what the provider below it has, so they are the same there. Fields may
be missing, odd or new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.providers.agents.contract import Step, ToolCall, ToolResult, Transition
from bridge.providers.agents.reading import content, identifier
from bridge.providers.redaction import storable

RESULTS = ("tool_call_result", "tool")
PLACES = {
    "node_transition": ("former_node_name", "new_node_name"),
    "state_transition": ("former_state_name", "new_state_name"),
}
"""The fields that name the places where the agent was, and where it goes on."""

NAMELESS = "a tool"


def tool_call(name: object, arguments: object, id_: object) -> ToolCall:
    return ToolCall(content(name) or NAMELESS, _written(arguments), identifier(id_))


def steps_of(entry: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return what an entry that calls no tool tells: the result of a tool, or that the agent has moved."""
    role = entry.get("role")
    if role in RESULTS:
        return (_result(entry),)
    places = PLACES.get(role) if isinstance(role, str) else None
    if places is None:
        return ()
    origin, target = (content(entry.get(name)) for name in places)
    return (Transition(origin, target),) if target and target != origin else ()


def _result(entry: Mapping[str, Any]) -> ToolResult:
    successful = entry.get("successful")
    return ToolResult(
        call_id=identifier(entry.get("tool_call_id")),
        content=_written(entry.get("content")),
        successful=successful if isinstance(successful, bool) else None,
    )


def _written(value: object) -> str:
    """Return a text as it is, and anything else as JSON."""
    if value is None or isinstance(value, str):
        return content(value)
    try:
        return storable(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return ""
