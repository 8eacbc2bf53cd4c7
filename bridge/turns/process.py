"""The turn: what a person texted is said to the agent, and what the agent says goes into the outbox.

    claim    take the head of the conversation's line; texts that wait are folded into one turn      [commit]
    ask      say it. When it may have been said before, look into the chat first                     no session open
    settle   the answers into the outbox, the turn done, the line moved on                           [one commit]

One module for each of them. What lives here: the step ``converse``, and which way an attempt goes. How a line is
claimed: ``bridge.queues.conversation_queue``. How a chat is read after an unknown outcome:
``bridge.providers.agents.transcript``.
"""

from __future__ import annotations

import logging

from bridge.db.models import TurnStatus
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import QUEUES, TURNS, LeaseLost
from bridge.runtime import Runtime
from bridge.turns.ask import ask
from bridge.turns.claim import claim_turn
from bridge.turns.reconcile import reconcile
from bridge.turns.settle import failed, give_up, postpone, settle_answered
from bridge.turns.values import ClaimedTurn, GiveUp, NotReceived, RetryAt

log = logging.getLogger(__name__)


def process_turns(rt: Runtime, conversation_id: int) -> None:
    """Work off what waits for the agent in this conversation, until nothing is due any more."""
    try:
        with rt.pulse.holding(TURNS, conversation_id):
            while booked := claim_turn(rt, conversation_id):
                _take(rt, booked)
    except LeaseLost as late:
        log.warning("%s; what this worker found out is thrown away", late)
        for line in QUEUES:  # or it was stored, and only the commit's outcome was lost
            rt.bell.ring(line.step, conversation_id)


def _take(rt: Runtime, booked: ClaimedTurn) -> None:
    """One attempt at one turn. Every way out leaves the turn settled or due again."""
    try:
        if rt.now() >= booked.answer_by:
            raise GiveUp("there was no answer within ANSWER_WITHIN")
        answer = reconcile(rt, booked) if booked.look_first else ask(rt, booked)
    except RetryAt as wait:
        postpone(rt, booked, wait.due_at, str(wait), looked_items=wait.looked_items, error=wait.error)
    except GiveUp as error:
        give_up(rt, booked, str(error), retire=booked.look_first or booked.spent)
    except NotReceived as not_heard:
        failed(rt, booked, not_heard.error, TurnStatus.WAITING)
    except RemoteError as error:
        failed(rt, booked, error)
    else:
        settle_answered(rt, booked, answer)
