"""``bridge init`` as people use it: at a terminal or by a script, with the simulator as the provider over real HTTP."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from bridge.cli import main
from bridge.config import Settings
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.setup.terminal import Terminal
from tests.vendor import closed_port

HTTPS = "https://sms.example.com"
WRONG = "not-to-be-shown"
LONG = 259_200.0
NUMBER, OTHER = "+15550001111", "+15550002222"
AGAIN = "Keep it all the same? [y/N]: "


class Place:
    """A folder for the file, and the simulated providers."""

    def __init__(self, folder: Path, address: str, its: SimulatorSettings) -> None:
        self.folder = folder
        self.its = its
        self.settings = dict.fromkeys(("TWILIO_API_BASE_URL", "RETELL_BASE_URL", "UPONAI_BASE_URL"), address)
        self.known = {
            "PUBLIC_URL": HTTPS,
            "TWILIO_ACCOUNT_SID": its.account_sid,
            "TWILIO_AUTH_TOKEN": its.auth_token,
            "RETELL_API_KEY": its.retell_api_key,
            "RETELL_AGENT_ID": its.agent_id,
        }
        """The five answers that fit."""

    @property
    def file(self) -> Path:
        return self.folder / ".env"

    def written(self) -> dict[str, str | None]:
        return dotenv_values(self.file, interpolate=False)

    def terminal(self) -> Terminal:
        """A person at a real terminal."""
        return Terminal(self.folder, self.settings, "init")

    def asked(self, *answers: str, options: Sequence[str] = (), **environ: str) -> Result:
        """The answers of a person, one after the other. An empty one is Enter alone."""
        return CliRunner().invoke(main, ["init", *options], "\n".join([*answers, ""]), self.settings | environ)

    def script(self, *options: str, **environ: str) -> Result:
        """Nobody is there to be asked."""
        return self.asked(options=["--yes", *options], **environ)


MakePlace = Callable[..., Place]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlace]:
    """It makes a place with these settings of the simulator."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as servers:

        def made(**account: Any) -> Place:
            its = SimulatorSettings(**{"silence_seconds": LONG, **account})
            return Place(tmp_path, servers.enter_context(serve(Simulator(its))), its)

        yield made


# -- at a terminal -------------------------------------------------------------------------------------------------


def test_the_five_answers_a_number_and_a_name_make_a_file_for_its_owner_alone(place: MakePlace) -> None:
    it = place()
    with closing(it.terminal()) as terminal:
        terminal.answers(PUBLIC_URL=HTTPS, TWILIO_ACCOUNT_SID=it.its.account_sid, TWILIO_AUTH_TOKEN=it.its.auth_token)
        terminal.is_asked("the account is active, and its token fits.")
        terminal.answers(AGENT_PROVIDER="", RETELL_API_KEY=it.its.retell_api_key)
        terminal.is_asked("the key is one of Harbour Table.")
        terminal.answers(RETELL_AGENT_ID=it.its.agent_id)
        terminal.is_asked("is a chat agent, and has the version latest_published.")
        terminal.is_asked(f"{NUMBER} can send and receive texts").answers(TWILIO_NUMBERS="")
        terminal.is_asked("Your name at /console").is_asked(": ").types("ana")
        assert "bridge connect NUMBER" in terminal.ends(0)

    written = it.written()
    name, _, token = str(written.pop("ADMIN_TOKENS")).partition(":")
    assert (name, len(token)) == ("ana", 32)
    assert written == {**it.known, "AGENT_PROVIDER": "retell", "TWILIO_NUMBERS": NUMBER}
    assert stat.S_IMODE(it.file.stat().st_mode) == 0o600
    for secret in (it.its.auth_token, it.its.retell_api_key, token):
        assert secret not in terminal.shown
    assert [*Settings.load({key: str(value) for key, value in it.written().items()}).operators] == ["ana"]


def test_ctrl_c_in_the_middle_writes_nothing(place: MakePlace) -> None:
    it = place()
    with closing(it.terminal()) as terminal:
        terminal.answers(PUBLIC_URL=HTTPS, TWILIO_ACCOUNT_SID=it.its.account_sid)
        terminal.is_asked("TWILIO_AUTH_TOKEN (").is_asked(": ").presses_ctrl_c()
        assert "nothing was written" in terminal.ends(1)
    assert [*it.folder.iterdir()] == []


# -- wrong answers -------------------------------------------------------------------------------------------------

NO, YES, ENTER = "n", "y", ""


def test_a_wrong_answer_is_told_and_asked_for_again_and_the_others_are_kept(place: MakePlace) -> None:
    it = place()
    told = it.asked(
        *("sms.example.com", "http://sms.example.com", NO, HTTPS),
        *("AC123", it.its.account_sid, WRONG, NO, ENTER, it.its.auth_token),
        *("both", "retell", WRONG, NO, it.its.retell_api_key),
        *("agent_of_another", NO, it.its.agent_id),
        *(OTHER, NO, NUMBER),
        *("1", "ana"),
    )
    assert told.exit_code == 0, told.output
    assert told.output.count(AGAIN) == 5
    in_this_order = [
        "Error: PUBLIC_URL is not a web address; write it like https://bridge.example.com",
        "PUBLIC_URL has no https, so texts cross the network in the clear. Set an https address.",
        "Error: TWILIO_ACCOUNT_SID does not look right; it is AC and 32 digits or letters from a to f",
        "TWILIO_AUTH_TOKEN is refused: Authenticate. Copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again",
        "Error: AGENT_PROVIDER is not one of the choices; write 'retell' or 'uponai'",
        "RETELL_API_KEY is refused: API key is missing or invalid. Copy RETELL_API_KEY again",
        "is not there. Copy the id again from Retell's dashboard",
        "the account does not have it. Correct TWILIO_NUMBERS",
        "Error: ADMIN_TOKENS at its entry 1: the name must begin with a letter",
    ]
    assert [told.output.count(words) for words in in_this_order] == [1] * len(in_this_order)
    assert sorted(in_this_order, key=told.output.index) == in_this_order
    assert it.known.items() <= it.written().items()
    assert WRONG not in told.output


@pytest.mark.parametrize(
    ("account", "environ", "words"),
    [
        ({"agent_is_voice": True}, {}, "is a voice agent, which can't text. Make a chat agent and set its id."),
        ({"agent_published": False}, {}, "has no version latest_published. Publish it in Retell's dashboard"),
        ({"account_status": "suspended"}, {}, "the account is suspended. Twilio's console says why"),
        ({}, {"TWILIO_API_BASE_URL": "http://127.0.0.1:1"}, "can't be asked: not reached"),
    ],
)
def test_what_the_person_can_not_mend_now_may_be_kept(
    place: MakePlace, account: dict[str, Any], environ: dict[str, str], words: str
) -> None:
    it = place(**account)
    at_twilio = "account_status" in account or bool(environ)
    answers = [ENTER, ENTER, ENTER, *[YES] * at_twilio, ENTER, ENTER, ENTER, *[YES] * (not at_twilio), ENTER, ENTER]
    told = it.asked(*answers, **it.known | environ)
    assert told.exit_code == 0, told.output
    assert words in told.output
    assert it.known.items() <= it.written().items()


ALL_KEPT = [ENTER] * 6


def test_of_several_numbers_none_is_chosen_for_the_person(place: MakePlace) -> None:
    """The bridge would answer texts that are meant for somebody else."""
    it = place(more_numbers=(OTHER,))
    told = it.asked(*ALL_KEPT, ENTER, ADMIN_TOKEN="known-to-nobody", **it.known)
    assert told.exit_code == 0, told.output
    assert all(f"{number} can send and receive texts" in told.output for number in (NUMBER, OTHER))
    assert (it.written()["TWILIO_NUMBERS"], "ADMIN_TOKENS" in it.written()) == ("", False)


def test_uponai_has_questions_of_its_own(place: MakePlace) -> None:
    it = place()
    workspace, agent = str(it.its.uponai_workspace_id), it.its.uponai_agent_id
    of_uponai = [it.its.uponai_api_key, "7", NO, ENTER, workspace, agent]
    told = it.asked(ENTER, ENTER, ENTER, "uponai", *of_uponai, ENTER, ENTER, **it.known)
    assert told.exit_code == 0, told.output
    assert "UPONAI_API_KEY or UPONAI_WORKSPACE_ID is refused" in told.output
    assert "the token fits the workspace" in told.output
    assert (it.written()["UPONAI_WORKSPACE_ID"], it.written()["UPONAI_AGENT_ID"]) == (workspace, agent)
    assert "RETELL_API_KEY" not in it.written()


def test_offline_nothing_is_checked_at_a_provider(place: MakePlace) -> None:
    it = place()
    it.settings = dict.fromkeys(it.settings, f"http://127.0.0.1:{closed_port()}")
    wrong = it.known | {"TWILIO_AUTH_TOKEN": WRONG, "RETELL_API_KEY": WRONG}
    told = it.asked(*ALL_KEPT, NUMBER, ENTER, options=["--offline"], **wrong)
    assert told.exit_code == 0, told.output
    assert wrong.items() <= it.written().items()


# -- a file that is there --------------------------------------------------------------------------------------------

BEFORE = "\ufeff# ours\nSTALE_AFTER=12h # short\nexport RETELL_API_KEY='old'\nMEDIA_REPLY=\"Sorry\"\nPUBLIC_URL=old"


def test_a_file_is_not_changed_without_a_yes(place: MakePlace) -> None:
    it = place()
    it.file.write_text(BEFORE)
    told = it.asked(NO)
    assert told.output.startswith(".env is there. Change it? Its other lines stay [Y/n]: ")
    assert (told.exit_code, "nothing was written" in told.output) == (1, True)
    assert it.file.read_text() == BEFORE


def test_its_other_lines_stay(place: MakePlace) -> None:
    it = place()
    it.file.write_text(BEFORE)
    it.file.chmod(0o644)
    answers = [YES, HTTPS, it.its.account_sid, "it's", ENTER, ENTER, "agent_1", ENTER]
    told = it.asked(*answers, options=["--offline"], ADMIN_TOKEN="known-to-nobody")
    assert told.exit_code == 0, told.output
    lines = ["# ours", "STALE_AFTER=12h # short", "RETELL_API_KEY=old", 'MEDIA_REPLY="Sorry"', f"PUBLIC_URL={HTTPS}"]
    assert it.file.read_text().splitlines()[:5] == lines
    assert it.written()["TWILIO_AUTH_TOKEN"] == "it's"
    assert stat.S_IMODE(it.file.stat().st_mode) == 0o600


# -- by a script ---------------------------------------------------------------------------------------------------


def test_a_script_is_asked_nothing_and_the_only_number_is_taken(place: MakePlace) -> None:
    it = place()
    told = it.script("--public-url", HTTPS, **{k: v for k, v in it.known.items() if k != "PUBLIC_URL"})
    assert told.exit_code == 0, told.output
    written = it.written()
    assert str(written.pop("ADMIN_TOKENS")).startswith("operator:")
    assert written == {**it.known, "AGENT_PROVIDER": "retell", "TWILIO_NUMBERS": NUMBER}
    assert stat.S_IMODE(it.file.stat().st_mode) == 0o600


def test_a_script_gets_all_faults_of_the_values_at_once_and_nothing_is_written(place: MakePlace) -> None:
    it = place()
    told = it.script("--twilio-account-sid", "AC1", "--retell-agent-id", "agent_1")
    assert told.exit_code == 2
    assert [line.split()[0] for line in told.stderr.splitlines()] == [
        "PUBLIC_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "RETELL_API_KEY",
    ]
    assert not it.file.exists()


@pytest.mark.parametrize("wrong", ["TWILIO_AUTH_TOKEN", "RETELL_API_KEY", "RETELL_AGENT_ID"])
def test_a_script_ends_with_1_after_a_fault_of_a_provider_and_nothing_is_written(place: MakePlace, wrong: str) -> None:
    it = place()
    told = it.script(**it.known | {wrong: WRONG})
    assert told.exit_code == 1
    assert "✗" in told.output
    assert wrong == "RETELL_AGENT_ID" or WRONG not in told.output
    assert not it.file.exists()


def test_a_script_offline_needs_no_provider(place: MakePlace) -> None:
    it = place()
    told = it.script("--offline", **it.known | {"TWILIO_API_BASE_URL": f"http://127.0.0.1:{closed_port()}"})
    assert told.exit_code == 0, told.output
    assert "TWILIO_NUMBERS" not in it.written()


def test_faults_of_other_settings_are_told_after_the_writing(place: MakePlace) -> None:
    it = place()
    it.file.write_text("AGENT_TIMEOUT=soon\n")
    told = it.script("--offline", **it.known)
    assert (told.exit_code, told.stderr.split()[0]) == (2, "AGENT_TIMEOUT")
    assert it.known.items() <= it.written().items()


def test_a_value_of_the_environment_that_counts_more_is_told(place: MakePlace) -> None:
    it = place()
    told = it.script("--offline", "--public-url", "https://new.example.com", **it.known)
    assert told.exit_code == 0
    assert "The environment has other values, which count: PUBLIC_URL" in told.output


def test_a_secret_that_a_file_has_is_neither_asked_for_nor_written(place: MakePlace) -> None:
    it = place()
    (it.folder / "token").write_text(it.its.auth_token)
    others = {name: text for name, text in it.known.items() if name != "TWILIO_AUTH_TOKEN"}
    by_file = {"TWILIO_AUTH_TOKEN_FILE": str(it.folder / "token"), "ADMIN_TOKEN": "known-to-nobody"}
    for told in (run(**others | by_file) for run in (partial(it.asked, *ALL_KEPT), it.script)):
        assert told.exit_code == 0, told.output
        assert "the account is active, and its token fits" in told.output
        assert "TWILIO_AUTH_TOKEN" not in it.written()
        it.file.unlink()
