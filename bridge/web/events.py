"""The answer to a client that wants to know what changes: server-sent events, written by ``bridge.web.feed``.

The server of the bridge keeps the connection, without a thread for it. Another server gets what has changed so far, and
the client calls again.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, current_app, request

from bridge.runtime import Runtime
from bridge.web.feed import RETRY, Feed, Sink, start_of
from bridge.web.problems import problem
from bridge.web.queries.changes import BadPosition
from bridge.web.reading import unfit

Begin = Callable[[Sink], Callable[[], None]]
"""Called with the connection once the answer is written. Returns what to call when the client has gone."""

KEEP = "bridge.keep"
"""Where the server of the bridge offers to keep the connection, in a request's environment: takes a :data:`Begin`."""

LAST_EVENT_ID = "Last-Event-ID"

FEED = "bridge.feed"
"""The one feed of an app, among its extensions."""

FULL = "Too many clients listen to this process. Try again soon."

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def answer(rt: Runtime) -> Response:
    """Answer with the events since the request's Last-Event-ID, and go on. The caller checks who may listen."""
    feed: Feed = current_app.extensions.setdefault(FEED, Feed(rt))
    try:
        position = start_of(rt, request.headers.get(LAST_EVENT_ID, "").strip() or None)
    except BadPosition as error:
        return unfit({LAST_EVENT_ID: str(error)})
    if feed.is_full:
        return problem(503, FULL, headers={"Retry-After": "5"})
    keep = request.environ.get(KEEP) if request.method == "GET" else None
    if keep is None:
        return Response(feed.read(position), headers=HEADERS, mimetype="text/event-stream")
    keep(lambda sink: feed.add(sink, position))
    return Response(iter([RETRY]), headers=HEADERS, mimetype="text/event-stream")
