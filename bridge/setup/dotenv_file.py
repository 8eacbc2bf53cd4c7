"""The writing of ``.env``: at once or not at all, for its owner alone, and with all other lines as they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values, set_key

from bridge.lib.errors import BridgeError
from bridge.lib.new_files import new_file_beside, put

ONLY_ITS_OWNER = 0o600


class NotWritten(BridgeError):
    """The file is as it was. The message says why."""


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set these values in the file, which may not be there yet."""
    path = path.resolve()  # a link stays a link
    try:
        with new_file_beside(path) as draft:
            draft.write_text(path.read_text("utf-8-sig") if path.exists() else "", encoding="utf-8")
            for name, text in values.items():
                set_key(draft, name, text, quote_mode=_quotes(text))
            _must_be_read_back(draft, values)
            draft.chmod(ONLY_ITS_OWNER)  # set_key writes another file
            put(draft, path, replace=True)
    except (OSError, UnicodeDecodeError) as error:
        raise NotWritten(f"{path.name} can't be written: {getattr(error, 'strerror', None) or error}") from error


def _quotes(text: str) -> str:
    """Return the quotes that the value needs: mostly none, because programs such as Docker do not remove them."""
    return "always" if text[:1] in ("'", '"') or any(map(str.isspace, text)) else "never"


def _must_be_read_back(draft: Path, values: Mapping[str, str]) -> None:
    read = dotenv_values(draft, interpolate=False)
    if lost := [name for name, text in values.items() if (read.get(name) or "") != text]:
        raise NotWritten(f"the values of {', '.join(lost)} can't be written into an .env file")
