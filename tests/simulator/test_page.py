"""The phone page's calls, the runner's calls, and the simulator by itself in a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from bridge.simulator.carrier import Envelope
from bridge.simulator.faults import FAULTS, HANDOFFS, POISONS, VERDICTS, Group
from bridge.simulator.ledger import Ledger, Received, Refused, Sent, Text, Webhook
from bridge.simulator.reasons import REASONS
from testkit.waiting import until

ANA, BEN = "+15551230001", "+15551230002"


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(SimulatorSettings())


SOON = 3.0
"""Seconds."""

ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{",
    b"NaN",
    b'{"from": "\\ud800"}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"from": "+15551230001", "name": NaN, "code": 1e999, "url": 1, "of": {}}',
]

ODD = [10**9, 10**400, -1, 1.5, "3", "many", True, [], {}, [1]]
ODD_VALUES = [
    *(("texts", {"from": ANA, "media": value}) for value in [*ODD, None]),
    *(("texts", {"from": value}) for value in [7, True, None, [], {}, "", "+" * 300]),
    *(("texts", {"from": ANA, "body": value}) for value in [7, True, None, [], {}, "a" * 100_001]),
    *(("texts", {"from": ANA, "to": value}) for value in [7, True, [], {}, "", "+1999"]),
    *(("texts", {"from": ANA, "id": value}) for value in [7, True, [], {}]),
    ("texts", {"from": ANA, "unknown": 1}),
    *(("texts", {"from": ANA, "fields": value}) for value in [7, "x", True, [], {"Label": 7}, {"": "x"}]),
    *(("texts", {"from": ANA, "received_as": value}) for value in [7, True, [], {}]),
    *(("texts", {"from": ANA, "tap": value, "on": "SM1"}) for value in [7, True, [], {}, "", "Liked"]),
    *(("texts", {"from": ANA, "tap": "Liked", "on": value}) for value in [7, True, None, [], {}]),
    *(("outside", {"to": ANA, "body": value}) for value in [7, True, None, [], {}, "", "a" * 1601]),
    *(("outside", {"to": value, "body": "hi"}) for value in [7, True, None, [], {}, "", "+" * 300]),
    ("outside", {"to": ANA, "body": "hi", "from": "+1999"}),
    *(("people", {"code": value}) for value in ODD),
    *(("people", {"of": value}) for value in [7, True, [], {}, ""]),
    *(("people", {"channel": value}) for value in [7, True, None, [], {}, "", "pigeon"]),
    *(("faults", {"name": value}) for value in [7, True, None, [], {}, "", "agent_sleepy"]),
    *(("faults", {"name": "agent_500", "next": value}) for value in ODD),
    *(("faults", {"name": "agent_500", "percent": value}) for value in [10**9, 10**400, -1, "30", True, None, [], {}]),
    *(("faults", {"name": "agent_500", "calls": value}) for value in [7, "send", True, {}, [7], ["a"] * 21]),
    *(("faults", {"name": "agent_slow", "seconds": value}) for value in [10**9, 10**400, -1, "5", True, None, [], {}]),
    *(("faults", {"name": "agent_500", option: 1}) for option in ["n", "self", "tea"]),
    ("faults", {"clear": "yes"}),
    *(
        ("webhook", {"url": value})
        for value in [7, True, [], {}, "", "file:///etc/passwd", "x", "http://", "http://[::1"]
    ),
    *(("webhook", {"url": value}) for value in ["http://x:99999999/", "javascript:alert(1)", "http://x/" + "a" * 3000]),
]

OURS = [
    "127.0.0.1",
    "127.0.0.1:8000",
    "localhost",
    "LocalHost:8000",
    "demo.localhost",
    "a.b.localhost:1",
    "[::1]",
    "[::1]:80",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evillocalhost",
    ".localhost",
    "localhost@evil.example",
    "evil.example#localhost",
    "127.0.0.1, evil.example",
    "127.0.0.1:8000:8000",
    "127.0.0.1:",
    "192.168.0.1",
    "0.0.0.0",
    "[::2]",
    "[::ffff:192.168.0.1]",
    "",
]
PATHS = ["/", "/simulator/state", "/static/phone.js", "/nowhere", "/2010-04-01/Accounts/x/Messages.json", "/get-chat/x"]


class TestWhoMayCall:
    @pytest.mark.parametrize("host", OURS)
    def test_a_name_of_this_machine_is_served(self, page: httpx.Client, host: str) -> None:
        assert page.get("/simulator/state", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize("host", FOREIGN)
    def test_a_page_of_another_name_is_not(self, simulator: Simulator, page: httpx.Client, host: str) -> None:
        for path in PATHS:
            answer = page.get(path, headers={"Host": host})
            assert answer.status_code == 400
            assert ANA not in answer.text
        evil = {"url": "http://evil.example/"}
        assert page.post("/simulator/webhook", json=evil, headers={"Host": host}).status_code == 400
        assert page.post("/simulator/texts", json={"from": ANA, "body": "x"}, headers={"Host": host}).status_code == 400
        assert simulator.webhook_url is None
        assert simulator.ledger.of(Text) == []

    @pytest.mark.parametrize(
        "head",
        [
            "GET / HTTP/1.0\r\n",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n",
            "GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n",
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: many\r\n",
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1073741824\r\n",
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n",
        ],
    )
    def test_without_one_clear_name_or_length_nobody_is(self, page: httpx.Client, head: str) -> None:
        with socket.create_connection((page.base_url.host, page.base_url.port or 0), timeout=SOON) as caller:
            caller.sendall(f"{head}\r\n".encode())
            assert caller.makefile("rb").readline().split()[1] == b"400"


@pytest.fixture
def page(simulator: Simulator) -> Iterator[httpx.Client]:
    with serve(simulator) as address, httpx.Client(base_url=address, timeout=10) as page:
        yield page


def state(page: httpx.Client, **known: Any) -> dict[str, Any]:
    return dict(page.get("/simulator/state", params=known).json())


def person(page: httpx.Client, phone: str = ANA) -> dict[str, Any]:
    return next(one for one in state(page)["people"] if one["phone"] == phone)


class TestPage:
    def test_it_is_there_with_all_its_parts_and_asks_nobody_else(self, page: httpx.Client) -> None:
        answer = page.get("/")
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "+15550001111" in answer.text
        parts = re.findall(r'(?:src|href)="(/[^"]+)"', answer.text)
        assert len(parts) >= 3
        for part in [*parts, "/static/picture.png"]:
            assert page.get(part).status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)

    def test_the_scripts_write_text_never_markup(self, page: httpx.Client) -> None:
        script = page.get("/static/phone.js").text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


class TestState:
    def test_it_shows_a_person_the_faults_and_no_bridge(self, page: httpx.Client) -> None:
        shown = state(page)
        assert [one["phone"] for one in shown["people"]] == [ANA]
        assert shown["watch"] is None
        assert shown["connected"] is False
        assert [fault["name"] for fault in shown["faults"]] == [*FAULTS, *VERDICTS, *POISONS, *HANDOFFS]
        assert {fault["group"] for fault in shown["faults"]} == set(Group)

    def test_a_text_shows_how_far_it_got(self, simulator: Simulator, page: httpx.Client) -> None:
        sid = page.post("/simulator/texts", json={"from": ANA, "body": "hi"}).json()["sid"]
        simulator.ledger.write(Webhook(sid=sid, phone=ANA, ok=False, detail="no answer in time"))
        [text] = person(page)["texts"]
        assert text["mine"]
        assert text["body"] == "hi"
        assert text["progress"] == "failed"
        simulator.ledger.write(Received(chat="chat", phone=ANA, content="first\nhi"))
        assert person(page)["texts"][0]["progress"] == "received"

    def test_a_text_is_heard_only_as_a_whole_line(self, simulator: Simulator, page: httpx.Client) -> None:
        simulator.phones.text(ANA, "hi")
        simulator.ledger.write(Received(chat="chat", phone=ANA, content="this"))
        assert person(page)["texts"][0]["progress"] != "received"

    def test_one_good_announcement_is_enough(self, simulator: Simulator, page: httpx.Client) -> None:
        sid = simulator.phones.text(ANA, "hi")
        for ok in (True, False):
            simulator.ledger.write(Webhook(sid=sid, phone=ANA, ok=ok))
        assert person(page)["texts"][0]["progress"] == "accepted"

    def test_somebody_may_text_from_another_tool_and_the_judge_does_not_count_it(
        self, simulator: Simulator, page: httpx.Client
    ) -> None:
        answer = page.post("/simulator/outside", json={"to": ANA, "body": "Maria here"})
        assert answer.status_code == 201
        [text] = person(page)["texts"]
        assert (text["sid"], text["body"], text["mine"], text["outside"]) == (
            answer.json()["sid"],
            "Maria here",
            False,
            True,
        )
        assert (text["progress"], text["carrier"]) == ("delivered", False)
        verdict = judge(simulator.ledger)
        assert verdict.ok
        assert verdict.sent == 0
        assert Ledger.load(simulator.ledger.export()).about(ANA) == simulator.ledger.about(ANA)

    def test_another_tool_reaches_nobody_who_has_opted_out(self, simulator: Simulator, page: httpx.Client) -> None:
        simulator.phones.text(ANA, "STOP")
        assert page.post("/simulator/outside", json={"to": ANA, "body": "hi"}).status_code == 400

    def test_a_new_person_has_a_number_of_her_own(self, page: httpx.Client) -> None:
        assert page.post("/simulator/people", json={}).json() == {"phone": BEN}
        assert [one["phone"] for one in state(page)["people"]] == [ANA, BEN]

    def test_a_new_person_can_be_on_another_channel_or_out_of_reach(self, page: httpx.Client) -> None:
        def new(**wanted: Any) -> str:
            return str(page.post("/simulator/people", json=wanted).json()["phone"])

        assert new(channel="whatsapp") == f"whatsapp:{BEN}"
        assert new(code=30003) == "+15005530003"
        assert new(of=ANA, channel="rcs") == f"rcs:{ANA}"
        assert new(of=f"rcs:{ANA}", channel="sms") == ANA
        shown = {one["phone"]: one for one in state(page)["people"]}
        assert list(shown) == [ANA, f"whatsapp:{BEN}", "+15005530003", f"rcs:{ANA}"]
        assert shown[f"rcs:{ANA}"]["name"] == shown[ANA]["name"]
        assert shown[f"whatsapp:{BEN}"]["channel"] == "whatsapp"
        assert shown["+15005530003"]["fails"] == {"code": 30003, "plain": REASONS[30003].plain, "at_once": False}
        assert shown[ANA]["fails"] is None

    @pytest.mark.parametrize("body", [{"channel": "pigeon"}, {"code": 12345}, {"code": []}])
    def test_a_new_person_without_sense_is_refused(self, page: httpx.Client, body: Any) -> None:
        assert page.post("/simulator/people", json=body).status_code == 400

    def test_the_carriers_own_answer_is_told_from_the_bridges(self, page: httpx.Client) -> None:
        page.post("/simulator/texts", json={"from": ANA, "body": "STOP"})
        assert person(page)["opted_out"]
        [mine, answer] = person(page)["texts"]
        assert (mine["carrier"], answer["carrier"], answer["mine"], answer["progress"]) == (False, True, False, "")
        page.post("/simulator/texts", json={"from": ANA, "body": "START"})
        assert not person(page)["opted_out"]

    def test_a_text_that_does_not_arrive_says_why(self, simulator: Simulator, page: httpx.Client) -> None:
        text = simulator.carrier.keep(Envelope("outbound-api", simulator.settings.number, ANA), "hi", status="queued")
        simulator.ledger.write(Sent(sid=text.sid, to=ANA, sender=text.sender, body="hi"))
        assert person(page)["texts"][0]["progress"] == "queued"
        simulator.carrier.move(text, "undelivered", 30003)
        [shown] = person(page)["texts"]
        assert (shown["progress"], shown["code"], shown["detail"]) == ("undelivered", 30003, REASONS[30003].plain)

    def test_a_refused_text_is_shown_until_it_is_taken(self, simulator: Simulator, page: httpx.Client) -> None:
        def refuse(code: int, at: float) -> None:
            simulator.ledger.write(Refused(at=at, phone=ANA, sender="", body="hi", code=code))

        refuse(21611, 1.0)
        refuse(21611, 2.0)
        [shown] = person(page)["texts"]
        assert (shown["progress"], shown["code"], shown["at"]) == ("refused", 21611, 1.0)
        refuse(21610, 3.0)
        simulator.ledger.write(Sent(sid="SM1", to=ANA, sender="", body="hi"))
        assert [text["code"] for text in person(page)["texts"]] == [21610, None], "that one was refused for good"

    def test_somebody_who_is_texted_first_turns_up_too(self, simulator: Simulator, page: httpx.Client) -> None:
        simulator.ledger.write(Received(chat="chat", phone="+15557654321", content="hi"))
        assert "+15557654321" in [one["phone"] for one in state(page)["people"]]

    def test_with_the_version_that_it_knows_it_waits_for_news(self, simulator: Simulator, page: httpx.Client) -> None:
        known = state(page)
        later = threading.Timer(0.05, simulator.phones.text, (ANA, "hi"))
        later.start()
        news = state(page, version=known["version"], watched=known["watched"])
        later.join()
        assert news["version"] > known["version"]

    def test_it_shows_what_the_bridge_does(self, simulator: Simulator, page: httpx.Client) -> None:
        row = {"time": datetime.now(UTC).isoformat(), "phone": ANA, "kind": "turn", "state": "asking", "detail": ""}
        rows: list[dict[str, Any]] = []
        simulator.watch = lambda: list(rows)
        known = state(page)
        assert known["watch"] == []
        rows.append(row)
        assert state(page, version=known["version"], watched=known["watched"])["watch"] == [row]


class TestRunner:
    def test_texts_can_be_sent_and_the_ledger_read(self, simulator: Simulator, page: httpx.Client) -> None:
        page.post("/simulator/texts", json={"from": BEN, "body": "hi", "media": 1, "id": "t-1"})
        # A text is announced beside the request: the ledger stands still when that has been tried.
        until(lambda: simulator.ledger.of(Webhook))
        read = page.get("/simulator/ledger").json()
        [text] = [event for event in read["events"] if event["kind"] == "text"]
        assert (text["phone"], text["body"], text["media"], text["id"]) == (BEN, "hi", 1, "t-1")
        assert judge(Ledger.load(read["events"])) == judge(simulator.ledger)
        assert page.get("/simulator/ledger", params={"since": read["next"]}).json()["events"] == []

    def test_a_place_is_announced_with_its_fields_and_judged_by_what_must_be_heard(
        self, simulator: Simulator, page: httpx.Client
    ) -> None:
        fields = {"Latitude": "52.5", "Longitude": "13.4", "From": "+1666", "Body": "made up"}
        page.post("/simulator/texts", json={"from": BEN, "fields": fields, "received_as": "Location: 52.5, 13.4"})
        until(lambda: simulator.ledger.of(Webhook))
        [text] = simulator.ledger.of(Text)
        form = simulator.postman.inbound_form(simulator.carrier.get(text.sid), None)
        assert (form["Latitude"], form["Longitude"]) == ("52.5", "13.4")
        assert (form["From"], form["Body"]) == (BEN, "")
        assert judge(simulator.ledger).lost == 1

    @pytest.mark.parametrize(
        ("tap", "body"), [("Liked", "Liked “Hi!”"), ("👍", "\u200a\u200b👍\u200b to “\u200aHi!\u200a”\u200a")]
    )
    def test_a_phone_reacts_to_a_text_that_it_has(
        self, simulator: Simulator, page: httpx.Client, tap: str, body: str
    ) -> None:
        number = simulator.settings.number
        sid = simulator.carrier.keep(Envelope("outbound-api", number, BEN), "Hi!", status="delivered").sid
        assert page.post("/simulator/texts", json={"from": BEN, "tap": tap, "on": sid}).status_code == 201
        [text] = simulator.ledger.of(Text)
        assert (text.body, text.words) == (body, "")
        assert judge(simulator.ledger).lost == 0
        assert page.post("/simulator/texts", json={"from": ANA, "tap": tap, "on": sid}).status_code == 400

    @pytest.mark.parametrize(
        "body",
        [
            *({}, {"from": ANA, "to": "+1999"}, {"from": ANA, "media": "many"}, []),
            *({"from": ANA, "fields": 1}, {"from": ANA, "tap": "Liked"}, {"from": ANA, "tap": "Liked", "on": "SM1"}),
        ],
    )
    def test_a_text_without_sense_is_refused(self, page: httpx.Client, body: Any) -> None:
        assert page.post("/simulator/texts", json=body).status_code == 400

    @pytest.mark.parametrize("path", ["texts", "people", "faults", "webhook"])
    @pytest.mark.parametrize("raw", ODD_BODIES)
    def test_what_is_no_sensible_json_is_refused_at_once(self, page: httpx.Client, path: str, raw: bytes) -> None:
        began = time.monotonic()
        answer = page.post(f"/simulator/{path}", content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert time.monotonic() - began < SOON

    @pytest.mark.parametrize(("path", "body"), ODD_VALUES)
    def test_an_odd_value_is_refused_at_once(self, page: httpx.Client, path: str, body: dict[str, Any]) -> None:
        began = time.monotonic()
        assert page.post(f"/simulator/{path}", json=body).status_code == 400
        assert time.monotonic() - began < SOON

    def test_a_form_of_another_page_is_refused(self, page: httpx.Client) -> None:
        raw = b'{"from": "+15551230001"}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = page.post("/simulator/texts", content=raw, headers={"Content-Type": kind})
            assert answer.status_code == 415

    @pytest.mark.parametrize("wait", ["nan", "-inf", "-1", "x"])
    def test_an_odd_wait_is_none(self, page: httpx.Client, wait: str) -> None:
        assert page.get("/simulator/settled", params={"wait": wait}).json() == {"settled": True}

    def test_faults_are_set_played_once_and_cleared(self, simulator: Simulator, page: httpx.Client) -> None:
        def shown() -> dict[str, tuple[float, int]]:
            faults = page.get("/simulator/faults").json()["faults"]
            return {f["name"]: (f["percent"], f["next"]) for f in faults if f["percent"] or f["next"]}

        page.post("/simulator/faults", json={"name": "agent_slow", "percent": 30, "seconds": 1})
        page.post("/simulator/faults", json={"name": "carrier_cut", "next": 2})
        assert shown() == {"agent_slow": (30, 0), "carrier_cut": (0, 2)}
        assert simulator.faults.strike("carrier_cut", "send", 0.0)
        assert shown()["carrier_cut"] == (0, 1)
        page.post("/simulator/faults", json={"name": "agent_slow", "percent": 0})
        assert shown() == {"carrier_cut": (0, 1)}
        page.post("/simulator/faults", json={"name": "callbacks_failed", "next": 1, "code": 30007})
        [fault] = [f for f in state(page)["faults"] if f["name"] == "callbacks_failed"]
        assert fault["options"] == {"code": 30007}
        page.post("/simulator/faults", json={"clear": True})
        assert shown() == {}

    @pytest.mark.parametrize("body", [{"name": "agent_sleepy"}, {"name": "agent_500", "tea": 1}, {"percent": 30}, "x"])
    def test_an_unknown_fault_is_refused(self, page: httpx.Client, body: Any) -> None:
        assert page.post("/simulator/faults", json=body).status_code == 400

    def test_the_verdict_and_the_end_of_the_work_can_be_asked_for(
        self, simulator: Simulator, page: httpx.Client
    ) -> None:
        assert page.get("/simulator/settled").json() == {"settled": True}
        simulator.phones.text(ANA, "hi")
        assert page.get("/simulator/settled", params={"wait": 0.05}).json() == {"settled": False}
        assert page.get("/simulator/verdict").json()["lost"] == 1
        assert page.get("/simulator/inbox", params={"phone": ANA}).json() == {"texts": []}

    def test_the_webhook_can_be_set_later(self, simulator: Simulator, page: httpx.Client) -> None:
        page.post("/simulator/webhook", json={"url": "http://127.0.0.1:9/in"})
        assert simulator.webhook_url == "http://127.0.0.1:9/in"


class TestByItself:
    def test_it_runs_as_a_module_and_ends_when_told(self) -> None:
        command = [sys.executable, "-m", "bridge.simulator", "--port", "0", "--echo", "--number", "+15550009999"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            address = process.stdout.readline().removeprefix("The phone: ").strip()
            assert httpx.get(f"{address}simulator/state").json()["number"] == "+15550009999"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
