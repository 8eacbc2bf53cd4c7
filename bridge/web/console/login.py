"""The pages for logging in and out, and the list of the operator's sessions."""

from __future__ import annotations

import logging
from datetime import timedelta

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, session, url_for
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.wrappers import Response as Answer

from bridge.operators import login_limits, sessions
from bridge.operators.logins import Cause, Refusals
from bridge.runtime import Runtime
from bridge.web.auth import PUBLIC, declares, owner_of
from bridge.web.console.access import Guard, back_to, caller, current
from bridge.web.console.security import COOKIE, cookie, key, on_loopback

log = logging.getLogger(__name__)

WRONG = "This is no operator's token. Copy it from ADMIN_TOKEN or ADMIN_TOKENS."
TOO_MANY = "Too many failed logins from your address. Try again in 15 minutes."
LINK_FOR = timedelta(minutes=15)
"""How long a link logs in."""


def link(rt: Runtime, operator: str, name: str) -> str:
    """Return an address that logs this operator in, once. Only a bridge on loopback without TLS accepts it."""
    ticket = _tickets(rt).dumps([operator, name, (rt.now() + LINK_FOR).timestamp()])
    return f"{str(rt.settings.public_url).rstrip('/')}/console/enter/{ticket}"


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    refusals = Refusals(rt)

    @pages.get("/login")
    @declares(PUBLIC)
    def log_in() -> Response | Answer:
        if sessions.find(rt, request.cookies.get(COOKIE, "")):
            return redirect(back_to(request.args.get("next")), 303)
        return _page()

    @pages.post("/login")
    @declares(PUBLIC)
    def try_log_in() -> Response | Answer:
        typed = request.form.get("token", "")
        if not typed.strip():
            return _page("Type your token.", 422)
        if not login_limits.admit(rt, caller(request)):
            return _refused(Cause.TOO_MANY, TOO_MANY, 429)
        operator = owner_of(rt.settings, typed)
        if operator is None:
            return _refused(Cause.WRONG_TOKEN, WRONG, 401)
        login_limits.forgive(rt, caller(request))
        return _entered(rt, sessions.begin(rt, operator) or "")

    def _refused(cause: Cause, words: str, status: int) -> Response:
        log.warning("console: a login is refused: %s", cause)
        refusals.count(cause)
        return _page(words, status)

    @pages.get("/enter/<ticket>")
    @declares(PUBLIC)
    def enter(ticket: str) -> Response | Answer:
        token = _used(rt, ticket)
        if token is None:
            flash("This link has been used, or is too old.", "fault")
            return redirect(url_for("console.log_in"), 303)
        return _entered(rt, token)

    @pages.post("/logout")
    @guarded
    def log_out() -> Answer:
        sessions.end(rt, current())
        return _left()

    @pages.post("/logout-everywhere")
    @guarded
    def log_out_everywhere() -> Answer:
        sessions.end_all(rt, current().operator)
        return _left()

    @pages.get("/sessions")
    @guarded
    def list_sessions() -> str:
        return render_template("console/sessions.html", sessions=sessions.of(rt, current().operator), mine=current())

    @pages.post("/sessions/<name>/end")
    @guarded
    def end_session(name: str) -> Answer:
        sessions.end(rt, current(), name)
        return redirect(url_for("console.list_sessions"), 303)


def _page(fault: str = "", status: int = 200) -> Response:
    return make_response(render_template("console/login.html", fault=fault), status)


def _entered(rt: Runtime, token: str) -> Answer:
    session.clear()  # a form of before the login is none of this operator's
    answer = redirect(back_to(request.args.get("next")), 303)
    answer.set_cookie(COOKIE, token, max_age=sessions.LONGEST, **cookie(rt.settings))
    return answer


def _left() -> Answer:
    session.clear()
    answer = redirect(url_for("console.log_in"), 303)
    answer.delete_cookie(COOKIE, path="/console")
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


def _used(rt: Runtime, ticket: str) -> str | None:
    if not on_loopback(rt.settings):
        return None
    try:
        operator, name, until = _tickets(rt).loads(ticket)
    except (BadData, TypeError, ValueError):
        return None
    if operator not in rt.settings.operators or until < rt.now().timestamp():
        return None
    return sessions.begin(rt, str(operator), once=f"login link {name}"[:64])


def _tickets(rt: Runtime) -> URLSafeSerializer:
    return URLSafeSerializer(key(rt.settings), salt="login link")
