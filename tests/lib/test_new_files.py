"""A new file is there as a whole, for its owner alone, or nothing is there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bridge.lib.new_files import new_file_beside, put


def without_hard_links(self: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["hard links", "no hard links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "no hard links":
        monkeypatch.setattr(Path, "hardlink_to", without_hard_links)
    return tmp_path


def written(to: Path, words: str, *, replace: bool) -> None:
    with new_file_beside(to) as new:
        new.write_text(words)
        put(new, to, replace=replace)


@pytest.mark.parametrize("replace", [True, False])
def test_it_gets_its_name_and_only_its_owner_reads_it(folder: Path, replace: bool) -> None:
    written(folder / "its", "words", replace=replace)
    assert [(each.name, each.read_text(), each.stat().st_mode & 0o777) for each in folder.iterdir()] == [
        ("its", "words", 0o600)
    ]


def test_a_file_that_is_there_is_replaced_only_if_that_is_meant(folder: Path) -> None:
    written(folder / "its", "first", replace=False)
    with pytest.raises(FileExistsError):
        written(folder / "its", "second", replace=False)
    assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("its", "first")]
    written(folder / "its", "third", replace=True)
    assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("its", "third")]


def test_what_fails_before_leaves_nothing(folder: Path) -> None:
    with pytest.raises(TypeError), new_file_beside(folder / "its") as new:
        new.write_text(b"no text")  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []
