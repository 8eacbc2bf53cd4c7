"""The models of what operators do: texts by a person, retries, dismissals, the pause and the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from bridge.db.models import MessageStatus, TurnStatus
from bridge.operators import failures
from bridge.operators.audit import Action
from bridge.providers.carriers.contract import Delivery
from bridge.web.models import (
    FILLED,
    MAX_LIMIT,
    OURS,
    PERSON,
    PRINTABLE,
    VARIABLE,
    Cursor,
    Id,
    Limit,
    QueryId,
    QueryLimit,
    RequestModel,
    ResponseModel,
)

MAX_BODY = 16_000
"""Characters of an operator's text: ten of Twilio's longest messages."""

Person = Annotated[str, StringConstraints(pattern=PERSON)]
OurNumber = Annotated[str, StringConstraints(pattern=OURS)]
Body = Annotated[str, StringConstraints(pattern=FILLED, min_length=1, max_length=MAX_BODY)]


Variable = Annotated[str, StringConstraints(pattern=VARIABLE, min_length=1, max_length=64)]
Value = Annotated[str, StringConstraints(pattern=PRINTABLE, max_length=8192)]
Variables = Annotated[dict[Variable, Value], Field(max_length=50)]


class NewText(RequestModel):
    to: Person = Field(description="the person's number, with + and the country code; with `whatsapp:` or `rcs:`")
    sender: OurNumber = Field(alias="from", description="the number of ours that writes")
    body: Body = Field(description="sent as it is written")


class NewTextHere(RequestModel):
    body: Body = Field(description="sent as it is written")


class StartAgent(RequestModel):
    """The agent speaks first."""

    to: Person = Field(description="the person's number, with + and the country code; with `whatsapp:` or `rcs:`")
    sender: OurNumber | None = Field(
        None,
        alias="from",
        description="our number; default: that of the person's last conversation, else the only one",
    )
    start_agent: Literal[True]
    content: Body | None = Field(None, description="what the agent is asked first; default: its greeting is sent")
    dynamic_variables: Variables = Field({}, description="more facts for the agent's prompt; 8 kB in all")
    new_chat: bool = Field(False, description="leave a chat that is active")


class NewTurn(RequestModel):
    content: Body = Field(description="what the agent reads; the person does not read it")
    send: bool = Field(True, description="send the answer to the person; else it is kept as a draft")


class Retry(RequestModel):
    kind: failures.Kind | None = Field(None, strict=False, description="default: all of them")
    limit: Limit = Field(100, description="the most failures in one call, the oldest first")


class Dismiss(RequestModel):
    kind: failures.Kind = Field(strict=False)
    id: Id | None = Field(None, description="of one failure; default: all of the kind")
    limit: Limit = Field(MAX_LIMIT, description="the most failures in one call")


class AuditQuery(RequestModel):
    operator: Annotated[str, StringConstraints(pattern=FILLED, max_length=64)] | None = None
    action: Action | None = Field(None, strict=False)
    conversation_id: QueryId | None = None
    limit: QueryLimit = 50
    cursor: Cursor | None = Field(None, description="`next` of the page before")


class QueuedText(ResponseModel):
    id: int = Field(description="of the message; of a text in several messages, of the first one")
    conversation_id: int
    turn_id: int | None = Field(None, description="the agent's turn that waits; null: the text is an operator's")


class QueuedTurn(ResponseModel):
    turn_id: int


class DraftText(ResponseModel):
    body: str
    segments: int


class Draft(ResponseModel):
    id: int
    messages: list[DraftText] = Field(description="as they would reach the phone; none: the agent writes nothing")


class DraftRequested(ResponseModel):
    id: int = Field(description="ask for it at `/admin/draft-requests/{id}`")


class Written(ResponseModel):
    id: int
    status: MessageStatus = Field(description="`draft`: kept, and not sent")
    body: str
    segments: int | None
    created_at: datetime
    delivery: Delivery | None
    error_code: int | None
    error: str | None
    resent_as: int | None = Field(description="the text that replaces it")


class Turn(ResponseModel):
    id: int
    conversation_id: int
    status: TurnStatus = Field(description="`queued`, `waiting` and `asking` are not the last word")
    created_at: datetime
    settled_at: datetime | None
    error: str | None = Field(description="why the last attempt failed")
    messages: list[Written] = Field(description="what the agent has written in this turn, in order")


class Retried(ResponseModel):
    turns: list[int] = Field([], description="the turns that are asked again")
    messages: list[int] = Field([], description="the texts that are sent again")
    notices: list[int] = Field([], description="the notices of which HANDOFF_WEBHOOK is told again")
    left: int = Field(0, description="failures that can't be retried now; of a conversation one turn at a time can")


class Dismissed(ResponseModel):
    dismissed: int


class PauseState(ResponseModel):
    paused: bool
    since: datetime | None = None
    operator: str | None = Field(None, description="who has paused the agents")


class AuditEntry(ResponseModel):
    id: int
    at: datetime
    operator: str = Field(description="`-` for a refused login, `a command` for the command `bridge`")
    action: Action
    conversation_id: int | None
    subject: str = Field(description="what it was done to, such as `chat 4`")
    details: dict[str, Any]


class AuditPage(ResponseModel):
    audit: list[AuditEntry]
    next: str | None = Field(description="the cursor of the next page; null on the last one")
