"""Poison messages: a text, or a chat, at which the agent's provider fails each time while it serves others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, insert

from bridge.chats.rows import LEAVE_CHAT_AFTER
from bridge.db.engine import Sessions
from bridge.db.models import Chat, ChatStatus, Message, MessageStatus, Turn, TurnStatus
from bridge.providers.agents.contract import ChatState, NewChat, RemoteChat
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.turns import poison
from bridge.turns.values import GIVE_UP_AFTER
from tests.conftest import DATABASES
from tests.fakes import FakeAgent, FakeChat
from tests.mortal import emptied
from tests.scene import ANN, BOB, Scene

MINUTES = 8
"""Whatever is poisoned must be over within so many."""

UNCOUNTED = 4
"""Failures at first, before anybody else texts."""

OTHER_NUMBER = "+15550002222"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite; both kinds where a test asks for them. What is told here is long, and mostly not about statements."""
    url: str = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    return url


on_each_database = pytest.mark.parametrize("database_url", DATABASES, indirect=True)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def server_fault(status: int = 500) -> RemoteError:
    return OutcomeUnknown(f"HTTP {status}", provider="retell", status=status)


def beside_others(scene: Scene, minutes: float = MINUTES, every: float = 15, phone: str = BOB, **more: str) -> None:
    """Time in which somebody else texts now and then."""
    until = scene.clock() + timedelta(minutes=minutes)
    while scene.clock() < until:
        scene.text("hi", phone, **more)
        scene.work(seconds=every)


def asked(scene: Scene, words: str) -> int:
    """How often the agent was asked this, heard or not."""
    return [said for call, said in scene.agent.calls if call == "complete"].count(words)


def turn_of(scene: Scene, conversation_id: int = 1) -> Turn:
    """The newest one."""
    turn: Turn = [row for row in scene.rows(Turn) if row.conversation_id == conversation_id][-1]
    return turn


def poisoned_text(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    scene.agent.poison = {"poison"}
    scene.text("a poison")


@on_each_database
def test_a_poisoned_text_is_given_up_within_minutes_and_the_next_one_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned_text(scene)
    scene.wake()
    scene.text("next")
    beside_others(scene)
    assert GIVE_UP_AFTER <= asked(scene, "a poison") <= GIVE_UP_AFTER + UNCOUNTED
    assert scene.got() == ["You said: hello", scene.rt.settings.fallback_reply, "You said: next"]
    given_up = [row for row in scene.rows(Turn) if row.status is TurnStatus.GIVEN_UP]
    assert [row.error for row in given_up] == [
        "the agent fails at it again and again, and serves others: retell (500): HTTP 500"
    ]
    assert [r.levelname for r in caplog.records if "given up" in r.message] == ["ERROR"]
    assert set(scene.got(BOB)) == {"You said: hi"}


def test_what_follows_a_poisoned_text_is_said_in_a_chat_that_knows_the_conversation_but_not_the_poison(
    scene: Scene,
) -> None:
    poisoned_text(scene)
    beside_others(scene)
    scene.text("next")
    scene.work_until_idle()
    [chat] = [chat for chat in scene.agent.chats.values() if chat.received == ["next"]]
    assert "You said: hello" in chat.about.previous_conversation
    assert "poison" not in chat.about.previous_conversation


@on_each_database
def test_a_text_is_taken_out_of_a_poisoned_chat_after_a_few_tries(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    scene.agent.poisoned = {"chat_1"}
    scene.text("are you there?")
    beside_others(scene, minutes=2)
    assert LEAVE_CHAT_AFTER < asked(scene, "are you there?") <= LEAVE_CHAT_AFTER + 1 + UNCOUNTED
    assert scene.got() == ["You said: hello", "You said: are you there?"]
    old, *_, new = [row for row in scene.rows(Chat) if row.conversation_id == 1]
    assert (old.status, new.status) == (ChatStatus.ENDED, ChatStatus.ONGOING)
    assert scene.agent.chats["chat_1"].state is ChatState.ENDED
    assert scene.agent.chats[new.provider_chat_id].about.previous_conversation == "User: hello\nAgent: You said: hello"


def test_a_chat_that_is_poisoned_from_its_first_text_on_is_left_too(scene: Scene) -> None:
    scene.agent.poisoned = {"chat_1"}
    scene.text("hello")
    beside_others(scene, minutes=2)
    assert scene.got() == ["You said: hello"]


FAILS_EACH_TIME = [
    server_fault(),
    server_fault(502),
    server_fault(503),
    server_fault(504),
    server_fault(408),
    server_fault(409),
    server_fault(403),  # a firewall does not like it
    OutcomeUnknown("cut off", provider="retell"),
    NotReached("refused", provider="retell"),
    AccountRefused("no permission for this chat", provider="retell", status=403),
]


class Choosy(FakeAgent):
    """Fails at one text in a way of its own, without having heard it."""

    error: RemoteError | None = None

    def complete(self, chat_id: str, content: str) -> tuple:  # type: ignore[type-arg]
        if self.error and "poison" in content:
            self.calls.append(("complete", content))
            raise self.error
        return super().complete(chat_id, content)


@pytest.mark.parametrize("error", FAILS_EACH_TIME, ids=lambda error: f"{type(error).__name__}-{error.status}")
def test_it_does_not_matter_how_the_provider_fails(hasty_engine: Engine, error: RemoteError) -> None:
    scene = Scene(emptied(hasty_engine), agent=(agent := Choosy()))
    agent.error = error
    scene.text("poison")
    scene.wake()
    scene.text("next")
    beside_others(scene, minutes=10, every=30)
    assert GIVE_UP_AFTER <= asked(scene, "poison") <= GIVE_UP_AFTER + UNCOUNTED
    assert scene.got() == [scene.rt.settings.fallback_reply, "You said: next"]


def test_too_many_requests_are_not_the_fault_of_a_text(sessions: Sessions) -> None:
    """Others may be served because they were asked at a better moment."""
    scene = Scene(sessions, agent=(agent := Choosy()))
    agent.error = RateLimited("slow down", provider="retell", status=429)
    scene.text("poison")
    beside_others(scene, minutes=15, every=30)
    agent.error = None
    scene.work_until_idle()
    assert scene.got() == ["You said: poison"]
    assert len([row for row in scene.rows(Chat) if row.conversation_id == 1]) == 1


class Speechless(FakeAgent):
    """Its provider can't show some chats."""

    hidden: set[str] = set()

    def get_chat(self, chat_id: str) -> RemoteChat:
        if chat_id in self.hidden:
            raise server_fault()
        return super().get_chat(chat_id)


def test_a_text_is_not_said_again_elsewhere_while_its_chat_can_not_be_read(sessions: Sessions) -> None:
    """Nobody knows whether it was heard there."""
    scene = Scene(sessions, agent=(agent := Speechless()))
    scene.text("hello")
    scene.work()
    agent.hidden = {"chat_1"}
    agent.fail("complete", server_fault(), received=True)
    scene.text("book a table")
    scene.wake()
    scene.text("next")
    beside_others(scene)
    assert agent.received.count("book a table") == 1
    assert asked(scene, "book a table") == 1
    assert scene.got() == ["You said: hello", scene.rt.settings.fallback_reply, "You said: next"]


def test_a_chat_that_has_heard_after_all_is_not_left(sessions: Sessions) -> None:
    """The failures have been counted; the last look shows the text, and its answer."""
    scene = Scene(sessions, agent=(agent := Speechless()))
    scene.text("hello")
    scene.work()
    agent.hidden = {"chat_1"}
    agent.fail("complete", server_fault(), received=True)
    scene.text("book a table")
    while turn_of(scene).failures < LEAVE_CHAT_AFTER:
        beside_others(scene, minutes=0.2, every=12)
    agent.hidden = set()
    scene.work_until_idle()
    assert agent.received.count("book a table") == 1
    assert scene.got() == ["You said: hello", "You said: book a table"]


class Forgetful(FakeAgent):
    """Its provider can't open a chat that is told certain words, or answer in one."""

    in_create = in_complete = False

    def _knows(self, about: NewChat) -> bool:
        return "cursed" in about.previous_conversation

    def create_chat(self, about: NewChat) -> RemoteChat:
        if self.in_create and self._knows(about):
            raise server_fault()
        return super().create_chat(about)

    def complete(self, chat_id: str, content: str) -> tuple:  # type: ignore[type-arg]
        chat: FakeChat = self.chats[chat_id]
        if self.in_complete and self._knows(chat.about):
            raise server_fault()
        return super().complete(chat_id, content)


@pytest.mark.parametrize("where", ["in_create", "in_complete"])
def test_what_a_new_chat_is_told_may_be_the_poison(sessions: Sessions, where: str) -> None:
    scene = Scene(sessions, agent=(agent := Forgetful()))
    scene.text("cursed words")
    scene.work()
    agent.end("chat_1")
    setattr(agent, where, True)
    scene.text("hello")
    beside_others(scene)
    assert scene.got()[1:] == ["You said: hello"]


# -- while nobody is served ----------------------------------------------------------------------------------------


def everybody_fails(scene: Scene, minutes: float, every: float = 15) -> None:
    scene.agent.poison = {""}
    beside_others(scene, minutes, every)


@pytest.mark.parametrize("every", [10, 60, 2_000])
def test_while_nobody_is_served_everything_waits(scene: Scene, every: float) -> None:
    scene.text("hello")
    scene.text("hello", BOB)
    scene.work()
    scene.text("important")
    everybody_fails(scene, minutes=20, every=every)
    assert scene.got() == ["You said: hello"]
    assert [row.failures for row in scene.rows(Turn)] == [0] * len(scene.rows(Turn))
    scene.agent.poison = set()
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: important"]
    assert len(scene.agent.chats) == 2, "each person is still in the same chat"
    assert not [row for row in scene.rows(Turn) if row.status is TurnStatus.GIVEN_UP]


def test_service_before_the_outage_proves_nothing_in_it(scene: Scene) -> None:
    """The text fails by chance, somebody is served, and then nobody is."""
    scene.text("hello")
    scene.work()
    scene.agent.fail("complete", server_fault())
    scene.text("important")
    scene.wake()
    scene.clock.tick(1)
    scene.text("hi", BOB)
    scene.work()
    scene.text("and now?", BOB)
    everybody_fails(scene, minutes=20, every=60)
    scene.agent.poison = set()
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: important"]


def test_who_is_alone_with_a_poisoned_text_waits_as_in_an_outage(scene: Scene) -> None:
    poisoned_text(scene)
    scene.work(seconds=1800)
    assert scene.got() == ["You said: hello"]
    scene.agent.poison = set()
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: a poison"]


def test_one_who_is_served_once_is_proof_for_a_while_where_hardly_anybody_texts(scene: Scene) -> None:
    poisoned_text(scene)
    scene.work(seconds=20)
    scene.text("hi", BOB)
    scene.work(seconds=60 * MINUTES)
    assert scene.got() == ["You said: hello", scene.rt.settings.fallback_reply]


def test_service_that_is_long_ago_is_no_proof(scene: Scene) -> None:
    poisoned_text(scene)
    scene.wake()
    scene.clock.tick(1)
    scene.text("hi", BOB)
    scene.work()
    scene.restart()
    scene.clock.tick(3600)  # no worker runs
    scene.restart()
    scene.work(seconds=1800)
    assert scene.got() == ["You said: hello"]


def test_two_poisoned_people_do_not_hide_each_other(scene: Scene) -> None:
    scene.agent.poison = {"poison"}
    others = [f"+1555123{n:04}" for n in range(10, 14)]
    for phone in others:
        scene.text("poison", phone)
    beside_others(scene, minutes=MINUTES, every=10)
    assert [scene.got(phone) for phone in others] == [[scene.rt.settings.fallback_reply]] * len(others)
    assert set(scene.got(BOB)) == {"You said: hi"}


def test_another_agent_that_serves_is_no_proof(sessions: Sessions) -> None:
    """Where one agent fails at everything, its prompt is broken and will be mended."""
    routes = {OTHER_NUMBER: {"provider": "retell", "agent_id": "agent_2"}}
    scene = Scene(sessions, agent_routes=routes)
    scene.agent.poison = {"poison"}
    scene.text("poison")
    beside_others(scene, minutes=15, every=30, to=OTHER_NUMBER)
    assert scene.got() == []
    beside_others(scene, minutes=MINUTES, phone="+15551230003")
    assert scene.got() == [scene.rt.settings.fallback_reply]


def test_a_hundred_texts_among_which_every_fourth_call_fails_are_all_answered(scene: Scene) -> None:
    """Chance is no poison."""
    calls = iter(range(10_000))
    real = scene.agent.complete

    def unreliable(chat_id: str, content: str) -> tuple:  # type: ignore[type-arg]
        if next(calls) % 4 == 3:
            raise server_fault()
        return real(chat_id, content)

    scene.agent.complete = unreliable  # type: ignore[method-assign]
    phones = [f"+1555123{n:04}" for n in range(10)]
    for n in range(10):
        for phone in phones:
            scene.text(f"{n}", phone)
        scene.work(seconds=5)
    scene.work_until_idle()
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED] * len(scene.rows(Turn))
    said = [line for content in scene.agent.received for line in content.split("\n")]
    assert sorted(said) == sorted(f"{n}" for n in range(10) for _ in phones)


# -- refusals ------------------------------------------------------------------------------------------------------


class Refuses(FakeAgent):
    """Refuses in one chat, or one text."""

    chat = text = ""

    def complete(self, chat_id: str, content: str) -> tuple:  # type: ignore[type-arg]
        if chat_id == self.chat or content == self.text:
            self.calls.append(("complete", content))
            raise Refused("bad request", provider=self.provider, status=400)
        return super().complete(chat_id, content)


def test_a_chat_that_refuses_what_a_new_one_takes_costs_no_text(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=(agent := Refuses()))
    scene.text("one")
    scene.work()
    agent.chat = "chat_1"
    scene.text("two")
    scene.wake()
    assert scene.got() == ["You said: one", "You said: two"]
    scene.tick()
    assert agent.chats["chat_1"].state is ChatState.ENDED


def test_a_text_that_is_refused_everywhere_is_given_up_at_once(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=(agent := Refuses()))
    scene.text("one")
    scene.work()
    agent.text = "bad"
    scene.text("bad")
    scene.wake()
    assert asked(scene, "bad") == 2
    scene.text("three")
    scene.work_until_idle()
    assert scene.got() == ["You said: one", scene.rt.settings.fallback_reply, "You said: three"]


def test_a_new_chat_that_refuses_its_first_text_does_not_refuse_the_next_ones_too(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=(agent := Refuses()))
    agent.chat = "chat_1"
    scene.text("one")
    scene.work_until_idle()
    scene.text("two")
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.fallback_reply, "You said: two"]


# -- what it costs -------------------------------------------------------------------------------------------------


def statements_of(engine: Engine, work: Callable[[], None]) -> list[str]:
    said: list[str] = []

    def note(_c: object, _cur: object, statement: str, *_: object) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return said


@on_each_database
def test_an_attempt_that_works_asks_nothing_about_poison(scene: Scene, engine: Engine) -> None:
    scene.text("hello")
    said = statements_of(engine, scene.work)
    assert scene.got() == ["You said: hello"]
    assert not [statement for statement in said if "max(turns" in statement]
    counted = [statement for statement in said if "SET" in statement and "failures" in statement]
    assert not [statement for statement in counted if "failures = 0" not in statement]


@on_each_database
def test_the_proof_of_service_is_looked_for_among_the_newest_turns(scene: Scene, engine: Engine) -> None:
    """However long the history is."""
    for n in range(3):
        scene.text(f"{n}")
        scene.text(f"{n}", BOB)
        scene.work(seconds=1)
    turn = turn_of(scene)

    def served() -> bool:
        with scene.sessions.begin() as session:
            return poison._last_served(session, turn, ("retell", "agent_1"), scene.clock() - poison.LATELY) is not None

    assert served()
    with scene.sessions.begin() as session:
        session.execute(
            insert(Turn).values(
                id=turn.id + poison.NEWEST_TURNS + 10,
                conversation_id=turn.conversation_id,
                status=TurnStatus.ANSWERED,
                created_at=scene.clock(),
                expires_at=scene.clock(),
            )
        )
    assert not served()


def test_texts_that_were_folded_with_the_poison_share_its_fate(scene: Scene) -> None:
    scene.agent.poison = {"poison"}
    for body in ("hello", "poison"):
        scene.text(body)
    beside_others(scene)
    mine = [row for row in scene.rows(Message) if row.conversation_id == 1 and row.carrier_id and not row.reference]
    assert [row.status for row in mine] == [MessageStatus.GIVEN_UP] * 2
    assert scene.got(ANN) == [scene.rt.settings.fallback_reply]
