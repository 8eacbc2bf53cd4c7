"""The command line as people use it: what it prints, and the code with which it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from bridge import __version__
from bridge.cli import main
from bridge.db import revisions
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Audit, Chat, ChatStatus, Consent, Conversation
from bridge.db.sealing import key_id
from bridge.simulator import Simulator, SimulatorSettings, serve
from testkit.procfile import environment, lines
from tests.environ import ENOUGH
from tests.forked import bridge
from tests.keys import NEW, OLD

BRIDGE = [sys.executable, "-m", "bridge"]
TIMEOUT = 30
"""Seconds for a command that takes one."""

FAULTY = {
    "DATABASE_URL": "mysql://u:not-to-be-shown@host/name",
    "TWILIO_ACCOUNT_SID": "AC-not-to-be-shown",
    "TWILIO_AUTH_TOKEN": "not-to-be-shown",
    "RETELL_API_KEY": "not-to-be-shown",
    "AGENT_TIMEOUT": "soon",
}
FAULTS = ["DATABASE_URL", "PUBLIC_URL", "TWILIO_ACCOUNT_SID", "RETELL_AGENT_ID", "AGENT_TIMEOUT"]


def run(command: list[str], folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it prints as an error is part of what it prints."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )


# -- settings ------------------------------------------------------------------------------------------------------

COMMANDS = {
    "bridge up": ([*BRIDGE, "up"], []),
    "bridge end-stale": ([*BRIDGE, "end-stale"], []),
    **{name: (["/bin/sh", "-c", lines()[name]], ["CELERY_BROKER_URL"]) for name in ("web", "worker", "clock")},
}


@pytest.mark.parametrize(("command", "more_faults"), COMMANDS.values(), ids=COMMANDS)
def test_every_fault_of_the_settings_is_told_at_once(
    tmp_path: Path, command: list[str], more_faults: list[str]
) -> None:
    told = run(command, tmp_path, FAULTY)
    assert told.returncode == 2
    assert sorted(line.split(" ")[0] for line in told.stdout.splitlines()) == sorted(FAULTS + more_faults)
    assert "not-to-be-shown" not in told.stdout


# -- doctor --------------------------------------------------------------------------------------------------------


def test_the_doctor_tells_every_fault_of_the_settings_and_ends_with_2(tmp_path: Path) -> None:
    told = bridge(["doctor"], tmp_path, FAULTY)
    assert told.returncode == 2
    rows = [line.split() for line in told.stdout.splitlines() if "settings" in line]
    assert sorted(name for _, _, name, *_ in rows) == sorted(FAULTS)
    assert "not-to-be-shown" not in told.stdout


def test_the_doctor_ends_with_1_after_a_fault(tmp_path: Path) -> None:
    away = {"PUBLIC_URL": "http://127.0.0.1:1", "TWILIO_API_BASE_URL": "http://127.0.0.1:1"}
    told = bridge(["doctor", "--json"], tmp_path, {**ENOUGH, **away, "RETELL_BASE_URL": "http://127.0.0.1:1"})
    assert told.returncode == 1
    read = json.loads(told.stdout)
    faults = [each for each in read["findings"] if each["mark"] == "fault"]
    assert {"database", "PUBLIC_URL"} <= {each["subject"] for each in faults}
    assert read["faults"] == len(faults)
    assert all(each["remedy"] for each in faults)


# -- the database --------------------------------------------------------------------------------------------------


def test_the_migrations_need_nothing_but_the_database(tmp_path: Path, bare_database_url: str) -> None:
    for _ in range(2):
        told = bridge(["db", "upgrade"], tmp_path, {"DATABASE_URL": bare_database_url})
        assert told.returncode == 0, told.stdout
        assert told.stdout.splitlines()[-1] == f"The database is at {revisions.head()}."
    engine = build_engine(bare_database_url)
    with engine.connect() as connection:
        assert revisions.at_head(connection)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://somebody:not-to-be-shown@127.0.0.1:1/name", "refused"),
        ("sqlite:////no/such/folder/bridge.sqlite3", "unable to open"),
    ],
)
def test_a_database_that_is_not_there_is_told_in_plain_words(tmp_path: Path, url: str, words: str) -> None:
    told = bridge(["db", "upgrade"], tmp_path, {"DATABASE_URL": url})
    assert told.returncode == 1
    assert words in told.stdout
    assert "Look at DATABASE_URL" in told.stdout
    assert "Traceback" not in told.stdout
    assert "not-to-be-shown" not in told.stdout


def test_a_database_that_can_not_store_what_people_write_is_told_by_every_front_door(
    tmp_path: Path, postgres: Any
) -> None:
    enough = {**ENOUGH, "CELERY_BROKER_URL": "redis://127.0.0.1:1"}
    commands = {"db upgrade": [*BRIDGE, "db", "upgrade"], **{name: command for name, (command, _) in COMMANDS.items()}}
    with postgres.database("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'") as url:
        for name, command in commands.items():
            told = run(command, tmp_path, {**enough, "DATABASE_URL": url})
            assert told.returncode == 2, name
            [line] = told.stdout.splitlines()
            assert line.startswith("DATABASE_URL leads to a database in the encoding LATIN1")


def test_a_file_that_is_no_database_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "bridge.sqlite3").write_text("a letter to my aunt " * 100)
    told = bridge(["db", "upgrade"], tmp_path, {})
    assert (told.returncode, "Traceback" in told.stdout) == (1, False)
    assert "file is not a database" in told.stdout


# -- end-stale -----------------------------------------------------------------------------------------------------


class Restaurant:
    """A simulated agent with some idle chats, and the database that knows of them."""

    def __init__(self, folder: Path, database_url: str, simulator: Simulator, vendors: str, sessions: Sessions) -> None:
        self._folder = folder
        self._database_url = database_url
        self._simulator = simulator
        self._vendors = vendors
        self._sessions = sessions

    def stored_note(self) -> str:
        """The note for the agent as the table has it."""
        with self._sessions() as session:
            return str(session.connection().exec_driver_sql("SELECT agent_note FROM conversations").scalar_one())

    def has_chat(self, idle: timedelta, phone: str = "", note: str | None = None) -> str:
        """A person whose chat is idle for so long."""
        agent = self._simulator.settings.agent_id
        chat_id = self._simulator.agent.create(agent, 0, {}, {}).id
        then = datetime.now(UTC) - idle
        with self._sessions.begin() as session:
            person = Conversation(bridge_number="+15550001111", phone=phone or f"+1555{chat_id}", created_at=then)
            person.agent_note = note
            session.add(person)
            session.flush()
            session.add(
                Chat(
                    conversation_id=person.id,
                    provider="retell",
                    provider_chat_id=chat_id,
                    status=ChatStatus.ONGOING,
                    started_at=then,
                    last_activity_at=then,
                )
            )
        return chat_id

    def ended(self) -> set[str]:
        """The chats that are over at the provider."""
        return {chat.id for chat in self._simulator.agent.chats() if chat.ended is not None}

    def at_provider(self) -> set[str]:
        return {chat.id for chat in self._simulator.agent.chats()}

    def known(self) -> set[tuple[str, ChatStatus]]:
        """The chats as the bridge has them."""
        with self._sessions() as session:
            return {(row.provider_chat_id, row.status) for row in session.scalars(select(Chat))}

    def recorded(self, words: str) -> None:
        """A person has opted out by these words."""
        now, number = datetime.now(UTC), "+15550001111"
        covered = {"phone": PHONE, "bridge_number": number, "scope": number, "wants_texts": False}
        with self._sessions.begin() as session:
            session.add(Consent(at=now, recorded_at=now, channel="sms", cause="by text", words=words, **covered))

    def audit(self) -> list[tuple[str, str, str]]:
        with self._sessions() as session:
            return [(row.operator, row.action, row.subject) for row in session.scalars(select(Audit))]

    def fails_to_end(self, times: int) -> None:
        self._simulator.faults.next("agent_500", times, calls=["end"])

    def end_stale(self, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return bridge(["end-stale", *options], self._folder, self.settings | settings)

    @property
    def settings(self) -> dict[str, str]:
        settings = self._simulator.settings
        return {
            "DATABASE_URL": self._database_url,
            "PUBLIC_URL": "https://bridge.example.com",
            "TWILIO_ACCOUNT_SID": settings.account_sid,
            "TWILIO_AUTH_TOKEN": settings.auth_token,
            "TWILIO_API_BASE_URL": self._vendors,
            "RETELL_API_KEY": settings.retell_api_key,
            "RETELL_AGENT_ID": settings.agent_id,
            "RETELL_BASE_URL": self._vendors,
        }


@pytest.fixture
def restaurant(tmp_path: Path, sqlite_url: str) -> Iterator[Restaurant]:
    simulator = Simulator(SimulatorSettings())
    engine = build_engine(sqlite_url)
    with serve(simulator) as vendors:
        yield Restaurant(tmp_path, sqlite_url, simulator, vendors, build_sessions(engine))
    engine.dispose()


def test_stale_chats_are_ended_at_the_provider_and_others_are_left_alone(restaurant: Restaurant) -> None:
    stale = {restaurant.has_chat(timedelta(hours=idle)) for idle in (2, 30)}
    fresh = restaurant.has_chat(timedelta(minutes=30))
    told = restaurant.end_stale("--idle", "1h")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "2 chats ended.")
    assert "Ending stale chats" in told.stdout
    assert restaurant.ended() == stale
    assert restaurant.known() == {(chat, ChatStatus.ENDED) for chat in stale} | {(fresh, ChatStatus.ONGOING)}
    assert restaurant.audit() == [("a command", "end_stale", "2 chats")]


def test_a_dry_run_counts_and_ends_nothing(restaurant: Restaurant) -> None:
    restaurant.has_chat(timedelta(hours=2))
    told = restaurant.end_stale("--idle", "1h", "--dry-run")
    assert (told.returncode, told.stdout) == (0, "1 chats are stale. Nothing was ended.\n")
    assert restaurant.ended() == set()


@pytest.mark.parametrize(("stale_after", "chats"), [("1h", 2), ("", 1), ("48h", 0)])
def test_what_counts_as_stale_is_taken_from_the_settings(restaurant: Restaurant, stale_after: str, chats: int) -> None:
    """Empty means that nothing is ended by itself; who asks for it means a day."""
    for idle in (2, 30):
        restaurant.has_chat(timedelta(hours=idle))
    told = restaurant.end_stale("--dry-run", STALE_AFTER=stale_after)
    assert told.stdout.startswith(f"{chats} chats are stale")


def test_a_chat_that_the_provider_does_not_end_now_is_left_to_the_bridge(restaurant: Restaurant) -> None:
    for _ in range(3):
        restaurant.has_chat(timedelta(hours=2))
    restaurant.fails_to_end(1)
    told = restaurant.end_stale("--idle", "1h")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "2 chats ended. 1 are left to the running bridge.")
    assert len(restaurant.ended()) == 2
    assert sorted(status for _, status in restaurant.known()) == ["ended", "ended", "ending"]


def test_a_terminal_shows_how_far_it_is(restaurant: Restaurant, tmp_path: Path) -> None:
    for _ in range(4):
        restaurant.has_chat(timedelta(hours=2))
    shown = run_in_terminal([*BRIDGE, "end-stale", "--idle", "1h"], tmp_path, restaurant.settings)
    assert re.findall(r"Ending stale chats .*?(\d+)%", shown)[-1] == "100"
    assert "4 chats ended." in shown


def run_in_terminal(command: list[str], folder: Path, settings: dict[str, str]) -> str:
    ours, theirs = os.openpty()
    with subprocess.Popen(command, cwd=folder, env=environment(settings), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""  # nobody writes there any more


# -- purge ---------------------------------------------------------------------------------------------------------


def test_the_purge_counts_first_and_then_deletes(restaurant: Restaurant, tmp_path: Path) -> None:
    restaurant.has_chat(timedelta(days=100))
    counted = bridge(["purge", "--older-than", "90d", "--dry-run"], tmp_path, restaurant.settings)
    assert counted.returncode == 0, counted.stdout
    assert "Nothing was deleted." in counted.stdout
    told = bridge(["purge", "--older-than", "90d"], tmp_path, restaurant.settings)
    assert told.returncode == 0, told.stdout
    assert "Purging" in told.stdout
    assert "0  messages" in told.stdout
    assert "1  rows are old enough and stay" in told.stdout
    assert restaurant.audit() == [("a command", "purge", "old texts")]


@pytest.mark.parametrize("age", ["23h", "soon"])
def test_an_age_that_is_too_young_is_refused(age: str) -> None:
    told = CliRunner().invoke(main, ["purge", "--older-than", age])
    assert told.exit_code == 2
    assert "Invalid value for '--older-than'" in told.output


# -- export --------------------------------------------------------------------------------------------------------


def test_an_export_is_a_file_that_only_its_owner_reads(restaurant: Restaurant, tmp_path: Path) -> None:
    phone, output = "+15551230001", tmp_path / "person.json"
    restaurant.has_chat(timedelta(hours=1), phone)
    command = ["export", phone, "--output", str(output)]
    told = bridge(command, tmp_path, restaurant.settings)
    assert told.returncode == 0, told.stdout
    assert phone not in told.stdout
    assert output.stat().st_mode & 0o777 == 0o600
    [conversation] = json.loads(output.read_text())["conversations"]
    assert (conversation["phone"], len(conversation["chats"])) == (phone, 1)
    again = bridge(command, tmp_path, restaurant.settings)
    assert again.returncode == 1
    assert "name a new file" in again.stdout


def test_an_export_of_a_stranger_says_so(restaurant: Restaurant, tmp_path: Path) -> None:
    told = bridge(["export", "+15559998888"], tmp_path, restaurant.settings)
    assert told.returncode == 1
    assert "nothing is stored about +1555…88" in told.stdout


# -- forget --------------------------------------------------------------------------------------------------------

PHONE = "+15551230001"


def test_a_person_is_forgotten_here_and_at_the_provider(restaurant: Restaurant, tmp_path: Path) -> None:
    for phone in (PHONE, "+15551230002"):
        restaurant.has_chat(timedelta(hours=1), phone)
    counted = bridge(["forget", PHONE, "--dry-run"], tmp_path, restaurant.settings)
    assert counted.returncode == 0, counted.stdout
    assert "1  chats at retell: they are deleted there" in counted.stdout
    assert "Nothing was deleted." in counted.stdout
    told = bridge(["forget", PHONE, "--yes"], tmp_path, restaurant.settings)
    assert told.returncode == 0, told.stdout
    assert "Everything about +1555…01 is deleted here." in told.stdout
    assert PHONE not in counted.stdout + told.stdout
    assert len(restaurant.known()) == 1
    assert restaurant.at_provider() == {chat for chat, _ in restaurant.known()}
    assert restaurant.audit() == [("a command", "forget", "person +1555…01")]


def test_forgetting_asks_first(restaurant: Restaurant, tmp_path: Path) -> None:
    restaurant.has_chat(timedelta(hours=1), PHONE)
    told = bridge(["forget", PHONE], tmp_path, restaurant.settings)
    assert told.returncode == 1
    assert "for good?" in told.stdout
    assert len(restaurant.known()) == 1


def test_what_can_not_be_forgotten_is_told(restaurant: Restaurant, tmp_path: Path) -> None:
    restaurant.recorded("STOP")
    told = bridge(["forget", PHONE], tmp_path, restaurant.settings)
    assert told.returncode == 1
    assert "there is nothing of +1555…01 to delete. The consent record has 1 rows of the person." in told.stdout


# -- consent -------------------------------------------------------------------------------------------------------


def test_the_consent_record_is_written_as_it_is_and_no_cell_is_a_formula(
    restaurant: Restaurant, tmp_path: Path
) -> None:
    restaurant.recorded('=HYPERLINK("http://x.example")')
    told = bridge(["consent"], tmp_path, restaurant.settings)
    assert json.loads(told.stdout)["words"] == '=HYPERLINK("http://x.example")'
    told = bridge(["consent", "--csv"], tmp_path, restaurant.settings)
    [row] = csv.DictReader(io.StringIO(told.stdout))
    assert (row["phone"], row["words"]) == (PHONE, '\'=HYPERLINK("http://x.example")')


# -- encrypt -------------------------------------------------------------------------------------------------------


def test_words_are_encrypted_brought_under_a_new_key_and_decrypted(restaurant: Restaurant, tmp_path: Path) -> None:
    restaurant.has_chat(timedelta(hours=1), PHONE, note="likes tangerines")
    [first, second] = [bridge(["encrypt", "--new-key"], tmp_path, {}).stdout.strip() for _ in range(2)]
    steps = [
        (first, [], f"All words are under the key {key_id(first)}. Other keys may be removed."),
        (f"{second},{first}", [], f"All words are under the key {key_id(second)}. Other keys may be removed."),
        (second, ["--decrypt"], "All words are in plain text. Remove ENCRYPTION_KEYS, and start the bridge."),
    ]
    for keys, more, last in steps:
        settings = {**restaurant.settings, "ENCRYPTION_KEYS": keys}
        told = bridge(["encrypt", *more], tmp_path, settings)
        assert (told.returncode, told.stdout.splitlines()[-1]) == (0, last), told.stdout
        assert first not in told.stdout
        exported = bridge(["export", PHONE], tmp_path, settings)
        assert "likes tangerines" in exported.stdout
        assert ("likes tangerines" in restaurant.stored_note()) == bool(more)
    deeds = [deed for deed in restaurant.audit() if deed[1] != "export"]
    assert deeds == [("a command", action, "all words") for action in ("encrypt", "encrypt", "decrypt")]


def test_without_a_key_nothing_is_encrypted(restaurant: Restaurant, tmp_path: Path) -> None:
    told = bridge(["encrypt"], tmp_path, restaurant.settings)
    assert (told.returncode, told.stdout) == (
        1,
        "Error: ENCRYPTION_KEYS is not set; make a key with: bridge encrypt --new-key\n",
    )


def test_words_whose_key_is_not_set_are_left_and_told(restaurant: Restaurant, tmp_path: Path) -> None:
    restaurant.has_chat(timedelta(hours=1), PHONE, note="likes tangerines")
    assert bridge(["encrypt"], tmp_path, {**restaurant.settings, "ENCRYPTION_KEYS": OLD}).returncode == 0
    told = bridge(["encrypt"], tmp_path, {**restaurant.settings, "ENCRYPTION_KEYS": NEW})
    assert told.returncode == 1
    assert told.stdout.splitlines()[-1] == (
        f"Error: not all words are under the key {key_id(NEW)}: "
        "1 rows can't be decrypted, because their key is not set, or the row is damaged"
    )
    both = {**restaurant.settings, "ENCRYPTION_KEYS": f"{NEW},{OLD}"}
    assert bridge(["encrypt"], tmp_path, both).returncode == 0


# -- how it is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", ["soon", "1", "0s", "-1h", "1w", "1.5h", "", "9999999d"])
def test_a_duration_that_is_none_is_refused_with_an_example(duration: str) -> None:
    told = CliRunner().invoke(main, ["end-stale", f"--idle={duration}"])
    assert told.exit_code == 2
    assert "Invalid value for '--idle'" in told.output
    assert re.search(r"\b\d+d\b", told.output.splitlines()[-1])


def test_help_names_every_command(tmp_path: Path) -> None:
    told = bridge(["--help"], tmp_path, {})
    assert told.returncode == 0
    people = ("consent", "encrypt", "export", "forget", "purge")
    for command in ("backup", "connect", "db", "demo", "doctor", "end-stale", "init", "mcp", "up", *people):
        assert re.search(rf"^  {command} +[A-Z]", told.stdout, re.MULTILINE)


def test_the_version_is_told(tmp_path: Path) -> None:
    told = run([*BRIDGE, "--version"], tmp_path, {})
    assert (told.returncode, told.stdout.split()[-1]) == (0, __version__)


def test_a_command_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    told = bridge(["nonsense"], tmp_path, {})
    assert told.returncode == 2
    assert "No such command 'nonsense'" in told.stdout
