"""Who may see the console: an operator with a session. Everybody else gets the login page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import Request, Response, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as Answer

from bridge.operators import sessions
from bridge.operators.sessions import Session
from bridge.runtime import Runtime
from bridge.web.auth import OPERATOR, declares
from bridge.web.console.security import COOKIE, PATH

View = Callable[..., ResponseReturnValue]
Guard = Callable[[View], Callable[..., Any]]


def session_required(rt: Runtime) -> Guard:
    """Require a session. ``bridge.web.auth.operator`` is its operator's name."""

    def decorate(view: View) -> Callable[..., Any]:
        @declares(OPERATOR)
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            found = recognise(rt)
            if found is None:
                return _log_in_first()
            if not is_live():
                sessions.touch(rt, found)
            return view(*args, **kwargs)

        return checked

    return decorate


def recognise(rt: Runtime) -> Session | None:
    """Return the session of the caller, and remember it for this request. ``None``: a stranger."""
    found = sessions.find(rt, request.cookies.get(COOKIE, ""))
    if found:
        g.operator, g.console_session = found.operator, found
    return found


def current() -> Session:
    """Return the session of this request. Only for views with :func:`session_required`."""
    found: Session = g.console_session
    return found


def is_live() -> bool:
    """Return True if the page asks by itself whether something has changed. That is no use of the session."""
    return "v" in request.args


def back_to(given: str | None) -> str:
    """Return the page of the console to go to. Another address may lead anywhere, and is not followed."""
    parts = urlsplit(given or "")
    own = not parts.scheme and not parts.netloc and parts.path.startswith(f"{PATH}/") and "\\" not in parts.path
    return parts.path + (f"?{parts.query}" if parts.query else "") if own else url_for("console.overview")


def caller(asked: Request) -> str:
    """Return the caller's address. Behind a proxy it is the last one that the proxy has added.

    A caller that comes from a public address is no proxy of ours, whatever its headers say.
    """
    peer = asked.remote_addr or ""
    forwarded = asked.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        return forwarded if forwarded and ip_address(peer).is_private else peer
    except ValueError:
        return peer


def _log_in_first() -> Response | Answer:
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": url_for("console.log_in")})
    came = request.full_path.rstrip("?") if request.method == "GET" else None
    if came and request.headers.get("Sec-Fetch-Site") == "cross-site":
        # The browser keeps a strict cookie to itself when another site has led here. It sends it when the page reloads.
        return make_response(render_template("console/once_more.html", came=came))
    return redirect(url_for("console.log_in", next=came), 303)
