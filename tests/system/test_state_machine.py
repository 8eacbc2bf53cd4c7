"""Any order of arrivals, answers, callbacks, faults, deaths and late workers: a state machine on the real tasks.

The judge may come at any moment. Then all faults end and all waiting work is done. The agent must have received every
text once, and every answer must have been sent once, in order, to its own phone. The same holds for what an operator
writes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine

from bridge.db.engine import build_sessions
from bridge.db.models import UNSENT, UNSETTLED_TURN, Conversation, Message, MessageStatus, Turn
from bridge.inbound import agent_events
from bridge.maintenance import catch_up, stale_chats
from bridge.maintenance.catch_up import LEAVE_TO_WEBHOOK
from bridge.operators import holding, instructions, pausing, texts
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked
from bridge.operators.instructions import NotNow
from bridge.operators.texts import Pair
from bridge.outbound import receipts
from bridge.processes.tasks import TASKS
from bridge.providers.agents.contract import ChatState
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, QueueFull, RateLimited, RemoteError
from tests.databases import empty
from tests.fakes import UPONAI, FakeAgent, fake_settings
from tests.scene import NUMBER, Scene

PHONES = [f"+1555123{n:04}" for n in range(3)]

AGENT_FAULTS: list[tuple[str, Callable[[str], RemoteError], bool]] = [
    ("complete", lambda provider: OutcomeUnknown("cut", provider=provider), True),
    ("complete", lambda provider: OutcomeUnknown("cut", provider=provider), False),
    ("complete", lambda provider: RateLimited("busy", provider=provider, status=429, retry_after=3), False),
    ("complete", lambda provider: AccountRefused("no key", provider=provider, status=401), False),
    ("create_chat", lambda provider: OutcomeUnknown("cut", provider=provider), False),
    ("create_chat", lambda provider: OutcomeUnknown("cut", provider=provider), True),
    ("create_chat", lambda provider: OutcomeUnknown("HTTP 500", provider=provider, status=500), True),
    ("find_chats", lambda provider: OutcomeUnknown("cut", provider=provider), False),
    ("find_chats", lambda provider: AccountRefused("no list", provider=provider, status=403), False),
    ("create_chat", lambda provider: NotReached("refused", provider=provider), False),
    ("get_chat", lambda provider: OutcomeUnknown("cut", provider=provider), False),
    ("get_chat", lambda provider: AccountRefused("no key", provider=provider, status=401), False),
]
"""A method, the error that it raises by the name of the provider, and whether the agent has received the text."""
HANDOFF = fake_settings().handoff_reply
LOST = OutcomeUnknown("cut", provider="twilio", status=500)
CARRIER_FAULTS: list[tuple[str, RemoteError, bool]] = [
    ("send", LOST, True),
    ("send", LOST, False),
    ("send", RateLimited("busy", provider="twilio", status=429), False),
    ("send", QueueFull("full", provider="twilio", status=400, code=21611), False),
    ("send", AccountRefused("suspended", provider="twilio", status=401), False),
    ("sent_to", LOST, False),
]


MORE: dict[str, Any] = {"twilio_numbers": (NUMBER,), "stale_after": "20s", "send_auto_close_message": True}


class Bridge(RuleBasedStateMachine):
    engine: Engine
    provider: Mapping[str, Any]
    """The settings of the agent's provider."""

    @initialize(debounce=st.sampled_from([None, "3s"]), rate=st.sampled_from([None, "0.2"]))
    def begin(self, debounce: str | None, rate: str | None) -> None:
        with self.engine.begin() as connection:
            empty(connection)
        more = MORE | self.provider
        name = more.get("agent_provider", "retell")
        agent = FakeAgent(
            lambda said: [f"re: {line}" for line in said.split("\n")], provider=name, item_ids=name == "retell"
        )
        self.scene = Scene(build_sessions(self.engine), agent=agent, reply_debounce=debounce, sender_rate=rate, **more)
        self.numbers = itertools.count()
        self.sent: dict[str, list[str]] = {phone: [] for phone in PHONES}
        self.missed: dict[str, list[str]] = {phone: [] for phone in PHONES}
        """Texts of which no webhook tells: they come late, behind what the person has sent since."""
        self.written: dict[str, list[str]] = {phone: [] for phone in PHONES}
        """Texts by an operator."""
        self.told: dict[str, list[str]] = {phone: [] for phone in PHONES}
        self.kept: dict[str, list[str]] = {phone: [] for phone in PHONES}
        """What an operator tells the agent: the answer is sent, or kept."""
        self.held: dict[str, list[str]] = {}
        """The people whom an operator answers, and what the agent had received of them before."""
        catch_up.catch_up(self.scene.rt)

    @rule(phone=st.sampled_from(PHONES), again=st.booleans())
    def an_operator_writes(self, phone: str, again: bool) -> None:
        body = f"by Ana {next(self.numbers)}"
        self.written[phone].append(body)
        asked = Asked("ana", key=body, request=body)
        queued = texts.write(self.scene.rt, asked, Pair(phone, NUMBER), body)
        if again:
            assert texts.write(self.scene.rt, asked, Pair(phone, NUMBER), body) == queued

    @rule(data=st.data(), send=st.booleans())
    def an_operator_tells_the_agent(self, data: Any, send: bool) -> None:
        if pairs := self.scene.rows(Conversation):
            pair, body = data.draw(st.sampled_from(pairs)), f"told {next(self.numbers)}"
            with suppress(NotNow):
                instructions.ask(self.scene.rt, Asked("ana", key=body, request=body), pair.id, body, send=send)
                (self.told if send else self.kept)[pair.phone].append(body)

    @rule(data=st.data())
    def an_operator_takes_a_conversation_over(self, data: Any) -> None:
        if pairs := self.scene.rows(Conversation):
            pair = data.draw(st.sampled_from(pairs))
            holding.take_over(self.scene.rt, "ana", pair.id)
            self.held[pair.phone] = self._asked(pair.phone)

    @rule(data=st.data(), answer=st.booleans())
    def an_operator_hands_a_conversation_back(self, data: Any, answer: bool) -> None:
        if self.held:
            phone = data.draw(st.sampled_from(sorted(self.held)))
            self._hand_back(phone, answer=answer)

    def _hand_back(self, phone: str, *, answer: bool) -> None:
        del self.held[phone]
        [pair] = [each for each in self.scene.rows(Conversation) if each.phone == phone]
        holding.hand_back(self.scene.rt, "ana", pair.id, HandBack(answer=answer))

    @rule(begins=st.booleans())
    def an_operator_pauses_the_agents_or_lets_them_go_on(self, begins: bool) -> None:
        if begins:
            pausing.begin(self.scene.rt, "ana")
        else:
            pausing.end(self.scene.rt, "ana")

    @rule(phone=st.sampled_from(PHONES), again=st.booleans())
    def text(self, phone: str, again: bool) -> None:
        body = f"text {next(self.numbers)}"
        self.sent[phone].append(body)
        sid = f"SM-{body}"
        assert self.scene.text(body, phone, sid=sid)
        if again:
            assert not self.scene.text(body, phone, sid=sid)

    @rule(phone=st.sampled_from(PHONES))
    def a_text_that_no_webhook_brings(self, phone: str) -> None:
        body = f"text {next(self.numbers)}"
        self.missed[phone].append(body)
        self.scene.carrier.receive(phone, NUMBER, body)

    @rule()
    def the_list_is_read(self) -> None:
        catch_up.catch_up(self.scene.rt)

    @rule(data=st.data(), status=st.sampled_from([Delivery.QUEUED, Delivery.SENT, Delivery.DELIVERED]))
    def the_carrier_tells(self, data: Any, status: Delivery) -> None:
        """Of any text that it has, in any order."""
        if self.scene.carrier.accepted:
            told = data.draw(st.sampled_from(self.scene.carrier.accepted))
            report = StatusReport(told.text.reference, told.carried.id, status, told.text.recipient)
            receipts.report(self.scene.rt, report)

    @rule()
    def stale_chats_are_ended(self) -> None:
        stale_chats.end_stale(self.scene.rt)

    @rule(fault=st.sampled_from(AGENT_FAULTS))
    def agent_fails(self, fault: tuple[str, Callable[[str], RemoteError], bool]) -> None:
        method, error, received = fault
        self.scene.agent.fail(method, error(self.scene.agent.provider), received=received)

    @rule(fault=st.sampled_from(CARRIER_FAULTS))
    def carrier_fails(self, fault: tuple[str, RemoteError, bool]) -> None:
        method, error, taken = fault
        self.scene.carrier.fail(method, error, taken=taken)

    @rule(reported=st.booleans())
    def a_human_gets_a_chat(self, reported: bool) -> None:
        for chat in list(self.scene.agent.chats.values())[-1:]:
            if chat.state is ChatState.ONGOING:
                self.scene.agent.hand_over(chat.id)
            if reported and chat.state is ChatState.WITH_HUMAN:
                provider, items = self.scene.agent.provider, tuple(chat.items)
                at, state = self.scene.clock(), chat.state
                event = ChatEvent(EventKind.ESCALATED, provider, chat.id, at, items, state=state)
                agent_events.record(self.scene.rt, event)

    @rule()
    def the_humans_hand_back(self) -> None:
        for chat in self.scene.agent.chats.values():
            if chat.state is ChatState.WITH_HUMAN:
                self.scene.agent.hand_back(chat.id)

    @rule()
    def a_chat_ends(self) -> None:
        for chat_id in list(self.scene.agent.chats)[-1:]:
            self.scene.agent.end(chat_id)

    @rule(data=st.data(), kind=st.sampled_from(EventKind))
    def the_end_of_a_chat_is_reported(self, data: Any, kind: EventKind) -> None:
        """Of any chat that has ended, in any order and again. What is in it was sent, or will be, as an answer."""
        ended = [chat for chat in self.scene.agent.chats.values() if chat.state is ChatState.ENDED]
        if ended:
            chat = data.draw(st.sampled_from(ended))
            event = ChatEvent(kind, self.scene.agent.provider, chat.id, self.scene.clock(), tuple(chat.items))
            agent_events.record(self.scene.rt, event)

    @rule()
    def one_wake_up_runs_its_task(self) -> None:
        if self.scene.notifier.wakeups:
            task, row = self.scene.notifier.wakeups.pop(0)
            TASKS[task](self.scene.rt, row)

    @rule()
    def a_wake_up_is_lost(self) -> None:
        del self.scene.notifier.wakeups[:1]

    @rule()
    def a_wake_up_is_doubled(self) -> None:
        self.scene.notifier.wakeups += self.scene.notifier.wakeups[:1]

    @rule()
    def the_worker_dies(self) -> None:
        self.scene.restart()

    @rule(data=st.data())
    def the_worker_is_halted_in_a_call(self, data: Any) -> None:
        """In the next call that reaches a provider the process stops; others take over; then it goes on."""
        halted = self.scene.rt

        def meanwhile() -> None:
            halted.heartbeat.stopped = True  # type: ignore[attr-defined]
            self.scene.restart()
            for _ in range(data.draw(st.integers(1, 4))):
                self.scene.tick(25)

        self.scene.agent.in_next_call(meanwhile) if data.draw(st.booleans()) else self.scene.carrier.in_next_call(
            meanwhile
        )

    @rule(seconds=st.sampled_from([1, 2, 5, 25]))
    def time_passes(self, seconds: int) -> None:
        self.scene.tick(seconds)

    @rule()
    def the_judge_comes(self) -> None:
        self.scene.agent.recover()
        self.scene.carrier.recover()
        self.the_humans_hand_back()
        pausing.end(self.scene.rt, "ana")
        for phone in sorted(self.held):
            self._hand_back(phone, answer=True)
        self.scene.tick(LEAVE_TO_WEBHOOK.total_seconds())
        catch_up.catch_up(self.scene.rt)
        self.scene.work_until_idle(at_most=900)
        every = (*self.sent.values(), *self.missed.values(), *self.told.values(), *self.kept.values())
        handled = self._bodies(MessageStatus.HANDLED)
        assert sorted([*self._heard(), *handled]) == sorted(itertools.chain(*every))
        for phone in PHONES:
            for bodies in (self.sent[phone], self.missed[phone]):
                assert self._heard(bodies) == [body for body in bodies if body not in handled]
            assert self._heard(self.told[phone]) == self.told[phone]
            assert self._heard(self.kept[phone]) == self.kept[phone]
            assert self._got(phone) == (self._answers(phone), self.written[phone])
        drafts = self._bodies(MessageStatus.DRAFT)
        assert len(drafts) == len(set(drafts))
        assert {f"re: {body}" for body in itertools.chain(*self.kept.values())} <= set(drafts)
        assert not [row for row in self.scene.rows(Turn) if row.status in UNSETTLED_TURN]
        unsettled = {MessageStatus.WAITING, MessageStatus.IN_TURN, MessageStatus.GIVEN_UP, *UNSENT}
        assert not [row for row in self.scene.rows(Message) if row.status in unsettled]

    @invariant()
    def nothing_is_ever_doubled_or_crossed(self) -> None:
        received = self._heard()
        assert len(received) == len(set(received))
        for phone in PHONES:
            for bodies in (self.sent[phone], self.missed[phone], self.told[phone], self.kept[phone]):
                reached = self._heard(bodies)
                assert reached == [body for body in bodies if body in reached]
            answers, written = self._got(phone)
            assert answers == self._answers(phone)[: len(answers)]
            assert written == self.written[phone][: len(written)]

    @invariant()
    def nothing_goes_to_the_agent_while_an_operator_has_the_conversation(self) -> None:
        for phone, before in self.held.items():
            assert self._asked(phone) == before

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.the_judge_comes()

    def _heard(self, of: Collection[str] | None = None) -> list[str]:
        lines = [line for said in self.scene.agent.received for line in said.split("\n")]
        return [line for line in lines if of is None or line in of]

    def _asked(self, phone: str) -> list[str]:
        """What the agent has received of this person."""
        return self._heard({*self.sent[phone], *self.missed[phone], *self.told[phone]})

    def _bodies(self, status: MessageStatus) -> list[str]:
        return [row.body for row in self.scene.rows(Message) if row.status is status]

    def _got(self, phone: str) -> tuple[list[str], list[str]]:
        """The answers of the agent, and the texts by an operator. Several handoffs are told several times."""
        by_ana = [(body.startswith("by Ana"), body) for body in self.scene.got(phone) if body != HANDOFF]
        return [body for by, body in by_ana if not by], [body for by, body in by_ana if by]

    def _answers(self, phone: str) -> list[str]:
        """What must be sent of the agent's answers to this person: all but the drafts."""
        drafts = self._bodies(MessageStatus.DRAFT)
        return [answer for body in self._asked(phone) if (answer := f"re: {body}") not in drafts]


@pytest.mark.parametrize(("provider", "examples"), [({}, 60), (UPONAI, 60)], ids=["retell", "without message ids"])
def test_whatever_happens_in_whatever_order_nothing_is_lost_or_doubled(
    hasty_engine: Engine, provider: Mapping[str, Any], examples: int
) -> None:
    Bridge.engine, Bridge.provider = hasty_engine, provider
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Bridge,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
