"""Sealing: any text comes back as it was, with keys, without them, and after a rotation; and none without its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.orm import Session

from bridge.db.engine import build_engine
from bridge.db.models import Conversation, Message, Turn
from bridge.db.sealed_rows import WORDS, sample
from bridge.db.sealing import (
    CANT,
    END,
    PREFIX,
    Keyring,
    Unreadable,
    joined,
    key_id,
    keyring_of,
    why_unreadable,
)
from tests.databases import NOON
from tests.imports import imported_by
from tests.keys import NEW, OLD, keyring

ROOT = Path(__file__).parents[2]
KEYRINGS = {"no key": keyring(), "one key": keyring(OLD), "rotation": keyring(NEW, OLD)}

TEXTS = st.text() | st.text().map(PREFIX.__add__) | st.from_regex(rf"{PREFIX}[0-9a-f]{{8}}:[\w=]*{END}", fullmatch=True)
"""Any text, and those that look like sealed ones."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("sealed"), inner, max_size=3),
    max_leaves=5,
)

OBJECTS = st.dictionaries(st.text() | st.just("sealed"), VALUES, max_size=3) | st.lists(VALUES, max_size=3)


# -- without a database ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", KEYRINGS.values(), ids=KEYRINGS)
@given(words=TEXTS)
@example(words=f"{PREFIX}{key_id(OLD)}:gAAAAA{END}")
@example(words=f"{PREFIX}:")
def test_any_text_comes_back_as_it_was(keys: Keyring, words: str) -> None:
    assert keys.open(keys.seal(words)) == words


@pytest.mark.parametrize("keys", KEYRINGS.values(), ids=KEYRINGS)
@given(value=OBJECTS)
@example(value={"sealed": PREFIX})
@example(value={"sealed": keyring(OLD).seal("x")})
def test_any_json_comes_back_as_it_was(keys: Keyring, value: Any) -> None:
    assert keys.open_json(keys.seal_json(value)) == value


@given(words=st.text(min_size=3))
def test_a_sealed_text_shows_nothing_and_each_time_something_else(words: str) -> None:
    keys = keyring(NEW, OLD)
    one, other = keys.seal(words), keys.seal(words)
    assert one != other
    assert one.startswith(f"{PREFIX}{key_id(NEW)}:")
    assert one.endswith(END)
    assert words not in one.removeprefix(PREFIX).removesuffix(END)


@given(words=st.text().filter(lambda words: not words.startswith(PREFIX)))
def test_without_a_key_a_text_is_stored_as_it_is(words: str) -> None:
    assert keyring().seal(words) == words
    assert keyring().seal_json({"words": words}) == {"words": words}


@given(words=TEXTS)
def test_what_an_older_key_has_sealed_is_opened_after_a_rotation(words: str) -> None:
    assert keyring(NEW, OLD).open(keyring(OLD).seal(words)) == words


@given(words=st.text().filter(lambda words: not words.startswith(PREFIX)))
def test_a_text_from_before_the_first_key_is_read_as_it_is(words: str) -> None:
    assert keyring(NEW).open(words) == words


@pytest.mark.parametrize("keys", [keyring(), keyring(NEW)], ids=["no key", "another key"])
def test_a_text_whose_key_is_missing_says_so_and_is_stored_again_as_it_was(keys: Keyring) -> None:
    stored = keyring(OLD).seal("tangerine")
    read = keys.open(stored)
    assert read == f"{CANT}: ENCRYPTION_KEYS lacks its key, {key_id(OLD)}"
    assert why_unreadable(read) == read
    assert keys.seal(read) == stored


def test_json_whose_key_is_missing_says_so_and_is_stored_again_as_it_was() -> None:
    stored = keyring(OLD).seal_json({"fruit": "tangerine"})
    read = keyring(NEW).open_json(stored)
    assert list(read) == ["unreadable"]
    assert CANT in (why_unreadable(read) or "")
    assert keyring(NEW).seal_json(read) == stored


ANOTHERS = keyring(NEW).seal("x").split(":")[2].removesuffix(END)


@pytest.mark.parametrize(
    "token", ["", "x", "é", "gAAAAABm", ANOTHERS], ids=["empty", "a letter", "no token", "cut", "another key's"]
)
def test_what_no_key_has_made_is_told_as_damage(token: str) -> None:
    stored = f"{PREFIX}{key_id(OLD)}:{token}{END}"
    assert keyring(OLD).open(stored) == f"{CANT}: its row is damaged"


@pytest.mark.parametrize("kept", [len(PREFIX) + 8, len(PREFIX) + 9, 60, -4], ids=str)
def test_of_a_sealed_text_that_was_cut_nothing_is_shown(kept: int) -> None:
    cut = keyring(OLD).seal("tangerine " * 20)[:kept]
    for keys in (keyring(), keyring(OLD), keyring(NEW)):
        assert CANT in (why_unreadable(keys.open(cut)) or "")
        assert CANT in (why_unreadable(keys.open_json({"sealed": cut})) or "")
        assert keys.seal(keys.open(cut)) == cut


def test_of_several_texts_one_that_can_not_be_read_counts_for_all() -> None:
    lost = Unreadable("lost", "sealed:x")
    assert joined(["a", "b"]) == "a\nb"
    assert joined(["a", lost]) is lost
    assert why_unreadable("a", None, {}) is None


def test_the_id_of_a_key_does_not_tell_the_key() -> None:
    assert key_id(OLD) != key_id(NEW)
    assert key_id(OLD) not in OLD


def test_without_a_key_the_package_is_not_imported() -> None:
    code = (
        "from bridge.runtime import Runtime; from bridge.queues.notifier import NullNotifier;"
        "from tests.fakes import fake_settings; Runtime.build(fake_settings(), NullNotifier(), pool_size=1)"
    )
    assert imported_by(code, "cryptography") == []
    assert imported_by("import cryptography", "cryptography")


# -- in the tables --------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(database_url: str) -> Iterator[dict[str, Engine]]:
    """The same database with each of the keyrings."""
    made = {name: build_engine(database_url, keyring=keys) for name, keys in KEYRINGS.items()}
    yield made
    for engine in made.values():
        engine.dispose()


def test_every_engine_has_its_own_keys(engines: dict[str, Engine]) -> None:
    assert {name: keyring_of(engine.dialect) for name, engine in engines.items()} == KEYRINGS
    assert keyring_of(engines["one key"].execution_options(x=1).dialect) is KEYRINGS["one key"]


CONVERSATION = {"bridge_number": "x", "created_at": NOON, "changed_at": NOON}
TURN = {"conversation_id": 1, "status": "queued", "created_at": NOON, "expires_at": NOON}
MESSAGE = {"conversation_id": 1, "direction": "in", "status": "waiting", "created_at": NOON}
WISHES = {"send": False, "start": True, "variables": {"name": "tangerine"}}

PRINTABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def fill(engine: Engine, words: str = "tangerine") -> None:
    """Insert rows of which every sealed column of these tables has words."""
    with engine.begin() as connection:
        for table in (Message, Turn, Conversation):
            connection.execute(table.__table__.delete())
        note = {"agent_note": words, "holder_reason": words}
        connection.execute(insert(Conversation).values(id=1, phone="y", **note, **CONVERSATION))
        steps = {"steps": [], "left_out": words}
        connection.execute(insert(Turn).values(id=1, steps=steps, instruction=WISHES, **TURN))
        extras = {"ProfileName": words}
        connection.execute(insert(Message).values(id=1, body=words, extras=extras, instruction=WISHES, **MESSAGE))


def read(engine: Engine) -> list[Any]:
    columns = (Conversation.agent_note, Conversation.holder_reason, Turn.steps, Turn.instruction)
    query = select(*columns, Message.body, Message.extras, Message.instruction)
    of_one = query.select_from(Conversation).join(Turn)
    with engine.connect() as connection:
        return list(connection.execute(of_one.join(Message, Message.conversation_id == Conversation.id)).one())


def stored(engine: Engine) -> str:
    """What the tables have."""
    with engine.connect() as connection:
        return str([connection.execute(words.stored()).all() for words in WORDS])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=PRINTABLE | PRINTABLE.map(PREFIX.__add__))
def test_the_tables_give_back_what_they_were_given(engines: dict[str, Engine], words: str) -> None:
    whole = [words, words, {"steps": [], "left_out": words}, WISHES, words, {"ProfileName": words}, WISHES]
    for written, reading in (("no key", "rotation"), ("one key", "rotation"), ("rotation", "rotation")):
        fill(engines[written], words)
        assert read(engines[reading]) == whole


def test_with_a_key_no_word_is_in_the_tables(engines: dict[str, Engine]) -> None:
    fill(engines["no key"])
    assert stored(engines["no key"]).count("tangerine") == 7
    fill(engines["one key"])
    assert "tangerine" not in stored(engines["one key"])


def test_without_the_key_all_says_so_and_what_decides_can_still_be_read(engines: dict[str, Engine]) -> None:
    fill(engines["one key"])
    note, reason, steps, instruction, body, extras, wishes = read(engines["no key"])
    assert all(map(why_unreadable, (note, reason, steps, body, extras)))
    for each in (instruction, wishes):
        assert (each["send"], each["start"], bool(why_unreadable(each["variables"]))) == (False, True, True)


def test_rows_of_all_kinds_stand_side_by_side(engines: dict[str, Engine]) -> None:
    fill(engines["no key"])
    with engines["one key"].begin() as connection:
        connection.execute(insert(Message).values(id=2, body="second", **MESSAGE))
    with engines["rotation"].begin() as connection:
        connection.execute(insert(Message).values(id=3, body=f"{PREFIX}third", **MESSAGE))
    with engines["rotation"].connect() as connection, Session(connection) as session:
        assert session.scalars(select(Message.body).order_by(Message.id)).all() == [
            "tangerine",
            "second",
            f"{PREFIX}third",
        ]
        assert sample(session, 10) == {None: 7, key_id(OLD): 1, key_id(NEW): 1}


def test_the_index_over_words_gets_nothing_of_a_sealed_text(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url)
    with engine.connect() as connection:
        words = [keyring(NEW).seal("my tangerine " * n) for n in range(60)]
        indexed = text("SELECT to_tsvector('simple', body)::text FROM unnest(CAST(:words AS text[])) AS body")
        assert set(connection.scalars(indexed, {"words": words})) == {""}
    engine.dispose()


def test_a_sample_has_the_oldest_and_the_newest_rows_each_once(engines: dict[str, Engine]) -> None:
    fill(engines["no key"])
    with engines["one key"].begin() as connection:
        connection.execute(insert(Message), [{"body": "more", **MESSAGE, "id": n} for n in range(2, 12)])
    with engines["one key"].connect() as connection, Session(connection) as session:
        assert sample(session, 2) == {None: 7, key_id(OLD): 3}


def test_the_words_of_every_table_are_found_by_their_types() -> None:
    assert {f"{words.table.name}.{name}" for words in WORDS for name in words.kinds} == {
        "canned_replies.body",
        "chats.summary",
        "conversations.agent_note",
        "conversations.holder_reason",
        "draft_requests.messages",
        "handoff_notices.reason",
        "messages.body",
        "messages.extras",
        "messages.instruction",
        "notes.body",
        "turns.instruction",
        "turns.steps",
    }
    assert all(len(words.table.primary_key.columns) == 1 for words in WORDS)
