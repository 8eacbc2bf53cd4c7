"""The views of conversations: the list, one with its texts, notes, tags, canned replies and read marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort
from pydantic import TypeAdapter, ValidationError

from bridge.lib.errors import BridgeError
from bridge.operators import labels
from bridge.operators.labels import SomebodyElses, TooMany, UnknownLabel
from bridge.runtime import Runtime
from bridge.web import conversation_models as models
from bridge.web import exports
from bridge.web.auth import operator
from bridge.web.problems import problem
from bridge.web.queries import conversations
from bridge.web.queries.conversations import Filter, Reader
from bridge.web.queries.period import Period
from bridge.web.reading import body_as, in_words, json_of, query_as, row_id, unfit

NO_CONVERSATION = "There is no such conversation."
NO_LABEL = "There is no such note, tag or canned reply."

REFUSALS: dict[type[BridgeError], int] = {UnknownLabel: 404, SomebodyElses: 403, TooMany: 409}

Guard = Callable[[Callable[..., Response]], Callable[..., Any]]

_TAG: TypeAdapter[str] = TypeAdapter(models.TagName)
_REPLY: TypeAdapter[str] = TypeAdapter(models.ReplyName)


def add_views(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    """Add the views to the blueprint of the admin API."""
    _reading(admin, guarded, rt)
    _notes(admin, guarded, rt)
    _tags(admin, guarded, rt)
    _canned_replies(admin, guarded, rt)
    for refusal in REFUSALS:
        admin.register_error_handler(refusal, _refused)


def _refused(error: BridgeError) -> Response:
    return problem(REFUSALS[type(error)], str(error) or NO_LABEL)


def _reading(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.get("/conversations")
    @guarded
    def list_conversations() -> Response:
        query = query_as(models.ConversationsQuery)
        page = conversations.list_conversations(rt, Filter(operator(), **query.model_dump()))
        return json_of(models.Conversations.model_validate(page))

    @admin.get("/conversations/<conversation_id>")
    @guarded
    def get_conversation(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        query = query_as(models.ConversationQuery)
        found = conversations.get_conversation(rt, id_, Reader(operator(), query.limit, query.cursor))
        return json_of(models.whole(found or abort(404, NO_CONVERSATION)))

    @admin.get("/conversations/<conversation_id>/export")
    @guarded
    def export_conversation(conversation_id: str) -> Response:
        return exports.answer_conversation(rt, operator(), row_id(conversation_id, NO_CONVERSATION))

    @admin.get("/export")
    @guarded
    def export_period() -> Response:
        query = query_as(models.PeriodQuery)
        return exports.answer_period(rt, operator(), Period(query.since, query.until or rt.now()))

    @admin.post("/conversations/<conversation_id>/read")
    @guarded
    def mark_read(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        seen = body_as(models.Seen)
        return json_of(models.ReadMark(message_id=labels.mark_read(rt, operator(), id_, seen.message_id)))


def _notes(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.post("/conversations/<conversation_id>/notes")
    @guarded
    def add_note(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        note = labels.add_note(rt, operator(), id_, body_as(models.NewNote).body)
        return json_of(models.Note.model_validate(note), 201)

    @admin.delete("/conversations/<conversation_id>/notes/<note>")
    @guarded
    def delete_note(conversation_id: str, note: str) -> Response:
        labels.delete_note(rt, operator(), row_id(conversation_id, NO_LABEL), row_id(note, NO_LABEL))
        return Response(status=204)


def _tags(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.put("/conversations/<conversation_id>/tags/<name>")
    @guarded
    def add_tag(conversation_id: str, name: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        return json_of(models.Tags(tags=labels.add_tag(rt, operator(), id_, _named(_TAG, name))))

    @admin.delete("/conversations/<conversation_id>/tags/<name>")
    @guarded
    def remove_tag(conversation_id: str, name: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        return json_of(models.Tags(tags=labels.remove_tag(rt, operator(), id_, _named(_TAG, name))))


def _canned_replies(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.get("/canned-replies")
    @guarded
    def list_replies() -> Response:
        return json_of(models.CannedReplies.model_validate({"canned_replies": labels.list_replies(rt)}))

    @admin.put("/canned-replies/<name>")
    @guarded
    def save_reply(name: str) -> Response:
        body = body_as(models.NewReply).body
        return json_of(models.CannedReply.model_validate(labels.save_reply(rt, operator(), _named(_REPLY, name), body)))

    @admin.delete("/canned-replies/<name>")
    @guarded
    def delete_reply(name: str) -> Response:
        labels.delete_reply(rt, operator(), _named(_REPLY, name))
        return Response(status=204)


def _named(kind: TypeAdapter[str], name: str) -> str:
    """Read the name in an address."""
    try:
        return kind.validate_python(name)
    except ValidationError as error:
        abort(unfit({"name": in_words(error.errors(include_input=False, include_url=False)[0])}))
