"""Death at every boundary: before and after each commit and each call to the outside, alone and in pairs.

The tasks are the real ones. The database, the agent and the carrier are wrapped so that the process "dies" there: its
work in hand and its wake-ups are lost, and another process comes. In every case the agent receives every text once,
every answer is sent once, in order, and no work is left waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, Executable, func, insert, update

from bridge.chats import ending
from bridge.db.models import (
    OPEN_TURN,
    UNSENT,
    UNSETTLED_TURN,
    Chat,
    ChatStatus,
    CircuitBreaker,
    ContactUpdate,
    Conversation,
    HandoffNotice,
    Holder,
    Message,
    MessageStatus,
    Turn,
)
from bridge.inbound import agent_events
from bridge.maintenance import catch_up, handoffs, stale_chats, status_poll
from bridge.maintenance.outside_texts import hold_for_outside_texts
from bridge.operators import holding, instructions, texts
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked
from bridge.operators.instructions import Start
from bridge.operators.texts import Pair
from bridge.outbound import notices, outbox, receipts
from bridge.providers.agents.contract import ChatState, Item, Speaker
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, QueueFull, RateLimited, Refused
from bridge.runtime import Runtime
from bridge.turns.values import GIVE_UP_AFTER
from tests.fakes import TEAM, UPONAI, FakeChat, fake_settings
from tests.mortal import Fate, MortalScene, empty_scene
from tests.scene import ANN, BOB, NUMBER, Scene


def line_by_line(said: str) -> list[str]:
    return [f"re: {line}" for line in said.split("\n")]


def act(
    hasty_engine: Engine,
    fate: Fate,
    prepare: Callable[[Scene], None] = lambda scene: None,
    *,
    later: str = "c",
    **settings: Any,
) -> MortalScene:
    """Texts of one person: two that wait together, and those that come later."""
    scene = empty_scene(hasty_engine, fate, line_by_line, **settings)
    prepare(scene)
    scene.text("a")
    scene.text("b")
    scene.wake()
    for body in later:
        scene.text(body)
    scene.work_until_idle(at_most=600)
    return scene


def judge(scene: Scene, texts: str = "abc") -> None:
    """One hearing per text, one sending per answer, order, and nothing that is left unsettled."""
    assert received(scene) == list(texts)
    assert scene.got() == [f"re: {text}" for text in texts]
    nothing_is_left(scene)
    assert len({row.carrier_id for row in scene.rows(Message)}) == 2 * len(texts)


def received(scene: Scene) -> list[str]:
    return [line for said in scene.agent.received for line in said.split("\n")]


def nothing_is_left(scene: Scene) -> None:
    """No work waits or is leased, no circuit is open, and a chat that has ended here has ended at its provider."""
    assert not [row for row in scene.rows(Turn) if row.status in UNSETTLED_TURN]
    unsettled = {MessageStatus.WAITING, MessageStatus.IN_TURN, *UNSENT}
    assert not [row for row in scene.rows(Message) if row.status in unsettled]
    assert {queue.holder for queue in scene.rows(Conversation)} == {Holder.AGENT}
    for queue in scene.rows(Conversation):
        assert (queue.turn_due_at, queue.turn_leased_by, queue.delivery_due_at, queue.delivery_leased_by) == (None,) * 4
    for chat in scene.rows(Chat):
        assert chat.status is not ChatStatus.ENDING
        over = scene.agent.chats[chat.provider_chat_id].state is ChatState.ENDED
        assert over or chat.status is not ChatStatus.ENDED
    with scene.sessions() as session:
        assert not session.query(CircuitBreaker).all()


def lost_answer(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider=scene.agent.provider), received=True)


def lost_question(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider=scene.agent.provider), received=False)


def lost_receipt(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=True)


def lost_text(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)


def busy_providers(scene: Scene) -> None:
    scene.agent.fail("complete", RateLimited("busy", provider=scene.agent.provider, status=429, retry_after=2))
    scene.carrier.fail("send", RateLimited("busy", provider="twilio", status=429, retry_after=2))


def chat_that_ends(scene: Scene) -> None:
    scene.agent.hangs_up_on = {"a\nb", "a"}


def lost_look(scene: Scene) -> None:
    lost_answer(scene)
    lost_receipt(scene)
    scene.agent.fail("get_chat", OutcomeUnknown("cut", provider=scene.agent.provider))
    scene.carrier.fail("sent_to", OutcomeUnknown("cut", provider="twilio"))


def lost_chat(scene: Scene) -> None:
    """It is opened, and nobody learns of it."""
    scene.agent.fail("create_chat", OutcomeUnknown("cut", provider=scene.agent.provider), received=True)


def nobody(scene: Scene) -> None:
    """No fault at all."""


FAULTS = [lost_answer, lost_question, lost_receipt, lost_text, busy_providers, chat_that_ends, lost_look, lost_chat]


def test_the_boundaries_are_where_they_should_be(hasty_engine: Engine) -> None:
    fate = Fate()
    judge(act(hasty_engine, fate))
    for name in ("commit", "create_chat", "complete", "send"):
        assert f"before {name}" in fate.passed
        assert f"after {name}" in fate.passed


PROVIDERS: dict[str, Mapping[str, Any]] = {"retell": {}, "uponai": UPONAI}
"""The settings with which each of them answers. Chats at UponAI have no message ids."""

at_each = pytest.mark.parametrize("provider", PROVIDERS)


@at_each
def test_no_single_death_loses_or_doubles_anything(hasty_engine: Engine, provider: str) -> None:
    whole = Fate()
    act(hasty_engine, whole, **PROVIDERS[provider])
    for n in range(1, len(whole.passed) + 1):
        judge(act(hasty_engine, Fate(n), **PROVIDERS[provider]))


@at_each
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_death_beside_a_fault_loses_or_doubles_anything(
    hasty_engine: Engine, fault: Callable[[Scene], None], provider: str
) -> None:
    whole = Fate()
    judge(act(hasty_engine, whole, fault, **PROVIDERS[provider]))
    for n in before(whole):
        scene = act(hasty_engine, Fate(n), fault, **PROVIDERS[provider])
        judge(scene)
        assert {row.provider for row in scene.rows(Chat)} == {provider}


@at_each
def test_no_two_deaths_lose_or_double_anything(hasty_engine: Engine, provider: str) -> None:
    """The second one may strike in what follows the first: the look, the second try."""
    settings = PROVIDERS[provider]
    whole = Fate()
    act(hasty_engine, whole, later="", **settings)
    for first in range(1, len(whole.passed) + 1):
        once = Fate(first)
        act(hasty_engine, once, later="", **settings)
        for second in before(once):
            if second > first:
                judge(act(hasty_engine, Fate(first, second), later="", **settings), "ab")


def agent_circuit_open(scene: Scene) -> None:
    scene.agent.fail("create_chat", account_refused(scene), times=2)


def account_refused(scene: Scene) -> AccountRefused:
    return AccountRefused("no key", provider=scene.agent.provider, status=401)


@pytest.mark.parametrize("settings", [{}, UPONAI], ids=["retell", "uponai"])
@pytest.mark.parametrize("lost", [False, True], ids=["no fault", "lost chat"])
def test_no_death_opens_a_second_chat_for_a_turn(hasty_engine: Engine, lost: bool, settings: Mapping[str, Any]) -> None:
    """The agent's pre-session tools run with each chat. Two deaths in a row are no exception."""
    prepare = lost_chat if lost else nobody
    whole = Fate()
    judge_chats(one_text(hasty_engine, whole, prepare, **settings))
    for first in range(1, len(whole.passed) + 1):
        once = Fate(first)
        judge_chats(one_text(hasty_engine, once, prepare, **settings))
        for second in before(once):
            if first < second <= first + WITHIN:
                judge_chats(one_text(hasty_engine, Fate(first, second), prepare, **settings))


def judge_chats(scene: Scene) -> None:
    judge(scene, "a")
    assert [chat.about.turn_id for chat in scene.agent.chats.values()] == [1]


WITHIN = 8
"""Boundaries after the first death in which the second one may strike beside a fault: another process takes over and
looks what became of things. All pairs would be some thousands of runs more; what comes later is the same look again, or
what a single death meets too.
"""


AT_THE_AGENT = [lost_answer, lost_question, agent_circuit_open]
AT_THE_CARRIER = [lost_receipt, lost_text]
"""They are the same whoever the agent's provider is."""


@pytest.mark.parametrize(
    ("fault", "provider"),
    [*((fault, "retell") for fault in AT_THE_AGENT + AT_THE_CARRIER), *((fault, "uponai") for fault in AT_THE_AGENT)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_no_two_deaths_beside_a_fault_lose_or_double_anything(
    hasty_engine: Engine, fault: Callable[[Scene], None], provider: str
) -> None:
    """One text and one answer."""
    settings = PROVIDERS[provider]
    whole = Fate()
    judge(one_text(hasty_engine, whole, fault, **settings), "a")
    for first in before(whole):
        once = Fate(first)
        judge(one_text(hasty_engine, once, fault, **settings), "a")
        for second in before(once):
            if first < second <= first + WITHIN:
                judge(one_text(hasty_engine, Fate(first, second), fault, **settings), "a")


def before(fate: Fate) -> list[int]:
    """After one boundary and before the next nothing lasting happens: one death stands for both. That each of them is
    survived is shown where there is no other fault.
    """
    return [n for n, name in enumerate(fate.passed, start=1) if name.startswith("before")]


def one_text(hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None], **settings: Any) -> MortalScene:
    scene = empty_scene(hasty_engine, fate, line_by_line, **settings)
    prepare(scene)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    return scene


@dataclass(frozen=True)
class Play:
    """Acts and their expected end. By default each text is answered once, in order."""

    acts: Callable[[MortalScene], None]
    texts: Mapping[str, str] = field(default_factory=lambda: {ANN: "abc"})
    """The texts that each phone's agent receives, in order; no text is in two of them."""
    perhaps: str = ""
    """Texts that are given up, and that the agent may have received before, once."""
    got: list[str] | None = None
    """What reaches Ann's phone, where that is not an answer to each of her texts."""
    anywhere: str | None = None
    """What also reaches it once, before or after any answer."""
    chats: list[ChatStatus] | None = None
    drafts: list[str] = field(default_factory=list)
    """Answers that are kept, and not sent."""
    settings: Mapping[str, Any] = field(default_factory=dict)


SINCE = datetime(2026, 11, 2, 11, tzinfo=UTC)
"""Since when a person waits for the team."""

FALLBACK = fake_settings().fallback_reply
MEDIA_REPLY = fake_settings().media_reply
TWO_PHONES = {ANN: "a", BOB: "b"}


def two_phones(scene: MortalScene) -> None:
    scene.text("a", ANN)
    scene.text("b", BOB)
    scene.work_until_idle(at_most=600)


def agent_refuses_in_a_chat(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.fail("complete", account_refused(scene), times=2)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def agent_is_not_reached(scene: MortalScene) -> None:
    scene.agent.fail("create_chat", NotReached("refused", provider=scene.agent.provider), times=3)
    two_phones(scene)


def carrier_refuses_the_account(scene: MortalScene) -> None:
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=403), times=3)
    two_phones(scene)


def carrier_refuses_the_sender(scene: MortalScene) -> None:
    error = AccountRefused("not registered", provider="twilio", status=400, code=30034, part=NUMBER)
    scene.carrier.fail("send", error, times=3)
    two_phones(scene)


def carrier_has_no_room(scene: MortalScene) -> None:
    scene.carrier.fail("send", QueueFull("full", provider="twilio", status=429, code=21611), times=2)
    two_phones(scene)


def sender_that_fails_later(scene: MortalScene) -> None:
    """Taken at first, and not delivered: until it is tried again, what waits behind it is not sent."""
    scene.text("a")
    scene.work_until_idle(at_most=600)
    for callback in told(scene, Delivery.UNDELIVERED, error_code=30034):
        scene.call(callback)
    scene.text("b")
    scene.work_until_idle(at_most=600)
    for callback in told(scene, Delivery.DELIVERED):
        scene.call(callback)
    scene.work_until_idle(at_most=600)


def agent_that_is_silent_for_too_long(scene: MortalScene) -> None:
    """It receives the text, its answer is lost, and the chat is not used any more."""
    lost_answer(scene)
    scene.agent.fail("get_chat", OutcomeUnknown("cut", provider=scene.agent.provider), times=1000)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.recover()
    scene.text("b")
    scene.work_until_idle(at_most=600)


def chat_closed_silently(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    close_chats(scene)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def chat_closed_silently_and_lost_answer(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    close_chats(scene)
    scene.agent.in_next_call(lambda: lost_answer(scene))
    scene.text("b")
    scene.work_until_idle(at_most=600)


def close_chats(scene: Scene) -> None:
    for chat_id in scene.agent.chats:
        scene.agent.end(chat_id)


def stale_chat(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.pass_time(48 * 3600)
    scene.call(stale_chats.end_stale)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def chat_ended_by_an_operator(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    [chat] = scene.rows(Chat)
    scene.call(lambda rt: ending.end_one(rt, chat.id))
    scene.text("b")
    scene.work_until_idle(at_most=600)


def texts_no_webhook_brought(scene: MortalScene) -> None:
    """The list has them on three pages, and of one of them the webhook tells after all."""
    scene.carrier.page_size = 2
    scene.call(catch_up.catch_up)
    scene.pass_time(60)
    sent = [scene.carrier.receive(ANN, NUMBER, body) for body in "abcde"]
    scene.pass_time(60)
    scene.call(catch_up.catch_up)
    scene.text("c", sid=sent[2].carrier_id)
    scene.call(catch_up.catch_up)
    scene.work_until_idle(at_most=600)


def another_tool_texts(scene: MortalScene) -> None:
    """The agent keeps still for half an hour; then it answers what came since."""
    scene.call(hold_for_outside_texts)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.pass_time(3600)
    scene.carrier.write_outside(ANN, NUMBER, "Maria here")
    scene.pass_time(150)
    scene.call(hold_for_outside_texts)
    assert [row.body for row in scene.rows(Message) if row.status is MessageStatus.OUTSIDE] == ["Maria here"]
    scene.text("b")
    scene.work_until_idle(at_most=600)
    scene.pass_time(1800)
    scene.call(handoffs.end_waits)
    scene.work_until_idle(at_most=600)


def told(scene: MortalScene, *statuses: Delivery, error_code: int | None = None) -> list[Callable[[Runtime], object]]:
    """A callback for each of these and of the texts that the carrier has."""

    def callback(reference: str, carrier_id: str, status: Delivery, phone: str) -> Callable[[Runtime], object]:
        return lambda rt: receipts.report(rt, StatusReport(reference, carrier_id, status, phone, error_code))

    texts = [(accepted.text, accepted.carried.id) for accepted in scene.carrier.accepted]
    return [callback(text.reference, id_, status, text.recipient) for text, id_ in texts for status in statuses]


def callbacks_in_any_order(scene: MortalScene) -> None:
    lost_receipt(scene)
    scene.text("a")
    scene.text("b")
    scene.wake()
    for callback in told(scene, Delivery.SENT, Delivery.DELIVERED):
        scene.call_once(callback)
    scene.text("c")
    scene.wake()
    for callback in told(scene, Delivery.DELIVERED, Delivery.SENT):
        scene.call_once(callback)
    scene.work_until_idle(at_most=600)


def callback_inside_the_send(scene: MortalScene) -> None:
    """It is there before the answer of the send, which is lost."""

    def meanwhile() -> None:
        for callback in told(scene, Delivery.SENT):
            scene.call_once(callback)

    lost_receipt(scene)
    scene.carrier.in_next_call(meanwhile)
    for body in "abc":
        scene.text(body)
        scene.work_until_idle(at_most=600)


def text_that_fails_later(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    for callback in told(scene, Delivery.UNDELIVERED, error_code=30003):
        scene.call(callback)
    [resend_at] = [row.resend_at for row in scene.rows(Message) if row.resend_at]
    scene.pass_time((resend_at - scene.clock()).total_seconds())
    scene.work_until_idle(at_most=600)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def no_callback_at_all(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    for accepted in scene.carrier.accepted:
        scene.carrier.becomes(accepted.carried.id, Delivery.DELIVERED)
    scene.pass_time(13 * 3600)
    scene.call(status_poll.poll_statuses)
    scene.pass_time(status_poll.LEASE_FOR.total_seconds())  # a round that died has leased its texts for so long
    scene.call(status_poll.poll_statuses)
    assert [row.delivery for row in scene.rows(Message) if row.reference] == [Delivery.DELIVERED]
    scene.text("b")
    scene.work_until_idle(at_most=600)


def picture(scene: MortalScene) -> None:
    scene.text("a")
    scene.text("", media=1)
    scene.wake()
    scene.text("b")
    scene.work_until_idle(at_most=600)


def writer_who_pauses(scene: MortalScene) -> None:
    scene.text("a")
    scene.tick(1)
    scene.text("b")
    scene.work_until_idle(at_most=600)
    scene.text("c")
    scene.work_until_idle(at_most=600)


def refused_turn(scene: MortalScene) -> None:
    scene.agent.fail("complete", Refused("no", provider=scene.agent.provider, status=400), times=3)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.recover()
    scene.text("b")
    scene.work_until_idle(at_most=600)


def poisoned_text(scene: MortalScene) -> None:
    """The agent's API fails at one text each time, and serves another person."""
    scene.agent.poison = {"x"}
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.text("x")
    scene.wake()
    fails_since_long_ago(scene)
    beside_somebody_who_is_served(scene)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def fails_since_long_ago(scene: MortalScene) -> None:
    """The first failures would be a hundred boundaries more, all of the same kind."""
    with scene.sessions.begin() as session:
        session.execute(update(Turn).where(Turn.status.in_(OPEN_TURN)).values(failures=GIVE_UP_AFTER - 2))


def poisoned_chat(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.poisoned = set(scene.agent.chats)
    scene.text("b")
    beside_somebody_who_is_served(scene)
    scene.work_until_idle(at_most=600)


def beside_somebody_who_is_served(scene: MortalScene) -> None:
    scene.wake()
    scene.work(seconds=30)  # this also recovers from a lost wake-up and a stalled worker
    scene.text("c", BOB)
    scene.wake()


def chat_that_refuses(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.fail("complete", Refused("no", provider=scene.agent.provider, status=400))
    scene.text("b")
    scene.work_until_idle(at_most=600)


NOOR = "Noor answers you here."
HANDOFF = fake_settings().handoff_reply


def hands_over(handoff: str = "", *, lost: bool = False, inside: bool = False) -> Callable[[MortalScene], None]:
    """The agent hands over with its second answer, and gets the chat back. ``inside``: an event comes with the answer.

    ``lost``: the answer gets lost.
    """

    def acts(scene: MortalScene) -> None:
        scene.text("a")
        scene.work_until_idle(at_most=600)
        scene.agent.hands_over_on = {"b": handoff}
        if lost:
            lost_answer(scene)
        if inside:
            scene.agent.in_next_call(lambda: scene.call_once(reported_with_human(scene)))
        scene.text("b")
        scene.work_until_idle(at_most=600)
        scene.text("c")
        wait_for_the_human(scene)

    acts.__name__ = f"hands_over{'_lost' * lost}{'_inside' * inside}{'_silently' * (not handoff)}"
    return acts


def handed_over_before_a_text(scene: MortalScene) -> None:
    """Nobody knows it, so the text is asked, and refused."""
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.hand_over(first_chat(scene).id)
    scene.text("b")
    wait_for_the_human(scene)


def handed_over_around_a_lost_question(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    lost_question(scene)
    scene.text("b")
    scene.wake()
    scene.agent.hand_over(first_chat(scene).id)
    wait_for_the_human(scene)


def reported_handoff(scene: MortalScene) -> None:
    """The event is repeated, and once comes when the chat is back."""
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.hand_over(first_chat(scene).id)
    event = reported_with_human(scene)
    scene.call(event)
    scene.call(event)
    scene.text("b")
    wait_for_the_human(scene)
    scene.call(event)
    scene.text("c")
    scene.work_until_idle(at_most=600)


def reported_with_human(scene: Scene) -> Callable[[Runtime], object]:
    chat = first_chat(scene)
    kind, state = EventKind.ESCALATED, ChatState.WITH_HUMAN
    event = ChatEvent(kind, scene.agent.provider, chat.id, scene.clock(), tuple(chat.items), state=state)
    return lambda rt: agent_events.record(rt, event)


def wait_for_the_human(scene: MortalScene) -> None:
    """They take a minute, and hand the chat back."""
    scene.work(seconds=60)
    scene.agent.hand_back(first_chat(scene).id)
    scene.work_until_idle(at_most=900)


GOODBYE = "closed"
"""The agent's last words in a chat that was silent for too long."""


def reported_ended(scene: Scene) -> Callable[[Runtime], object]:
    """Let the chats end at their provider. Return the job of its event, which is about the first one of ours."""
    close_chats(scene)
    chat = first_chat(scene)
    event = ChatEvent(EventKind.ENDED, scene.agent.provider, chat.id, scene.clock(), tuple(chat.items))
    return lambda rt: agent_events.record(rt, event)


def chat_reported_ended_between_turns(scene: MortalScene) -> None:
    """The event is repeated when the chat is known to have ended, and when there is a newer one."""
    scene.text("a")
    scene.work_until_idle(at_most=600)
    event = reported_ended(scene)
    scene.call(event)
    scene.call(event)
    scene.text("b")
    scene.wake()
    scene.call(event)
    scene.work_until_idle(at_most=600)


def chat_reported_ended_inside_the_answer(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.in_next_call(lambda: scene.call_once(reported_ended(scene)))
    scene.text("b")
    scene.work_until_idle(at_most=600)


def chat_reported_ended_while_a_turn_is_open(fault: Callable[[Scene], None]) -> Callable[[MortalScene], None]:
    """The worker does not know whether the agent has received the text."""

    def acts(scene: MortalScene) -> None:
        scene.text("a")
        scene.work_until_idle(at_most=600)
        fault(scene)
        scene.text("b")
        scene.wake()
        scene.call(reported_ended(scene))
        scene.work_until_idle(at_most=600)

    acts.__name__ = f"chat_reported_ended_beside_{fault.__name__}"
    return acts


def last_words(scene: MortalScene) -> None:
    """The event is repeated before and after they are sent."""
    scene.text("a")
    scene.work_until_idle(at_most=600)
    add_last_words(scene)
    event = reported_ended(scene)
    scene.call(event)
    scene.call(event)
    scene.work_until_idle(at_most=600)
    scene.call(event)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def last_words_with_a_lost_receipt(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    lost_receipt(scene)
    add_last_words(scene)
    scene.call(reported_ended(scene))
    scene.work_until_idle(at_most=600)
    scene.text("b")
    scene.work_until_idle(at_most=600)


def last_words_after_a_stop(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.text("STOP")
    add_last_words(scene)
    scene.call(reported_ended(scene))
    scene.work_until_idle(at_most=600)
    start_again(scene)


def last_words_overtaken_by_a_stop(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    add_last_words(scene)
    scene.call(reported_ended(scene))
    scene.text("STOP")
    scene.work_until_idle(at_most=600)
    start_again(scene)


def start_again(scene: MortalScene) -> None:
    scene.pass_time(1)
    scene.text("START")
    scene.text("b")
    scene.work_until_idle(at_most=600)


def add_last_words(scene: Scene) -> None:
    first_chat(scene).items.append(Item(Speaker.AGENT, GOODBYE, id="last"))


def first_chat(scene: Scene) -> FakeChat:
    """A worker that died may have opened others, which are not used."""
    [row, *_] = scene.rows(Chat)
    return scene.agent.chats[row.provider_chat_id]


def tells_the_agent(fault: Callable[[Scene], None], *, send: bool, beside: str = "") -> Callable[[MortalScene], None]:
    """An operator tells the agent "b" behind a person's "a". ``beside``: the person's next text."""

    def acts(scene: MortalScene) -> None:
        scene.text("a")
        scene.work_until_idle(at_most=600)
        fault(scene)
        asked = Asked("ana", "key", "b")
        scene.call(lambda rt: instructions.ask(rt, asked, 1, "b", send=send))
        if beside:
            scene.text(beside)
        scene.work_until_idle(at_most=600)

    acts.__name__ = f"tells_the_agent_{'and_sends' if send else 'and_keeps'}_beside_{fault.__name__}"
    return acts


def drafts_for_who_has_it(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.call(lambda rt: holding.take_over(rt, "ana", 1))
    lost_answer(scene)
    scene.call(lambda rt: instructions.ask(rt, Asked("ana", "key", "b"), 1, "b", send=False))
    scene.text("c")
    scene.work_until_idle(at_most=600)
    scene.call(lambda rt: holding.hand_back(rt, "ana", 1, HandBack(answer=True)))
    scene.work_until_idle(at_most=600)


def speaks_first(fault: Callable[[Scene], None], *, content: str = "") -> Callable[[MortalScene], None]:
    def acts(scene: MortalScene) -> None:
        scene.agent.greeting = WELCOME
        fault(scene)
        asked, wish = Asked("ana", "key", "b"), Start(content, {"offer": "two for one"})
        scene.call(lambda rt: instructions.start(rt, asked, Pair(ANN, NUMBER), wish))
        scene.work_until_idle(at_most=600)
        scene.text("b")
        scene.work_until_idle(at_most=600)
        [chat] = scene.agent.chats.values()
        assert chat.about.variables == wish.variables

    acts.__name__ = f"speaks_first_{'with' if content else 'without'}_words_beside_{fault.__name__}"
    return acts


def speaks_first_in_another_chat(scene: MortalScene) -> None:
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.agent.greeting = WELCOME
    asked = Asked("ana", "key", "b")
    scene.call(lambda rt: instructions.start(rt, asked, Pair(ANN, NUMBER), Start(new_chat=True)))
    scene.text("b")
    scene.work_until_idle(at_most=600)


def greeting_is_not_shown(scene: Scene) -> None:
    """By the answer to the request for the chat. And the chat can't be read at first."""
    scene.agent.shows_items_at_create = False
    scene.agent.fail("get_chat", OutcomeUnknown("cut", provider=scene.agent.provider))


WELCOME = "Welcome!"
SENT_ON = {"send_auto_close_message": True}
ONE_MORE = [ChatStatus.ENDED, ChatStatus.ONGOING]
PLAYS = [
    Play(agent_refuses_in_a_chat, {ANN: "ab"}),
    Play(agent_is_not_reached, TWO_PHONES),
    Play(carrier_refuses_the_account, TWO_PHONES),
    Play(carrier_refuses_the_sender, TWO_PHONES),
    Play(carrier_has_no_room, TWO_PHONES),
    Play(sender_that_fails_later, {ANN: "ab"}, got=["re: a", "re: b", "re: a"]),
    Play(
        agent_that_is_silent_for_too_long,
        {ANN: "b"},
        perhaps="a",
        got=[FALLBACK, "re: b"],
        chats=ONE_MORE,
        settings={"answer_within": "60s"},
    ),
    Play(chat_closed_silently, {ANN: "ab"}, chats=ONE_MORE),
    Play(chat_closed_silently_and_lost_answer, {ANN: "ab"}, chats=ONE_MORE),
    Play(stale_chat, {ANN: "ab"}, chats=ONE_MORE),
    Play(chat_ended_by_an_operator, {ANN: "ab"}, chats=ONE_MORE),
    Play(texts_no_webhook_brought, {ANN: "abcde"}, settings={"twilio_numbers": (NUMBER,)}),
    Play(another_tool_texts, {ANN: "ab"}, settings={"twilio_numbers": (NUMBER,)}),
    Play(callbacks_in_any_order),
    Play(callback_inside_the_send),
    Play(text_that_fails_later, {ANN: "ab"}, got=["re: a", "re: a", "re: b"]),
    Play(no_callback_at_all, {ANN: "ab"}),
    Play(picture, {ANN: "ab"}, anywhere=MEDIA_REPLY),
    Play(writer_who_pauses, settings={"reply_debounce": "4s"}),
    Play(refused_turn, {ANN: "b"}, got=[FALLBACK, "re: b"]),
    Play(poisoned_text, {ANN: "ab", BOB: "c"}, got=["re: a", FALLBACK, "re: b"]),
    Play(poisoned_chat, {ANN: "ab", BOB: "c"}),
    Play(chat_that_refuses, {ANN: "ab"}),
    Play(chat_reported_ended_between_turns, {ANN: "ab"}, chats=ONE_MORE),
    Play(chat_reported_ended_inside_the_answer, {ANN: "ab"}, settings=SENT_ON),
    Play(chat_reported_ended_while_a_turn_is_open(lost_answer), {ANN: "ab"}, settings=SENT_ON),
    Play(chat_reported_ended_while_a_turn_is_open(lost_question), {ANN: "ab"}, settings=SENT_ON),
    Play(hands_over(NOOR), got=["re: a", "re: b", NOOR, "re: c"]),
    Play(hands_over(), got=["re: a", "re: b", HANDOFF, "re: c"]),
    Play(hands_over(NOOR, lost=True), got=["re: a", "re: b", NOOR, "re: c"]),
    Play(hands_over(NOOR, inside=True), got=["re: a", "re: b", NOOR, "re: c"]),
    Play(handed_over_before_a_text, {ANN: "ab"}, got=["re: a", HANDOFF, "re: b"], chats=[ChatStatus.ONGOING]),
    Play(handed_over_around_a_lost_question, {ANN: "ab"}, got=["re: a", HANDOFF, "re: b"], chats=[ChatStatus.ONGOING]),
    Play(reported_handoff, got=["re: a", HANDOFF, "re: b", "re: c"]),
    Play(last_words, {ANN: "ab"}, got=["re: a", GOODBYE, "re: b"], chats=ONE_MORE, settings=SENT_ON),
    Play(last_words_with_a_lost_receipt, {ANN: "ab"}, got=["re: a", GOODBYE, "re: b"], settings=SENT_ON),
    Play(last_words_after_a_stop, {ANN: "ab"}, got=["re: a", "re: b"], chats=ONE_MORE, settings=SENT_ON),
    Play(last_words_overtaken_by_a_stop, {ANN: "ab"}, got=["re: a", "re: b"], chats=ONE_MORE, settings=SENT_ON),
    *(
        Play(tells_the_agent(fault, send=False, beside="c"), got=["re: a", "re: c"], drafts=["re: b"])
        for fault in (nobody, lost_answer, lost_question, close_chats)
    ),
    Play(tells_the_agent(lost_answer, send=True, beside="c")),
    Play(drafts_for_who_has_it, got=["re: a", "re: c"], drafts=["re: b"]),
    *(
        Play(speaks_first(fault), {ANN: "b"}, got=[WELCOME, "re: b"], chats=[ChatStatus.ONGOING])
        for fault in (nobody, lost_chat, lost_receipt, greeting_is_not_shown)
    ),
    Play(speaks_first(lost_answer, content="a"), {ANN: "ab"}, chats=[ChatStatus.ONGOING]),
    Play(speaks_first_in_another_chat, {ANN: "ab"}, got=["re: a", WELCOME, "re: b"], chats=ONE_MORE),
]


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.acts.__name__)
def test_no_death_in_a_play_loses_or_doubles_anything(hasty_engine: Engine, play: Play) -> None:
    whole = Fate()
    perform(hasty_engine, whole, play)
    for n in before(whole):
        perform(hasty_engine, Fate(n), play)


PROVIDERS_PART = {
    "agent_refuses_in_a_chat",
    "agent_is_not_reached",
    "agent_that_is_silent_for_too_long",
    "chat_closed_silently",
    "chat_closed_silently_and_lost_answer",
    "stale_chat",
    "chat_ended_by_an_operator",
    "refused_turn",
    "chat_that_refuses",
    "chat_reported_ended_between_turns",
    "chat_reported_ended_inside_the_answer",
    "chat_reported_ended_beside_lost_answer",
    "chat_reported_ended_beside_lost_question",
}
AT_UPONAI = [
    *(play for play in PLAYS if play.acts.__name__ in PROVIDERS_PART),
    # Without message ids the last words may be an answer that was sent already, so they are not sent.
    Play(last_words, {ANN: "ab"}, got=["re: a", "re: b"], chats=ONE_MORE, settings=SENT_ON),
]
"""The plays in which the agent's provider plays a part. The poisoned ones take longest, and see no ids."""


@pytest.mark.parametrize("play", AT_UPONAI, ids=lambda play: play.acts.__name__)
def test_without_message_ids_no_death_in_a_play_loses_or_doubles_anything(hasty_engine: Engine, play: Play) -> None:
    at_uponai = replace(play, settings=UPONAI | play.settings)
    whole = Fate()
    perform(hasty_engine, whole, at_uponai)
    for n in before(whole):
        perform(hasty_engine, Fate(n), at_uponai)


def perform(hasty_engine: Engine, fate: Fate, play: Play) -> None:
    scene = empty_scene(hasty_engine, fate, line_by_line, **play.settings)
    play.acts(scene)
    surely = [text for text in received(scene) if text not in play.perhaps]
    assert sorted(surely) == sorted("".join(play.texts.values()))
    assert all(received(scene).count(text) <= 1 for text in play.perhaps)
    for phone, theirs in play.texts.items():
        assert [text for text in received(scene) if text in theirs] == list(theirs)
        got = scene.got(phone)
        if play.anywhere:
            got.remove(play.anywhere)
        assert got == ((phone == ANN and play.got) or [f"re: {text}" for text in theirs])
    nothing_is_left(scene)
    assert [row.body for row in scene.rows(Message) if row.status is MessageStatus.DRAFT] == play.drafts
    assert play.chats is None or [row.status for row in scene.rows(Chat)] == play.chats
    known = {r.carrier_id for r in scene.rows(Message) if r.reference and r.status is not MessageStatus.CANCELED}
    assert known == {accepted.carried.id for accepted in scene.carrier.accepted}


def begins_to_answer(scene: Scene) -> None:
    """The take-over comes between the agent's answer and the commit."""
    assert isinstance(scene, MortalScene)
    scene.agent.in_next_call(lambda: scene.call_once(lambda rt: holding.take_over(rt, "ana", 1)))


@pytest.mark.parametrize(
    "fault", [nobody, begins_to_answer, lost_answer, lost_question, lost_receipt], ids=lambda fault: fault.__name__
)
@pytest.mark.parametrize("answer", [True, False], ids=["and the agent answers the rest", "and that is all"])
def test_no_death_around_a_take_over_loses_or_doubles_anything(
    hasty_engine: Engine, fault: Callable[[Scene], None], answer: bool
) -> None:
    whole = Fate()
    taken_over(hasty_engine, whole, fault, answer=answer)
    for n in before(whole):
        taken_over(hasty_engine, Fate(n), fault, answer=answer)


def taken_over(hasty_engine: Engine, fate: Fate, fault: Callable[[Scene], None], *, answer: bool) -> None:
    """Ana takes over while "b" is under way, writes, and hands back. "c" comes meanwhile, and "d" afterwards.

    Each text is received once, or Ana has answered it. Each answer is sent once, or is a draft. Nothing is asked while
    she has the conversation.
    """
    scene = empty_scene(hasty_engine, fate, line_by_line)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    fault(scene)
    scene.text("b")
    scene.wake()
    scene.call(lambda rt: holding.take_over(rt, "ana", 1))
    scene.agent.in_next_call(lambda: None)  # she has it now, if not before
    before_her = received(scene)
    scene.text("c")
    scene.call(lambda rt: texts.write_in(rt, Asked("ana", "key", "x"), 1, "by Ana"))
    scene.work_until_idle(at_most=600)
    assert received(scene) == before_her
    scene.call(lambda rt: holding.hand_back(rt, "ana", 1, HandBack(answer=answer)))
    scene.text("d")
    scene.work_until_idle(at_most=600)
    bodies = {status: [row.body for row in scene.rows(Message) if row.status is status] for status in MessageStatus}
    handled, drafts = bodies[MessageStatus.HANDLED], bodies[MessageStatus.DRAFT]
    assert sorted([*received(scene), *handled]) == list("abcd")
    assert received(scene) == [text for text in "abcd" if text not in handled]
    assert not (answer and handled)
    sent = [body for body in scene.got() if body != "by Ana"]
    assert sent == [reply for text in received(scene) if (reply := f"re: {text}") not in drafts]
    assert scene.got().count("by Ana") == 1
    assert len(drafts) == len(set(drafts))
    assert set(drafts) <= {"re: b"}
    nothing_is_left(scene)


@pytest.mark.parametrize("fault", [nobody, *FAULTS], ids=lambda fault: fault.__name__)
def test_no_death_beside_a_stop_sends_anything_after_it(hasty_engine: Engine, fault: Callable[[Scene], None]) -> None:
    """One text is being answered and another one waits when STOP comes."""
    whole = Fate()
    stopped(hasty_engine, whole, fault)
    for n in before(whole):
        stopped(hasty_engine, Fate(n), fault)


def stopped(hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None]) -> None:
    scene = empty_scene(hasty_engine, fate, lambda said: [f"re: {said}", "and more"])
    prepare(scene)
    scene.text("a")
    scene.wake()
    scene.text("b")
    scene.text("STOP")
    sent = len(scene.carrier.accepted)
    scene.work_until_idle(at_most=600)
    scene.text("START")
    scene.work_until_idle(at_most=600)
    assert scene.got() == ["re: a", "and more"][:sent]
    assert scene.agent.received in ([], ["a"])
    nothing_is_left(scene)
    assert [row.body for row in scene.rows(Message) if row.status is MessageStatus.KEYWORD] == ["STOP", "START"]


def lost_change(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", OutcomeUnknown("cut", provider="retell"), received=True)


def refused_change(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", account_refused(scene), times=2)


@pytest.mark.parametrize("wishes", [("STOP",), ("STOP", "START")], ids=" then ".join)
@pytest.mark.parametrize("fault", [nobody, lost_change, refused_change], ids=lambda fault: fault.__name__)
def test_no_death_beside_a_stop_leaves_the_contact_as_it_was(
    hasty_engine: Engine, fault: Callable[[Scene], None], wishes: tuple[str, ...]
) -> None:
    whole = Fate()
    tell_contact(hasty_engine, whole, fault, wishes)
    assert "after set_do_not_call" in whole.passed
    for first in before(whole):
        once = Fate(first)
        tell_contact(hasty_engine, once, fault, wishes)
        for second in before(once):
            if first < second <= first + WITHIN:
                tell_contact(hasty_engine, Fate(first, second), fault, wishes)


def tell_contact(hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None], wishes: tuple[str, ...]) -> None:
    """The second wish comes while the first one may still be on its way to the contact."""
    scene = empty_scene(hasty_engine, fate, line_by_line, retell_contacts="write")
    prepare(scene)
    for wish in wishes:
        scene.pass_time(1)
        scene.text(wish)
    scene.work_until_idle(at_most=600)
    assert scene.agent.do_not_call == {ANN: wishes[-1] == "STOP"}
    nothing_is_left(scene)
    assert [(row.due_at, row.leased, row.error) for row in scene.rows(ContactUpdate)] == [(None, False, None)]


def lost_notice(scene: Scene) -> None:
    scene.team.fail(OutcomeUnknown("cut", provider="HANDOFF_WEBHOOK"), received=True)


def busy_team(scene: Scene) -> None:
    scene.team.fail(RateLimited("busy", provider="HANDOFF_WEBHOOK", status=429), times=2)


@pytest.mark.parametrize("fault", [nobody, lost_notice, busy_team], ids=lambda fault: fault.__name__)
def test_no_death_leaves_the_team_untold(hasty_engine: Engine, fault: Callable[[Scene], None]) -> None:
    whole = Fate()
    tell_team(hasty_engine, whole, fault)
    assert "after tell" in whole.passed
    for first in before(whole):
        once = Fate(first)
        tell_team(hasty_engine, once, fault)
        for second in before(once):
            if first < second <= first + WITHIN // 2:
                tell_team(hasty_engine, Fate(first, second), fault)


def tell_team(hasty_engine: Engine, fate: Fate, prepare: Callable[[Scene], None]) -> None:
    """The webhook knows of one notice, perhaps twice; the team gets one text."""
    scene = empty_scene(hasty_engine, fate, line_by_line, **TEAM, handoff_number=BOB)
    prepare(scene)
    scene.call(waits_for_the_team)
    scene.work_until_idle(at_most=600)
    assert {(told.id, told.phone) for told in scene.team.told} == {("handoff-1", ANN)}
    assert len(scene.got(BOB)) == 1
    assert [(row.due_at, row.error, row.given_up_at) for row in scene.rows(HandoffNotice)] == [(None, None, None)]
    nothing_is_left(scene)


def waits_for_the_team(rt: Runtime) -> None:
    with rt.database.transaction() as tx:
        conversation_id = outbox.opened(tx, phone=ANN, bridge_number=NUMBER)
        tx.session.get_one(Conversation, conversation_id).holder_since = SINCE
        notices.put(rt, tx, conversation_id, "the person asked for one")


def test_the_judge_sees_a_loss(hasty_engine: Engine) -> None:
    """A test that can't fail proves nothing: here the look is left out."""

    def blind(scene: Scene) -> None:
        lost_answer(scene)
        scene.agent.get_chat = lambda chat_id: scene.agent._seen(replace(scene.agent.chats[chat_id], items=[]))  # type: ignore[method-assign]

    for settings in ({}, UPONAI):
        with pytest.raises(AssertionError):
            judge(act(hasty_engine, Fate(), blind, **settings))


LEFT = [
    insert(CircuitBreaker).values(scope="retell", cause="no key", since=func.now(), probe_at=func.now()),
    update(Chat).values(status=ChatStatus.ENDING),
    update(Conversation).values(turn_leased_by="stalled"),
    update(Conversation).values(delivery_due_at=func.now()),
]


@pytest.mark.parametrize("left", LEFT, ids=str)
def test_the_judge_sees_what_is_left(hasty_engine: Engine, left: Executable) -> None:
    scene = one_text(hasty_engine, Fate(), nobody)
    judge(scene, "a")
    with hasty_engine.begin() as connection:
        connection.execute(left)
    with pytest.raises(AssertionError):
        judge(scene, "a")
