"""``bridge connect``: what Twilio has afterwards, and what a person reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from bridge.cli import main
from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import Audit, ReplacedWebhook
from bridge.simulator import Simulator, SimulatorSettings, serve

NUMBER = "+15550001111"
OTHER = "+15550002222"
OLD = "https://old.example/sms"
NEW = "https://bridge.example.com/twilio/inbound#rc=5&rp=5xx,ct,rt"


class Operator:
    """Somebody at a terminal, with the settings of a bridge."""

    def __init__(self, simulator: Simulator, environment: dict[str, str]) -> None:
        self.simulator = simulator
        self._environment = environment

    def connects(self, *words: str) -> Result:
        return CliRunner(env=self._environment).invoke(main, ["connect", *words])

    def webhook(self, number: str = NUMBER) -> tuple[str, str, str]:
        """What Twilio has."""
        shown = self.simulator.carrier.numbers[number].resource("AC")
        return shown["sms_url"], shown["sms_method"], shown["sms_application_sid"]

    def has(self, number: str = NUMBER, **webhook: str) -> None:
        self.simulator.carrier.numbers[number].settings |= webhook

    def rows(self) -> tuple[list[ReplacedWebhook], list[tuple[str, str, str]]]:
        engine = build_engine(self._environment["DATABASE_URL"])
        with build_sessions(engine)() as session:
            deeds = [(each.operator, each.action, each.subject) for each in session.scalars(select(Audit))]
            found = [*session.scalars(select(ReplacedWebhook))], deeds
        engine.dispose()
        return found


@pytest.fixture
def operator(database_url: str) -> Iterator[Operator]:
    simulator = Simulator(SimulatorSettings(webhook_url=OLD, more_numbers=(OTHER,)))
    its = simulator.settings
    with serve(simulator) as twilio:
        environment = {
            "DATABASE_URL": database_url,
            "PUBLIC_URL": "https://bridge.example.com",
            "TWILIO_ACCOUNT_SID": its.account_sid,
            "TWILIO_AUTH_TOKEN": its.auth_token,
            "TWILIO_API_BASE_URL": twilio,
            "RETELL_API_KEY": "key",
            "RETELL_AGENT_ID": "agent_1",
        }
        yield Operator(simulator, environment)


def test_a_number_is_pointed_here_and_the_change_is_shown(operator: Operator) -> None:
    told = operator.connects(NUMBER)
    assert told.exit_code == 0, told.output
    assert told.output.splitlines() == ["+1555…11", f"  before  POST {OLD}", f"  after   POST {NEW}"]
    assert operator.webhook() == (NEW, "POST", "")
    assert operator.webhook(OTHER)[0] == OLD


def test_a_dry_run_changes_nothing(operator: Operator) -> None:
    told = operator.connects(NUMBER, "--dry-run")
    assert told.exit_code == 0
    assert told.output.splitlines()[-1] == f"  after   POST {NEW}  (not done)"
    assert operator.webhook()[0] == OLD
    assert operator.rows() == ([], [])


def test_a_restore_puts_back_all_that_was_there(operator: Operator) -> None:
    operator.has(sms_method="GET", sms_application_sid="AP1")
    operator.connects(NUMBER)
    assert operator.webhook() == (NEW, "POST", "")
    told = operator.connects(NUMBER, "--restore")
    assert told.output.splitlines() == ["+1555…11", f"  before  POST {NEW}", "  after   the TwiML app AP1"]
    assert operator.webhook() == (OLD, "GET", "AP1")
    replaced, deeds = operator.rows()
    assert replaced == []
    assert deeds == [("a command", "connect", "+1555…11")] * 2


def test_a_number_without_a_webhook_gets_one_and_loses_it_again(operator: Operator) -> None:
    operator.has(sms_url="")
    assert operator.connects(NUMBER).output.splitlines()[1] == "  before  no webhook"
    assert operator.connects(NUMBER, "--restore").output.splitlines()[-1] == "  after   no webhook"
    assert operator.webhook()[0] == ""


def test_to_connect_twice_does_not_forget_what_was_there(operator: Operator) -> None:
    operator.connects(NUMBER)
    told = operator.connects(NUMBER)
    assert told.output.splitlines()[-1] == "  Nothing is to be done."
    operator.connects(NUMBER, "--restore")
    assert operator.webhook()[0] == OLD


def test_a_call_that_fails_can_be_restored_and_repeated(operator: Operator) -> None:
    """Twilio has changed the number, and its answer is lost."""
    operator.simulator.faults.next("carrier_500", 1, calls=["set_number"])
    told = operator.connects(NUMBER)
    assert told.exit_code == 1
    assert "Traceback" not in told.output
    assert operator.connects(NUMBER).exit_code == 0
    assert operator.webhook()[0] == NEW
    operator.connects(NUMBER, "--restore")
    assert operator.webhook()[0] == OLD


def test_a_dry_restore_changes_nothing(operator: Operator) -> None:
    operator.connects(NUMBER)
    told = operator.connects(NUMBER, "--restore", "--dry-run")
    assert told.output.splitlines()[-1] == f"  after   POST {OLD}  (not done)"
    assert operator.webhook()[0] == NEW


def test_several_numbers_are_connected_and_one_that_is_not_ours_is_told(operator: Operator) -> None:
    told = operator.connects(NUMBER, "+15559990000", OTHER)
    assert told.exit_code == 1
    assert "+1555…00: +1555…00 is not a number of this Twilio account." in told.output
    assert [operator.webhook(each)[0] for each in (NUMBER, OTHER)] == [NEW, NEW]


def test_nothing_is_known_to_restore_of_a_number_that_was_not_connected(operator: Operator) -> None:
    told = operator.connects(NUMBER, "--restore")
    assert told.exit_code == 1
    assert "was not connected by this bridge, so nothing is known to put back" in told.output


def test_a_number_without_sms_is_not_connected(operator: Operator) -> None:
    operator.simulator.carrier.numbers[NUMBER].sms = False
    told = operator.connects(NUMBER)
    assert (told.exit_code, operator.webhook()[0]) == (1, OLD)
    assert "can't send and receive SMS" in told.output


@pytest.mark.parametrize("written", ["soon", "5550001111"])
def test_what_is_no_number_is_refused(operator: Operator, written: str) -> None:
    told = operator.connects(written)
    assert told.exit_code == 2
    assert "write it like +15550001111" in told.output


def test_no_output_has_a_number_or_a_secret(operator: Operator) -> None:
    operator.has(sms_url="https://user:not-to-be-shown@old.example/sms?to=+15551230001")
    told = operator.connects(NUMBER)
    for secret in (NUMBER, "+15551230001", "not-to-be-shown", operator.simulator.settings.auth_token):
        assert secret not in told.output
