"""The receptionist: a small restaurant's talk by text, without a network."""

from __future__ import annotations

import json

import pytest

from bridge.simulator import receptionist
from bridge.simulator.receptionist import Item, Reply, State

ABOUT = {"sms_user_number": "+15551230001"}
MET = State(greeted=True)


def words(reply: Reply) -> list[str]:
    return [item["content"] for item in reply.items if item["role"] == "agent"]


def roles(reply: Reply) -> list[str]:
    return [item["role"] for item in reply.items]


def talk(*texts: str, state: State = MET) -> Reply:
    reply = Reply((), state)
    for text in texts:
        reply = receptionist.reply(reply.state, text, ABOUT)
    return reply


def tools(reply: Reply) -> list[Item]:
    return [item for item in reply.items if item["role"] == "tool_call_invocation"]


class TestGreeting:
    def test_it_greets_once(self) -> None:
        first = receptionist.reply(State(), "hello", ABOUT)
        assert words(first) == ["Hello, this is the Harbour Table.", "How can I help?"]
        assert words(receptionist.reply(first.state, "where are you?", ABOUT)) != words(first)

    def test_it_welcomes_back_whom_it_has_talked_to(self) -> None:
        about = ABOUT | {"previous_conversation": "User: a table, please\nAgent: For which day?"}
        assert "Welcome back" in words(receptionist.reply(State(), "hello", about))[0]
        assert (
            "Welcome back" not in words(receptionist.reply(State(), "hello", ABOUT | {"previous_conversation": " "}))[0]
        )

    def test_a_first_text_it_does_not_understand_gets_an_offer(self) -> None:
        assert "opening hours" in words(receptionist.reply(State(), "qwertz", ABOUT))[1]


class TestQuestions:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("What are your opening hours?", "Tuesday to Sunday"),
            ("are you OPEN on sundays", "Tuesday to Sunday"),
            ("how much is dinner", "$49"),
            ("Where are you?", "Quay Street"),
            ("anything vegan?", "risotto"),
            ("qwertz", "not sure"),
            ("", "not sure"),
            ("👍", "not sure"),
        ],
    )
    def test_it_answers_what_people_ask(self, text: str, answer: str) -> None:
        assert answer in " ".join(words(talk(text)))

    def test_some_answers_are_several_messages(self) -> None:
        assert len(words(talk("opening hours?"))) == 2

    def test_it_says_who_is_texting(self) -> None:
        assert words(talk("Who am I?")) == ["You're texting from +15551230001."]
        assert words(receptionist.reply(MET, "who am i", {})) == ["I can't see your number."]

    def test_it_calls_a_person(self) -> None:
        reply = talk("can I talk to a human?")
        assert roles(reply) == ["tool_call_invocation", "tool_call_result", "agent"]
        assert json.loads(tools(reply)[0]["arguments"])["phone"] == "+15551230001"


class TestBooking:
    def test_it_asks_for_day_time_and_party_and_books(self) -> None:
        assert words(talk("a table please")) == ["With pleasure. For which day?"]
        assert "What time" in words(talk("a table please", "friday"))[0]
        assert "how many" in words(talk("a table please", "friday", "8"))[0]
        reply = talk("a table please", "friday", "8", "four")
        assert words(reply)[0] == "Done! Your table is booked: Friday at 8.00 pm for 4."
        assert len(words(reply)) == 2
        assert [tool["name"] for tool in tools(reply)] == ["find table", "book table"]
        assert roles(reply)[-3:] == ["node_transition", "agent", "agent"]

    @pytest.mark.parametrize(
        ("text", "table"),
        [
            ("A table for two on Friday at 8 pm, please", "Friday at 8.00 pm for 2"),
            ("book saturday 19:30 for 6 people", "Saturday at 7.30 pm for 6"),
            ("reservation for three tomorrow at 12.15", "Tomorrow at 12.15 pm for 3"),
            ("Table for 5 on Sun at 1pm", "Sunday at 1.00 pm for 5"),
        ],
    )
    def test_one_text_can_say_it_all(self, text: str, table: str) -> None:
        assert table in words(talk(text))[0]

    def test_mondays_and_large_parties_are_asked_again(self) -> None:
        assert "closed" in words(talk("a table on monday"))[0]
        assert "What time" in words(talk("a table on monday", "ok, tuesday"))[0]
        assert "12 at most" in words(talk("a table on friday at 8 for 40"))[0]

    def test_a_question_in_between_does_not_lose_the_thread(self) -> None:
        reply = talk("a table please", "friday", "where are you?", "8")
        assert "how many" in words(reply)[0]

    def test_it_can_be_dropped_half_way(self) -> None:
        reply = talk("a table please", "friday", "forget it")
        assert "dropped" in words(reply)[0]
        assert words(talk("8", state=reply.state))[0].startswith("I'm not sure")

    def test_it_can_be_cancelled(self) -> None:
        booked = talk("A table for two on Friday at 8 pm")
        cancelled = talk("please cancel", state=booked.state)
        assert "is cancelled" in words(cancelled)[0]
        assert "nothing to cancel" in words(talk("cancel", state=cancelled.state))[0]

    def test_every_tool_call_has_its_own_id(self) -> None:
        booked = talk("A table for two on Friday at 8 pm")
        later = talk("please cancel", state=booked.state)
        ids = [tool["tool_call_id"] for reply in (booked, later) for tool in tools(reply)]
        assert len(ids) == len(set(ids)) == 3


class TestGoodbye:
    def test_thanks_ends_the_chat_with_a_farewell(self) -> None:
        reply = talk("thank you, bye")
        assert reply.ends
        assert len(words(reply)) == 1
        [hang_up] = tools(reply)
        assert hang_up["type"] == "end_call"
        assert json.loads(hang_up["arguments"])["execution_message"] == words(reply)[0]

    def test_nothing_else_ends_it(self) -> None:
        assert not talk("a table please", "friday", "8", "4").ends


class TestEcho:
    def test_every_line_is_answered_once(self) -> None:
        assert [i["content"] for i in receptionist.echo("one\n\ntwo")] == ["re: one", "re: two"]

    def test_or_several_times(self) -> None:
        assert [i["content"] for i in receptionist.echo("one", 2)] == ["re: one (1/2)", "re: one (2/2)"]
