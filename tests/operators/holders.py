"""What tests of the holder do and read, in a scene with one conversation."""

from __future__ import annotations

from datetime import timedelta

from bridge.db.models import Conversation, Direction, Holder, Message, MessageStatus
from bridge.inbound import holder
from bridge.maintenance import handoffs
from bridge.operators import holding, texts
from bridge.operators.conversations import HolderNow
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked
from bridge.operators.texts import Queued
from tests.scene import Scene

HERE = 1
"""The id of the only conversation."""


def take_over(scene: Scene, operator: str = "ana", *, force: bool = False) -> HolderNow:
    return holding.take_over(scene.rt, operator, HERE, force=force)


def hand_back(scene: Scene, operator: str = "ana", note: str | None = None, *, answer: bool = False) -> HolderNow:
    return holding.hand_back(scene.rt, operator, HERE, HandBack(note, answer))


def write(scene: Scene, body: str, operator: str = "ana") -> Queued:
    queued = texts.write_in(scene.rt, Asked(operator), HERE, body)
    scene.work_until_idle()
    return queued


def kind(scene: Scene) -> Holder:
    return Holder(scene.rows(Conversation)[0].holder)


def inbound(scene: Scene) -> list[tuple[str, MessageStatus]]:
    return [(row.body, row.status) for row in scene.rows(Message) if row.direction is Direction.IN]


def drafts(scene: Scene) -> list[str]:
    return [row.body for row in scene.rows(Message) if row.status is MessageStatus.DRAFT]


def asked(scene: Scene) -> list[str]:
    return [what for chat in scene.agent.chats.values() for what in chat.received]


def wait(scene: Scene, **how: float) -> None:
    """Let time pass, with the clock's job for conversations that are due to change hands."""
    scene.clock.tick(timedelta(**how).total_seconds())
    scene.rt.heartbeat.beat()
    handoffs.end_waits(scene.rt)
    scene.work_until_idle()


def outside(scene: Scene, body: str, minutes: float = 30, *, ago: float = 0) -> None:
    """Somebody texts the person from another tool; the carrier's list shows it, some seconds later."""
    with scene.rt.database.transaction() as tx:
        at = tx.now - timedelta(seconds=ago)
        shown = {"direction": Direction.OUT, "status": MessageStatus.OUTSIDE, "body": body, "created_at": at}
        tx.session.get_one(Conversation, HERE, with_for_update=True)
        tx.session.add(Message(conversation_id=HERE, **shown))
        holder.hold_outside(tx, HERE, tx.now + timedelta(minutes=minutes))
