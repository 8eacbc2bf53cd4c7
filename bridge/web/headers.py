"""The headers of every answer. A page of the console has stricter or wider ones of its own, which stay."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def install(app: Flask) -> None:
    """Add the headers to every answer, also to errors."""
    app.after_request(lambda answer: add_missing(answer, HEADERS))


def add_missing(answer: Response, headers: Mapping[str, str]) -> Response:
    """Add these headers to an answer. Those that it has stay."""
    for name, value in headers.items():
        answer.headers.setdefault(name, value)
    return answer
