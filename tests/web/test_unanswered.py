"""The rules for "why was this not answered?": each case has one sentence, with what helps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.db.models import Holder, MessageStatus, TurnStatus
from bridge.inbound import limits
from bridge.providers.carriers.contract import Delivery
from bridge.queues.circuit_breakers import OpenCircuit
from bridge.queues.pause import Pause
from bridge.web.queries.unanswered import (
    NO_WORD,
    NOT_SENT_DRAFT,
    OPTED_OUT,
    Around,
    Asked,
    Out,
    Received,
    why_unanswered,
    why_unsent,
)

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
SINCE = "since 2026-11-02 12:00:00 UTC"
S = MessageStatus

AGENT = Around()
PAUSED = Around(paused=Pause(NOON, "ben"))
NO_AGENT = Around(agent_circuits=[OpenCircuit("retell", "retell (402): no credit", NOON)])
NO_CARRIER = Around(carrier_circuits=[OpenCircuit("twilio", "twilio (401): wrong key", NOON)])
OUT = Around(opted_out=True)
WITH_BEN = Around(Holder.PERSON, "ben", NOON)
FOR_TEAM = Around(Holder.WAITING, None, NOON, "the person has asked for one")
AT_RETELL = Around(Holder.WAITING, "retell", NOON, "a human at retell has the chat")
ELSEWHERE = Around(Holder.OUTSIDE, None, NOON, None, NOON)


def text(status: MessageStatus, **more: object) -> Received:
    return Received(status, NOON, **more)  # type: ignore[arg-type]


def turn(status: TurnStatus, error: str | None = None) -> Asked:
    return Asked(status, NOON, 3, error)


SENT = Out(S.SENT, NOON, Delivery.DELIVERED)

RECEIVED: list[tuple[Received, Around, list[str] | None]] = [
    # waits, and for whom
    (text(S.WAITING), OUT, [OPTED_OUT]),
    (text(S.WAITING), WITH_BEN, ["ben has the conversation", SINCE, "hand it back"]),
    (text(S.IN_TURN), WITH_BEN, ["ben has the conversation", SINCE]),
    (text(S.WAITING), FOR_TEAM, ["waits for a person of the team", SINCE, "has asked for one", "Take over"]),
    (text(S.WAITING), AT_RETELL, ["A human at retell has the chat", SINCE, "Answer there"]),
    (text(S.WAITING), ELSEWHERE, ["another tool", SINCE, "answers again at 2026-11-02 12:00:00", "Take over"]),
    (text(S.WAITING), PAUSED, ["paused by ben", SINCE, "Resume"]),
    (text(S.WAITING), NO_AGENT, ["retell serves none of our texts", SINCE, "no credit", "goes on by itself"]),
    (text(S.WAITING), Around(throttled=True), ["TURNS_PER_HOUR", SINCE, "Raise the limit"]),
    (text(S.WAITING), AGENT, ["waits for the agent", SINCE, "/readyz"]),
    (text(S.IN_TURN, turn=turn(TurnStatus.ASKING)), AGENT, ["is being asked", SINCE, "take over"]),
    (text(S.IN_TURN, turn=turn(TurnStatus.WAITING, "a fault")), AGENT, ["attempt 3: a fault.", "again by itself"]),
    # the order of the causes
    (text(S.WAITING), Around(Holder.PERSON, "ben", NOON, paused=Pause(NOON, "ana")), ["ben has"]),
    (text(S.WAITING), Around(paused=Pause(NOON, "ana"), agent_circuits=NO_AGENT.agent_circuits), ["paused by ana"]),
    # a person has answered meanwhile
    (text(S.WAITING, answered_by_person=True), WITH_BEN, None),
    (text(S.WAITING, answered_by_person=True), PAUSED, ["paused by ben"]),
    (text(S.GIVEN_UP, answered_by_person=True), AGENT, None),
    (text(S.ANSWERED, answered_by_person=True), AGENT, None),
    # never went to the agent
    (text(S.OPTED_OUT), OUT, [OPTED_OUT]),
    (text(S.CANCELED), AGENT, [OPTED_OUT]),
    (text(S.IGNORED, error=limits.TOO_MANY), AGENT, ["was ignored", "TURNS_PER_HOUR", "write to the person"]),
    (text(S.UNANSWERABLE, error=limits.FROM_A_NAME), AGENT, ["can't be answered", "from a name", "Nothing needs"]),
    (text(S.KEYWORD), OUT, None),
    (text(S.REACTION), AGENT, None),
    (text(S.REFUSED), AGENT, None),
    (text(S.HANDLED), AGENT, None),
    # given up
    (text(S.GIVEN_UP, turn=turn(TurnStatus.GIVEN_UP, "no answer")), AGENT, ["given up: no answer.", "Retry it"]),
    (text(S.GIVEN_UP), AGENT, ["given up", "no reason is recorded"]),
    # answered
    (text(S.ANSWERED, answers=[SENT]), AGENT, None),
    (text(S.ANSWERED, answers=[SENT]), PAUSED, None),
    (text(S.ANSWERED), AGENT, [NO_WORD]),
    (text(S.ANSWERED, answers=[SENT, Out(S.GIVEN_UP, NOON, error="refused")]), AGENT, ["could not be sent: refused."]),
]


@pytest.mark.parametrize(("received", "around", "words"), RECEIVED)
def test_a_text_of_a_person(received: Received, around: Around, words: list[str] | None) -> None:
    holds(why_unanswered(received, around), words)


SENDING: list[tuple[Out, Around, list[str] | None]] = [
    (SENT, AGENT, None),
    (Out(S.SENT, NOON), AGENT, None),
    (Out(S.OUTSIDE, NOON), AGENT, None),
    (Out(S.QUEUED, NOON), AGENT, ["waits to be sent", SINCE, "by itself"]),
    (Out(S.SENDING, NOON, error="a fault"), AGENT, ["waits to be sent", "a fault."]),
    (Out(S.QUEUED, NOON), NO_CARRIER, ["twilio serves none of our texts", "wrong key", "by itself"]),
    (Out(S.QUEUED, NOON), PAUSED, ["waits to be sent"]),
    (Out(S.CANCELED, NOON), AGENT, [OPTED_OUT]),
    (Out(S.DRAFT, NOON), AGENT, [NOT_SENT_DRAFT]),
    (Out(S.GIVEN_UP, NOON, error="twilio (400): x", meaning="No mobile."), AGENT, ["could not be sent: No mobile. R"]),
    (Out(S.SENT, NOON, Delivery.UNDELIVERED, meaning="It is off."), AGENT, ["did not deliver it: It is off. Retry"]),
    (Out(S.SENT, NOON, Delivery.FAILED, resend_at=NOON), AGENT, ["no reason. It is sent again at 2026-11-02 12:00:00"]),
]


@pytest.mark.parametrize(("out", "around", "words"), SENDING)
def test_a_text_to_a_person(out: Out, around: Around, words: list[str] | None) -> None:
    holds(why_unsent(out, around), words)


def holds(sentence: str | None, words: list[str] | None) -> None:
    if words is None:
        assert sentence is None
    else:
        assert sentence
        assert [each for each in words if each not in sentence] == [], sentence
        assert sentence.endswith((".", "!", "?"))
        assert ".." not in sentence


def test_every_state_of_a_text_has_a_case() -> None:
    """A new state must be thought of here."""
    cases = {received.status for received, _, _ in RECEIVED} | {out.status for out, _, _ in SENDING}
    assert cases == set(MessageStatus)
