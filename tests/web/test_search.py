"""The search by words behind the newest texts: by the index on PostgreSQL, page by page on SQLite."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bridge.db.engine import Sessions
from bridge.db.models import Message, MessageStatus
from bridge.web.queries import search
from bridge.web.queries.search import Found, Words
from tests.scene import NUMBER, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """Six people; only the first one has written of an umbrella, and has the answer to it."""
    scene = Scene(sessions, twilio_numbers=NUMBER)
    for n in range(6):
        scene.text("my umbrella" if n == 0 else f"hello {n}", f"+1555123000{n}")
        scene.work_until_idle()
    return scene


def found(session: Session, q: str, before: int | None = None, limit: int = 5) -> Found:
    return search.newest_with(session, Words(q, before, limit, read=4))


def test_a_rare_word_is_found_behind_the_newest_texts(scene: Scene, engine: Engine) -> None:
    database = engine.dialect.name
    with scene.sessions() as session:
        page = found(session, "umbrella")
        pages = 1
        while not page.hits and page.next_before:
            assert database == "sqlite"
            assert "covers 4 texts" in (page.searched or "")
            page, pages = found(session, "umbrella", page.next_before), pages + 1
    assert list(page.hits.values()) == [2]
    assert pages == (1 if database == "postgresql" else 3)


def test_a_word_that_is_nowhere_ends_the_search(scene: Scene) -> None:
    with scene.sessions() as session:
        page = found(session, "nothing")
        while page.next_before:
            assert page.hits == {}
            page = found(session, "nothing", page.next_before)
    assert page == Found({}, None, None)


def test_a_common_word_is_found_in_the_newest_texts(scene: Scene) -> None:
    with scene.sessions() as session:
        page = found(session, "hello", limit=1)
    assert len(page.hits) == 1
    assert page.next_before
    assert page.searched is None


@pytest.mark.parametrize("status", [MessageStatus.WAITING, MessageStatus.QUEUED])
def test_a_text_that_waits_is_found_too(scene: Scene, status: MessageStatus) -> None:
    with scene.sessions.begin() as session:
        session.query(Message).filter_by(id=1).update({"status": status})
        session.query(Message).filter_by(id=2).delete()
    with scene.sessions() as session:
        before: int | None = None
        while not (page := found(session, "UMBRELLA", before)).hits:
            before = page.next_before
            assert before
    assert list(page.hits.values()) == [1]
