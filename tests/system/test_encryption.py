"""A bridge with keys: people and operators see every word, and the tables have none of them in the clear.

Also: keys that change while texts flow, a key that is lost, and what a text costs then.
"""

from __future__ import annotations

import html
import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, Engine, Text, text

from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import (
    Base,
    CannedReply,
    Chat,
    CircuitBreaker,
    Conversation,
    Direction,
    Message,
    MessageStatus,
    Note,
    Turn,
    TurnStatus,
)
from bridge.db.sealed_rows import WORDS
from bridge.db.sealing import CANT, PREFIX, Keyring, SealedJson, SealedText, key_id
from bridge.inbound import agent_events
from bridge.maintenance import encryption
from bridge.maintenance.catch_up import catch_up
from bridge.maintenance.outside_texts import SETTLED_AFTER, hold_for_outside_texts
from bridge.operators import draft_requests, instructions, labels, people_exports, texts
from bridge.operators.draft_task import write_draft
from bridge.operators.idempotency import Asked
from bridge.operators.people import Person
from bridge.outbound import receipts
from bridge.outbound.delivery.claim import claim_delivery
from bridge.providers.agents.contract import ChatState, ToolCall, ToolResult
from bridge.providers.agents.webhooks import Analysis, ChatEvent, EventKind
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import NotReached, OutcomeUnknown
from bridge.queues import circuit_breakers
from bridge.turns.claim import claim_turn
from bridge.turns.values import ClaimedTurn
from bridge.web.health import Fault, task_faults
from bridge.web.queries import failures
from tests.databases import database, empty, never_flushed
from tests.fakes import TEAM, FakeAgent
from tests.keys import NEW, OLD, keyring
from tests.mortal import Fate, MortalScene
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.system.test_batches import PEOPLE, must_cost_what_stages_cost
from tests.system.test_crash import judge, line_by_line
from tests.web.console.desk import House

WORD = "tangerine"
"""It is in everything that anybody writes."""

TOKENS = "ana:token-of-ana-1234"
LOST = f"{CANT}: ENCRYPTION_KEYS lacks its key, {key_id(OLD)}"


class Keys:
    """One database, opened with different keys, as processes with different settings do."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[Engine] = []

    def engine(self, *keys: str) -> Engine:
        self._made.append(build_engine(self._url, keyring=keyring(*keys)))
        return self._made[-1]

    def sessions(self, *keys: str) -> Sessions:
        return build_sessions(self.engine(*keys))

    def move(self, scene: Scene, *keys: str) -> None:
        """Restart the process with other keys."""
        scene.sessions = self.sessions(*keys)
        scene.rt = replace(scene.rt, database=database(scene.sessions, scene.clock, scene.notifier.wake))
        scene.restart()

    def close(self) -> None:
        for engine in self._made:
            engine.dispose()


@pytest.fixture
def keys(database_url: str) -> Iterator[Keys]:
    made = Keys(database_url)
    yield made
    made.close()


def tables(engine: Engine) -> dict[str, str]:
    """Everything that is stored, as the database has it, by table and column."""
    found: dict[str, str] = {}
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for row in connection.exec_driver_sql(f"SELECT * FROM {table.name}").mappings():
                for name, value in row.items():
                    found[f"{table.name}.{name}"] = found.get(f"{table.name}.{name}", "") + f"{value}\n"
    return found


def in_the_clear(engine: Engine, word: str = WORD) -> list[str]:
    return [where for where, stored in tables(engine).items() if word in stored.casefold()]


# -- a whole story --------------------------------------------------------------------------------------------------


PLAIN = {
    "audit.details": "ids and counts",
    "circuit_breakers.cause": "a provider's refusal, without what it refuses",
    "consents.words": "a keyword; no row of the record is ever changed, so none could be brought under another key",
    "contact_updates.error": "in words that are safe to show",
    "draft_requests.error": "in words that are safe to show",
    "erasures.error": "in words that are safe to show",
    "handoff_notices.error": "in words that are safe to show",
    "idempotency_keys.answer": "ids",
    "messages.error": "in words that are safe to show",
    "replaced_webhooks.url": "an address of ours",
    "task_errors.error": "a type and a place in the code",
    "turns.error": "in words that are safe to show",
}
"""Texts and JSON that are stored as they are, and what they have in place of words."""


def test_every_text_is_sealed_or_known_to_have_no_words() -> None:
    """A new column must have one of the sealed types, or be listed here with what it has."""
    every = [column for table in Base.metadata.sorted_tables for column in table.c]
    columns = {f"{column.table.name}.{column.name}": column.type for column in every}
    sealed = {name for name, kind in columns.items() if isinstance(kind, SealedText | SealedJson)}
    unbounded = {name for name, kind in columns.items() if isinstance(kind, Text | JSON)}
    assert unbounded - sealed == set(PLAIN)


def api(house: House, method: str, path: str, body: Any = None, key: str = "") -> Any:
    headers = {"Authorization": "Bearer token-of-ana-1234"} | ({"Idempotency-Key": key} if key else {})
    answer = house.app.test_client().open(f"/admin{path}", method=method, json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    return answer.json if answer.is_json else answer.text


def live(house: House) -> None:
    """Let everybody write everything that they can."""
    scene = house.scene
    steps = (ToolCall("find", f'{{"fruit": "{WORD}"}}', "c1"), ToolResult("c1", WORD))
    scene.agent.uses_tools_on = {f"book a {WORD}": steps}
    scene.text(f"my {WORD}", extras=(("ProfileName", f"Ann {WORD}"),))
    scene.work_until_idle()
    scene.text(f"book a {WORD}")
    scene.work_until_idle()
    scene.text(f"Loved “You said: my {WORD}”")
    scene.text(f"{WORD} with a picture", media=1)
    scene.text(f"{WORD} and a place", aside=f"(in the {WORD} garden)")
    scene.work_until_idle()
    api(house, "POST", "/conversations/1/notes", {"body": f"likes a {WORD}"})
    api(house, "PUT", "/canned-replies/fruit", {"body": f"We have a {WORD}."})
    api(house, "POST", "/messages", {"to": ANN, "from": NUMBER, "body": f"one {WORD} by Ana"}, key="k1")
    api(house, "POST", "/conversations/1/turns", {"content": f"say {WORD}"}, key="k2")
    with_fruit = {"start_agent": True, "new_chat": True, "content": f"say {WORD}", "dynamic_variables": {"fruit": WORD}}
    api(house, "POST", "/messages", {"to": BOB, "from": NUMBER, **with_fruit}, key="k3")
    scene.work_until_idle()
    request = draft_requests.request(scene.rt, Asked("ana"), 1)
    write_draft(scene.rt, request)
    api(house, "POST", "/conversations/1/hand-to-team", {"reason": f"wants a {WORD}"})
    scene.text(f"still my {WORD}")
    scene.work_until_idle()
    api(house, "POST", "/conversations/1/take-over")
    api(house, "POST", "/conversations/1/turns", {"content": f"draft a {WORD}", "send": False})
    scene.work_until_idle()
    api(house, "POST", "/conversations/1/hand-back", {"note": f"has a {WORD} now", "answer": True})
    scene.work_until_idle()
    report(scene)
    failed = [row for row in scene.rows(Message) if row.direction is Direction.OUT and row.carrier_id][-1]
    not_delivered = StatusReport(failed.reference, failed.carrier_id or "", Delivery.UNDELIVERED, ANN, 30008)
    receipts.report(scene.rt, not_delivered)
    scene.work(600)
    scene.work_until_idle()
    [bob] = [row.id for row in scene.rows(Conversation) if row.phone == BOB]
    api(house, "POST", f"/conversations/{bob}/hand-to-team", {"reason": f"the other {WORD}"})


def report(scene: Scene) -> None:
    """The provider tells what it thinks of the first chat."""
    chat = scene.rows(Chat)[0]
    about = Analysis(summary=f"The person has a {WORD}.", sentiment="Positive")
    agent_events.record(
        scene.rt, ChatEvent(EventKind.ANALYZED, "retell", chat.provider_chat_id, scene.clock(), analysis=about)
    )


@pytest.fixture
def house(keys: Keys) -> House:
    return House(keys.sessions(NEW), drafts=True, **TEAM)


def test_people_and_operators_see_every_word_and_the_tables_have_none(
    house: House, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "bridge")
    live(house)
    scene, raw = house.scene, keys.engine()
    sealed = {f"{words.table.name}.{name}" for words in WORDS for name in words.kinds}
    assert {where for where, stored in tables(raw).items() if PREFIX in stored} == sealed, "the story lacks words"
    assert in_the_clear(raw) == []
    assert WORD not in caplog.text

    assert f"You said: my {WORD}" in scene.got()
    assert f"one {WORD} by Ana" in scene.got()
    assert any(WORD in content for _, content in scene.agent.calls)
    whole = json.dumps(api(house, "GET", "/conversations/1?limit=100"))
    for words in (f"my {WORD}", f"Ann {WORD}", f"likes a {WORD}", f"has a {WORD}", f'\\"fruit\\": \\"{WORD}'):
        assert words in whole
    page = house.desk().get("/conversations/1").text
    assert f"likes a {WORD}" in page
    assert CANT not in page + whole
    for path in ("/conversations", "/failures", "/canned-replies", "/chats/1", "/conversations/1/export"):
        assert WORD in json.dumps(api(house, "GET", path)), path
    assert WORD in api(house, "GET", "/export?since=2020-01-01T00:00:00Z")
    exported = str(people_exports.export(scene.rt, "ana", Person(ANN)))
    assert exported.count(WORD) > 20
    assert PREFIX not in exported


def test_words_are_not_searched_and_numbers_are(house: House) -> None:
    live(house)
    found = api(house, "GET", f"/conversations?q={WORD}")
    assert (found["conversations"], found["next"]) == ([], None)
    assert found["searched"].startswith("Words can't be searched, because ENCRYPTION_KEYS is set.")
    assert "Words can&#39;t be searched" in house.desk().get(f"/inbox?q={WORD}").text
    assert 'placeholder="Number"' in house.desk().get("/inbox").text
    assert [each["phone"] for each in api(house, "GET", f"/conversations?phone={ANN[-4:]}")["conversations"]] == [ANN]
    assert ANN[-4:] in house.desk().get(f"/inbox?q={ANN[-4:]}").text


def test_a_text_of_another_tool_is_sealed_too(keys: Keys) -> None:
    scene = Scene(keys.sessions(NEW), twilio_numbers=(NUMBER,))
    hold_for_outside_texts(scene.rt, pauses=())
    scene.text("hello")
    scene.work_until_idle()
    scene.carrier.write_outside(ANN, NUMBER, f"I have your {WORD}")
    for _ in range(2):
        scene.clock.tick(SETTLED_AFTER.total_seconds())
        catch_up(scene.rt, pauses=())
        hold_for_outside_texts(scene.rt, pauses=())
    assert [row.body for row in scene.rows(Message) if row.status is MessageStatus.OUTSIDE] == [f"I have your {WORD}"]
    assert in_the_clear(keys.engine()) == []


# -- keys that change -----------------------------------------------------------------------------------------------


def brought(scene: Scene, target: Keyring) -> tuple[int, int]:
    """Carry ``bridge encrypt`` out. Return how many rows were locked, and how many can't be decrypted."""
    pages = list(encryption.pages(scene.rt, target))
    return sum(page.locked for page in pages), sum(page.unreadable for page in pages)


def under(engine: Engine) -> set[str | None]:
    """The keys under which words are stored."""
    with engine.connect() as connection:
        return {key for words in WORDS for row in connection.execute(words.stored()) for key in words.keys_of(row)}


def test_words_from_before_are_encrypted_and_a_new_key_takes_over(keys: Keys) -> None:
    house = House(keys.sessions(), drafts=True, **TEAM)
    live(house)
    scene, raw = house.scene, keys.engine()
    whole = people_exports.export(scene.rt, "ana", Person(ANN))["conversations"]
    assert under(raw) == {None}
    for ring in ((OLD,), (NEW, OLD), (NEW,)):
        keys.move(scene, *ring)
        assert brought(scene, scene.rt.database.keyring) == (0, 0)
        assert under(raw) == {key_id(ring[0])}
        assert in_the_clear(raw) == []
        assert people_exports.export(scene.rt, "ana", Person(ANN))["conversations"] == whole
    assert brought(scene, Keyring()) == (0, 0)
    assert under(raw) == {None}
    keys.move(scene)
    assert people_exports.export(scene.rt, "ana", Person(ANN))["conversations"] == whole


def test_what_is_done_already_is_only_read(keys: Keys) -> None:
    scene = Scene(keys.sessions(NEW))
    scene.text("hello")
    scene.work_until_idle()
    before = tables(keys.engine())
    assert brought(scene, scene.rt.database.keyring) == (0, 0)
    assert tables(keys.engine()) == before


def test_texts_flow_while_the_key_changes(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each page a person texts, and is answered by a process that has the new keys."""
    monkeypatch.setattr(encryption, "PAGE", 2)
    monkeypatch.setattr(encryption, "BATCH", 2)
    scene = Scene(keys.sessions(OLD))
    for n in range(5):
        scene.text(f"{n}")
        scene.work_until_idle()
    keys.move(scene, NEW, OLD)
    for n, page in enumerate(encryption.pages(scene.rt, scene.rt.database.keyring)):
        assert (page.locked, page.unreadable) == (0, 0)
        scene.text(f"{n + 5}")
        scene.work_until_idle()
    assert [body.removeprefix("You said: ") for body in scene.got()] == [f"{n}" for n in range(len(scene.got()))]
    assert under(keys.engine()) == {key_id(NEW)}
    keys.move(scene, NEW)
    scene.text("last")
    scene.work_until_idle()
    assert scene.got()[-1] == "You said: last"


class _Halt(Exception):
    """The command is stopped."""


def test_what_was_stopped_in_the_middle_goes_on(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "BATCH", 3)
    scene = Scene(keys.sessions())
    for n in range(6):
        scene.text(f"{n}")
        scene.work_until_idle()
    keys.move(scene, NEW)
    commits = itertools.count(1)

    def halt(connection: Connection) -> None:
        if next(commits) == 2:
            raise _Halt
        connection.commit()

    halting = replace(scene.rt, database=database(scene.sessions, scene.clock, commit=halt))
    with pytest.raises(_Halt):
        list(encryption.pages(halting, halting.database.keyring))
    assert under(keys.engine()) == {None, key_id(NEW)}
    assert brought(scene, scene.rt.database.keyring) == (0, 0)
    assert under(keys.engine()) == {key_id(NEW)}
    assert [row.body for row in scene.rows(Message) if row.direction is Direction.IN] == [f"{n}" for n in range(6)]


def test_a_row_that_somebody_has_locked_is_left_and_told(postgresql_url: str) -> None:
    with ExitStack() as open_keys:
        keys = Keys(postgresql_url)
        open_keys.callback(keys.close)
        scene = Scene(keys.sessions())
        for phone in (ANN, BOB):
            scene.text("hello", phone)
        keys.move(scene, NEW)
        with scene.sessions() as halted:
            halted.get_one(Message, 1, with_for_update=True)
            assert brought(scene, scene.rt.database.keyring) == (1, 0)
        assert brought(scene, scene.rt.database.keyring) == (0, 0)
        assert under(keys.engine()) == {key_id(NEW)}


def test_a_row_can_be_added_to_one_that_is_just_written_again(postgresql_url: str) -> None:
    """The lock on a conversation does not stop a note that refers to it: else it would wait for the commit."""
    with ExitStack() as open_keys:
        keys = Keys(postgresql_url)
        open_keys.callback(keys.close)
        scene = Scene(keys.sessions())
        scene.text("hello")
        with scene.sessions.begin() as session:
            session.get_one(Conversation, 1).agent_note = WORD
        keys.move(scene, NEW)

        def commit(connection: Connection) -> None:
            with scene.sessions.begin() as session:
                session.execute(text("SET LOCAL lock_timeout = '2s'"))
                session.add(Note(conversation_id=1, operator="ana", created_at=scene.clock(), body="in time"))
            connection.commit()

        writing = replace(scene.rt, database=database(scene.sessions, scene.clock, commit=commit))
        list(encryption.pages(writing, writing.database.keyring))
        assert {row.body for row in scene.rows(Note)} == {"in time"}
        assert under(keys.engine()) == {key_id(NEW)}


# -- a key that is lost ---------------------------------------------------------------------------------------------


def waiting(keys: Keys) -> Scene:
    """A text waits under the old key, and the process has the new one alone."""
    scene = Scene(keys.sessions(OLD), admin_tokens=TOKENS)
    scene.text("hello")
    scene.work_until_idle()
    scene.notifier.wakeups.clear()
    scene.text(f"my {WORD}")
    scene.notifier.wakeups.clear()
    keys.move(scene, NEW)
    return scene


def faults(scene: Scene) -> list[Fault]:
    """What /readyz tells of tasks."""
    with scene.sessions() as session:
        return task_faults(session, scene.clock())


def test_a_text_without_its_key_waits_is_told_and_goes_on_with_the_key(keys: Keys) -> None:
    scene = waiting(keys)
    scene.work(90)
    assert scene.got() == ["You said: hello"]
    assert [content for call, content in scene.agent.calls if call == "complete"] == ["hello"]
    [fault] = faults(scene)
    assert (fault.part, fault.state) == ("process_turns", "fails")
    assert fault.what.endswith(f"conversation 1 since {fault.what.split('since ')[1].split(': ')[0]}: {LOST}")
    [failure] = failures.list_failures(scene.rt).failures
    assert (failure.conversation_id, failure.error) == (1, f"process_turns: {LOST}")
    headers = {"Authorization": f"Bearer {TOKENS[4:]}"}
    whole: Any = scene.web.test_client().get("/admin/conversations/1", headers=headers).json
    assert [text["body"] for text in whole["messages"]] == [LOST] * 3
    assert LOST in whole["unanswered_because"]
    keys.move(scene, NEW, OLD)
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", f"You said: my {WORD}"]
    scene.work(300)
    assert faults(scene) == []


def test_every_page_and_export_tells_that_the_key_is_missing(keys: Keys) -> None:
    written = House(keys.sessions(OLD), drafts=True, **TEAM)
    live(written)
    house = House(keys.sessions(NEW), drafts=True, **TEAM)
    desk = house.desk()
    for path in ("/inbox", "/conversations/1", "/replies", "/failures"):
        page = desk.get(path)
        assert (page.status_code, PREFIX in html.unescape(page.text)) == (200, False), path
        assert path == "/failures" or LOST in html.unescape(page.text), path
    for path in (
        "/conversations",
        "/conversations/1",
        "/failures",
        "/canned-replies",
        "/chats/1",
        "/export?since=2020-01-01T00:00:00Z&until=2030-01-01T00:00:00Z",
    ):
        told = json.dumps(api(house, "GET", path))
        assert LOST in told, path
        assert PREFIX not in told
    exported = str(people_exports.export(house.scene.rt, "ana", Person(ANN)))
    assert LOST in exported
    assert PREFIX not in exported
    assert WORD not in exported


def test_the_lists_show_nothing_of_a_sealed_text_to_a_process_without_any_key(keys: Keys) -> None:
    """Without a key the database cuts the texts of the list. A sealed one has no end then."""
    live(House(keys.sessions(NEW), drafts=True, **TEAM))
    house = House(keys.sessions(), drafts=True, **TEAM)
    desk = house.desk()
    for path in ("/inbox", "/conversations/1", "/replies", "/failures"):
        assert PREFIX not in html.unescape(desk.get(path).text), path
    for path in ("/conversations", "/conversations/1", "/failures", "/chats/1"):
        told = json.dumps(api(house, "GET", path))
        assert f"lacks its key, {key_id(NEW)}" in told, path
        assert PREFIX not in told, path


def test_a_text_whose_key_never_comes_back_is_given_up_loudly_and_kept(keys: Keys) -> None:
    scene = waiting(keys)
    before = stored_bodies(keys)
    scene.work_until_idle()
    [turn] = [row for row in scene.rows(Turn) if row.status is TurnStatus.GIVEN_UP]
    assert turn.error == f"there was no answer within ANSWER_WITHIN: {LOST}"
    assert stored_bodies(keys)[: len(before)] == before
    assert scene.got() == ["You said: hello", scene.rt.settings.fallback_reply]
    scene.text("are you there?")
    scene.work_until_idle()
    assert scene.got()[-1] == "You said: are you there?"
    assert all(WORD not in content and CANT not in content for _, content in scene.agent.calls)


def stored_bodies(keys: Keys) -> list[str]:
    with keys.engine().connect() as connection:
        return list(connection.exec_driver_sql("SELECT body FROM messages ORDER BY id").scalars())


@pytest.mark.parametrize("tried", [False, True], ids=["not sent yet", "may have been sent"])
def test_an_answer_without_its_key_is_not_sent_and_goes_out_with_the_key(keys: Keys, tried: bool) -> None:
    scene = Scene(keys.sessions(OLD))
    if tried:
        scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)
        scene.text(f"my {WORD}")
        scene.wake()
    else:
        texts.write(scene.rt, Asked("ana"), texts.Pair(ANN, NUMBER), f"my {WORD}")
    scene.notifier.wakeups.clear()
    keys.move(scene, NEW)
    scene.work(90)
    assert scene.got() == []
    assert [(fault.part, fault.state) for fault in faults(scene)] == [("process_deliveries", "fails")]
    keys.move(scene, NEW, OLD)
    scene.work_until_idle()
    assert [WORD in body for body in scene.got()] == [True]


@pytest.mark.parametrize(
    ("code", "said", "sent_again"),
    [(30008, "hello", 1), (30019, "hello again, " * 30, 3)],
    ids=["as it was", "in pieces"],
)
def test_an_undelivered_text_without_its_key_is_sent_again_with_the_key(
    keys: Keys, code: int, said: str, sent_again: int
) -> None:
    scene = Scene(keys.sessions(OLD))
    scene.text(said)
    scene.work_until_idle()
    [sent] = [row for row in scene.rows(Message) if row.carrier_id and row.reference]
    receipts.report(scene.rt, StatusReport(sent.reference, sent.carrier_id, Delivery.UNDELIVERED, ANN, code))
    keys.move(scene, NEW)
    scene.work(900)
    assert len(scene.got()) == 1
    keys.move(scene, NEW, OLD)
    scene.work(120)
    assert len(scene.got()) == 1 + sent_again
    assert " ".join(" ".join(scene.got()).split()) == " ".join([f"You said: {said}".strip()] * 2)


def test_what_can_not_be_read_probes_no_circuit(keys: Keys) -> None:
    """Nothing of it is asked or sent. So the probe is left to work that can be read."""
    scene = Scene(keys.sessions(OLD))
    for phone in (ANN, BOB):
        scene.text(f"my {WORD}", phone)
    texts.write(scene.rt, Asked("ana"), texts.Pair(ANN, NUMBER), f"my {WORD}")
    keys.move(scene, NEW)
    texts.write(scene.rt, Asked("ana"), texts.Pair(BOB, NUMBER), "hello")
    for provider in ("retell", "twilio"):
        with scene.rt.database.transaction() as tx:
            circuit_breakers.trip(tx, NotReached("connection refused", provider=provider))
    before = scene.rows_of(CircuitBreaker)
    scene.clock.tick(60)
    asked, sent = claim_turn(scene.rt, 1), claim_delivery(scene.rt, 1)
    assert isinstance(asked, ClaimedTurn) and sent
    assert [(each.unreadable, each.probed) for each in (asked, sent)] == [(LOST, ())] * 2
    assert [row.probes for row in scene.rows_of(CircuitBreaker)] == [row.probes for row in before] == [0, 0]
    readable = claim_delivery(scene.rt, 2)
    assert readable and (readable.unreadable, readable.probed) == (None, ("twilio",))


def test_variables_without_their_key_wait_too(keys: Keys) -> None:
    scene = Scene(keys.sessions(OLD))
    scene.agent.greeting = "Hello"
    wish = instructions.Start(variables={"fruit": WORD})
    instructions.start(scene.rt, Asked("ana"), texts.Pair(ANN, NUMBER), wish)
    scene.notifier.wakeups.clear()
    keys.move(scene, NEW)
    scene.work(60)
    assert scene.agent.chats == {}
    keys.move(scene, NEW, OLD)
    scene.work_until_idle()
    assert scene.got() == ["Hello"]
    [chat] = scene.agent.chats.values()
    assert chat.about.variables == {"fruit": WORD}


def test_a_new_chat_is_told_what_can_be_read_and_nothing_else(keys: Keys) -> None:
    scene = Scene(keys.sessions(OLD), stale_after="1h", drafts=True)
    scene.text(f"my {WORD}")
    scene.work_until_idle()
    with scene.sessions.begin() as session:
        pair = session.get_one(Conversation, 1)
        pair.agent_note, pair.agent_note_at = f"has a {WORD}", scene.clock()
    keys.move(scene, NEW)
    scene.agent.chats[scene.rows(Chat)[0].provider_chat_id].state = ChatState.ENDED
    scene.text("apple")
    scene.work_until_idle()
    about = [chat.about for chat in scene.agent.chats.values()][-1]
    assert (about.previous_conversation, about.team_note) == ("", "")
    write_draft(scene.rt, draft_requests.request(scene.rt, Asked("ana"), 1))
    assert [item.content for item in scene.agent.drafted[-1][1]] == ["apple", "You said: apple"]


def test_the_words_in_place_of_a_text_are_never_sent(keys: Keys) -> None:
    scene = Scene(keys.sessions(NEW))
    scene.text("hello")
    for write in (
        lambda: texts.write_in(scene.rt, Asked("ana"), 1, LOST),
        lambda: instructions.ask(scene.rt, Asked("ana"), 1, LOST),
    ):
        with pytest.raises(texts.Unfit, match="says that a text can't be decrypted; write the text itself"):
            write()


def test_what_another_tool_may_have_sent_counts_as_ours_without_the_key(keys: Keys) -> None:
    """The list shows a second copy of a text that can't be read any more. The agent must not keep still for it."""
    scene = Scene(keys.sessions(OLD), twilio_numbers=(NUMBER,))
    hold_for_outside_texts(scene.rt, pauses=())
    scene.text("hello")
    scene.work_until_idle()
    scene.carrier.write_outside(ANN, NUMBER, "You said: hello")
    keys.move(scene, NEW)
    for _ in range(2):
        scene.clock.tick(SETTLED_AFTER.total_seconds())
        catch_up(scene.rt, pauses=())
        hold_for_outside_texts(scene.rt, pauses=())
    assert [row for row in scene.rows(Message) if row.status is MessageStatus.OUTSIDE] == []


def test_rows_without_their_key_are_left_by_the_command(keys: Keys) -> None:
    scene = waiting(keys)
    locked, unreadable = brought(scene, scene.rt.database.keyring)
    assert (locked, unreadable) == (0, 3)
    assert under(keys.engine()) == {key_id(OLD)}


def test_a_canned_reply_without_its_key_can_be_written_anew(keys: Keys) -> None:
    scene = Scene(keys.sessions(OLD))
    labels.save_reply(scene.rt, "ana", "fruit", WORD)
    keys.move(scene, NEW)
    assert [reply.body for reply in labels.list_replies(scene.rt)] == [LOST]
    labels.save_reply(scene.rt, "ana", "fruit", f"{WORD} again")
    assert [row.body for row in scene.rows_of(CannedReply)] == [f"{WORD} again"]


# -- the guarantees and the costs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """SQLite that is never flushed, with keys."""
    with never_flushed(tmp_path_factory.mktemp("sealed") / "x.sqlite3", keyring(NEW, OLD)) as engine:
        yield engine


def lived(engine: Engine, fate: Fate) -> MortalScene:
    with engine.begin() as connection:
        empty(connection)
    scene = MortalScene(build_sessions(engine), fate, FakeAgent(line_by_line))
    scene.text("a")
    scene.text("b")
    scene.wake()
    scene.text("c")
    scene.work_until_idle(at_most=600)
    return scene


def test_no_single_death_loses_or_doubles_a_sealed_text(sealed_engine: Engine) -> None:
    whole = Fate()
    judge(lived(sealed_engine, whole))
    for n in range(1, len(whole.passed) + 1):
        judge(lived(sealed_engine, Fate(n)))
    assert under(sealed_engine) == {key_id(NEW)}


@pytest.mark.parametrize("people", [PEOPLE[:1], PEOPLE], ids=["one", "fifty at once"])
def test_with_keys_no_stage_costs_a_statement_more(keys: Keys, people: list[str]) -> None:
    engine = keys.engine(NEW)
    must_cost_what_stages_cost(Scene(build_sessions(engine), sender_rate=10_000), engine, people)
