"""The inbox: conversations by who has them, newest first, with a search by number and by words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for

from bridge.db.models import Holder
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console import live
from bridge.web.console.access import Guard
from bridge.web.queries import conversations, overview
from bridge.web.queries.conversations import Filter, Page

PAGE = 30
LONGEST = 200
"""Characters of a search."""

_NUMBER = re.compile(r"(?:whatsapp:|rcs:)?\+?[\d\s()./-]{4,}")


@dataclass(frozen=True)
class Choice:
    """Whose conversations to show."""

    name: str
    words: str
    holder: Holder | None = None
    mine: bool | None = None


CHOICES = (
    Choice("all", "All"),
    Choice("waiting", "Waiting", Holder.WAITING),
    Choice("you", "You", Holder.PERSON, True),
    Choice("others", "Others", Holder.PERSON, False),
    Choice("outside", "Outside", Holder.OUTSIDE),
    Choice("agent", "Agent", Holder.AGENT),
)
BY_NAME = {choice.name: choice for choice in CHOICES}


@dataclass(frozen=True)
class Wanted:
    """What the address asks for."""

    choice: Choice
    q: str
    tag: str
    cursor: str | None

    @property
    def query(self) -> dict[str, Any]:
        """Return it for addresses, without the page."""
        given = {"holder": self.choice.name if self.choice.holder else "", "q": self.q, "tag": self.tag}
        return {name: value for name, value in given.items() if value}

    def filter(self) -> Filter:
        """Return it for the query. A search that is written like a number finds numbers."""
        number = self.q if _NUMBER.fullmatch(self.q) else None
        return Filter(
            operator=operator(),
            holder=self.choice.holder,
            mine=self.choice.mine,
            phone=number,
            q=None if number else self.q or None,
            tag=self.tag or None,
            limit=PAGE,
            cursor=self.cursor,
        )


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.get("/inbox")
    @guarded
    def inbox() -> str:
        parts = list_parts(rt, wanted())
        poller = live.poller("inbox", _address(), parts)
        return render_template("console/inbox.html", parts=live.safe(parts), poller=poller, wanted=wanted())

    @pages.get("/inbox/live")
    @guarded
    def inbox_live() -> Response:
        return live.changes("inbox", _address(), list_parts(rt, wanted()))


def wanted() -> Wanted:
    """Read the address. A word that means nothing here filters nothing."""
    given = {name: text.replace("\x00", "").strip()[:LONGEST] for name, text in request.args.items()}
    choice = BY_NAME.get(given.get("holder", ""), CHOICES[0])
    return Wanted(choice, given.get("q", ""), given.get("tag", "")[:64], given.get("cursor") or None)


def list_parts(rt: Runtime, asked: Wanted, here: int | None = None) -> dict[str, str]:
    """Return the list as a part of a live page. ``here``: the conversation that is open beside it."""
    page: Page = conversations.list_conversations(rt, asked.filter())
    by = "number" if rt.database.keyring.first else "number or words"
    about: Mapping[str, Any] = {"page": page, "wanted": asked, "here": here, "me": operator(), "by": by}
    return {"list": render_template("console/parts/list.html", choices=_choices(rt), **about)}


def _choices(rt: Runtime) -> list[tuple[Choice, int | None]]:
    counts = overview.by_holder(rt, operator())
    return [(choice, counts.get(choice.name)) for choice in CHOICES]


def _address() -> str:
    asked = wanted()
    return url_for("console.inbox_live", **asked.query, cursor=asked.cursor)
