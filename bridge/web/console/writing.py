"""The forms for texts in a conversation: exact ones, what the agent is told, and its drafts.

A text that is refused stays in its form. Each form for a text has a key of its own, so a second click sends nothing
again. If somebody else was first, the answer says who.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response as Answer

from bridge.lib.errors import BridgeError
from bridge.operators import draft_requests, drafts, idempotency, instructions, texts
from bridge.operators.conversations import HeldBy
from bridge.operators.draft_requests import DraftNow
from bridge.operators.drafts import DraftGone
from bridge.operators.idempotency import Asked, KeyReused
from bridge.operators.texts import OptedOut, Unfit
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, field, refused
from bridge.web.console.conversation import NONE, Form, address, show
from bridge.web.console.who import holder_words, was_first
from bridge.web.operator_models import MAX_BODY
from bridge.web.reading import row_id

OPTED_OUT = "This person has opted out, and gets no texts."
SENT_BEFORE = "This form was sent already with other words. Read what came of it, then send this one again."


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    _texts(pages, guarded, rt)
    _drafts(pages, guarded, rt)
    _suggestions(pages, guarded, rt)


def _texts(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/texts")
    @guarded
    def send_text(id_: str) -> Any:
        row, body = row_id(id_, NONE), typed()
        try:
            texts.write_in(rt, asked("text", row, body), row, body, as_holder=True)
        except BridgeError as error:
            return show(rt, row, Form(body, why_refused(error), 409))
        return done("", address(row, sent=1))

    @pages.post("/conversations/<id_>/count")
    @guarded
    def count_text(id_: str) -> str:
        return render_template("console/parts/count.html", counted=texts.count(rt, row_id(id_, NONE), typed()))

    @pages.post("/conversations/<id_>/ask")
    @guarded
    def ask_agent(id_: str) -> Answer:
        to, content = address(row := row_id(id_, NONE)), typed()
        send = field("send") == "yes"
        try:
            instructions.ask(rt, asked("ask", row, content, send), row, content, send=send)
        except instructions.NotNow as error:
            return refused(str(error), to)
        except BridgeError as error:
            return refused(why_refused(error), to)
        return done("The agent is asked. Its answer " + ("is sent." if send else "comes as a draft."), to)


def _drafts(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/drafts/<draft_id>/send")
    @guarded
    def send_draft(id_: str, draft_id: str) -> Any:
        row, draft, body = row_id(id_, NONE), row_id(draft_id, NONE), typed()
        try:
            drafts.send(rt, asked("draft", draft, body), draft, body)
        except DraftGone as error:
            return refused(str(error), address(row))
        except BridgeError as error:
            return show(rt, row, Form(body, why_refused(error), 409, draft))
        return done("The draft is sent.", address(row))

    @pages.post("/conversations/<id_>/drafts/<draft_id>/discard")
    @guarded
    def discard_draft(id_: str, draft_id: str) -> Answer:
        to = address(row_id(id_, NONE))
        try:
            drafts.discard(rt, operator(), row_id(draft_id, NONE))
        except HeldBy as error:
            return refused(was_first(error.holder, operator()), to)
        except DraftGone as error:
            return refused(str(error), to)
        return done("The draft is discarded.", to)


def _suggestions(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/suggest")
    @guarded
    def suggest(id_: str) -> str:
        row = row_id(id_, NONE)
        try:
            request_id = draft_requests.request(rt, Asked(operator()), row)
        except BridgeError as error:
            return _suggestion(None, str(error) or OPTED_OUT)
        return _suggestion(draft_requests.read(rt, request_id))

    @pages.get("/suggestions/<request_id>")
    @guarded
    def suggestion(request_id: str) -> str:
        return _suggestion(draft_requests.read(rt, row_id(request_id, NONE)))


def _suggestion(draft: DraftNow | None, fault: str = "") -> str:
    """Return the draft on demand, or an element that asks for it again."""
    words = "\n\n".join(str(message["body"]) for message in (draft.messages or []) if draft) if draft else ""
    gone = "" if draft else fault or "There is no such draft any more."
    return render_template("console/parts/suggestion.html", draft=draft, words=words, fault=gone)


def typed() -> str:
    """Return the text as it was typed. A browser sends each line break as two characters."""
    return request.form.get("body", "").replace("\r\n", "\n").replace("\x00", "")[: MAX_BODY + 1]


def asked(*parts: Any) -> Asked:
    """Return the request with the key of its form."""
    return Asked(operator(), f"console {field('key', 64)}", idempotency.digest("console", *parts))


def why_refused(error: BridgeError) -> str:
    """Return why a text was not sent."""
    if isinstance(error, HeldBy):
        return f"{holder_words(error.holder, operator(), timed=True)} Your text was not sent."
    if isinstance(error, OptedOut):
        return OPTED_OUT
    if isinstance(error, KeyReused):
        return SENT_BEFORE
    if isinstance(error, Unfit):
        return f"The text {error.fault}."
    raise error
