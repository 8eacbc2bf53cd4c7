"""Every fault and warning that the doctor can tell is provoked here once: its mark, its remedy and the exit code.

A test compares the table with the code, so a new finding must be provoked too.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config import unknown_names
from bridge.db import migrate
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Erasure
from bridge.doctor import report
from bridge.doctor.address import address
from bridge.doctor.agents import retell, uponai
from bridge.doctor.broker import broker
from bridge.doctor.clocks import judged
from bridge.doctor.context import BrokerAway, Check, Context, Pong
from bridge.doctor.database import database
from bridge.doctor.encryption import encryption
from bridge.doctor.findings import Finding, Mark
from bridge.doctor.processes import clock, workers
from bridge.doctor.run import examine
from bridge.doctor.settings import settings
from bridge.doctor.twilio import countries, credentials, number, services
from bridge.doctor.webhooks import wanted
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.doctor.conftest import MakeDoctor, bridge_with
from tests.fakes import fake_settings
from tests.keys import NEW, OLD, keyring
from tests.scene import Scene
from tests.vendor import closed_port, vendor

ROOT = Path(__file__).parents[2] / "bridge"
NUMBER = "+15550001111"
HERE = "https://bridge.example.com"
SERVICE = "MG" + "a" * 32
READY = {"status": "ok", "faults": []}
TEXT_MISSING = b"MessageSid is missing"
NOBODY = f"http://127.0.0.1:{closed_port()}"


class Lab:
    """It runs one check where something is wrong."""

    def __init__(self, make: MakeDoctor, servers: ExitStack, request: pytest.FixtureRequest) -> None:
        self._make = make
        self._servers = servers
        self.request = request

    def alone(self, check: Check, changes: dict[str, Any] | None = None, **known: Any) -> Sequence[Finding]:
        """Nobody is called."""
        return check(replace(self._make(**known).context, **(changes or {})))

    def with_tables(self, check: Check, **known: Any) -> Sequence[Finding]:
        return self.alone(check, database_url=self.request.getfixturevalue("sqlite_url"), **known)

    def with_words(self, written: str, read: str) -> Sequence[Finding]:
        """A text was written with these keys, and is read with those."""
        url: str = self.request.getfixturevalue("sqlite_url")
        engine = build_engine(url, keyring=keyring(*filter(None, written.split(","))))
        self._servers.callback(engine.dispose)
        Scene(build_sessions(engine)).text("hello")
        return self.alone(encryption, database_url=url, encryption_keys=read or ())

    def at_providers(
        self, check: Check, account: dict[str, Any] | None = None, webhook: dict[str, Any] | None = None, **known: Any
    ) -> Sequence[Finding]:
        """``account``: of the simulator; ``webhook``: of our number there."""
        its = SimulatorSettings(**{"webhook_url": wanted(HERE).url, **(account or {})})
        simulator = Simulator(its)
        simulator.carrier.numbers[its.number].settings |= webhook or {}
        where = self._servers.enter_context(serve(simulator))
        fit = {
            "twilio_account_sid": its.account_sid,
            "twilio_auth_token": its.auth_token,
            "twilio_api_base_url": where,
            "twilio_numbers": NUMBER,
            "retell_api_key": its.retell_api_key,
            "retell_agent_id": its.agent_id,
            "retell_base_url": where,
            "uponai_base_url": where,
        }
        return self.alone(check, **{**fit, **known})

    def number(self, webhook: dict[str, Any] | None = None, which: str = NUMBER, **known: Any) -> Sequence[Finding]:
        return self.at_providers(number(which), webhook=webhook, **known)

    def something_else(self, *answers: tuple[int, Any]) -> Sequence[Finding]:
        """It answers so at PUBLIC_URL."""
        server = self._servers.enter_context(vendor())
        for status, body in answers:
            server.says(status, body)
        return self.alone(address, public_url=server.address)

    def a_bridge(self, **theirs: Any) -> Sequence[Finding]:
        """It has these settings, and is at PUBLIC_URL."""
        here: Sessions = self.request.getfixturevalue("here")
        url = self.request.getfixturevalue("public_url")
        self._servers.enter_context(bridge_with(here, fake_settings(public_url=url, **theirs)))
        return self.alone(address, public_url=url)

    def unfit(self) -> Sequence[Finding]:
        postgres = self.request.getfixturevalue("postgres")
        url = self._servers.enter_context(postgres.database("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"))
        return self.alone(database, database_url=url)

    def not_erased(self) -> Sequence[Finding]:
        url = f"sqlite:///{self.request.getfixturevalue('tmp_path') / 'migrated.sqlite3'}"
        migrate.upgrade(url)
        engine = build_engine(url)
        row = {"provider": "retell", "kind": "chat", "remote_id": "chat_1", "created_at": NOW, "given_up_at": NOW}
        with build_sessions(engine).begin() as session:
            session.add(Erasure(**row))
        engine.dispose()
        return self.alone(database, database_url=url)

    def without_sms(self) -> Sequence[Finding]:
        its = SimulatorSettings()
        simulator = Simulator(its)
        simulator.carrier.numbers[NUMBER].sms = False
        where = self._servers.enter_context(serve(simulator))
        return self.alone(
            number(NUMBER),
            twilio_account_sid=its.account_sid,
            twilio_auth_token=its.auth_token,
            twilio_api_base_url=where,
        )

    def hangs(self) -> Sequence[Finding]:
        never = threading.Event()

        def check(context: Context) -> Sequence[Finding]:
            never.wait(10)
            return []

        found = examine(self._make().context, {"hangs": check}, limit=0.1)
        never.set()
        return found


def broken(context: Context) -> Sequence[Finding]:
    raise ValueError("+15551230001")


def away() -> Pong | None:
    raise BrokerAway("OperationalError")


def skewed(by: float) -> Callable[[Lab], Sequence[Finding]]:
    return lambda lab: [judged("a worker", timedelta(seconds=by), unsure=timedelta(0))]


NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
UPONAI = {
    "agent_provider": "uponai",
    "uponai_api_key": "token_simulated",
    "uponai_workspace_id": 42,
    "uponai_agent_id": "agent_at_uponai",
}
MIXED = {"messaging_service_sid": SERVICE, "campaign_status": "FAILED"}
KEY = {"twilio_api_key": "SK" + "1" * 32, "twilio_api_secret": "another"}

Provoke = Callable[[Lab], Sequence[Finding]]

FAULTS: dict[str, tuple[str, Provoke]] = {
    "database-missing": ("Run: bridge db upgrade", lambda lab: lab.alone(database)),
    "database-old": ("Run: bridge db upgrade", lambda lab: lab.with_tables(database)),
    "database-unfit": ("Make another database", Lab.unfit),
    "database-away": (
        "Check DATABASE_URL",
        lambda lab: lab.alone(database, database_url=f"postgresql://127.0.0.1:{closed_port()}/x"),
    ),
    "worker-none": ("Start the bridge", lambda lab: lab.with_tables(workers)),
    "clock-silent": ("Start the bridge", lambda lab: lab.with_tables(clock, twilio_numbers=NUMBER)),
    "broker-away": ("Check CELERY_BROKER_URL", lambda lab: lab.alone(broker, {"ping": away})),
    "broker-unanswered": ("Start a worker", lambda lab: lab.alone(broker, {"ping": lambda: None})),
    "time-off": ("Synchronize the clocks", skewed(-60)),
    "url-away": ("Start the bridge", lambda lab: lab.alone(address, public_url=NOBODY)),
    "url-redirected": ("Set PUBLIC_URL to the address that it leads to", lambda lab: lab.something_else((301, b""))),
    "url-no-bridge": ("Start the bridge", lambda lab: lab.something_else((502, b"<html>"))),
    "url-foreign": ("Set PUBLIC_URL to the address that leads", lambda lab: lab.something_else((404, b"<html>"))),
    "url-other-bridge": ("Give it the same PUBLIC_URL", lambda lab: lab.a_bridge(twilio_auth_token="another-token")),
    "url-unsigned": (
        "Set PUBLIC_URL",
        lambda lab: lab.something_else((200, READY), (400, TEXT_MISSING), (400, TEXT_MISSING), (200, READY)),
    ),
    "token-refused": ("Copy TWILIO_ACCOUNT_SID", lambda lab: lab.at_providers(credentials, twilio_auth_token="x")),
    "account-inactive": (
        "Twilio's console says why",
        lambda lab: lab.at_providers(credentials, {"account_status": "suspended"}),
    ),
    "key-refused": ("Make a new API key", lambda lab: lab.at_providers(credentials, **KEY)),
    "twilio-away": ("Check the network", lambda lab: lab.alone(credentials, twilio_api_base_url=NOBODY)),
    "number-away": ("See twilio above", lambda lab: lab.number(twilio_auth_token="another")),
    "number-missing": ("Correct TWILIO_NUMBERS", lambda lab: lab.number(which="+15550009999")),
    "number-no-sms": ("Take a number", Lab.without_sms),
    "webhook-app": ("Run bridge connect", lambda lab: lab.number({"sms_application_sid": "AP1"})),
    "webhook-none": ("Run bridge connect", lambda lab: lab.number({"sms_url": ""})),
    "webhook-elsewhere": ("Run bridge connect", lambda lab: lab.number({"sms_url": "https://demo.example/"})),
    "webhook-method": ("Run bridge connect", lambda lab: lab.number({"sms_method": "GET"})),
    "service-missing": (
        "Correct or remove it",
        lambda lab: lab.at_providers(services, twilio_messaging_service_sid=SERVICE),
    ),
    "service-empty": ("Add one to its sender pool", lambda lab: empty_service(lab)),
    "agent-key-refused": ("Copy RETELL_API_KEY", lambda lab: lab.at_providers(retell, retell_api_key="x")),
    "agent-away": ("Check the network", lambda lab: lab.alone(retell, retell_base_url=NOBODY)),
    "agent-version-missing": ("Publish it", lambda lab: lab.at_providers(retell, retell_agent_version="7")),
    "agent-voice": ("Make a chat agent", lambda lab: lab.at_providers(retell, {"agent_is_voice": True})),
    "agent-missing": ("Copy the id again", lambda lab: lab.at_providers(retell, retell_agent_id="agent_of_another")),
    "encryption-key-missing": ("Put the key back", lambda lab: lab.with_words(OLD, NEW)),
    "check-late": ("Check the network", Lab.hangs),
    "check-failed": ("This is a bug", lambda lab: lab.alone(lambda context: examine(context, {"x": broken}))),
}

WARNINGS: dict[str, tuple[str, Provoke]] = {
    "not-erased": ("Delete each there", Lab.not_erased),
    "setting-unknown": (
        "Did you mean TWILIO_NUMBERS?",
        lambda lab: lab.alone(settings, {"unknown_names": unknown_names({"TWILIO_NUMBER": "x"})}),
    ),
    "url-local": ("Set it to the public https", lambda lab: lab.alone(settings, public_url="http://127.0.0.1:8000")),
    "url-no-https": ("Set an https address", lambda lab: lab.alone(settings, public_url="http://sms.example.com")),
    "no-numbers": ("Set it to the numbers", lambda lab: lab.alone(settings)),
    "no-operator": ("Set ADMIN_TOKEN", lambda lab: lab.alone(settings)),
    "worker-unread": ("Repair the database", lambda lab: lab.alone(workers)),
    "clock-unread": ("Repair the database", lambda lab: lab.alone(clock)),
    "clock-no-trace": ("Set TWILIO_NUMBERS", lambda lab: lab.with_tables(clock)),
    "worker-version": (
        "Restart the processes",
        lambda lab: lab.alone(broker, {"ping": lambda: Pong(NOW, "0.0.1"), "now": lambda: NOW}),
    ),
    "time-differs": ("Synchronize the clocks", skewed(3)),
    "url-reports": ("GET /readyz", lambda lab: lab.a_bridge()),
    "account-trial": ("Upgrade it", lambda lab: lab.at_providers(credentials, {"account_type": "Trial"})),
    "number-unread": ("In Twilio's console, set its webhook", lambda lab: lab.number(which=f"whatsapp:{NUMBER}")),
    "webhook-not-repeated": ("Run bridge connect", lambda lab: lab.number({"sms_url": f"{HERE}/twilio/inbound"})),
    "encryption-rest": ("Run: bridge encrypt", lambda lab: lab.with_words(OLD, f"{NEW},{OLD}")),
    "services-away": ("Let the API key read", lambda lab: lab.at_providers(services, twilio_auth_token="x")),
    "campaign-unverified": ("Twilio's console says what", lambda lab: lab.at_providers(services, MIXED)),
    "toll-free": (
        "Check the verification",
        lambda lab: lab.at_providers(services, twilio_numbers="+18885550111"),
    ),
    "number-without-campaign": ("Add it to a messaging service", lambda lab: lab.at_providers(services)),
    "country-closed": (
        "Allow them in Twilio's console",
        lambda lab: lab.at_providers(countries, {"closed_countries": ("GB",)}, allowed_countries="US,GB"),
    ),
    "agent-unread": ("Compare the id", lambda lab: lab.at_providers(uponai, **UPONAI)),
    "agent-version-unread": (
        "Publish it",
        lambda lab: lab.at_providers(retell, {"agent_published": False, "agent_version": 4}),
    ),
    "agent-silence-short": ("Set end_chat_after_silence_ms", lambda lab: lab.at_providers(retell)),
    "agent-no-transcripts": (
        "Set data_storage_setting",
        lambda lab: lab.at_providers(retell, {"agent_stores": "basic_attributes_only"}),
    ),
}

ELSEWHERE = {"settings-wrong"}
"""It ends the doctor with 2 before any check: ``tests/test_cli.py``."""


def empty_service(lab: Lab) -> Sequence[Finding]:
    server = lab._servers.enter_context(vendor())
    server.says(200, {"services": [{"sid": SERVICE, "use_inbound_webhook_on_number": True}]})
    server.says(200, {"phone_numbers": []})
    server.says(200, {"compliance": []})
    return lab.alone(services, twilio_api_base_url=server.address, twilio_messaging_service_sid=SERVICE)


@pytest.fixture
def lab(doctor: MakeDoctor, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with ExitStack() as servers:
        yield Lab(doctor, servers, request)


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_told_with_its_remedy_and_the_exit_code_is_1(lab: Lab, code: str) -> None:
    remedy, provoke = FAULTS[code]
    found = provoke(lab)
    told = [each for each in found if each.code == code]
    assert [each.mark for each in told] == [Mark.FAULT] * max(1, len(told)), found
    assert all(each.remedy.startswith(remedy) and each.words for each in told)
    assert report.exit_code(found) == 1
    assert all(f"✗ {each.subject}" in report.as_text(found) for each in told)


@pytest.mark.parametrize("code", WARNINGS)
def test_a_warning_is_told_with_its_remedy_and_does_not_count(lab: Lab, code: str) -> None:
    remedy, provoke = WARNINGS[code]
    told = [each for each in provoke(lab) if each.code == code]
    assert [each.mark for each in told] == [Mark.WARNING] * max(1, len(told))
    assert all(each.remedy.startswith(remedy) and each.words for each in told)
    assert report.exit_code(told) == 0


def test_countries_that_can_not_be_read_are_no_fault(lab: Lab) -> None:
    [found] = lab.at_providers(countries, twilio_auth_token="x")
    assert (found.mark, "can't be read" in found.words) == (Mark.OK, True)


@pytest.mark.parametrize("keys", [("", ""), (f"{NEW},{OLD}", NEW), (f"{NEW},{OLD}", f"{NEW},{OLD}")])
def test_keys_that_open_everything_are_no_fault(lab: Lab, keys: tuple[str, str]) -> None:
    found = lab.with_words(*keys)
    assert [each.mark for each in found] == ([Mark.OK] if keys[1] else [])


def test_without_tables_or_a_file_the_words_are_not_looked_at(lab: Lab, tmp_path: Path) -> None:
    assert lab.alone(encryption) == []
    (tmp_path / "empty.sqlite3").touch()
    assert lab.alone(encryption, database_url=f"sqlite:///{tmp_path / 'empty.sqlite3'}") == []


def codes_in(source: str) -> Iterator[str | None]:
    """The code of each finding that this source makes; ``None`` for one without."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = [each.value for each in node.keywords if each.arg == "code"]
            yield from (each.value for each in given if isinstance(each, ast.Constant))
            if node.func.id in ("fault", "warning") and not given:
                yield None


def test_every_finding_of_the_code_is_provoked() -> None:
    sources = [*(ROOT / "doctor").glob("*.py"), *(ROOT / "commands").glob("*.py"), *(ROOT / "setup").glob("*.py")]
    in_the_code = {code for path in sources for code in codes_in(path.read_text())}
    assert in_the_code - {*FAULTS, *WARNINGS} == ELSEWHERE
    assert {*FAULTS, *WARNINGS} - in_the_code == set(), "nothing makes them any more"


@pytest.mark.parametrize(
    ("source", "found"),
    [("fault('x', 'y', 'z', code='a')", ["a"]), ("fault('x', 'y', 'z')", [None]), ("_refused(e, code='b')", ["b"])],
)
def test_a_finding_without_a_code_is_seen(source: str, found: list[str | None]) -> None:
    assert [*codes_in(source)] == found
