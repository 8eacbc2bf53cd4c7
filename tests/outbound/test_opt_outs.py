"""Opting out and in: whoever says STOP gets nothing more, at whatever moment it comes, and nothing stays behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text

from bridge.chats import ending
from bridge.db.engine import Sessions
from bridge.db.models import (
    OPEN_TURN,
    UNSENT,
    Chat,
    ChatStatus,
    Conversation,
    Direction,
    Message,
    MessageStatus,
    OptOut,
    Turn,
    TurnStatus,
)
from bridge.lib.keywords import HELP_WORDS, START_WORDS, STOP_WORDS
from bridge.maintenance.catch_up import catch_up
from bridge.outbound import opt_outs, outbox, receipts
from bridge.outbound.delivery.claim import claim_delivery
from bridge.outbound.delivery.process import process_deliveries
from bridge.outbound.delivery.send import send
from bridge.outbound.formatting.shape import Recipient, shape
from bridge.outbound.outbox import Draft
from bridge.providers.carriers.contract import CarriedText, Delivery, OutgoingText, StatusReport
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import QUEUES
from bridge.queues.timing import DELIVERY_LEASE
from bridge.turns.claim import claim_turn
from bridge.turns.process import process_turns
from bridge.web.queries import activity, failures
from testkit.waiting import until
from tests.fakes import FakeAgent
from tests.scene import ANN, BOB, NUMBER, Scene

OTHER_NUMBER = "+15550002222"
TOLL_FREE = "+18885550100"
SHORT_CODE = "55512"
WHATSAPP = "whatsapp:+15550001111"
ANN_ON_WHATSAPP = f"whatsapp:{ANN}"
SERVICE = {"twilio_messaging_service_sid": "MG" + "0" * 32}

ANSWERS = ["hi 1", "hi 2", "hi 3"]

UNSUBSCRIBED = Refused("Attempt to send to unsubscribed recipient", provider="twilio", status=400, code=21610)
CUT = OutcomeUnknown("cut", provider="retell")
LOST = OutcomeUnknown("cut", provider="twilio")


def three_answers(sessions: Sessions, **settings: Any) -> Scene:
    return Scene(sessions, agent=FakeAgent(lambda said: [f"{said} {n}" for n in (1, 2, 3)]), **settings)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return three_answers(sessions)


def out(scene: Scene) -> list[tuple[str, str]]:
    """Who has opted out of what."""
    with scene.sessions() as session:
        rows = session.scalars(select(OptOut).where(OptOut.ended_at.is_(None)).order_by(OptOut.scope, OptOut.phone))
        return [(row.scope, row.phone) for row in rows]


def texts(scene: Scene, direction: Direction) -> list[tuple[str, str]]:
    return [(row.body, row.status.value) for row in scene.rows(Message) if row.direction is direction]


def came(scene: Scene) -> list[tuple[str, str]]:
    return texts(scene, Direction.IN)


def went(scene: Scene) -> list[tuple[str, str]]:
    return texts(scene, Direction.OUT)


def nothing_is_left(scene: Scene) -> None:
    """Every line is empty, and every row in one of its last states, once the sweeper has come by."""
    scene.work(seconds=2)
    with scene.sessions() as session:
        for each in QUEUES:
            held = (each.due_at.is_not(None)) | (each.leased_by.is_not(None))
            assert session.scalars(select(Conversation.id).where(held)).all() == []
    assert not [row for row in scene.rows(Turn) if row.status in OPEN_TURN]
    unsettled = {MessageStatus.WAITING, MessageStatus.IN_TURN, *UNSENT}
    assert not [row for row in scene.rows(Message) if row.status in unsettled]
    assert not [row for row in scene.rows(Chat) if row.status is ChatStatus.ENDING]


# -- the words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [*sorted(STOP_WORDS), "stop", " Stop\n"])
def test_a_word_that_opts_out_is_stored_once_and_nobody_says_anything(scene: Scene, word: str) -> None:
    assert scene.text(word, sid="SM1")
    assert not scene.text(word, sid="SM1")
    assert scene.work_until_idle() == 0
    assert came(scene) == [(word, "keyword")]
    assert out(scene) == [(NUMBER, ANN)]
    assert (scene.agent.calls, scene.carrier.calls) == ([], [])
    nothing_is_left(scene)


def test_the_carriers_own_word_for_it_counts(scene: Scene) -> None:
    scene.text("ARRET", opt_out="STOP")
    assert out(scene) == [(NUMBER, ANN)]
    scene.text("assez", opt_out="HELP")
    scene.text("encore", opt_out="START")
    assert out(scene) == []
    scene.work()
    assert (scene.agent.calls, scene.carrier.calls) == ([], [])
    assert [status for _, status in came(scene)] == ["keyword"] * 3


@pytest.mark.parametrize("word", ["STOP", "HELP"])
def test_a_picture_with_a_keyword_is_a_keyword(scene: Scene, word: str) -> None:
    scene.text(word, media=1)
    scene.work()
    assert came(scene) == [(word, "keyword")]
    assert scene.got() == []


@pytest.mark.parametrize("word", sorted(HELP_WORDS))
def test_help_stays_with_the_carrier(scene: Scene, word: str) -> None:
    scene.text(word)
    scene.work_until_idle()
    assert came(scene) == [(word, "keyword")]
    assert (scene.agent.calls, scene.carrier.calls, out(scene)) == ([], [], [])
    nothing_is_left(scene)


@pytest.mark.parametrize("word", ["STOP please", "stop?", "Help!", "Yes!", "start?", "I want to cancel"])
def test_what_only_holds_a_word_is_for_the_agent(scene: Scene, word: str) -> None:
    scene.text(word)
    scene.work_until_idle()
    assert scene.agent.received == [word]
    assert out(scene) == []


@pytest.mark.parametrize("number", [NUMBER, TOLL_FREE, SHORT_CODE, "rcs:brand_agent"])
@pytest.mark.parametrize(
    "word", ["Opt out", "Stop.", "STOP,", "“Stop”", "\u200bSTOP", "stop 🛑", "STOP ALL", "Stop\u00a0"]
)
def test_a_word_in_a_dress_to_which_the_carrier_is_deaf_is_confirmed_once(scene: Scene, word: str, number: str) -> None:
    """The carrier goes on taking texts for this person: only the bridge's own table holds them back."""
    scene.text("hi", to=number)
    process_turns(scene.alone, 1)
    scene.text(word, to=number)
    scene.work_until_idle()
    scene.text(word, to=number)
    scene.text("hello?", to=number)
    scene.work_until_idle()
    assert came(scene) == [("hi", "answered"), (word, "keyword"), (word, "keyword"), ("hello?", "opted_out")]
    assert went(scene) == [*CANCELED, (scene.rt.settings.opt_out_reply, "sent")]
    assert scene.agent.received == ["hi"]
    nothing_is_left(scene)


def test_who_is_out_with_the_bridge_alone_comes_back_by_a_word_that_the_carrier_answers(scene: Scene) -> None:
    scene.text("Opt out")
    scene.work_until_idle()
    scene.clock.tick(60)
    scene.text("START")
    scene.text("hi")
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.opt_out_reply, *ANSWERS]


def test_who_is_out_with_the_carrier_is_not_told_so_again(scene: Scene) -> None:
    for word in ("STOP", "Stop!!", "Opt out"):
        scene.text(word)
        scene.work_until_idle()
    assert scene.carrier.calls == []


@pytest.mark.parametrize("dress", ["Yes!", "START.", "\u200bstart", "un-stop", "“YES”", "start?"])
def test_a_word_that_opts_in_opens_nothing_in_any_dress(scene: Scene, dress: str) -> None:
    scene.text("STOP")
    scene.clock.tick(60)
    scene.text(dress)
    scene.work_until_idle()
    assert came(scene)[-1] == (dress, "opted_out")


# -- words of one's own --------------------------------------------------------------------------------------------

OWN = {"extra_stop_words": "ARRÊT,NO MÁS", "extra_start_words": "REPRENDRE", "extra_help_words": "AIDE"}


def test_words_of_ones_own_are_answered_by_the_bridge(sessions: Sessions) -> None:
    scene = three_answers(sessions, **OWN)
    said = scene.rt.settings
    for word in ("reprendre", "Aide", "“arrêt”", "No-más", "encore?", "REPRENDRE", "aide"):
        scene.clock.tick(1)
        scene.text(word)
        scene.work_until_idle()
    opened = [f"reprendre {n}" for n in (1, 2, 3)]  # where nobody is out it is a text like others
    assert scene.got() == [*opened, said.help_reply, said.opt_out_reply, said.opt_in_reply, said.help_reply]
    assert [status for _, status in came(scene)] == ["answered", *["keyword"] * 3, "opted_out", *["keyword"] * 2]
    assert out(scene) == []
    nothing_is_left(scene)


def test_a_word_of_ones_own_does_not_open_what_the_carrier_keeps_shut(sessions: Sessions) -> None:
    """It knows only its own words for that; its refusal of the confirmation tells."""
    scene = three_answers(sessions, **OWN)
    scene.text("STOP")
    scene.clock.tick(60)
    scene.carrier.fail("send", UNSUBSCRIBED)
    scene.text("reprendre")
    scene.work_until_idle()
    assert out(scene) == [(NUMBER, ANN)]
    assert went(scene) == [(scene.rt.settings.opt_in_reply, "canceled")]
    nothing_is_left(scene)


def test_a_late_stop_that_a_start_of_ones_own_has_overtaken_is_over(sessions: Sessions) -> None:
    scene = three_answers(sessions, twilio_numbers=(NUMBER,), **OWN)
    catch_up(scene.rt)
    scene.clock.tick(3600)
    lost(scene, "Arrêt!")
    scene.text("REPRENDRE")
    look(scene)
    assert out(scene) == []


@pytest.mark.parametrize("word", [*sorted(START_WORDS), "yes"])
def test_a_word_that_opts_in_is_for_the_agent_where_nobody_is_out(scene: Scene, word: str) -> None:
    scene.text(word)
    scene.text("STOP", BOB)
    scene.work_until_idle()
    assert scene.agent.received == [word]
    assert came(scene)[0] == (word, "answered")


@pytest.mark.parametrize("word", [*sorted(START_WORDS), "yes"])
def test_a_word_that_opts_in_opens_again_and_is_not_for_the_agent(scene: Scene, word: str) -> None:
    scene.text("STOP")
    scene.clock.tick(60)
    scene.text(word)
    scene.work_until_idle()
    assert out(scene) == []
    assert came(scene) == [("STOP", "keyword"), (word, "keyword")]
    assert (scene.agent.calls, scene.carrier.calls) == ([], [])
    scene.text(word)
    scene.work_until_idle()
    assert scene.agent.received == [word]
    assert scene.got() == [f"{word} {n}" for n in (1, 2, 3)]
    nothing_is_left(scene)


@pytest.mark.parametrize(("word", "opens"), [("YES", False), ("START", True), ("UNSTOP", True)])
def test_yes_does_not_open_a_toll_free_number(scene: Scene, word: str, opens: bool) -> None:
    scene.text("STOP", to=TOLL_FREE)
    scene.clock.tick(60)
    scene.text(word, to=TOLL_FREE)
    scene.work_until_idle()
    assert (out(scene) == []) is opens
    assert came(scene)[-1] == (word, "keyword" if opens else "opted_out")
    assert scene.agent.calls == []


def test_yes_is_an_answer_for_the_agent_on_a_toll_free_number(scene: Scene) -> None:
    scene.text("YES", to=TOLL_FREE)
    scene.work_until_idle()
    assert scene.agent.received == ["YES"]


# -- while opted out -----------------------------------------------------------------------------------------------


def test_a_text_of_who_is_out_is_stored_and_not_answered_not_even_later(scene: Scene) -> None:
    scene.text("STOP")
    scene.text("hello?")
    scene.text("look", media=1)
    scene.text("")
    scene.work_until_idle()
    unanswered = [("STOP", "keyword"), ("hello?", "opted_out"), ("look", "opted_out"), ("", "opted_out")]
    assert came(scene) == unanswered
    nothing_is_left(scene)
    scene.text("START")
    scene.text("hi")
    scene.work_until_idle()
    assert came(scene)[:4] == unanswered
    assert scene.agent.received == ["hi"]
    assert scene.got() == ANSWERS


def test_stop_again_changes_nothing(scene: Scene) -> None:
    scene.text("STOP")
    since = scene.clock()
    scene.clock.tick(60)
    scene.text("STOP")
    scene.work_until_idle()
    with scene.sessions() as session:
        assert [(row.since, row.cause) for row in session.scalars(select(OptOut))] == [(since, opt_outs.BY_TEXT)]


def test_out_and_in_and_out_at_one_moment_ends_out(scene: Scene) -> None:
    for word in ("STOP", "START", "STOP"):
        scene.text(word)
    assert out(scene) == [(NUMBER, ANN)]


def test_the_others_are_answered(scene: Scene) -> None:
    scene.text("hi", BOB)
    scene.text("STOP", ANN)
    scene.work_until_idle()
    assert scene.got(BOB) == ANSWERS


def test_a_stop_survives_the_end_of_stale_chats(scene: Scene) -> None:
    scene.text("hi")
    scene.work_until_idle()
    scene.text("STOP")
    scene.work_until_idle()
    scene.clock.tick(48 * 3600)
    assert ending.end_stale(scene.rt, scene.rt.settings.stale_after).matched == 1
    scene.work(seconds=5)
    scene.text("hello")
    scene.work_until_idle()
    assert came(scene)[-1] == ("hello", "opted_out")


def draft(scene: Scene, words: str) -> Draft:
    return Draft(shape([words], Recipient(ANN)), expires_at=scene.clock())


def test_nothing_new_can_be_queued(scene: Scene) -> None:
    scene.text("STOP")
    scene.work()
    with scene.rt.database.transaction() as tx:
        assert outbox.put(tx, 1, draft(scene, "news")) == 0
        confirmation = replace(draft(scene, "you are out"), is_opt_out_confirmation=True)
        assert outbox.put(tx, 1, confirmation) == 1


# -- the moment at which STOP comes --------------------------------------------------------------------------------


def stop(scene: Scene) -> None:
    assert scene.text("STOP")


def while_the_text_waits(scene: Scene) -> None:
    scene.text("hi")
    stop(scene)


def while_texts_wait_behind_a_turn(scene: Scene) -> None:
    scene.agent.fail("complete", RateLimited("busy", provider="retell", retry_after=60))
    scene.text("hi")
    scene.wake()
    scene.text("two")
    stop(scene)


def while_the_turn_is_claimed(scene: Scene) -> None:
    """The chat is being opened, and nothing has been said."""
    scene.agent.in_next_call(lambda: stop(scene))
    scene.text("hi")
    scene.wake()
    assert scene.agent.received == []


def while_the_agent_is_asked(scene: Scene) -> None:
    original = scene.agent.complete

    def complete(chat_id: str, content: str) -> Any:
        answer = original(chat_id, content)
        stop(scene)
        return answer

    scene.agent.complete = complete  # type: ignore[method-assign]
    scene.text("hi")
    scene.wake()
    scene.agent.complete = original  # type: ignore[method-assign]
    assert scene.agent.received == ["hi"]


def while_the_agent_is_thinking(scene: Scene) -> None:
    """It was said, and no answer came in time."""
    scene.agent.thinks = True
    scene.text("hi")
    scene.wake()
    stop(scene)
    scene.agent.thinks = False
    scene.agent.finish("chat_1")


def while_it_is_not_known_whether_the_agent_heard_it(scene: Scene) -> None:
    scene.agent.fail("complete", CUT)
    scene.text("hi")
    scene.wake()
    stop(scene)


def while_the_chat_is_looked_into(scene: Scene) -> None:
    scene.agent.fail("complete", CUT, received=True)
    scene.text("hi")
    scene.wake()
    scene.agent.in_next_call(lambda: stop(scene))
    scene.work(seconds=3)
    assert out(scene)


def while_the_agent_refuses_the_turn(scene: Scene) -> None:
    """Giving up would say FALLBACK_REPLY."""
    scene.agent.fail("create_chat", Refused("malformed", provider="retell", status=400), received=True)
    scene.agent.in_next_call(lambda: stop(scene))
    scene.text("hi")
    scene.wake()
    assert out(scene)


def while_the_agent_is_on_hold(scene: Scene) -> None:
    scene.agent.fail("create_chat", AccountRefused("no key", provider="retell", status=401), times=10_000)
    scene.text("hi")
    scene.work(seconds=10)
    stop(scene)


def while_a_dead_worker_holds_the_turn(scene: Scene) -> None:
    scene.text("hi")
    assert claim_turn(scene.rt, 1)
    scene.restart()
    stop(scene)


def while_the_replies_are_queued(scene: Scene) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    stop(scene)


def while_the_reply_to_a_picture_is_queued(scene: Scene) -> None:
    scene.text("look", media=1)
    stop(scene)


def while_the_fallback_is_queued(scene: Scene) -> None:
    scene.agent.fail("create_chat", Refused("malformed", provider="retell", status=400))
    scene.text("hi")
    process_turns(scene.alone, 1)
    stop(scene)


def while_the_first_reply_was_turned_away(scene: Scene) -> None:
    scene.carrier.fail("send", RateLimited("busy", provider="twilio", status=429, retry_after=60))
    scene.text("hi")
    scene.wake()
    stop(scene)


def while_the_first_reply_is_turned_away(scene: Scene) -> None:
    """It comes back into the queue after STOP has emptied that."""
    original = scene.carrier.send

    def send(text: OutgoingText) -> CarriedText:
        scene.carrier.send = original  # type: ignore[method-assign]
        stop(scene)
        raise RateLimited("busy", provider="twilio", status=429)

    scene.carrier.send = send  # type: ignore[method-assign]
    scene.text("hi")
    scene.wake()
    assert ("hi 1", "queued") in went(scene)


def while_the_carrier_is_on_hold(scene: Scene) -> None:
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401), times=10_000)
    scene.text("hi")
    scene.work(seconds=10)
    stop(scene)


def while_the_first_reply_puts_the_carrier_on_hold(scene: Scene) -> None:
    original = scene.carrier.send

    def send(text: OutgoingText) -> CarriedText:
        if not out(scene):
            stop(scene)
        raise NotReached("refused", provider="twilio")

    scene.carrier.send = send  # type: ignore[method-assign]
    scene.text("hi")
    scene.wake()
    assert out(scene)
    scene.carrier.send = original  # type: ignore[method-assign]


def while_the_first_reply_is_handed_over(scene: Scene) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    scene.carrier.in_next_call(lambda: stop(scene))
    scene.wake()


def while_the_second_reply_is_handed_over(scene: Scene) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    scene.carrier.in_next_call(lambda: scene.carrier.in_next_call(lambda: stop(scene)))
    scene.wake()


def while_a_taken_reply_has_no_known_outcome(scene: Scene) -> None:
    scene.carrier.fail("send", LOST, taken=True)
    scene.text("hi")
    scene.wake()
    stop(scene)


def while_a_lost_reply_has_no_known_outcome(scene: Scene) -> None:
    scene.carrier.fail("send", LOST, taken=False)
    scene.text("hi")
    scene.wake()
    stop(scene)


def while_the_carriers_list_is_read(scene: Scene) -> None:
    while_a_lost_reply_has_no_known_outcome_before_stop(scene)
    scene.clock.tick(60)
    scene.carrier.in_next_call(lambda: stop(scene))
    scene.tick()
    assert out(scene)


def while_a_lost_reply_has_no_known_outcome_before_stop(scene: Scene) -> None:
    scene.carrier.fail("send", LOST, taken=False)
    scene.text("hi")
    scene.wake()


def while_a_dead_worker_hands_over_a_reply(scene: Scene) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    assert claim_delivery(scene.rt, 1)
    scene.restart()
    stop(scene)


def after_everything(scene: Scene) -> None:
    scene.text("hi")
    scene.work_until_idle()
    stop(scene)


CANCELED = [(body, "canceled") for body in ANSWERS]
ONE_SENT = [("hi 1", "sent"), *CANCELED[1:]]

MOMENTS: list[tuple[Callable[[Scene], None], list[tuple[str, str]], list[tuple[str, str]], list[str]]] = [
    (while_the_text_waits, [("hi", "canceled")], [], []),
    (while_texts_wait_behind_a_turn, [("hi", "canceled"), ("two", "canceled")], [], ["canceled"]),
    (while_the_turn_is_claimed, [("hi", "canceled")], [], ["canceled"]),
    (while_the_agent_is_asked, [("hi", "canceled")], [], ["canceled"]),
    (while_the_agent_is_thinking, [("hi", "canceled")], [], ["canceled"]),
    (while_it_is_not_known_whether_the_agent_heard_it, [("hi", "canceled")], [], ["canceled"]),
    (while_the_chat_is_looked_into, [("hi", "canceled")], [], ["canceled"]),
    (while_the_agent_refuses_the_turn, [("hi", "canceled")], [], ["canceled"]),
    (while_the_agent_is_on_hold, [("hi", "canceled")], [], ["canceled"]),
    (while_a_dead_worker_holds_the_turn, [("hi", "canceled")], [], ["canceled"]),
    (while_the_replies_are_queued, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_reply_to_a_picture_is_queued, [("look", "refused")], [("MEDIA_REPLY", "canceled")], []),
    (while_the_fallback_is_queued, [("hi", "given_up")], [("FALLBACK_REPLY", "canceled")], ["given_up"]),
    (while_the_first_reply_was_turned_away, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_first_reply_is_turned_away, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_carrier_is_on_hold, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_first_reply_puts_the_carrier_on_hold, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_first_reply_is_handed_over, [("hi", "answered")], ONE_SENT, ["answered"]),
    (
        while_the_second_reply_is_handed_over,
        [("hi", "answered")],
        [("hi 1", "sent"), ("hi 2", "sent"), ("hi 3", "canceled")],
        ["answered"],
    ),
    (while_a_taken_reply_has_no_known_outcome, [("hi", "answered")], ONE_SENT, ["answered"]),
    (while_a_lost_reply_has_no_known_outcome, [("hi", "answered")], CANCELED, ["answered"]),
    (while_the_carriers_list_is_read, [("hi", "answered")], CANCELED, ["answered"]),
    (while_a_dead_worker_hands_over_a_reply, [("hi", "answered")], CANCELED, ["answered"]),
    (after_everything, [("hi", "answered")], [(body, "sent") for body in ANSWERS], ["answered"]),
]


@pytest.mark.parametrize(
    ("moment", "texts_in", "texts_out", "of_turns"), MOMENTS, ids=lambda m: getattr(m, "__name__", "")
)
def test_whenever_stop_comes_nothing_more_is_sent_and_nothing_stays_behind(
    scene: Scene,
    moment: Callable[[Scene], None],
    texts_in: list[tuple[str, str]],
    texts_out: list[tuple[str, str]],
    of_turns: list[str],
) -> None:
    moment(scene)
    sends = [call for call, _ in scene.carrier.calls].count("send")
    received = list(scene.agent.received)
    scene.work_until_idle(at_most=120)
    scene.work(seconds=60)
    assert [call for call, _ in scene.carrier.calls].count("send") == sends
    assert scene.agent.received == received
    assert came(scene) == [*texts_in, ("STOP", "keyword")]
    replies = {scene.rt.settings.media_reply: "MEDIA_REPLY", scene.rt.settings.fallback_reply: "FALLBACK_REPLY"}
    assert [(replies.get(body, body), status) for body, status in went(scene)] == texts_out
    assert [row.status for row in scene.rows(Turn)] == of_turns
    assert scene.got() == [body for body, status in texts_out if status == "sent"]
    nothing_is_left(scene)


@pytest.mark.parametrize("moment", [row[0] for row in MOMENTS], ids=lambda moment: moment.__name__)
def test_whenever_stop_has_come_the_next_text_after_start_is_answered_and_nothing_of_before(
    scene: Scene, moment: Callable[[Scene], None]
) -> None:
    """At once: what was going on when STOP came may not have ended yet."""
    moment(scene)
    scene.agent.recover()
    scene.carrier.recover()
    before = len(scene.carrier.accepted)
    scene.clock.tick(1)
    scene.text("START")
    scene.text("again")
    scene.work_until_idle(at_most=300)
    assert scene.got()[before:] == ["again 1", "again 2", "again 3"]
    assert scene.agent.received.count("again") == 1
    nothing_is_left(scene)


PAUSES = [
    while_texts_wait_behind_a_turn,
    while_the_agent_is_on_hold,
    while_the_first_reply_was_turned_away,
    while_the_carrier_is_on_hold,
]


@pytest.mark.parametrize("moment", PAUSES, ids=lambda moment: moment.__name__)
def test_a_line_that_pauses_is_empty_at_once(scene: Scene, moment: Callable[[Scene], None]) -> None:
    moment(scene)
    scene.wake()
    assert not scene.waiting()


def test_a_chat_that_may_have_heard_what_was_canceled_is_left(scene: Scene) -> None:
    """Else its late answer could be taken for the answer to the next text."""
    while_the_agent_is_thinking(scene)
    scene.work_until_idle()
    scene.work(seconds=5)
    assert [(row.status, row.end_reason) for row in scene.rows(Chat)] == [(ChatStatus.ENDED, opt_outs.WHY)]
    assert ("end_chat", "chat_1") in scene.agent.calls


def test_a_chat_that_has_heard_nothing_of_it_stays(scene: Scene) -> None:
    after_everything(scene)
    scene.text("START")
    scene.text("again")
    scene.work_until_idle()
    assert len(scene.rows(Chat)) == 1


def test_a_worker_that_outlived_the_stop_changes_nothing(scene: Scene) -> None:
    """It is halted with the answer in its hands, and settles when the person is back and has texted."""
    scene.text("one")
    scene.work_until_idle()

    def out_and_in() -> None:
        stop(scene)
        scene.clock.tick(1)
        scene.text("START")
        scene.text("three")
        scene.wake()

    scene.agent.in_next_call(out_and_in)
    scene.text("two")
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two", "three"]
    assert scene.got() == [f"{said} {n}" for said in ("one", "three") for n in (1, 2, 3)]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED, TurnStatus.CANCELED, TurnStatus.ANSWERED]
    nothing_is_left(scene)


def test_a_late_report_on_a_canceled_text_still_counts(scene: Scene) -> None:
    """So that nobody takes it, found in the carrier's list, for a later text of the same words."""
    scene.carrier.fail("send", LOST, taken=True)
    scene.carrier.sent_to = lambda *_: []  # type: ignore[method-assign, assignment]
    scene.text("hi")
    scene.wake()
    stop(scene)
    scene.work_until_idle()
    assert went(scene) == CANCELED
    [accepted] = scene.carrier.accepted
    receipts.report(scene.rt, StatusReport(accepted.text.reference, accepted.carried.id, Delivery.DELIVERED, ANN))
    assert went(scene) == ONE_SENT
    scene.work_until_idle()
    nothing_is_left(scene)


# -- all at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
def test_stop_on_two_numbers_while_both_are_being_answered(sessions: Sessions, refused: bool) -> None:
    """Whoever comes first: nobody waits for ever, and nothing is left to be sent."""
    scene = three_answers(sessions, **SERVICE)
    if refused:
        scene.carrier.fail("send", UNSUBSCRIBED, times=1000)
    for n in range(8):
        phone = f"+155512340{n:02}"
        pair = (NUMBER, OTHER_NUMBER)
        for number in pair:
            scene.text("hi", phone, to=number)
        ids = [row.id for row in scene.rows(Conversation) if row.phone == phone]
        scene.notifier.wakeups.clear()
        together = threading.Barrier(6)

        def at_once(work: Callable[[], object], together: threading.Barrier = together) -> None:
            together.wait()
            work()

        works: list[Callable[[], object]] = [
            *[lambda i=i: process_turns(scene.alone, i) for i in ids],
            *[lambda i=i: process_deliveries(scene.rt, i) for i in ids],
            *[lambda to=to, phone=phone: scene.text("STOP", phone, to=to) for to in pair],
        ]
        with ThreadPoolExecutor(6) as threads:
            for done in [threads.submit(at_once, work) for work in works]:
                done.result()
        sent = len(scene.carrier.accepted)
        scene.work_until_idle()
        assert len(scene.carrier.accepted) == sent
        nothing_is_left(scene)
    assert len(out(scene)) == 8


@pytest.mark.parametrize("to", [NUMBER, OTHER_NUMBER])
def test_answers_that_are_just_being_queued_are_canceled_once_they_are(sessions: Sessions, to: str) -> None:
    """STOP waits for the conversation's lock, and sees what was queued under it; whichever number it comes to."""
    scene = three_answers(sessions, **SERVICE)
    scene.text("hi")
    with ThreadPoolExecutor(1) as threads:
        with scene.rt.database.transaction() as tx:
            assert conversation_queue.claim(tx, conversation_queue.TURNS, 1, worker="w", lease_for=DELIVERY_LEASE)
            assert outbox.put(tx, 1, draft(scene, "late")) == 1
            stopping = threads.submit(lambda: scene.text("STOP", to=to))
            _until_somebody_waits(scene)
        assert stopping.result()
    assert went(scene) == [("late", "canceled")]


def _until_somebody_waits(scene: Scene) -> None:
    """On PostgreSQL this can be seen; on SQLite there is one writer at a time anyway."""
    if scene.rt.engine.dialect.name != "postgresql":
        return
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def look() -> bool:
        with scene.sessions() as session:
            return bool(session.scalar(waits))

    until(look, "STOP waits for the lock")


# -- what the carrier tells ----------------------------------------------------------------------------------------


def test_a_text_that_is_refused_because_of_an_opt_out_opts_out(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.carrier.fail("send", UNSUBSCRIBED, times=10)
    scene.text("hi")
    scene.work_until_idle()
    assert went(scene) == CANCELED
    assert [(row.error_code, row.error) for row in scene.rows(Message)[1:]] == [
        (21610, "twilio (400): Attempt to send to unsubscribed recipient"),
        (None, opt_outs.WHY),
        (None, opt_outs.WHY),
    ]
    assert [call for call, _ in scene.carrier.calls] == ["send"]
    assert out(scene) == [(NUMBER, ANN)]
    assert "+155…01 has opted out of +155…11: the carrier refuses with 21610" in caplog.text.replace("+1555", "+155")
    assert "given up" not in caplog.text
    scene.text("hello?")
    scene.work_until_idle()
    assert came(scene)[-1] == ("hello?", "opted_out")
    nothing_is_left(scene)


def test_a_worker_that_dies_after_noting_the_refusal_leaves_nothing_behind(scene: Scene) -> None:
    scene.carrier.fail("send", UNSUBSCRIBED)
    scene.text("hi")
    process_turns(scene.alone, 1)
    booked = claim_delivery(scene.rt, 1)
    assert booked
    assert receipts.unsubscribed(scene.rt, Message.id == booked.message_id)
    scene.restart()
    scene.carrier.recover()
    scene.work_until_idle(at_most=120)
    assert went(scene) == CANCELED
    assert scene.carrier.bodies == []
    nothing_is_left(scene)


@pytest.mark.parametrize("status", [Delivery.FAILED, Delivery.UNDELIVERED])
def test_a_report_of_an_opt_out_opts_out(scene: Scene, status: Delivery) -> None:
    scene.text("hi")
    process_turns(scene.alone, 1)
    booked = claim_delivery(scene.rt, 1)
    assert booked
    send(scene.rt, booked)
    [accepted] = scene.carrier.accepted
    report = StatusReport(accepted.text.reference, accepted.carried.id, status, ANN, error_code=21610)
    assert receipts.report(scene.rt, report)
    assert not receipts.report(scene.rt, report)
    assert out(scene) == [(NUMBER, ANN)]
    scene.work_until_idle()
    assert went(scene) == ONE_SENT
    nothing_is_left(scene)


def test_a_report_of_an_opt_out_settles_what_has_no_known_outcome(scene: Scene) -> None:
    while_a_taken_reply_has_no_known_outcome_before_stop(scene)
    [accepted] = scene.carrier.accepted
    failed = StatusReport(accepted.text.reference, accepted.carried.id, Delivery.FAILED, ANN, error_code=21610)
    assert receipts.report(scene.rt, failed)
    scene.work_until_idle()
    assert went(scene) == ONE_SENT
    assert out(scene) == [(NUMBER, ANN)]
    nothing_is_left(scene)


def while_a_taken_reply_has_no_known_outcome_before_stop(scene: Scene) -> None:
    scene.carrier.fail("send", LOST, taken=True)
    scene.text("hi")
    scene.wake()


def test_reports_of_other_errors_and_for_others_opt_out_nobody(scene: Scene) -> None:
    scene.text("hi")
    scene.work()
    reference, carrier_id = scene.carrier.accepted[0].text.reference, scene.carrier.accepted[0].carried.id
    for report in (
        StatusReport(reference, carrier_id, Delivery.FAILED, ANN, error_code=30003),
        StatusReport(reference, carrier_id, Delivery.FAILED, BOB, error_code=21610),
        StatusReport("f" * 32, carrier_id, Delivery.FAILED, ANN, error_code=21610),
        StatusReport(None, "SM" + "f" * 32, Delivery.FAILED, ANN, error_code=21610),
    ):
        receipts.report(scene.rt, report)
    assert out(scene) == []


def test_a_refusal_from_before_the_opting_in_is_over(scene: Scene) -> None:
    scene.text("hi")
    scene.work_until_idle()
    scene.clock.tick(60)
    scene.text("STOP")
    scene.clock.tick(60)
    scene.text("START")
    first = scene.carrier.accepted[0]
    receipts.report(scene.rt, StatusReport(None, first.carried.id, Delivery.FAILED, ANN, error_code=21610))
    assert out(scene) == []
    scene.carrier.fail("send", UNSUBSCRIBED)
    scene.text("again")
    scene.work_until_idle()
    assert out(scene) == [(NUMBER, ANN)]


def test_who_opts_in_while_a_text_is_refused_stays_in(scene: Scene) -> None:
    original = scene.carrier.send

    def send(text: OutgoingText) -> CarriedText:
        scene.carrier.send = original  # type: ignore[method-assign]
        scene.clock.tick(1)
        scene.text("STOP")
        scene.clock.tick(1)
        scene.text("START")
        raise UNSUBSCRIBED

    scene.carrier.send = send  # type: ignore[method-assign]
    scene.text("hi")
    scene.work_until_idle()
    assert out(scene) == []
    assert went(scene) == [("hi 1", "given_up"), *CANCELED[1:]]
    nothing_is_left(scene)


# -- how far it reaches --------------------------------------------------------------------------------------------


def test_without_a_service_the_other_numbers_go_on(scene: Scene) -> None:
    scene.text("STOP")
    scene.text("hi", to=OTHER_NUMBER)
    scene.work_until_idle()
    assert scene.got() == ANSWERS


def test_with_a_service_all_numbers_stop_and_start(sessions: Sessions) -> None:
    scene = three_answers(sessions, **SERVICE)
    scene.text("hi", to=OTHER_NUMBER)
    scene.text("STOP")
    scene.text("hello", to=OTHER_NUMBER)
    scene.work_until_idle()
    assert out(scene) == [(opt_outs.EVERY_NUMBER, ANN)]
    assert came(scene) == [("hi", "canceled"), ("STOP", "keyword"), ("hello", "opted_out")]
    scene.clock.tick(1)
    scene.text("START", to=OTHER_NUMBER)
    scene.text("hi")
    scene.work_until_idle()
    assert scene.got() == ANSWERS
    nothing_is_left(scene)


def test_a_refusal_reaches_as_far_as_a_stop(sessions: Sessions) -> None:
    scene = three_answers(sessions, **SERVICE)
    scene.carrier.fail("send", UNSUBSCRIBED, times=10)
    scene.text("hi")
    scene.text("hi", to=OTHER_NUMBER)
    scene.work_until_idle()
    assert out(scene) == [(opt_outs.EVERY_NUMBER, ANN)]
    assert scene.carrier.accepted == []
    nothing_is_left(scene)


@pytest.mark.parametrize(("before", "after"), [({}, SERVICE), (SERVICE, {})])
def test_an_opt_out_survives_another_set_up(sessions: Sessions, before: Any, after: Any) -> None:
    three_answers(sessions, **before).text("STOP", sid="SM1")
    scene = three_answers(sessions, **after)
    scene.text("hello", sid="SM2")
    scene.work_until_idle()
    assert came(scene)[-1] == ("hello", "opted_out")
    scene.text("START", sid="SM3")
    assert out(scene) == []


def test_over_rcs_it_is_the_same_person(sessions: Sessions) -> None:
    scene = three_answers(sessions, **SERVICE)
    scene.text("hi", ANN)
    scene.text("STOP", f"rcs:{ANN}", to="rcs:brand_agent")
    scene.text("hello", ANN)
    scene.work_until_idle()
    assert came(scene) == [("hi", "canceled"), ("STOP", "keyword"), ("hello", "opted_out")]
    nothing_is_left(scene)


OF_THE_SERVICE = {"service": "MG" + "a" * 32}
OF_ANOTHER = {"service": "MG" + "b" * 32}
ANN_ON_RCS = f"rcs:{ANN}"
BY_SMS: tuple[str, str] = (ANN, NUMBER)
BY_RCS: tuple[str, str] = (ANN_ON_RCS, "rcs:brand_agent")


@pytest.mark.parametrize(("one", "other"), [(BY_SMS, BY_RCS), (BY_RCS, BY_SMS)])
@pytest.mark.parametrize("word", ["STOP", "Opt out"])
def test_a_stop_on_one_channel_is_one_on_the_other_of_the_same_service(
    scene: Scene, word: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    """The carrier names the service with each text, whether the settings name it or not."""
    scene.text("hi", other[0], to=other[1], **OF_THE_SERVICE)
    process_turns(scene.alone, 1)
    scene.text(word, one[0], to=one[1], **OF_THE_SERVICE)
    scene.text("hello", other[0], to=other[1], **OF_THE_SERVICE)
    scene.work_until_idle()
    assert came(scene) == [("hi", "answered"), (word, "keyword"), ("hello", "opted_out")]
    assert went(scene)[:3] == CANCELED
    assert scene.got(other[0]) == []
    nothing_is_left(scene)
    scene.clock.tick(60)
    scene.text("START", other[0], to=other[1], **OF_THE_SERVICE)
    assert out(scene) == []
    scene.text("hi", one[0], to=one[1], **OF_THE_SERVICE)
    scene.work_until_idle()
    assert scene.got(one[0])[-3:] == ANSWERS


def test_a_text_that_is_only_being_written_to_the_other_channel_is_canceled_too(scene: Scene) -> None:
    scene.text("hi", *BY_SMS[:1], **OF_THE_SERVICE)
    scene.text("STOP", BY_RCS[0], to=BY_RCS[1], **OF_THE_SERVICE)
    with scene.rt.database.transaction() as tx:
        assert outbox.put(tx, 1, draft(scene, "news")) == 0


def test_a_refusal_on_one_channel_shuts_the_other(scene: Scene) -> None:
    scene.text("hi", ANN_ON_RCS, to="rcs:brand_agent", **OF_THE_SERVICE)
    scene.work_until_idle()
    scene.carrier.fail("send", UNSUBSCRIBED)
    scene.text("hi", **OF_THE_SERVICE)
    scene.work_until_idle()
    scene.text("hello?", ANN_ON_RCS, to="rcs:brand_agent", **OF_THE_SERVICE)
    scene.work_until_idle()
    assert came(scene)[-1] == ("hello?", "opted_out")


@pytest.mark.parametrize("more", [{}, OF_ANOTHER])
def test_numbers_of_no_service_or_another_one_go_on(scene: Scene, more: Any) -> None:
    scene.text("hi", to=OTHER_NUMBER, **more)
    scene.text("STOP", **OF_THE_SERVICE)
    scene.text("STOP", ANN, to=SHORT_CODE)
    scene.text("hello", to=OTHER_NUMBER, **more)
    scene.work_until_idle()
    assert scene.agent.received == ["hi\nhello"]
    scene.clock.tick(60)
    scene.text("STOP", to=OTHER_NUMBER, **more)
    scene.text("START", to=SHORT_CODE)
    assert out(scene) == [(NUMBER, ANN), (OTHER_NUMBER, ANN)]


def test_an_opt_out_stays_when_the_number_goes_to_another_service(scene: Scene) -> None:
    scene.text("STOP", **OF_THE_SERVICE)
    scene.text("hello", **OF_ANOTHER)
    assert came(scene)[-1] == ("hello", "opted_out")
    scene.clock.tick(60)
    scene.text("START", **OF_ANOTHER)
    assert out(scene) == []


def test_a_number_is_the_same_over_rcs(scene: Scene) -> None:
    scene.text("STOP", ANN_ON_RCS, to=f"rcs:{NUMBER}")
    scene.text("hi")
    assert came(scene)[-1] == ("hi", "opted_out")
    assert out(scene) == [(NUMBER, ANN)]
    scene.clock.tick(60)
    scene.text("START")
    scene.text("hi", ANN_ON_RCS, to=f"rcs:{NUMBER}")
    scene.work_until_idle()
    assert scene.got(ANN_ON_RCS) == ANSWERS


def test_whatsapp_is_another_address_in_the_same_service_too(scene: Scene) -> None:
    scene.text("STOP", **OF_THE_SERVICE)
    scene.text("hi", ANN_ON_WHATSAPP, to=WHATSAPP, **OF_THE_SERVICE)
    scene.work_until_idle()
    assert scene.got(ANN_ON_WHATSAPP) == ANSWERS


def test_others_in_the_same_service_go_on(scene: Scene) -> None:
    scene.text("STOP", **OF_THE_SERVICE)
    scene.text("hi", BOB, **OF_THE_SERVICE)
    scene.work_until_idle()
    assert scene.got(BOB) == ANSWERS


def test_whatsapp_is_another_address(scene: Scene) -> None:
    scene.text("STOP", ANN)
    scene.text("hi", ANN_ON_WHATSAPP, to=WHATSAPP)
    scene.work_until_idle()
    assert scene.got(ANN_ON_WHATSAPP) == ANSWERS


# -- where the bridge confirms -------------------------------------------------------------------------------------

OURS = [(ANN, SHORT_CODE, {}), (ANN_ON_WHATSAPP, WHATSAPP, {}), (ANN, NUMBER, {"opt_out_answered_by": "bridge"})]


@pytest.mark.parametrize(("phone", "number", "settings"), OURS)
def test_where_the_carrier_does_not_answer_the_bridge_does_once(
    sessions: Sessions, phone: str, number: str, settings: Any
) -> None:
    scene = three_answers(sessions, **settings)
    said = scene.rt.settings
    for word in ("HELP", "STOP", "STOP", "HELP", "hello", "START", "INFO"):
        scene.clock.tick(1)
        scene.text(word, phone, to=number)
        scene.work_until_idle()
    assert scene.got(phone) == [said.help_reply, said.opt_out_reply, said.opt_in_reply, said.help_reply]
    assert scene.agent.calls == []
    nothing_is_left(scene)


@pytest.mark.parametrize(
    ("number", "settings"),
    [(NUMBER, {}), (TOLL_FREE, {}), ("rcs:brand", {}), (SHORT_CODE, {"opt_out_answered_by": "twilio"})],
)
def test_where_the_carrier_answers_the_bridge_is_silent(sessions: Sessions, number: str, settings: Any) -> None:
    scene = three_answers(sessions, **settings)
    for word in ("HELP", "STOP", "START"):
        scene.text(word, to=number)
        scene.work_until_idle()
    assert scene.carrier.calls == []


def test_what_the_carrier_has_named_it_has_answered(scene: Scene) -> None:
    for word in ("HELP", "STOP", "START"):
        scene.text(word, ANN_ON_WHATSAPP, to=WHATSAPP, opt_out=word)
        scene.work_until_idle()
    assert scene.carrier.calls == []


def test_empty_replies_are_silence(sessions: Sessions) -> None:
    scene = three_answers(sessions, opt_out_reply="", opt_in_reply="", help_reply="")
    for word in ("HELP", "STOP", "START"):
        scene.text(word, to=SHORT_CODE)
        scene.work_until_idle()
    assert (scene.carrier.calls, scene.agent.calls) == ([], [])
    nothing_is_left(scene)


def test_the_confirmation_takes_the_place_of_what_was_queued(scene: Scene) -> None:
    scene.text("hi", to=SHORT_CODE)
    process_turns(scene.alone, 1)
    scene.text("STOP", to=SHORT_CODE)
    scene.work_until_idle()
    assert went(scene) == [*CANCELED, (scene.rt.settings.opt_out_reply, "sent")]
    assert scene.got() == [scene.rt.settings.opt_out_reply]


def test_the_confirmation_is_as_stubborn_as_any_text(scene: Scene) -> None:
    scene.carrier.fail("send", RateLimited("busy", provider="twilio", status=429))
    scene.carrier.fail("send", LOST, taken=False)
    scene.carrier.fail("send", LOST, taken=True)
    scene.text("STOP", to=SHORT_CODE)
    scene.text("STOP", to=SHORT_CODE)
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.opt_out_reply]
    nothing_is_left(scene)


def test_who_goes_comes_back_and_goes_is_told_once_where_it_ended(scene: Scene) -> None:
    for word in ("STOP", "START", "STOP"):
        scene.clock.tick(1)
        scene.text(word, to=SHORT_CODE)
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.opt_out_reply]
    nothing_is_left(scene)


def test_a_confirmation_that_is_refused_because_of_the_opt_out_is_let_go(scene: Scene) -> None:
    """The carrier has answered after all."""
    scene.carrier.fail("send", UNSUBSCRIBED)
    scene.text("STOP", to=SHORT_CODE)
    scene.work_until_idle()
    assert went(scene) == [(scene.rt.settings.opt_out_reply, "canceled")]
    nothing_is_left(scene)


def test_the_defaults_fit_into_one_segment(scene: Scene) -> None:
    said = scene.rt.settings
    assert all(
        len(reply) <= 160 and reply.isascii() for reply in (said.opt_out_reply, said.opt_in_reply, said.help_reply)
    )


# -- by the carrier's list -----------------------------------------------------------------------------------------


@pytest.fixture
def listed(sessions: Sessions) -> Scene:
    """A bridge that has looked into the carrier's list before."""
    scene = three_answers(sessions, twilio_numbers=(NUMBER,))
    catch_up(scene.rt)
    scene.clock.tick(3600)
    return scene


def lost(scene: Scene, body: str) -> None:
    """A person texts, and no webhook tells us."""
    scene.carrier.receive(ANN, NUMBER, body)
    scene.clock.tick(1)


def look(scene: Scene) -> None:
    scene.clock.tick(60)
    catch_up(scene.rt)
    scene.work_until_idle()


def test_a_lost_stop_is_caught_up_with(listed: Scene) -> None:
    sent_at = listed.clock()
    lost(listed, "Stop")
    lost(listed, "hello?")
    look(listed)
    assert came(listed) == [("Stop", "keyword"), ("hello?", "opted_out")]
    with listed.sessions() as session:
        assert session.scalar(select(OptOut.since)) == sent_at
    lost(listed, "start")
    lost(listed, "hi")
    look(listed)
    assert out(listed) == []
    assert listed.got() == ANSWERS


@pytest.mark.parametrize("word", ["START", "yes "])
def test_a_lost_stop_that_start_has_overtaken_is_over(listed: Scene, word: str) -> None:
    """The person came back before the bridge knew that they were gone: the carrier sends to them."""
    lost(listed, "STOP")
    listed.text(word)
    listed.work_until_idle()
    look(listed)
    assert out(listed) == []
    assert came(listed) == [(word, "answered"), ("STOP", "keyword")]


def test_a_lost_stop_that_another_stop_and_start_have_overtaken_is_over(listed: Scene) -> None:
    lost(listed, "STOP")
    listed.text("STOP")
    listed.clock.tick(1)
    listed.text("START")
    look(listed)
    assert out(listed) == []


def test_a_lost_start_that_stop_has_overtaken_opens_nothing(listed: Scene) -> None:
    listed.text("STOP")
    listed.clock.tick(1)
    lost(listed, "START")
    listed.text("UNSTOP")
    listed.clock.tick(1)
    listed.text("STOP")
    look(listed)
    assert out(listed) == [(NUMBER, ANN)]
    assert came(listed)[-1] == ("START", "opted_out")


# -- shown ---------------------------------------------------------------------------------------------------------


def test_the_log_tells_who_opts_out_and_in_with_masked_numbers(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bridge")
    for word in ("STOP", "STOP", "START"):
        scene.text(word)
    assert [record.message for record in caplog.records if "opted" in record.message] == [
        "+1555…01 has opted out of +1555…11",
        "+1555…01 has opted in again to +1555…11",
    ]
    assert ANN not in caplog.text
    assert NUMBER not in caplog.text


def test_the_live_view_tells_it(scene: Scene) -> None:
    scene.text("STOP")
    scene.text("STOP", BOB)
    scene.clock.tick(1)
    scene.text("START", BOB)
    seen = [(row.phone, row.state, row.detail) for row in activity.recent(scene.rt) if row.kind == "consent"]
    assert seen == [(BOB, "opted in again", ""), (ANN, "opted out", "by text")]


def test_what_was_canceled_is_no_failure(scene: Scene) -> None:
    while_the_agent_is_asked(scene)
    scene.work_until_idle()
    assert failures.list_failures(scene.rt).failures == []
