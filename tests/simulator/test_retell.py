"""The simulated Retell agent, as the official SDK sees it."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import retell
from retell import Retell

from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import (
    ChatClosed,
    ChatOpened,
    ClosingWords,
    ContactChanged,
    ContactRead,
    FaultStruck,
    Poisoned,
    Received,
    Replied,
    Wrong,
)
from testkit.waiting import until

ANA, BEN = "+15551230001", "+15551230002"
HOUR = timedelta(hours=1).total_seconds()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    return Simulator(SimulatorSettings(clock=clock, echo=True))


@pytest.fixture
def address(simulator: Simulator) -> Iterator[str]:
    with serve(simulator) as address:
        yield address


@pytest.fixture
def sdk(simulator: Simulator, address: str) -> Iterator[Retell]:
    with Retell(api_key=simulator.settings.retell_api_key, base_url=address, max_retries=0) as sdk:
        yield sdk


def opened(sdk: Retell, phone: str = ANA, **more: Any) -> str:
    return sdk.chat.create(
        agent_id="agent_simulated", retell_llm_dynamic_variables={"sms_user_number": phone}, **more
    ).chat_id


def said(sdk: Retell, chat_id: str, content: str) -> list[str]:
    answer = sdk.chat.create_chat_completion(chat_id=chat_id, content=content)
    return [item.content for item in answer.messages if item.role == "agent"]


class TestPoison:
    def test_a_poisoned_text_fails_each_time_unheard_and_everybody_else_is_served(
        self, sdk: Retell, simulator: Simulator
    ) -> None:
        simulator.faults.set("agent_poisoned_text")
        mine, other = opened(sdk), opened(sdk, BEN)
        for chat in (mine, mine, opened(sdk)):
            with pytest.raises(retell.InternalServerError):
                said(sdk, chat, "a Poisoned one")
        assert said(sdk, mine, "hello") and said(sdk, other, "hi")
        assert simulator.agent.received() == ["hello", "hi"]
        assert [turn.content for turn in simulator.ledger.of(Poisoned)] == ["a Poisoned one"] * 3

    def test_a_poisoned_chat_fails_for_ever_and_a_new_one_does_not(self, sdk: Retell, simulator: Simulator) -> None:
        chat = opened(sdk)
        simulator.faults.next("agent_poisoned_chat")
        for body in ("one", "two"):
            with pytest.raises(retell.InternalServerError):
                said(sdk, chat, body)
        assert said(sdk, opened(sdk), "one")
        assert sdk.chat.retrieve(chat).chat_status == "ongoing"
        assert simulator.agent.received() == ["one"]


class TestChats:
    def test_a_new_chat_is_ongoing_and_keeps_what_it_was_told(self, sdk: Retell) -> None:
        chat = sdk.chat.create(
            agent_id="agent_simulated",
            agent_version="latest_published",
            metadata={"bridge": {"conversation": 7}, "user": ANA},
            retell_llm_dynamic_variables={"sms_user_number": ANA},
        )
        assert (chat.chat_status, chat.chat_type) == ("ongoing", "api_chat")
        assert chat.metadata == {"bridge": {"conversation": 7}, "user": ANA}
        assert chat.retell_llm_dynamic_variables == {"sms_user_number": ANA}
        assert chat.message_with_tool_calls == []
        assert chat.start_timestamp == 1_790_000_000_000
        assert sdk.chat.retrieve(chat.chat_id) == chat

    def test_the_success_codes_are_retells(self, sdk: Retell) -> None:
        created = sdk.chat.with_raw_response.create(agent_id="agent_simulated")
        chat_id = created.parse().chat_id
        said = sdk.chat.with_raw_response.create_chat_completion(chat_id=chat_id, content="hi")
        got = sdk.chat.with_raw_response.retrieve(chat_id)
        ended = sdk.chat.with_raw_response.end(chat_id)
        assert [r.http_response.status_code for r in (created, said, got, ended)] == [201, 201, 200, 204]

    def test_a_greeting_stands_in_the_new_chat(self) -> None:
        simulator = Simulator(SimulatorSettings(greeting="Hello, how can I help?"))
        with serve(simulator) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
            chat = sdk.chat.create(agent_id="agent_simulated")
        assert [(m.role, m.content) for m in chat.message_with_tool_calls or []] == [
            ("agent", "Hello, how can I help?")
        ]

    def test_a_turn_stands_in_the_chat_with_ids_and_times(self, sdk: Retell, clock: Clock) -> None:
        chat_id = opened(sdk)
        clock.now += 5
        answer = sdk.chat.create_chat_completion(chat_id=chat_id, content="one\ntwo")
        chat = sdk.chat.retrieve(chat_id)
        items = chat.message_with_tool_calls or []
        assert [(m.role, m.content) for m in items] == [
            ("user", "one\ntwo"),
            ("agent", "re: one"),
            ("agent", "re: two"),
        ]
        assert [m.message_id for m in items[1:]] == [m.message_id for m in answer.messages]
        assert len({m.message_id for m in items}) == 3
        assert {m.created_timestamp for m in items} == {1_790_000_005_000}
        assert chat.transcript == "User: one\ntwo\nAgent: re: one\nAgent: re: two"

    def test_the_question_is_there_while_the_agent_still_thinks(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        simulator.faults.next("agent_slow", seconds=0.3)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(said, sdk, chat_id, "hi")
            until(lambda: simulator.ledger.of(Received))
            assert simulator.agent.thinking() == {ANA}
            assert [m.role for m in sdk.chat.retrieve(chat_id).message_with_tool_calls or []] == ["user"]
            assert answer.result() == ["re: hi"]
        assert simulator.agent.thinking() == set()

    def test_several_messages_can_answer_one_line(self) -> None:
        simulator = Simulator(SimulatorSettings(echo=True, n_answers=2))
        with serve(simulator) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
            assert said(sdk, opened(sdk), "hi") == ["re: hi (1/2)", "re: hi (2/2)"]

    def test_an_ended_chat_takes_nothing_any_more(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        sdk.chat.end(chat_id)
        for call in (lambda: said(sdk, chat_id, "hi"), lambda: sdk.chat.end(chat_id)):
            with pytest.raises(retell.BadRequestError, match="Chat already ended"):
                call()
        chat = sdk.chat.retrieve(chat_id)
        assert (chat.chat_status, chat.end_timestamp) == ("ended", 1_790_000_000_000)
        assert simulator.agent.received() == []

    def test_it_closes_by_itself_after_an_hour_of_silence(
        self, simulator: Simulator, sdk: Retell, clock: Clock
    ) -> None:
        chat_id = opened(sdk)
        clock.now += HOUR - 1
        said(sdk, chat_id, "still here")
        clock.now += HOUR - 1
        assert sdk.chat.retrieve(chat_id).chat_status == "ongoing"
        clock.now += 1
        with pytest.raises(retell.BadRequestError, match="already ended"):
            said(sdk, chat_id, "too late")
        assert [event.why for event in simulator.ledger.of(ChatClosed)] == ["silence"]

    def test_the_agent_s_last_words_stand_in_a_chat_that_closes_by_itself(self, clock: Clock) -> None:
        simulator = Simulator(SimulatorSettings(auto_close_message="Bye!", clock=clock))
        with serve(simulator) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
            by_silence, by_the_bridge = opened(sdk), opened(sdk)
            sdk.chat.end(by_the_bridge)
            clock.now += HOUR
            for chat_id, words in ((by_silence, ["Bye!"]), (by_the_bridge, [])):
                chat = sdk.chat.retrieve(chat_id)
                assert chat.chat_status == "ended"
                assert [item.content for item in chat.message_with_tool_calls or []] == words
        assert [event.content for event in simulator.ledger.of(ClosingWords)] == ["Bye!"]

    def test_it_can_be_updated_and_deleted(self, sdk: Retell) -> None:
        chat_id = opened(sdk, metadata={"a": 1})
        sdk.chat.update(chat_id, metadata={"b": 2}, override_dynamic_variables={"name": "Ana"})
        chat = sdk.chat.retrieve(chat_id)
        assert chat.metadata == {"b": 2}
        assert chat.retell_llm_dynamic_variables == {"sms_user_number": ANA, "name": "Ana"}
        with pytest.raises(retell.BadRequestError):
            sdk.chat.update(chat_id, extra_body={"chat_status": "ended"})
        sdk.chat.delete(chat_id)
        with pytest.raises(retell.UnprocessableEntityError):
            sdk.chat.retrieve(chat_id)


class TestListing:
    def test_the_newest_comes_first_without_transcript(self, sdk: Retell) -> None:
        chats = [opened(sdk) for _ in range(3)]
        page = sdk.chat.list()
        assert [item.chat_id for item in page.items] == chats[::-1]
        assert page.has_more is False
        assert page.items[0].message_with_tool_calls is None
        assert [i.chat_id for i in sdk.chat.list(sort_order="ascending").items] == chats

    def test_the_pages_hold_every_chat_once(self, sdk: Retell) -> None:
        chats = [opened(sdk) for _ in range(5)]
        found: list[str] = []
        key: dict[str, str] = {}
        while True:
            page = sdk.chat.list(limit=2, include_total=True, **key)
            found += [item.chat_id for item in page.items]
            assert page.total == 5
            if not page.has_more:
                break
            key = {"pagination_key": page.pagination_key or ""}
        assert found == chats[::-1]
        assert [i.chat_id for i in sdk.chat.list(skip=3).items] == chats[1::-1]

    def test_it_filters_by_status_agent_and_start(self, sdk: Retell, clock: Clock) -> None:
        old, ended = opened(sdk), opened(sdk)
        sdk.chat.end(ended)
        clock.now += 60
        new = opened(sdk)

        def found(**criteria: Any) -> list[str]:
            return [item.chat_id for item in sdk.chat.list(filter_criteria=criteria).items]

        ongoing = {"type": "enum", "op": "in", "value": ["ongoing"]}
        assert found(chat_status=ongoing) == [new, old]
        assert found(chat_status={**ongoing, "value": ["ended", "error"]}) == [ended]
        assert found(agent=[{"agent_id": "agent_simulated"}], chat_status=ongoing) == [new, old]
        assert found(agent=[{"agent_id": "agent_other"}]) == []
        since = {"type": "number", "op": "ge", "value": clock.now * 1000}
        assert found(start_timestamp=since) == [new]

    def test_a_filter_of_the_wrong_type_is_refused(self, sdk: Retell) -> None:
        opened(sdk)
        for wrong in ({"type": "enum", "op": "ge", "value": 1}, {"op": "ge", "value": 1}, {"type": "text", "op": "eq"}):
            with pytest.raises(retell.BadRequestError):
                sdk.chat.list(filter_criteria={"start_timestamp": wrong})  # type: ignore[typeddict-item]

    def test_the_list_shows_the_metadata_unless_it_is_told_not_to(self, clock: Clock) -> None:
        for lists_metadata in (True, False):
            simulator = Simulator(SimulatorSettings(clock=clock, lists_metadata=lists_metadata))
            with serve(simulator) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
                opened(sdk, metadata={"turn_id": "3"})
                [item] = sdk.chat.list().items
                assert item.metadata == ({"turn_id": "3"} if lists_metadata else None)
                assert item.message_with_tool_calls is None

    def test_a_list_that_lags_shows_a_chat_a_moment_later(self, clock: Clock) -> None:
        simulator = Simulator(SimulatorSettings(clock=clock, listed_after=5))
        with serve(simulator) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
            chat_id = opened(sdk)
            assert sdk.chat.list().items == []
            assert sdk.chat.retrieve(chat_id).chat_id == chat_id
            clock.now += 5
            assert [item.chat_id for item in sdk.chat.list().items] == [chat_id]

    def test_the_ledger_counts_the_chats_of_a_turn_whatever_the_bridge_learns(
        self, sdk: Retell, simulator: Simulator
    ) -> None:
        """Pre-session tools run once for each of them."""
        for fault in ("agent_cut", "agent_500_after"):
            simulator.faults.next(fault, calls=["create"])
            with pytest.raises(retell.APIError):
                opened(sdk, metadata={"turn_id": "3"})
        simulator.faults.next("agent_cut_before", calls=["create"])
        with pytest.raises(retell.APIConnectionError):
            opened(sdk, metadata={"turn_id": "4"})
        assert [event.turn for event in simulator.ledger.of(ChatOpened)] == ["3", "3"]


class TestContacts:
    def test_the_sdk_creates_finds_and_changes_a_contact(self, sdk: Retell, simulator: Simulator) -> None:
        made = sdk.contact.create(phone_number=ANA, first_name="Ana", do_not_call=True, custom_fields={"plan": "gold"})
        assert sdk.contact.get_by_phone(ANA) == made
        changed = sdk.contact.update(made.contact_id, do_not_call=False, contact_memory="likes tea")
        assert (changed.first_name, changed.contact_memory, changed.do_not_call) == ("Ana", "likes tea", False)
        assert sdk.contact.update(made.contact_id, contact_memory=None).contact_memory is None
        assert [(event.phone, event.do_not_call) for event in simulator.ledger.of(ContactChanged)] == [
            (ANA, True),
            (ANA, False),
        ]
        assert len(simulator.ledger.of(ContactRead)) == 1

    def test_a_contact_that_is_not_there_is_not_found(self, sdk: Retell) -> None:
        with pytest.raises(retell.NotFoundError):
            sdk.contact.get_by_phone(ANA)
        with pytest.raises(retell.NotFoundError):
            sdk.contact.update("contact_unknown", do_not_call=True)

    def test_a_number_has_one_contact_and_its_whole_form(self, sdk: Retell) -> None:
        sdk.contact.create(phone_number=ANA)
        for phone in (ANA, "5551230001", "whatsapp:+15551230001"):
            with pytest.raises(retell.BadRequestError):
                sdk.contact.create(phone_number=phone)

    @pytest.mark.parametrize("call", ["contact_get", "contact_create", "contact_update"])
    def test_each_call_may_fail(self, sdk: Retell, simulator: Simulator, call: str) -> None:
        contact = sdk.contact.create(phone_number=BEN)
        calls = {
            "contact_get": lambda: sdk.contact.get_by_phone(BEN),
            "contact_create": lambda: sdk.contact.create(phone_number=ANA),
            "contact_update": lambda: sdk.contact.update(contact.contact_id, first_name="Ben"),
        }
        for fault, error in (
            ("agent_500", retell.InternalServerError),
            ("agent_401", retell.AuthenticationError),
            ("agent_cut", retell.APIConnectionError),
        ):
            simulator.faults.next(fault, calls=[call])
            with pytest.raises(error):
                calls[call]()


class TestRefusals:
    def test_a_wrong_key_is_refused_in_retells_words(self, address: str) -> None:
        with Retell(api_key="key_wrong", base_url=address) as sdk, pytest.raises(retell.AuthenticationError) as error:
            opened(sdk)
        assert error.value.body == {"status": "error", "message": "API key is missing or invalid."}

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("/create-chat", {"agent_id": "agent_other"}, 422),
            ("/create-chat", {}, 422),
            ("/create-chat", {"agent_id": "agent_simulated", "retell_llm_dynamic_variables": {"n": 1}}, 400),
            ("/create-chat", {"agent_id": "agent_simulated", "retell_llm_dynamic_variables": ["n"]}, 400),
            ("/create-chat-completion", {"chat_id": "chat_unknown", "content": "hi"}, 422),
            ("/create-chat-completion", {"content": "hi"}, 422),
            ("/create-chat-completion", ["hi"], 400),
        ],
    )
    def test_what_retell_would_refuse_is_refused(self, address: str, path: str, body: Any, status: int) -> None:
        key = {"Authorization": "Bearer key_simulated"}
        answer = httpx.post(address + path, json=body, headers=key)
        assert (answer.status_code, answer.json()["status"]) == (status, "error")

    @pytest.mark.parametrize("content", ["", "  ", None])
    def test_nothing_can_not_be_said(self, sdk: Retell, address: str, content: str | None) -> None:
        with pytest.raises(retell.BadRequestError):
            sdk.chat.create_chat_completion(chat_id=opened(sdk), content=content)  # type: ignore[arg-type]

    def test_reserved_variables_are_refused_where_that_is_set(self, simulator: Simulator, sdk: Retell) -> None:
        assert sdk.chat.create(agent_id="agent_simulated", retell_llm_dynamic_variables={"user_number": ANA})
        strict = Simulator(SimulatorSettings(reject_reserved_variables=True))
        with serve(strict) as address, Retell(api_key="key_simulated", base_url=address) as sdk:
            with pytest.raises(retell.BadRequestError, match="reserved"):
                sdk.chat.create(agent_id="agent_simulated", retell_llm_dynamic_variables={"user_number": ANA})
            assert opened(sdk)


class TestLedger:
    @pytest.mark.parametrize(
        "told",
        [
            {"retell_llm_dynamic_variables": {"sms_user_number": ANA}},
            {"retell_llm_dynamic_variables": {"user_number": ANA}},
            {"metadata": {"phone": ANA}},
            {"metadata": {"sms_user_number": ANA}},
        ],
    )
    def test_it_knows_who_was_heard(self, simulator: Simulator, sdk: Retell, told: dict[str, Any]) -> None:
        chat = sdk.chat.create(agent_id="agent_simulated", **told)
        said(sdk, chat.chat_id, "hi")
        assert [(e.chat, e.phone, e.content) for e in simulator.ledger.of(Received)] == [(chat.chat_id, ANA, "hi")]
        assert [(e.chat, e.phone, e.content) for e in simulator.ledger.of(Replied)] == [(chat.chat_id, ANA, "re: hi")]
        assert simulator.agent.received(ANA) == ["hi"]
        assert simulator.agent.received(BEN) == []

    def test_two_completions_at_once_are_the_bridges_mistake(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        simulator.faults.next("agent_slow", seconds=0.2)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(said, sdk, chat_id, "one")
            until(lambda: simulator.ledger.of(Received))
            said(sdk, chat_id, "two")
            first.result()
        assert [(event.name, event.phone) for event in simulator.ledger.of(Wrong)] == [("parallel", ANA)]

    def test_one_after_the_other_is_fine(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        said(sdk, chat_id, "one")
        said(sdk, chat_id, "two")
        assert simulator.ledger.of(Wrong) == []


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "received"),
        [
            ("agent_401", retell.AuthenticationError, False),
            ("agent_429", retell.RateLimitError, False),
            ("agent_500", retell.InternalServerError, False),
            ("agent_500_after", retell.InternalServerError, True),
            ("agent_cut_before", retell.APIConnectionError, False),
            ("agent_cut", retell.APIConnectionError, True),
            ("agent_chat_ended", retell.BadRequestError, False),
        ],
    )
    def test_an_error_says_nothing_about_what_was_heard(
        self, simulator: Simulator, sdk: Retell, fault: str, error: type[Exception], received: bool
    ) -> None:
        chat_id = opened(sdk)
        simulator.faults.next(fault)
        with pytest.raises(error):
            said(sdk, chat_id, "hi")
        until(lambda: not simulator.agent.thinking())
        assert simulator.agent.received() == (["hi"] if received else [])
        chat = sdk.chat.retrieve(chat_id)
        roles = [item.role for item in chat.message_with_tool_calls or []]
        assert roles == (["user", "agent"] if received else [])
        assert chat.chat_status == ("ended" if fault == "agent_chat_ended" else "ongoing")
        assert [event.name for event in simulator.ledger.of(FaultStruck)] == [fault]

    def test_garbage_is_a_web_page_with_a_201(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        simulator.faults.next("agent_garbage")
        raw = sdk.chat.with_raw_response.create_chat_completion(chat_id=chat_id, content="hi")
        assert (raw.http_response.status_code, raw.headers["content-type"]) == (201, "text/html")
        assert simulator.agent.received() == ["hi"]

    def test_a_429_says_when_to_come_back(self, simulator: Simulator, sdk: Retell) -> None:
        simulator.faults.next("agent_429", retry_after=2)
        with pytest.raises(retell.RateLimitError) as error:
            said(sdk, opened(sdk), "hi")
        assert error.value.response.headers["Retry-After"] == "2"

    def test_a_refused_account_is_refused_everywhere(self, simulator: Simulator, sdk: Retell) -> None:
        chat_id = opened(sdk)
        simulator.faults.set("agent_401")
        for call in (lambda: opened(sdk), lambda: sdk.chat.retrieve(chat_id), lambda: sdk.chat.list()):
            with pytest.raises(retell.AuthenticationError):
                call()

    @pytest.mark.parametrize("fault", ["agent_cut", "agent_500_after"])
    def test_other_calls_can_be_hit_when_it_is_aimed_at_them(
        self, simulator: Simulator, sdk: Retell, fault: str
    ) -> None:
        simulator.faults.next(fault, calls=["create"])
        with pytest.raises(retell.APIError):
            opened(sdk)
        assert len(sdk.chat.list().items) == 1, "the stray chat is there"

    def test_the_sdk_repeats_by_default_what_it_should_not(self, simulator: Simulator, address: str) -> None:
        """Why the bridge speaks to the API without the SDK's own repetitions: the agent hears it twice."""
        simulator.faults.next("agent_500_after")
        with Retell(api_key="key_simulated", base_url=address) as sdk:
            said(sdk, opened(sdk), "hi")
        assert simulator.agent.received() == ["hi", "hi"]


class TestEvents:
    def test_they_are_signed_over_the_raw_body_and_the_time(self) -> None:
        taken: list[tuple[bytes, str]] = []
        simulator = Simulator(SimulatorSettings())
        with receiving(taken) as url, serve(simulator) as address:
            simulator.events_url = url
            with Retell(api_key="key_simulated", base_url=address) as sdk:
                sdk.chat.end(opened(sdk))
            until(lambda: len(taken) == 3)
        bodies = [body for body, _ in taken]
        assert [b'"event": "%s"' % name in body for name, body in zip(EVENTS, bodies, strict=True)] == [True] * 3
        for body, signature in taken:
            stamp, digest = signature.removeprefix("v=").split(",d=")
            assert digest == hmac.new(b"key_simulated", body + stamp.encode(), hashlib.sha256).hexdigest()
        chats = [json.loads(body)["chat"] for body in bodies]
        assert ["chat_analysis" in chat for chat in chats] == [False, False, True]


EVENTS = (b"chat_started", b"chat_ended", b"chat_analyzed")


@contextmanager
def receiving(taken: list[tuple[bytes, str]]) -> Iterator[str]:
    """A bridge's web side that takes events."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((body, self.headers["X-Retell-Signature"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/retell/events"
        server.shutdown()
        thread.join()
