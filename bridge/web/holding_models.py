"""The models of a conversation's holder."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from bridge.db.models import Holder
from bridge.web.models import RequestModel, ResponseModel

Sentence = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", min_length=1, max_length=1000)]


class TakeOver(RequestModel):
    force: bool = Field(False, description="also if another operator has it")


class HandToTeam(RequestModel):
    reason: Sentence = Field(description="why; the team reads it")


class HandBackWish(RequestModel):
    note: Sentence | None = Field(None, description="a sentence for the agent, which gets it as `team_note`")
    answer: bool = Field(False, description="the agent answers what came meanwhile; else that counts as answered")


class HolderShown(ResponseModel):
    kind: Holder = Field(description="`waiting`: for the team, or for the human at the provider `name`")
    name: str | None
    since: datetime | None
    reason: str | None
    until: datetime | None = Field(description="when the person is told that nobody came, or the agent answers again")


class Held(ResponseModel):
    holder: HolderShown
