"""An operator's day in a real browser: Chromium without a screen, on a bridge that works while it is looked at.

Each page is checked by axe in light and dark, on a desktop and on a phone. BRIDGE_TEST_CHROMIUM names the browser;
BRIDGE_TEST_SHOTS a folder for pictures of the pages.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from bridge.db.models import Conversation, Holder, Message, Turn
from bridge.providers.agents.contract import ToolCall, ToolResult, Transition
from bridge.web.app import build_web
from testkit.waiting import PATIENCE
from tests.conftest import not_there
from tests.scene import ANN, BOB, Scene
from tests.web.console.desk import TOKENS

CHROMIUM = os.environ.get("BRIDGE_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = os.environ.get("BRIDGE_TEST_SHOTS")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SOON = 10_000
"""Milliseconds."""

INTERRUPTED = "Transition was skipped. Navigation aborted"
"""What Chromium says if the next click comes before the page of the last one. Nothing of ours has failed."""

CAT = "+15551230003"
PAGES = (
    *("/", "/inbox", "/inbox?holder=waiting", "/conversations/1", "/conversations/1/print", "/failures", "/audit"),
    *("/replies", "/stale-chats?idle=1h", "/sessions", "/new", "/export", "/nowhere"),
)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough here."""
    return sqlite_url


@pytest.fixture
def scene(sessions) -> Scene:
    tokens = ",".join(f"{name}:{token}" for name, token in TOKENS.items())
    scene = Scene(sessions, admin_tokens=tokens, public_url="http://127.0.0.1:1", twilio_numbers="+15550001111")
    for phone in (ANN, BOB, CAT):
        scene.text("Can I book a table? 👨‍👩‍👧‍👦", phone)
        scene.work_until_idle()
        scene.clock.tick(60)
    return scene


@pytest.fixture
def address(scene) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, build_web(scene.rt, PATIENCE), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/console"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        not_there("Chromium", "BRIDGE_TEST_CHROMIUM names it where it has another name")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A window of an operator. It keeps what the browser complains about."""

    def __init__(self, chromium: Any, address: str, **looks: Any) -> None:
        self.context = chromium.new_context(**{"viewport": DESKTOP, **looks})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SOON)
        self.address = address
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", self._fail)
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _note(self, message: Any) -> None:
        if message.type == "error" and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def _fail(self, error: Any) -> None:
        if str(error) != INTERRUPTED:
            self.complaints.append(str(error))

    def log_in(self, name: str = "ana") -> Any:
        self.page.goto(f"{self.address}/login")
        self.page.fill("#token", TOKENS[name])
        self.page.click("text=Log in >> nth=-1")
        self.page.wait_for_url(f"{self.address}/")
        return self.page

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png")


@pytest.fixture
def windows(chromium, address) -> Iterator[Any]:
    opened: list[Window] = []

    def open_one(**looks: Any) -> Window:
        opened.append(Window(chromium, address, **looks))
        return opened[-1]

    yield open_one
    for window in opened:
        window.context.close()
    assert [complaint for window in opened for complaint in window.complaints] == []


def test_a_day_of_an_operator(scene, windows) -> None:
    ana, ben = windows(), windows()
    page, other = ana.log_in("ana"), ben.log_in("ben")

    # She sees who waits.
    scene.text("I want to speak to a human", BOB)
    page.goto(f"{ana.address}/conversations/2")
    page.click("summary >> text=To the team")
    page.fill("input[name=reason]", "A complaint")
    page.click("button >> text=Let it wait for the team")
    page.click("nav >> text=Overview")
    page.wait_for_selector(".number.warn >> text=waiting for a person")
    page.wait_for_selector("svg.plot >> nth=1")
    ana.shot("day-1-who-waits")
    page.click(".number a >> nth=0")

    # She reads it, and takes it over; the form is there, and the other operator's page tells it by itself.
    page.click(".talk")
    assert page.locator("#text").count() == 0
    other.goto(f"{ben.address}/conversations/2")
    page.click(".locked >> text=Take over")
    page.wait_for_selector("#text")
    other.wait_for_selector("#head >> text=ana has this conversation")

    # A text comes while she types: it is shown, and nothing of hers is lost. Its segments are counted.
    page.type("#text", "Hello, this is Ana")
    page.wait_for_selector("#count >> text=18 characters · 1 segment")
    scene.text("Are you there?", BOB)
    page.wait_for_selector("#transcript >> text=Are you there?")
    assert page.input_value("#text") == "Hello, this is Ana"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bubble.operator >> text=Hello, this is Ana")
    assert page.input_value("#text") == ""
    scene.work_until_idle()
    page.wait_for_selector(".bubble.operator >> text=sent")
    ana.shot("day-2-answered")

    # A canned reply by its name, and a note that only operators read.
    page.goto(f"{ana.address}/replies")
    page.fill("input[name=name]", "hours")
    page.fill("textarea[name=body]", "We are open from 9 to 17.")
    page.click("button >> text=Save")
    page.goto(f"{ana.address}/conversations/2")
    page.type("#text", "/ho")
    page.wait_for_selector("#canned-list >> text=/hours")
    page.keyboard.press("Enter")
    assert page.input_value("#text") == "We are open from 9 to 17."
    page.reload()
    assert page.input_value("#text") == "We are open from 9 to 17.", "what was typed outlives the page"
    page.fill("#text", "")
    page.click("summary >> text=Private note")
    page.fill("#note", "A regular guest")
    page.click("button >> text=Keep the note")
    page.wait_for_selector(".note >> text=A regular guest")

    # The agent drafts, she sends the draft in her own words.
    page.click("summary >> text=Tell the agent")
    page.fill("#ask", "Offer Saturday")
    page.click("button >> text=Ask for a draft")
    page.wait_for_selector(".notice >> text=comes as a draft")
    scene.work_until_idle()
    page.click(".bubble.draft >> text=Edit")
    page.fill("#text", "Would Saturday do?")
    page.click(".write >> text=Send")
    page.wait_for_selector(".bubble.operator >> text=Would Saturday do?")
    scene.work_until_idle()
    ana.shot("day-3-draft")

    # She hands it back, and the agent answers what came meanwhile. What she types for the agent is not lost either.
    page.click("summary >> text=Hand back")
    page.type("#hand-back textarea", "Saturday is")
    scene.clock.tick(1)
    scene.text("I wait", BOB)
    page.wait_for_selector("#transcript >> text=I wait")
    page.type("#hand-back textarea", " offered.")
    assert page.input_value("#hand-back textarea") == "Saturday is offered."
    page.click("button >> text=Hand back to the agent")
    page.wait_for_selector(".notice >> text=The agent answers again")
    scene.work_until_idle()
    assert scene.rows(Conversation)[1].holder is Holder.AGENT
    page.wait_for_selector(".bubble.agent >> text=I wait")
    assert [row.body for row in scene.rows(Message) if row.operator == "ana" and row.direction == "out"] == [
        "Hello, this is Ana",
        "Would Saturday do?",
    ]

    # A failure is tried again, and stale chats are ended.
    give_up_turn(scene)
    page.click("nav >> text=Failures")
    page.click(".failure >> text=Try again")
    page.wait_for_selector(".notice >> text=It is tried again")
    scene.work_until_idle()
    page.goto(f"{ana.address}/failures")
    page.wait_for_selector("text=Nothing has failed")
    scene.clock.tick(2 * 3600)
    page.goto(f"{ana.address}/stale-chats")
    page.select_option("select", "1h")
    page.click("button >> text=Show what would be ended")
    page.click("button >> text=End them")
    page.wait_for_selector(".notice >> text=ended")

    # Everything is paused: the other operator's page tells it by itself, and he lets it go on.
    page.goto(f"{ana.address}/")
    page.click("button >> text=Pause all agents")
    other.wait_for_selector("#banner >> text=All agents are paused by ana")
    ben.shot("day-4-paused")
    other.click("button >> text=Let them go on")
    page.locator("#banner .banner").wait_for(state="detached")

    # She logs out everywhere.
    page.goto(f"{ana.address}/sessions")
    page.click("button >> text=Log out everywhere")
    page.wait_for_url("**/console/login")
    page.goto(f"{ana.address}/inbox")
    assert page.url.endswith("/console/login?next=/console/inbox")


def give_up_turn(scene: Scene) -> None:
    with scene.rt.database.transaction() as tx:
        turn = tx.session.get_one(Turn, 1)
        turn.status, turn.settled_at, turn.error = "given_up", tx.now, "retell (500): it fails again and again"


USED = (
    Transition("welcome", "booking"),
    ToolCall("find table", '{"day": "Friday", "time": "8.00 pm", "people": 2}', "c1"),
    ToolResult("c1", '{"free": 2}', True),
    ToolCall("book table", "W" * 900, "c2"),
    ToolResult("c2", "<img src=x onerror=alert(1)> no such day", False),
)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_tools_of_an_answer_are_unfolded_and_stay_so_when_the_page_changes(scene, windows, size) -> None:
    window = windows(viewport=size)
    page = window.log_in()
    page.goto(f"{window.address}/conversations/1")
    assert page.locator(".steps").count() == 0
    scene.agent.uses_tools_on = {"Two, on Friday": USED}
    scene.text("Two, on Friday", ANN)
    scene.work_until_idle()
    folded = page.locator(".steps")
    folded.locator("summary >> text=find table, book table (1 failed)").wait_for()
    assert not folded.locator("text=8.00 pm").is_visible()
    folded.locator("summary").click()
    assert folded.locator("text=8.00 pm").is_visible()
    assert folded.locator("text=<img src=x").is_visible()
    scene.text("Thanks", ANN)
    page.wait_for_selector("#transcript >> text=Thanks")
    assert folded.locator("text=8.00 pm").is_visible(), "it was open"
    box = folded.bounding_box()
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    assert folded.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert page.locator("img").count() == 0


OPEN_AFTER_THE_NEXT_CHANGE = """() => new Promise((resolve) => {
    const look = () => resolve(document.querySelector(".steps").open);
    document.addEventListener("htmx:afterSwap", () => setTimeout(look), { once: true });
    document.body.dispatchEvent(new CustomEvent("news"));
})"""


def test_what_is_unfolded_is_not_folded_for_a_moment(scene, windows) -> None:
    scene.agent.uses_tools_on = {"Two, on Friday": USED}
    scene.text("Two, on Friday", ANN)
    scene.work_until_idle()
    window = windows(viewport=DESKTOP)
    page = window.log_in()
    page.goto(f"{window.address}/conversations/1")
    page.locator(".steps summary").click()
    scene.text("Thanks", ANN)
    assert page.evaluate(OPEN_AFTER_THE_NEXT_CHANGE)


def test_who_has_the_conversation_is_chosen_on_one_line(scene, windows) -> None:
    with scene.rt.database.transaction() as tx:
        for id_, holder in enumerate((Holder.WAITING, Holder.PERSON, Holder.OUTSIDE), start=1):
            pair = tx.session.get_one(Conversation, id_)
            pair.holder, pair.holder_since = holder, tx.now
            pair.holder_name = "ana" if holder is Holder.PERSON else None
    ana = windows(viewport=DESKTOP)
    ana.log_in()
    for path in ("/inbox", "/conversations/1"):
        ana.page.goto(ana.address + path)
        assert ana.page.locator(".choices b").count() == 3
        tops = ana.page.locator(".choices a").evaluate_all("all => all.map(each => each.offsetTop)")
        assert (len(tops), len(set(tops))) == (6, 1)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_no_page_keeps_anybody_out(scene, windows, size: str) -> None:
    scene.agent.uses_tools_on = {"One more? https://example.com": USED}
    scene.text("One more? https://example.com", ANN)
    scene.work_until_idle()
    window = windows(viewport=DESKTOP if size == "desktop" else PHONE)
    axe = Axe()
    page, found = window.page, {}

    def look(path: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found[path, scheme] = axe.run(page).response["violations"]
            window.shot(f"{path.strip('/').replace('/', '-').partition('?')[0] or 'overview'}-{size}-{scheme}")

    page.goto(f"{window.address}/login")
    look("/login")
    window.log_in()
    work_for_the_eyes(scene)
    for path in PAGES:
        page.goto(window.address + path)
        if path == "/":
            page.wait_for_selector("svg.plot >> nth=1")
        for menu in page.locator("details.menu > summary:visible").all()[-1:]:
            menu.click()
        for folded in page.locator("details.steps > summary").all():
            folded.click()
        look(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], path
    faults = {where: [(each["id"], each["nodes"][0]["html"][:200]) for each in them] for where, them in found.items()}
    assert {where: each for where, each in faults.items() if each} == {}


def work_for_the_eyes(scene: Scene) -> None:
    """Something of each kind."""
    from bridge.operators import holding, labels, pausing

    rt = scene.rt
    holding.take_over(rt, "ana", 1)
    holding.hand_to_team(rt, "ben", 2, "A complaint")
    holding.take_over(rt, "ben", 3)
    labels.add_note(rt, "ana", 1, "A regular guest")
    labels.add_tag(rt, "ana", 1, "vip")
    labels.save_reply(rt, "ana", "hours", "We are open from 9 to 17.")
    scene.text("Are you there?", BOB)
    pausing.begin(rt, "ben")
    give_up_turn(scene)
    scene.clock.tick(2 * 3600)


def test_by_keyboard_alone_a_text_is_sent(scene, windows) -> None:
    window = windows()
    page = window.page
    page.goto(f"{window.address}/login")
    page.wait_for_selector("#token:focus")
    page.keyboard.type(TOKENS["ana"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{window.address}/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.goto(f"{window.address}/conversations/1")
    page.focus(".locked button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#text:focus")
    page.keyboard.type("By keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".bubble.operator >> text=By keyboard")
    page.focus("#more > summary")
    page.keyboard.press("Enter")
    assert page.locator("#more").get_attribute("open") is not None
    page.keyboard.press("Escape")
    assert page.locator("#more").get_attribute("open") is None


def test_without_scripts_it_works_too(scene, windows) -> None:
    window = windows(java_script_enabled=False)
    page = window.page
    page.goto(f"{window.address}/login")
    page.fill("#token", TOKENS["ana"])
    page.press("#token", "Enter")
    page.wait_for_url(f"{window.address}/")
    page.goto(f"{window.address}/conversations/1")
    page.click(".locked button")
    page.fill("#text", "Without a script")
    page.click(".write button")
    page.wait_for_selector(".bubble.operator >> text=Without a script")
    assert page.locator(".bubble.operator").count() == 1
