"""The page of canned replies."""

from __future__ import annotations

import re

from flask import Blueprint, render_template, url_for
from werkzeug.wrappers import Response as Answer

from bridge.operators import labels
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, field, refused
from bridge.web.console.writing import typed

NAME = re.compile(r"[0-9A-Za-z_-]{1,40}")
BODY = 1600


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/replies")
    @guarded
    def canned_replies() -> str:
        return render_template("console/replies.html", replies=labels.list_replies(rt))

    @pages.post("/replies")
    @guarded
    def save_reply() -> Answer:
        to = url_for("console.canned_replies")
        name, body = field("name").lstrip("/"), typed()[:BODY]
        if not NAME.fullmatch(name) or not body.strip():
            return refused("A reply needs a text, and a name of one word of letters, digits, _ and -.", to)
        try:
            labels.save_reply(rt, operator(), name, body)
        except labels.TooMany as error:
            return refused(str(error), to)
        return done(f"Type /{name} in a conversation.", to)

    @pages.post("/replies/delete")
    @guarded
    def delete_reply() -> Answer:
        to = url_for("console.canned_replies")
        try:
            labels.delete_reply(rt, operator(), field("name"))
        except labels.UnknownLabel:
            return refused("It is gone already.", to)
        return done("The reply is deleted.", to)
