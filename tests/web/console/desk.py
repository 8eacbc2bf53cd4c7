"""An operator at the console: a bridge on a real database, and a browser without a screen (Flask's client)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bridge.db.models import Audit
from bridge.db.transaction import Sessions
from bridge.web.app import build_web
from testkit.waiting import PATIENCE
from tests.scene import Scene

TOKENS = {"ana": "token-of-ana-1234", "ben": "token-of-ben-1234"}
HERE = "https://bridge.example.com"

CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


class Desk:
    """One operator's browser."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(f"/console{path}", base_url=HERE, **more)

    def post(self, path: str, *, form_on: str | None = None, **fields: Any) -> TestResponse:
        """Send a form with the token of a page that has one."""
        page = self.get(form_on or "/sessions")
        found = CSRF.search(page.text)
        data = {"csrf_token": found[1] if found else "", **fields}
        return self.client.post(f"/console{path}", base_url=HERE, data=data)

    def log_in(self, token: str, **more: Any) -> TestResponse:
        found = CSRF.search(self.get("/login").text)
        data = {"csrf_token": found[1] if found else "", "token": token}
        return self.client.post("/console/login", base_url=HERE, data=data, **more)

    def then(self, answer: TestResponse) -> TestResponse:
        """The page to which the answer leads."""
        assert answer.status_code == 303, answer.text
        to = urlsplit(answer.headers["Location"])
        return self.client.get(to.path + (f"?{to.query}" if to.query else ""), base_url=HERE)


class House:
    """A bridge with two operators."""

    def __init__(self, sessions: Sessions, **settings: Any) -> None:
        tokens = ",".join(f"{name}:{token}" for name, token in TOKENS.items())
        self.scene = Scene(sessions, **{"admin_tokens": tokens, **settings})
        self.app = build_web(self.scene.rt, PATIENCE)

    def stranger(self) -> Desk:
        return Desk(self.app)

    def desk(self, name: str = "ana") -> Desk:
        desk = Desk(self.app)
        assert desk.log_in(TOKENS[name]).status_code == 303
        return desk

    def audit(self) -> list[tuple[str, str]]:
        """Who has done what, in order."""
        return [(row.operator, row.action) for row in self.scene.rows(Audit)]
