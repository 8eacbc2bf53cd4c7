"""UponAI's webhook for events, signed as Retell's.

The form of a chat's event is not documented: both spellings of its fields are read. Items of a chat at UponAI have no
ids, so an event can't show which of them are new. They are not read.
"""

from __future__ import annotations

from bridge.providers.agents.uponai import parse
from bridge.providers.agents.uponai.errors import PROVIDER
from bridge.providers.agents.webhooks import ChatEvent, Signed, read_event


def event(signed: Signed) -> ChatEvent | None:
    return read_event(PROVIDER, signed, parse.state)
