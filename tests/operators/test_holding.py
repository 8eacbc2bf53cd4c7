"""Who answers a person: an operator, the team, somebody outside, or the agent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Audit, Chat, Holder, MessageStatus, Turn, TurnStatus
from bridge.operators import holding
from bridge.operators.conversations import HeldBy, UnknownConversation
from bridge.providers.errors import OutcomeUnknown, Refused
from bridge.turns.process import process_turns
from tests.fakes import FakeAgent
from tests.operators.holders import HERE, asked, drafts, hand_back, inbound, kind, outside, take_over, wait, write
from tests.scene import Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """Ann has an answer, and an open chat."""
    scene = Scene(sessions)
    scene.text("hello")
    scene.work_until_idle()
    return scene


# -- take over ------------------------------------------------------------------------------------------------------


def test_a_text_to_a_person_who_has_the_conversation_is_stored_and_never_asked(scene: Scene) -> None:
    assert take_over(scene).name == "ana"
    scene.text("are you a human?")
    scene.clock.tick(24 * 3600)
    scene.work_until_idle()
    assert inbound(scene)[1:] == [("are you a human?", MessageStatus.WAITING)]
    assert (asked(scene), scene.got()) == (["hello"], ["You said: hello"])
    assert not scene.waiting()


def test_the_second_to_take_a_conversation_over_is_told_who_has_it(scene: Scene) -> None:
    take_over(scene, "ana")
    with pytest.raises(HeldBy, match="ana has this conversation") as told:
        take_over(scene, "ben")
    assert (told.value.holder.kind, told.value.holder.name) == (Holder.PERSON, "ana")
    assert take_over(scene, "ana").since == told.value.holder.since  # once more changes nothing
    assert take_over(scene, "ben", force=True).name == "ben"


def test_of_many_who_take_over_at_once_one_wins(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url)
    scene = Scene(build_sessions(engine))
    scene.text("hello")
    scene.work_until_idle()

    def attempt(name: str) -> str | None:
        try:
            return take_over(scene, name).name
        except HeldBy:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = list(filter(None, pool.map(attempt, [f"op{n}" for n in range(8)])))
    assert len(winners) == 1
    assert [row.operator for row in scene.rows(Audit)] == winners
    engine.dispose()


def test_an_unknown_conversation_can_not_be_taken_over(scene: Scene) -> None:
    with pytest.raises(UnknownConversation):
        holding.take_over(scene.rt, "ana", 99)


def test_nobody_writes_into_a_conversation_that_another_person_has(scene: Scene) -> None:
    take_over(scene, "ana")
    with pytest.raises(HeldBy):
        write(scene, "hi from ben", "ben")
    write(scene, "hi from ana")
    assert scene.got()[1:] == ["hi from ana"]


def test_an_answer_that_the_agent_is_just_giving_is_kept_as_a_draft(scene: Scene) -> None:
    scene.agent.in_next_call(lambda: take_over(scene))
    scene.text("second")
    scene.work_until_idle()
    assert (scene.got(), drafts(scene)) == (["You said: hello"], ["You said: second"])
    assert inbound(scene)[1] == ("second", MessageStatus.ANSWERED)
    assert kind(scene) is Holder.PERSON


def test_an_answer_that_is_found_after_the_take_over_is_a_draft_too(scene: Scene) -> None:
    """The connection breaks, so the transcript tells what the agent has answered."""
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    scene.text("second")
    scene.wake()
    take_over(scene)
    hand_back(scene, answer=True)
    take_over(scene)
    scene.work_until_idle()
    assert (scene.got(), drafts(scene)) == (["You said: hello"], ["You said: second"])


def test_a_turn_that_the_agent_has_not_received_is_not_asked_while_a_person_has_it(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"))
    scene.text("second")
    scene.wake()
    take_over(scene)
    scene.work(seconds=120)
    assert asked(scene) == ["hello"]
    [_, turn] = scene.rows(Turn)
    assert (turn.status, inbound(scene)[1]) == (TurnStatus.CANCELED, ("second", MessageStatus.WAITING))
    hand_back(scene, answer=True)
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: second"]


def test_answers_that_nobody_has_begun_to_send_become_drafts(sessions: Sessions) -> None:
    scene = Scene(sessions, FakeAgent(lambda text: ["one", "two"]))
    scene.rt = scene.alone  # an answer waits in the outbox
    scene.text("hello")
    process_turns(scene.rt, HERE)
    take_over(scene)
    scene.work_until_idle()
    assert (scene.got(), drafts(scene)) == ([], ["one", "two"])


def test_an_answer_that_the_person_has_in_part_is_sent_as_a_whole(sessions: Sessions) -> None:
    scene = Scene(sessions, FakeAgent(lambda text: ["one", "two"]))
    scene.text("hello")
    scene.carrier.in_next_call(lambda: take_over(scene))
    scene.work_until_idle()
    assert (scene.got(), drafts(scene)) == (["one", "two"], [])


# -- hand back ------------------------------------------------------------------------------------------------------


def test_what_came_meanwhile_is_answered_by_the_agent_if_the_person_wishes_it(scene: Scene) -> None:
    take_over(scene)
    scene.text("one")
    scene.text("two")
    scene.work_until_idle()
    scene.clock.tick(10 * 3600)  # longer than ANSWER_WITHIN
    assert hand_back(scene, answer=True).kind is Holder.AGENT
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: one\ntwo"]


def test_what_came_meanwhile_counts_as_answered_otherwise(scene: Scene) -> None:
    take_over(scene)
    scene.text("one")
    write(scene, "I am here.")
    hand_back(scene)
    scene.work_until_idle()
    assert inbound(scene)[1:] == [("one", MessageStatus.HANDLED)]
    assert scene.got()[1:] == ["I am here."]
    scene.text("two")
    scene.work_until_idle()
    assert scene.got()[2:] == ["You said: two"]


def test_the_agent_learns_in_a_new_chat_what_the_team_has_written_and_noted(scene: Scene) -> None:
    take_over(scene)
    scene.text("where is my parcel?")
    write(scene, "It comes on Friday.")
    hand_back(scene, note="The parcel is late; be kind.")
    scene.text("thanks")
    scene.work_until_idle()
    first, second = (chat.about for chat in scene.agent.chats.values())
    assert (first.team_note, second.team_note) == ("", "The parcel is late; be kind.")
    assert second.previous_conversation.splitlines()[-2:] == ["User: where is my parcel?", "Team: It comes on Friday."]
    assert [chat.end_reason for chat in scene.rows(Chat)] == ["a person of the team has answered", None]


def test_the_chat_goes_on_if_nothing_happened_meanwhile(scene: Scene) -> None:
    take_over(scene)
    hand_back(scene)
    scene.text("again")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello", "again"]]


def test_nobody_hands_back_what_another_person_has(scene: Scene) -> None:
    take_over(scene, "ana")
    with pytest.raises(HeldBy):
        hand_back(scene, "ben")


def test_only_the_human_at_the_provider_gives_their_chat_back(scene: Scene) -> None:
    scene.agent.hand_over("chat_1")
    scene.text("are you there?")
    scene.work(seconds=60)
    with pytest.raises(HeldBy, match="retell has this conversation"):
        hand_back(scene)
    assert take_over(scene).kind is Holder.PERSON


def test_a_chat_that_a_human_at_the_provider_had_before_is_checked_before_the_agent_is_asked(scene: Scene) -> None:
    scene.agent.hand_over("chat_1")
    scene.text("are you there?")
    scene.work(seconds=60)
    take_over(scene)
    write(scene, "I am here.")
    assert (hand_back(scene, answer=True).kind, kind(scene)) == (Holder.WAITING, Holder.WAITING)
    scene.work(seconds=60)
    assert scene.agent.asked_beside_a_human == ["chat_1"]  # once, before anybody knew
    assert len(scene.agent.chats) == 1
    scene.agent.hand_back("chat_1")
    scene.work_until_idle()
    assert scene.got()[1:] == [scene.rt.settings.handoff_reply, "I am here.", "You said: are you there?"]


# -- the team -------------------------------------------------------------------------------------------------------


def test_a_conversation_that_waits_for_the_team_tells_the_person_once_and_keeps_the_agent_still(scene: Scene) -> None:
    now = holding.hand_to_team(scene.rt, "ana", HERE, "wants a refund")
    assert (now.kind, now.name, now.reason) == (Holder.WAITING, None, "wants a refund")
    holding.hand_to_team(scene.rt, "ben", HERE, "again")
    scene.text("hurry")
    scene.work_until_idle()
    assert scene.got()[1:] == [scene.rt.settings.handoff_reply]
    assert asked(scene) == ["hello"]


def test_a_person_who_leaves_a_conversation_to_the_team_sends_no_second_message(scene: Scene) -> None:
    take_over(scene)
    holding.hand_to_team(scene.rt, "ana", HERE, "I go home")
    scene.work_until_idle()
    assert scene.got() == ["You said: hello"]


@pytest.mark.parametrize("written", ["human", "Human!", " A human. ", "HUMAN"])
def test_a_word_alone_asks_for_a_human(sessions: Sessions, written: str) -> None:
    scene = Scene(sessions, handoff_words="human, a human")
    scene.text(written)
    scene.work_until_idle()
    assert (kind(scene), scene.got()) == (Holder.WAITING, [scene.rt.settings.handoff_reply])
    assert (inbound(scene), asked(scene)) == ([(written, MessageStatus.KEYWORD)], [])


@pytest.mark.parametrize("written", ["human nature", "a human being?"])
def test_the_word_among_others_goes_to_the_agent(sessions: Sessions, written: str) -> None:
    scene = Scene(sessions, handoff_words="human")
    scene.text(written)
    scene.work_until_idle()
    assert (kind(scene), scene.got()) == (Holder.AGENT, [f"You said: {written}"])


def test_the_word_takes_nothing_away_from_a_person_who_has_the_conversation(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_words="human")
    scene.text("hello")
    scene.work_until_idle()
    take_over(scene)
    scene.text("human")
    scene.work_until_idle()
    assert (kind(scene), scene.got()) == (Holder.PERSON, ["You said: hello"])


def test_somebody_who_has_opted_out_does_not_call_the_team(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_words="human")
    scene.text("STOP")
    scene.text("human")
    scene.work_until_idle()
    assert kind(scene) is Holder.AGENT


def test_a_text_that_is_given_up_calls_the_team_by_setting(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_on="failure")
    scene.agent.fail("create_chat", Refused("no", provider="retell", status=400), times=20)
    scene.text("hello")
    scene.work_until_idle()
    assert (kind(scene), scene.got()) == (Holder.WAITING, [scene.rt.settings.handoff_reply])


def test_a_silent_agent_calls_the_team_by_setting(sessions: Sessions) -> None:
    scene = Scene(sessions, FakeAgent(lambda text: []), handoff_on="silence", silent_turns=2)
    for body in ("one", "two"):
        scene.text(body)
        scene.work_until_idle()
    assert (kind(scene), scene.got()) == (Holder.WAITING, [scene.rt.settings.handoff_reply])


def test_a_person_for_whom_nobody_comes_is_told_once(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_words="human", handoff_within="10m")
    scene.text("human")
    scene.text("my order is gone")
    scene.work_until_idle()
    wait(scene, minutes=9)
    assert len(scene.got()) == 1
    for _ in range(3):
        wait(scene, minutes=9)
    assert scene.got()[1:] == [scene.rt.settings.handoff_late_reply]
    assert (kind(scene), asked(scene)) == (Holder.WAITING, [])


def test_the_agent_gets_the_conversation_back_if_nobody_comes_and_the_setting_says_so(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_words="human", handoff_within="10m", handoff_give_back=True, handoff_late_reply="")
    scene.text("human")
    scene.text("my order is gone")
    wait(scene, minutes=11)
    assert (kind(scene), scene.got()[1:]) == (Holder.AGENT, ["You said: my order is gone"])


# -- somebody outside -----------------------------------------------------------------------------------------------


def test_the_agent_keeps_still_while_somebody_outside_texts(scene: Scene) -> None:
    outside(scene, "I call you.")
    scene.text("ok")
    scene.work_until_idle()
    assert (kind(scene), asked(scene)) == (Holder.OUTSIDE, ["hello"])


def test_after_that_the_agent_answers_what_nobody_has_answered(scene: Scene) -> None:
    outside(scene, "I call you.")
    scene.text("ok")
    scene.clock.tick(60)
    outside(scene, "Did it work?")
    scene.clock.tick(1)
    scene.text("no, it did not")
    wait(scene, minutes=31)
    assert (kind(scene), scene.got()[1:]) == (Holder.AGENT, ["You said: no, it did not"])
    assert inbound(scene)[1] == ("ok", MessageStatus.HANDLED)


def test_a_person_of_the_team_stays_if_somebody_outside_texts_too(scene: Scene) -> None:
    take_over(scene)
    outside(scene, "I call you.")
    wait(scene, hours=1)
    assert kind(scene) is Holder.PERSON
