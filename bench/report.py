"""The table of a chaos run, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.judgement import MUST_BE_ZERO, OURS_ONLY, ROWS
from bench.result import Result


def shown(results: Mapping[str, Result], title: str, *, markdown: bool) -> str:
    """Return the table, with one column for each bridge."""
    rows = [
        *(
            [label, *(_count(bridge, result, name) for bridge, result in results.items())]
            for name, label in ROWS.items()
        ),
        *([label, *(words(result) for result in results.values())] for label, words in _MORE),
    ]
    head = ["", *results]
    table = _markdown(head, rows) if markdown else _plain(head, rows)
    notes = [note for bridge, result in results.items() for note in _notes(bridge, result)]
    return "\n".join([title, "", *table, "", *notes])


_MORE: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("answer on the phone after: median", lambda r: f"{r.speed.median:.1f} s"),
    ("… 99 of 100", lambda r: f"{r.speed.nearly_all:.1f} s"),
    ("… slowest", lambda r: f"{r.speed.slowest:.1f} s"),
    ("longest standstill after a disaster", lambda r: f"{r.speed.standstill:.1f} s"),
    (
        "… with no other one under way",
        lambda r: f"{r.speed.standstill_alone:.1f} s{'' if r.speed.recovered else ' (!)'}",
    ),
    ("at rest after the last fault", lambda r: f"{r.settled_in:.0f} s" if r.settled else "never"),
    ("faults", lambda r: f"{r.struck.total()}"),
)


def _count(bridge: str, result: Result, name: str) -> str:
    if bridge != "ours" and name in OURS_ONLY:
        return "not looked for"
    count = getattr(result.judgement, name)
    return f"{count} (!)" if count and name in MUST_BE_ZERO else str(count)


def _notes(bridge: str, result: Result) -> list[str]:
    struck = ", ".join(f"{times} {kind}" for kind, times in sorted(result.struck.items()))
    notes = [f"{bridge}, faults: {struck}."]
    if result.speed.standstill_after:
        notes.append(f"{bridge}, longest standstill: after {result.speed.standstill_after}.")
    if result.speed.standstill_alone_after:
        notes.append(f"{bridge}, with no other disaster under way: after {result.speed.standstill_alone_after}.")
    if result.missed:
        notes.append(f"{bridge}, planned, but never struck (!): {', '.join(result.missed)}.")
    for sort, examples in result.judgement.details.items():
        notes += [f"{bridge}, {sort}: {example}" for example in examples]
    return notes


def _plain(head: list[str], rows: list[list[str]]) -> list[str]:
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}" + "".join(f"{cell:>16}" for cell in row[1:]) for row in (head, *rows)]


def _markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return [lines[0], "|---|" + "--:|" * (len(head) - 1), *lines[1:]]
