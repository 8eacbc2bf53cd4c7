"""What protects the console: access, the forms' tokens, headers, and the files that it serves."""

from __future__ import annotations

import hashlib
import re

import pytest

from bridge.web.auth import undeclared
from bridge.web.console import login, statics
from tests.web.console.desk import HERE, TOKENS, House

PAGES = (
    "/",
    "/inbox",
    "/replies",
    "/new",
    "/export",
    "/failures",
    "/audit",
    "/stale-chats",
    "/sessions",
    "/overview/figures",
    "/live",
    "/overview/now",
)
FORMS = ("/pause", "/resume", "/logout", "/logout-everywhere", "/failures/retry", "/stale-chats/end")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough here."""
    return sqlite_url


class TestWhoGetsIn:
    def test_every_view_declares_its_callers(self, house) -> None:
        assert undeclared(house.app) == []

    @pytest.mark.parametrize("path", PAGES)
    def test_a_stranger_is_sent_to_the_login(self, house, path: str) -> None:
        answer = house.stranger().get(path)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/console/login")

    def test_a_live_part_sends_its_page_to_the_login(self, house) -> None:
        answer = house.stranger().get("/live?v=1", headers={"HX-Request": "true"})
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/console/login")

    @pytest.mark.parametrize("path", PAGES)
    def test_an_operator_sees_the_page(self, ana, path: str) -> None:
        assert ana.get(path).status_code == 200

    def test_the_login_leads_back_to_the_page_that_was_asked_for(self, house) -> None:
        stranger = house.stranger()
        asked = stranger.get("/audit?operator=ben")
        found = re.search(r'name="csrf_token" value="([^"]+)"', stranger.then(asked).text)
        assert found
        data = {"csrf_token": found[1], "token": TOKENS["ana"]}
        answer = stranger.client.post(asked.headers["Location"], base_url=HERE, data=data)
        assert answer.headers["Location"] == "/console/audit?operator=ben"

    @pytest.mark.parametrize(
        "to",
        [
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "/admin/chats",
            "javascript:alert(1)",
            "/console/\\x",
        ],
    )
    def test_the_login_leads_to_no_other_place(self, ana, to: str) -> None:
        answer = ana.get("/login", query_string={"next": to})
        assert answer.headers["Location"] == "/console/"

    def test_another_site_that_leads_here_gets_a_page_that_asks_once_more(self, house) -> None:
        answer = house.stranger().get("/audit?operator=ben", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200
        assert 'content="0; url=/console/audit?operator=ben"' in answer.text

    def test_without_operators_every_page_answers_503(self, sessions) -> None:
        stranger = House(sessions, admin_tokens={}).stranger()
        for path in ("/", "/login", "/audit"):
            answer = stranger.get(path)
            assert answer.status_code == 503
            assert "ADMIN_TOKEN" in answer.text


class TestForms:
    @pytest.mark.parametrize("path", FORMS)
    def test_a_form_without_its_token_changes_nothing(self, house, ana, path: str) -> None:
        before = len(house.audit())
        for data in ({}, {"csrf_token": "made-up"}):
            answer = ana.client.post(f"/console{path}", base_url=HERE, data=data)
            assert answer.status_code == 400
            assert "reload" in answer.text
        assert len(house.audit()) == before
        assert ana.get("/").status_code == 200

    def test_the_token_of_another_browser_does_not_count(self, house, ana) -> None:
        found = re.search(r'name="csrf_token" value="([^"]+)"', house.desk("ben").get("/sessions").text)
        assert found
        ana.get("/sessions")
        answer = ana.client.post("/console/pause", base_url=HERE, data={"csrf_token": found[1]})
        assert answer.status_code == 400

    def test_a_form_stays_good_as_long_as_the_session(self, house, ana) -> None:
        assert ana.post("/pause").status_code == 303
        assert not house.app.config["WTF_CSRF_TIME_LIMIT"]

    def test_the_webhooks_and_the_admin_api_need_no_such_token(self, house) -> None:
        key = {"Authorization": f"Bearer {TOKENS['ana']}"}
        assert house.app.test_client().post("/admin/pause", headers=key).status_code == 200

    def test_a_form_that_is_too_large_is_refused(self, ana) -> None:
        assert ana.post("/pause", more="x" * 300_000).status_code == 413


class TestHeaders:
    @pytest.mark.parametrize("path", ["/login", "/", "/nowhere", "/live"])
    def test_every_page_forbids_what_it_does_not_need(self, ana, path: str) -> None:
        headers = ana.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", PAGES)
    def test_no_page_has_a_script_or_a_style_of_its_own(self, ana, path: str) -> None:
        page = ana.get(path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|<script(?! src=)|javascript:", page)

    def test_a_file_is_kept_for_ever_under_an_address_with_its_digest(self, ana) -> None:
        page = ana.get("/").text
        own = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
        assert len(own) == len(statics.files())
        for address in own:
            answer = ana.client.get(address, base_url=HERE)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert ana.get("/static/0000000000000000/console.css").status_code == 404
        assert ana.get("/static/../../../../etc/passwd").status_code == 404

    def test_htmx_is_the_file_that_was_vetted(self) -> None:
        file = (statics.FOLDER / "htmx.min.js").read_bytes()
        assert hashlib.sha256(file).hexdigest() == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
        assert b'version:"2.0.11"' in file
        assert "Zero-Clause BSD" in (statics.FOLDER / "htmx.LICENSE.txt").read_text()

    def test_htmx_may_evaluate_nothing(self, ana) -> None:
        [config] = re.findall(r"name=\"htmx-config\" content='([^']+)'", ana.get("/").text)
        assert '"allowEval":false' in config
        assert '"includeIndicatorStyles":false' in config


class TestLink:
    def test_on_this_machine_a_link_logs_in_once(self, sessions) -> None:
        house = House(sessions, public_url="http://127.0.0.1:8000")
        path = login.link(house.scene.rt, "ana", "first").removeprefix("http://127.0.0.1:8000/console")
        desk = house.stranger()
        assert desk.get(path).headers["Location"] == "/console/"
        assert desk.get("/").status_code == 200
        assert house.stranger().get(path).headers["Location"] == "/console/login"

    def test_it_has_an_end(self, sessions) -> None:
        house = House(sessions, public_url="http://127.0.0.1:8000")
        path = login.link(house.scene.rt, "ana", "first").removeprefix("http://127.0.0.1:8000/console")
        house.scene.clock.tick(login.LINK_FOR.total_seconds() + 1)
        assert house.stranger().get(path).headers["Location"] == "/console/login"

    def test_elsewhere_there_is_none(self, house) -> None:
        path = login.link(house.scene.rt, "ana", "first").removeprefix(f"{HERE}/console")
        assert house.stranger().get(path).headers["Location"] == "/console/login"

    @pytest.mark.parametrize("ticket", ["x", "WyJhbmEiLCJ4Il0.aa.bb", "." * 50, "é"])
    def test_an_odd_link_is_none(self, sessions, ticket: str) -> None:
        house = House(sessions, public_url="http://127.0.0.1:8000")
        assert house.stranger().get(f"/enter/{ticket}").headers["Location"] == "/console/login"
