"""The page of one conversation: its transcript, who has it, and the forms for all that an operator does in it.

What is live and what is not: the head and the transcript are parts that change by themselves. The forms are not, so
nothing that is being typed is lost. If the holder changes meanwhile, the head tells it, and the form is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request, url_for

from bridge.chats.ending import Outcome
from bridge.db.models import ChatStatus, Holder, MessageStatus
from bridge.operators import chats as chat_acts
from bridge.operators import holding, labels
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console import inbox, live, transcript
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, refused
from bridge.web.console.inbox import Wanted
from bridge.web.queries import conversations
from bridge.web.queries.conversations import ConversationView, Reader, WholeConversation
from bridge.web.reading import row_id

NONE = "There is no such conversation."
PAGE = 50
LONGEST_WINDOW = 200
"""Texts of the live part, if many have come while the page was open."""
PRINTED = 1000


@dataclass(frozen=True)
class Form:
    """The state of the form for a text: what was typed, and what is wrong with it."""

    body: str = ""
    fault: str = ""
    status: int = 200
    draft: int | None = None
    """The draft of the agent that is being edited."""


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/conversations/<id_>")
    @guarded
    def conversation(id_: str) -> Response:
        return show(rt, row_id(id_, NONE), Form())

    @pages.get("/conversations/<id_>/live")
    @guarded
    def conversation_live(id_: str) -> Response:
        whole = _window(rt, row_id(id_, NONE), request.args.get("since", ""))
        return live.changes("conversation", _address(whole), _parts(rt, whole, inbox.wanted()))

    @pages.get("/conversations/<id_>/earlier")
    @guarded
    def conversation_earlier(id_: str) -> str:
        whole = _found(rt, row_id(id_, NONE), Reader(operator(), PAGE, request.args.get("cursor")))
        return render_template("console/parts/earlier.html", whole=whole, **_shown(whole, to_the_end=False))

    @pages.get("/conversations/<id_>/print")
    @guarded
    def print_conversation(id_: str) -> str:
        whole = _found(rt, row_id(id_, NONE), Reader(operator(), PRINTED, request.args.get("cursor")))
        return render_template("console/print.html", whole=whole, now=rt.now(), **_shown(whole, to_the_end=True))

    @pages.post("/conversations/<id_>/chats/<chat_id>/end")
    @guarded
    def end_chat(id_: str, chat_id: str) -> Any:
        outcome = chat_acts.end_one(rt, operator(), row_id(chat_id, NONE))
        to = address(row_id(id_, NONE))
        if outcome is Outcome.QUEUED:
            return done("The chat is being ended. The person's next text opens a new one.", to)
        return refused("This chat has ended already.", to)


def show(rt: Runtime, id_: int, form: Form) -> Response:
    """Return the whole page. ``form``: a text that was refused stays in it."""
    asked = replace(inbox.wanted(), cursor=None)
    whole = _window(rt, id_, "")
    parts = {**inbox.list_parts(rt, asked, id_), **_parts(rt, whole, asked)}
    view, form = whole.conversation, form if form.fault or form.body else _edited(whole)
    page = render_template(
        "console/conversation.html",
        whole=whole,
        view=view,
        form=form,
        wanted=asked,
        parts=live.safe(parts),
        poller=live.poller("conversation", _address(whole), parts),
        replies=labels.list_replies(rt),
        key=secrets.token_hex(16),
        mine=is_mine(view),
        earlier=whole.earlier,
        sent="sent" in request.args,
        suggests=rt.settings.drafts,
    )
    return make_response(page, form.status)


def _edited(whole: WholeConversation) -> Form:
    """Return the form with the draft that the address names."""
    drafts = [text for text in whole.messages if text.status is MessageStatus.DRAFT and not text.dismissed_at]
    chosen = [text for text in drafts if str(text.id) == request.args.get("draft")]
    return Form(chosen[0].body, draft=chosen[0].id) if chosen else Form()


def address(id_: int, **more: Any) -> str:
    """Return the page of this conversation, beside the list as it is."""
    return url_for("console.conversation", id_=id_, **inbox.wanted().query, **more)


def is_mine(view: ConversationView) -> bool:
    return view.holder.kind is Holder.PERSON and view.holder.name == operator()


def _window(rt: Runtime, id_: int, since: str) -> WholeConversation:
    """Return the conversation with its newest texts: a page, or all since the first text that the browser shows."""
    whole = _found(rt, id_, Reader(operator(), PAGE))
    first = int(since) if since.isascii() and since.isdigit() and len(since) < 20 else None
    if first and whole.earlier and whole.messages and whole.messages[0].id > first:
        longer = _found(rt, id_, Reader(operator(), LONGEST_WINDOW))
        whole = replace(longer, messages=[text for text in longer.messages if text.id >= first])
    if whole.conversation.unread and whole.messages:
        labels.mark_read(rt, operator(), id_, whole.messages[-1].id)
        whole = replace(whole, conversation=replace(whole.conversation, unread=0))
    return whole


def _found(rt: Runtime, id_: int, reader: Reader) -> WholeConversation:
    return conversations.get_conversation(rt, id_, reader) or abort(404, NONE)


def _address(whole: WholeConversation) -> str:
    since = whole.messages[0].id if whole.messages else None
    return url_for(
        "console.conversation_live",
        id_=whole.conversation.id,
        since=since,
        **replace(inbox.wanted(), cursor=None).query,
    )


def _parts(rt: Runtime, whole: WholeConversation, asked: Wanted) -> dict[str, str]:
    """Return the live parts of the conversation. The list beside it has a poller of its own on the inbox page only."""
    about = {"whole": whole, "view": whole.conversation, "mine": is_mine(whole.conversation)}
    about |= {"me": operator(), "chat": _open_chat(whole), "wanted": asked, "unanswered": _unanswered(rt, whole)}
    parts = inbox.list_parts(rt, asked, whole.conversation.id) if live.is_asking() else {}
    return {
        **parts,
        "head": render_template("console/parts/head.html", **about),
        "transcript": render_template("console/parts/transcript.html", **{**about, **_shown(whole, to_the_end=True)}),
        "newest": render_template("console/parts/newest.html", **about),
    }


def _unanswered(rt: Runtime, whole: WholeConversation) -> int:
    """Return how many texts the agent would answer if it got the conversation back."""
    view = whole.conversation
    return 0 if view.holder.kind is Holder.AGENT else holding.count_unanswered(rt, view.id)


def _shown(whole: WholeConversation, *, to_the_end: bool) -> dict[str, Any]:
    """Return the entries of the page of texts, with what lies between them."""
    since = whole.messages[0].created_at if whole.earlier and whole.messages else None
    every = transcript.entries(whole.messages, whole.notes, whole.chats, since)
    if not to_the_end and whole.messages:
        last = whole.messages[-1].created_at
        every = [entry for entry in every if entry.at <= last]
    return {"entries": every, "state_of": transcript.state_of, "has_failed": transcript.has_failed, "me": operator()}


def _open_chat(whole: WholeConversation) -> Any:
    ongoing: Sequence[Any] = [each.chat for each in whole.chats if each.chat.status is ChatStatus.ONGOING]
    return ongoing[0] if ongoing else None
