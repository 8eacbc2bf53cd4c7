"""The console as a blueprint: its pages, its headers, and its pages for errors."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from bridge.db.engine import AWAY
from bridge.operators.conversations import UnknownConversation
from bridge.runtime import Runtime
from bridge.web.auth import NO_TOKENS, PUBLIC, declares
from bridge.web.console import (
    audit,
    conversation,
    export,
    failures,
    holding,
    inbox,
    labels,
    layout,
    login,
    new,
    overview,
    pause,
    replies,
    security,
    stale,
    statics,
    writing,
)
from bridge.web.console.access import is_live, recognise, session_required
from bridge.web.console.security import PATH
from bridge.web.queries.paging import BadCursor

MAX_BYTES = 256 * 1024
"""Bytes of a form. A long text in emoji has twelve bytes for each character in a form."""

PARTS = (
    layout,
    login,
    overview,
    inbox,
    conversation,
    holding,
    writing,
    labels,
    new,
    replies,
    export,
    failures,
    audit,
    stale,
    pause,
)

OLD_FORM = "This form is from before you logged in, or of another login. Go back, reload the page, and try again."
AWAY_WORDS = "The database does not answer. Try again soon."


def blueprint(rt: Runtime) -> Blueprint:
    """Build everything under ``/console``."""
    pages = Blueprint("console", __name__, url_prefix=PATH, template_folder="templates")
    pages.record_once(lambda state: security.install(state.app, rt.settings))
    statics.add_views(pages)
    guarded = session_required(rt)
    for part in PARTS:
        part.add_views(pages, guarded, rt)
    pages.after_request(security.protect)

    @pages.before_request
    def check() -> Response | None:
        request.max_content_length = MAX_BYTES
        if not rt.settings.operators and request.endpoint != "console.static_file":
            return error_page(503, NO_TOKENS)
        security.forms.protect()
        return None

    @pages.route("/<path:other>")
    @declares(PUBLIC)
    def unknown(other: str) -> ResponseReturnValue:
        recognise(rt)
        abort(404, "The console has no such page.")

    _add_errors(pages)
    return pages


def _add_errors(pages: Blueprint) -> None:
    @pages.errorhandler(CSRFError)
    def old_form(error: CSRFError) -> Response:
        return error_page(400, OLD_FORM)

    @pages.errorhandler(UnknownConversation)
    def unknown_conversation(error: UnknownConversation) -> Response:
        return not_here(conversation.NONE)

    @pages.errorhandler(BadCursor)
    def bad_cursor(error: BadCursor) -> Response:
        return not_here("There is no such page of this list.")

    @pages.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        if error.response is not None or error.code is None:
            return error
        unexpected = getattr(error, "original_exception", None) is not None
        words = "An unexpected error. The log has the details." if unexpected else error.description or error.name
        return not_here(words) if error.code == 404 else error_page(error.code, words)

    def away(error: Any) -> Response:
        answer = error_page(503, AWAY_WORDS)
        answer.headers["Retry-After"] = "5"
        return answer

    for kind in AWAY:
        pages.register_error_handler(kind, away)


def not_here(words: str) -> Response:
    """Return a page with the menu, for an operator who has followed an old link. A stranger gets none."""
    if is_live() or "operator" not in g:
        return error_page(404, words)
    try:
        return make_response(render_template("console/not_here.html", words=words), 404)
    except AWAY:
        return error_page(404, words)


def error_page(status: int, words: str) -> Response:
    """Return a page with one sentence. It needs neither a session nor the database."""
    return make_response(render_template("console/error.html", status=status, words=words), status)
