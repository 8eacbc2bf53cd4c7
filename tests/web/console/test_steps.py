"""The agent's tools in the transcript: folded in the flow of the bubbles, readable, and words whatever they say."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from bridge.chats.steps import LONGEST_RESULT, MOST, RecordedStep, StepKind
from bridge.providers.agents.contract import Step, ToolCall, ToolResult, Transition
from bridge.web.console.steps import fields, steps_heading
from tests.scene import ANN
from tests.web.console.desk import Desk, House

HERE_1 = "/conversations/1"
BOOK = "book a table"


class Outline(HTMLParser):
    """The order in which a page shows bubbles and folded tools, and what the folds tell."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.order: list[str] = []
        self.open: list[bool] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        kinds = (known.get("class") or "").split()
        if tag == "details" and "steps" in kinds:
            self.order.append("steps")
            self.open.append("open" in known)
        elif tag == "article" and "bubble" in kinds:
            self.order.append(kinds[1])


def transcript(ana: Desk, house: House, *did: Step) -> str:
    """The page of a conversation in which the agent has done this before it answered."""
    house.scene.agent.uses_tools_on = {BOOK: did}
    house.scene.text(BOOK, ANN)
    house.scene.work_until_idle()
    return ana.get(HERE_1).text


def words_of(html: str) -> str:
    """What a reader sees of the folded tools."""
    [folded] = re.findall(r'<details class="small steps".*?</details>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", folded).split())


def test_the_tools_are_folded_between_the_text_and_its_answer(ana, house) -> None:
    page = transcript(ana, house, ToolCall("find table", '{"day": "Fri"}', "c1"), ToolResult("c1", '{"free": 2}', True))
    outline = Outline(page)
    assert (outline.order, outline.open) == (["person", "steps", "agent"], [False])
    assert words_of(page) == "The agent used find table find table Arguments day Fri Result free 2"


def test_a_turn_without_tools_has_nothing_to_unfold(ana, house) -> None:
    assert Outline(transcript(ana, house)).order == ["person", "agent"]


def test_they_come_with_the_next_change_of_the_page_and_are_on_paper_too(ana, house) -> None:
    transcript(ana, house, ToolCall("find table"))
    for path in (f"{HERE_1}/live?v=x", f"{HERE_1}/print"):
        assert Outline(ana.get(path).text).order == ["person", "steps", "agent"]


def test_a_failed_call_and_one_without_a_result_are_told_apart(ana, house) -> None:
    did = (ToolCall("find", id="c1"), ToolResult("c1", "no such day", False), ToolCall("book", id="c2"))
    assert words_of(transcript(ana, house, *did)) == (
        "The agent used find , book (1 failed) find failed Result no such day book no result is shown"
    )


def test_what_is_not_stored_is_counted(ana, house) -> None:
    calls = (ToolCall("book"),) * (MOST + 2)
    page = words_of(transcript(ana, house, ToolCall("find", id="c"), ToolResult("c", "x" * 10_000), *calls))
    assert "xxx Result: 6,000 more characters are not stored." in page.replace("x" * LONGEST_RESULT, "xxx")
    assert page.endswith("3 more are not stored.")
    assert page.startswith("The agent used find , book , book and 27 more find Result")


def test_moves_in_the_flow_are_named(ana, house) -> None:
    page = words_of(transcript(ana, house, Transition("", "welcome"), Transition("welcome", "booking")))
    assert page == "The agent went on to booking On to welcome From welcome to booking"


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onmouseover='alert(1)",
    "</bdi></summary></details></article><script src=//evil.example></script>",
    "{{ 7 * 7 }} \u202egnp.exe javascript:alert(1)",
)


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("form", ["{}", '{{"{0}": "{0}"}}', '[{{"a": "{0}"}}]'], ids=["words", "object", "list"])
def test_whatever_a_tool_says_is_words(ana, house, words: str, form: str) -> None:
    written = form.format(words.replace('"', '\\"')) if form != "{}" else words
    did = (ToolCall(words, written, "c1"), ToolResult("c1", written, False), Transition(words, words + "2"))
    page = transcript(ana, house, *did)
    assert Outline(page).order == ["person", "steps", "agent"]
    assert str(escape(words)) in page
    for hostile in ("<script>", "<img", "<script src=//", "onerror=alert(1)>"):
        assert hostile not in page


FIELDS = {
    '{"day": "Fri", "people": 2, "rooms": [1], "note": null, "ok": true}': [
        *(("day", "Fri"), ("people", "2"), ("rooms", "[1]"), ("note", "null"), ("ok", "true"))
    ],
    '{"a": "\\ud83d\\u0000", "\\udc4b": 1}': [("a", "\ufffd\ufffd"), ("\ufffd", "1")],
    '{"a": 1, "a": 2}': [],
    '{"a": {"b": 1, "b": 2}}': [],
    '{"a": 1': [],
    "{}": [],
    "[1]": [],
    "free": [],
    "": [],
    "[" * 4_000: [],
    '{"a":' * 800 + "1" + "}" * 800: [],
}


@pytest.mark.parametrize("written", FIELDS, ids=lambda written: written[:30])
def test_an_object_is_shown_by_its_fields_and_anything_else_as_it_is_written(written: str) -> None:
    assert fields(written) == FIELDS[written] or (len(written) > 3_000 and fields(written))


@given(st.text(max_size=200) | st.recursive(st.just("1"), lambda inner: inner.map('{{"a":{}}}'.format)))
def test_fields_never_fail_and_fit_a_page(written: str) -> None:
    for name, value in fields(written):
        assert (name + value).encode()


@given(st.lists(st.builds(RecordedStep, st.sampled_from(StepKind), st.text(max_size=20)), min_size=1))
def test_a_heading_has_no_element_but_its_own(steps: list[RecordedStep]) -> None:
    assert re.sub("</?bdi>", "", steps_heading(steps)).count("<") == 0
