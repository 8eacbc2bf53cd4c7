"""What every page shows around its content: the navigation with its numbers, and the banner of a pause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, render_template, request, url_for
from markupsafe import Markup

from bridge.runtime import Runtime
from bridge.web import events
from bridge.web.console import filters, live, statics
from bridge.web.console.access import Guard
from bridge.web.queries import overview


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/live")
    @guarded
    def frame() -> Response:
        return live.changes("frame", url_for("console.frame"), _parts(rt))

    @pages.get("/events")
    @guarded
    def news() -> Response:
        return events.answer(rt)

    @pages.app_context_processor
    def for_templates() -> dict[str, Any]:
        return {
            "static": statics.address,
            "frame": lambda: _frame(rt),
            "operator": g.get("operator"),
            "here": here,
        }

    @pages.record_once
    def add_filters(state: Any) -> None:
        state.app.jinja_env.filters.update(filters.ALL)


def here(cursor: str | None) -> str:
    """Return the address of this page with another cursor. The other parameters stay."""
    kept = {name: value for name, value in request.args.items() if name not in ("cursor", "v")}
    return url_for(request.endpoint or "", **{**(request.view_args or {}), **kept, "cursor": cursor})


def _frame(rt: Runtime) -> Mapping[str, Any]:
    """Return the parts as HTML, with their poller."""
    parts = _parts(rt)
    shown = {name: Markup(html) for name, html in parts.items()}  # noqa: S704 - Jinja has escaped them
    return {**shown, "poller": live.poller("frame", url_for("console.frame"), parts)}


def _parts(rt: Runtime) -> dict[str, str]:
    numbers = overview.at_a_glance(rt)
    return {
        "banner": render_template("console/parts/banner.html", numbers=numbers),
        "waiting": _badge("waiting", "warn", numbers.waiting, "waiting for a person"),
        "failures": _badge("failures", "bad", numbers.failures, "failures"),
    }


def _badge(name: str, kind: str, number: int, what: str) -> str:
    return render_template("console/parts/badge.html", name=name, kind=kind, number=number, what=what)
