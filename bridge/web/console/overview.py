"""The first page: how the bridge does now, and the plots of the last day and month."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, url_for

from bridge.runtime import Runtime
from bridge.web.console import live
from bridge.web.console.access import Guard
from bridge.web.console.plots import About, plot
from bridge.web.queries import overview
from bridge.web.queries.figures import Figures

HOURS = About("hours", "Last 24 hours", "%H:%M", 6)
DAYS = About("days", "Last 30 days", "%d %b", 7)


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    figures = Figures(rt)

    @pages.get("/")
    @guarded
    def overview() -> str:
        parts = _now(rt)
        return render_template("console/overview.html", parts=parts, poller=live.poller("now", _address(), parts))

    @pages.get("/overview/now")
    @guarded
    def overview_now() -> Response:
        return live.changes("now", _address(), _now(rt))

    @pages.get("/overview/figures")
    @guarded
    def overview_figures() -> str:
        shown = figures.read()
        if shown is None:
            return render_template("console/parts/counting.html")
        plots = (plot(HOURS, shown.hours), plot(DAYS, shown.days))
        return render_template("console/parts/figures.html", shown=shown, plots=plots)


def _address() -> str:
    return url_for("console.overview_now")


def _now(rt: Runtime) -> dict[str, str]:
    return {"now": render_template("console/parts/now.html", numbers=overview.at_a_glance(rt))}
