"""What a tool says when the admin API refuses, is not there, or is something else."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from bridge.mcp.problems import refusal, unreached

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


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError])
def test_a_bridge_that_is_not_reached_has_done_nothing(error: type[httpx.HTTPError]) -> None:
    told = str(unreached(REQUEST, error("")))
    assert told.startswith("No bridge answers at https://sms.example.com. Nothing was done.")
    assert "1555" not in told


@pytest.mark.parametrize(
    ("method", "headers", "words"),
    [
        ("GET", {}, "Nothing was to be changed, so call again."),
        ("POST", {"Idempotency-Key": "k"}, "Call again with the same idempotency_key: it is done once."),
        ("POST", {}, "Read the state before you call again."),
    ],
)
def test_after_a_lost_answer_the_words_say_whether_to_repeat(method: str, headers: dict[str, str], words: str) -> None:
    asked = httpx.Request(method, REQUEST.url, headers=headers)
    assert str(unreached(asked, httpx.ReadTimeout(""))).endswith(words)
