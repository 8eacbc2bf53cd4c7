"""How the transcript shows what the agent has done beside writing: a heading, and the fields of what tools tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from bridge.chats.steps import RecordedStep, StepKind
from bridge.providers.redaction import storable

NAMED = 3
"""Tools that the heading names."""


def steps_heading(steps: Sequence[RecordedStep]) -> Markup:
    """Return what is shown while the steps are closed: the tools, or where the agent has gone if it has called none."""
    calls = [step for step in steps if step.kind is StepKind.TOOL_CALL]
    if not calls:
        return Markup("The agent went on to <bdi>{}</bdi>").format(steps[-1].name)
    names = Markup(", ").join(Markup("<bdi>{}</bdi>").format(call.name) for call in calls[:NAMED])
    more = f" and {len(calls) - NAMED} more" if len(calls) > NAMED else ""
    failed = sum(call.successful is False for call in calls)
    return Markup("The agent used {}{}{}").format(names, more, f" ({failed} failed)" if failed else "")


def fields(written: str) -> list[tuple[str, str]]:
    """Return the fields of a JSON object, in order. Empty: it must be shown as it is written."""
    try:
        read = json.loads(written, object_pairs_hook=_without_repeats)
        return [(storable(name), _shown(value)) for name, value in read.items()] if isinstance(read, dict) else []
    except (ValueError, RecursionError):
        return []


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that names a field twice: one of the two values would not be shown."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _shown(value: object) -> str:
    """Return a text as it is, and anything else as JSON. An escape may have made a character that no page can have."""
    return storable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
