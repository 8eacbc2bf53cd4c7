"""A rolling release: for some minutes, and after a release is taken back, old processes work on the newer tables."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import inspect, text

from bridge import __version__
from bridge.db import migrate
from bridge.db.engine import build_engine
from testkit.procfile import ROOT
from testkit.waiting import until
from tests.conftest import not_there
from tests.scene import ANN
from tests.up import OPERATOR, Up, up_in

BEN = "+15557654321"


def expand(url: str) -> None:
    """Add what a newer release may add to each table, and call it newer."""
    engine = build_engine(url, pool_size=1)
    names = [name for name in inspect(engine).get_table_names() if name != "alembic_version"]
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"ALTER TABLE {name} ADD COLUMN newer_a INTEGER"))
            connection.execute(text(f"ALTER TABLE {name} ADD COLUMN newer_b VARCHAR(16) NOT NULL DEFAULT 'new'"))
        connection.execute(text("CREATE TABLE newer (id INTEGER NOT NULL PRIMARY KEY)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()


def must_work(up: Up) -> None:
    """People text, opt out and in again; operators read, write and take over."""
    process = up.start()
    phones, admin = (
        up.simulator.phones,
        httpx.Client(base_url=up.address, headers={"Authorization": f"Bearer {OPERATOR}"}),
    )
    phones.text(ANN, "one")
    up.must_have_answered("one")
    phones.text(BEN, "STOP")
    phones.text(BEN, "START")
    phones.text(ANN, "two")
    up.must_have_answered("one", "two")
    with admin:
        assert admin.get("/readyz").status_code == 200
        [ann] = admin.get("/admin/conversations", params={"phone": ANN}).json()["conversations"]
        conversation = f"/admin/conversations/{ann['id']}"
        assert admin.post(f"{conversation}/take-over").status_code == 200
        assert admin.post(f"{conversation}/messages", json={"body": "by hand"}).status_code == 202
        assert admin.post(f"{conversation}/hand-back", json={}).status_code == 200
        for page in (conversation, "/admin/chats", "/admin/failures", "/admin/audit", "/metrics"):
            assert admin.get(page).status_code == 200, page
    phones.text(ANN, "three")
    until(up.simulator.settled, "all is settled")
    assert up.simulator.agent.received(ANN)[-1].endswith("three")
    assert up.simulator.phones.inbox(ANN) == ["re: one", "re: two", "by hand", "re: three"]
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.fixture
def up(bare_database_url: str, tmp_path: Path) -> Iterator[Up]:
    """On each kind of database, with the tables of today."""
    migrate.upgrade(bare_database_url)
    with up_in(tmp_path, DATABASE_URL=bare_database_url) as up:
        yield up


def test_this_release_works_on_the_tables_of_a_newer_one(up: Up) -> None:
    expand(up.settings["DATABASE_URL"])
    release = up.processes.start("release", [sys.executable, "-m", "bridge", "db", "upgrade"])
    assert release.wait() == 0
    assert "stays as it is" in release.output
    must_work(up)


# -- the release before --------------------------------------------------------------------------------------------


def releases() -> list[str]:
    """The versions of the changelog, the newest first."""
    return re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the release before this version, by its tag."""
    before = [version for version in releases() if version != __version__]
    if not before:
        pytest.skip("this is the first release: there is none before it")
    tag = f"v{before[0]}"
    packed = subprocess.run(["git", "archive", tag, "bridge", "migrations"], cwd=ROOT, capture_output=True)
    if packed.returncode:
        not_there(f"The tag {tag}", packed.stderr.decode())
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as code:
        code.extractall(folder, filter="data")
    return folder


def test_the_release_before_works_on_the_tables_of_today(bare_database_url: str, earlier: Path, tmp_path: Path) -> None:
    migrate.upgrade(bare_database_url)
    with up_in(tmp_path, DATABASE_URL=bare_database_url, PYTHONPATH=str(earlier)) as up:
        must_work(up)
