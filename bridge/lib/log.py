"""The logging of all processes: one line for each record, on one stream, without private data.

Every entry point calls ``configure``. The code itself logs only ids and masked numbers. But a library's message or a
traceback may hold a number, a key or a message body, so the formatter masks them as the last line of defence.

The record that ends an attempt also has fields, see :func:`fields`. They are written beside its message, and so is the
id of the request. Nothing else that a record has comes out: a library may attach anything to its own records.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

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

NOT_ASKED = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")
"""Switches of the library: what it would find out for each record, and no format here shows."""

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

_MAY_HIDE = re.compile(r"(?i)bearer|basic|://|detail:|\[parameters: ")
"""What each text has in which one of these finds something. To search them all takes three times as long."""

_OUR_WORD = re.compile(r"[a-z_]{1,32}")

_LINE_ENDS = str.maketrans({char: f"\\u{ord(char):04x}" for char in "\x7f\x85\u2028\u2029"})
"""Characters that end a line for some readers, and that JSON leaves unchanged."""

_JSON = json.JSONEncoder(check_circular=False)

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")


REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered."""

_FIELDS = "bridge_fields"
"""The attribute of a record with its fields."""

Format = Literal["text", "json"]

Field = str | int | float | list[int]


class _Safe(logging.Formatter):
    """It reads a record: its values in order, by name, with everything masked that must not be shown."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        long_enough = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, long_enough))) if long_enough else None

    def safe(self, text: str) -> str:
        """Mask the secrets, numbers and quoted rows in a text."""
        if self._secrets:
            text = self._secrets.sub("***", text)
        if _MAY_HIDE.search(text):
            for pattern, shown in _HIDDEN:
                text = pattern.sub(shown, text)
        return mask_numbers(text, shortest=ROW_ID_DIGITS + 1)

    def values(self, record: logging.LogRecord) -> dict[str, Field]:
        shown: dict[str, Field] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.safe(_message(record)),
        }
        if request_id := REQUEST_ID.get():
            shown["request_id"] = request_id
        for name, value in fields_of(record).items():
            shown[name] = self.safe(value) if isinstance(value, str) and not _OUR_WORD.fullmatch(value) else value
        if trouble := self._trouble(record):
            shown["error"] = self.safe(trouble)
        return shown

    def _trouble(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        return "\n".join(filter(None, (traceback, record.stack_info)))


class OneLine(_Safe):
    """Format ``time=… level=… logger=… message="…"``, the fields, and ``error="…"`` with the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_value(value)}" for name, value in self.values(record).items())


class OneObject(_Safe):
    """Format the same as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return _JSON.encode(self.values(record))  # with plain ASCII no character ends the line


FORMATTERS: dict[Format, type[_Safe]] = {"text": OneLine, "json": OneObject}


class Discreet(logging.Handler):
    """A handler that names only the logger if it fails. The inherited method prints the record unmasked."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        sys.stderr.write(f"a record of {record.name} could not be written\n")


class _Handler(Discreet, logging.StreamHandler[TextIO]):
    pass


def configure(
    *,
    stream: TextIO | None = None,
    level: int = logging.INFO,
    secrets: Iterable[str] = (),
    form: Format = "text",
) -> None:
    """Send all logging to ``stream`` (standard error), and nothing anywhere else."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(FORMATTERS[form](secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in NOT_ASKED:
        setattr(logging, name, False)
    for name in ONLY_WARNINGS:
        logging.getLogger(name).setLevel(logging.WARNING)


def fields(**values: Field | None) -> dict[str, Any]:
    """Return ``extra`` for a record with these fields, without those that are ``None``.

    They are ids, counts, seconds and words of our own: never a body or a number.
    """
    return {_FIELDS: {name: value for name, value in values.items() if value is not None}}


def fields_of(record: logging.LogRecord) -> Mapping[str, Field]:
    """Return the fields of a record. Most have none."""
    found: Mapping[str, Field] = getattr(record, _FIELDS, {})
    return found


def secrets_in(settings: BaseModel) -> list[str]:
    """Return the values that must never be logged."""
    values = [each for _, value in settings for each in _each(value)]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _each(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, tuple) else [value]


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


def _value(value: Field) -> str:
    """Return a number or a single word as it is. Quote anything else, and escape its line ends."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False).translate(_LINE_ENDS)
