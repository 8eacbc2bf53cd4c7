"""The head of a request, which httpx makes once and the later requests of the same form share.

httpx reads the address anew for each request and copies its headers several times. That takes as long as the exchange
itself. Only the body and its length differ between two requests of one form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpcore
import httpx

MOST_FORMS = 100
"""The forms that are kept. Addresses with an id in them are many, so all are dropped when there are more."""

_LENGTH = b"content-length"


@dataclass(frozen=True)
class Head:
    """A request without its body."""

    method: str
    url: httpcore.URL
    before: list[tuple[bytes, bytes]]
    length: bytes | None
    """The name of the header with the body's length, as it is written; ``None`` if there is none."""
    after: list[tuple[bytes, bytes]]
    """The headers before it and after it."""

    def request(self, body: bytes) -> httpcore.Request:
        request = httpcore.Request(self.method, self.url, content=body)
        length = [(self.length, b"%d" % len(body))] if self.length else []
        request.headers = [*self.before, *length, *self.after]
        return request


class Heads:
    """The heads of one API's requests. Threads share them."""

    def __init__(self) -> None:
        self._known: dict[object, Head] = {}

    def request(self, client: httpx.Client, method: str, url: str, given: Mapping[str, Any]) -> httpcore.Request | None:
        """Return the request that ``client`` would send, or ``None`` if the client must make it.

        It must if it has cookies, and for everything but JSON and plain forms.
        """
        body = _body(given)
        if body is None or client.cookies:
            return None
        kind = "data" if given.get("data") else "json" if given.get("json") is not None else ""
        key = (method, url, kind, *(given.get("headers") or {}).items(), given.get("auth"))
        head = self._known.get(key) or self._new(key, client, method, url, given)
        return head.request(body) if head else None

    def _new(self, key: object, client: httpx.Client, method: str, url: str, given: Mapping[str, Any]) -> Head | None:
        head = _head(client, method, url, given)
        if head:
            if len(self._known) >= MOST_FORMS:
                self._known.clear()
            self._known[key] = head
        return head


def target(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _head(client: httpx.Client, method: str, url: str, given: Mapping[str, Any]) -> Head | None:
    """Let httpx make the request. Return ``None`` if the address has a login, because the client sends that too."""
    without_auth = {name: value for name, value in given.items() if name != "auth"}
    request = client.build_request(method, url, **without_auth)
    if request.url.userinfo:
        return None
    if auth := given.get("auth"):
        request = next(httpx.BasicAuth(*auth).sync_auth_flow(request))
    headers = request.headers.raw
    at = [number for number, (name, _) in enumerate(headers) if name.lower() == _LENGTH]
    if len(at) > 1:
        return None
    before, length = (headers[: at[0]], headers[at[0]][0]) if at else (headers, None)
    return Head(request.method, target(request.url), before, length, headers[at[0] + 1 :] if at else [])


def _body(given: Mapping[str, Any]) -> bytes | None:
    """Encode the body as httpx does. Return ``None`` if only httpx can."""
    if not given.keys() <= {"json", "data", "headers", "auth", "params"} or given.get("params") is not None:
        return None
    if data := given.get("data"):
        if not all(type(value) in (str, int) for value in data.values()):
            return None
        return urlencode(data).encode()
    if (value := given.get("json")) is None:
        return b""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
