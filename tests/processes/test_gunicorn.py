"""The start of the web process: two numbers that gunicorn itself would take badly. That it serves: ``test_story``."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from gunicorn.config import Config  # type: ignore[import-untyped]

from bridge.config import SettingsError
from bridge.processes import gunicorn_conf
from bridge.processes.gunicorn_worker import WebWorker
from bridge.processes.web import AT_END
from testkit.procfile import environment, lines

ENOUGH = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1",
    "PUBLIC_URL": "https://bridge.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token-of-the-account",
    "RETELL_API_KEY": "key_of_the_agent",
    "RETELL_AGENT_ID": "agent_1",
}


def start(folder: Path, more: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """The line of the Procfile, as a platform runs it."""
    command = ["/bin/sh", "-c", f"exec {lines()['web']} {more}"]
    environ = environment(ENOUGH | settings)
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("name", ["PORT", "WEB_CONCURRENCY"])
@pytest.mark.parametrize("text", ["abc", "0", "-1", "1.5", "٣", "1_0", "9" * 5000, "99999"])
def test_a_number_that_is_none_is_told_in_a_sentence(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is no whole number from 1 to [0-9]+; write digits$"):
        gunicorn_conf.read_numbers({name: text})


@pytest.mark.parametrize(
    ("environ", "port", "processes"),
    [
        ({}, 8000, 2),
        ({"PORT": "", "WEB_CONCURRENCY": " "}, 8000, 2),
        ({"PORT": "5000", "WEB_CONCURRENCY": " 1 "}, 5000, 1),
    ],
)
def test_empty_is_the_same_as_not_set(environ: dict[str, str], port: int, processes: int) -> None:
    assert gunicorn_conf.read_numbers(environ) == {"PORT": port, "WEB_CONCURRENCY": processes}


def test_the_process_of_the_procfile_tells_every_fault_at_once(tmp_path: Path) -> None:
    told = start(tmp_path, WEB_CONCURRENCY="abc", PORT="many", PUBLIC_URL="", TWILIO_AUTH_TOKEN="")
    assert told.returncode == 2
    assert [line.split()[0] for line in told.stderr.splitlines()] == [
        "PUBLIC_URL",
        "TWILIO_AUTH_TOKEN",
        "PORT",
        "WEB_CONCURRENCY",
    ]


def test_an_empty_number_of_processes_does_not_upset_gunicorn(tmp_path: Path) -> None:
    told = start(tmp_path, "--check-config", WEB_CONCURRENCY="")
    assert (told.returncode, told.stderr) == (0, "")


class Broken(WebWorker):
    """Its master's file is gone, as on a disk that is full."""

    def _beat(self) -> bool:
        raise OSError("no space left")


@pytest.fixture
def listening() -> Iterator[SimpleNamespace]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield SimpleNamespace(sock=sock)


def test_a_process_that_ends_by_a_fault_writes_what_it_has_accepted(listening: SimpleNamespace) -> None:
    """Its clients were told so."""
    written: list[bool] = []
    app = Flask("bridge")
    app.extensions[AT_END] = lambda: written.append(True)
    worker = Broken(1, os.getppid(), [listening], app, 30, Config(), logging.getLogger("test"))
    worker.wsgi = app
    with pytest.raises(OSError, match="no space left"):
        worker.run()
    assert written == [True]
    worker._server.close()
    worker.tmp.close()
