"""The session of docs/mcp.md is what a client really sees at the demo, but for times, ids and progress."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.processes.embedded import free_port
from testkit.procfile import Processes
from testkit.waiting import until
from tests.mcp.desk import Tools, over_stdio
from tests.scene import ANN
from tests.up import BRIDGE, HERE

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()

WIDTH = 112

CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "2026-11-29T12:00:00Z"),
    (re.compile(r"chat_[0-9a-f]{32}"), "chat_3040a90969f44c13902d53a104e5ee7b"),
)


class Demo:
    """The demo, with one person who has texted."""

    def __init__(self, folder: Path) -> None:
        port = free_port(HERE)
        self.processes = Processes(folder, {"TMPDIR": str(folder)})
        demo = self.processes.start("demo", [*BRIDGE, "demo", "--no-browser", "--port", str(port)])
        found = demo.until_it_says(r"BRIDGE_URL=(\S+) ADMIN_TOKEN=(\S+)")
        self.settings = {"BRIDGE_URL": found[1], "ADMIN_TOKEN": found[2]}
        self._phone = httpx.Client(base_url=f"http://{HERE}:{port}")

    def texts(self, body: str) -> None:
        before = len(self._inbox())
        self._phone.post("/simulator/texts", json={"from": ANN, "body": body}).raise_for_status()
        until(lambda: len(self._inbox()) > before, "it is answered")

    def close(self) -> None:
        self._phone.close()
        self.processes.close()

    def _inbox(self) -> list[Any]:
        found: list[Any] = self._phone.get("/simulator/inbox", params={"phone": ANN}).json()["texts"]
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    try:
        yield demo
    finally:
        demo.close()


class Recorder:
    """It calls tools, and writes down what was asked and answered."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.written: list[str] = []

    def __call__(self, name: str, **arguments: Any) -> dict[str, Any]:
        told = self._tools(name, **arguments)
        self.written += wrapped(f"> {name} {json.dumps(arguments, ensure_ascii=False)}")
        shown = json.dumps(told.answer, ensure_ascii=False) if told.answer else f"error: {told.error}"
        for pattern, always in CHANGING:
            shown = pattern.sub(always, shown)
        self.written += [*wrapped(shown), ""]
        return told.answer


def wrapped(text: str) -> Iterator[str]:
    while len(text) > WIDTH:
        at = text.rfind(" ", 0, WIDTH) + 1 or WIDTH
        yield text[:at].rstrip()
        text = text[at:]
    yield text


def session(tools: Tools) -> list[str]:
    record = Recorder(tools)
    listed = record("list_conversations", phone=ANN[-4:])
    id_ = listed["conversations"][0]["id"]
    asked = {"conversation_id": id_, "content": "Which times are still free tonight?", "send": False}
    draft = record("send_to_agent", **asked, idempotency_key="free-tonight")
    record("get_answer", turn_id=draft["turn_id"])
    record("take_over", conversation_id=id_)
    asked = {"conversation_id": id_, "content": "Offer a table at 8."}
    record("send_to_agent", **asked, idempotency_key="offer-8")
    text = {"conversation_id": id_, "body": "A table at 8 is yours. – Ana"}
    record("send_text", **text, idempotency_key="table-at-8")
    record("hand_back", conversation_id=id_, note="The table at 8 is agreed.")
    record("end_stale_chats", idle_seconds=43200)
    record("list_failures")
    record("get_answer", turn_id=99)
    return record.written[:-1]


def test_the_page_shows_a_real_session(demo: Demo, tmp_path: Path) -> None:
    demo.texts("Hello, do you have a table for two on Friday?")

    with over_stdio(demo.settings, tmp_path) as tools:
        recorded = "\n".join(["```", *session(tools), "```"])
    _, shown, _ = re.split(r"<!-- /?session -->\n", PAGE)
    if shown.strip() != recorded:
        sys.stdout.write(f"paste into docs/mcp.md:\n{recorded}\n")
    assert shown.strip() == recorded
