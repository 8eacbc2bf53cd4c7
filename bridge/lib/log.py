"""The logging of all processes: one line for each record, on one stream, without private data.

Every entry point calls ``configure``. The code itself logs only ids and masked numbers. But a library's message or a
traceback may hold a number, a key or a message body, so the formatter masks them as the last line of defence.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TextIO

from pydantic import BaseModel, SecretStr

from bridge.lib.phone import mask_numbers

ONLY_WARNINGS = (
    "alembic.runtime",
    "bridge.db.fair_pool",  # SQLAlchemy's pool logs under the name of its subclass
    "celery.app.trace",
    "celery.beat",
    "celery.worker.request",
    "celery.worker.strategy",
    "httpcore",
    "httpx",
    "sqlalchemy",
    "twilio",
    "urllib3",
)
"""Libraries that log a line for every call at INFO, some of them with addresses. Only their warnings are logged."""

SHORTEST_SECRET = 6
"""Characters. Hiding a shorter secret everywhere would only garble the log."""

ROW_ID_DIGITS = 9
"""Digits. A plain run of so few counts as the id of a row. If those were masked, the log would be useless."""

_HIDDEN = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"(://[^\s/:@]*):[^\s/@]+@"), r"\1:***@"),
    # PostgreSQL and SQLAlchemy quote a row that they could not store: a text and its sender.
    (re.compile(r"DETAIL:.*?(?=\n(?:HINT|CONTEXT|\[SQL|\n)|\Z)", re.DOTALL), "DETAIL: ***"),
    (re.compile(r"\[parameters: .*\]$", re.MULTILINE), "[parameters: ***]"),
)

_LINE_ENDS = str.maketrans({char: f"\\u{ord(char):04x}" for char in "\x7f\x85\u2028\u2029"})
"""Characters that end a line for some readers, and that JSON leaves unchanged."""

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class OneLine(logging.Formatter):
    """Format ``time=… level=… logger=… message="…"``, and ``error="…"`` with the traceback if there is one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        long_enough = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, long_enough))) if long_enough else None

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._safe(_message(record)),
        }
        if trouble := self._trouble(record):
            fields["error"] = self._safe(trouble)
        return " ".join(f"{name}={_value(text)}" for name, text in fields.items())

    def _trouble(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        return "\n".join(filter(None, (traceback, record.stack_info)))

    def _safe(self, text: str) -> str:
        if self._secrets:
            text = self._secrets.sub("***", text)
        for pattern, shown in _HIDDEN:
            text = pattern.sub(shown, text)
        return mask_numbers(text, shortest=ROW_ID_DIGITS + 1)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Name only the logger. The inherited method prints the record unmasked."""
        sys.stderr.write(f"a record of {record.name} could not be written\n")


def configure(*, stream: TextIO | None = None, level: int = logging.INFO, secrets: Iterable[str] = ()) -> None:
    """Send all logging to ``stream`` (standard error), and nothing anywhere else."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(OneLine(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ONLY_WARNINGS:
        logging.getLogger(name).setLevel(logging.WARNING)


def secrets_in(settings: BaseModel) -> list[str]:
    """Return the values that must never be logged."""
    values = [each for _, value in settings for each in (value.values() if isinstance(value, dict) else [value])]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _message(record: logging.LogRecord) -> str:
    try:
        return str(record.msg) % _strings_masked(record.args) if record.args else str(record.msg)
    except (TypeError, ValueError, KeyError) as error:
        return f"{record.msg} (its values do not fit: {error})"


def _strings_masked(args: object) -> object:
    """Mask the strings among the values, as they may be numbers of any length. An int is an id or a count."""
    if isinstance(args, Mapping):
        return {name: _masked(value) for name, value in args.items()}
    assert isinstance(args, tuple)
    return tuple(map(_masked, args))


def _masked(value: object) -> object:
    return value if isinstance(value, int | float) else mask_numbers(str(value))


def _value(text: str) -> str:
    """Return a single word as it is. Quote anything else, and escape its line ends."""
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False).translate(_LINE_ENDS)
