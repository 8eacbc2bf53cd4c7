"""Twilio's side, over real HTTP: credentials, the webhooks of our numbers, and messaging services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from bridge.doctor.findings import Mark
from bridge.doctor.run import checks_of, examine
from bridge.doctor.twilio import credentials, number, services
from bridge.doctor.webhooks import wanted
from bridge.providers.carriers.twilio.account import TwilioAccount
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.doctor.conftest import Doctor, MakeDoctor, Told
from tests.fakes import fake_settings
from tests.vendor import closed_port, vendor

NUMBER = "+15550001111"
MASKED = "+1555…11"
PUBLIC_URL = "https://bridge.example.com"
HERE = f"{PUBLIC_URL}/twilio/inbound"
SERVICE = "MG" + "a" * 32
BOTH = "whether Advanced Opt-Out is on can't be read; the bridge fits both."


class Site:
    """A doctor, and the simulated account that it checks."""

    def __init__(self, simulator: Simulator, doctor: Doctor) -> None:
        self.simulator = simulator
        self.doctor = doctor

    def points_at(self, **webhook: str) -> None:
        self.simulator.carrier.numbers[NUMBER].settings |= webhook

    def number(self, address: str = NUMBER) -> Told:
        [found] = self.doctor.finds(number(address))
        return found


MakeSite = Callable[..., Site]


@pytest.fixture
def site(doctor: MakeDoctor) -> Iterator[MakeSite]:
    """``account``: settings of the simulator; the others are those of the bridge."""
    with ExitStack() as servers:

        def made(account: dict[str, Any] | None = None, **settings: Any) -> Site:
            simulator = Simulator(SimulatorSettings(**{"webhook_url": wanted(PUBLIC_URL).url, **(account or {})}))
            its = simulator.settings
            known = {
                "twilio_account_sid": its.account_sid,
                "twilio_auth_token": its.auth_token,
                "twilio_api_base_url": servers.enter_context(serve(simulator)),
                "twilio_numbers": NUMBER,
            }
            return Site(simulator, doctor(**{**known, **settings}))

        yield made


# -- credentials ---------------------------------------------------------------------------------------------------


def test_credentials_that_fit_are_well(site: MakeSite) -> None:
    assert site().doctor.finds(credentials) == [(Mark.OK, "the account is active, and its token fits.")]


def test_a_wrong_token_is_told_and_not_shown(site: MakeSite) -> None:
    [(mark, words)] = site(twilio_auth_token="not-to-be-shown").doctor.finds(credentials)
    assert (mark, words) == (
        Mark.FAULT,
        "TWILIO_AUTH_TOKEN is refused: Authenticate. "
        "Copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again from the first page of Twilio's console.",
    )


def test_a_suspended_account_is_told(site: MakeSite) -> None:
    [(mark, words)] = site({"account_status": "suspended"}).doctor.finds(credentials)
    assert mark == Mark.FAULT
    assert words == "the account is suspended. Twilio's console says why, and support lifts a suspension."


def test_a_trial_account_is_told(site: MakeSite) -> None:
    _, found = site({"account_type": "Trial"}).doctor.finds(credentials)
    words = "it is a trial account: only verified phones get its texts. Upgrade it in Twilio's console."
    assert found == (Mark.WARNING, words)


KEYS = {"api_key": "SK" + "1" * 32, "api_secret": "secret-of-the-key"}


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("secret-of-the-key", (Mark.OK, "TWILIO_API_KEY fits.")),
        (
            "another-secret",
            (
                Mark.FAULT,
                "TWILIO_API_KEY is refused: Authenticate. "
                "Make a new API key in Twilio's console; set TWILIO_API_KEY and TWILIO_API_SECRET.",
            ),
        ),
    ],
)
def test_an_api_key_is_checked_beside_the_token(site: MakeSite, secret: str, expected: Told) -> None:
    its = site(KEYS, twilio_api_key=KEYS["api_key"], twilio_api_secret=secret)
    first, second = its.doctor.finds(credentials)
    assert first[0] == Mark.OK
    assert second == expected


def test_a_twilio_that_is_away_is_told(doctor: MakeDoctor) -> None:
    away = doctor(twilio_api_base_url=f"http://127.0.0.1:{closed_port()}")
    [(mark, words)] = away.finds(credentials)
    assert mark == Mark.FAULT
    assert words.startswith("can't be asked: not reached")
    assert words.endswith("Check the network and TWILIO_API_BASE_URL, and status.twilio.com.")


# -- numbers -------------------------------------------------------------------------------------------------------


def test_a_number_whose_texts_come_here_is_well(site: MakeSite) -> None:
    assert site().number() == (Mark.OK, "its texts come here, and a failed call is repeated.")


CONNECT = "Run bridge connect with this number."


@pytest.mark.parametrize(
    ("webhook", "mark", "words"),
    [
        ({"sms_url": ""}, Mark.FAULT, "has no webhook, so nobody gets its texts"),
        (
            {"sms_url": "https://user:not-shown@demo.example/x?n=+15551230001"},
            Mark.FAULT,
            "its texts go to POST https://***@demo.example/x?n=+1555…01",
        ),
        ({"sms_url": f"{HERE}/#rc=5&rp=all"}, Mark.FAULT, f"its texts go to POST {HERE}/#rc=5&rp=all"),
        ({"sms_method": "GET"}, Mark.FAULT, "its webhook is called by GET, and not by POST"),
        ({"sms_application_sid": "AP1"}, Mark.FAULT, "a TwiML app gets its texts"),
        ({"sms_url": HERE}, Mark.WARNING, "its webhook has no connection overrides that repeat a failed call"),
        (
            {"sms_url": f"{HERE}#rc=5&rp=ct"},
            Mark.WARNING,
            "its webhook has no connection overrides that repeat a failed call",
        ),
        (
            {"sms_url": f"{HERE}#rc=0&rp=all"},
            Mark.WARNING,
            "its webhook has no connection overrides that repeat a failed call",
        ),
    ],
)
def test_a_wrong_webhook_is_told(site: MakeSite, webhook: dict[str, str], mark: Mark, words: str) -> None:
    its = site()
    its.points_at(**webhook)
    assert its.number() == (mark, f"{words}. {CONNECT}")


def test_other_overrides_that_repeat_are_well(site: MakeSite) -> None:
    its = site()
    its.points_at(sms_url=f"{HERE}#rc=2&rp=all&rt=5000")
    assert its.number()[0] == Mark.OK


def test_a_number_of_somebody_else_is_told(site: MakeSite) -> None:
    words = "the account does not have it. Correct TWILIO_NUMBERS, or buy or port the number."
    assert site().number("+15550009999") == (Mark.FAULT, words)


def test_a_number_that_can_only_call_is_told(site: MakeSite) -> None:
    its = site()
    its.simulator.carrier.numbers[NUMBER].sms = False
    assert its.number() == (Mark.FAULT, "can't send and receive SMS. Take a number with the capability SMS.")


@pytest.mark.parametrize("address", ["whatsapp:+15550001111", "12345"])
def test_an_address_that_can_not_be_read_is_told(site: MakeSite, address: str) -> None:
    mark, words = site().number(address)
    assert mark == Mark.WARNING
    assert words.endswith(f"set its webhook to {HERE}#rc=5&rp=5xx,ct,rt")


def test_a_list_that_is_refused_is_told(site: MakeSite) -> None:
    mark, words = site(twilio_auth_token="another").number()
    assert (mark, words) == (Mark.FAULT, "can't be read at Twilio: Authenticate. See twilio above.")


# -- messaging services --------------------------------------------------------------------------------------------


def test_a_service_that_defers_and_has_a_campaign_is_well(site: MakeSite) -> None:
    its = site({"messaging_service_sid": SERVICE}, twilio_messaging_service_sid=SERVICE)
    assert its.doctor.finds(services) == [(Mark.OK, "lets the webhook of each number decide."), (Mark.OK, BOTH)]


def test_a_service_that_keeps_the_texts_of_its_numbers_is_told(site: MakeSite) -> None:
    """The bridge does not send by it. Its numbers' texts go there all the same."""
    first, *_ = site({"messaging_service_sid": SERVICE, "service_defers": False}).doctor.finds(services)
    assert first == (
        Mark.FAULT,
        "has no webhook, so nobody gets its texts. In Twilio's console, let the service defer to the sender's webhook.",
    )


def test_a_service_that_is_not_there_is_told(site: MakeSite) -> None:
    first, *_ = site(twilio_messaging_service_sid=SERVICE).doctor.finds(services)
    words = "the account does not have TWILIO_MESSAGING_SERVICE_SID. Correct or remove it."
    assert first == (Mark.FAULT, words)


def test_a_campaign_that_is_not_verified_is_told_with_its_numbers(site: MakeSite) -> None:
    its = site({"messaging_service_sid": SERVICE, "campaign_status": "IN_PROGRESS"})
    _, campaign, _, number = its.doctor.finds(services)
    assert campaign[0] == number[0] == Mark.WARNING
    assert campaign[1].startswith("its A2P campaign is IN_PROGRESS, so US carriers block its texts (30034).")
    assert number[1].startswith("has no verified A2P campaign: texts to US phones are blocked (30034).")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ("+15550001111", ["has no verified A2P campaign: texts to US phones are blocked (30034)"]),
        ("+18885550111", ["is toll-free: without a verification, carriers block its texts (30032)"]),
        ("+447700900111", []),
    ],
)
def test_a_number_without_a_service_is_told_where_carriers_want_one(
    site: MakeSite, numbers: str, words: Sequence[str]
) -> None:
    found = site(twilio_numbers=numbers).doctor.finds(services)
    assert [each.partition(".")[0] for _, each in found] == words
    assert all(mark == Mark.WARNING for mark, _ in found)


def test_services_that_can_not_be_read_are_told(site: MakeSite) -> None:
    [(mark, words)] = site(twilio_auth_token="another").doctor.finds(services)
    assert (mark, words) == (
        Mark.WARNING,
        "can't be read: Authenticate. Let the API key read messaging services, or check them in Twilio's console.",
    )


def test_messaging_services_have_a_host_of_their_own_at_twilio() -> None:
    account = TwilioAccount.from_settings(fake_settings())
    assert str(account._messaging._base_url) == "https://messaging.twilio.com"
    account.close()


# -- all of it -----------------------------------------------------------------------------------------------------


def test_no_finding_has_a_number_or_a_secret(site: MakeSite) -> None:
    its = site({"messaging_service_sid": SERVICE}, twilio_numbers=f"{NUMBER},+15550009999,whatsapp:{NUMBER}")
    context = its.doctor.context
    asked = {name: check for name, check in checks_of(context.settings).items() if name != "PUBLIC_URL"}
    found = examine(context, asked)
    assert NUMBER not in str(found)
    assert "+15550009999" not in str(found)
    assert its.simulator.settings.auth_token not in str(found)
    assert [each.subject for each in found if "…" in each.subject][:3] == [MASKED, "+1555…99", f"whatsapp:{MASKED}"]


def test_an_answer_of_another_form_is_told(doctor: MakeDoctor) -> None:
    with vendor() as server:
        server.says(200, {"nothing": "of use"})
        mark, words = doctor(twilio_api_base_url=server.address).finds(number(NUMBER))[0]
    assert mark == Mark.FAULT
    assert words.startswith("can't be read at Twilio: its answer does not have the documented form.")
