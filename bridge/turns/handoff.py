"""The check of a chat that a human at the provider has: is it back? Nothing is sent to it.

A check costs no attempt, and texts that come meanwhile become one turn when the chat is back. The pauses between two
checks grow: ``bridge.inbound.holder``. A text that expires is given up, whoever has the chat.
"""

from __future__ import annotations

from bridge.chats import rows
from bridge.db.engine import patient
from bridge.inbound import holder
from bridge.providers.agents.contract import ChatState, RemoteChat
from bridge.providers.agents.transcript import at_the_end, unread_handoff
from bridge.providers.errors import ChatEnded, RemoteError
from bridge.queues import conversation_queue
from bridge.queues.timing import MAX_CLOCK_SKEW
from bridge.runtime import Runtime
from bridge.turns.claim import first_expiry
from bridge.turns.values import ClaimedCheck


def check(rt: Runtime, claimed: ClaimedCheck) -> bool:
    """Ask the provider who has the chat. Return whether the agent answers again, and the queue is due."""
    try:
        seen = rt.agents.of(claimed.chat.provider).get_chat(claimed.chat.provider_chat_id)
    except ChatEnded:
        return _go_on(rt, claimed, None)
    except RemoteError:
        return _wait(rt, claimed, None)
    return _wait(rt, claimed, seen) if seen.state is ChatState.WITH_HUMAN else _go_on(rt, claimed, seen)


@patient
def _wait(rt: Runtime, claimed: ClaimedCheck, seen: RemoteChat | None) -> bool:
    """End the lease until the next check, or until a text expires. Without a text, no check is due.

    If nobody has told the person of the human yet, do it now. ``seen``: the chat, if it could be read.
    """
    conversation_id, chat = claimed.lease.conversation_id, claimed.chat
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        expires_at = first_expiry(rt, tx, conversation_id)
        due_at = expires_at and min(holder.next_check(claimed.since, tx.now), expires_at)
        conversation_queue.postpone(tx, claimed.lease, due_at)
        if seen:
            words = unread_handoff(seen.items, chat.bookmark)
            rows.move_bookmark(tx, chat, at_the_end(seen.items, chat.bookmark))
            holder.escalate(rt, tx, conversation_id, chat.provider, words)
    return False


@patient
def _go_on(rt: Runtime, claimed: ClaimedCheck, seen: RemoteChat | None) -> bool:
    """Give the conversation back to the agent: in this chat, or in a new one if it has ended (``seen``: ``None``).

    What the human and the person wrote there belongs to no turn, so the bookmark moves behind it.
    """
    chat = claimed.chat
    with rt.database.transaction() as tx:
        conversation_queue.postpone(tx, claimed.lease, tx.now - MAX_CLOCK_SKEW)
        if seen is None or seen.state is ChatState.ENDED:
            rows.end(tx, chat, rows.AT_PROVIDER)
        else:
            rows.move_bookmark(tx, chat, at_the_end(seen.items, chat.bookmark))
        holder.give_back(tx, claimed.lease.conversation_id)
    return True
