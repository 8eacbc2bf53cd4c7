"""What the forms of all pages share: notices after an act, and the way back to the page of the form."""

from __future__ import annotations

from flask import flash, redirect, request
from werkzeug.wrappers import Response as Answer

from bridge.web.console.access import back_to

DONE, FAULT = "done", "fault"


def done(words: str, to: str | None = None) -> Answer:
    """Say what was done, on the page to go to; ``None``: the page of the form. Without words the page shows it."""
    if words:
        flash(words, DONE)
    return redirect(to or back_to(request.form.get("back")), 303)


def refused(words: str, to: str | None = None) -> Answer:
    """Say why nothing was done."""
    flash(words, FAULT)
    return redirect(to or back_to(request.form.get("back")), 303)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 text`` or ``2 texts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def field(name: str, longest: int = 255) -> str:
    """Return a field of the form. No database accepts the character NUL."""
    return request.form.get(name, "").replace("\x00", "").strip()[:longest]
