"""The models of a conversation's holder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from bridge.web.conversation_models import HolderState
from bridge.web.models import FILLED, RequestModel, ResponseModel

Sentence = Annotated[str, StringConstraints(pattern=FILLED, min_length=1, max_length=1000)]


class TakeOver(RequestModel):
    force: bool = Field(False, description="also if another operator has it")


class HandToTeam(RequestModel):
    reason: Sentence = Field(description="why; the team reads it")


class HandBackWish(RequestModel):
    note: Sentence | None = Field(None, description="a sentence for the agent, which gets it as `team_note`")
    answer: bool = Field(False, description="the agent answers what came meanwhile; else that counts as answered")


class Held(ResponseModel):
    holder: HolderState
