"""New files: for their owner alone from the first moment, and under their name as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file_beside(to: Path) -> Iterator[Path]:
    """Yield an empty file of the same file system that only its owner can read. It is removed if it is still there."""
    handle, name = tempfile.mkstemp(prefix=f".{to.name}-", dir=to.parent)
    os.close(handle)
    new = Path(name)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)


def put(new: Path, to: Path, *, replace: bool) -> None:
    """Give the file its name, and wait for the disk.

    Without ``replace``, this raises ``FileExistsError`` if there is such a file, also if another process has just made
    it.
    """
    _flush(new)
    if replace:
        new.replace(to)
    else:
        _put_first(new, to)
    _flush(to.parent)


def _put_first(new: Path, to: Path) -> None:
    try:
        to.hardlink_to(new)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        new.replace(to)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
