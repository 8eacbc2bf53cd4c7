"""The forms in a conversation: who has it, texts, drafts, notes and tags.

A text that is refused stays in its form. Each form for a text has a key of its own, so a second click sends nothing
again. If somebody else was first, the answer says who.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response as Answer

from bridge.lib.errors import BridgeError
from bridge.operators import drafts, holding, idempotency, instructions, labels, texts
from bridge.operators.conversations import HeldBy, HolderNow
from bridge.operators.drafts import DraftGone
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked, KeyReused
from bridge.operators.texts import OptedOut, Unfit
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, field, refused
from bridge.web.console.conversation import NONE, Form, address, show
from bridge.web.console.who import holder_words
from bridge.web.operator_models import MAX_BODY
from bridge.web.reading import row_id

OPTED_OUT = "This person has opted out, and gets no texts."
SENT_BEFORE = "This form was sent already with other words. Read what came of it, then send this one again."
REASON = 200
TAG = 40
NOTE = 10_000
"""Characters."""


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    _holder(pages, guarded, rt)
    _texts(pages, guarded, rt)
    _drafts(pages, guarded, rt)
    _labels(pages, guarded, rt)


def was_first(holder: HolderNow) -> str:
    """Return who has the conversation, for somebody who came second."""
    return f"{holder_words(holder, operator(), timed=True)} Nothing was changed."


def _holder(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/take-over")
    @guarded
    def take_over(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        try:
            holding.take_over(rt, operator(), row, force=field("from_other") == "yes")
        except HeldBy as error:
            return refused(was_first(error.holder), to)
        return done("You have this conversation now. The agent keeps still.", to)

    @pages.post("/conversations/<id_>/hand-to-team")
    @guarded
    def hand_to_team(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        reason = field("reason", REASON)
        try:
            holding.hand_to_team(rt, operator(), row, reason or f"{operator()} wants somebody of the team")
        except HeldBy as error:
            return refused(was_first(error.holder), to)
        return done("The conversation waits for somebody of the team.", to)

    @pages.post("/conversations/<id_>/hand-back")
    @guarded
    def hand_back(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        how = HandBack(field("note", 1000) or None, answer=field("answer") == "yes")
        try:
            holding.hand_back(rt, operator(), row, how)
        except HeldBy as error:
            return refused(was_first(error.holder), to)
        return done("The agent answers again.", to)


def _texts(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/texts")
    @guarded
    def send_text(id_: str) -> Any:
        row, body = row_id(id_, NONE), typed()
        try:
            texts.write_in(rt, asked("text", row, body), row, body)
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
            return refused(was_first(error.holder), to)
        except DraftGone as error:
            return refused(str(error), to)
        return done("The draft is discarded.", to)


def _labels(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/notes")
    @guarded
    def add_note(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        body = typed()[:NOTE]
        if not body.strip():
            return refused("A note needs words.", to)
        labels.add_note(rt, operator(), row, body)
        return done("", to)

    @pages.post("/conversations/<id_>/notes/<note_id>/delete")
    @guarded
    def delete_note(id_: str, note_id: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        try:
            labels.delete_note(rt, operator(), row, row_id(note_id, NONE))
        except labels.SomebodyElses as error:
            return refused(str(error), to)
        except labels.UnknownLabel:
            return refused("This note is gone already.", to)
        return done("", to)

    @pages.post("/conversations/<id_>/tags")
    @guarded
    def add_tag(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        name = " ".join(field("name", TAG).split())
        if not name:
            return refused("A tag needs a name.", to)
        try:
            labels.add_tag(rt, operator(), row, name)
        except labels.TooMany as error:
            return refused(str(error), to)
        return done("", to)

    @pages.post("/conversations/<id_>/tags/remove")
    @guarded
    def remove_tag(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        try:
            labels.remove_tag(rt, operator(), row, field("name", TAG))
        except labels.UnknownLabel:
            return done("", to)
        return done("", to)


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
