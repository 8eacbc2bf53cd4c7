"""The models of the admin API's requests and responses, and the OpenAPI document made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

import bridge
from bridge.db.models import ChatStatus, Direction, MessageStatus
from bridge.providers.carriers.contract import Delivery, FailureClass
from bridge.web import conversation_models as conversations
from bridge.web.holding_models import HandBackWish, HandToTeam, Held, TakeOver
from bridge.web.models import (
    MAX_LIMIT,
    Cursor,
    Limit,
    Phone,
    Problem,
    ProviderChatId,
    QueryLimit,
    RequestModel,
    ResponseModel,
)
from bridge.web.operator_models import (
    AuditPage,
    AuditQuery,
    Dismiss,
    Dismissed,
    Draft,
    DraftRequested,
    NewText,
    NewTextHere,
    NewTurn,
    PauseState,
    QueuedText,
    QueuedTurn,
    Retried,
    Retry,
    StartAgent,
    Turn,
)
from bridge.web.queries.failures import Kind

MAX_IDLE = 10 * 366 * 24 * 3600
"""Seconds. Ten years ago there was no chat, and a much earlier date overflows."""

IDEMPOTENCY_KEY = "Idempotency-Key"
"""The header that makes a repeated request harmless."""

_ROW: dict[str, Any] = {"type": "integer", "minimum": 1}
IN_PATH = {"id": _ROW, "note": _ROW, "name": {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,40}$"}}
"""The parameters in addresses. A tag may have any visible characters; a canned reply has only these."""

REF = "#/components/schemas/{model}"
"""The place of a model in the document."""


class EndStale(RequestModel):
    idle_seconds: Annotated[int, Field(ge=0, le=MAX_IDLE)] | None = Field(
        None, description="seconds without activity in a chat; default: STALE_AFTER, else a day"
    )
    limit: Limit = Field(MAX_LIMIT, description="the most chats in one call")
    dry_run: bool = Field(False, description="only show the chats that would be ended")


class ChatsQuery(RequestModel):
    status: ChatStatus | None = Field(None, strict=False)
    phone: Phone | None = Field(None, description="the person's number, exactly; write + as %2B")
    chat_id: ProviderChatId | None = Field(None, description="the provider's own id of the chat")
    limit: QueryLimit = 50
    cursor: Cursor | None = Field(None, description="`next` of the page before")


class FailuresQuery(RequestModel):
    limit: QueryLimit = 50
    cursor: Cursor | None = Field(None, description="`next` of the page before")


class Stale(ResponseModel):
    matched: int
    queued: int
    chats: list[int] = Field(validation_alias="chat_ids", description="their ids")


class Chat(ResponseModel):
    id: int
    conversation_id: int
    phone: str
    bridge_number: str
    provider: str
    chat_id: str = Field(description="the provider's own id of it")
    status: ChatStatus
    started_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    end_reason: str | None


class Reaction(ResponseModel):
    id: int
    body: str
    created_at: datetime


class Message(ResponseModel):
    id: int
    direction: Direction
    status: MessageStatus
    body: str
    media: int = Field(description="the number of pictures or files with it")
    segments: int | None = Field(description="the number that the carrier bills, by our count; null: a person sent it")
    created_at: datetime
    operator: str | None = Field(description="the operator who wrote it; null: the person, the agent or the bridge")
    carrier_id: str | None
    delivery: Delivery | None = Field(description="how far the carrier has brought it")
    error_code: int | None
    error: str | None
    extras: dict[str, str] | None = Field(description="other facts from the carrier, under its names")
    reactions: list[Reaction] = Field(description="the person's reactions to it, such as a like or a heart")


class Analysis(ResponseModel):
    analyzed_at: datetime
    summary: str | None
    sentiment: str | None = Field(description="the person's, in the provider's word, such as Positive")
    successful: bool | None
    cost: float | None = Field(description="of the chat at the provider, in cents")


class ChatWithMessages(Chat):
    messages: list[Message]
    analysis: Analysis | None = Field(description="the provider's, once it has reported it; null: it has not")


class Chats(ResponseModel):
    chats: list[Chat]
    next: str | None = Field(description="the cursor of the next page; null on the last one")


class Failure(ResponseModel):
    kind: Kind
    id: int
    conversation_id: int
    phone: str
    at: datetime
    error: str | None
    error_code: int | None = Field(description="the carrier's")
    delivery: Delivery | None = Field(description="how far the carrier brought an accepted text")
    failure: FailureClass | None = Field(description="the kind of failure that the code means")
    meaning: str | None = Field(description="what has happened, and how to fix it")
    page: str | None = Field(description="the carrier's page about the code")
    resend_at: datetime | None = Field(description="when the bridge sends the text again; null: never")


class Failures(ResponseModel):
    failures: list[Failure]
    next: str | None = Field(description="the cursor of the next page; null on the last one")


@dataclass(frozen=True)
class Operation:
    """One operation of the API."""

    method: str
    path: str
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[int, ...] = ()
    body: type[RequestModel] | tuple[type[RequestModel], ...] | None = None
    """Of several, the request has one."""
    query: type[RequestModel] | None = None
    idempotent: bool = False
    """It takes an ``Idempotency-Key``."""
    resumable: bool = False
    """It takes a ``Last-Event-ID``."""
    mimetype: str = "application/json"
    """Of an answer without a model: text of another kind."""


EVERYWHERE = (401, 503)
"""Problems of any call: a wrong token; or no token in the settings, or no database."""

OPERATIONS = (
    Operation("get", "/admin/chats", "List chats, the newest first", {200: Chats}, (422,), query=ChatsQuery),
    Operation("get", "/admin/chats/{id}", "Show one chat with its texts", {200: ChatWithMessages}, (404,)),
    Operation("post", "/admin/chats/{id}/end", "End one chat", {202: Chat}, (404, 409)),
    Operation(
        "post",
        "/admin/chats/end-stale",
        "End the chats without recent activity",
        {202: Stale, 200: Stale},
        (400, 413, 422),
        body=EndStale,
    ),
    Operation(
        "get",
        "/admin/failures",
        "List what was given up or not delivered, or keeps failing",
        {200: Failures},
        (422,),
        query=FailuresQuery,
    ),
    Operation(
        "post",
        "/admin/messages",
        "Write to a new or known person, or let the agent speak first",
        {202: QueuedText},
        (400, 409, 413, 422),
        body=(NewText, StartAgent),
        idempotent=True,
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/messages",
        "Write to the person of this conversation",
        {202: QueuedText},
        (400, 404, 409, 413, 422),
        body=NewTextHere,
        idempotent=True,
    ),
    Operation(
        "get",
        "/admin/conversations",
        "List conversations, the newest activity first",
        {200: conversations.Conversations},
        (422,),
        query=conversations.ConversationsQuery,
    ),
    Operation(
        "get",
        "/admin/conversations/{id}",
        "Show one conversation with its newest texts",
        {200: conversations.WholeConversation},
        (404, 422),
        query=conversations.ConversationQuery,
    ),
    Operation(
        "get",
        "/admin/conversations/{id}/export",
        "Export everything of one conversation",
        {200: conversations.ConversationExport},
        (404,),
    ),
    Operation(
        "get",
        "/admin/export",
        "Export the texts of a period",
        {200: None},
        (422,),
        query=conversations.PeriodQuery,
        mimetype="text/csv",
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/read",
        "Record how far the operator has read",
        {200: conversations.ReadMark},
        (400, 404, 413, 422),
        body=conversations.Seen,
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/notes",
        "Write a note for operators",
        {201: conversations.Note},
        (400, 404, 413, 422),
        body=conversations.NewNote,
    ),
    Operation("delete", "/admin/conversations/{id}/notes/{note}", "Delete a note", {204: None}, (403, 404)),
    Operation("put", "/admin/conversations/{id}/tags/{name}", "Add a tag", {200: conversations.Tags}, (404, 409, 422)),
    Operation("delete", "/admin/conversations/{id}/tags/{name}", "Remove a tag", {200: conversations.Tags}, (404, 422)),
    Operation("get", "/admin/canned-replies", "List the canned replies", {200: conversations.CannedReplies}),
    Operation(
        "put",
        "/admin/canned-replies/{name}",
        "Write a canned reply",
        {200: conversations.CannedReply},
        (400, 404, 409, 413, 422),
        body=conversations.NewReply,
    ),
    Operation("delete", "/admin/canned-replies/{name}", "Delete a canned reply", {204: None}, (404, 422)),
    Operation(
        "post",
        "/admin/conversations/{id}/turns",
        "Say something to the agent",
        {202: QueuedTurn},
        (400, 404, 409, 413, 422),
        body=NewTurn,
        idempotent=True,
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/draft",
        "Have the agent write a draft; nothing is sent",
        {200: Draft, 202: DraftRequested},
        (404, 409, 422, 502),
        idempotent=True,
    ),
    Operation(
        "get",
        "/admin/draft-requests/{id}",
        "Show a draft, for ten minutes",
        {200: Draft, 202: DraftRequested},
        (404, 502),
    ),
    Operation("get", "/admin/turns/{id}", "Show one turn with the agent's answer", {200: Turn}, (404,)),
    Operation(
        "post",
        "/admin/conversations/{id}/take-over",
        "Take a conversation over from the agent, or from the team's list",
        {200: Held},
        (400, 404, 409, 413, 422),
        body=TakeOver,
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/hand-to-team",
        "Let a conversation wait for somebody of the team",
        {200: Held},
        (400, 404, 409, 413, 422),
        body=HandToTeam,
    ),
    Operation(
        "post",
        "/admin/conversations/{id}/hand-back",
        "Let the agent answer again",
        {200: Held},
        (400, 404, 409, 413, 422),
        body=HandBackWish,
    ),
    Operation("get", "/admin/pause", "Show whether the agents are paused", {200: PauseState}),
    Operation("post", "/admin/pause", "Keep all agents still", {200: PauseState}),
    Operation("post", "/admin/resume", "Let all agents go on", {200: PauseState}),
    Operation("post", "/admin/turns/{id}/retry", "Ask a given-up turn again", {202: Retried}, (404, 409)),
    Operation("post", "/admin/messages/{id}/retry", "Send a failed text again", {202: Retried}, (404, 409)),
    Operation("post", "/admin/failures/retry", "Retry failures", {202: Retried}, (400, 413, 422), body=Retry),
    Operation(
        "post",
        "/admin/failures/dismiss",
        "Take failures off the list",
        {200: Dismissed},
        (400, 404, 413, 422),
        body=Dismiss,
    ),
    Operation("get", "/admin/audit", "List who has done what", {200: AuditPage}, (422,), query=AuditQuery),
    Operation(
        "get",
        "/admin/events",
        "Listen to what changes: events conversation, audit, pause and reset",
        {200: None},
        (422,),
        resumable=True,
        mimetype="text/event-stream",
    ),
    Operation("get", "/admin/openapi.json", "Show this document", {200: None}),
)
"""One line for each view of ``bridge.web.admin``; a test holds the two equal."""


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document. It is built once for each process, because that takes a tenth of a second."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SMS bridge: admin", "version": bridge.__version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN or ADMIN_TOKENS"}
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_headers(operation)],
        "responses": {str(status): _answer(operation, status) for status in operation.answers},
    }
    for status in (*operation.problems, *EVERYWHERE):
        described["responses"][str(status)] = _content("application/problem+json", Problem)
    if operation.body:
        required = any(field.is_required() for body in _bodies(operation) for field in body.model_fields.values())
        described["requestBody"] = {"required": required, **_content("application/json", *_bodies(operation))}
    return described


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    if model := operation.answers[status]:
        return _content("application/json", model)
    if operation.mimetype != "application/json":
        schema = {"type": "string"} if operation.mimetype == "text/csv" else {}  # a stream has many values
        return {"description": operation.summary, "content": {operation.mimetype: {"schema": schema}}}
    return {"description": "done" if status == 204 else "an OpenAPI document"}


def _bodies(operation: Operation) -> tuple[type[RequestModel], ...]:
    if isinstance(operation.body, tuple):
        return operation.body
    return (operation.body,) if operation.body else ()


def _content(mimetype: str, *models: type[BaseModel]) -> dict[str, Any]:
    schemas = [{"$ref": REF.format(model=model.__name__)} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": " or ".join(model.__name__ for model in models), "content": {mimetype: {"schema": schema}}}


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": IN_PATH[name]}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.query:
        schema = operation.query.model_json_schema(ref_template=REF)
        for name, field in schema["properties"].items():
            required = name in schema.get("required", ())
            yield {"name": name, "in": "query", "required": required, "schema": field}


def _headers(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.idempotent:
        schema = {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"}
        about = "the same key and request within a day: the same answer, and nothing is done again"
        yield {"name": IDEMPOTENCY_KEY, "in": "header", "required": False, "schema": schema, "description": about}

    if operation.resumable:
        about = "the id of the last event that the client has got"
        schema = {"type": "string", "pattern": "^(?:[0-9]{1,16}-[0-9]{1,18}-[0-9]{1,16})?$"}
        yield {"name": "Last-Event-ID", "in": "header", "required": False, "schema": schema, "description": about}


def _schemas() -> dict[str, Any]:
    modes: dict[type[BaseModel], Literal["validation", "serialization"]] = {Problem: "serialization"}
    for operation in OPERATIONS:
        modes |= {model: "validation" for model in (*_bodies(operation), operation.query) if model}
        modes |= {model: "serialization" for model in operation.answers.values() if model}
    _, schemas = models_json_schema(list(modes.items()), ref_template=REF)
    return dict(schemas["$defs"])
