"""The writing of ``.env``: what is written is read back, and a file that can't be written stays as it was."""

from __future__ import annotations

import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from bridge.setup.dotenv_file import NotWritten, write

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
"""All that a key, an id or an address may have."""


@given(VISIBLE, VISIBLE)
def test_any_visible_value_is_read_back(first: str, second: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / ".env"
        write(file, {"A": first})
        write(file, {"B": second, "A": first + "x"})
        assert dotenv_values(file, interpolate=False) == {"A": first + "x", "B": second}


def test_other_lines_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeff# ours\nA=12h # short\nexport KEY='old'\nM=\"Sorry $x\"\n\n# theirs\nP=old", "utf-8")
    file.chmod(0o644)
    write(file, {"KEY": "n#w", "P": "https://x.example/a?b=c", "NEW": "1"})
    assert file.read_text() == (
        '# ours\nA=12h # short\nKEY=n#w\nM="Sorry $x"\n\n# theirs\nP=https://x.example/a?b=c\nNEW=1\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "env"
    target.write_text("A=1\n")
    (tmp_path / ".env").symlink_to(target)
    write(tmp_path / ".env", {"B": "2"})
    assert (tmp_path / ".env").is_symlink()
    assert target.read_text() == "A=1\nB=2\n"


def test_a_value_that_would_be_read_otherwise_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\n")
    with pytest.raises(NotWritten, match="the values of A can't be written"):
        write(file, {"B": "2", "A": "two\rlines"})
    assert file.read_text() == "A=1\n"
    assert [*tmp_path.iterdir()] == [file]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"\.env can't be written: No such file"):
        write(tmp_path / "none" / ".env", {"A": "1"})


def test_a_file_that_is_no_text_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(NotWritten, match=r"\.env can't be written"):
        write(file, {"A": "1"})
    assert file.read_bytes() == b"\xff\xfe"
