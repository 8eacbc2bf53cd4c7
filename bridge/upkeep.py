"""The upkeep: what the clock calls for, and the ending of chats.

The sweeper does no work of its own: it finds what is due and that nobody was told of, and rings.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete

from bridge import chats, holds, line
from bridge.errors import RemoteError
from bridge.models import Worker
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SWEEP_LIMIT = 500
"""Rings of one line in one sweep. What is left over waits for the next one, the oldest first."""

FORGET_WORKERS_AFTER = timedelta(hours=1)
"""A worker that died without signing off leaves a row; nothing refers to it once its work was released."""


def sweep(rt: Runtime) -> None:
    """Ring for every line that is due and that nobody was told of; first take the work of the dead from them."""
    for each, provider in ((line.TURNS, rt.agent.provider), (line.DELIVERIES, rt.carrier.provider)):
        with rt.sessions.begin() as session:
            released = line.release_dead(session, each, rt.now())
            due = [*holds.probes(session, provider, each, rt.now()), *line.unrung(session, each, rt.now(), SWEEP_LIMIT)]
        if released:
            log.warning("%s: the work of a dead worker is taken up again: %s conversations", each.step, released)
        for conversation_id in due:
            rt.bell.ring(each.step, conversation_id)
    for chat_id in chats.book_endings(rt, SWEEP_LIMIT):
        rt.bell.ring(chats.STEP, chat_id)
    _forget_workers(rt)


def end_stale(rt: Runtime) -> None:
    """End the chats that are idle for longer than STALE_AFTER, if that is set."""
    if rt.settings.stale_after is None:
        return
    result = chats.end_stale(rt, rt.settings.stale_after)
    if result.queued:
        log.info("%s stale chats are being ended", result.queued)


def end_chat(rt: Runtime, chat_id: int) -> None:
    """Tell the provider that a chat is over. One that has ended already counts as ended.

    On a fault the chat stays ``ENDING``: the sweeper rings again.
    """
    provider_chat_id = chats.ending(rt, chat_id)
    if provider_chat_id is None:
        return
    try:
        rt.agent.end_chat(provider_chat_id)
    except RemoteError as error:
        log.warning("chat %s could not be ended yet: %s", chat_id, error)
        return
    chats.mark_ended(rt, chat_id)


def _forget_workers(rt: Runtime) -> None:
    with rt.sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.seen_at < rt.now() - FORGET_WORKERS_AFTER))
