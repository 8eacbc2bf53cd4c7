"""The page of failures: what was given up, with the cause and the remedy, to be tried again or dismissed."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from flask import Blueprint, abort, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from bridge.operators import failures as acts
from bridge.operators import retry
from bridge.operators.failures import Kind
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import counted, done, refused
from bridge.web.queries import failures
from bridge.web.queries.failures import IN_THE_INBOX
from bridge.web.queries.failures import Kind as Listed
from bridge.web.reading import row_id

PAGE = 50
AT_ONCE = 100
"""Failures that one click retries."""
MOST = 1000
"""Failures that one click dismisses."""

NAMES = {
    Listed.TURN: "No answer",
    Listed.MESSAGE: "Not sent or not delivered",
    Listed.TASK: "A task fails",
    Listed.SILENT: "The agent gives no word",
    Listed.CONTACT: "A contact is not written",
    Listed.NOTICE: "The team is not told",
}
WORDS = {Kind.TURN: "turn", Kind.MESSAGE: "text", Kind.NOTICE: "notice"}
NONE = "There is no such failure."

E = TypeVar("E", bound=StrEnum)


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/failures")
    @guarded
    def list_failures() -> str:
        page = failures.list_failures(rt, limit=PAGE, cursor=request.args.get("cursor"), without=IN_THE_INBOX)
        return render_template("console/failures.html", page=page, names=NAMES, kinds=Kind)

    @pages.post("/failures/<kind>/<id_>/retry")
    @guarded
    def retry_failure(kind: str, id_: str) -> Answer:
        try:
            retry.RETRY[one_of(Kind, kind)](rt, operator(), row_id(id_, NONE))
        except retry.Refused as error:
            return refused(str(error))
        except acts.Unknown:
            return refused("It is gone: somebody else was first, or it was tried again by itself.")
        return done("It is tried again.")

    @pages.post("/failures/<kind>/<id_>/dismiss")
    @guarded
    def dismiss_failure(kind: str, id_: str) -> Answer:
        try:
            acts.dismiss(rt, operator(), one_of(Kind, kind), row_id(id_, NONE), 1)
        except acts.Unknown:
            return refused("It is gone from the list already.")
        return done("It is off the list.")

    @pages.post("/failures/retry")
    @guarded
    def retry_failures() -> Answer:
        kind = one_of(Kind, request.form.get("kind", ""))
        tried = retry.retry_some(rt, operator(), kind, AT_ONCE)
        again = counted(len(tried.turns) + len(tried.messages) + len(tried.notices), WORDS[kind])
        left = f" {counted(tried.left, WORDS[kind])} can't be tried again now." if tried.left else ""
        return done(f"{again} tried again.{left}", url_for("console.list_failures"))

    @pages.post("/failures/dismiss")
    @guarded
    def dismiss_failures() -> Answer:
        kind = one_of(Kind, request.form.get("kind", ""))
        gone = acts.dismiss(rt, operator(), kind, None, MOST)
        return done(f"{counted(gone, WORDS[kind])} removed from the list.", url_for("console.list_failures"))


def one_of(kinds: type[E], word: str) -> E:
    """Return the member with this value. Another word is in no address or form of ours."""
    try:
        return kinds(word)
    except ValueError:
        abort(404)
