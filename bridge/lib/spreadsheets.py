"""Foreign text in the cells of a spreadsheet. A file of comma-separated values can't say that a cell is no formula."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet takes a cell that begins so for a formula."""


def harmless(cell: str) -> str:
    """Return the cell as a spreadsheet shows it, and never runs it: with an apostrophe before a formula."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell
