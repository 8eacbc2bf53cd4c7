"""Our adapters and our simulated agents, held by Prism against what Retell and UponAI say about their APIs.

``test_documents`` does the same without Prism in every run. Here another judge looks, over sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bridge.providers.agents.contract import Agent, NewChat
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.providers.test_agents_contract import retell, uponai
from tests.scene import ANN, NUMBER
from tests.second_opinion.conftest import Prism
from tests.second_opinion.documents import document
from tests.second_opinion.relay import Relay, relay
from tests.second_opinion.test_documents import BYE, TABLE, WRONG
from tests.second_opinion.test_openapi import faults

ADAPTERS = {"retell": retell, "uponai": uponai}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=list(ADAPTERS))
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def prism(provider: str, prism_on: Callable[[Path], Prism]) -> Prism:
    return prism_on(document(provider).path)


@pytest.fixture(scope="module")
def mock(prism: Prism) -> Iterator[Relay]:
    """The document as a server."""
    with relay(prism.mock()) as between:
        yield between


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulatorSettings(greeting="Welcome!"))


@pytest.fixture(scope="module")
def simulated(prism: Prism, simulator: Simulator) -> Iterator[Relay]:
    """Our simulator behind the document."""
    with serve(simulator) as vendors, relay(prism.before(vendors)) as between:
        yield between


@contextmanager
def agent_at(provider: str, address: str) -> Iterator[Agent]:
    agent = ADAPTERS[provider](Simulator(SimulatorSettings()), address)
    yield agent
    agent.close()


def every_call(agent: Agent) -> None:
    chat = agent.create_chat(NewChat(1, ANN, NUMBER, "User: hé 👍\nAgent: hello"))
    for said in ("Hé, 10:00 ok? 👍", TABLE, "two\nlines"):
        agent.complete(chat.id, said)
    agent.get_chat(chat.id)
    agent.list_chats()
    agent.list_chats(ongoing_only=True, limit=1, after=chat.id)
    agent.end_chat(chat.id)


DONE = {201, 200, 204}
REFUSED = {400, 404, 405, 422}


def test_every_call_is_one_that_the_document_knows(mock: Relay, provider: str) -> None:
    mock.passed.clear()
    with agent_at(provider, mock.address) as agent:
        every_call(agent)
    assert {asked.status for asked in mock.passed} == DONE
    assert faults(mock.passed) == set()


def test_our_simulator_answers_as_the_document_says(simulated: Relay, provider: str) -> None:
    simulated.passed.clear()
    with agent_at(provider, simulated.address) as agent:
        for _ in range(2):
            every_call(agent)
        chat = agent.create_chat(NewChat(1, ANN, NUMBER))
        agent.complete(chat.id, BYE)
        agent.get_chat(chat.id)
    assert {asked.status for asked in simulated.passed} == DONE
    assert faults(simulated.passed) == set()


def test_prism_refuses_what_the_document_does_not_allow(mock: Relay, provider: str) -> None:
    wrong = [case[1:] for case in WRONG if case[0] == provider]
    with httpx.Client(base_url=mock.address, headers={"Authorization": "Bearer key"}) as http:
        answers = [(http.request(method, path, json=body).status_code, path, body) for method, path, body in wrong]
    assert [answer for answer in answers if answer[0] not in REFUSED] == []
    assert len(answers) > 10


def test_prism_refuses_a_request_without_a_key(mock: Relay, provider: str) -> None:
    path = {"retell": "/get-chat/c", "uponai": "/api/chats/c?workspaceId=1"}[provider]
    assert httpx.get(f"{mock.address}{path}").status_code == 401
    assert httpx.get(f"{mock.address}{path}", headers={"Authorization": "Bearer key"}).status_code == 200


def test_an_answer_that_the_document_does_not_know_is_noticed(prism: Prism, provider: str) -> None:
    """Roles that Retell has, and that UponAI's document does not."""
    simulator = Simulator(SimulatorSettings(uponai_passes_roles_on=True))
    with (
        serve(simulator) as vendors,
        relay(prism.before(vendors)) as between,
        agent_at(provider, between.address) as agent,
    ):
        chat = agent.create_chat(NewChat(1, ANN, NUMBER))
        agent.complete(chat.id, TABLE)
        assert bool(faults(between.passed)) is (provider == "uponai")
