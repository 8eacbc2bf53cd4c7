"""A text that does not fit is answered with what is wanted, in words. Nobody reads a pattern."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.db.engine import Sessions
from bridge.web import openapi
from bridge.web.models import PERSON, WANTED
from tests.scene import ANN, NUMBER, Scene


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Nothing is stored here."""
    return sqlite_url


def fault(sessions: Sessions, method: str, path: str, body: dict[str, Any]) -> tuple[str, str]:
    """The field that is refused, and why."""
    client = Scene(sessions, admin_tokens="ana:token-of-ana").web.test_client()
    answer = client.open(path, method=method, json=body, headers={"Authorization": "Bearer token-of-ana"})
    assert answer.status_code == 422, answer.text
    [error] = answer.json["errors"]
    return error["field"], error["fault"]


@pytest.mark.parametrize("number", ["555-1234", "0049 30 123456", "+0123456789", "15551230001", "rcs:15551230001", ""])
def test_a_wrong_number_of_a_person_is_told_in_words(sessions: Sessions, number: str) -> None:
    field, words = fault(sessions, "POST", "/admin/messages", {"to": number, "from": NUMBER, "body": "hi"})
    assert field.endswith("to")
    assert words.startswith("must be a number with + and the country code, such as +15551230001")


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/admin/messages", {"to": ANN, "from": "our number", "body": "hi"}, "a short code"),
    ("POST", "/admin/messages", {"to": ANN, "from": NUMBER, "body": "a\x00b"}, "NUL"),
    ("PUT", "/admin/canned-replies/opening hours", {"body": "9 to 17"}, "without accents"),
]


@pytest.mark.parametrize(("method", "path", "body", "wanted"), WRONG, ids=[row[3] for row in WRONG])
def test_other_texts_too(sessions: Sessions, method: str, path: str, body: dict[str, Any], wanted: str) -> None:
    _, words = fault(sessions, method, path, body)
    assert wanted in words
    assert "^" not in words


def patterns(described: object) -> set[str]:
    """The patterns in a part of the document, but for those of headers: they have words of their own."""
    if isinstance(described, list):
        return set().union(*map(patterns, described))
    if not isinstance(described, dict) or described.get("in") == "header":
        return set()
    own = {described["pattern"]} if isinstance(described.get("pattern"), str) else set()
    return own.union(*map(patterns, described.values()))


def test_every_pattern_of_the_document_has_its_words() -> None:
    found = patterns(openapi.document())
    assert PERSON in found
    assert found <= WANTED.keys()
