"""The id of each request: what the log has of it shows the id, and the answer has it as ``X-Request-ID``.

A platform's router makes one, as Heroku's does, and its own log shows the same. Without a router the bridge makes one.
"""

from __future__ import annotations

import re
import uuid

from flask import Flask, Response, request

from bridge.lib.log import REQUEST_ID

HEADER = "X-Request-ID"

_ID = re.compile(r"(?=[0-9-]*[a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24,64})")
"""A UUID, or as many digits as one: what routers make. Anything else may be a stranger's, and may have a number.

One of a million UUIDs has no letter. It is replaced too, because numbers can be written like that.
"""


def install(app: Flask) -> None:
    """Give every request of the app its id."""
    app.before_request(_begin)
    app.after_request(_show)
    app.teardown_request(_end)


def id_of(header: str | None) -> str:
    """Return the id that a router has given the request, or make one."""
    return header if header and _ID.fullmatch(header) else str(uuid.uuid4())


def _begin() -> None:
    REQUEST_ID.set(id_of(request.headers.get(HEADER)))


def _show(answer: Response) -> Response:
    answer.headers.add(HEADER, REQUEST_ID.get())
    return answer


def _end(error: BaseException | None) -> None:
    REQUEST_ID.set("")
