"""Live pages: a page asks every few seconds for the parts that have changed, and gets 204 if none has.

A part is an element with an id of its own. The request names a digest of each part as the page has it, so no process
remembers what it has sent to whom. What an operator is typing is never a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from flask import Response, request
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

UNCHANGED = 204


def version(parts: Mapping[str, str]) -> str:
    """Return the digests of the parts, in order. The token of forms is another one each second, and does not count."""
    bare = (html.replace(generate_csrf(), "") for html in parts.values())
    return "-".join(hashlib.sha256(html.encode()).hexdigest()[:10] for html in bare)


def poller(name: str, address: str, parts: Mapping[str, str]) -> Markup:
    """Return the element that asks for changes. ``address``: of the view that answers with :func:`changes`."""
    glue = "&" if "?" in address else "?"
    return Markup(
        '<div id="live-{}" class="poller" hidden hx-get="{}{}v={}" hx-trigger="every 3s, news from:body" '
        'hx-swap="none" hx-swap-oob="true"></div>'
    ).format(name, address, glue, version(parts))


def changes(name: str, address: str, parts: Mapping[str, str]) -> Response:
    """Return the parts that have changed, and the poller that knows them."""
    known = request.args.get("v", "").split("-")
    new = version(parts).split("-")
    if known == new:
        return Response(status=UNCHANGED)
    known += [""] * len(new)
    changed = [html for html, digest, old in zip(parts.values(), new, known, strict=False) if digest != old]
    return Response("\n".join([*changed, poller(name, address, parts)]), mimetype="text/html")


def safe(parts: Mapping[str, str]) -> dict[str, Markup]:
    """Return the parts for a template. Jinja has escaped them already."""
    return {name: Markup(html) for name, html in parts.items()}  # noqa: S704


def is_asking() -> bool:
    """Return True if this request asks for changes."""
    return "v" in request.args
