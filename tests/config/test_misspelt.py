"""A name with a typing error is told with the nearest setting, and a name of something else is not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bridge.config import Settings, SettingsError, unknown_names, variable_names, warn_of_unknown_names
from bridge.config.values import secret_names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TWILIO_AUTHTOKEN", "TWILIO_AUTH_TOKEN"),
        ("TWILIO_NUMBER", "TWILIO_NUMBERS"),
        ("twilio_auth_token", "TWILIO_AUTH_TOKEN"),
        ("RETELL_APIKEY", "RETELL_API_KEY"),
        ("RETELL_AGENTID", "RETELL_AGENT_ID"),
        ("UPONAI_WORKSPACE", "UPONAI_WORKSPACE_ID"),
        ("HANDOFF_WORD", "HANDOFF_WORDS"),
        ("PUBLIC_URI", "PUBLIC_URL"),
        ("ADMIN_TOKNS", "ADMIN_TOKENS"),
        ("TWILIO_NUMBERS_FILE", "TWILIO_NUMBERS"),
    ],
)
def test_a_typing_error_is_told_with_the_nearest_name(name: str, nearest: str) -> None:
    [found] = unknown_names({name: "a-secret"})
    assert found.words == f"{name} is not a setting"
    assert (found.nearest, found.remedy) == (nearest, f"Did you mean {nearest}?")
    assert "a-secret" not in found.words + found.remedy


def test_a_name_of_ours_that_is_like_no_setting_is_told_too() -> None:
    [found] = unknown_names({"TWILIO_ZZZZZZZZZZZZZZ": "x"})
    assert (found.nearest, found.remedy) == (None, "Remove it, or correct its name.")


def test_no_setting_is_taken_for_a_typing_error() -> None:
    every = {variable: "x" for name in Settings.model_fields for variable in variable_names(name)}
    assert unknown_names(every | {f"{name}_FILE": "x" for name in secret_names(Settings)}) == []


def test_names_of_others_are_not_told() -> None:
    others = ("PATH", "HOME", "DATABASE_URL", "DATABASE_URI", "DYNO", "REDIS_TLS_URL", "PORT", "WEB_CONCURRENCY")
    more = ("HEROKU_POSTGRESQL_JADE_URL", "AGENT_NAME", "ADMIN_EMAIL", "BRIDGE_URL", "LC_ALL", "HTTPS_PROXY")
    assert unknown_names(dict.fromkeys([*others, *more], "x")) == []


def test_it_is_logged_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TWILIO_AUTHTOKEN=not-to-be-shown\n")
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_names()
    assert [each.getMessage() for each in caplog.records] == [
        "TWILIO_AUTHTOKEN is not a setting. Did you mean TWILIO_AUTH_TOKEN?"
    ]


def test_it_is_told_beside_the_faults_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TWILIO_AUTHTOKEN=not-to-be-shown\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "TWILIO_AUTHTOKEN is not a setting. Did you mean TWILIO_AUTH_TOKEN?" in caught.value.hints
    assert any(fault.startswith("TWILIO_AUTH_TOKEN is not set") for fault in caught.value.faults)
