"""The views of a conversation's holder: take it over, hand it to the team, hand it back to the agent."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.operators import holding
from bridge.operators.conversations import HeldBy, HolderNow
from bridge.operators.holding import HandBack
from bridge.runtime import Runtime
from bridge.web import holding_models as models
from bridge.web.auth import operator
from bridge.web.conversation_models import HolderState
from bridge.web.operators import NO_CONVERSATION, Guard
from bridge.web.problems import problem
from bridge.web.reading import body_as, json_of, row_id


def add_views(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    """Add the views to the blueprint of the admin API."""
    admin.register_error_handler(HeldBy, _held)

    @admin.post("/conversations/<conversation_id>/take-over")
    @guarded
    def take_over(conversation_id: str) -> Response:
        id_, wish = row_id(conversation_id, NO_CONVERSATION), body_as(models.TakeOver)
        return _answer(holding.take_over(rt, operator(), id_, force=wish.force))

    @admin.post("/conversations/<conversation_id>/hand-to-team")
    @guarded
    def hand_to_team(conversation_id: str) -> Response:
        id_, wish = row_id(conversation_id, NO_CONVERSATION), body_as(models.HandToTeam)
        return _answer(holding.hand_to_team(rt, operator(), id_, wish.reason))

    @admin.post("/conversations/<conversation_id>/hand-back")
    @guarded
    def hand_back(conversation_id: str) -> Response:
        id_, wish = row_id(conversation_id, NO_CONVERSATION), body_as(models.HandBackWish)
        return _answer(holding.hand_back(rt, operator(), id_, HandBack(wish.note, wish.answer)))


def _answer(now: HolderNow) -> Response:
    return json_of(models.Held(holder=HolderState.model_validate(now)))


def _held(error: HeldBy) -> Response:
    shown = HolderState.model_validate(error.holder)
    return problem(409, str(error), holder=shown.model_dump(mode="json"))
