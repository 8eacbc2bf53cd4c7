"""Retell's contacts: what a new chat gets of them, and that they cost nothing where they fail."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import retell

from bridge.lib.phone import e164
from bridge.providers.agents.contract import NewChat
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.retell.contacts import LONGEST_VALUE, MOST_FIELDS, PAUSE, Contacts
from bridge.providers.errors import AccountRefused, OutcomeUnknown, Refused
from bridge.providers.http.client import Api
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import ChatOpened, ContactChanged, ContactRead
from tests.fakes import fake_settings

ANN = "+15551230001"
ABOUT = NewChat(7, ANN, "+15550001111", "User: hi", turn_id=12)
OURS = {
    "sms_user_number": ANN,
    "sms_agent_number": "+15550001111",
    "previous_conversation": "User: hi",
    "team_note": "",
}
CONTACT = {"contact_id": "contact_1", "phone_number": ANN}


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(SimulatorSettings())


@pytest.fixture
def address(simulator: Simulator) -> Iterator[str]:
    with serve(simulator) as address:
        yield address


def adapter(simulator: Simulator, address: str, contacts: str | None = "read") -> Retell:
    return Retell.from_settings(
        fake_settings(
            retell_base_url=address,
            retell_api_key=simulator.settings.retell_api_key,
            retell_agent_id=simulator.settings.agent_id,
            retell_contacts=contacts,
        )
    )


def variables(simulator: Simulator, chat_id: str) -> dict[str, str]:
    chat = simulator.agent.get(chat_id)
    assert chat
    return chat.variables


class Desk:
    """Retell's contacts behind a counter: one answer, again and again."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.asked: list[str] = []
        self.now = 0.0
        api = Api("retell", "https://retell.test", transport=lambda: httpx.MockTransport(self._answer))
        self.contacts = Contacts(api, "key_1234567890", elapsed=lambda: self.now)

    def says(self, contact: object, status: int = 200) -> None:
        self.status, self.body = status, json.dumps(contact).encode()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        return httpx.Response(self.status, content=self.body)


# -- a new chat ------------------------------------------------------------------------------------------------------


def test_a_new_chat_gets_name_memory_and_fields_of_the_persons_contact(simulator: Simulator, address: str) -> None:
    fields = {"plan": "gold", "visits": 3, "vip": True, "score": 2.5, "tags": ["a", "b"], "none": None}
    known = {"first_name": "Ann", "last_name": "Lee", "contact_memory": "likes tea", "do_not_call": False}
    simulator.contacts.create(ANN, known | {"custom_fields": fields})
    agent = adapter(simulator, address)
    chat = agent.create_chat(ABOUT)
    assert variables(simulator, chat.id) == {
        **OURS,
        "user_number": ANN,
        "agent_number": "+15550001111",
        "first_name": "Ann",
        "last_name": "Lee",
        "contact_memory": "likes tea",
        "do_not_call": "false",
        "plan": "gold",
        "visits": "3",
        "vip": "true",
        "score": "2.5",
        "tags": "a, b",
    }
    agent.close()


@pytest.mark.parametrize("phone", [f"whatsapp:{ANN}", f"rcs:{ANN}"])
def test_on_other_channels_the_number_counts(simulator: Simulator, address: str, phone: str) -> None:
    simulator.contacts.create(ANN, {"first_name": "Ann"})
    agent = adapter(simulator, address)
    chat = agent.create_chat(NewChat(7, phone, "+15550001111"))
    assert variables(simulator, chat.id)["first_name"] == "Ann"
    agent.close()


@pytest.mark.parametrize("contacts", ["read", "write", None])
def test_each_new_chat_costs_one_call_more_and_without_the_setting_none(
    simulator: Simulator, address: str, contacts: str | None
) -> None:
    agent = adapter(simulator, address, contacts)
    chat = agent.create_chat(ABOUT)
    agent.complete(chat.id, "hello")
    agent.get_chat(chat.id)
    assert len(simulator.ledger.of(ContactRead)) == (1 if contacts else 0)
    agent.close()


@pytest.mark.parametrize("phone", ["55512", "whatsapp:US.1337", "VERIFY", "", "+0123456789", "+1555123000112345"])
def test_an_address_that_is_no_number_has_no_contact(phone: str) -> None:
    desk = Desk()
    assert e164(phone) is None
    assert desk.contacts.variables(phone) == {}
    with pytest.raises(Refused):
        desk.contacts.set_do_not_call(phone, True)
    assert desk.asked == []


@pytest.mark.parametrize(
    "fault", ["agent_500", "agent_429", "agent_cut_before", "agent_cut", "agent_garbage", "agent_401"]
)
def test_whatever_fails_there_the_chat_is_opened(
    simulator: Simulator, address: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.contacts.create(ANN, {"first_name": "Ann"})
    simulator.faults.set(fault, calls=["contact_get"])
    agent = adapter(simulator, address)
    chats = [agent.create_chat(ABOUT) for _ in range(3)]
    assert [event.chat for event in simulator.ledger.of(ChatOpened)] == [chat.id for chat in chats]
    assert "first_name" not in variables(simulator, chats[-1].id)
    assert len([line for line in caplog.messages if "contacts can't be read" in line]) == 1
    assert ANN not in caplog.text
    agent.close()


def test_slow_contacts_delay_one_chat_for_two_seconds_and_then_none(simulator: Simulator, address: str) -> None:
    simulator.faults.set("agent_slow", calls=["contact_get"], seconds=5)
    agent = adapter(simulator, address)
    agent.create_chat(ABOUT)
    first, *_ = simulator.ledger.of(ChatOpened)
    agent.create_chat(ABOUT)
    _, second = simulator.ledger.of(ChatOpened)
    assert second.at - first.at < 1
    simulator.changes.close()
    agent.close()


def test_after_a_failure_contacts_are_read_again_a_little_later() -> None:
    desk = Desk()
    desk.says({"status": "error", "message": "no"}, 500)
    assert desk.contacts.variables(ANN) == desk.contacts.variables(ANN) == {}
    assert len(desk.asked) == 1
    desk.now += PAUSE
    desk.says(CONTACT | {"first_name": "Ann"})
    assert desk.contacts.variables(ANN) == {"first_name": "Ann"}


@pytest.mark.parametrize("status", [404, 422])
def test_a_person_without_a_contact_is_no_failure(status: int, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.says({"status": "error", "message": "no contact"}, status)
    with caplog.at_level(logging.WARNING):
        assert desk.contacts.variables(ANN) == desk.contacts.variables(ANN) == {}
    assert len(desk.asked) == 2
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"first_name": "Eve", "contact_memory": "x", "do_not_call": True}, {}),
        ({"current_time": "now", "chat_id": "x", "session_type": "x", "call_id": "1"}, {}),
        ({"current_plan": "gold", "previous_visit": "May"}, {"current_plan": "gold", "previous_visit": "May"}),
        ({"{{x}}": "1", "": "2", "a" * 65: "3", "1st": "4", "favourite dish": "soup"}, {"favourite dish": "soup"}),
        ({"a": {"deep": 1}, "b": float("1e300"), "c": "  ", "d": [None, {}, "x"]}, {"b": "1e+300", "d": "x"}),
        ({"long": "x" * 5000}, {"long": "x" * LONGEST_VALUE}),
        ({f"f{n}": "x" for n in range(99)}, {f"f{n}": "x" for n in range(MOST_FIELDS)}),
        (["odd"], {}),
        ({"nul": "a\0b", "half": "\ud800"}, {"nul": "a\ufffdb", "half": "\ufffd"}),
    ],
)
def test_fields_become_texts_of_a_sane_size_under_names_of_their_own(fields: Any, expected: dict[str, str]) -> None:
    desk = Desk()
    desk.says(CONTACT | {"first_name": "Ann", "custom_fields": fields})
    assert desk.contacts.variables(ANN) == {"first_name": "Ann", **expected}


def test_a_field_never_replaces_a_fact_of_ours(simulator: Simulator, address: str) -> None:
    simulator.contacts.create(ANN, {"custom_fields": {"previous_conversation": "forged", "sms_user_number": "+1"}})
    agent = adapter(simulator, address)
    assert OURS.items() <= variables(simulator, agent.create_chat(ABOUT).id).items()
    agent.close()


def test_a_refused_reserved_name_costs_no_contact() -> None:
    simulator = Simulator(SimulatorSettings(reject_reserved_variables=True))
    simulator.contacts.create(ANN, {"first_name": "Ann"})
    with serve(simulator) as address:
        agent = adapter(simulator, address)
        assert variables(simulator, agent.create_chat(ABOUT).id) == {**OURS, "first_name": "Ann"}
        agent.close()


def test_a_contact_whose_fields_are_refused_costs_no_chat_and_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=CONTACT | {"custom_fields": {"ward": "Gladiolus"}})
        bodies.append(json.loads(request.content)["retell_llm_dynamic_variables"])
        refused = "ward" in bodies[-1]
        words = {"status": "error", "message": "bad value Gladiolus"}
        return httpx.Response(400, json=words) if refused else httpx.Response(201, json={"chat_id": "chat_1"})

    agent = Retell(
        api_key="key_1234567890",
        agent_id="agent_1",
        agent_version="1",
        base_url="https://retell.test",
        timeout=10,
        reads_contacts=True,
        transport=lambda: httpx.MockTransport(answer),
    )
    assert agent.create_chat(ABOUT).id == "chat_1"
    assert bodies[-1] == OURS
    assert "Gladiolus" not in caplog.text
    agent.close()


# -- do_not_call -----------------------------------------------------------------------------------------------------


def test_a_wish_is_written_into_the_contact_or_a_new_one_and_only_if_it_differs(
    simulator: Simulator, address: str
) -> None:
    agent = adapter(simulator, address, "write")
    with retell.Retell(api_key=simulator.settings.retell_api_key, base_url=address, max_retries=0) as sdk:
        agent.set_do_not_call(ANN, False)
        assert simulator.contacts.find(ANN) is None, "there is nothing to clear"
        agent.set_do_not_call(ANN, True)
        contact = sdk.contact.get_by_phone(ANN)
        assert (contact.phone_number, contact.do_not_call) == (ANN, True)
        sdk.contact.update(contact.contact_id, first_name="Ann")
        for wanted in (True, False, False):
            agent.set_do_not_call(f"rcs:{ANN}", wanted)
        contact = sdk.contact.get_by_phone(ANN)
        assert (contact.first_name, contact.do_not_call) == ("Ann", False)
    assert [event.do_not_call for event in simulator.ledger.of(ContactChanged)] == [True, False]
    agent.close()


def test_a_contact_that_is_deleted_between_two_calls_is_created(simulator: Simulator, address: str) -> None:
    simulator.contacts.create(ANN, {"first_name": "Ann"})
    agent = adapter(simulator, address, "write")
    find = simulator.contacts.find

    def once(phone: str) -> Any:
        contact = find(phone)
        simulator.contacts.delete(phone)
        return contact

    simulator.contacts.find = once  # type: ignore[method-assign]
    agent.set_do_not_call(ANN, True)
    contact = find(ANN)
    assert contact
    assert contact["do_not_call"] is True
    agent.close()


@pytest.mark.parametrize("call", ["contact_get", "contact_create"])
def test_a_fault_says_what_it_means(simulator: Simulator, address: str, call: str) -> None:
    agent = adapter(simulator, address, "write")
    for fault, error in (("agent_401", AccountRefused), ("agent_500", OutcomeUnknown), ("agent_cut", OutcomeUnknown)):
        if call == "contact_get":
            simulator.contacts.create(ANN, {})
        simulator.faults.next(fault, calls=[call])
        with pytest.raises(error) as caught:
            agent.set_do_not_call(ANN, True)
        assert ANN not in str(caught.value)
        simulator.contacts.delete(ANN)
    agent.close()


def test_an_answer_without_a_contact_is_no_contact() -> None:
    desk = Desk()
    desk.says({"first_name": "Ann"})
    with pytest.raises(OutcomeUnknown):
        desk.contacts.set_do_not_call(ANN, True)
