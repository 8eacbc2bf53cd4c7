"""The look: the turn was said, or may have been, and the chat itself tells what came of it."""

from __future__ import annotations

from datetime import timedelta

from bridge import line
from bridge.agents import ChatState
from bridge.agents.recall import advance, look
from bridge.errors import ChatEnded, RemoteError
from bridge.models import Chat, ChatStatus
from bridge.runtime import Runtime
from bridge.turns import chat_rows
from bridge.turns.ask import ask, leave, no_poison, say_in_new_chat
from bridge.turns.claim import begin_asking
from bridge.turns.values import Answer, Booked, Hopeless, NotYet

STANDS_STILL = timedelta(seconds=10)
"""An answer found by looking counts when it has not grown for this long: the agent may still be speaking."""

LOOK_FOR_ANSWER = timedelta(seconds=10)
"""The longest pause between two looks for an answer that is being made; the person is waiting for it."""

NOT_HEARD_AFTER = timedelta(seconds=5)
"""So long after it was said, a chat that does not show it has not heard it, if the provider answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=30)
"""The same where no answer came. That a chat shows at once what it hears is not documented."""

NO_ANSWER_AFTER = timedelta(minutes=11)
"""A tool of the agent may run for ten minutes. What was heard and is unanswered for longer will stay so."""


def look_first(rt: Runtime, booked: Booked) -> Answer:
    """It was said, and what came of it is not known: the chat itself tells."""
    assert booked.chat and booked.asked_at
    try:
        seen = rt.agents.of(booked.chat.provider).get_chat(booked.chat.provider_chat_id)
    except ChatEnded:
        return say_in_new_chat(rt, booked, ended=booked.chat)
    except RemoteError as error:  # says nothing about the turn: whatever it is, look again
        no_poison(booked)
        raise NotYet(str(error), booked.next_try(rt.now(), error.retry_after), error=error) from error
    found = look(seen.items, booked.chat.stands, booked.content)
    ended = seen.state is ChatState.ENDED
    items = len(seen.items or ())
    no_more = ended or rt.now() - booked.asked_at > NO_ANSWER_AFTER
    if found.answered and not no_more and items != booked.looked_items:
        raise NotYet("the agent may still be speaking", rt.now() + STANDS_STILL, looked_items=items)
    if found.answered or (no_more and found.spoken) or (ended and found.hung_up):
        return Answer(booked.chat, found.answer, advance(booked.chat.stands, found.answer), ended)
    if found.heard is False:
        return _say_again(rt, booked, ended)
    if found.heard and ended:
        raise Hopeless("the agent heard it, and the chat ended before there was an answer")
    if no_more:
        raise Hopeless("the agent heard it and did not answer")
    look_again = min(booked.next_try(rt.now()), rt.now() + LOOK_FOR_ANSWER)
    raise NotYet("the agent heard it and has not answered yet", look_again, looked_items=items)


def _say_again(rt: Runtime, booked: Booked, ended: bool) -> Answer:
    """The chat shows that nothing was heard; what is still on its way gets a moment to arrive."""
    assert booked.chat and booked.asked_at
    if ended:
        return say_in_new_chat(rt, booked, ended=booked.chat)
    arrived_by = booked.asked_at + (NOT_HEARD_AFTER if booked.call_over else STILL_ON_ITS_WAY)
    if rt.now() < arrived_by:
        raise NotYet("the chat does not show it yet", min(arrived_by, rt.now() + LOOK_FOR_ANSWER))
    no_poison(booked)
    if booked.chat.fails:
        leave(rt, booked, chat_rows.FAILS)
        return say_in_new_chat(rt, booked)
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        still_open = session.get_one(Chat, booked.chat.id, with_for_update=True).status is ChatStatus.ONGOING
        if still_open:
            begin_asking(rt, session, booked, booked.chat)
    return ask(rt, booked) if still_open else say_in_new_chat(rt, booked)
