"""Several agents: who answers at which number, what the setting may say, and what becomes of chats when it changes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.config import EXAMPLE_ROUTES, Route, Settings, SettingsError
from bridge.db.engine import Sessions
from bridge.db.models import Chat, ChatStatus
from bridge.providers.agents.registry import build_agents
from bridge.providers.agents.routes import Agents, scopes
from bridge.providers.errors import OutcomeUnknown
from tests.fakes import SETTINGS, fake_settings
from tests.scene import ANN, NUMBER, Scene

OTHER = "+15550002222"
AGENT_X = {"provider": "retell", "agent_id": "agent_x"}


def load(text: str) -> Settings:
    environ = {name.upper(): value for name, value in SETTINGS.items()}
    return Settings.load({**environ, "AGENT_ROUTES": text})


def faults(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text)
    return [fault.removeprefix("AGENT_ROUTES ") for fault in caught.value.faults]


# -- the setting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3", 3, "latest", None])
def test_a_number_has_the_agent_that_is_written_for_it(version: object) -> None:
    more = {} if version is None else {"agent_version": version}
    settings = load(json.dumps({OTHER: {**AGENT_X, **more}, f"whatsapp:{OTHER}": AGENT_X}))
    expected = "latest_published" if version is None else str(version)
    assert settings.agent_routes[OTHER] == Route(provider="retell", agent_id="agent_x", agent_version=expected)
    assert list(settings.agent_routes) == [OTHER, f"whatsapp:{OTHER}"]


def test_the_example_of_the_refusals_is_a_good_one() -> None:
    assert load(EXAMPLE_ROUTES).agent_routes[NUMBER].agent_id == "agent_x"


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_nothing_written_is_no_route(text: str) -> None:
    assert load(text).agent_routes == {}


@pytest.mark.parametrize("text", ["{", "agent_x", '{"+1555"}', "[" * 100_000, "{'+15550001111': 1}"])
def test_what_is_no_json_is_told_with_an_example(text: str) -> None:
    assert faults(text) == [f"is not JSON; write it like {EXAMPLE_ROUTES}"]


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "[[]]"])
def test_what_is_no_object_is_told_with_an_example(text: str) -> None:
    assert faults(text) == [f"is not a JSON object; write it like {EXAMPLE_ROUTES}"]


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ('{"provider": "retell"}', ["agent_id is not set; set it"]),
        ('{"agent_id": "agent_x"}', ["provider is not set; set it"]),
        (
            '{"provider": "eliza", "agent_id": "agent_x"}',
            ["provider is not one of the choices; write 'retell' or 'uponai'"],
        ),
        ('{"provider": "retell", "agent_id": ""}', ["agent_id is empty; set it"]),
        ('{"provider": "retell", "agent_id": 7}', ["agent_id is not a text; put it in quotes"]),
        ('{"provider": "retell", "agent_id": null}', ["agent_id is not a text; put it in quotes"]),
        (
            json.dumps({**AGENT_X, "agent_id": "x" * 201}),
            ["agent_id is too long; the most is 200 characters"],
        ),
        (
            json.dumps({**AGENT_X, "agent_version": True}),
            ["agent_version is not a text; put it in quotes"],
        ),
        (
            json.dumps({**AGENT_X, "agentid": "agent_x"}),
            ["a field is unknown; the known ones are provider, agent_id, agent_version"],
        ),
        (
            '{"provider": "retell", "agent_id": "a", "agent_id": "b"}',
            ["a field appears twice; keep one"],
        ),
        (
            '{"provider": "uponai", "agent_id": "agent_x", "agent_version": "3"}',
            ["agent_version can't be chosen at uponai; remove it"],
        ),
        ('"agent_x"', ["provider is not set; set it", "agent_id is not set; set it"]),
        ("[]", ["provider is not set; set it", "agent_id is not set; set it"]),
    ],
)
def test_what_is_wrong_with_a_route_is_told_in_plain_words(route: str, words: list[str]) -> None:
    assert faults(f'{{"{OTHER}": {route}}}') == [f"at its entry 1 (+1555…22): {word}" for word in words]


def test_all_faults_are_told_at_once_also_those_of_other_settings() -> None:
    text = f'{{"+1 555": 1, "{OTHER}": {json.dumps(AGENT_X)}, "{OTHER}": {{"provider": "x", "agent_id": ""}}}}'
    with pytest.raises(SettingsError) as caught:
        Settings.load({"AGENT_ROUTES": text, "REPLY_DEBOUNCE": "often"})
    told = [fault for fault in caught.value.faults if fault.startswith(("AGENT_ROUTES", "REPLY_DEBOUNCE"))]
    assert told == [
        "AGENT_ROUTES at its entry 1 (…): provider is not set; set it",
        "AGENT_ROUTES at its entry 1 (…): agent_id is not set; set it",
        "AGENT_ROUTES at its entry 1 (…): this is not a phone number; write it like +15550001111",
        "AGENT_ROUTES at its entry 3 (+1555…22): provider is not one of the choices; write 'retell' or 'uponai'",
        "AGENT_ROUTES at its entry 3 (+1555…22): agent_id is empty; set it",
        "AGENT_ROUTES at its entry 3 (+1555…22): this number appears twice; keep one",
        "REPLY_DEBOUNCE is not a duration; write a number and a unit, such as 90s, 15m, 24h or 90d",
    ]
    assert len(caught.value.faults) == len(told) + 5


def test_no_fault_shows_what_is_written_there() -> None:
    secret = "hunter2-is-no-good-password"
    text = json.dumps({secret: {"provider": secret, "agent_id": [secret], "agent_version": {}, secret: secret}})
    assert secret not in "\n".join(faults(text))


# -- who answers ---------------------------------------------------------------------------------------------------


def test_one_api_serves_all_agents_of_a_provider() -> None:
    agents = build_agents(fake_settings(agent_routes={OTHER: AGENT_X}))
    assert (agents.route(OTHER).agent_id, agents.route(NUMBER).agent_id) == ("agent_x", "agent_1")
    assert agents.of("retell").provider == "retell"
    assert scopes(agents.route(OTHER)) == ("retell", "retell agent_x")
    agents.close()


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, agent_routes={OTHER: AGENT_X})


def opened(scene: Scene) -> list[tuple[str, str]]:
    """The agent of each chat at the provider, and what the chat has heard."""
    return [
        (chat.about.route.agent_id if chat.about.route else "", "\n".join(chat.received))
        for chat in scene.agent.chats.values()
    ]


def test_each_number_has_its_own_agent(scene: Scene) -> None:
    for number in (NUMBER, OTHER):
        scene.text(f"to {number}", to=number)
        scene.work()
    assert opened(scene) == [("agent_1", f"to {NUMBER}"), ("agent_x", f"to {OTHER}")]
    assert [(row.provider, row.agent_id) for row in scene.rows(Chat)] == [("retell", "agent_1"), ("retell", "agent_x")]


def test_when_a_number_gets_another_agent_its_chat_ends_and_the_new_one_knows_what_was_said(scene: Scene) -> None:
    for number in (NUMBER, OTHER):
        scene.text("my name is Ann", to=number)
        scene.work()
    scene.set(agent_routes={OTHER: {**AGENT_X, "agent_id": "agent_y"}})
    for number in (NUMBER, OTHER):
        scene.text("who am I?", to=number)
        scene.work(seconds=3)
    assert opened(scene) == [
        ("agent_1", "my name is Ann\nwho am I?"),
        ("agent_x", "my name is Ann"),
        ("agent_y", "who am I?"),
    ]
    told = scene.agent.chats["chat_3"].about.previous_conversation
    assert told == "User: my name is Ann\nAgent: You said: my name is Ann"
    assert [(row.status, row.end_reason) for row in scene.rows(Chat)] == [
        (ChatStatus.ONGOING, None),
        (ChatStatus.ENDED, "the number has another agent now"),
        (ChatStatus.ONGOING, None),
    ]
    assert ("end_chat", "chat_2") in scene.agent.calls
    assert scene.got(ANN)[-1] == "You said: who am I?"


def test_a_new_version_of_the_same_agent_waits_for_the_next_chat(scene: Scene) -> None:
    scene.text("one", to=OTHER)
    scene.work()
    scene.set(agent_routes={OTHER: {**AGENT_X, "agent_version": "7"}})
    scene.text("two", to=OTHER)
    scene.work()
    assert opened(scene) == [("agent_x", "one\ntwo")]


@pytest.mark.parametrize("received", [True, False])
def test_a_turn_that_may_have_been_heard_is_looked_for_in_the_chat_in_which_it_was_said(
    scene: Scene, received: bool
) -> None:
    scene.text("one", to=OTHER)
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=received)
    scene.wake()
    scene.set()
    scene.work_until_idle()
    scene.text("two", to=OTHER)
    scene.work(seconds=3)
    assert opened(scene) == [("agent_x", "one"), ("agent_1", "two")]
    assert scene.got() == ["You said: one", "You said: two"]


def test_a_chat_lives_at_the_provider_that_opened_it(scene: Scene) -> None:
    """As when the routes of one provider have been moved to another: the open chats are told to the first."""
    scene.text("one", to=OTHER)
    scene.work()
    with scene.sessions.begin() as session:
        session.get_one(Chat, 1).provider = "eliza"
    other = type(scene.agent)(now=scene.clock)
    other.chats = dict(scene.agent.chats)
    scene.rt = replace(scene.rt, agents=Agents(scene.rt.settings, {"retell": scene.agent, "eliza": other}))
    scene.text("two", to=OTHER)
    scene.work(seconds=3)
    assert ("end_chat", "chat_1") in other.calls
    assert "end_chat" not in [call for call, _ in scene.agent.calls]
    assert scene.got() == ["You said: one", "You said: two"]
