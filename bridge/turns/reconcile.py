"""The look: the turn was said, or may have been, and the chat itself tells what came of it."""

from __future__ import annotations

from datetime import timedelta

from bridge.chats import rows
from bridge.db.models import Chat, ChatStatus
from bridge.providers.agents.contract import ChatState
from bridge.providers.agents.transcript import advance, find_turn
from bridge.providers.errors import ChatEnded, RemoteError
from bridge.queues import conversation_queue
from bridge.runtime import Runtime
from bridge.turns.ask import ask, ask_in_new_chat, leave, no_poison
from bridge.turns.claim import begin_asking
from bridge.turns.values import Answer, ClaimedTurn, GiveUp, RetryAt

STABLE_FOR = timedelta(seconds=10)
"""An answer found by looking counts when it has not grown for this long: the agent may still be speaking."""

RECHECK_ANSWER_AFTER = timedelta(seconds=10)
"""The longest pause between two looks for an answer that is being made; the person is waiting for it."""

NOT_RECEIVED_AFTER = timedelta(seconds=5)
"""So long after it was said, a chat that does not show it has not heard it, if the provider answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=30)
"""The same where no answer came. That a chat shows at once what it hears is not documented."""

NO_ANSWER_AFTER = timedelta(minutes=11)
"""A tool of the agent may run for ten minutes. What was heard and is unanswered for longer will stay so."""


def reconcile(rt: Runtime, claimed: ClaimedTurn) -> Answer:
    """It was said, and what came of it is not known: the chat itself tells."""
    assert claimed.chat and claimed.asked_at
    try:
        seen = rt.agents.of(claimed.chat.provider).get_chat(claimed.chat.provider_chat_id)
    except ChatEnded:
        return ask_in_new_chat(rt, claimed, ended=claimed.chat)
    except RemoteError as error:  # says nothing about the turn: whatever it is, look again
        no_poison(claimed)
        raise RetryAt(str(error), claimed.next_try(rt.now(), error.retry_after), error=error) from error
    found = find_turn(seen.items, claimed.chat.bookmark, claimed.content)
    ended = seen.state is ChatState.ENDED
    items = len(seen.items or ())
    no_more = ended or rt.now() - claimed.asked_at > NO_ANSWER_AFTER
    if found.answered and not no_more and items != claimed.items_at_last_check:
        raise RetryAt("the agent may still be speaking", rt.now() + STABLE_FOR, items_at_last_check=items)
    if found.answered or (no_more and found.replied) or (ended and found.hung_up):
        return Answer(claimed.chat, found.answer, advance(claimed.chat.bookmark, found.answer), ended)
    if found.received is False:
        return _ask_again(rt, claimed, ended)
    if found.received and ended:
        raise GiveUp("the agent heard it, and the chat ended before there was an answer")
    if no_more:
        raise GiveUp("the agent heard it and did not answer")
    recheck_at = min(claimed.next_try(rt.now()), rt.now() + RECHECK_ANSWER_AFTER)
    raise RetryAt("the agent heard it and has not answered yet", recheck_at, items_at_last_check=items)


def _ask_again(rt: Runtime, claimed: ClaimedTurn, ended: bool) -> Answer:
    """The chat shows that nothing was heard; what is still on its way gets a moment to arrive."""
    assert claimed.chat and claimed.asked_at
    if ended:
        return ask_in_new_chat(rt, claimed, ended=claimed.chat)
    arrived_by = claimed.asked_at + (NOT_RECEIVED_AFTER if claimed.response_received else STILL_ON_ITS_WAY)
    if rt.now() < arrived_by:
        raise RetryAt("the chat does not show it yet", min(arrived_by, rt.now() + RECHECK_ANSWER_AFTER))
    no_poison(claimed)
    if claimed.chat.fails:
        leave(rt, claimed, rows.FAILS)
        return ask_in_new_chat(rt, claimed)
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        still_open = session.get_one(Chat, claimed.chat.id, with_for_update=True).status is ChatStatus.ONGOING
        if still_open:
            begin_asking(rt, session, claimed, claimed.chat)
    return ask(rt, claimed) if still_open else ask_in_new_chat(rt, claimed)
