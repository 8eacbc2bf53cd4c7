"""The judge finds what is planted in a ledger, and only that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator import Ledger, Simulator, SimulatorSettings, Verdict, judge
from bridge.simulator.excuses import IN_FLIGHT
from bridge.simulator.ledger import (
    ClosingWords,
    Event,
    Failed,
    Greeted,
    Poisoned,
    Received,
    Refused,
    Replied,
    Sent,
    Text,
    Webhook,
    Wrong,
)

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

    def received(self, phone: str, *turns: str) -> Story:
        return self._write(Received(chat=f"chat of {phone}", phone=phone, content=turn) for turn in turns)

    def poisoned(self, phone: str, *turns: str) -> Story:
        return self._write(Poisoned(chat=f"chat of {phone}", phone=phone, content=turn) for turn in turns)

    def replied(self, phone: str, *messages: str) -> Story:
        return self._write(Replied(chat=f"chat of {phone}", phone=phone, content=message) for message in messages)

    def sent(self, phone: str, *bodies: str) -> Story:
        return self._write(Sent(sid="SM", to=phone, sender=OURS, body=body) for body in bodies)

    def _write(self, events: Any) -> Story:
        for event in events:
            self.ledger.write(event)
        return self

    def faults(self, *own_words: str) -> dict[str, int]:
        return {name: count for name, count in judge(self.ledger, own_words).faults.items() if count}


def well(phone: str = ANA) -> Story:
    story = Story().texts(phone, "one", "two", "three").received(phone, "one", "two\nthree")
    return story.replied(phone, "re: one", "re: two", "re: three").sent(phone, "re: one", "re: two", "re: three")


class TestTexts:
    def test_all_is_well_when_every_text_is_heard_once_and_every_answer_sent_once(self) -> None:
        verdict = judge(well().ledger)
        assert verdict.ok
        assert (verdict.texts, verdict.received, verdict.answers, verdict.sent) == (3, 3, 3, 3)
        assert str(verdict) == "3 texts, 3 received, 3 answers, 3 sent: all well"

    def test_an_empty_ledger_is_well(self) -> None:
        assert judge(Ledger()).ok

    def test_a_poisoned_text_need_not_be_heard_but_its_neighbours_must(self) -> None:
        story = Story().texts(ANA, "one", "poison", "two").texts(BEN, "poison").poisoned(ANA, "poison", "poison")
        assert story.received(ANA, "one").faults() == {"lost": 2}
        assert story.received(ANA, "two").received(BEN, "poison").faults() == {}

    def test_a_text_that_is_never_heard_is_lost(self) -> None:
        story = Story().texts(ANA, "one", "two").received(ANA, "one")
        assert story.faults() == {"lost": 1}
        assert judge(story.ledger).examples == {"lost": [f"{ANA}: two"]}

    def test_a_text_that_is_heard_again_is_doubled(self) -> None:
        assert Story().texts(ANA, "one", "two").received(ANA, "one", "one\ntwo").faults() == {"doubled": 1}

    def test_the_same_words_may_be_texted_and_heard_twice(self) -> None:
        assert Story().texts(ANA, "ok", "ok").received(ANA, "ok", "ok").faults() == {}
        assert Story().texts(ANA, "ok", "ok").received(ANA, "ok").faults() == {"lost": 1}
        assert Story().texts(ANA, "ok", "ok").received(ANA, "ok\nok\nok").faults() == {"doubled": 1}

    def test_a_text_in_the_wrong_chat_is_lost_here_and_invented_there(self) -> None:
        assert Story().texts(ANA, "one").received(BEN, "one").faults() == {"lost": 1, "invented": 1}

    def test_a_text_that_overtakes_another_is_disorder(self) -> None:
        assert Story().texts(ANA, "one", "two", "three").received(ANA, "two", "one", "three").faults() == {
            "disordered": 1
        }
        assert Story().texts(ANA, "one", "two").received(ANA, "two\none").faults() == {"disordered": 1}

    def test_a_text_that_had_to_be_fetched_has_no_place_in_the_order(self) -> None:
        story = Story().texts(ANA, "one", ok=False).texts(ANA, "two").received(ANA, "two", "one")
        assert story.faults() == {}

    def test_which_of_two_texts_with_the_same_words_had_to_be_fetched_can_not_be_told(self) -> None:
        story = Story().texts(ANA, "ok").texts(ANA, "no").texts(ANA, "ok", ok=False).received(ANA, "ok", "ok", "no")
        assert story.faults() == {}

    def test_a_lost_webhook_alone_is_no_excuse(self) -> None:
        assert Story().texts(ANA, "one", ok=False).faults() == {"lost": 1}

    @pytest.mark.parametrize("more", [{"media": 1}, {"keyword": "HELP"}, {"keyword": "START"}])
    def test_pictures_and_keywords_need_not_be_heard(self, more: dict[str, Any]) -> None:
        assert Story().texts(ANA, "one", **more).faults() == {}
        assert Story().texts(ANA, "one", **more).received(ANA, "one").faults() == {}
        assert Story().texts(ANA, "one", **more).received(ANA, "one", "one").faults() == {"doubled": 1}

    def test_a_text_of_several_lines_is_one_text(self) -> None:
        assert Story().texts(ANA, "a\nb", "c").received(ANA, "a\nb\nc").faults() == {}
        assert Story().texts(ANA, "a\nb", "c").received(ANA, "a\nc").faults() == {"lost": 1, "invented": 1}

    def test_blanks_around_a_text_do_not_matter(self) -> None:
        assert Story().texts(ANA, " one ", "two\n").received(ANA, "one", "two").faults() == {}

    def test_parallel_completions_are_counted(self) -> None:
        story = well()
        story.ledger.write(Wrong(name="parallel", phone=ANA))
        assert story.faults() == {"parallel": 1}


class TestAnswers:
    def test_an_answer_that_is_never_sent_is_lost(self) -> None:
        assert Story().replied(ANA, "one", "two").sent(ANA, "two").faults() == {"answers_lost": 1}

    def test_an_answer_that_is_sent_again_is_doubled(self) -> None:
        assert Story().replied(ANA, "one").sent(ANA, "one", "one").faults() == {"answers_doubled": 1}

    def test_an_answer_to_somebody_else_is_crossed(self) -> None:
        assert Story().replied(ANA, "one").sent(BEN, "one").faults() == {"answers_lost": 1, "answers_crossed": 1}

    def test_the_same_answer_to_both_is_not(self) -> None:
        assert Story().replied(ANA, "hi").replied(BEN, "hi").sent(BEN, "hi").sent(ANA, "hi").faults() == {}

    def test_an_answer_that_overtakes_another_is_disorder(self) -> None:
        assert Story().replied(ANA, "one", "two").sent(ANA, "two", "one").faults() == {"answers_disordered": 1}

    def test_the_same_words_twice_are_no_disorder(self) -> None:
        assert Story().replied(ANA, "ok", "one", "ok").sent(ANA, "ok", "one", "ok").faults() == {}
        assert Story().replied(ANA, "ok", "one", "ok").sent(ANA, "ok", "ok", "one").faults() == {
            "answers_disordered": 1
        }

    def test_what_the_agent_never_said_is_a_leak(self) -> None:
        assert Story().sent(ANA, '{"free": 2}').faults() == {"leaks": 1}

    def test_the_bridges_own_words_and_greetings_are_allowed(self) -> None:
        story = Story().sent(ANA, "Sorry, I can't read pictures.", "Hello!")
        story.ledger.write(Greeted(chat="chat", phone=ANA, content="Hello!"))
        assert story.faults("Sorry, I can't read pictures.") == {}
        assert Story().sent(BEN, "Hello!").faults("Sorry") == {"leaks": 1}

    def test_the_agent_s_last_words_in_a_silent_chat_are_allowed_and_not_needed(self) -> None:
        for story in (Story().sent(ANA, "Bye!"), Story()):
            story.ledger.write(ClosingWords(chat="chat", phone=ANA, content="Bye!"))
            assert story.faults() == {}

    def test_a_blank_message_need_not_be_sent(self) -> None:
        """The agent's memory writes none into the ledger."""
        assert Story().replied(ANA, "one").sent(ANA, "one ").faults() == {}


@dataclass
class Timed(Story):
    """A story in which every event has its moment, one second after the one before."""

    now: float = 0.0

    def texts(self, phone: str, *bodies: str, ok: bool = True, **more: Any) -> Timed:
        for body in bodies:
            sid = f"SM{next(self.numbers)}"
            self.then(Text(sid=sid, phone=phone, number=OURS, body=body, **more))
            self.then(Webhook(sid=sid, phone=phone, ok=ok))
        return self

    def stop(self, phone: str = ANA, ok: bool = True) -> Timed:
        return self.texts(phone, "STOP", keyword="STOP", ok=ok)

    def start(self, phone: str = ANA) -> Timed:
        return self.texts(phone, "START", keyword="START")

    def refused(self, body: str, code: int, phone: str = ANA) -> Timed:
        return self.then(Refused(phone=phone, sender=OURS, body=body, code=code))

    def failed(self, body: str, code: int = 30003, phone: str = ANA) -> Timed:
        """Taken, and given up later."""
        sid = f"SM{next(self.numbers)}"
        self.then(Sent(sid=sid, to=phone, sender=OURS, body=body))
        return self.then(Failed(sid=sid, phone=phone, status="undelivered", code=code))

    def then(self, event: Event, after: float = 1.0) -> Timed:
        self.now += after
        self.ledger.write(replace(event, at=self.now))
        return self

    def _write(self, events: Any) -> Timed:
        for event in events:
            self.then(event)
        return self


class TestOptOut:
    def test_stop_needs_no_hearing_and_no_answer(self) -> None:
        assert Timed().stop().faults() == {}

    def test_saying_it_to_the_agent_is_a_fault(self) -> None:
        assert Timed().stop().received(ANA, "STOP").faults() == {"stop_received": 1}
        assert Timed().texts(ANA, "one").stop().received(ANA, "one\nSTOP").faults() == {"stop_received": 1}

    def test_the_same_word_that_the_carrier_did_not_take_may_be_heard(self) -> None:
        assert Timed().texts(ANA, "STOP").faults() == {}
        assert Timed().texts(ANA, "STOP").received(ANA, "STOP").faults() == {}

    @pytest.mark.parametrize("word", ["stop", "Unsubscribe", "START", "help", "INFO"])
    def test_no_such_word_needs_a_hearing(self, word: str) -> None:
        assert Timed().texts(ANA, word).faults() == {}

    @pytest.mark.parametrize("words", ["Opt out", "Stop!!", "“STOP”", "\u200bstop", "stop stop"])
    def test_a_stop_to_which_the_carrier_is_deaf_may_be_heeded_and_may_be_heard(self, words: str) -> None:
        assert Timed().texts(ANA, words, "hello?").faults() == {}
        assert Timed().texts(ANA, words).received(ANA, words).faults() == {}
        assert Timed().texts(ANA, words, "START", "hello?").faults() == {"lost": 1}

    @pytest.mark.parametrize("words", ["please stop", "stop it", "Yes!"])
    def test_what_only_holds_such_a_word_needs_a_hearing(self, words: str) -> None:
        assert Timed().texts(ANA, words).faults() == {"lost": 1}

    def test_but_yes_does(self) -> None:
        assert Timed().texts(ANA, "YES").faults() == {"lost": 1}

    def test_who_has_opted_out_needs_no_hearing_and_no_answer(self) -> None:
        assert Timed().stop().texts(ANA, "hello?").faults() == {}
        assert Timed().stop().texts(ANA, "hello?").received(ANA, "hello?").replied(ANA, "Hi!").faults() == {}

    def test_who_has_come_back_does(self) -> None:
        story = Timed().stop().texts(ANA, "one").start().texts(ANA, "two")
        assert story.faults() == {"lost": 1}
        assert story.received(ANA, "two").replied(ANA, "re: two").faults() == {"answers_lost": 1}
        assert story.sent(ANA, "re: two").faults() == {}

    def test_what_still_waited_when_stop_came_is_let_go(self) -> None:
        story = Timed().texts(ANA, "one").received(ANA, "one").replied(ANA, "re: one", "and this")
        assert story.sent(ANA, "re: one").texts(ANA, "two").stop().faults() == {}

    def test_what_was_passed_over_before_is_not(self) -> None:
        story = Timed().texts(ANA, "one", "two").received(ANA, "two").replied(ANA, "re: one", "re: two")
        assert story.sent(ANA, "re: two").stop().faults() == {"lost": 1, "answers_lost": 1}

    def test_an_equal_text_of_a_better_time_is_not_let_go(self) -> None:
        story = Timed().texts(ANA, "ok").stop().texts(ANA, "ok").start().texts(ANA, "ok")
        assert story.received(ANA, "ok").faults() == {"lost": 1}

    def test_somebody_elses_stop_excuses_nothing(self) -> None:
        assert Timed().texts(ANA, "one").stop(BEN).faults() == {"lost": 1}

    def test_sending_to_who_has_opted_out_is_a_fault(self) -> None:
        assert Timed().stop().refused("As you like.", 21610).faults() == {"sent_after_stop": 1}
        assert judge(Timed().stop().refused("As you like.", 21610).ledger).examples["sent_after_stop"] == [
            f"{ANA}: As you like."
        ]

    def test_what_was_taken_before_stop_is_none(self) -> None:
        assert Timed().replied(ANA, "re: one").sent(ANA, "re: one").stop().faults() == {}

    def test_nor_is_what_was_on_its_way(self) -> None:
        story = Timed().replied(ANA, "re: one").stop()
        assert story.refused("re: one", 21610).faults() == {}

    def test_what_was_said_long_before_is(self) -> None:
        story = Timed().replied(ANA, "re: one").stop()
        story.now += IN_FLIGHT
        assert story.refused("re: one", 21610).faults() == {"sent_after_stop": 1}

    def test_what_was_said_only_afterwards_is(self) -> None:
        assert Timed().stop().replied(ANA, "Sorry?").refused("Sorry?", 21610).faults() == {"sent_after_stop": 1}

    def test_nobody_is_blamed_for_a_stop_that_was_not_announced(self) -> None:
        assert Timed().stop(ok=False).refused("As you like.", 21610).faults() == {}
        assert Timed().replied(ANA, "re: one").refused("re: one", 21610).faults() == {}

    def test_nor_after_start(self) -> None:
        assert Timed().stop().start().refused("hello", 21610).faults() == {}

    def test_a_start_that_came_too_late_changes_nothing(self) -> None:
        assert Timed().stop().refused("hello", 21610).start().faults() == {"sent_after_stop": 1}


class TestFailing:
    def test_an_answer_that_is_refused_for_good_is_not_lost(self) -> None:
        assert Timed().replied(ANA, "one").refused("one", 21211).faults() == {}

    def test_one_that_may_come_later_is(self) -> None:
        story = Timed().replied(ANA, "one").refused("one", 21611)
        assert story.faults() == {"answers_lost": 1}
        assert story.sent(ANA, "one").faults() == {}

    def test_a_phone_that_nothing_reaches_may_be_given_up(self) -> None:
        assert Timed().replied(ANA, "one", "two").refused("one", 21614).replied(ANA, "three").faults() == {}
        assert Timed().replied(ANA, "one").failed("one", 30005).replied(ANA, "two").faults() == {}

    def test_one_that_was_off_may_not(self) -> None:
        story = Timed().replied(ANA, "one").failed("one", 30003).replied(ANA, "two")
        assert story.faults() == {"answers_lost": 1}

    def test_the_agent_must_hear_from_it_all_the_same(self) -> None:
        assert Timed().failed("one", 30005).texts(ANA, "two").faults() == {"leaks": 1, "lost": 1}

    def test_unless_the_carrier_knows_of_a_stop_that_we_do_not(self) -> None:
        assert Timed().replied(ANA, "one").refused("one", 21610).texts(ANA, "two").faults() == {}
        assert Timed().replied(ANA, "one").failed("one", 21610).texts(ANA, "two").faults() == {}

    def test_a_text_that_failed_may_be_sent_again_once(self) -> None:
        story = Timed().replied(ANA, "one").failed("one").sent(ANA, "one")
        assert story.faults() == {}
        assert story.sent(ANA, "one").faults() == {"answers_doubled": 1}

    def test_one_that_did_not_fail_may_not(self) -> None:
        story = Timed().replied(ANA, "one", "two").failed("one").sent(ANA, "two", "two")
        assert story.faults() == {"answers_doubled": 1}

    def test_somebody_elses_failure_excuses_nothing(self) -> None:
        story = Timed().replied(ANA, "one").replied(BEN, "one").failed("one", 30005, BEN).sent(ANA, "one", "one")
        assert story.faults() == {"answers_doubled": 1}

    def test_it_does_not_count_for_the_order(self) -> None:
        assert Timed().replied(ANA, "one", "two").failed("one").sent(ANA, "two", "one").faults() == {}

    def test_the_events_survive_being_written_down(self) -> None:
        ledger = Timed().stop().refused("one", 21610).failed("two").ledger
        assert judge(Ledger.load(ledger.export())) == judge(ledger)

    def test_their_places_in_the_ledger_do_not_matter(self) -> None:
        ledger = Timed().texts(ANA, "one").stop().texts(ANA, "two").start().refused("x", 21610).ledger
        shuffled = Ledger.load(reversed(ledger.export()))
        assert judge(shuffled).faults == judge(ledger).faults


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
        assert {type(event).kind for event in well().ledger.latest(99)} == {
            "text",
            "webhook",
            "received",
            "replied",
            "sent",
        }


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
        story = Story().texts(ANA, *(f"{i}" for i in range(6))).received(ANA, *(f"{i}" for i in order))
        assert bool(judge(story.ledger).disordered) == (order != sorted(order))

    @given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8))
    def test_lost_and_doubled_add_up(self, received: list[str]) -> None:
        verdict: Verdict = judge(Story().texts(ANA, "a", "b", "c", "d").received(ANA, *received).ledger)
        assert verdict.received == verdict.texts - verdict.lost + verdict.doubled


class TestSettled:
    def simulator(self) -> Simulator:
        return Simulator(SimulatorSettings())

    def test_a_quiet_simulator_is_settled(self) -> None:
        assert self.simulator().settled()

    def test_it_is_not_while_a_text_or_an_answer_is_missing(self) -> None:
        simulator = self.simulator()
        story = Story(simulator.ledger).texts(ANA, "one")
        assert not simulator.settled()
        story.received(ANA, "one").replied(ANA, "re: one")
        assert not simulator.settled()
        story.sent(ANA, "re: one")
        assert simulator.settled()

    def test_what_is_excused_need_not_be_waited_for(self) -> None:
        simulator = self.simulator()
        simulator.phones.text(ANA, "STOP")
        story = Timed(simulator.ledger, now=simulator.settings.clock() + 1)
        story.texts(ANA, "hello?").replied(ANA, "re: hello?")
        assert simulator.wait_until_settled(5)
        story.texts(BEN, "me too")
        assert not simulator.settled()

    def test_waiting_for_it_has_an_end(self) -> None:
        simulator = self.simulator()
        Story(simulator.ledger).texts(ANA, "one")
        assert not simulator.wait_until_settled(0.05)
