"""Turns at a provider whose messages have no ids: found by position and by words, also in a chat that hides a part."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from bridge.db.engine import Sessions
from bridge.db.models import Chat, Turn, TurnStatus
from bridge.providers.errors import OutcomeUnknown
from tests.fakes import UPONAI, FakeAgent
from tests.scene import Scene

CUT = OutcomeUnknown("cut", provider="uponai")


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, FakeAgent(provider="uponai", item_ids=False), **UPONAI)
    for said in ("one", "two", "ok"):
        scene.text(said)
        scene.work()
    return scene


@pytest.mark.parametrize("shows_last", [None, 8, 6, 5, 4])
@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize("said", ["three", "ok"])
def test_a_text_of_unknown_outcome_is_asked_once_although_the_chat_shows_only_its_end(
    scene: Scene, said: str, received: bool, shows_last: int | None
) -> None:
    scene.agent.shows_last = shows_last
    scene.text(said)
    scene.agent.fail("complete", CUT, received=received)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two", "ok", said]
    assert [row.status for row in scene.rows(Turn)][:3] == [TurnStatus.ANSWERED] * 3


@pytest.mark.parametrize("shows_last", [1, 2, 3])
def test_a_chat_that_shows_too_little_is_not_asked_again_and_its_text_is_given_up(
    scene: Scene, shows_last: int
) -> None:
    scene.agent.shows_last = shows_last
    scene.text("three")
    scene.agent.fail("complete", CUT, received=True)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two", "ok", "three"]
    assert [row.status for row in scene.rows(Turn)][3] in {TurnStatus.ANSWERED, TurnStatus.GIVEN_UP}
    assert scene.got()[3] in {"You said: three", scene.rt.settings.fallback_reply}


def test_the_bookmark_of_a_chat_keeps_a_mark_and_none_of_its_words(scene: Scene) -> None:
    [chat] = scene.rows(Chat)
    assert chat.user_items == 3
    assert chat.last_item_id.startswith("#")
    assert len(chat.last_item_id) == 1 + 3 * 16
    assert "ok" not in chat.last_item_id


def test_a_chat_from_before_the_marks_is_read_by_its_count(scene: Scene) -> None:
    scene.change(update(Chat).values(last_item_id=None))
    scene.text("three")
    scene.agent.fail("complete", CUT, received=True)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two", "ok", "three"]
    assert scene.got()[-1] == "You said: three"
