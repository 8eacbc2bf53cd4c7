"""The models of the admin API's requests and responses, and the OpenAPI document made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.json_schema import models_json_schema

import bridge
from bridge.db.models import ChatStatus, Direction, MessageStatus
from bridge.providers.carriers.contract import Delivery, FailureClass
from bridge.web.queries.failures import Kind

MAX_IDLE = 10 * 366 * 24 * 3600
"""Seconds. Ten years ago there was no chat, and a much earlier date overflows."""

MAX_LIMIT = 1000
"""Rows in one answer, and chats ended in one call. A call must end long before a router's timeout."""

MAX_TEXT = 255
"""Characters of an address or a cursor. The real ones are shorter."""

REF = "#/components/schemas/{model}"
"""The place of a model in the document."""


def _digits(text: object) -> object:
    """Accept only the digits of a number in an address. Python would accept ``5_0`` and `` 50`` too."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 else text


def _plus(text: object) -> object:
    """Restore a plus sign that was not escaped and became a blank. No number begins with a blank."""
    return "+" + text[1:] if isinstance(text, str) and text.startswith(" ") else text


Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
QueryLimit = Annotated[Limit, BeforeValidator(_digits)]
Phone = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=MAX_TEXT), BeforeValidator(_plus)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class RequestModel(BaseModel):
    """The fields that a caller sends. Unknown fields and other types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """The fields that a caller gets, read from the values of the layer below."""

    model_config = ConfigDict(from_attributes=True, hide_input_in_errors=True)


class EndStale(RequestModel):
    idle_seconds: Annotated[int, Field(ge=0, le=MAX_IDLE)] | None = Field(
        None, description="seconds without activity in a chat; default: STALE_AFTER, else a day"
    )
    limit: Limit = Field(MAX_LIMIT, description="the most chats in one call")
    dry_run: bool = Field(False, description="only show the chats that would be ended")


class ChatsQuery(RequestModel):
    status: ChatStatus | None = Field(None, strict=False)
    phone: Phone | None = Field(None, description="the person's number, exactly; write + as %2B")
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


class Fault(BaseModel):
    field: str
    fault: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = Field(None, description="one for each field that is wrong")


@dataclass(frozen=True)
class Operation:
    """One operation of the API."""

    method: str
    path: str
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[int, ...] = ()
    body: type[RequestModel] | None = None
    query: type[RequestModel] | None = None


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
    Operation("get", "/admin/openapi.json", "Show this document", {200: None}),
)
"""One line for each view of ``bridge.web.admin``; a test holds the two equal."""


def document() -> dict[str, Any]:
    """Build the OpenAPI document."""
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
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": {str(status): _answer(model) for status, model in operation.answers.items()},
    }
    for status in (*operation.problems, *EVERYWHERE):
        described["responses"][str(status)] = _content("application/problem+json", Problem)
    if operation.body:
        described["requestBody"] = {"required": False, **_content("application/json", operation.body)}
    return described


def _answer(model: type[BaseModel] | None) -> dict[str, Any]:
    return _content("application/json", model) if model else {"description": "an OpenAPI document"}


def _content(mimetype: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"description": model.__name__, "content": {mimetype: {"schema": schema}}}


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if "{id}" in operation.path:
        yield {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.query:
        schema = operation.query.model_json_schema(ref_template=REF)
        for name, field in schema["properties"].items():
            yield {"name": name, "in": "query", "required": False, "schema": field}


def _schemas() -> dict[str, Any]:
    modes: dict[type[BaseModel], Literal["validation", "serialization"]] = {Problem: "serialization"}
    for operation in OPERATIONS:
        modes |= {model: "validation" for model in (operation.body, operation.query) if model}
        modes |= {model: "serialization" for model in operation.answers.values() if model}
    _, schemas = models_json_schema(list(modes.items()), ref_template=REF)
    return dict(schemas["$defs"])
