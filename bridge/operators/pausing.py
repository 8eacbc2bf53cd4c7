"""The pause of all agents, by an operator. See ``bridge.queues.pause``."""

from __future__ import annotations

import logging

from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.queues import pause
from bridge.queues.pause import Pause
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SUBJECT = "all agents"


def begin(rt: Runtime, operator: str) -> Pause | None:
    """Begin the pause, unless it has begun. Return it."""
    with rt.database.transaction() as tx:
        if new := pause.begin(tx, operator):
            audit.write(tx, Entry(operator, Action.PAUSE, SUBJECT))
        begun = pause.read(tx.session)
    if new:
        log.warning("%s keeps all agents still; texts wait", operator)
    return begun


def end(rt: Runtime, operator: str) -> None:
    """End the pause, if there is one."""
    with rt.database.transaction() as tx:
        if ended := pause.end(tx):
            audit.write(tx, Entry(operator, Action.RESUME, SUBJECT))
    if ended:
        log.warning("%s lets all agents go on", operator)


def read(rt: Runtime) -> Pause | None:
    """Return the pause; ``None``: the agents are asked."""
    with rt.database.read() as session:
        return pause.read(session)
