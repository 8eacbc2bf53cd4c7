"""What an agent says, shaped: the order of the steps, how many messages are enough, and that the bridge does so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from bridge.db.engine import Sessions
from bridge.db.models import Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import receive
from bridge.outbound.formatting.segments import segments
from bridge.outbound.formatting.shape import CUT, LONGEST, MOST, Recipient, Shaped, answer, shape
from bridge.outbound.formatting.split import LIMIT, units
from bridge.providers.carriers.contract import InboundText
from bridge.providers.errors import OutcomeUnknown, Refused
from tests.fakes import FakeAgent
from tests.scene import ANN, NUMBER, Scene

WHATSAPP = f"whatsapp:{ANN}"


def bodies(shaped: Shaped) -> list[str]:
    return [sms.body for sms in shaped.messages]


def shaped(*texts: str, address: str = ANN, smart_encoding: bool = True) -> list[str]:
    return bodies(shape(texts, Recipient(address, smart_encoding)))


def answered(*texts: str, join: bool = False) -> Shaped:
    return answer(texts, Recipient(ANN), join=join)


# --- one after the other -------------------------------------------------------------------------------------------


def test_every_text_is_a_message_and_knows_what_it_costs() -> None:
    messages = shape(["a" * 161, " ", "ç"], Recipient(ANN)).messages
    assert [(sms.body, sms.segments) for sms in messages] == [("a" * 161, 2), ("ç", 1)]


def test_a_long_text_is_plain_before_it_is_cut() -> None:
    """Three dots take more room than the one character does."""
    assert shaped("word " * 304 + "and words…") == [("word " * 304 + "and").strip(), "words..."]


def test_the_part_without_the_emoji_is_plain_by_itself() -> None:
    text = "👍 " + "It’s open. " * 58 + "\n\n" + "It’s “open”. " * 60
    first, second = shaped(text)
    assert "’" in first
    assert second == ('It\'s "open". ' * 60).strip()


def test_a_part_that_would_grow_too_long_stays_curly() -> None:
    text = "👍 " + "a" * 1597 + " " + "…" + "a" * 1599
    parts = bodies(shape([text], Recipient(ANN, segments_per_text=24)))
    assert [units(part) for part in parts] == [1600, 1600]
    assert parts[1].startswith("…")


def test_typography_is_kept_where_it_is_not_wanted_otherwise_and_where_it_costs_nothing() -> None:
    text = "It’s open…"
    assert shaped(text) == ["It's open..."]
    assert shaped(text, smart_encoding=False) == [text]
    assert shaped(text, address=WHATSAPP) == [text]


def test_what_the_agent_says_is_read_without_markdown_and_joined_where_that_is_wanted() -> None:
    said = ["**One**", "  ", "* two\n* three\n"]
    assert bodies(answered(*said)) == ["One", "- two\n- three"]
    assert bodies(answered(*said, join=True)) == ["One\n\n- two\n- three"]
    assert bodies(answered(join=True)) == []


# --- how many are enough -------------------------------------------------------------------------------------------


def test_as_many_as_are_enough_are_sent_whole() -> None:
    texts = [f"message {n}" for n in range(MOST)]
    assert shape(texts, Recipient(ANN)).left_out is False
    assert shaped(*texts) == texts


def test_more_short_ones_are_joined_and_nothing_is_lost() -> None:
    texts = [f"message {n}" for n in range(MOST + 1)]
    assert shaped(*texts) == ["\n\n".join(texts)]
    assert not shape(texts, Recipient(ANN)).left_out


def test_what_is_too_much_ends_in_a_readable_way() -> None:
    text = "A sentence of some words. " * 1000
    result = shape([text], Recipient(ANN))
    assert result.left_out
    assert len(result.messages) == MOST
    assert bodies(result)[-1].endswith("words." + CUT)
    assert " ".join(bodies(result)).removesuffix(CUT) == text[: len(" ".join(bodies(result))) - len(CUT)]


@pytest.mark.parametrize("unit", ["x", "👍", "👨\u200d👩\u200d👧 ", "🇩", "**a** ", "[", "a\n\n", "…", "é\u0301"])
def test_five_megabytes_are_ten_messages_in_a_moment(unit: str) -> None:
    began = time.thread_time()
    result = answered(unit * (5_000_000 // len(unit)))
    assert time.thread_time() - began < 10
    assert result.left_out
    assert len(result.messages) == MOST
    assert all(sms.body.strip() and units(sms.body) <= LIMIT for sms in result.messages)
    assert result.messages[-1].body.endswith(CUT)


def test_a_hundred_thousand_messages_too() -> None:
    began = time.thread_time()
    result = answered(*["*a* [b"] * 100_000)
    assert time.thread_time() - began < 10
    assert (len(result.messages), result.left_out) == (MOST, True)


def test_words_that_are_not_looked_at_are_missed_loudly() -> None:
    result = answered("Hello" + "\n" * LONGEST + "you")
    assert (bodies(result), result.left_out) == (["Hello" + CUT], True)


@settings(max_examples=40)
@given(st.lists(st.text() | st.sampled_from(["word " * 500, "👍" * 900, "…" * 1600, " "]), max_size=14), st.booleans())
def test_every_message_can_be_sent(texts: list[str], smart_encoding: bool) -> None:
    result = shape(texts, Recipient(ANN, smart_encoding))
    assert len(result.messages) <= MOST
    for sms in result.messages:
        assert sms.body.strip()
        assert units(sms.body) <= LIMIT
        assert sms.segments == segments(sms.body)


@settings(max_examples=40)
@given(
    st.lists(st.text() | st.sampled_from(["слово " * 300, "word " * 400, "👍" * 900]), max_size=14), st.integers(1, 24)
)
def test_no_message_has_more_segments_than_the_setting_says(texts: list[str], most: int) -> None:
    for sms in shape(texts, Recipient(ANN, segments_per_text=most)).messages:
        assert sms.segments == segments(sms.body) <= most


def test_a_wide_answer_is_several_messages() -> None:
    """Carriers refuse 24 segments at once (30019)."""
    text = "Мы открыты с девяти до пяти. " * 55
    messages = answered(text).messages
    assert [sms.segments for sms in messages] == [10, 10, 4]
    assert " ".join(sms.body for sms in messages).split() == text.split()


def test_off_sms_there_are_no_segments_to_count() -> None:
    text = "Мы открыты с девяти до пяти. " * 55
    assert bodies(shape([text], Recipient(WHATSAPP))) == [text.strip()]


# --- in the bridge -------------------------------------------------------------------------------------------------


def sent(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.direction is Direction.OUT]


def a_scene(sessions: Sessions, *answers: str, **settings: object) -> Scene:
    return Scene(sessions, agent=FakeAgent(answer=lambda said: list(answers)), **settings)


def test_an_answer_arrives_as_an_sms(sessions: Sessions) -> None:
    scene = a_scene(sessions, "**Hours**\n\n* Mon – Fri\n* “Sat”", "See [menu](https://x.example/a_b)…" + "!" * 160)
    scene.text("hello")
    scene.work()
    assert scene.got() == ['Hours\n\n- Mon - Fri\n- "Sat"', "See menu (https://x.example/a_b)..." + "!" * 160]
    assert [row.segments for row in sent(scene)] == [1, 2]
    assert [row.body for row in sent(scene)] == scene.got()


def test_what_a_person_wrote_stays_as_it_was_written(sessions: Sessions) -> None:
    scene = a_scene(sessions, "ok")
    scene.text("**Hi** – it’s me")
    scene.work()
    assert scene.agent.received == ["**Hi** – it’s me"]
    assert [row.segments for row in scene.rows(Message) if row.direction is Direction.IN] == [None]


def test_one_turn_may_be_one_text(sessions: Sessions) -> None:
    scene = a_scene(sessions, "One.", "", "*Two.*", reply_join=True)
    scene.text("hello")
    scene.work()
    assert scene.got() == ["One.\n\nTwo."]


def test_smart_encoding_can_be_switched_off(sessions: Sessions) -> None:
    scene = a_scene(sessions, "It’s **open**…", smart_encoding=False)
    scene.text("hello")
    scene.work()
    assert scene.got() == ["It’s open…"]


def test_the_bridges_own_words_are_no_markdown(sessions: Sessions) -> None:
    scene = a_scene(sessions, media_reply="*Sorry* – no pictures", fallback_reply="_Sorry_ – later")
    scene.text("", media=1)
    scene.agent.fail("create_chat", Refused("no", provider="retell", status=400))
    scene.text("hello")
    scene.work()
    assert scene.got() == ["*Sorry* - no pictures", "_Sorry_ - later"]
    assert [row.segments for row in sent(scene)] == [1, 1]


def test_whatsapp_knows_no_segments_and_keeps_its_typography(sessions: Sessions) -> None:
    scene = a_scene(sessions, "It’s *open*…" + "!" * 200)
    receive.receive(scene.rt, InboundText(next(scene.sids), WHATSAPP, f"whatsapp:{NUMBER}", "hello"))
    scene.work()
    assert scene.got(WHATSAPP) == ["It’s _open_…" + "!" * 200]
    assert [row.segments for row in sent(scene)] == [1]


def test_an_endless_answer_is_cut_off_loudly(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    scene = a_scene(sessions, "secret words " * 10_000)
    scene.text("hello")
    with caplog.at_level(logging.ERROR, "bridge"):
        scene.work()
    assert len(scene.got()) == MOST
    assert scene.got()[-1].endswith(CUT)
    assert [record.getMessage() for record in caplog.records] == [
        "the answer of turn 1 is too long for 10 messages: the rest is cut off"
    ]


def test_shaped_words_are_found_in_the_carriers_list(sessions: Sessions) -> None:
    """What is stored is what was sent, so an unknown outcome is settled by a look."""
    scene = a_scene(sessions, "It’s **open**\t– come…")
    scene.carrier.fail("send", OutcomeUnknown("cut off", provider="twilio"), taken=True)
    scene.text("hello")
    scene.work_until_idle()
    assert scene.got() == ["It's open - come..."]


@pytest.mark.parametrize("answer", [["NO_RESPONSE_NEEDED"], ["", "NO_RESPONSE_NEEDED"], ["<think>hm</think>"]])
def test_an_agent_that_has_nothing_to_say_is_silent(
    sessions: Sessions, answer: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    scene = a_scene(sessions, *answer)
    scene.text("hold on")
    with caplog.at_level(logging.INFO, "bridge"):
        scene.work(60)
    assert scene.got() == []
    assert [turn.status for turn in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert [row.status for row in scene.rows(Message)] == [MessageStatus.ANSWERED]
    assert [record.getMessage() for record in caplog.records] == [
        "turn 1 is answered, and the answer has no text for the person"
    ]
    scene.agent.answer = lambda said: ["Here I am."]
    scene.text("back")
    scene.work()
    assert scene.got() == ["Here I am."]


def test_what_an_agent_says_before_it_wants_to_be_silent_is_sent(sessions: Sessions) -> None:
    scene = a_scene(sessions, "Take your time.", "I will wait. NO_RESPONSE_NEEDED")
    scene.text("hold on")
    scene.work()
    assert scene.got() == ["Take your time."]


def test_an_answer_found_by_looking_is_read_the_same_way(sessions: Sessions) -> None:
    scene = a_scene(sessions, "<think>hm</think>Nine【4:0†source】.\\nBye")
    scene.agent.fail("complete", OutcomeUnknown("cut off", provider="retell"), received=True)
    scene.text("hello")
    scene.work_until_idle()
    assert scene.got() == ["Nine.\nBye"]


class Watched(str):
    """Words that note how many transactions are open while they are looked at."""

    def __new__(cls, words: str, open_now: Callable[[], int]) -> Watched:
        made = super().__new__(cls, words)
        made.open_now, made.seen = open_now, []
        return made

    open_now: Callable[[], int]
    seen: list[int]

    def __getitem__(self, place: object) -> str:
        self.seen.append(self.open_now())
        return super().__getitem__(place)  # type: ignore[index]


def test_no_transaction_is_open_while_an_answer_is_shaped(sessions: Sessions) -> None:
    scene = a_scene(sessions)
    opened: list[object] = []
    event.listen(scene.rt.engine, "begin", opened.append)
    event.listen(scene.rt.engine, "commit", opened.remove)
    event.listen(scene.rt.engine, "rollback", opened.remove)
    words = Watched("**Nine** to five", lambda: len(opened))
    scene.agent.answer = lambda said: [words]
    scene.text("hello")
    scene.work()
    assert scene.got() == ["Nine to five"]
    assert words.seen
    assert not any(words.seen)


def test_segments_per_text_is_a_setting(sessions: Sessions) -> None:
    scene = a_scene(sessions, "Да. " * 40, segments_per_text=1)
    scene.text("hello")
    scene.work()
    assert [row.segments for row in sent(scene)] == [1, 1, 1]
