"""The views of what operators do: texts by a person, the pause, repeated and dismissed failures, and the audit."""

from __future__ import annotations

from collections.abc import Callable
from threading import BoundedSemaphore
from typing import Any

from flask import Blueprint, Response, abort, request

from bridge.config import WEB_THREADS
from bridge.lib.errors import BridgeError
from bridge.operators import draft_requests, failures, instructions, pausing, retry, texts
from bridge.operators.conversations import UnknownConversation
from bridge.operators.draft_requests import DraftNow
from bridge.operators.idempotency import KeyReused
from bridge.operators.instructions import NotNow, Start
from bridge.operators.texts import OptedOut, Pair, Unfit
from bridge.queues.pause import Pause
from bridge.runtime import Runtime
from bridge.web import events
from bridge.web import operator_models as models
from bridge.web.auth import operator
from bridge.web.conversation_models import HolderState
from bridge.web.problems import problem
from bridge.web.queries import audit, turns
from bridge.web.reading import asked_for, body_as, json_of, query_as, row_id, unfit

NO_CONVERSATION = "There is no such conversation."
NO_FAILURE = "There is no such failure."
NO_TURN = "There is no such turn."
NO_DRAFT = "There is no such draft, or it is not kept any more."
NOT_WRITTEN = "The agent has written no draft: {}."

WAITING_FOR_DRAFTS = WEB_THREADS // 4
"""Requests of one process that may wait for a draft at once. More get the draft's id right away."""

REFUSALS: dict[type[BridgeError], tuple[int, str]] = {
    OptedOut: (409, "This person has opted out, and gets no texts."),
    UnknownConversation: (404, NO_CONVERSATION),
    KeyReused: (409, ""),
    failures.Unknown: (404, NO_FAILURE),
    retry.Refused: (409, ""),
}
"""The status and the words of each refusal; empty: the refusal's own."""

Guard = Callable[[Callable[..., Response]], Callable[..., Any]]


def add_views(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    """Add the views to the blueprint of the admin API."""
    _texts(admin, guarded, rt)
    _turns(admin, guarded, rt)
    _pause(admin, guarded, rt)
    _failures(admin, guarded, rt)
    _audit(admin, guarded, rt)
    admin.register_error_handler(Unfit, lambda error: unfit({error.field: error.fault}))
    admin.register_error_handler(NotNow, _not_now)
    for refusal in REFUSALS:
        admin.register_error_handler(refusal, _refused)


def _not_now(error: NotNow) -> Response:
    shown = HolderState.model_validate(error.holder).model_dump(mode="json") if error.holder else None
    return problem(409, str(error), **({"holder": shown} if shown else {}))


def _refused(error: BridgeError) -> Response:
    status, words = REFUSALS[type(error)]
    return problem(status, words or str(error))


def _texts(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.post("/messages")
    @guarded
    def write() -> Response:
        if _starts_agent():
            return _start(rt)
        wish = body_as(models.NewText)
        asked = asked_for("messages", wish.model_dump())
        queued = texts.write(rt, asked, Pair(wish.to, wish.sender), wish.body)
        return json_of(models.QueuedText.model_validate(queued), 202)

    @admin.post("/conversations/<conversation_id>/messages")
    @guarded
    def write_in(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        wish = body_as(models.NewTextHere)
        asked = asked_for("conversations", id_, wish.model_dump())
        return json_of(models.QueuedText.model_validate(texts.write_in(rt, asked, id_, wish.body)), 202)


def _starts_agent() -> bool:
    """Return whether the request is of the second kind: the agent speaks first."""
    given = request.get_json(silent=True)
    return isinstance(given, dict) and "start_agent" in given


def _start(rt: Runtime) -> Response:
    wish = body_as(models.StartAgent)
    asked = asked_for("messages", wish.model_dump())
    pair = Pair(wish.to, wish.sender or instructions.number_for(rt, wish.to))
    start = Start(wish.content or "", wish.dynamic_variables, wish.new_chat)
    return json_of(models.QueuedText.model_validate(instructions.start(rt, asked, pair, start)), 202)


def _draft(now: DraftNow | None) -> Response:
    if now is None:
        return problem(404, NO_DRAFT)
    if now.error:
        return problem(502, NOT_WRITTEN.format(now.error))
    if now.messages is None:
        return json_of(models.DraftRequested(id=now.id), 202)
    return json_of(models.Draft.model_validate(now))


def _turns(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    places = BoundedSemaphore(WAITING_FOR_DRAFTS)

    @admin.post("/conversations/<conversation_id>/turns")
    @guarded
    def ask(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        wish = body_as(models.NewTurn)
        asked = asked_for("turns", id_, wish.model_dump())
        told = instructions.ask(rt, asked, id_, wish.content, send=wish.send)
        return json_of(models.QueuedTurn.model_validate(told), 202)

    @admin.post("/conversations/<conversation_id>/draft")
    @guarded
    def draft(conversation_id: str) -> Response:
        id_ = row_id(conversation_id, NO_CONVERSATION)
        request_id = draft_requests.request(rt, asked_for("drafts", id_), id_)
        if not places.acquire(blocking=False):  # the other threads are for Twilio
            return _draft(draft_requests.read(rt, request_id))
        try:
            return _draft(draft_requests.wait(rt, request_id))
        finally:
            places.release()

    @admin.get("/draft-requests/<draft_id>")
    @guarded
    def get_draft(draft_id: str) -> Response:
        return _draft(draft_requests.read(rt, row_id(draft_id, NO_DRAFT)))

    @admin.get("/turns/<turn_id>")
    @guarded
    def get_turn(turn_id: str) -> Response:
        found = turns.get_turn(rt, row_id(turn_id, NO_TURN)) or abort(404, NO_TURN)
        return json_of(models.Turn.model_validate(found))


def _pause(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.get("/pause")
    @guarded
    def show_pause() -> Response:
        return _state(pausing.read(rt))

    @admin.post("/pause")
    @guarded
    def pause() -> Response:
        return _state(pausing.begin(rt, operator()))

    @admin.post("/resume")
    @guarded
    def resume() -> Response:
        pausing.end(rt, operator())
        return _state(None)


def _state(pause: Pause | None) -> Response:
    return json_of(models.PauseState(paused=pause is not None, **(vars(pause) if pause else {})))


def _failures(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.post("/turns/<turn_id>/retry")
    @guarded
    def retry_turn(turn_id: str) -> Response:
        retry.retry_turn(rt, operator(), id_ := row_id(turn_id, NO_FAILURE))
        return json_of(models.Retried(turns=[id_]), 202)

    @admin.post("/messages/<message_id>/retry")
    @guarded
    def retry_message(message_id: str) -> Response:
        retry.retry_message(rt, operator(), id_ := row_id(message_id, NO_FAILURE))
        return json_of(models.Retried(messages=[id_]), 202)

    @admin.post("/failures/retry")
    @guarded
    def retry_failures() -> Response:
        wish = body_as(models.Retry)
        return json_of(models.Retried.model_validate(retry.retry_some(rt, operator(), wish.kind, wish.limit)), 202)

    @admin.post("/failures/dismiss")
    @guarded
    def dismiss() -> Response:
        wish = body_as(models.Dismiss)
        return json_of(models.Dismissed(dismissed=failures.dismiss(rt, operator(), wish.kind, wish.id, wish.limit)))


def _audit(admin: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @admin.get("/events")
    @guarded
    def listen() -> Response:
        return events.answer(rt)

    @admin.get("/audit")
    @guarded
    def list_audit() -> Response:
        query = query_as(models.AuditQuery)
        return json_of(models.AuditPage.model_validate(audit.list_audit(rt, audit.Filter(**query.model_dump()))))
