"""The page for ending stale chats: first what would be ended, then the end."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from bridge.chats import ending
from bridge.operators import chats as acts
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import counted, done, refused
from bridge.web.queries import chats

MOST = 1000
"""Chats that one click ends."""

SHOWN = 100
CHOICES = {"1h": timedelta(hours=1), "6h": timedelta(hours=6), "12h": timedelta(hours=12), "24h": timedelta(hours=24)}
CHOICES |= {"3d": timedelta(days=3), "7d": timedelta(days=7)}


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/stale-chats")
    @guarded
    def stale_chats() -> str:
        chosen = request.args.get("idle", "")
        result = None
        if idle := CHOICES.get(chosen):
            result = acts.end_stale(rt, operator(), idle, limit=MOST, dry_run=True)
        shown = chats.some(rt, result.chat_ids[:SHOWN]) if result else []
        default = rt.settings.stale_after or ending.DEFAULT_IDLE
        return render_template(
            "console/stale.html", result=result, shown=shown, choices=CHOICES, chosen=chosen, default=default
        )

    @pages.post("/stale-chats/end")
    @guarded
    def end_stale_chats() -> Answer:
        idle = CHOICES.get(request.form.get("idle", ""))
        if idle is None:
            return refused("Choose how long a chat must have been idle.", url_for("console.stale_chats"))
        result = acts.end_stale(rt, operator(), idle, limit=MOST)
        more = " There may be more: end them again." if result.queued == MOST else ""
        return done(f"{counted(result.queued, 'chat')} ended.{more}", url_for("console.stale_chats"))
