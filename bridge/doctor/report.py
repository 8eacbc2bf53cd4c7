"""The output of ``bridge doctor``: one line for each finding, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from bridge.doctor.findings import Finding, Mark

MARKS = {Mark.OK: "✓", Mark.WARNING: "!", Mark.FAULT: "✗"}


def as_text(found: Sequence[Finding]) -> str:
    return "\n".join([*rows(found), "", _sum(found)])


def as_json(found: Sequence[Finding]) -> str:
    counts = {"faults": count(found, Mark.FAULT), "warnings": count(found, Mark.WARNING)}
    return json.dumps({**counts, "findings": [asdict(each) for each in found]}, ensure_ascii=False, indent=2)


def exit_code(found: Sequence[Finding]) -> int:
    """Return 1 after a fault. Warnings do not count."""
    return 1 if count(found, Mark.FAULT) else 0


def count(found: Sequence[Finding], mark: Mark) -> int:
    return sum(each.mark is mark for each in found)


def rows(found: Sequence[Finding]) -> Iterator[str]:
    """Yield one sentence, or two, for each finding."""
    width = max((len(each.subject) for each in found), default=0)
    for each in found:
        words = f"{each.words}. {each.remedy}" if each.remedy else f"{each.words}."
        yield f"{MARKS[each.mark]} {each.subject:<{width}}  {words}"


def _sum(found: Sequence[Finding]) -> str:
    faults, warnings = count(found, Mark.FAULT), count(found, Mark.WARNING)
    if not faults and not warnings:
        return "All is well."
    return f"{_number(faults, 'fault')}, {_number(warnings, 'warning')}."


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
