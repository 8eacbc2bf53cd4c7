"""Secrets by file: ``NAME_FILE`` names the file that has the value of ``NAME``, as Docker mounts secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUFFIX = "_FILE"

MOST = 64 * 1024
"""Bytes of a file. A longer one is no secret, and a device would never end."""


@dataclass(frozen=True)
class FromFiles:
    """The values that were read, and one sentence for each file that can't be used, by the name of the variable."""

    values: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def by_file(name: str, environ: Mapping[str, str]) -> str:
    """Return the file that is named for this variable; empty if there is none."""
    return environ.get(name + SUFFIX, "").strip()


def read_files(names: Iterable[str], environ: Mapping[str, str]) -> FromFiles:
    """Read the files of these variables."""
    found = FromFiles()
    for name in names:
        file = by_file(name, environ)
        if not file:
            continue
        try:
            if environ.get(name, "").strip():
                raise ValueError(f"and {name} are both set; remove one of them")
            found.values[name] = _read(file)
        except ValueError as error:
            found.faults[name] = f"{name}{SUFFIX} {error}"
    return found


def _read(file: str) -> str:
    """Return the content without the blanks around it. Raise ValueError with a fault that names the file only."""
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MOST + 1).decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"names {file}, which can't be read ({error.strerror}); correct it") from None
    except ValueError:
        raise ValueError(f"names {file}, which is no text in UTF-8; write the value alone into it") from None
    if not text:
        raise ValueError(f"names {file}, which is empty; write the value into it")
    if len(text) > MOST:
        raise ValueError(f"names {file}, which is too large; write the value alone into it")
    return text
