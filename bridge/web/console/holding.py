"""The forms by which a conversation changes hands. Whoever comes second is told who was first."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash
from werkzeug.wrappers import Response as Answer

from bridge.operators import holding
from bridge.operators.conversations import HeldBy
from bridge.operators.holding import HandBack
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import DONE, done, field, refused
from bridge.web.console.conversation import NONE, Form, address, show
from bridge.web.console.who import was_first
from bridge.web.console.writing import typed
from bridge.web.reading import row_id

REASON = 200
NOTE = 1000
"""Characters of the reason for the team, and of the sentence for the agent."""

HANDLED = " What came meanwhile counts as answered."


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/take-over")
    @guarded
    def take_over(id_: str) -> Any:
        to = address(row := row_id(id_, NONE))
        try:
            holding.take_over(rt, operator(), row, force=field("from_other") == "yes")
        except HeldBy as error:
            return refused(was_first(error.holder, operator()), to)
        if body := typed():  # from a form that was refused
            flash("You have this conversation now. Your text is not sent yet.", DONE)
            return show(rt, row, Form(body))
        return done("You have this conversation now. The agent keeps still.", to)

    @pages.post("/conversations/<id_>/hand-to-team")
    @guarded
    def hand_to_team(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        reason = field("reason", REASON)
        try:
            holding.hand_to_team(rt, operator(), row, reason or f"{operator()} wants somebody of the team")
        except HeldBy as error:
            return refused(was_first(error.holder, operator()), to)
        return done("The conversation waits for somebody of the team.", to)

    @pages.post("/conversations/<id_>/hand-back")
    @guarded
    def hand_back(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        answer = field("answer") == "yes"
        how = HandBack(field("note", NOTE) or None, answer=answer, since_our_text=True)
        try:
            holding.hand_back(rt, operator(), row, how)
        except HeldBy as error:
            return refused(was_first(error.holder, operator()), to)
        return done("The agent answers again." + ("" if answer else HANDLED), to)
