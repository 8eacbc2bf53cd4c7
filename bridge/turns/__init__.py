"""The turn: what a person texted is said to the agent, and what the agent says goes into the outbox.

    claim    take the head of the conversation's line; texts that wait are folded into one turn      [commit]
    ask      say it. When it may have been said before, look into the chat first                     no session open
    settle   the answers into the outbox, the turn done, the line moved on                           [one commit]

One module for each of them. What lives here: the step ``converse``, and which way an attempt goes. How a line is
claimed: ``bridge.line``. How a chat is read after an unknown outcome: ``bridge.agents.recall``.
"""

from __future__ import annotations

import logging

from bridge.errors import RemoteError
from bridge.line import LINES, TURNS, Outlived
from bridge.models import TurnStatus
from bridge.runtime import Runtime
from bridge.turns.ask import ask
from bridge.turns.claim import claim
from bridge.turns.look import look_first
from bridge.turns.settle import failed, give_up, postpone, settle
from bridge.turns.values import Booked, Hopeless, NotHeard, NotYet

log = logging.getLogger(__name__)


def converse(rt: Runtime, conversation_id: int) -> None:
    """Work off what waits for the agent in this conversation, until nothing is due any more."""
    try:
        with rt.pulse.holding(TURNS, conversation_id):
            while booked := claim(rt, conversation_id):
                _take(rt, booked)
    except Outlived as late:
        log.warning("%s; what this worker found out is thrown away", late)
        for line in LINES:  # or it was stored, and only the commit's outcome was lost
            rt.bell.ring(line.step, conversation_id)


def _take(rt: Runtime, booked: Booked) -> None:
    """One attempt at one turn. Every way out leaves the turn settled or due again."""
    try:
        if rt.now() >= booked.answer_by:
            raise Hopeless("there was no answer within ANSWER_WITHIN")
        answer = look_first(rt, booked) if booked.look_first else ask(rt, booked)
    except NotYet as wait:
        postpone(rt, booked, wait.due_at, str(wait), looked_items=wait.looked_items, error=wait.error)
    except Hopeless as error:
        give_up(rt, booked, str(error), retire=booked.look_first or booked.spent)
    except NotHeard as not_heard:
        failed(rt, booked, not_heard.error, TurnStatus.WAITING)
    except RemoteError as error:
        failed(rt, booked, error)
    else:
        settle(rt, booked, answer)
