"""Reconciling a turn whose outcome is unknown: the chat's transcript shows whether the agent received it."""

from __future__ import annotations

from datetime import datetime, timedelta

from bridge.chats import rows
from bridge.db.models import Chat, ChatStatus
from bridge.providers.agents import transcript
from bridge.providers.agents.contract import ChatState, RemoteChat
from bridge.providers.agents.transcript import advance, at_the_end, find_turn, unread_handoff
from bridge.providers.errors import ChatEnded, RemoteError
from bridge.queues import conversation_queue
from bridge.runtime import Runtime
from bridge.turns.ask import ask, ask_in_new_chat, is_held, leave, poison
from bridge.turns.claim import begin_asking
from bridge.turns.values import (
    NOT_RECEIVED_AFTER,
    STILL_ON_ITS_WAY,
    Answer,
    ClaimedTurn,
    Escalated,
    GiveUp,
    NotAsked,
    Outcome,
    RetryAt,
)

STABLE_FOR = timedelta(seconds=10)
"""How long an answer in the transcript must stay the same to be complete: the agent may still be adding to it."""

RECHECK_ANSWER_AFTER = timedelta(seconds=10)
"""The longest pause between two checks for an answer that is being made; the person is waiting for it."""

NO_ANSWER_AFTER = timedelta(minutes=11)
"""A request without an answer for this long will get none. A tool of the agent may run for ten minutes."""


def reconcile(rt: Runtime, claimed: ClaimedTurn) -> Outcome:
    """Find out from the chat's transcript what happened to a turn whose outcome is unknown.

    A complete answer: :class:`Answer`. Received and not answered yet: :class:`RetryAt`. Received, and the chat has
    ended or 11 minutes have passed: :class:`GiveUp`; or ask again, if an operator wants that. Not received: ask again,
    once the first request can no longer arrive. If a human has the chat or the conversation, nothing is asked.
    """
    assert claimed.chat and claimed.asked_at
    try:
        seen = rt.agents.of(claimed.chat.provider).get_chat(claimed.chat.provider_chat_id)
    except ChatEnded:
        return _ask_anew(rt, claimed, ended=True)
    except RemoteError as error:  # the error says nothing about the turn
        again = RetryAt(str(error), claimed.next_try(rt.now(), error.retry_after), error=error)
        return poison(claimed) or again
    found = find_turn(seen.items, claimed.chat.bookmark, claimed.content)
    if seen.state is ChatState.WITH_HUMAN:
        return _with_human(rt, claimed, seen, found)
    ended = seen.state is ChatState.ENDED
    items = len(seen.items or ())
    no_more = ended or rt.now() - claimed.asked_at > NO_ANSWER_AFTER
    if found.answered and not no_more and items != claimed.items_at_last_check:
        return RetryAt("the agent may still be answering", rt.now() + STABLE_FOR, items_at_last_check=items)
    if found.answered or (no_more and found.replied) or (ended and found.hung_up):
        after = advance(claimed.chat.bookmark, found.answer, claimed.content)
        return Answer(claimed.chat, found.answer, after, ended, escalated=found.handed_over and not ended)
    if found.received is False:
        return _ask_again(rt, claimed, ended)
    if claimed.reopened and (ended or no_more):
        return _ask_anew(rt, claimed, ended=ended)
    if found.received and ended:
        return GiveUp("the agent received it, and the chat ended before there was an answer", found.answer)
    if no_more:
        return GiveUp("the agent received it and did not answer", found.answer)
    recheck_at = min(claimed.next_try(rt.now()), rt.now() + RECHECK_ANSWER_AFTER)
    return RetryAt("the agent received it and has not answered yet", recheck_at, items_at_last_check=items)


def _with_human(rt: Runtime, claimed: ClaimedTurn, seen: RemoteChat, found: transcript.Finding) -> Outcome:
    """A human has the chat. What it has received is settled, once the answer does not change any more: they see it.

    What it has not received waits for the agent, once the request can no longer arrive.
    """
    assert claimed.chat
    before, items = claimed.chat.bookmark, len(seen.items or ())
    if found.received and items == claimed.items_at_last_check:
        after = advance(before, found.answer, claimed.content)
        return Answer(claimed.chat, found.answer, after, ended=False, escalated=True)
    if found.received:
        return RetryAt("the agent may still be answering", rt.now() + STABLE_FOR, items_at_last_check=items)
    if found.received is None:
        return Escalated(claimed.chat, before, unread_handoff(seen.items, before), status=None)
    arrived_by = _arrived_by(claimed)
    if rt.now() < arrived_by:
        return RetryAt("the chat does not show it yet", min(arrived_by, rt.now() + RECHECK_ANSWER_AFTER))
    return Escalated(claimed.chat, at_the_end(seen.items, before), unread_handoff(seen.items, before))


def _arrived_by(claimed: ClaimedTurn) -> datetime:
    """Return when the chat shows the request, if it has arrived."""
    assert claimed.asked_at
    return claimed.asked_at + (NOT_RECEIVED_AFTER if claimed.response_received else STILL_ON_ITS_WAY)


def _ask_anew(rt: Runtime, claimed: ClaimedTurn, *, ended: bool) -> Outcome:
    """Ask in a new chat, unless a person has the conversation. ``ended``: the old chat has ended at its provider."""
    if claimed.held:
        return NotAsked()
    return ask_in_new_chat(rt, claimed, ended=claimed.chat if ended else None)


def _ask_again(rt: Runtime, claimed: ClaimedTurn, ended: bool) -> Outcome:
    """The chat has not received it. Ask again, after a moment in which the first request may still arrive."""
    assert claimed.chat
    if ended:
        return _ask_anew(rt, claimed, ended=True)
    arrived_by = _arrived_by(claimed)
    if rt.now() < arrived_by:
        return RetryAt("the chat does not show it yet", min(arrived_by, rt.now() + RECHECK_ANSWER_AFTER))
    if claimed.held:
        return NotAsked()
    if poisoned := poison(claimed):
        return poisoned
    if claimed.chat.fails:
        leave(rt, claimed, rows.FAILS)
        return ask_in_new_chat(rt, claimed)
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        if is_held(tx, claimed):
            return NotAsked()
        still_open = tx.session.get_one(Chat, claimed.chat.id, with_for_update=True).status is ChatStatus.ONGOING
        if still_open:
            begin_asking(tx, claimed, claimed.chat)
    return ask(rt, claimed) if still_open else ask_in_new_chat(rt, claimed)
