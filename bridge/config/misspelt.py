"""Names in the environment and in ``.env`` that are probably settings with a typing error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

OURS = ("TWILIO_", "RETELL_", "UPONAI_", "HANDOFF_")
"""Beginnings that nobody but the bridge uses here. Of other names, only a very similar one is told."""

SIMILAR, VERY_SIMILAR = 0.6, 0.87


@dataclass(frozen=True)
class Unknown:
    """A name that is no setting."""

    name: str
    nearest: str | None

    @property
    def words(self) -> str:
        return f"{self.name} is not a setting"

    @property
    def remedy(self) -> str:
        return f"Did you mean {self.nearest}?" if self.nearest else "Remove it, or correct its name."


def unknown(environ: Mapping[str, str], known: Collection[str]) -> list[Unknown]:
    """Return the names that are no settings, in order. A name of something else is not told."""
    return [*_unknown(environ, known)]


def _unknown(environ: Mapping[str, str], known: Collection[str]) -> Iterator[Unknown]:
    for name in sorted(set(environ) - set(known)):
        ours = name.upper().startswith(OURS)
        cutoff = SIMILAR if ours else VERY_SIMILAR
        nearest = next(iter(get_close_matches(name.upper(), known, n=1, cutoff=cutoff)), None)
        if ours or (nearest and not environ.get(nearest)):
            yield Unknown(name, nearest)
