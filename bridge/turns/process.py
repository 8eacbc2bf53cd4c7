"""The turn: what a person texted is said to the agent, and what the agent says goes into the outbox.

    claim    take the head of the conversation's line; texts that wait are folded into one turn      [commit]
    ask      say it. When it may have been said before, look into the chat first                     no session open
    settle   the answers into the outbox, the turn done, the line moved on                           [one commit]

One module for each of them. What lives here: the step ``process_turns``, and which way an attempt goes. How a line is
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
        with rt.heartbeat.working_on(TURNS, conversation_id):
            while claimed := claim_turn(rt, conversation_id):
                _take(rt, claimed)
    except LeaseLost as late:
        log.warning("%s; what this worker found out is thrown away", late)
        for queue in QUEUES:  # or it was stored, and only the commit's outcome was lost
            rt.notifier.wake(queue.task, conversation_id)


def _take(rt: Runtime, claimed: ClaimedTurn) -> None:
    """One attempt at one turn. Every way out leaves the turn settled or due again."""
    try:
        if rt.now() >= claimed.expires_at:
            raise GiveUp("there was no answer within ANSWER_WITHIN")
        answer = reconcile(rt, claimed) if claimed.outcome_unknown else ask(rt, claimed)
    except RetryAt as wait:
        postpone(rt, claimed, wait.due_at, str(wait), items_at_last_check=wait.items_at_last_check, error=wait.error)
    except GiveUp as error:
        give_up(rt, claimed, str(error), retire=claimed.outcome_unknown or claimed.spent)
    except NotReceived as not_heard:
        failed(rt, claimed, not_heard.error, TurnStatus.WAITING)
    except RemoteError as error:
        failed(rt, claimed, error)
    else:
        settle_answered(rt, claimed, answer)
