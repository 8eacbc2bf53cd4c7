"""Our adapter and our pretended Twilio, held against Twilio's own OpenAPI document by Prism.

Prism knows shapes and nothing else: as a mock it gives the document's examples, whatever was sent; as a proxy it says
what is wrong with a request or an answer, and hands both on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bridge.providers.carriers.contract import Carrier, Delivery, OutgoingText
from bridge.providers.carriers.registry import build_carrier
from bridge.providers.carriers.twilio.client import PAGE_SIZE
from bridge.providers.errors import OutcomeUnknown
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.fakes import fake_settings
from tests.scene import ANN, NUMBER
from tests.second_opinion.conftest import Prism
from tests.second_opinion.relay import Passed, Relay, relay

ACCOUNT = "/2010-04-01/Accounts/{AccountSid}"
MESSAGES = f"{ACCOUNT}/Messages.json"
MESSAGE = "api.v2010.account.message"
SERVICE = "MG" + "0" * 32

LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC)
"""Older than the examples of the document."""

PATHS = {(name, "format") for name in ("uri", "first_page_uri", "next_page_uri", "previous_page_uri")}
"""The document wants whole addresses there, but its own examples have paths."""

pytestmark = pytest.mark.timeout(120)


def last_page(path: str) -> dict[str, str]:
    """Let the page after the first one be empty: the document's example of a page leads to itself."""
    return {"Prefer": "example=readEmptySentdateLess"} if "PageToken" in path else {}


@pytest.fixture(scope="module")
def mock(prism: Prism) -> Iterator[Relay]:
    """The document as a server."""
    with relay(prism.mock()) as between:
        between.more = last_page
        yield between


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    simulator = Simulator(SimulatorSettings(messaging_service_sid=SERVICE))
    simulator.faults.set("webhooks_lost")
    return simulator


@pytest.fixture(scope="module")
def simulated(prism: Prism, simulator: Simulator) -> Iterator[Relay]:
    """Our simulator behind the document."""
    with serve(simulator) as vendors, relay(prism.before(vendors)) as between:
        yield between


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    for name in {"mock", "simulated"} & set(request.fixturenames):
        request.getfixturevalue(name).passed.clear()


@contextmanager
def carrier_to(between: Relay, **settings: Any) -> Iterator[Carrier]:
    simulated = SimulatorSettings()
    ours = {"twilio_account_sid": simulated.account_sid, "twilio_auth_token": simulated.auth_token}
    carrier = build_carrier(fake_settings(twilio_api_base_url=between.address, **ours, **settings))
    try:
        yield carrier
    finally:
        carrier.close()


def outgoing(body: str = "Hé, 10:00 ok? 👍") -> OutgoingText:
    return OutgoingText(reference="r1", sender=NUMBER, recipient=ANN, body=body)


def faults(passed: Iterable[Passed]) -> set[tuple[str, str | None]]:
    """What Prism holds against requests and answers: which field, and why. An error's status is in no document."""
    found = [one for each in passed for one in each.violations if one["severity"] == "Error"]
    return {(one["location"][-1], one.get("code")) for one in found}


def names_of(document: dict[str, Any], method: str, path: str) -> set[str]:
    """What a call may carry, in its query or its form."""
    call = document["paths"][path][method]
    names = {parameter["name"] for parameter in call["parameters"] if parameter["in"] == "query"}
    for content in call.get("requestBody", {}).get("content", {}).values():
        names |= set(content["schema"]["properties"])
    return names


# -- what we ask ---------------------------------------------------------------------------------------------------


def test_prism_refuses_what_the_document_does_not_allow(mock: Relay) -> None:
    path = MESSAGES.format(AccountSid="AC" + "0" * 32)
    with httpx.Client(base_url=mock.address, auth=("AC" + "0" * 32, "token")) as http:
        assert http.post(path, data={"From": NUMBER, "Body": "hello"}).status_code == 422
        assert http.get(path, params={"PageSize": 1001}).status_code == 422
        assert http.get(path.replace("AC", "AD")).status_code == 422
    assert httpx.get(f"{mock.address}{path}").status_code == 401


@pytest.mark.parametrize("settings", [{}, {"twilio_messaging_service_sid": SERVICE}], ids=["number", "service"])
def test_every_call_is_one_that_the_document_knows(mock: Relay, prism: Prism, settings: dict[str, str]) -> None:
    with carrier_to(mock, **settings) as carrier:
        carrier.send(outgoing())
        carrier.sent_to(ANN, NUMBER, LONG_AGO)
        list(carrier.received_by(NUMBER, datetime.now(UTC)))
    assert {(asked.method, asked.status) for asked in mock.passed} == {("POST", 201), ("GET", 200)}
    assert faults(mock.passed) <= PATHS
    for asked in mock.passed:
        assert {*asked.query, *asked.form} <= names_of(prism.document, asked.method.lower(), MESSAGES)


def test_a_text_that_is_not_shown_as_it_was_sent_is_taken_all_the_same(mock: Relay) -> None:
    with carrier_to(mock) as carrier:
        taken = carrier.send(outgoing())
    assert (taken.id, taken.status, taken.body) == ("SM" + "a" * 32, Delivery.QUEUED, "Hello! 👍")


def test_the_example_of_a_list_is_understood(mock: Relay) -> None:
    with carrier_to(mock) as carrier:
        found, *_ = carrier.sent_to(ANN, NUMBER, LONG_AGO)
    assert (found.body, found.status) == ("testing", Delivery.SENT)
    assert found.created_at == datetime(2019, 5, 24, 17, 44, 46, tzinfo=UTC)


def test_a_list_whose_next_page_is_always_the_same_comes_to_an_end(
    mock: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what came, all is taken that can be had. What was sent must not be judged by such a list."""
    monkeypatch.setattr(mock, "more", lambda path: {})
    with carrier_to(mock) as carrier:
        list(carrier.received_by(NUMBER, LONG_AGO))
        first, *others = mock.passed
        with pytest.raises(OutcomeUnknown):
            carrier.sent_to(ANN, NUMBER, LONG_AGO)
    assert {asked.status for asked in mock.passed} == {200}
    assert "PageToken" not in first.query
    assert {tuple(asked.query["PageToken"]) for asked in others} == {("PAMMc26223853f8c46b4ab7dfaa6abba0a26",)}
    assert len(others) <= 3


# -- what our simulator answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"twilio_messaging_service_sid": SERVICE}], ids=["number", "service"])
def test_our_simulator_answers_as_the_document_says(
    simulated: Relay, simulator: Simulator, prism: Prism, settings: dict[str, str]
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    ours = f"of {settings}"
    for n in range(2 * PAGE_SIZE + 1):
        simulator.phones.text(ANN, f"{n} {ours}", to=NUMBER)
    with carrier_to(simulated, **settings) as carrier:
        taken = carrier.send(outgoing())
        assert taken.id in [text.id for text in carrier.sent_to(ANN, NUMBER, began)]
        received = [text for page in carrier.received_by(NUMBER, began) for text in page]
    assert [text.body for text in received if text.body.endswith(ours)] == [f"{n} {ours}" for n in range(401)]
    assert faults(simulated.passed) <= PATHS
    properties = set(prism.document["components"]["schemas"][MESSAGE]["properties"])
    for passed in simulated.passed:
        answer = json.loads(passed.body)
        for message in answer.get("messages", [answer]):
            assert set(message) == properties


@pytest.mark.parametrize("path", [f"{ACCOUNT}.json", f"{ACCOUNT}/IncomingPhoneNumbers.json"])
def test_our_simulator_shows_an_account_and_its_numbers_like_the_examples(
    mock: Relay, simulated: Relay, simulator: Simulator, path: str
) -> None:
    login = (simulator.settings.account_sid, simulator.settings.auth_token)
    for server in (mock, simulated):
        answer = httpx.get(f"{server.address}{path.format(AccountSid=simulator.settings.account_sid)}", auth=login)
        assert answer.status_code == 200
    assert faults(simulated.passed) <= faults(mock.passed)
