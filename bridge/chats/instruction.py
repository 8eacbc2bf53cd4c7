"""What an operator says to the agent: the wishes beside the words, as the rows of the text and of its turn have them.

The words are a text of direction IN that has the operator's name. It is a turn of its own, in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Instruction:
    """The wishes of an operator."""

    send: bool = True
    """The answer goes to the person. Else it is kept as a draft."""
    start: bool = False
    """It begins a new chat. Without words, the chat's greeting is the answer."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """More facts for the new chat."""

    def as_row(self) -> dict[str, Any]:
        """Return it as the tables keep it."""
        return {"send": self.send, "start": self.start, "variables": dict(self.variables)}


def of_row(row: Mapping[str, Any] | None) -> Instruction | None:
    """Read it from a row. ``None``: the words are the person's."""
    return None if row is None else Instruction(**row)


def is_draft(row: Mapping[str, Any] | None) -> bool:
    """Return whether an operator says it, and wants only a draft."""
    wishes = of_row(row)
    return wishes is not None and not wishes.send
