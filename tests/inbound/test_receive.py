"""The inbox: every text is stored once, in order, whoever brings it and how often."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Message, MessageStatus
from bridge.providers.errors import RateLimited
from bridge.queues.timing import MAX_CLOCK_SKEW
from tests.scene import ANN, BOB, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def test_a_text_that_comes_again_changes_nothing(scene: Scene) -> None:
    assert scene.text("hello", sid="SM1")
    scene.work()
    before = scene.rows(Conversation)[0].turn_due_at, len(scene.rows(Message))
    scene.clock.tick(10)
    assert not scene.text("hello", sid="SM1")
    assert (scene.rows(Conversation)[0].turn_due_at, len(scene.rows(Message))) == before
    assert scene.notifier.wakeups == []


def test_the_same_texts_brought_ten_times_at_once_are_stored_once(scene: Scene) -> None:
    together = threading.Barrier(10)

    def bring(_: int) -> list[bool]:
        together.wait()
        return [scene.text(f"text {n}", ANN if n % 2 else BOB, sid=f"SM{n}") for n in range(8)]

    with ThreadPoolExecutor(10) as threads:
        stored = list(threads.map(bring, range(10)))
    assert [sum(of_text) for of_text in zip(*stored, strict=True)] == [1] * 8
    assert Counter(row.carrier_id for row in scene.rows(Message)) == Counter(f"SM{n}" for n in range(8))
    assert len(scene.rows(Conversation)) == 2


def test_the_same_text_to_another_number_belongs_to_another_conversation(scene: Scene) -> None:
    scene.text("hello", ANN)
    scene.text("hello", BOB)
    assert len({row.conversation_id for row in scene.rows(Message)}) == 2


def test_a_picture_is_stored_refused_and_answered_once(scene: Scene) -> None:
    scene.text("look at this", media=2, sid="SM1")
    scene.text("look at this", media=2, sid="SM1")
    scene.work()
    assert scene.agent.calls == []
    assert scene.got() == [scene.rt.settings.media_reply]
    refused = scene.rows(Message)[0]
    assert (refused.status, refused.media, refused.body) == (MessageStatus.REFUSED, 2, "look at this")


@pytest.mark.parametrize("body", ["", "   \n ", "\u200b\u200d", "\u0000", "\ufe0f"])
def test_a_text_without_readable_characters_is_answered_like_a_picture(scene: Scene, body: str) -> None:
    scene.text(body.replace("\0", "\ufffd"))
    scene.work()
    assert scene.agent.calls == []
    assert scene.got() == [scene.rt.settings.media_reply]


def test_an_empty_media_reply_is_silence(sessions: Sessions) -> None:
    scene = Scene(sessions, media_reply="")
    scene.text("", media=1)
    scene.work()
    assert scene.got() == []
    assert not scene.waiting()


def test_a_text_that_arrives_in_a_pause_does_not_shorten_it(scene: Scene) -> None:
    scene.agent.fail("complete", RateLimited("slow down", provider="retell", retry_after=60))
    scene.text("one")
    scene.wake()
    scene.text("two")
    scene.wake()
    assert scene.agent.received == []
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two"]


def test_the_line_is_due_as_long_as_a_text_waits(scene: Scene) -> None:
    scene.text("hello")
    with scene.sessions() as session:
        assert session.scalar(select(Conversation.turn_due_at)) == scene.clock() - MAX_CLOCK_SKEW
    scene.work()
    with scene.sessions() as session:
        assert session.scalar(select(Conversation.turn_due_at)) is None
