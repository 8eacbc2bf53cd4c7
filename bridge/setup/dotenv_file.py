"""The writing of ``.env``: at once or not at all, for its owner alone, and with all other lines as they were."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dotenv import dotenv_values, set_key

from bridge.lib.errors import BridgeError

ONLY_ITS_OWNER = 0o600


class NotWritten(BridgeError):
    """The file is as it was. The message says why."""


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set these values in the file, which may not be there yet."""
    path = path.resolve()  # a link stays a link
    try:
        draft = _draft_of(path)
    except (OSError, UnicodeDecodeError) as error:
        raise NotWritten(f"{path.name} can't be written: {getattr(error, 'strerror', None) or error}") from error
    try:
        for name, text in values.items():
            set_key(draft, name, text, quote_mode=_quotes(text))
        _must_be_read_back(draft, values)
        draft.chmod(ONLY_ITS_OWNER)
        _flush(draft)
        draft.replace(path)
    except OSError as error:
        raise NotWritten(f"{path.name} can't be written: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):  # it has become the file
            draft.unlink()


def _draft_of(path: Path) -> Path:
    """Make a copy beside the file, for the owner alone from its first moment."""
    before = path.read_text("utf-8-sig") if path.exists() else ""
    handle, name = tempfile.mkstemp(prefix=".env-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as draft:
        draft.write(before)
    return Path(name)


def _quotes(text: str) -> str:
    """Return the quotes that the value needs: mostly none, because programs such as Docker do not remove them."""
    return "always" if text[:1] in ("'", '"') or any(map(str.isspace, text)) else "never"


def _must_be_read_back(draft: Path, values: Mapping[str, str]) -> None:
    read = dotenv_values(draft, interpolate=False)
    if lost := [name for name, text in values.items() if (read.get(name) or "") != text]:
        raise NotWritten(f"the values of {', '.join(lost)} can't be written into an .env file")


def _flush(draft: Path) -> None:
    with draft.open("rb") as written:
        os.fsync(written.fileno())
