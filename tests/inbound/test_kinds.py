"""What people's phones send that is no plain text: reactions, places, taps, cards; and senders that nobody can answer.

By the webhook's door and by the carrier's list alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from bridge.chats.recap import recap
from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Direction, Message, MessageStatus, Turn
from bridge.inbound.limits import FROM_A_NAME, FROM_A_SHORT_CODE
from bridge.inbound.receive import receive
from bridge.maintenance import catch_up
from bridge.providers.carriers.contract import Attachment, InboundText
from bridge.providers.carriers.twilio.webhooks import parse_inbound
from bridge.web.queries import chats, failures
from bridge.web.queries.metrics import build_registry
from tests.scene import ANN, BOB, NUMBER, Scene

OTHER_NUMBER = "+15550002222"
BOOKED = "Your table is booked for eight. See you then!"
WHATSAPP = {"From": f"whatsapp:{ANN}", "To": f"whatsapp:{NUMBER}"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return talking(Scene(sessions))


def talking(scene: Scene, phone: str = ANN, **more: Any) -> Scene:
    """The agent has just said that a table is booked."""
    scene.agent.answer = lambda said: [BOOKED] if "table" in said else ["Fine."]
    scene.text("a table for two", phone, **more)
    scene.work()
    assert scene.got(phone) == [BOOKED]
    return scene


def last(scene: Scene) -> Message:
    row: Message = scene.rows(Message)[-1]
    return row


def theirs(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.direction is Direction.IN]


def ours(scene: Scene) -> list[int]:
    return [row.id for row in scene.rows(Message) if row.direction is Direction.OUT]


def webhook(scene: Scene, **fields: str) -> bool:
    """A text as Twilio's form tells it."""
    form = {"MessageSid": next(scene.sids), "From": ANN, "To": NUMBER, "Body": "", "NumMedia": "0", **fields}
    return receive(scene.rt, parse_inbound({name: [value] for name, value in form.items()}))


def nothing_follows(scene: Scene, before: int = 1) -> None:
    """No turn, no text, nothing that waits; and that was known without any work."""
    assert scene.notifier.wakeups == []
    assert not scene.waiting()
    scene.work(seconds=60)
    assert len(scene.rows(Turn)) == before
    assert len(scene.carrier.accepted) == before


# -- reactions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        f"Liked “{BOOKED}”",
        f'Liked "{BOOKED}"',
        "Loved “Your table is booked for…”",
        "Reacted 👍 to “Your table is booked for eight....”",
        f"\u200a\u200b👍\u200b to “\u200a{BOOKED}\u200a”\u200a",
        f"Removed a like from “{BOOKED}”",
        "A aimé « Your table… »",
        "Loved “Your table is booked for eight. See you",
    ],
)
def test_a_reaction_is_stored_beside_the_text_that_it_is_to_and_nothing_follows(scene: Scene, body: str) -> None:
    received = list(scene.agent.received)
    assert scene.text(body)
    nothing_follows(scene)
    assert scene.agent.received == received
    row = last(scene)
    assert (row.status, row.body, row.turn_id, row.reacts_to) == (MessageStatus.REACTION, body, None, ours(scene)[0])


@pytest.mark.parametrize("body", ["Loved an image", "Liked “Something else”", "Reacted 👍 to “…”"])
def test_a_reaction_to_a_text_that_is_not_found_is_one_all_the_same(scene: Scene, body: str) -> None:
    scene.text(body)
    nothing_follows(scene)
    assert (last(scene).status, last(scene).reacts_to) == (MessageStatus.REACTION, None)


def test_a_reaction_may_be_the_first_thing_that_comes_from_a_phone(sessions: Sessions) -> None:
    scene = Scene(sessions)
    scene.text("Liked “Hello from our campaign”")
    nothing_follows(scene, before=0)
    assert [row.turn_due_at for row in scene.rows(Conversation)] == [None]


@pytest.mark.parametrize("body", ["Loved it, thanks!", "Liked the food", 'Liked "Heat", hated the rest', "👍"])
def test_a_persons_own_words_go_to_the_agent(scene: Scene, body: str) -> None:
    scene.text(body)
    scene.work()
    assert scene.agent.received[-1] == body
    assert scene.got()[-1] == "Fine."


def test_what_may_be_either_is_a_reaction_only_if_it_quotes_us(scene: Scene) -> None:
    scene.agent.answer = lambda said: ['We play "Heat" and "Ronin".']
    scene.text("what is on?")
    scene.work()
    scene.text('Liked "We play "Heat" and "Ronin"."')
    assert last(scene).status is MessageStatus.REACTION
    scene.text('Liked "Heat" and "Ronin"')
    assert last(scene).status is MessageStatus.WAITING


def test_it_is_to_the_newest_text_that_begins_so_and_first_to_one_that_is_quoted_whole(scene: Scene) -> None:
    for said in ("Yes", "Yes, at eight", "Yes", "Yes, at nine"):
        scene.agent.answer = lambda _, said=said: [said]
        scene.text("really?")
        scene.work()
    _, first, _, third, newest = ours(scene)
    scene.text("Liked “Yes”")
    assert last(scene).reacts_to == third
    scene.text("Liked “Yes, a…”")
    assert last(scene).reacts_to == newest
    assert first < third < newest


def test_a_text_that_was_said_long_ago_is_not_looked_for(scene: Scene) -> None:
    scene.agent.answer = lambda said: [f"Answer to {said}"]
    for n in range(20):
        scene.text(str(n))
        scene.work()
    scene.text(f"Liked “{BOOKED}”")
    assert (last(scene).status, last(scene).reacts_to) == (MessageStatus.REACTION, None)
    scene.text("Liked “Answer to 0”")
    assert last(scene).reacts_to


def test_nobody_reacts_to_what_another_person_was_told(scene: Scene) -> None:
    scene.text(f"Liked “{BOOKED}”", BOB)
    assert (last(scene).status, last(scene).reacts_to) == (MessageStatus.REACTION, None)


@pytest.mark.parametrize(("phone", "to"), [(ANN, OTHER_NUMBER), (f"rcs:{ANN}", "rcs:our_brand")])
def test_one_person_may_react_at_another_number_and_over_rcs(scene: Scene, phone: str, to: str) -> None:
    """Phones keep one thread where a messaging service has sent from several numbers."""
    scene.text(f"Liked “{BOOKED}”", phone, to=to)
    assert (last(scene).status, last(scene).reacts_to) == (MessageStatus.REACTION, ours(scene)[0])


def test_a_reaction_that_brings_its_picture_along_is_one(scene: Scene) -> None:
    scene.text(f"Reacted with a sticker to “{BOOKED}”", media=1)
    nothing_follows(scene)
    assert last(scene).status is MessageStatus.REACTION


def test_a_reaction_that_comes_twice_is_stored_once(scene: Scene) -> None:
    assert scene.text(f"Liked “{BOOKED}”", sid="SM1")
    assert not scene.text(f"Liked “{BOOKED}”", sid="SM1")
    assert [row.status for row in theirs(scene)] == [MessageStatus.ANSWERED, MessageStatus.REACTION]


def test_a_reaction_does_not_disturb_what_waits(scene: Scene) -> None:
    scene.text("and a dog")
    scene.text(f"Liked “{BOOKED}”")
    scene.text("and a cat")
    scene.work()
    assert scene.agent.received[-1] == "and a dog\nand a cat"


def test_a_reaction_is_no_part_of_what_a_new_chat_is_told(scene: Scene) -> None:
    scene.text(f"Liked “{BOOKED}”")
    with scene.sessions() as session:
        told = recap(session, scene.rt.settings, session.get_one(Conversation, 1), scene.clock())
    assert told == f"User: a table for two\nAgent: {BOOKED}"


@pytest.mark.parametrize("limit", [{"characters_per_text": 5}, {"turns_per_hour": 1}, {"turns_per_minute": 1}])
def test_no_limit_answers_a_reaction(sessions: Sessions, limit: dict[str, Any]) -> None:
    scene = Scene(sessions)
    talking(scene)
    scene.set(**limit)
    scene.text(f"Liked “{BOOKED}”")
    nothing_follows(scene)
    assert last(scene).status is MessageStatus.REACTION


def test_who_has_opted_out_may_still_react(scene: Scene) -> None:
    scene.text("STOP")
    scene.work()
    scene.text(f"Liked “{BOOKED}”")
    assert (last(scene).status, last(scene).reacts_to) == (MessageStatus.REACTION, ours(scene)[0])


def test_an_opt_out_that_is_quoted_is_none(scene: Scene) -> None:
    scene.text("Liked “Reply STOP to unsubscribe”")
    assert last(scene).status is MessageStatus.REACTION
    scene.text("and a dog")
    scene.work()
    assert scene.got()[-1] == "Fine."


def test_with_tell_the_agent_hears_it_and_answers(sessions: Sessions) -> None:
    scene = talking(Scene(sessions, reactions="tell"))
    body = f"Liked “{BOOKED}”"
    scene.text(body)
    scene.work()
    assert scene.agent.received[-1] == body
    liked = theirs(scene)[-1]
    assert (liked.status, liked.reacts_to) == (MessageStatus.ANSWERED, ours(scene)[0])


def test_operators_see_it_beside_the_text(scene: Scene) -> None:
    scene.text(f"Liked “{BOOKED}”")
    scene.text(f"Removed a like from “{BOOKED}”")
    shown = chats.get_chat(scene.rt, 1)
    assert shown
    asked, answer = shown.messages
    assert asked.reactions == []
    assert [each.body for each in answer.reactions] == [f"Liked “{BOOKED}”", f"Removed a like from “{BOOKED}”"]


# -- places, taps, and what can't be read ---------------------------------------------------------------------------


def test_a_place_is_said_to_the_agent(scene: Scene) -> None:
    webhook(scene, Latitude="52.52", Longitude="13.4", Label="Brandenburger Tor", Address="Pariser Platz", **WHATSAPP)
    scene.work()
    link = "https://www.google.com/maps/search/?api=1&query=52.52,13.4"
    assert scene.agent.received[-1] == f"Location: Brandenburger Tor, Pariser Platz, 52.52, 13.4\n{link}"
    assert scene.got(f"whatsapp:{ANN}") == ["Fine."]


def test_a_place_that_has_a_picture_is_said_all_the_same(scene: Scene) -> None:
    webhook(scene, Latitude="52.52", Longitude="13.4", NumMedia="1", MediaContentType0="image/png")
    scene.work()
    assert "52.52, 13.4" in scene.agent.received[-1]


def test_a_tapped_button_is_said_with_its_payload(scene: Scene) -> None:
    webhook(scene, ButtonText="Yes", ButtonPayload="book_2", ButtonType="QUICK_REPLY", **WHATSAPP)
    scene.work()
    assert scene.agent.received[-1] == "Yes (payload: book_2)"
    assert theirs(scene)[-1].extras == {"ButtonType": "QUICK_REPLY"}


def test_a_tapped_stop_opts_out_whatever_its_payload(scene: Scene) -> None:
    webhook(scene, ButtonText="Stop", ButtonPayload="marketing_off")
    assert (last(scene).status, last(scene).body) == (MessageStatus.KEYWORD, "Stop")
    scene.text("hello?")
    assert last(scene).status is MessageStatus.OPTED_OUT


def test_what_the_carrier_tells_beside_is_shown_to_operators_and_not_to_the_agent(scene: Scene) -> None:
    webhook(scene, Body="a table", ProfileName="Ann", OriginalRepliedMessageSid="SM1", ReferralHeadline="Half price")
    scene.work()
    assert scene.agent.received[-1] == "a table"
    shown = chats.get_chat(scene.rt, 1)
    assert shown
    beside = {"ProfileName": "Ann", "OriginalRepliedMessageSid": "SM1", "ReferralHeadline": "Half price"}
    assert [text.extras for text in shown.messages if text.direction is Direction.IN] == [None, beside]


CARD, NOTE, MEDIA = "I can't open cards.", "I can't listen.", "I can't see."


@pytest.mark.parametrize(
    ("content_type", "settings", "said"),
    [
        ("image/jpeg", {"voice_reply": NOTE, "contact_reply": CARD}, MEDIA),
        ("audio/ogg", {"voice_reply": NOTE, "contact_reply": CARD}, NOTE),
        ("text/vcard", {"voice_reply": NOTE, "contact_reply": CARD}, CARD),
        ("video/mp4", {"voice_reply": NOTE, "contact_reply": CARD}, MEDIA),
        ("audio/ogg", {}, MEDIA),
        ("text/vcard", {}, MEDIA),
    ],
)
def test_what_can_not_be_read_is_refused_in_fitting_words(
    sessions: Sessions, content_type: str, settings: dict[str, str], said: str
) -> None:
    scene = Scene(sessions, media_reply=MEDIA, **settings)
    webhook(scene, NumMedia="1", MediaUrl0="https://api.twilio.com/x", MediaContentType0=content_type)
    scene.work()
    assert scene.agent.calls == []
    assert scene.got() == [said]
    assert theirs(scene)[0].extras == {"MediaUrl0": "https://api.twilio.com/x", "MediaContentType0": content_type}


# -- senders that nobody can answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("phone", ["VERIFY", "Google", "T-Mobile", "BANK24", "A", "Café & Bar", "Restricted", "Ärzte"])
@pytest.mark.parametrize(
    ("body", "media"), [("123456 is your code", 0), ("STOP", 0), ("HELP", 0), ("Liked “x”", 0), ("", 1)]
)
def test_nothing_follows_from_a_text_of_a_name(sessions: Sessions, phone: str, body: str, media: int) -> None:
    scene = Scene(sessions, opt_out_answered_by="bridge")
    scene.text(body, phone, media=media)
    nothing_follows(scene, before=0)
    assert (last(scene).status, last(scene).error, last(scene).body) == (
        MessageStatus.UNANSWERABLE,
        FROM_A_NAME,
        body,
    )
    assert scene.agent.calls == []


def test_it_is_counted_listed_and_logged_without_its_words(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(sessions)
    scene.text("123456 is your code", "VERIFY")
    assert [failure.error for failure in failures.list_failures(scene.rt).failures] == [FROM_A_NAME]
    with scene.sessions() as session:
        assert failures.count(session).unanswerable == 1
    values = {sample.name: sample.value for each in build_registry(scene.rt).collect() for sample in each.samples}
    assert (values["bridge_unanswerable"], values["bridge_ignored"]) == (1, 0)
    assert FROM_A_NAME in caplog.text
    assert "123456" not in caplog.text
    assert "VERIFY" not in caplog.text


@pytest.mark.parametrize(
    "phone", [ANN, "5551230001", "12345", f"whatsapp:{ANN}", "whatsapp:ab12", f"rcs:{ANN}", "an address of 22 letters"]
)
def test_numbers_short_codes_and_channels_are_answered(sessions: Sessions, phone: str) -> None:
    talking(Scene(sessions), phone)


@pytest.mark.parametrize("phone", ["123", "12345", "12345678"])
def test_short_codes_are_not_answered_where_the_setting_says_so(sessions: Sessions, phone: str) -> None:
    scene = Scene(sessions, ignore_short_codes=True)
    scene.text("Your parcel comes today. Reply C to confirm", phone)
    nothing_follows(scene, before=0)
    assert (last(scene).status, last(scene).error) == (MessageStatus.UNANSWERABLE, FROM_A_SHORT_CODE)
    talking(scene, ANN)


# -- by the carrier's list ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "body", "status"),
    [
        (ANN, f"Liked “{BOOKED}”", MessageStatus.REACTION),
        ("VERIFY", "123456 is your code", MessageStatus.UNANSWERABLE),
        (ANN, "Liked the food", MessageStatus.WAITING),
    ],
)
def test_what_comes_by_the_list_is_judged_alike(
    sessions: Sessions, phone: str, body: str, status: MessageStatus
) -> None:
    scene = Scene(sessions, twilio_numbers=NUMBER)
    scene.carrier.received.append(InboundText("SM1", phone, NUMBER, body, sent_at=scene.clock()))
    scene.clock.tick(60)
    catch_up.catch_up(scene.rt)
    assert last(scene).status is status


# -- what it costs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bring", "more"),
    [
        (lambda scene: scene.text("a table for three"), None),
        (lambda scene: scene.text("Liked the food"), None),
        (lambda scene: webhook(scene, ButtonText="Two", ButtonPayload="b1"), 0),
        (lambda scene: webhook(scene, Latitude="1", Longitude="2"), 0),
        (lambda scene: scene.text("Loved an image"), 0),
        (lambda scene: scene.text(f"Liked “{BOOKED}”"), 2),
    ],
    ids=["a text", "like a reaction", "a tap", "a place", "a picture liked", "a reaction"],
)
def test_only_a_reaction_that_quotes_something_costs_a_look(
    scene: Scene, engine: Engine, bring: Callable[[Scene], bool], more: int | None
) -> None:
    """``None``: it is stored together with others, and finds the conversation first."""
    together = 2 if engine.dialect.name == "postgresql" else 3
    assert statements(scene, lambda: bring(scene)) == (together if more is None else PLAIN + more)


PLAIN = 2
"""The conversation's row and the text."""


def statements(scene: Scene, work: Callable[[], object]) -> int:
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with scene.sessions() as session:
        engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return sum(not statement.startswith("BEGIN") for statement in seen)


def test_an_attachment_says_nothing_where_there_is_none() -> None:
    assert InboundText("SM1", ANN, NUMBER, "hi").attachment is Attachment.FILE


def test_a_place_that_the_list_shows_without_words_is_said_when_a_webhook_brings_it_after_all(
    sessions: Sessions,
) -> None:
    scene = Scene(sessions, twilio_numbers=NUMBER)
    receive(scene.rt, InboundText("SM1", ANN, NUMBER, "", sent_at=scene.clock(), hidden=True))
    scene.work()
    assert (scene.got(), scene.agent.received) == ([], [])
    webhook(scene, MessageSid="SM1", Latitude="52.52", Longitude="13.4", Label="Tor", ProfileName="Ann")
    scene.work()
    assert scene.agent.received[0].startswith("Location: Tor, 52.52, 13.4")
    assert (theirs(scene)[0].status, theirs(scene)[0].extras) == (MessageStatus.ANSWERED, {"ProfileName": "Ann"})
