"""The admin API: JSON for operators and their scripts, protected by the operator's token.

The views read a request and write an answer. ``bridge.chats.ending`` and ``bridge.web.queries`` work on the rows.
``bridge.web.openapi`` has the models, and one line for each view.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from flask import Blueprint, Response, abort, request
from pydantic import BaseModel, ValidationError

from bridge.chats import ending
from bridge.chats.ending import Outcome
from bridge.runtime import Runtime
from bridge.web import openapi
from bridge.web.auth import admin_required
from bridge.web.problems import problem
from bridge.web.queries import chats, failures
from bridge.web.queries.chats import WholeChat
from bridge.web.queries.paging import LARGEST_ID, BadCursor

MAX_FAULTS = 20
"""Faults in one answer. A body may hold thousands."""

MAX_NAME = 100
"""Characters of a field's name in an answer."""

NO_CHAT = "There is no such chat."

REFUSALS = {
    Outcome.UNKNOWN: (404, NO_CHAT),
    Outcome.ENDED_ALREADY: (409, "This chat has ended already, or is being ended."),
}

T = TypeVar("T", bound=openapi.RequestModel)


def blueprint(rt: Runtime) -> Blueprint:
    """Build everything under ``/admin``."""
    admin = Blueprint("admin", __name__, url_prefix="/admin")
    guarded = admin_required(rt.settings.admin_token)
    document = openapi.document()

    @admin.after_request
    def private(answer: Response) -> Response:
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @admin.get("/chats")
    @guarded
    def list_chats() -> Response:
        query = _query(openapi.ChatsQuery)
        page = chats.list_chats(rt, status=query.status, phone=query.phone, limit=query.limit, cursor=query.cursor)
        return _json(openapi.Chats.model_validate(page))

    @admin.get("/chats/<chat_id>")
    @guarded
    def get_chat(chat_id: str) -> Response:
        found = _found(rt, _row_id(chat_id))
        more = {"messages": found.messages, "analysis": found.analysis}
        return _json(openapi.ChatWithMessages.model_validate({**vars(found.chat), **more}))

    @admin.post("/chats/<chat_id>/end")
    @guarded
    def end_chat(chat_id: str) -> Response:
        row_id = _row_id(chat_id)
        refusal = REFUSALS.get(ending.end_one(rt, row_id))
        if refusal:
            abort(*refusal)
        return _json(openapi.Chat.model_validate(_found(rt, row_id).chat), 202)

    @admin.post("/chats/end-stale")
    @guarded
    def end_stale() -> Response:
        wish = _body(openapi.EndStale)
        result = ending.end_stale(rt, _idle(rt, wish), limit=wish.limit, dry_run=wish.dry_run)
        return _json(openapi.Stale.model_validate(result), 200 if wish.dry_run else 202)

    @admin.get("/failures")
    @guarded
    def list_failures() -> Response:
        query = _query(openapi.FailuresQuery)
        return _json(
            openapi.Failures.model_validate(failures.list_failures(rt, limit=query.limit, cursor=query.cursor))
        )

    @admin.get("/openapi.json")
    @guarded
    def describe() -> dict[str, object]:
        return document

    @admin.errorhandler(BadCursor)
    def bad_cursor(error: BadCursor) -> Response:
        return _unfit({"cursor": str(error)})

    return admin


def _body(model: type[T]) -> T:
    """Read the request's JSON as ``model``. An empty body means the defaults."""
    raw = request.get_data().strip()
    if raw and not request.is_json:
        abort(400, "Send the body as application/json.")
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        if any(fault["type"] == "json_invalid" for fault in error.errors(include_input=False)):
            abort(400, "The body is not valid JSON.")
        abort(_unfit(_faults(error)))


def _query(model: type[T]) -> T:
    """Read the query parameters as ``model``. Refuse a repeated parameter, because its value is no text."""
    given = {name: texts[0] if len(texts) == 1 else texts for name, texts in request.args.lists()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        abort(_unfit(_faults(error)))


def _faults(error: ValidationError) -> dict[str, str]:
    """Return the fault of each field, without its value."""
    faults = error.errors(include_input=False, include_url=False)[:MAX_FAULTS]
    return {".".join(map(str, fault["loc"]))[:MAX_NAME] or "body": fault["msg"] for fault in faults}


def _unfit(faults: Mapping[str, str]) -> Response:
    detail = "; ".join(f"{field}: {fault}" for field, fault in faults.items())
    return problem(422, detail, errors=[{"field": field, "fault": fault} for field, fault in faults.items()])


def _row_id(text: str) -> int:
    """Read the id in an address. An invalid id is as unknown as a missing row."""
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
    if not digits or int(text) > LARGEST_ID:
        abort(404, NO_CHAT)
    return int(text)


def _found(rt: Runtime, chat_id: int) -> WholeChat:
    return chats.get_chat(rt, chat_id) or abort(404, NO_CHAT)


def _idle(rt: Runtime, wish: openapi.EndStale) -> timedelta:
    if wish.idle_seconds is None:
        return rt.settings.stale_after or ending.DEFAULT_IDLE
    return timedelta(seconds=wish.idle_seconds)


def _json(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, mimetype="application/json")
