"""The packages of a release: installed in an empty environment, outside the checkout, each command finds its files."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bridge import __version__
from bridge.db import revisions
from bridge.processes.embedded import free_port
from testkit.procfile import ROOT, Processes
from testkit.waiting import until
from tests.conftest import not_there
from tests.scene import ANN
from tests.up import HERE, up_in

UV = Path(sys.executable).with_name("uv")

GIT = ("git", "ls-files", "--cached", "--others", "--exclude-standard")

NO_NETWORK = re.compile(r"error sending request|dns error|network connectivity|timed out|Could not connect", re.I)

OUTSIDE = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
"""Nothing of the checkout is found by accident."""


def uv(*arguments: str | Path) -> None:
    """Run uv. It takes what it knows already, and asks the index for the rest."""
    told = subprocess.run([UV, *arguments], cwd=ROOT, capture_output=True, text=True)
    if told.returncode and NO_NETWORK.search(told.stderr):
        not_there("The package index", told.stderr)
    assert told.returncode == 0, told.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, the wheel that is built of it, and the wheel that is built of the checkout."""
    folder = tmp_path_factory.mktemp("packages")
    uv("build", "--out-dir", folder)
    uv("build", "--wheel", "--out-dir", folder / "checkout")
    wheel = f"sms_bridge-{__version__}-py3-none-any.whl"
    return {
        "sdist": folder / f"sms_bridge-{__version__}.tar.gz",
        "wheel": folder / wheel,
        "wheel of the checkout": folder / "checkout" / wheel,
    }


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the pinned dependencies and without the bridge."""
    folder = tmp_path_factory.mktemp("environment")
    uv("venv", "--python", sys.executable, folder)
    uv("pip", "install", "--python", folder, "--require-hashes", "--requirement", ROOT / "requirements.txt")
    return folder


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def bridge(request: pytest.FixtureRequest, packages: dict[str, Path], empty: Path) -> Iterator[str]:
    """The installed command."""
    uv("pip", "install", "--python", empty, "--no-deps", packages[request.param])
    yield str(empty / "bin" / "bridge")
    uv("pip", "uninstall", "--python", empty, "sms-bridge")


WHEEL = pytest.mark.parametrize("bridge", ["wheel"], indirect=True)
"""For what takes long: both packages have the same files."""


FIRST = 120
"""Seconds for a first start, at which Python compiles all packages."""


def run(*command: str, folder: Path) -> str:
    processes = Processes(folder, {**OUTSIDE, "DATABASE_URL": f"sqlite:///{folder / 'bridge.sqlite3'}"})
    process = processes.start("command", list(command))
    try:
        assert process.wait(FIRST) == 0, process.output
    finally:
        processes.close()
    return process.output


def names(package: Path) -> set[str]:
    with zipfile.ZipFile(package) as wheel:
        return set(wheel.namelist())


def test_the_sdist_has_all_of_the_wheel(packages: dict[str, Path]) -> None:
    assert names(packages["wheel"]) == names(packages["wheel of the checkout"])


def test_the_wheel_has_one_package_with_all_that_it_reads(packages: dict[str, Path]) -> None:
    tracked = subprocess.run([*GIT, "bridge", "migrations"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        not_there("The git checkout", tracked.stderr)
    expected = {name.replace("migrations/", "bridge/db/migrations/", 1) for name in tracked.stdout.split()}
    about = f"sms_bridge-{__version__}.dist-info/"
    found = names(packages["wheel"])
    assert {name for name in found if not name.startswith(about)} == expected
    assert f"{about}licenses/LICENSE" in found


def test_the_sdist_has_the_papers(packages: dict[str, Path]) -> None:
    with tarfile.open(packages["sdist"]) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml", "docs/architecture.md"} <= found


def test_it_tells_its_version(bridge: str, tmp_path: Path) -> None:
    assert run(bridge, "--version", folder=tmp_path) == f"bridge, version {__version__}\n"


@WHEEL
def test_nothing_of_the_checkout_is_used(bridge: str, tmp_path: Path) -> None:
    told = run(str(Path(bridge).with_name("python")), "-c", "import bridge; print(bridge.__file__)", folder=tmp_path)
    assert Path(told.strip()).is_relative_to(Path(bridge).parents[1])


@WHEEL
def test_it_makes_a_database_ready(bridge: str, tmp_path: Path) -> None:
    told = run(bridge, "db", "upgrade", folder=tmp_path)
    assert told.splitlines()[-1] == f"The database is at {revisions.head()}."


@WHEEL
def test_its_demo_answers_a_text(bridge: str, tmp_path: Path) -> None:
    port = free_port(HERE)
    processes = Processes(tmp_path, {**OUTSIDE, "TMPDIR": str(tmp_path)})
    try:
        demo = processes.start("demo", [bridge, "demo", "--no-browser", "--port", str(port)])
        demo.until_it_says("The phone is at")
        with httpx.Client(base_url=f"http://{HERE}:{port}") as browser:
            assert "phone.js" in browser.get("/").text
            assert browser.get("/static/phone.js").status_code == 200
            assert browser.post("/simulator/texts", json={"from": ANN, "body": "hello"}).status_code == 201
            until(lambda: browser.get("/simulator/inbox", params={"phone": ANN}).json()["texts"], "an answer has come")
            console = browser.get("/simulator/console", follow_redirects=True)
            [script] = re.findall(r'src="([^"]*htmx[^"]*)"', console.text)
            assert browser.get(str(console.url.join(script))).status_code == 200
        assert demo.stop() == 0
    finally:
        processes.close()


@WHEEL
def test_it_runs_and_answers(bridge: str, tmp_path: Path) -> None:
    with up_in(tmp_path, **OUTSIDE) as up:
        up.start([bridge])
        assert httpx.get(f"{up.address}/healthz").status_code == 200
        up.simulator.phones.text(ANN, "one")
        up.must_have_answered("one")
