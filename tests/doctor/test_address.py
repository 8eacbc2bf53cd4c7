"""PUBLIC_URL: the check reads every fault that a proxy, a tunnel or another bridge can make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bridge.db.engine import Sessions
from bridge.doctor.address import address
from bridge.doctor.findings import Mark
from tests.doctor.conftest import MakeDoctor, bridge_with
from tests.fakes import fake_settings
from tests.vendor import Vendor, vendor

HEALTHY = {"status": "ok"}
NO_TEXT = b"MessageSid is missing; point the number's webhook for messages here"
READY = {"status": "ok", "faults": []}


@pytest.fixture
def other() -> Iterator[Vendor]:
    """Something else at PUBLIC_URL."""
    with vendor() as server:
        yield server


def test_this_bridge_is_known_by_the_signature_that_it_accepts(
    doctor: MakeDoctor, here: Sessions, public_url: str
) -> None:
    with bridge_with(here, fake_settings(public_url=public_url)):
        found = doctor(public_url=public_url).finds(address)
    assert found[:2] == [
        (Mark.OK, "is reached."),
        (Mark.OK, "the bridge there is this one: it accepts our signature and no other."),
    ]


def test_what_the_bridge_there_reports_is_passed_on(doctor: MakeDoctor, here: Sessions, public_url: str) -> None:
    """These tables were not made by a migration."""
    with bridge_with(here, fake_settings(public_url=public_url)):
        [*_, last] = doctor(public_url=public_url).finds(address)
    assert last == (
        Mark.WARNING,
        "the bridge there reports: migration is missing. GET /readyz with an operator's token has the cause.",
    )


@pytest.mark.parametrize(
    "other_setting",
    [
        {"twilio_auth_token": "another-token"},
        {"twilio_account_sid": "AC" + "1" * 32},
    ],
    ids=["token", "account"],
)
def test_a_bridge_of_another_account_is_told(
    doctor: MakeDoctor, here: Sessions, public_url: str, other_setting: dict[str, Any]
) -> None:
    with bridge_with(here, fake_settings(public_url=public_url, **other_setting)):
        found = doctor(public_url=public_url).finds(address)
    assert found[1] == (
        Mark.FAULT,
        "the bridge there refuses webhooks that are signed with our token. Give it the same PUBLIC_URL, "
        "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN as here, and let no proxy change the path.",
    )


def test_a_bridge_that_is_known_by_another_address_is_told(doctor: MakeDoctor, here: Sessions, public_url: str) -> None:
    """Twilio would sign the address that we have. The bridge there checks its own."""
    theirs = public_url.replace("127.0.0.1", "localhost")
    with bridge_with(here, fake_settings(public_url=theirs)):
        found = doctor(public_url=public_url).finds(address)
    assert found[1][0] == Mark.FAULT
    assert "refuses webhooks" in found[1][1]


def test_nobody_there_is_told(doctor: MakeDoctor, public_url: str) -> None:
    [(mark, words)] = doctor(public_url=public_url).finds(address)
    assert mark == Mark.FAULT
    assert words.startswith("can't be called: not reached: ")
    assert words.endswith("Start the bridge, and let the proxy or tunnel of this address lead to it.")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (301, b"", "is redirected (301). Set PUBLIC_URL to the address that it leads to: "),
        (502, b"<html>", "a proxy answers 502 at /healthz, because it finds no bridge. Start the bridge"),
        (404, b"<html>", "something else than a bridge answers 404 at /healthz. Set PUBLIC_URL to"),
        (200, b"<html>", "something else than a bridge answers 200 at /healthz. Set PUBLIC_URL to"),
    ],
)
def test_an_answer_that_is_not_a_bridges_is_told(
    doctor: MakeDoctor, other: Vendor, status: int, body: bytes, words: str
) -> None:
    other.says(status, body, {"Location": "https://elsewhere.example/"} if status == 301 else None)
    [(mark, found)] = doctor(public_url=other.address).finds(address)
    assert mark == Mark.FAULT
    assert found.startswith(words)


def test_a_firewall_that_keeps_webhooks_away_is_told(doctor: MakeDoctor, other: Vendor) -> None:
    other.says(200, HEALTHY)
    other.says(405, b"<html>")
    other.says(200, READY)
    _, found = doctor(public_url=other.address).finds(address)
    assert found[0] == Mark.FAULT
    assert found[1].startswith("something else than a bridge answers 405 at /twilio/inbound.")


def test_a_bridge_without_the_check_of_signatures_is_told(doctor: MakeDoctor, other: Vendor) -> None:
    other.says(200, HEALTHY)
    other.says(400, NO_TEXT)
    other.says(400, NO_TEXT)
    other.says(200, READY)
    _, found = doctor(public_url=other.address).finds(address)
    assert found[:1] == (Mark.FAULT,)
    assert found[1].startswith("the bridge there accepts webhooks without a signature.")


def test_the_calls_carry_no_text_and_no_secret(doctor: MakeDoctor, other: Vendor) -> None:
    other.says(200, HEALTHY)
    other.says(400, NO_TEXT)
    other.says(403, {})
    other.says(503, {"faults": [{"part": "worker", "state": "is away from +15551230001"}]})
    found = doctor(public_url=other.address).finds(address)
    assert "+15551230001" not in str(found)
    assert "token-of-the-account" not in str([(each.headers, each.body) for each in other.asked])
    assert [(each.method, each.path) for each in other.asked] == [
        ("GET", "/healthz"),
        ("POST", "/twilio/inbound"),
        ("POST", "/twilio/inbound"),
        ("GET", "/readyz"),
    ]
