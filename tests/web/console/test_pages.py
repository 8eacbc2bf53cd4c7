"""The other pages of the console: the overview, the inbox, failures, canned replies, stale chats, the pause."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bridge.db.models import (
    Audit,
    CannedReply,
    Chat,
    ChatStatus,
    Conversation,
    Holder,
    Message,
    MessageStatus,
    TaskError,
    Turn,
    TurnStatus,
)
from bridge.operators.failures import Kind
from bridge.providers.carriers.contract import Delivery
from bridge.providers.errors import Refused
from bridge.web.console import failures, statics
from bridge.web.queries import changes
from bridge.web.queries.failures import IN_THE_INBOX
from bridge.web.queries.failures import Kind as Listed
from tests.fakes import TEAM
from tests.scene import ANN, BOB
from tests.web.console.desk import HERE, House

CAT = "+15551230003"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough here. The queries have tests of their own."""
    return sqlite_url


@pytest.fixture
def house(sessions) -> House:
    house = House(sessions)
    for phone in (ANN, BOB, CAT):
        house.scene.text(f"Hello from {phone[-1]}", phone)
        house.scene.work_until_idle()
        house.scene.clock.tick(60)
    return house


def give_up(house: House) -> None:
    """The turn of the first conversation, and the text of the second."""
    with house.scene.rt.database.transaction() as tx:
        turn = tx.session.scalars(select(Turn).order_by(Turn.id)).first()
        assert turn
        turn.status, turn.settled_at, turn.error = TurnStatus.GIVEN_UP, tx.now, "<b>the agent</b> fails"
        sent = tx.session.scalars(select(Message).where(Message.conversation_id == 2, Message.segments > 0)).one()
        sent.delivery, sent.error_code, sent.settled_at = Delivery.UNDELIVERED, 30003, tx.now


class TestOverview:
    def test_it_tells_who_waits_what_failed_and_what_is_paused(self, house, ana) -> None:
        give_up(house)
        ana.post("/conversations/3/hand-to-team", reason="A complaint")
        page = ana.get("/").text
        assert re.search(r'<p class="value">1</p><p class="name"><a [^>]+>waiting for a person', page)
        assert re.search(r'<p class="value">2</p><p class="name"><a [^>]+>failures', page)
        assert ">Fine<" in page
        ana.post("/pause")
        assert ">Paused<" in ana.get("/").text

    def test_the_plots_have_words_and_a_table(self, house, ana) -> None:
        page = ana.get("/overview/figures").text
        assert "3 texts received and 3 sent" in page
        assert "100 %" in page
        assert page.count("<table") == page.count('role="img"') == 2
        assert len(re.findall(r'class="bar', page)) == 4


class TestInbox:
    def phones(self, page: str) -> list[str]:
        return re.findall(r'class="who"><bdi class="phone-number">\+1 555-123-000(\d)', page)

    def test_the_newest_activity_comes_first(self, ana) -> None:
        assert self.phones(ana.get("/inbox").text) == ["3", "2", "1"]

    def test_it_is_divided_by_who_has_the_conversation(self, house, ana) -> None:
        house.desk("ben").post("/conversations/1/take-over")
        ana.post("/conversations/2/take-over")
        shown = {name: self.phones(ana.get(f"/inbox?holder={name}").text) for name in ("you", "others", "agent")}
        assert shown == {"you": ["2"], "others": ["1"], "agent": ["3"]}
        ana.post("/conversations/3/hand-to-team", reason="x")
        assert self.phones(ana.get("/inbox?holder=waiting").text) == ["3"]
        with house.scene.rt.database.transaction() as tx:
            tx.session.execute(update(Conversation).values(holder=Holder.OUTSIDE, holder_name=None))
        assert self.phones(ana.get("/inbox?holder=outside").text) == ["3", "2", "1"]
        assert "Nobody waits" in ana.get("/inbox?holder=waiting").text

    def test_a_word_that_means_nothing_filters_nothing(self, ana) -> None:
        assert len(self.phones(ana.get("/inbox?holder=nobody").text)) == 3

    @pytest.mark.parametrize("q", ["+1 555-123-0002", "1230002", "+15551230002", "hello FROM 2"])
    def test_people_are_found_by_number_and_by_words(self, ana, q: str) -> None:
        assert self.phones(ana.get("/inbox", query_string={"q": q}).text) == ["2"]

    @pytest.mark.parametrize("q", ["%", "'", "\x00", "<script>", "(((", "\\", "é" * 500, "+", "1234567890" * 30])
    def test_odd_searches_find_nothing_and_are_shown_as_they_are(self, ana, q: str) -> None:
        answer = ana.get("/inbox", query_string={"q": q})
        assert answer.status_code == 200
        assert "<script>" not in answer.text

    def test_a_long_list_has_pages(self, house, ana) -> None:
        for n in range(40):
            house.scene.text("Hi", f"+1555999{n:04d}")
        first = ana.get("/inbox").text
        [more] = re.findall(r'class="pager"><a class="button" href="/console([^"]+)"', first)
        second = ana.get(more.replace("&amp;", "&")).text
        ids = [re.findall(r'class="talk[^>]+href="/console/conversations/(\d+)', page) for page in (first, second)]
        assert (len(ids[0]), len(ids[1])) == (30, 13)
        assert not set(ids[0]) & set(ids[1])


class TestFailures:
    def test_one_is_tried_again_and_who_comes_second_is_told(self, house, ana) -> None:
        give_up(house)
        page = ana.get("/failures").text
        assert "&lt;b&gt;the agent&lt;/b&gt; fails" in page
        assert "The phone is off" in page
        assert "It is tried again" in ana.then(ana.post("/failures/turn/1/retry")).text
        ben = house.desk("ben")
        assert "was not given up" in ben.then(ben.post("/failures/turn/1/retry")).text
        house.scene.work_until_idle()
        assert house.scene.rows(Turn)[0].status is TurnStatus.ANSWERED

    def test_all_of_a_kind_are_tried_again_or_dismissed(self, house, ana) -> None:
        give_up(house)
        assert "1 turn tried again" in ana.then(ana.post("/failures/retry", kind="turn")).text
        assert "1 text removed" in ana.then(ana.post("/failures/dismiss", kind="message")).text
        assert "Nothing has failed" in ana.get("/failures").text

    def test_a_notice_that_the_team_has_not_got_is_shown_tried_again_and_dismissed(self, sessions) -> None:
        house = House(sessions, **TEAM)
        house.scene.text("Hello")
        house.scene.work_until_idle()
        ana = house.desk("ana")
        refused = Refused("it refuses the notice", provider="HANDOFF_WEBHOOK", status=410)
        house.scene.team.fail(refused, times=2)
        ana.post("/conversations/1/hand-to-team", reason="a question")
        house.scene.work()
        assert "The team is not told" in ana.get("/failures").text
        assert "1 notice tried again" in ana.then(ana.post("/failures/retry", kind="notice")).text
        house.scene.work()
        assert "It is tried again" in ana.then(ana.post("/failures/notice/1/retry")).text
        house.scene.work()
        assert [told.conversation_id for told in house.scene.team.told] == [1]
        assert "The team is not told" not in ana.get("/failures").text

    def test_every_kind_has_its_words(self) -> None:
        assert failures.NAMES.keys() == set(Listed) - IN_THE_INBOX
        assert failures.WORDS.keys() == set(Kind)

    def test_one_is_dismissed_once(self, house, ana) -> None:
        give_up(house)
        assert "off the list" in ana.then(ana.post("/failures/turn/1/dismiss")).text
        assert "gone from the list" in ana.then(ana.post("/failures/turn/1/dismiss")).text

    @pytest.mark.parametrize("path", ["/failures/cat/1/retry", "/failures/turn/x/retry", "/failures/turn/0x1/dismiss"])
    def test_an_odd_address_is_not_here(self, ana, path: str) -> None:
        assert ana.post(path).status_code == 404

    def test_the_tile_the_badge_and_the_page_count_alike(self, house, ana) -> None:
        give_up(house)
        ana.post("/conversations/3/hand-to-team", reason="A complaint")
        with house.scene.rt.database.transaction() as tx:
            error = {"task": "ask", "row_id": 1, "conversation_id": 1, "error": "ValueError at a.py:1", "times": 3}
            later = tx.now + timedelta(hours=1)
            tx.session.add(TaskError(**error, since=tx.now, last_at=tx.now, stands_until=later))
            text = tx.session.scalars(select(Message).where(Message.conversation_id == 3).order_by(Message.id)).first()
            assert text
            text.status, text.settled_at = MessageStatus.UNANSWERABLE, tx.now
            tx.session.execute(
                update(Conversation).where(Conversation.id == 1).values(silent_turns=99, silent_since=tx.now)
            )
        page = ana.get("/failures").text
        assert page.count('class="row failure"') == 5
        assert "A complaint" not in page
        assert "A complaint" in ana.get("/conversations/3").text
        assert re.search(r'id="badge-failures"[^>]*>5<', page)
        assert re.search(r'id="badge-waiting"[^>]*>1<', page)
        assert re.search(r'<p class="value">5</p><p class="name"><a [^>]+>failures', ana.get("/").text)

    def test_what_will_be_sent_again_is_told_as_the_future(self, house, ana) -> None:
        give_up(house)
        with house.scene.rt.database.transaction() as tx:
            sent = tx.session.scalars(select(Message).where(Message.delivery == Delivery.UNDELIVERED)).one()
            sent.resend_at = tx.now + timedelta(minutes=5)
        assert "Will be sent again at <time" in ana.get("/failures").text

    def test_the_form_leads_back_to_where_it_was(self, house, ana) -> None:
        give_up(house)
        answer = ana.post("/failures/turn/1/retry", back="/console/conversations/1?holder=you")
        assert answer.headers["Location"] == "/console/conversations/1?holder=you"
        answer = ana.post("/failures/turn/1/retry", back="https://evil.example/")
        assert answer.headers["Location"] == "/console/"


class TestReplies:
    def test_one_is_written_offered_and_deleted(self, house, ana) -> None:
        ana.post("/replies", name="/hours", body='"9 to 17" <3')
        ana.post("/conversations/1/take-over")
        assert 'data-name="hours" data-body="&#34;9 to 17&#34; &lt;3"' in ana.get("/conversations/1").text
        ana.post("/replies/delete", name="hours")
        assert "gone already" in ana.then(ana.post("/replies/delete", name="hours")).text
        assert house.scene.rows_of(CannedReply) == []

    @pytest.mark.parametrize(
        ("name", "body"), [("two words", "x"), ("", "x"), ("x", " "), ("<b>", "x"), ("x" * 41, "x")]
    )
    def test_an_unfit_one_is_refused(self, house, ana, name: str, body: str) -> None:
        assert "needs a text" in ana.then(ana.post("/replies", name=name, body=body)).text
        assert house.scene.rows_of(CannedReply) == []


class TestStaleChats:
    def test_first_they_are_shown_and_then_ended(self, house, ana) -> None:
        house.scene.clock.tick(2 * 3600)
        ana = house.desk()
        page = ana.get("/stale-chats?idle=1h").text
        assert "3 chats are stale" in page
        assert [chat.status for chat in house.scene.rows(Chat)] == [ChatStatus.ONGOING] * 3
        assert "3 chats ended" in ana.then(ana.post("/stale-chats/end", idle="1h")).text
        house.scene.work()
        assert [chat.status for chat in house.scene.rows(Chat)] == [ChatStatus.ENDED] * 3
        assert "No chat is idle" in ana.get("/stale-chats?idle=1h").text

    def test_without_a_time_none_is_ended(self, house, ana) -> None:
        house.scene.clock.tick(2 * 3600)
        assert "Choose how long" in ana.then(ana.post("/stale-chats/end", idle="0s")).text
        assert {chat.status for chat in house.scene.rows(Chat)} == {ChatStatus.ONGOING}


class TestPause:
    def test_it_is_on_every_page_and_whoever_comes_second_is_told(self, house, ana) -> None:
        ana.post("/pause")
        ben = house.desk("ben")
        for path in ("/", "/inbox", "/conversations/1", "/failures", "/audit", "/replies", "/sessions", "/stale-chats"):
            assert "All agents are paused" in ben.get(path).text
        assert "ana was first" in ben.then(ben.post("/pause")).text
        assert "All agents are paused" not in ben.then(ben.post("/resume")).text

    def test_it_comes_to_an_open_page_by_itself(self, house, ana) -> None:
        [version] = re.findall(r'hx-get="/console/live\?v=([^"]+)"', ana.get("/audit").text)
        assert ana.get(f"/live?v={version}").status_code == 204
        house.desk("ben").post("/pause")
        assert "All agents are paused" in ana.get(f"/live?v={version}").text


class TestAudit:
    def test_it_is_filtered(self, house, ana) -> None:
        ana.post("/conversations/1/take-over")
        rows = re.compile(r'<td class="when">')
        assert len(rows.findall(ana.get("/audit").text)) == 2
        assert len(rows.findall(ana.get("/audit?action=take_over").text)) == 1
        assert len(rows.findall(ana.get("/audit?conversation=1&operator=ana").text)) == 1
        assert "Nothing of that kind" in ana.get("/audit?operator=ben").text
        assert ana.get("/audit?action=cat&conversation=x&operator=%00").status_code == 200

    def test_a_conversation_is_named_once(self, ana) -> None:
        ana.post("/conversations/1/take-over")
        page = ana.get("/audit?action=take_over").text
        assert page.count("conversation 1") == 1
        assert ">conversation 1</a>" in page

    def test_it_has_pages(self, house, ana) -> None:
        for _ in range(60):
            ana.post("/pause")
            ana.post("/resume")
        page = ana.get("/audit").text
        [more] = re.findall(r'class="pager"><a class="button" href="/console([^"]+)"', page)
        assert ana.get(more).text.count('<td class="when">') == 50
        assert len(house.scene.rows(Audit)) == 121


class TestNotHere:
    @pytest.mark.parametrize("path", ["/nowhere", "/conversations/999", "/failures?cursor=x", "/conversations/x"])
    def test_an_operator_gets_the_menu_and_a_stranger_does_not(self, house, ana, path: str) -> None:
        answer = ana.get(path)
        assert answer.status_code == 404
        assert "Not here" in answer.text
        assert 'aria-label="Console"' in answer.text
        assert 'aria-label="Console"' not in house.stranger().get(path).text


class TestExport:
    def test_everything_of_a_conversation_is_a_file(self, house, ana) -> None:
        answer = ana.get("/conversations/1/export.json")
        assert [text["body"] for text in answer.json["messages"]] == ["Hello from 1", "You said: Hello from 1"]
        assert "attachment" in answer.headers["Content-Disposition"]
        assert house.scene.rows(Audit)[-1].action == "export"
        assert ana.get("/conversations/999/export.json").status_code == 404

    def test_the_texts_of_some_days_are_a_file_for_a_spreadsheet(self, house, ana) -> None:
        day = house.scene.clock().date().isoformat()
        answer = ana.post("/export.csv", first=day, last=day)
        assert answer.mimetype == "text/csv"
        assert answer.text.count("Hello from") == 6

    @pytest.mark.parametrize(
        ("first", "last"), [("", ""), ("2026-11-03", "2026-11-02"), ("x", "y"), ("9999-12-31",) * 2]
    )
    def test_odd_days_are_refused(self, house, ana, first: str, last: str) -> None:
        answer = ana.post("/export.csv", first=first, last=last)
        assert (answer.status_code, "Choose the first" in answer.text) == (422, True)

    def test_without_its_token_the_form_exports_nothing(self, ana) -> None:
        days = {"first": "2026-11-02", "last": "2026-11-02"}
        assert ana.client.post("/console/export.csv", base_url=HERE, data=days).status_code == 400


class TestNews:
    def test_a_page_is_told_that_something_has_changed(self, house, ana) -> None:
        stream = ana.get("/events?v=feed")
        assert stream.mimetype == "text/event-stream"
        [place] = re.findall(r"id: (\S+)", stream.text)[-1:]
        house.scene.clock.tick(60)
        house.scene.text("Are you there?", ANN)
        stream = ana.get("/events?v=feed", headers={"Last-Event-ID": place})
        assert "event: conversation" in stream.text
        assert "Are you there" not in stream.text

    def test_a_stranger_is_told_nothing(self, house) -> None:
        assert house.stranger().get("/events?v=feed").status_code == 303

    def test_the_script_knows_every_kind_of_news(self) -> None:
        script = (statics.FOLDER / "console.js").read_text()
        [kinds] = re.findall(r"const KINDS = \[([^\]]+)\]", script)
        source = Path(changes.__file__).read_text()
        assert set(re.findall(r"\w+", kinds)) == set(re.findall(r'Change\("(\w+)"', source))
