"""A conversation at the console: who has it, what is written in it, and two operators who do the same at once."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from bridge.db.models import Audit, Chat, Conversation, Direction, Holder, Message, MessageStatus, Note, ReadMark, Tag
from tests.scene import ANN, BOB
from tests.web.console.desk import HERE, Desk, House

HERE_1 = "/conversations/1"
KEY = re.compile(r'name="key" value="([^"]+)"')


@pytest.fixture
def house(sessions) -> House:
    house = House(sessions)
    house.scene.text("Hello?", ANN)
    house.scene.work_until_idle()
    return house


@pytest.fixture
def ben(house) -> Desk:
    return house.desk("ben")


def pair(house: House) -> Conversation:
    return house.scene.rows(Conversation)[0]


def by_operators(house: House) -> list[tuple[str, str]]:
    return [(row.operator, row.body) for row in house.scene.rows(Message) if row.operator]


def actions(house: House) -> list[str]:
    return [row.action for row in house.scene.rows(Audit) if row.action != "login"]


class TestHolder:
    def test_taking_over_opens_the_form_and_handing_back_closes_it(self, house, ana) -> None:
        assert 'id="text"' not in ana.get(HERE_1).text
        page = ana.then(ana.post(f"{HERE_1}/take-over"))
        assert 'id="text"' in page.text
        assert (pair(house).holder, pair(house).holder_name) == (Holder.PERSON, "ana")
        page = ana.then(ana.post(f"{HERE_1}/hand-back", note="The table is booked."))
        assert 'id="text"' not in page.text
        assert (pair(house).holder, pair(house).agent_note) == (Holder.AGENT, "The table is booked.")
        assert actions(house) == ["take_over", "hand_back"]

    def test_of_two_who_take_over_the_second_is_told_who_was_first(self, house, ana, ben) -> None:
        ben.post(f"{HERE_1}/take-over")
        page = ana.then(ana.post(f"{HERE_1}/take-over"))
        assert "ben has this conversation since" in page.text
        assert pair(house).holder_name == "ben"

    def test_it_can_be_taken_from_another_operator_on_purpose(self, house, ana, ben) -> None:
        ben.post(f"{HERE_1}/take-over")
        assert "Take over from ben" in ana.get(HERE_1).text
        ana.post(f"{HERE_1}/take-over", from_other="yes")
        assert pair(house).holder_name == "ana"

    def test_it_is_left_to_the_team_with_a_reason(self, house, ana) -> None:
        page = ana.then(ana.post(f"{HERE_1}/hand-to-team", reason="A complaint"))
        assert "A complaint" in page.text
        assert pair(house).holder is Holder.WAITING

    def test_what_came_meanwhile_is_answered_on_hand_back_if_wanted(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        house.scene.text("And on Sunday?", ANN)
        house.scene.work_until_idle()
        assert house.scene.agent.received == ["Hello?"]
        ana.post(f"{HERE_1}/hand-back", answer="yes")
        house.scene.work_until_idle()
        assert house.scene.agent.received == ["Hello?", "And on Sunday?"]

    def test_what_waits_is_answered_on_hand_back_unless_the_operator_says_no(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        assert 'type="hidden" name="answer" value="yes"' in ana.get(HERE_1).text
        house.scene.text("And on Sunday?", ANN)
        page = ana.get(HERE_1).text
        assert re.search(r'type="checkbox" name="answer" value="yes" checked[^>]*>1 text waits: let the agent', page)
        assert "Not ticked: it counts as answered" in page
        assert "What came meanwhile counts as answered" in ana.then(ana.post(f"{HERE_1}/hand-back")).text
        house.scene.work_until_idle()
        assert house.scene.agent.received == ["Hello?"]

    def test_what_an_operator_has_answered_does_not_go_to_the_agent(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        house.scene.text("And on Sunday?", ANN)
        house.scene.clock.tick(1)
        ana.post(f"{HERE_1}/texts", body="Closed", key="k1")
        house.scene.clock.tick(1)
        assert "text waits" not in ana.get(HERE_1).text
        house.scene.text("And on Monday?", ANN)
        house.scene.text("At eight?", ANN)
        assert "2 texts wait: let the agent answer them" in ana.get(HERE_1).text
        ana.post(f"{HERE_1}/hand-back", answer="yes")
        house.scene.work_until_idle()
        assert house.scene.agent.received[1:] == ["And on Monday?\nAt eight?"]

    @pytest.mark.parametrize("act", ["take-over", "hand-to-team", "hand-back", "texts", "notes", "tags", "count"])
    def test_an_unknown_conversation_is_not_here(self, ana, act: str) -> None:
        for id_ in ("999", "0", "x", "9" * 40):
            answer = ana.post(f"/conversations/{id_}/{act}", reason="x", body="x", name="x", key="k")
            assert answer.status_code == 404, (id_, act)


class TestText:
    def test_it_is_sent_as_it_was_typed_and_the_form_is_empty_again(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        page = ana.then(ana.post(f"{HERE_1}/texts", body="Come at *eight*,\r\nplease", key="k1"))
        house.scene.work_until_idle()
        assert by_operators(house) == [("ana", "Come at *eight*,\nplease")]
        assert house.scene.got()[-1] == "Come at *eight*,\nplease"
        assert "data-done" in page.text
        assert re.search(r'<textarea id="text"[^>]*></textarea>', page.text, re.DOTALL)

    def test_a_double_click_sends_once(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        page = ana.get(HERE_1).text
        [key] = set(KEY.findall(page))
        for _ in range(2):
            assert ana.post(f"{HERE_1}/texts", body="Once", key=key).status_code == 303
        assert by_operators(house) == [("ana", "Once")]

    def test_the_same_words_in_a_new_form_are_a_new_text(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        for _ in range(2):
            [key] = set(KEY.findall(ana.get(HERE_1).text))
            ana.post(f"{HERE_1}/texts", body="Again", key=key)
        assert by_operators(house) == [("ana", "Again")] * 2

    def test_a_form_that_was_sent_keeps_other_words_and_tells_so(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        ana.post(f"{HERE_1}/texts", body="First", key="k1")
        answer = ana.post(f"{HERE_1}/texts", body="Second", key="k1")
        assert answer.status_code == 409
        assert "was sent already" in answer.text
        assert ">Second</textarea>" in answer.text
        assert by_operators(house) == [("ana", "First")]

    def test_two_who_answer_send_once_and_the_second_keeps_the_words(self, house, ana, ben) -> None:
        ana.post(f"{HERE_1}/take-over")
        ben.post(f"{HERE_1}/take-over", from_other="yes")
        ben.post(f"{HERE_1}/texts", body="Ben here", key="k1")
        answer = ana.post(f"{HERE_1}/texts", body="<b>Ana</b> here", key="k2")
        assert answer.status_code == 409
        assert "ben has this conversation since" in answer.text
        assert "&lt;b&gt;Ana&lt;/b&gt; here</textarea>" in answer.text
        assert by_operators(house) == [("ben", "Ben here")]

    def test_a_page_that_does_not_know_of_a_hand_back_sends_nothing_and_keeps_the_words(self, house, ana, ben) -> None:
        ana.post(f"{HERE_1}/take-over")
        ben.post(f"{HERE_1}/take-over", from_other="yes")
        ben.post(f"{HERE_1}/hand-back")
        answer = ana.post(f"{HERE_1}/texts", body="Come at eight", key="k1")
        assert answer.status_code == 409
        assert "The agent has this conversation since" in answer.text
        assert ">Come at eight</textarea>" in answer.text
        assert by_operators(house) == []
        answer = ana.post(f"{HERE_1}/take-over", body="Come at eight", key="k2")
        assert (answer.status_code, pair(house).holder_name) == (200, "ana")
        assert ">Come at eight</textarea>" in answer.text
        assert ana.post(f"{HERE_1}/texts", body="Come at eight", key="k2").status_code == 303
        assert by_operators(house) == [("ana", "Come at eight")]

    def test_to_somebody_who_has_opted_out_nothing_is_sent(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        house.scene.text("STOP", ANN)
        answer = ana.post(f"{HERE_1}/texts", body="Wait", key="k1")
        assert (answer.status_code, by_operators(house)) == (409, [])
        assert "opted out" in answer.text

    @pytest.mark.parametrize("body", ["", "  \n ", "\x00", "x" * 16_001])
    def test_a_text_that_can_not_be_sent_is_refused_and_kept(self, house, ana, body: str) -> None:
        ana.post(f"{HERE_1}/take-over")
        answer = ana.post(f"{HERE_1}/texts", body=body, key="k1")
        assert (answer.status_code, by_operators(house)) == (409, [])
        assert 'id="text-fault"' in answer.text

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("a" * 160, "160 characters · 1 segment<"),
            ("a" * 161, "161 characters · 2 segments<"),
            ("ä€🎂" * 24, "72 characters · 2 segments<"),
            ("", "<span"),
            ("x" * 16_001, "too long"),
        ],
    )
    def test_segments_are_counted_while_it_is_typed(self, ana, body: str, words: str) -> None:
        assert words in ana.post(f"{HERE_1}/count", body=body).text


class TestDraft:
    @pytest.fixture
    def draft(self, house, ana) -> int:
        """The agent answers while Ana takes over."""
        house.scene.text("A table?", ANN)
        house.scene.agent.in_next_call(lambda: ana.post(f"{HERE_1}/take-over"))
        house.scene.work_until_idle()
        [draft] = [row for row in house.scene.rows(Message) if row.status is MessageStatus.DRAFT]
        return draft.id

    def test_it_is_sent_as_it_is(self, house, ana, draft: int) -> None:
        assert "Draft" in ana.get(HERE_1).text
        ana.post(f"{HERE_1}/drafts/{draft}/send", body="You said: A table?", key="k1")
        house.scene.work_until_idle()
        assert house.scene.got()[-1] == "You said: A table?"
        assert "Send as it is" not in ana.get(HERE_1).text

    def test_it_is_edited_in_the_form_and_sent_once(self, house, ana, draft: int) -> None:
        assert ">You said: A table?</textarea>" in ana.get(f"{HERE_1}?draft={draft}").text
        for _ in range(2):
            ana.post(f"{HERE_1}/drafts/{draft}/send", body="At eight?", key="k1")
        assert by_operators(house) == [("ana", "At eight?")]

    def test_who_comes_second_is_told_who_has_sent_it(self, house, ana, ben, draft: int) -> None:
        ana.post(f"{HERE_1}/drafts/{draft}/send", body="At eight?", key="k1")
        ben.post(f"{HERE_1}/take-over", from_other="yes")
        page = ben.then(ben.post(f"{HERE_1}/drafts/{draft}/send", body="At nine?", key="k2"))
        assert "ana was first" in page.text
        assert by_operators(house) == [("ana", "At eight?")]

    def test_it_is_discarded_once(self, house, ana, draft: int) -> None:
        page = ana.then(ana.post(f"{HERE_1}/drafts/{draft}/discard"))
        assert "discarded" in page.text
        page = ana.then(ana.post(f"{HERE_1}/drafts/{draft}/send", body="Too late", key="k1"))
        assert "Somebody has discarded this draft" in page.text
        assert by_operators(house) == []

    def test_while_another_one_has_the_conversation_it_stays(self, house, ana, ben, draft: int) -> None:
        ben.post(f"{HERE_1}/take-over", from_other="yes")
        assert ana.post(f"{HERE_1}/drafts/{draft}/send", body="x", key="k1").status_code == 409
        page = ana.then(ana.post(f"{HERE_1}/drafts/{draft}/discard"))
        assert "ben has this conversation" in page.text

    def test_another_text_is_no_draft(self, house, ana) -> None:
        page = ana.then(ana.post(f"{HERE_1}/drafts/1/send", body="x", key="k1"))
        assert "This is no draft" in page.text
        assert "There is no such draft" in ana.then(ana.post(f"{HERE_1}/drafts/999/discard")).text


class TestAsking:
    def test_the_agent_is_told_something_and_its_answer_is_sent(self, house, ana) -> None:
        page = ana.then(ana.post(f"{HERE_1}/ask", body="Offer Saturday", send="yes", key="k1"))
        assert "Its answer is sent" in page.text
        house.scene.work_until_idle()
        assert house.scene.agent.received == ["Hello?", "Offer Saturday"]
        assert house.scene.got()[-1] == "You said: Offer Saturday"
        assert re.search(r"<bdi>ana</bdi> to the agent", ana.get(HERE_1).text)

    def test_while_an_operator_has_the_conversation_the_answer_is_a_draft(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        for _ in range(2):
            ana.post(f"{HERE_1}/ask", body="Offer Saturday", key="k1")
        house.scene.work_until_idle()
        assert len(house.scene.got()) == 1
        assert ana.get(HERE_1).text.count("Send as it is") == 1

    def test_it_is_not_asked_while_the_team_is_wanted(self, house, ana) -> None:
        ana.post(f"{HERE_1}/hand-to-team", reason="x")
        page = ana.then(ana.post(f"{HERE_1}/ask", body="Offer Saturday", send="yes", key="k1"))
        assert "waits for somebody of the team" in page.text

    def test_nothing_is_no_instruction(self, ana) -> None:
        assert "The text has no words" in ana.then(ana.post(f"{HERE_1}/ask", body=" ", send="yes", key="k1")).text


class TestSuggestion:
    @pytest.fixture
    def house(self, sessions) -> House:
        house = House(sessions, drafts=True)
        house.scene.text("Hello?", ANN)
        house.scene.work_until_idle()
        return house

    def test_the_agent_suggests_an_answer_and_nothing_is_sent(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        assert "Suggest" in ana.get(HERE_1).text
        answer = ana.post(f"{HERE_1}/suggest")
        [again] = re.findall(r'hx-get="/console([^"]+)"', answer.text)
        assert "The agent writes" in ana.get(again).text
        house.scene.work()
        answer = ana.get(again)
        assert "data-use=" in answer.text
        assert "hx-get" not in answer.text
        assert len(house.scene.got()) == 1

    def test_why_there_is_none_is_told(self, house, ana) -> None:
        ana.post("/pause")
        assert "The agents are paused" in ana.post(f"{HERE_1}/suggest").text
        assert "no such draft" in ana.get("/suggestions/999").text
        house.scene.text("STOP", ANN)
        assert "opted out" in ana.post(f"{HERE_1}/suggest").text

    def test_where_drafts_are_off_there_is_no_button(self, sessions) -> None:
        house = House(sessions)
        house.scene.text("Hello?", ANN)
        ana = house.desk()
        ana.post(f"{HERE_1}/take-over")
        assert "Suggest" not in ana.get(HERE_1).text
        assert "Drafts are off" in ana.post(f"{HERE_1}/suggest").text


class TestLabels:
    def test_a_note_is_between_the_texts_and_is_deleted_by_its_author(self, house, ana, ben) -> None:
        ana.post(f"{HERE_1}/notes", body="A regular guest")
        assert "A regular guest" in ben.get(HERE_1).text
        [note] = house.scene.rows(Note)
        assert "ana has written this note" in ben.then(ben.post(f"{HERE_1}/notes/{note.id}/delete")).text
        ana.post(f"{HERE_1}/notes/{note.id}/delete")
        assert "is gone" in ana.then(ana.post(f"{HERE_1}/notes/{note.id}/delete")).text
        assert house.scene.rows(Note) == []

    def test_a_tag_leads_to_the_conversations_that_have_it(self, house, ana) -> None:
        ana.post(f"{HERE_1}/tags", name=" regular  guest ")
        assert [tag.name for tag in house.scene.rows_of(Tag)] == ["regular guest"]
        assert "regular guest" in ana.get("/inbox?tag=regular+guest").text
        ana.post(f"{HERE_1}/tags/remove", name="regular guest")
        assert house.scene.rows_of(Tag) == []

    def test_reading_it_makes_it_read_for_this_operator_only(self, house, ana, ben) -> None:
        assert "1<span" in ana.get("/inbox").text
        ana.get(HERE_1)
        [mark] = house.scene.rows_of(ReadMark)
        assert (mark.operator, mark.message_id) == ("ana", house.scene.rows(Message)[-1].id)
        assert 'class="count"' not in ana.get("/inbox").text
        assert 'class="count"' in ben.get("/inbox").text


class TestChat:
    def test_it_is_ended_once(self, house, ana) -> None:
        [chat] = house.scene.rows(Chat)
        assert "being ended" in ana.then(ana.post(f"{HERE_1}/chats/{chat.id}/end")).text
        assert "ended already" in ana.then(ana.post(f"{HERE_1}/chats/{chat.id}/end")).text

    def test_its_beginning_its_end_and_its_analysis_are_between_the_texts(self, house, ana) -> None:
        with house.scene.rt.database.transaction() as tx:
            chat = tx.session.scalars(select(Chat)).one()
            chat.ended_at, chat.end_reason, chat.analyzed_at = tx.now, "ended by the agent", tx.now
            chat.summary, chat.sentiment, chat.successful, chat.cost = "<i>short</i>", "Positive", True, 3.25
        page = ana.get(HERE_1).text
        assert "begins" in page
        assert "Positive, successful, 3.2 cents" in page
        assert "&lt;i&gt;short&lt;/i&gt;" in page


class TestLive:
    def live(self, desk: Desk, page: str):
        [address] = re.findall(r'id="live-conversation"[^>]*hx-get="/console([^"]+)"', page)
        return desk.get(address.replace("&amp;", "&"), headers={"HX-Request": "true"})

    def test_nothing_is_sent_if_nothing_has_changed(self, house, ana) -> None:
        page = ana.get(HERE_1).text
        assert self.live(ana, page).status_code == 204
        house.scene.clock.tick(5)
        assert self.live(ana, page).status_code == 204

    def test_a_new_text_comes_by_itself_and_the_form_is_no_part_of_it(self, house, ana) -> None:
        ana.post(f"{HERE_1}/take-over")
        page = ana.get(HERE_1).text
        house.scene.text("Are you there?", ANN)
        answer = self.live(ana, page)
        assert "Are you there?" in answer.text
        assert 'id="text"' not in answer.text
        assert self.live(ana, answer.text).status_code == 204

    def test_a_form_within_a_part_is_no_change(self, house, ana) -> None:
        ana.post(f"{HERE_1}/notes", body="With a button to delete it")
        page = ana.get(HERE_1).text
        other = ana.get(HERE_1).text
        assert re.findall(r"v=([0-9a-f-]+)", page)[1:] == re.findall(r"v=([0-9a-f-]+)", other)[1:]

    def test_texts_since_the_first_one_shown_stay_in_the_page(self, house, ana) -> None:
        for n in range(60):
            house.scene.text(f"text {n}", BOB)
        page = ana.get("/conversations/2").text
        assert "text 0<" not in page
        for n in range(60, 80):
            house.scene.text(f"text {n}", BOB)
        shown = self.live(ana, page).text
        assert ">text 10<" in shown
        assert ">text 79<" in shown

    def test_earlier_texts_are_loaded_in_order_and_end(self, house, ana) -> None:
        for n in range(120):
            house.scene.text(f"text {n}", BOB)
        seen, page = [], ana.get("/conversations/2").text
        while True:
            seen = re.findall(r">text (\d+)<", page.partition('id="transcript"')[2] or page) + seen
            more = re.findall(r'hx-get="/console(/conversations/2/earlier\?[^"]+)"', page)
            if not more:
                break
            page = ana.get(more[0].replace("&amp;", "&")).text
        assert seen == [str(n) for n in range(120)]

    def test_an_odd_cursor_is_not_here(self, ana) -> None:
        for path in (f"{HERE_1}/earlier?cursor=x", "/inbox?cursor=x", "/failures?cursor=x", "/audit?cursor=x"):
            assert ana.get(path).status_code == 404


class TestPrint:
    def test_the_whole_transcript_is_on_one_page(self, house, ana) -> None:
        for n in range(120):
            house.scene.text(f"text {n}", BOB)
        page = ana.get("/conversations/2/print").text
        assert [int(n) for n in re.findall(r">text (\d+)<", page)] == list(range(120))


class TestNewText:
    def test_it_opens_a_conversation(self, house, ana) -> None:
        answer = ana.post(
            "/new", to="+1 (555) 123-0009", sender="+1 555 000 1111", body="Your table is ready", key="k1"
        )
        assert answer.headers["Location"] == "/console/conversations/2"
        assert by_operators(house) == [("ana", "Your table is ready")]

    @pytest.mark.parametrize(
        "to", ["5551230009", "12345", "Bob", "", "+0123", "+1555", "tel:555 123", "rcs:bot", "+" * 80]
    )
    @pytest.mark.parametrize("who", ["me", "agent"])
    def test_a_number_without_its_country_is_refused_as_by_the_api(self, house, ana, who: str, to: str) -> None:
        answer = ana.post("/new", to=to, sender="+15550001111", who=who, body="Your table", key="k1")
        assert answer.status_code == 422
        assert "write it with + and the country code, like +15551230001" in answer.text
        assert re.search(rf'name="to"[^>]+value="{re.escape(to)}"[^>]+aria-invalid="true"', answer.text)
        assert ">Your table</textarea>" in answer.text
        assert len(house.scene.rows(Conversation)) == 1

    def test_what_is_wrong_is_told_and_what_was_typed_is_kept(self, house, ana) -> None:
        answer = ana.post("/new", to="+15551230009", sender="whatsapp:+15550001111", body="<b>", key="k1")
        assert answer.status_code == 422
        assert "Our number is on another channel" in answer.text
        assert 'value="+15551230009"' in answer.text
        assert "&lt;b&gt;</textarea>" in answer.text
        assert by_operators(house) == []

    def test_the_agent_speaks_first_with_its_greeting_or_on_an_instruction(self, house, ana) -> None:
        house.scene.agent.greeting = "Welcome!"
        ana.post("/new", to="+15551230009", sender="+15550001111", who="agent", key="k1")
        ana.post("/new", to="+15551230008", sender="+15550001111", who="agent", body="Ask for a review", key="k2")
        house.scene.work_until_idle()
        assert house.scene.got("+15551230009") == ["Welcome!"]
        assert house.scene.got("+15551230008")[-1] == "You said: Ask for a review"

    def test_it_does_not_begin_where_a_chat_is_active(self, ana) -> None:
        answer = ana.post("/new", to=ANN, sender="+15550001111", who="agent", body="Hm", key="k1")
        assert answer.status_code == 409
        assert "active" in answer.text
        assert re.search(r'value="agent" checked', answer.text)


def test_a_screen_reader_is_told_who_wrote_the_newest_text(house, ana) -> None:
    def told() -> str:
        return " ".join(re.findall(r'<div id="newest"[^>]*>([^<]*)<', ana.get(HERE_1).text))

    assert told() == "The agent wrote: You said: Hello?"
    house.scene.text("And on Sunday?", ANN)
    assert told() == "The person wrote: And on Sunday?"
    ana.post(f"{HERE_1}/take-over")
    ana.post(f"{HERE_1}/texts", body="Closed", key="k")
    assert told() == "ana wrote: Closed"
    with house.scene.rt.database.transaction() as tx:
        newest = tx.session.scalars(select(Message).order_by(Message.id.desc())).first()
        assert newest
        newest.operator = newest.turn_id = None
    assert told() == "The bridge, by itself, wrote: Closed"


def test_every_moment_has_the_same_form(house, ana) -> None:
    ana.post(f"{HERE_1}/take-over")
    house.scene.text("And on Sunday?", ANN)
    page = ana.get(HERE_1).text
    assert re.search(r"ana has the conversation since <time datetime=[^>]+>", page)
    assert not re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)


def test_an_operators_text_is_shown_with_the_name(house, ana) -> None:
    ana.post(f"{HERE_1}/take-over")
    ana.post(f"{HERE_1}/texts", body="Hi", key="k")
    page = ana.get(HERE_1).text
    assert re.search(r'class="bubble operator">\s*<p class="by"><bdi>ana</bdi>', page)
    assert [row.direction for row in house.scene.rows(Message)] == [Direction.IN, Direction.OUT, Direction.OUT]
    assert HERE not in page
