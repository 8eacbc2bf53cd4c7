"""An operator takes a conversation over, or hands it back, at the moment at which something else happens in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Audit, Conversation, Holder, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import agent_events, holder
from bridge.maintenance import handoffs
from bridge.operators import drafts as kept
from bridge.operators import holding, instructions, retry, texts
from bridge.operators.conversations import HeldBy
from bridge.operators.idempotency import Asked
from bridge.providers.agents.contract import ChatState, Item
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.providers.errors import ChatEnded, OutcomeUnknown, RateLimited, Refused, RemoteError, WithHuman
from tests.fakes import FakeAgent
from tests.operators.holders import HERE, asked, drafts, hand_back, inbound, kind, outside, take_over, write
from tests.scene import Scene

BUSY = RateLimited("busy", provider="retell", status=429)
TOO_LONG = Refused("too long", provider="retell", status=400)
ENDED = ChatEnded("Chat already ended", provider="retell", status=400)
WITH_HUMAN = WithHuman("This chat was transferred", provider="retell", status=400)
CUT = OutcomeUnknown("cut", provider="retell")


class Refusing(FakeAgent):
    """Something happens while the agent refuses a text."""

    meanwhile: tuple[Callable[[], object], RemoteError] | None = None

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        if self.meanwhile:
            (work, error), self.meanwhile = self.meanwhile, None
            work()
            raise error
        return super().complete(chat_id, content)


@pytest.fixture
def agent() -> Refusing:
    return Refusing()


@pytest.fixture
def scene(sessions: Sessions, agent: Refusing) -> Scene:
    """Ann has an answer, and an open chat."""
    scene = Scene(sessions, agent, handoff_words="human")
    scene.text("hello")
    scene.work_until_idle()
    return scene


def lost(scene: Scene) -> list[str]:
    """Return the texts that wait for the agent, which has the conversation, and of which no worker will hear."""
    waiting = [row.body for row in scene.rows(Message) if row.status is MessageStatus.WAITING]
    [pair] = scene.rows(Conversation)
    return waiting if pair.holder is Holder.AGENT and pair.turn_due_at is None else []


def status(scene: Scene, n: int = -1) -> TurnStatus:
    return TurnStatus(scene.rows(Turn)[n].status)


# -- the agent is not asked while a person has the conversation -------------------------------------------------------


@pytest.mark.parametrize("error", [BUSY, TOO_LONG, ENDED, WITH_HUMAN], ids=lambda error: type(error).__name__)
def test_what_the_agent_refuses_during_a_take_over_waits(scene: Scene, agent: Refusing, error: RemoteError) -> None:
    agent.meanwhile = (lambda: take_over(scene), error)
    scene.text("second")
    scene.work_until_idle()
    assert (asked(scene), inbound(scene)[1]) == (["hello"], ("second", MessageStatus.WAITING))
    hand_back(scene, answer=True)
    scene.work_until_idle()
    assert scene.got()[-1] == "You said: second"
    assert lost(scene) == []


def test_what_an_operator_says_to_the_agent_waits_too_if_it_was_refused(scene: Scene, agent: Refusing) -> None:
    agent.meanwhile = (lambda: take_over(scene, "ben"), BUSY)
    instructions.ask(scene.rt, Asked("ana"), HERE, "offer a table")
    scene.work_until_idle()
    assert (asked(scene), status(scene)) == (["hello"], TurnStatus.QUEUED)
    hand_back(scene, "ben")
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: offer a table"]


def test_what_an_operator_has_said_to_the_agent_is_sent_after_a_short_hold(scene: Scene, agent: Refusing) -> None:
    def hold_shortly() -> None:
        take_over(scene, "ben")
        hand_back(scene, "ben")

    scene.agent.in_next_call(hold_shortly)
    instructions.ask(scene.rt, Asked("ana"), HERE, "offer a table")
    scene.work_until_idle()
    assert (scene.got()[1:], drafts(scene)) == (["You said: offer a table"], [])


# -- drafts on demand -------------------------------------------------------------------------------------------------


def test_a_draft_is_written_although_a_text_that_was_not_received_goes_back_to_wait(scene: Scene) -> None:
    scene.agent.fail("complete", CUT)
    scene.text("second")
    scene.wake()
    take_over(scene)
    instructions.ask(scene.rt, Asked("ana"), HERE, "what would you say?", send=False)
    scene.work_until_idle()
    assert asked(scene) == ["hello", "what would you say?"]
    assert (drafts(scene), inbound(scene)[1]) == (["You said: what would you say?"], ("second", MessageStatus.WAITING))


def test_a_draft_does_not_wait_behind_what_waits_for_the_agent(scene: Scene) -> None:
    instructions.ask(scene.rt, Asked("ben"), HERE, "offer a table")
    take_over(scene)
    instructions.ask(scene.rt, Asked("ana"), HERE, "what would you say?", send=False)
    scene.work_until_idle()
    assert drafts(scene) == ["You said: what would you say?"]
    hand_back(scene)
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: offer a table"]


# -- texts of ours that wait to be sent -------------------------------------------------------------------------------


def test_what_is_not_the_agents_is_sent_after_a_take_over(scene: Scene) -> None:
    """The word gets HANDOFF_REPLY, and an operator has written; a worker has sent neither."""
    scene.text("human")
    texts.write_in(scene.rt, Asked("ana"), HERE, "I am here.")
    take_over(scene)
    scene.work_until_idle()
    assert scene.got()[1:] == [scene.rt.settings.handoff_reply, "I am here."]


def test_a_text_that_the_carrier_has_put_off_is_sent_after_a_take_over(scene: Scene) -> None:
    """It was begun, so the person gets it."""
    scene.carrier.fail("send", RateLimited("busy", provider="twilio", status=429))
    scene.text("second")
    scene.wake()
    take_over(scene)
    scene.work_until_idle()
    assert (scene.got()[1:], drafts(scene)) == (["You said: second"], [])


# -- limits


def test_texts_over_a_limit_that_a_person_held_wait_as_long_as_new_ones(sessions: Sessions) -> None:
    scene = Scene(sessions, turns_per_hour=1, answer_within="30m", rate_limit_reply="")
    scene.text("hello")
    scene.work_until_idle()
    scene.text("one")
    scene.work(seconds=60)
    take_over(scene)
    scene.clock.tick(3600 - 300)  # longer than ANSWER_WITHIN, and still within the hour
    scene.rt.heartbeat.beat()
    hand_back(scene, answer=True)
    scene.wake()
    assert scene.rows(Conversation)[0].turn_due_at > scene.clock()  # it waits for the limit, and is not claimed again
    scene.work_until_idle()
    assert (inbound(scene)[1], scene.got()[-1]) == (("one", MessageStatus.ANSWERED), "You said: one")


# -- hand back --------------------------------------------------------------------------------------------------------


def test_a_turn_that_was_given_up_under_a_person_is_sent_when_it_is_tried_again_later(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("second")
    scene.wake()
    take_over(scene)
    scene.work_until_idle()
    assert status(scene) is TurnStatus.GIVEN_UP
    hand_back(scene)
    scene.agent.thinks = False
    scene.agent.finish("chat_1")
    retry.retry_turn(scene.rt, "ana", 2)
    scene.work_until_idle()
    assert (scene.got()[1:], drafts(scene)) == (["You said: second"], [])


def test_the_agent_learns_what_one_operator_wrote_before_another_one_hands_back(scene: Scene) -> None:
    take_over(scene, "ana")
    write(scene, "It comes on Friday.", "ana")
    scene.clock.tick(60)
    take_over(scene, "ben", force=True)
    hand_back(scene, "ben")
    scene.text("thanks")
    scene.work_until_idle()
    assert "Team: It comes on Friday." in list(scene.agent.chats.values())[-1].about.previous_conversation


def test_a_chat_that_begins_after_a_persons_words_goes_on_after_the_next_hold(scene: Scene) -> None:
    take_over(scene)
    write(scene, "It comes on Friday.")
    scene.clock.tick(60)
    hand_back(scene)
    scene.text("thanks")
    scene.work_until_idle()
    scene.clock.tick(60)
    take_over(scene)
    hand_back(scene)
    scene.text("bye")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello"], ["thanks", "bye"]]


def test_an_answer_that_comes_after_a_person_has_answered_is_thrown_away(scene: Scene) -> None:
    """Its chat has received it, so the next text goes to a new one."""

    def answer() -> None:
        take_over(scene)
        hand_back(scene)

    scene.agent.in_next_call(answer)
    scene.text("second")
    scene.work_until_idle()
    assert (scene.got()[1:], drafts(scene), inbound(scene)[1][1]) == ([], [], MessageStatus.HANDLED)
    scene.text("third")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello", "second"], ["third"]]
    assert scene.got()[1:] == ["You said: third"]


def test_a_turn_with_a_newer_text_than_the_one_from_outside_is_answered(scene: Scene) -> None:
    scene.clock.tick(120)
    scene.agent.thinks = True
    scene.text("second")
    scene.wake()
    outside(scene, "I call you.", minutes=1, ago=60)
    scene.clock.tick(61)
    handoffs.end_waits(scene.rt)
    scene.agent.thinks = False
    scene.agent.finish("chat_1")
    scene.work_until_idle()
    assert (scene.got()[1:], drafts(scene)) == (["You said: second"], [])


def test_a_note_reaches_the_first_chat_of_a_person(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_words="human")
    scene.text("human")
    take_over(scene)
    hand_back(scene, note="Be kind.")
    scene.text("hello")
    scene.work_until_idle()
    assert [chat.about.team_note for chat in scene.agent.chats.values()] == ["Be kind."]


def test_the_audit_has_each_change_of_hands_and_no_words(scene: Scene) -> None:
    take_over(scene)
    holding.hand_to_team(scene.rt, "ana", HERE, "secret")
    hand_back(scene, "ben", "secret", answer=True)
    rows = [(row.operator, row.action, row.details) for row in scene.rows(Audit)]
    assert [row[:2] for row in rows] == [("ana", "take_over"), ("ana", "hand_to_team"), ("ben", "hand_back")]
    assert "secret" not in str(rows)


def test_nobody_leaves_to_the_team_what_another_person_has(scene: Scene) -> None:
    take_over(scene)
    with pytest.raises(HeldBy):
        holding.hand_to_team(scene.rt, "ben", HERE, "why")


def test_what_the_agent_has_can_not_be_handed_back(scene: Scene) -> None:
    assert hand_back(scene, note="Be kind.").since is None
    assert (scene.rows(Audit), scene.rows(Conversation)[0].agent_note) == ([], None)


def test_nobody_discards_a_draft_of_a_conversation_that_another_person_has(scene: Scene) -> None:
    scene.agent.in_next_call(lambda: take_over(scene))
    scene.text("second")
    scene.work_until_idle()
    [draft] = [row for row in scene.rows(Message) if row.status is MessageStatus.DRAFT]
    with pytest.raises(HeldBy):
        kept.discard(scene.rt, "ben", draft.id)
    kept.discard(scene.rt, "ana", draft.id)
    acts = [(row.operator, row.action, row.subject) for row in scene.rows(Audit)]
    assert acts[1:] == [("ana", "dismiss", f"draft {draft.id}")]


# -- a human at the agent's provider, and an operator -----------------------------------------------------------------


def escalate_under_a_person(scene: Scene) -> None:
    """The agent's answer hands the chat to a human, and an operator has the conversation by then."""
    scene.agent.hands_over_on["human please"] = ""
    scene.agent.in_next_call(lambda: take_over(scene))
    scene.text("human please")
    scene.work_until_idle()
    [pair] = scene.rows(Conversation)
    assert (pair.holder, pair.human_at, drafts(scene)) == (Holder.PERSON, "retell", ["You said: human please"])


@pytest.mark.parametrize("answer", [True, False], ids=["answer", "handled"])
@pytest.mark.parametrize("note", [None, "Be kind."], ids=["alone", "note"])
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "back"])
@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "empty"])
def test_no_text_is_lost_after_an_escalation_under_a_person(
    scene: Scene, answer: bool, note: str | None, ends: bool, waits: bool
) -> None:
    """Whatever the operator did, and however the provider's human leaves the chat."""
    escalate_under_a_person(scene)
    for body in ("one", "two", "three") if waits else ():
        scene.text(body)
        scene.work_until_idle()
    scene.clock.tick(60)
    hand_back(scene, note=note, answer=answer)
    scene.work(seconds=60)
    assert kind(scene) is Holder.WAITING
    scene.agent.end("chat_1") if ends else scene.agent.hand_back("chat_1")
    scene.work(seconds=600)
    scene.text("later")
    scene.work_until_idle()
    handoffs.check_again(scene.rt)
    scene.work_until_idle()
    received = "\n".join(asked(scene)[2:]).split("\n")
    assert received == ([*("one", "two", "three"), "later"] if waits and answer else ["later"])
    assert (lost(scene), kind(scene), scene.agent.asked_beside_a_human) == ([], Holder.AGENT, [])
    assert scene.rows(Conversation)[0].human_at is None
    abouts = [chat.about.team_note for chat in scene.agent.chats.values()]
    assert (note in abouts) is (note is not None) or note is None


def test_the_agent_is_not_asked_beside_a_human_after_a_long_hold(scene: Scene) -> None:
    escalate_under_a_person(scene)
    scene.text("one")
    scene.work_until_idle()
    scene.clock.tick(10 * 3600)  # longer than ANSWER_WITHIN
    hand_back(scene, answer=True)
    scene.work(seconds=60)
    assert scene.agent.asked_beside_a_human == []
    scene.agent.hand_back("chat_1")
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: one"]


def test_a_text_that_came_before_the_humans_turn_is_given_up_and_not_asked_beside_them(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="5m")
    scene.text("hello")
    scene.work_until_idle()
    scene.text("one")
    scene.clock.tick(60)
    scene.agent.hand_over("chat_1")
    event = ChatEvent(EventKind.ESCALATED, "retell", "chat_1", scene.clock(), (), state=ChatState.WITH_HUMAN)
    agent_events.record(scene.rt, event)
    scene.work_until_idle()
    assert scene.agent.asked_beside_a_human == []
    assert inbound(scene)[-1] == ("one", MessageStatus.GIVEN_UP)


def test_the_agent_learns_what_the_team_wrote_when_the_human_gives_the_chat_back(scene: Scene) -> None:
    escalate_under_a_person(scene)
    scene.clock.tick(1)
    write(scene, "It comes on Friday.")
    hand_back(scene, note="Be kind.")
    scene.work(seconds=30)
    scene.agent.hand_back("chat_1")
    scene.text("thanks")
    scene.work_until_idle()
    about = list(scene.agent.chats.values())[-1].about
    assert (about.team_note, "Team: It comes on Friday." in about.previous_conversation) == ("Be kind.", True)


def test_a_person_whose_text_is_given_up_beside_a_human_is_told(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_on="failure", answer_within="5m")
    scene.text("hello")
    scene.work_until_idle()
    scene.agent.hand_over("chat_1")
    scene.text("are you there?")
    scene.work(seconds=30)
    assert kind(scene) is Holder.WAITING
    scene.work(seconds=400)
    assert scene.got()[1:] == [scene.rt.settings.handoff_reply, scene.rt.settings.fallback_reply]


def test_the_reason_of_an_operator_does_not_reach_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    holding.hand_to_team(scene.rt, "ana", HERE, "Ann, +15557654321, wants her money")
    assert "waits for the team" in caplog.text
    assert "money" not in caplog.text


def test_what_a_cut_answer_says_of_the_human_is_sent_although_the_team_had_the_conversation_meanwhile(
    sessions: Sessions,
) -> None:
    """The words stand in the tool's call alone, and the turn is settled after the hand-back."""
    scene = Scene(sessions, agent=FakeAgent(lambda _: []))
    scene.agent.hands_over_on["human please"] = "Noor answers you."
    scene.agent.fail("complete", OutcomeUnknown("cut off", provider="retell"), received=True)
    scene.text("human please")
    scene.wake()
    with scene.rt.database.transaction() as tx:
        holder.report(scene.rt, tx, 1, "retell")  # as an event does while a turn is open
    take_over(scene)
    hand_back(scene, answer=True)
    scene.agent.hand_back("chat_1")
    scene.work_until_idle()
    handoffs.check_again(scene.rt)
    scene.work_until_idle()
    assert scene.got() == ["Noor answers you."]
