"""The page of the audit: who has done what, newest first."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from bridge.operators.audit import Action
from bridge.runtime import Runtime
from bridge.web.console.access import Guard
from bridge.web.queries import audit
from bridge.web.queries.paging import LARGEST_ID

PAGE = 50


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/audit")
    @guarded
    def list_audit() -> str:
        wanted = _filter()
        page = audit.list_audit(rt, wanted)
        names = sorted(rt.settings.operators)
        return render_template("console/audit.html", page=page, wanted=wanted, actions=Action, operators=names)


def _filter() -> audit.Filter:
    """Read the filter. A word that means nothing here filters nothing."""
    given = request.args
    action = given.get("action", "")
    id_ = given.get("conversation", "")
    known = id_.isascii() and id_.isdigit() and len(id_) < 20 and 0 < int(id_) <= LARGEST_ID
    return audit.Filter(
        operator=given.get("operator", "").replace("\x00", "")[:64] or None,
        action=Action(action) if action in set(Action) else None,
        conversation_id=int(id_) if known else None,
        limit=PAGE,
        cursor=given.get("cursor"),
    )
