"""Words that can't be decrypted: the work waits for its key, and operators are told.

A key may be missing in the settings for a while, or for good. Nothing of such a text goes to a person or to an agent.
Its work comes due again and again. It expires as any other, and then it is in the list of failures. The row keeps what
it has.
"""

from __future__ import annotations

import logging

from bridge.queues.conversation_queue import ConversationQueue
from bridge.queues.task_errors import A_FEW, STANDS_FOR, Occurrence, record
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def tell(rt: Runtime, queue: ConversationQueue, conversation_id: int, why: str) -> None:
    """Record that the queue waits for a key, as an error that lasts: in /readyz, the failures and the metrics."""
    told = Occurrence(queue.task, conversation_id, why, rt.now(), STANDS_FOR, conversation_id)
    with rt.database.transaction() as tx:
        times = record(tx, told)
    if times == A_FEW:
        log.error("conversation %s waits for the key of its words: %s", conversation_id, why)
