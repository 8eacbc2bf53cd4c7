"""Exports from the console: everything of one conversation as JSON, the texts of a period as CSV."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request

from bridge.runtime import Runtime
from bridge.web import exports
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.conversation import NONE
from bridge.web.queries.period import Period
from bridge.web.reading import row_id

NO_PERIOD = "Choose the first and the last day. The last one can't be before the first."


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/conversations/<id_>/export.json")
    @guarded
    def export_conversation(id_: str) -> Response:
        return _unless_busy(exports.answer_conversation(rt, operator(), row_id(id_, NONE)))

    @pages.get("/export")
    @guarded
    def export() -> Any:
        today = rt.now().date()
        return render_template("console/export.html", first=today - timedelta(days=30), last=today, fault="")

    @pages.post("/export.csv")
    @guarded
    def export_period() -> Any:
        first, last = (request.form.get(name, "") for name in ("first", "last"))
        period = _period(first, last)
        if period is None:
            page = render_template("console/export.html", first=first, last=last, fault=NO_PERIOD)
            return make_response(page, 422)
        return _unless_busy(exports.answer_period(rt, operator(), period))


def _period(first: str, last: str) -> Period | None:
    """Return the days as a period in UTC, the last one included."""
    try:
        since, until = (datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) for day in (first, last))
        return Period(since, until + timedelta(days=1)) if since <= until else None
    except (ValueError, OverflowError):
        return None


def _unless_busy(answer: Response) -> Response:
    return abort(503, exports.BUSY) if answer.status_code == 503 else answer
