"""The files in docs/deploy/ say what the code and the Procfile say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from bridge.config import Settings, variable_names
from bridge.processes import embedded, gunicorn_conf
from bridge.web import agents, app
from bridge.web.console import blueprint
from testkit.procfile import ROOT, lines
from tests.conftest import not_there

DEPLOY = ROOT / "docs" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "bridge.service").read_text()


def of_unit(name: str) -> str:
    [value] = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return value


# -- containers ----------------------------------------------------------------------------------------------------


def test_compose_has_the_processes_of_the_procfile_and_two_servers() -> None:
    assert set(SERVICES) == {*lines(), "postgres", "redis"}
    assert {name: SERVICES[name]["command"] for name in lines()} == lines()


def test_compose_sets_only_what_the_bridge_reads() -> None:
    known = {name for field in Settings.model_fields for name in variable_names(field)} | set(gunicorn_conf.NUMBERS)
    assert {name for process in lines() for name in SERVICES[process]["environment"]} - known == set()


def test_no_process_starts_before_the_release_is_through() -> None:
    running = set(lines()) - {"release"}
    assert {SERVICES[name]["depends_on"]["release"]["condition"] for name in running} == {
        "service_completed_successfully"
    }
    assert SERVICES["release"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "restart" not in SERVICES["release"]


def test_a_container_may_finish_its_work() -> None:
    for name in ("web", "worker"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > gunicorn_conf.graceful_timeout


def test_only_this_machine_reaches_the_web() -> None:
    assert {port for service in SERVICES.values() for port in service.get("ports", ())} == {"127.0.0.1:8000:8000"}


def test_compose_builds_the_dockerfile_that_is_there() -> None:
    build = SERVICES["web"]["build"]
    assert ((DEPLOY / build["context"]).resolve(), ROOT / build["dockerfile"]) == (ROOT, DEPLOY / "Dockerfile")


def test_the_image_is_made_of_what_is_pinned_and_runs_as_nobody() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert re.findall(r"^FROM python:(\S+?)-slim", DOCKERFILE, re.MULTILINE) == [version, version]
    assert "--require-hashes" in DOCKERFILE
    assert DOCKERFILE.index("USER 10001") < DOCKERFILE.index("\nCMD")
    [command] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert " ".join(yaml.safe_load(command)) == lines()["web"]


def test_the_image_copies_what_the_ignore_file_lets_through() -> None:
    copied = set(re.findall(r"^COPY (\w[\w.]*) ", DOCKERFILE, re.MULTILINE))
    allowed = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert copied == set(allowed)
    assert all((ROOT / name).exists() for name in copied)


# -- one machine ---------------------------------------------------------------------------------------------------


def test_the_unit_gives_turns_in_flight_their_time() -> None:
    assert int(of_unit("TimeoutStopSec")) > embedded.GRACE + embedded.WEB_GRACE
    assert of_unit("KillSignal") == "SIGTERM"


def test_the_unit_does_not_restart_on_wrong_settings() -> None:
    """``tests/test_cli.py`` tests this exit code."""
    assert (of_unit("Restart"), of_unit("RestartPreventExitStatus")) == ("always", "2")


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        not_there("systemd-analyze", "it comes with systemd")
    unit = tmp_path / "bridge.service"
    there = UNIT.replace("/opt/bridge/bin/bridge", "/bin/true")  # it must be there for this check
    unit.write_text(there)
    told = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert [line for line in told.stderr.splitlines() if "bridge.service" in line] == []
    assert told.returncode == 0, told.stderr


def test_the_proxies_let_the_largest_request_through() -> None:
    """Events of chats have a transcript. The bridge itself has smaller limits where less is enough."""
    [nginx] = re.findall(r"client_max_body_size (\d+)k;", (DEPLOY / "nginx.conf").read_text())
    [caddy] = re.findall(r"max_size (\d+)KiB", (DEPLOY / "Caddyfile").read_text())
    assert {int(nginx) * 1024, int(caddy) * 1024} == {max(app.MAX_BYTES, agents.MAX_BYTES, blueprint.MAX_BYTES)}
