"""The agents' providers over real HTTP: whose key it is, and whether the agents can answer texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bridge.doctor.agents import retell, uponai
from bridge.doctor.findings import Mark
from bridge.providers.agents.retell.account import RetellAccount
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.doctor.conftest import Doctor, MakeDoctor
from tests.vendor import closed_port, vendor

LONG = 259_200.0
GOOD = "is a chat agent, and has the version latest_published."

MakeSite = Callable[..., Doctor]


@pytest.fixture
def site(doctor: MakeDoctor) -> Iterator[MakeSite]:
    """``account``: settings of the simulator; the others are those of the bridge."""
    with ExitStack() as servers:

        def made(account: dict[str, Any] | None = None, **settings: Any) -> Doctor:
            its = SimulatorSettings(**{"silence_seconds": LONG, **(account or {})})
            address = servers.enter_context(serve(Simulator(its)))
            known = {
                "retell_api_key": its.retell_api_key,
                "retell_agent_id": its.agent_id,
                "retell_base_url": address,
                "uponai_base_url": address,
            }
            return doctor(**{**known, **settings})

        yield made


# -- Retell --------------------------------------------------------------------------------------------------------


def test_a_published_chat_agent_is_well_and_the_owner_of_the_key_is_named(site: MakeSite) -> None:
    assert site().finds(retell) == [(Mark.OK, "the key is one of Harbour Table."), (Mark.OK, GOOD)]


def test_a_wrong_key_is_told_and_not_shown(site: MakeSite) -> None:
    assert site(retell_api_key="not-to-be-shown").finds(retell) == [
        (
            Mark.FAULT,
            "RETELL_API_KEY is refused: API key is missing or invalid. Copy RETELL_API_KEY again from the dashboard.",
        )
    ]


def test_a_retell_that_is_away_is_told(doctor: MakeDoctor) -> None:
    [(mark, words)] = doctor(retell_base_url=f"http://127.0.0.1:{closed_port()}").finds(retell)
    assert mark == Mark.FAULT
    assert words.startswith("can't be asked: not reached")
    assert words.endswith("Check the network and RETELL_BASE_URL.")


@pytest.mark.parametrize(
    ("account", "settings", "mark", "words"),
    [
        (
            {},
            {"retell_agent_id": "agent_of_another"},
            Mark.FAULT,
            "is not there. Copy the id again from Retell's dashboard; the key must be of the same workspace.",
        ),
        (
            {"agent_is_voice": True},
            {},
            Mark.FAULT,
            "is a voice agent, which can't text. Make a chat agent and set its id.",
        ),
        ({"agent_published": False}, {}, Mark.FAULT, "has no version latest_published. Publish it in"),
        (
            {"agent_published": False, "agent_version": 4},
            {},
            Mark.WARNING,
            "its version latest_published can't be read, and its newest one is a draft. Publish it in",
        ),
        ({}, {"retell_agent_version": "7"}, Mark.FAULT, "has no version 7. Publish it in"),
        ({}, {"retell_agent_version": "0"}, Mark.OK, "is a chat agent, and has the version 0."),
        (
            {"agent_published": False},
            {"retell_agent_version": "latest"},
            Mark.OK,
            "is a chat agent, and has the version latest.",
        ),
    ],
)
def test_an_agent_that_can_or_can_not_answer_is_told(
    site: MakeSite, account: dict[str, Any], settings: dict[str, Any], mark: Mark, words: str
) -> None:
    _, (found, told) = site(account, **settings).finds(retell)
    assert found == mark
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3600.0, "1 h"), (600.0, "10 minutes"), (86_400.0, None)],
)
def test_a_short_silence_is_told(site: MakeSite, seconds: float, words: str | None) -> None:
    _, _, *advice = site({"silence_seconds": seconds}).finds(retell)
    expected = (
        f"ends a chat after {words} of silence, which is short for texting. "
        "Set end_chat_after_silence_ms to 259200000 (72 h) and publish."
    )
    assert advice == ([(Mark.WARNING, expected)] if words else [])


def test_an_agent_that_stores_no_transcripts_is_told(site: MakeSite) -> None:
    _, _, (mark, words) = site({"agent_stores": "basic_attributes_only"}).finds(retell)
    assert mark == Mark.WARNING
    assert words.startswith("stores no transcripts, so after a lost answer the bridge can't tell")
    assert words.endswith("Set data_storage_setting to everything.")


def test_each_agent_of_the_routes_is_checked_once(site: MakeSite) -> None:
    other = {"provider": "retell", "agent_id": "agent_2"}
    routes = json.dumps({"+15550001111": other, "+15550002222": other})
    found = site(agent_routes=routes).finds(retell)
    assert [mark for mark, _ in found] == [Mark.OK, Mark.OK, Mark.FAULT]


def test_an_answer_of_another_form_is_told(doctor: MakeDoctor) -> None:
    with vendor() as server:
        server.says(200, b"<html>")
        [(mark, words)] = doctor(retell_base_url=server.address).finds(retell)
    assert mark == Mark.FAULT
    assert words.startswith("can't be asked: its answer does not have the documented form.")


def test_a_silence_that_is_not_set_is_retells_hour() -> None:
    with vendor() as server:
        server.says(200, {"agent_id": "a", "version": 0, "is_published": True, "end_chat_after_silence_ms": None})
        account = RetellAccount("key", server.address)
        agent = account.agent("a/b")
        account.close()
    assert agent is not None
    assert agent.closes_after.total_seconds() == 3600
    assert server.asked[0].path == "/get-chat-agent/a%2Fb"


# -- UponAI --------------------------------------------------------------------------------------------------------

UPONAI = {
    "agent_provider": "uponai",
    "uponai_api_key": "token_simulated",
    "uponai_workspace_id": 42,
    "uponai_agent_id": "agent_at_uponai",
    "retell_api_key": None,
    "retell_agent_id": None,
}


def test_a_token_that_fits_the_workspace_is_well_and_the_rest_is_not_known(site: MakeSite) -> None:
    its = site(**UPONAI)
    assert its.finds(uponai) == [
        (Mark.OK, "the token fits the workspace."),
        (
            Mark.WARNING,
            "UponAI's API does not tell whether it is there. "
            "Compare the id with UponAI's dashboard, and send the number a text.",
        ),
    ]
    assert its.finds(retell) == []


@pytest.mark.parametrize("wrong", [{"uponai_api_key": "not-to-be-shown"}, {"uponai_workspace_id": 7}])
def test_a_wrong_token_or_workspace_is_told(site: MakeSite, wrong: dict[str, Any]) -> None:
    [(mark, words)] = site(**{**UPONAI, **wrong}).finds(uponai)
    assert mark == Mark.FAULT
    assert words.startswith("UPONAI_API_KEY or UPONAI_WORKSPACE_ID is refused: ")
    assert "not-to-be-shown" not in words


def test_a_provider_that_is_not_used_is_not_asked(site: MakeSite) -> None:
    assert site().finds(uponai) == []
