"""Every answer of the app has security headers, whoever asks and whatever the answer is."""

from __future__ import annotations

import re

import pytest

from tests.web.console.desk import TOKENS, House

METHODS = ("GET", "POST", "DELETE", "PUT", "OPTIONS")
OPERATOR = {"Authorization": f"Bearer {TOKENS['ana']}"}
NAMES = ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
STREAMS = "/admin/events"


@pytest.fixture
def house(sqlite_url: str, sessions) -> House:
    return House(sessions)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough here."""
    return sqlite_url


def paths(house: House) -> list[str]:
    """Every route, and addresses that are none."""
    rules = {re.sub(r"<[^>]+>", "1", rule.rule) for rule in house.app.url_map.iter_rules()}
    return sorted(rules | {"/", "/nothing", "/admin/nothing", "/console/nothing", "/twilio/nothing"})


@pytest.mark.parametrize("headers", [{}, OPERATOR], ids=["a stranger", "an operator"])
def test_every_route_has_them_for_every_method_and_caller(house: House, headers: dict[str, str]) -> None:
    found = {}
    for path in paths(house):
        for method in METHODS:
            if path == STREAMS and headers and method == "GET":
                continue
            answer = house.app.test_client().open(path, method=method, headers=headers)
            found[path, method] = [name for name in NAMES if name not in answer.headers]
    assert len(found) > 300
    assert {call: missing for call, missing in found.items() if missing} == {}


@pytest.mark.parametrize("path", ["/admin/chats", "/admin/conversations", "/metrics"])
def test_what_is_about_people_is_not_kept_by_a_cache(house: House, path: str) -> None:
    assert house.app.test_client().get(path, headers=OPERATOR).headers["Cache-Control"] == "no-store"


def test_a_page_of_the_console_keeps_its_own_policy(house: House) -> None:
    assert "script-src 'self'" in house.desk().get("/").headers["Content-Security-Policy"]


def test_an_unexpected_error_has_them_too(house: House) -> None:
    house.app.add_url_rule("/breaks", view_func=lambda: 1 // 0)
    answer = house.app.test_client().get("/breaks")
    assert answer.status_code == 500
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
