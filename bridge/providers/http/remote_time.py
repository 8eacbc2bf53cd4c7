"""The clock of a server, as its answers show it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bridge.providers.http.client import Api


def remote_time(provider: str, base_url: str, *, deadline: float) -> datetime | None:
    """Return the ``Date`` of an answer, whatever its status; ``None`` if it has none.

    Raise :class:`bridge.providers.errors.RemoteError`. The request has no credentials.
    """
    api = Api(provider, base_url)
    try:
        answer = api.call("GET", "/", deadline=deadline)
    finally:
        api.close()
    try:
        at = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
