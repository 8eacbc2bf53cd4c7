"""The console's login: who gets in, for how long, and what ends a session."""

from __future__ import annotations

import hashlib
import re

import pytest

from bridge.db.models import ConsoleSession, LoginLimit
from bridge.operators import login_limits, sessions
from bridge.web.app import build_web
from tests.web.console.desk import TOKENS, House


class TestLogin:
    def test_it_makes_a_row_without_the_tokens(self, house, ana) -> None:
        [row] = house.scene.rows_of(ConsoleSession)
        cookie = ana.client.get_cookie("bridge_console", path="/console", domain="bridge.example.com")
        assert row.operator == "ana"
        assert row.token == hashlib.sha256(cookie.value.encode()).hexdigest()
        assert TOKENS["ana"] not in repr(vars(row))
        assert house.audit() == [("ana", "login")]

    def test_the_cookie_is_for_this_site_and_no_script(self, house) -> None:
        cookies = house.stranger().log_in(TOKENS["ana"]).headers.getlist("Set-Cookie")
        [cookie] = [each for each in cookies if each.startswith("bridge_console=")]
        assert {"Secure", "HttpOnly", "Path=/console", "SameSite=Strict"} <= set(cookie.split("; "))

    def test_on_this_machine_the_cookie_goes_without_tls(self, sessions) -> None:
        house = House(sessions, public_url="http://127.0.0.1:8000")
        cookies = house.stranger().log_in(TOKENS["ana"]).headers.getlist("Set-Cookie")
        assert cookies
        assert not [each for each in cookies if "Secure" in each]

    def test_a_wrong_token_is_refused_and_recorded(self, house) -> None:
        answer = house.stranger().log_in("token-of-nobody")
        assert answer.status_code == 401
        assert "no operator" in answer.text
        assert "token-of-nobody" not in answer.text
        assert house.audit() == [("-", "login_refused")]
        assert house.scene.rows_of(ConsoleSession) == []

    def test_an_empty_form_says_what_is_missing(self, house) -> None:
        answer = house.stranger().log_in("  ")
        assert (answer.status_code, "Type your token." in answer.text) == (422, True)

    @pytest.mark.parametrize("token", ["\x00", "\ud800".encode("utf-8", "surrogatepass"), "é" * 999, "' OR 1=1 --"])
    def test_odd_tokens_are_wrong_ones(self, house, token) -> None:
        assert house.stranger().log_in(token).status_code == 401


class TestGuessing:
    def test_after_ten_wrong_tokens_the_right_one_is_refused_too_for_a_while(self, house) -> None:
        stranger = house.stranger()
        tried = [stranger.log_in(f"guess {n}").status_code for n in range(login_limits.MOST)]
        assert tried == [401] * login_limits.MOST
        answer = stranger.log_in(TOKENS["ana"])
        assert (answer.status_code, "Too many" in answer.text) == (429, True)
        house.scene.clock.tick(login_limits.FORGOTTEN_AFTER.total_seconds())
        assert stranger.log_in(TOKENS["ana"]).status_code == 303

    def test_a_refused_attempt_does_not_make_the_wait_longer(self, house) -> None:
        stranger = house.stranger()
        for n in range(login_limits.MOST):
            stranger.log_in(f"guess {n}")
        house.scene.clock.tick(login_limits.FORGOTTEN_AFTER.total_seconds() - 1)
        assert stranger.log_in(TOKENS["ana"]).status_code == 429
        house.scene.clock.tick(1)
        assert stranger.log_in(TOKENS["ana"]).status_code == 303

    def test_a_login_forgives_the_mistakes_before(self, house) -> None:
        stranger = house.stranger()
        for n in range(login_limits.MOST - 1):
            stranger.log_in(f"guess {n}")
        stranger.log_in(TOKENS["ana"])
        assert house.scene.rows_of(LoginLimit) == []

    def test_another_address_is_not_concerned(self, house) -> None:
        stranger = house.stranger()
        for n in range(login_limits.MOST):
            stranger.log_in(f"guess {n}", headers={"X-Forwarded-For": "203.0.113.7"})
        assert stranger.log_in(TOKENS["ana"], headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 429
        assert stranger.log_in(TOKENS["ana"], headers={"X-Forwarded-For": "203.0.113.8"}).status_code == 303

    def test_a_caller_from_a_public_address_can_not_choose_another_one(self, house) -> None:
        stranger, peer = house.stranger(), {"REMOTE_ADDR": "93.184.216.34"}
        for n in range(login_limits.MOST):
            stranger.log_in(f"guess {n}", headers={"X-Forwarded-For": f"198.51.100.{n}"}, environ_base=peer)
        answer = stranger.log_in(TOKENS["ana"], headers={"X-Forwarded-For": "198.51.100.99"}, environ_base=peer)
        assert answer.status_code == 429

    def test_old_rows_are_deleted_and_no_row_has_an_address(self, house) -> None:
        house.stranger().log_in("guess", headers={"X-Forwarded-For": "203.0.113.7"})
        house.scene.clock.tick(login_limits.FORGOTTEN_AFTER.total_seconds())
        house.stranger().log_in("guess", headers={"X-Forwarded-For": "203.0.113.8"})
        [row] = house.scene.rows_of(LoginLimit)
        assert row.address == hashlib.sha256(b"203.0.113.8").hexdigest()


class TestSession:
    def test_logout_ends_it_for_a_copied_cookie_too(self, house, ana) -> None:
        copied = ana.client.get_cookie("bridge_console", path="/console", domain="bridge.example.com").value
        ana.post("/logout")
        thief = house.stranger()
        thief.client.set_cookie("bridge_console", copied, path="/console", domain="bridge.example.com")
        assert thief.get("/").status_code == 303
        assert house.audit()[-1] == ("ana", "logout")

    def test_logout_everywhere_ends_all_of_this_operator_and_no_other(self, house, ana) -> None:
        phone, ben = house.desk(), house.desk("ben")
        ana.post("/logout-everywhere")
        assert [each.get("/").status_code for each in (ana, phone, ben)] == [303, 303, 200]

    def test_one_other_session_can_be_ended(self, house, ana) -> None:
        phone, ben = house.desk(), house.desk("ben")
        names = re.findall(r"/console/sessions/(\w+)/end", ana.get("/sessions").text)
        assert len(names) == 1, "not the own one, and not Ben's"
        ana.post(f"/sessions/{names[0]}/end")
        assert [each.get("/").status_code for each in (ana, phone, ben)] == [200, 303, 200]

    def test_an_operator_can_not_end_another_ones_session(self, house, ana) -> None:
        ben = house.desk("ben")
        [row] = [row for row in house.scene.rows_of(ConsoleSession) if row.operator == "ben"]
        ana.post(f"/sessions/{row.token[:16]}/end")
        assert ben.get("/").status_code == 200

    def test_it_ends_when_it_is_idle(self, house, ana) -> None:
        house.scene.clock.tick(sessions.IDLE.total_seconds() - 1)
        assert ana.get("/").status_code == 200
        house.scene.clock.tick(sessions.IDLE.total_seconds())
        assert ana.get("/").status_code == 303

    def test_a_page_that_asks_by_itself_is_no_use(self, house, ana) -> None:
        house.scene.clock.tick(sessions.IDLE.total_seconds() / 2)
        assert ana.get("/live?v=1").status_code == 200
        house.scene.clock.tick(sessions.IDLE.total_seconds() / 2)
        assert ana.get("/").status_code == 303

    def test_it_ends_after_a_week_however_much_it_is_used(self, house, ana) -> None:
        for _ in range(int(sessions.LONGEST / (sessions.IDLE / 2))):
            assert ana.get("/sessions").status_code == 200
            house.scene.clock.tick(sessions.IDLE.total_seconds() / 2)
        assert ana.get("/").status_code == 303

    def test_it_ends_when_the_operators_token_changes(self, house, ana) -> None:
        house.scene.set(admin_tokens="ana:another-token-5678,ben:token-of-ben-1234")
        ana.client.application = build_web(house.scene.rt)
        assert ana.get("/").status_code == 303

    def test_it_stays_when_another_operator_is_added(self, house, ana) -> None:
        tokens = ",".join(f"{name}:{token}" for name, token in [*TOKENS.items(), ("eve", "token-of-eve-1234")])
        house.scene.set(admin_tokens=tokens)
        ana.client.application = build_web(house.scene.rt)
        assert ana.get("/").status_code == 200
