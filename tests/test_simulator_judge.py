"""The judge finds what is planted in a ledger, and only that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator import Ledger, Simulator, SimulatorSettings, Verdict, judge
from bridge.simulator.ledger import Event, Greeted, Heard, Said, Sent, Text, Webhook, Wrong

ANA, BEN = "+15551230001", "+15551230002"
OURS = "+15550001111"


@dataclass
class Story:
    """Writes a ledger in few words."""

    ledger: Ledger = field(default_factory=Ledger)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def texts(self, phone: str, *bodies: str, ok: bool = True, **more: Any) -> Story:
        for body in bodies:
            sid = f"SM{next(self.numbers)}"
            self.ledger.write(Text(sid=sid, phone=phone, number=OURS, body=body, **more))
            self.ledger.write(Webhook(sid=sid, phone=phone, ok=ok))
        return self

    def heard(self, phone: str, *turns: str) -> Story:
        return self._write(Heard(chat=f"chat of {phone}", phone=phone, content=turn) for turn in turns)

    def said(self, phone: str, *messages: str) -> Story:
        return self._write(Said(chat=f"chat of {phone}", phone=phone, content=message) for message in messages)

    def sent(self, phone: str, *bodies: str) -> Story:
        return self._write(Sent(sid="SM", to=phone, sender=OURS, body=body) for body in bodies)

    def _write(self, events: Any) -> Story:
        for event in events:
            self.ledger.write(event)
        return self

    def faults(self, *own_words: str) -> dict[str, int]:
        return {name: count for name, count in judge(self.ledger, own_words).faults.items() if count}


def well(phone: str = ANA) -> Story:
    story = Story().texts(phone, "one", "two", "three").heard(phone, "one", "two\nthree")
    return story.said(phone, "re: one", "re: two", "re: three").sent(phone, "re: one", "re: two", "re: three")


class TestTexts:
    def test_all_is_well_when_every_text_is_heard_once_and_every_answer_sent_once(self) -> None:
        verdict = judge(well().ledger)
        assert verdict.ok
        assert (verdict.texts, verdict.heard, verdict.answers, verdict.sent) == (3, 3, 3, 3)
        assert str(verdict) == "3 texts, 3 heard, 3 answers, 3 sent: all well"

    def test_an_empty_ledger_is_well(self) -> None:
        assert judge(Ledger()).ok

    def test_a_text_that_is_never_heard_is_lost(self) -> None:
        story = Story().texts(ANA, "one", "two").heard(ANA, "one")
        assert story.faults() == {"lost": 1}
        assert judge(story.ledger).examples == {"lost": [f"{ANA}: two"]}

    def test_a_text_that_is_heard_again_is_doubled(self) -> None:
        assert Story().texts(ANA, "one", "two").heard(ANA, "one", "one\ntwo").faults() == {"doubled": 1}

    def test_the_same_words_may_be_texted_and_heard_twice(self) -> None:
        assert Story().texts(ANA, "ok", "ok").heard(ANA, "ok", "ok").faults() == {}
        assert Story().texts(ANA, "ok", "ok").heard(ANA, "ok").faults() == {"lost": 1}
        assert Story().texts(ANA, "ok", "ok").heard(ANA, "ok\nok\nok").faults() == {"doubled": 1}

    def test_a_text_in_the_wrong_chat_is_lost_here_and_invented_there(self) -> None:
        assert Story().texts(ANA, "one").heard(BEN, "one").faults() == {"lost": 1, "invented": 1}

    def test_a_text_that_overtakes_another_is_disorder(self) -> None:
        assert Story().texts(ANA, "one", "two", "three").heard(ANA, "two", "one", "three").faults() == {"disordered": 1}
        assert Story().texts(ANA, "one", "two").heard(ANA, "two\none").faults() == {"disordered": 1}

    def test_a_text_that_had_to_be_fetched_has_no_place_in_the_order(self) -> None:
        story = Story().texts(ANA, "one", ok=False).texts(ANA, "two").heard(ANA, "two", "one")
        assert story.faults() == {}

    def test_a_lost_webhook_alone_is_no_excuse(self) -> None:
        assert Story().texts(ANA, "one", ok=False).faults() == {"lost": 1}

    @pytest.mark.parametrize("more", [{"media": 1}, {"keyword": "STOP"}])
    def test_pictures_and_keywords_need_not_be_heard(self, more: dict[str, Any]) -> None:
        assert Story().texts(ANA, "one", **more).faults() == {}
        assert Story().texts(ANA, "one", **more).heard(ANA, "one").faults() == {}
        assert Story().texts(ANA, "one", **more).heard(ANA, "one", "one").faults() == {"doubled": 1}

    def test_a_text_of_several_lines_is_one_text(self) -> None:
        assert Story().texts(ANA, "a\nb", "c").heard(ANA, "a\nb\nc").faults() == {}
        assert Story().texts(ANA, "a\nb", "c").heard(ANA, "a\nc").faults() == {"lost": 1, "invented": 1}

    def test_blanks_around_a_text_do_not_matter(self) -> None:
        assert Story().texts(ANA, " one ", "two\n").heard(ANA, "one", "two").faults() == {}

    def test_parallel_completions_are_counted(self) -> None:
        story = well()
        story.ledger.write(Wrong(name="parallel", phone=ANA))
        assert story.faults() == {"parallel": 1}


class TestAnswers:
    def test_an_answer_that_is_never_sent_is_lost(self) -> None:
        assert Story().said(ANA, "one", "two").sent(ANA, "two").faults() == {"answers_lost": 1}

    def test_an_answer_that_is_sent_again_is_doubled(self) -> None:
        assert Story().said(ANA, "one").sent(ANA, "one", "one").faults() == {"answers_doubled": 1}

    def test_an_answer_to_somebody_else_is_crossed(self) -> None:
        assert Story().said(ANA, "one").sent(BEN, "one").faults() == {"answers_lost": 1, "answers_crossed": 1}

    def test_the_same_answer_to_both_is_not(self) -> None:
        assert Story().said(ANA, "hi").said(BEN, "hi").sent(BEN, "hi").sent(ANA, "hi").faults() == {}

    def test_an_answer_that_overtakes_another_is_disorder(self) -> None:
        assert Story().said(ANA, "one", "two").sent(ANA, "two", "one").faults() == {"answers_disordered": 1}

    def test_the_same_words_twice_are_no_disorder(self) -> None:
        assert Story().said(ANA, "ok", "one", "ok").sent(ANA, "ok", "one", "ok").faults() == {}
        assert Story().said(ANA, "ok", "one", "ok").sent(ANA, "ok", "ok", "one").faults() == {"answers_disordered": 1}

    def test_what_the_agent_never_said_is_a_leak(self) -> None:
        assert Story().sent(ANA, '{"free": 2}').faults() == {"leaks": 1}

    def test_the_bridges_own_words_and_greetings_are_allowed(self) -> None:
        story = Story().sent(ANA, "Sorry, I can't read pictures.", "Hello!")
        story.ledger.write(Greeted(chat="chat", phone=ANA, content="Hello!"))
        assert story.faults("Sorry, I can't read pictures.") == {}
        assert Story().sent(BEN, "Hello!").faults("Sorry") == {"leaks": 1}

    def test_a_blank_message_need_not_be_sent(self) -> None:
        """The agent's memory writes none into the ledger."""
        assert Story().said(ANA, "one").sent(ANA, "one ").faults() == {}


class TestLedger:
    def test_it_survives_being_written_down(self) -> None:
        ledger = well().ledger
        assert Ledger.load(ledger.export()).export() == ledger.export()
        assert judge(Ledger.load(ledger.export())) == judge(ledger)

    def test_it_can_be_read_from_a_position_on(self) -> None:
        ledger = well().ledger
        assert ledger.export(since=2) == ledger.export()[2:]
        assert ledger.export()[0]["kind"] == "text"

    def test_it_knows_everybody(self) -> None:
        story = well().sent(BEN, "hi")
        assert story.ledger.people() == [ANA, BEN]
        assert [event.kind for event in story.ledger.about(BEN)] == ["sent"]
        assert story.ledger.latest(1) == [Sent(sid="SM", to=BEN, sender=OURS, body="hi")]

    def test_every_event_names_its_kind(self) -> None:
        assert Event.kind == "event"
        assert {type(event).kind for event in well().ledger.latest(99)} == {"text", "webhook", "heard", "said", "sent"}


class TestVerdict:
    def test_it_can_be_shown_as_plain_values(self) -> None:
        shown = judge(Story().texts(ANA, "one").ledger).plain()
        assert (shown["ok"], shown["lost"], shown["examples"]) == (False, 1, {"lost": [f"{ANA}: one"]})

    def test_it_keeps_a_few_examples_of_many(self) -> None:
        verdict = judge(Story().texts(ANA, *(f"text {i}" for i in range(99))).ledger)
        assert verdict.lost == 99
        assert len(verdict.examples["lost"]) == 5

    @given(st.permutations(range(6)))
    def test_any_disorder_is_found(self, order: list[int]) -> None:
        story = Story().texts(ANA, *(f"{i}" for i in range(6))).heard(ANA, *(f"{i}" for i in order))
        assert bool(judge(story.ledger).disordered) == (order != sorted(order))

    @given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8))
    def test_lost_and_doubled_add_up(self, heard: list[str]) -> None:
        verdict: Verdict = judge(Story().texts(ANA, "a", "b", "c", "d").heard(ANA, *heard).ledger)
        assert verdict.heard == verdict.texts - verdict.lost + verdict.doubled


class TestSettled:
    def simulator(self) -> Simulator:
        return Simulator(SimulatorSettings())

    def test_a_quiet_simulator_is_settled(self) -> None:
        assert self.simulator().settled()

    def test_it_is_not_while_a_text_or_an_answer_is_missing(self) -> None:
        simulator = self.simulator()
        story = Story(simulator.ledger).texts(ANA, "one")
        assert not simulator.settled()
        story.heard(ANA, "one").said(ANA, "re: one")
        assert not simulator.settled()
        story.sent(ANA, "re: one")
        assert simulator.settled()

    def test_waiting_for_it_has_an_end(self) -> None:
        simulator = self.simulator()
        Story(simulator.ledger).texts(ANA, "one")
        assert not simulator.wait_until_settled(0.05)
