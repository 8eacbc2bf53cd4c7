"""What a tool says when the admin API refuses, is not there, or is something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bridge.mcp.problems import (
    ASK_AGAIN,
    MAYBE_DONE,
    READ_FIRST,
    SAME_KEY,
    ToolError,
    other_version,
    refusal,
    unreached,
    unreadable,
)

REQUEST = httpx.Request("GET", "https://sms.example.com/admin/conversations?phone=%2B15551230001")


def problem(status: int, **members: Any) -> str:
    body = json.dumps({"type": "about:blank", "title": "T", "status": status, **members})
    headers = {"content-type": "application/problem+json"}
    return str(refusal(httpx.Response(status, content=body, headers=headers, request=REQUEST)))


def test_the_detail_comes_first_and_then_what_helps() -> None:
    told = problem(401, detail="Send the header.")
    assert told.startswith("Send the header. Set ADMIN_TOKEN")


def test_an_error_without_a_remedy_has_its_detail_alone() -> None:
    assert problem(503, detail="The database does not answer. Try again soon.") == (
        "The database does not answer. Try again soon."
    )


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (
            {"kind": "person", "name": "ben", "since": "2026-11-29T12:00:00Z", "reason": None},
            "The holder is ben, since 2026-11-29T12:00:00Z. If that is somebody else,",
        ),
        (
            {"kind": "waiting", "name": None, "since": None, "reason": "asked for a human"},
            "The holder is waiting, because: asked for a human.",
        ),
    ],
)
def test_the_holder_is_named(holder: dict[str, Any], words: str) -> None:
    told = problem(409, detail="Not now.", holder=holder)
    assert told.startswith(f"Not now. {words}")
    assert ("force" in told) is (holder["kind"] == "person")


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (404, "text/html", "<h1>Not Found</h1>"),
        (502, "text/plain", "bad gateway"),
        (500, "application/problem+json", "{"),
        (500, "application/problem+json", "[]"),
        (500, "application/problem+json", "{}"),
        (301, "text/html", ""),
    ],
)
def test_what_is_no_bridge_is_told_without_the_path(status: int, content_type: str, body: str) -> None:
    answer = httpx.Response(status, content=body, headers={"content-type": content_type}, request=REQUEST)
    told = str(refusal(answer))
    assert told == (
        f"https://sms.example.com answers with status {status}, and not as the admin API of a bridge. Check BRIDGE_URL."
    )


NOT_SENT = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("error", NOT_SENT)
def test_a_bridge_that_is_not_reached_has_done_nothing(error: type[httpx.HTTPError], method: str) -> None:
    told = str(unreached(httpx.Request(method, REQUEST.url), error("")))
    assert told.startswith("No bridge answers at https://sms.example.com. Nothing was done.")
    assert "BRIDGE_URL" in told
    assert ("HTTPS_PROXY" in told) is (error is httpx.ProxyError)
    assert MAYBE_DONE not in told
    assert "1555" not in told


# -- after an answer that does not tell whether it is done ---------------------------------------------------------

KEYED = {"Idempotency-Key": "k"}

REPEATED = pytest.mark.parametrize(
    ("method", "headers", "words"),
    [
        ("GET", {}, ASK_AGAIN),
        ("POST", KEYED, f"{MAYBE_DONE} {SAME_KEY}"),
        ("POST", {}, f"{MAYBE_DONE} {READ_FIRST}"),
    ],
)

LOST = [
    (httpx.ReadTimeout, "has not answered in time."),
    (httpx.WriteTimeout, "has not answered in time."),
    (httpx.ReadError, "was lost before the answer was complete."),
    (httpx.WriteError, "was lost before the answer was complete."),
    (httpx.RemoteProtocolError, "was lost before the answer was complete."),
    (httpx.DecodingError, "was lost before the answer was complete."),
]


@REPEATED
@pytest.mark.parametrize(("error", "what"), LOST)
def test_after_a_lost_answer_the_words_say_how_to_repeat(
    error: type[httpx.HTTPError], what: str, method: str, headers: dict[str, str], words: str
) -> None:
    asked = httpx.Request(method, REQUEST.url, headers=headers)
    told = str(unreached(asked, error("")))
    assert "https://sms.example.com" in told
    assert told.endswith(f"{what} {words}")


FAILED = [
    (500, "application/problem+json", '{"detail": "An unexpected error. The log has the details."}'),
    (503, "application/problem+json", '{"detail": "The database does not answer. Try again soon."}'),
    (502, "text/html", "<h1>Bad gateway</h1>"),
    (504, "text/plain", "timeout"),
]


@REPEATED
@pytest.mark.parametrize(("status", "content_type", "body"), FAILED)
def test_after_a_failure_of_a_server_or_a_proxy_the_words_say_how_to_repeat(
    status: int, content_type: str, body: str, method: str, headers: dict[str, str], words: str
) -> None:
    asked = httpx.Request(method, REQUEST.url, headers=headers)
    told = str(refusal(httpx.Response(status, content=body, headers={"content-type": content_type}, request=asked)))
    assert told.endswith(words) is (method == "POST")
    assert (MAYBE_DONE in told) is (method == "POST")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 413, 422])
def test_a_refused_action_is_not_done(status: int) -> None:
    asked = httpx.Request("POST", REQUEST.url, headers=KEYED)
    for content_type in ("application/problem+json", "text/html"):
        headers = {"content-type": content_type}
        answer = httpx.Response(status, content='{"detail": "No."}', headers=headers, request=asked)
        assert MAYBE_DONE not in str(refusal(answer))


@REPEATED
@pytest.mark.parametrize("error", [unreadable, other_version])
def test_a_success_that_can_t_be_read_may_be_done(
    error: Callable[[httpx.Response], ToolError], method: str, headers: dict[str, str], words: str
) -> None:
    asked = httpx.Request(method, REQUEST.url, headers=headers)
    told = str(error(httpx.Response(200, request=asked)))
    assert told.endswith(words) is (method == "POST")
