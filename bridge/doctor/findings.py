"""What a check has found: a mark, words, and the remedy. A check is a function from the context to its findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """The bridge works. Something is worse than it could be, or can't be checked from here."""
    FAULT = "fault"
    """People get no answers, or get them late."""


@dataclass(frozen=True)
class Finding:
    """One sentence about one subject. It never has a secret or a full number."""

    subject: str
    mark: Mark
    words: str
    remedy: str = ""
    code: str = ""
    """The name of this kind of finding, for programs. It stays when the words change. Empty for what is well."""


def ok(subject: str, words: str) -> Finding:
    return Finding(subject, Mark.OK, _open(words))


def warning(subject: str, words: str, remedy: str, *, code: str) -> Finding:
    return Finding(subject, Mark.WARNING, _open(words), remedy, code)


def fault(subject: str, words: str, remedy: str, *, code: str) -> Finding:
    return Finding(subject, Mark.FAULT, _open(words), remedy, code)


def _open(words: str) -> str:
    """Return the words without a period at their end. They may end with a provider's own sentence."""
    return words.rstrip(". ")
