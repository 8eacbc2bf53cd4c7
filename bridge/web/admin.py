"""The admin API: JSON for operators and their scripts, protected by the operators' tokens.

The views read a request and write an answer. ``bridge.operators`` and ``bridge.web.queries`` work on the rows.
``bridge.web.openapi`` has the models, and one line for each view. Views of texts, the audit, failures and the pause:
``bridge.web.operators``.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, abort

from bridge.chats import ending
from bridge.chats.ending import Outcome
from bridge.operators import chats as acts
from bridge.runtime import Runtime
from bridge.web import conversations, holding, openapi, operators
from bridge.web.auth import admin_required, operator
from bridge.web.queries import chats, failures
from bridge.web.queries.chats import Filter, WholeChat
from bridge.web.queries.paging import BadCursor
from bridge.web.reading import body_as, json_of, query_as, row_id, unfit

NO_CHAT = "There is no such chat."

REFUSALS = {
    Outcome.UNKNOWN: (404, NO_CHAT),
    Outcome.ENDED_ALREADY: (409, "This chat has ended already, or is being ended."),
}


def blueprint(rt: Runtime) -> Blueprint:
    """Build everything under ``/admin``."""
    admin = Blueprint("admin", __name__, url_prefix="/admin")
    guarded = admin_required(rt)
    document = openapi.document()
    operators.add_views(admin, guarded, rt)
    conversations.add_views(admin, guarded, rt)
    holding.add_views(admin, guarded, rt)

    @admin.get("/chats")
    @guarded
    def list_chats() -> Response:
        query = query_as(openapi.ChatsQuery)
        return json_of(openapi.Chats.model_validate(chats.list_chats(rt, Filter(**query.model_dump()))))

    @admin.get("/chats/<chat_id>")
    @guarded
    def get_chat(chat_id: str) -> Response:
        found = _found(rt, row_id(chat_id, NO_CHAT))
        more = {"messages": found.messages, "analysis": found.analysis}
        return json_of(openapi.ChatWithMessages.model_validate({**vars(found.chat), **more}))

    @admin.post("/chats/<chat_id>/end")
    @guarded
    def end_chat(chat_id: str) -> Response:
        id_ = row_id(chat_id, NO_CHAT)
        refusal = REFUSALS.get(acts.end_one(rt, operator(), id_))
        if refusal:
            abort(*refusal)
        return json_of(openapi.Chat.model_validate(_found(rt, id_).chat), 202)

    @admin.post("/chats/end-stale")
    @guarded
    def end_stale() -> Response:
        wish = body_as(openapi.EndStale)
        result = acts.end_stale(rt, operator(), _idle(rt, wish), limit=wish.limit, dry_run=wish.dry_run)
        return json_of(openapi.Stale.model_validate(result), 200 if wish.dry_run else 202)

    @admin.get("/failures")
    @guarded
    def list_failures() -> Response:
        query = query_as(openapi.FailuresQuery)
        page = failures.list_failures(rt, limit=query.limit, cursor=query.cursor)
        return json_of(openapi.Failures.model_validate(page))

    @admin.get("/openapi.json")
    @guarded
    def describe() -> dict[str, object]:
        return document

    @admin.errorhandler(BadCursor)
    def bad_cursor(error: BadCursor) -> Response:
        return unfit({"cursor": str(error)})

    return admin


def _found(rt: Runtime, chat_id: int) -> WholeChat:
    return chats.get_chat(rt, chat_id) or abort(404, NO_CHAT)


def _idle(rt: Runtime, wish: openapi.EndStale) -> timedelta:
    if wish.idle_seconds is None:
        return rt.settings.stale_after or ending.DEFAULT_IDLE
    return timedelta(seconds=wish.idle_seconds)
