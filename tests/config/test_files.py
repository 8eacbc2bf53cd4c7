"""Secrets by file: what is read, what is refused in words that name the file, and which settings have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import DatabaseSettings, ServerSettings, Settings, SettingsError
from bridge.config.files import MOST
from bridge.config.values import secret_names
from bridge.lib.log import secrets_in
from tests.environ import ENOUGH
from tests.keys import NEW, OLD

VALUES = {
    "DATABASE_URL": "sqlite:///x.sqlite3",
    "CELERY_BROKER_URL": "redis://:pw@r",
    "CLOUDAMQP_URL": "amqp://u:pw@r",
    "REDIS_URL": "redis://:pw@s",
    "TWILIO_AUTH_TOKEN": "t1",
    "TWILIO_AUTH_TOKEN_SECONDARY": "t2",
    "TWILIO_API_SECRET": "s1",
    "RETELL_API_KEY": "k1",
    "UPONAI_API_KEY": "k2",
    "UPONAI_WEBHOOK_KEY": "k3",
    "HANDOFF_WEBHOOK": "https://team.example.com/x?key=1",
    "HANDOFF_WEBHOOK_SECRET": "s2",
    "ENCRYPTION_KEYS": f"{NEW},{OLD}",
    "ADMIN_TOKEN": "a1",
    "ADMIN_TOKENS": "ana:a2",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k4",
    "SENTRY_DSN": "https://k5@errors.example.com/1",
}
"""One of every secret."""

BESIDE = {"TWILIO_API_SECRET": {"TWILIO_API_KEY": "SK" + "0" * 32}}
BESIDE |= {
    "HANDOFF_WEBHOOK": {"HANDOFF_WEBHOOK_SECRET": "s2"},
    "HANDOFF_WEBHOOK_SECRET": {"HANDOFF_WEBHOOK": "https://x.y"},
}
"""What must be set too."""


def faults_of(environ: dict[str, str], kind: type[DatabaseSettings] = Settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        kind.load(environ)
    return caught.value.faults


def test_every_secret_setting_has_a_file() -> None:
    assert sorted(secret_names(Settings)) == sorted(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_the_content_of_the_file_is_the_value(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"\ufeff  {VALUES[name]}\r\n\n")
    others = {key: value for key, value in ENOUGH.items() if key != name} | BESIDE.get(name, {})
    assert Settings.load({**others, f"{name}_FILE": str(file)}) == Settings.load({**others, name: VALUES[name]})


def test_a_secret_of_a_file_is_kept_out_of_the_log_too(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("key-of-the-file")
    its = Settings.load({**ENOUGH, "RETELL_API_KEY": "", "RETELL_API_KEY_FILE": str(tmp_path / "k")})
    assert "key-of-the-file" in secrets_in(its)


def test_both_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("token")
    assert faults_of({**ENOUGH, "TWILIO_AUTH_TOKEN_FILE": str(tmp_path / "t")}) == [
        "TWILIO_AUTH_TOKEN_FILE and TWILIO_AUTH_TOKEN are both set; remove one of them"
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "which can't be read (No such file or directory); correct it"),
        (b" \n", "which is empty; write the value into it"),
        (b"\xff\xfe", "which is no text in UTF-8; write the value alone into it"),
        (b"x" * (MOST + 1), "which is too large; write the value alone into it"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_fault_that_names_it(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    without = {name: text for name, text in ENOUGH.items() if name != "TWILIO_AUTH_TOKEN"}
    assert faults_of({**without, "TWILIO_AUTH_TOKEN_FILE": str(file)}) == [
        f"TWILIO_AUTH_TOKEN_FILE names {file}, {fault}"
    ]


def test_a_file_that_no_setting_has_is_not_blamed_for_its_value() -> None:
    [fault] = faults_of({**ENOUGH, "PUBLIC_URL": "ftp://x", "PUBLIC_URL_FILE": "/run/secrets/url"})
    assert fault.startswith("PUBLIC_URL ")


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    [fault] = faults_of({"DATABASE_URL_FILE": str(tmp_path)}, DatabaseSettings)
    assert fault == f"DATABASE_URL_FILE names {tmp_path}, which can't be read (Is a directory); correct it"


def test_a_value_that_does_not_fit_is_told_by_the_name_of_its_file_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("not-to be-shown")
    without = {name: text for name, text in ENOUGH.items() if name != "TWILIO_AUTH_TOKEN"}
    [fault] = faults_of({**without, "TWILIO_AUTH_TOKEN_FILE": str(tmp_path / "t")})
    assert fault.startswith("TWILIO_AUTH_TOKEN_FILE has a blank as character 7")
    assert "be-shown" not in fault


def test_a_broker_by_file_counts_as_its_name_does(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("amqp://by-file")
    its = ServerSettings.load({**ENOUGH, "REDIS_URL": "redis://r", "CLOUDAMQP_URL_FILE": str(tmp_path / "b")})
    assert its.broker_url == "amqp://by-file"


def test_faults_of_values_of_files_and_of_settings_together_come_at_once(tmp_path: Path) -> None:
    wrong = {
        "PUBLIC_URL": "nowhere",
        "TWILIO_AUTH_TOKEN_FILE": str(tmp_path / "none"),
        "TWILIO_AUTH_TOKEN": "",
        "TWILIO_API_KEY": "SK" + "0" * 32,
        "HANDOFF_NUMBER": "+15550001111",
        "TWILIO_NUMBERS": "+15550001111",
        "HANDOFF_WEBHOOK": "https://x.example",
        "HANDOFF_ON": "silence",
        "SILENT_TURNS": "0",
        "HANDOFF_GIVE_BACK": "true",
        "ADMIN_TOKEN": "same",
        "ADMIN_TOKENS": "ana:same",
        "REPLY_DEBOUNCE": "1h",
        "EXTRA_STOP_WORDS": "go",
        "EXTRA_HELP_WORDS": "go",
        "REDIS_URL": "redis://r",
        "REDIS_TLS_VERIFY": "true",
        "HTTPS_PROXY": "socks5://x",
        "AGENT_TIMEOUT": "soon",
    }
    first_words = {fault.split(" ")[0] for fault in faults_of(ENOUGH | wrong)}
    assert first_words == {
        *("PUBLIC_URL", "TWILIO_AUTH_TOKEN_FILE", "TWILIO_API_SECRET", "HANDOFF_NUMBER", "HANDOFF_WEBHOOK_SECRET"),
        *("SILENT_TURNS", "HANDOFF_GIVE_BACK", "ADMIN_TOKENS", "REPLY_DEBOUNCE", "EXTRA_HELP_WORDS"),
        *("REDIS_TLS_VERIFY", "HTTPS_PROXY", "AGENT_TIMEOUT"),
    }
