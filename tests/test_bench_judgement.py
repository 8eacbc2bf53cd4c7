"""The chaos run's own counts: what must be zero is counted, also where somebody says the same words again."""

from __future__ import annotations

import random
from collections import Counter

from bench.disasters import KINDS, schedule
from bench.judgement import Judgement, pronounce
from bench.people import plan
from bench.speed import measured
from bridge.simulator import Ledger
from bridge.simulator.ledger import Heard, Said, Sent, Text, Webhook

ANA = "+15552000001"
OURS = "+15550001111"


def story(texts: str, heard: str, sent: str, *, refused: str = "") -> Ledger:
    """One letter a text; ``refused`` are places whose webhook was not answered with 200. What is heard is answered."""
    ledger = Ledger()
    for place, letter in enumerate(texts):
        ledger.write(Text(sid=f"SM{place}", phone=ANA, number=OURS, body=letter, at=float(place)))
        ledger.write(Webhook(sid=f"SM{place}", phone=ANA, ok=str(place) not in refused))
    for letter in heard:
        ledger.write(Heard(chat="chat", phone=ANA, content=letter))
        ledger.write(Said(chat="chat", phone=ANA, content=f"re: {letter}"))
    for letter in sent:
        ledger.write(Sent(sid="SM", to=ANA, sender=OURS, body=f"re: {letter}", at=10.0))
    return ledger


def judged(texts: str, heard: str, sent: str, *, refused: str = "") -> Judgement:
    return pronounce(story(texts, heard, sent, refused=refused), accepted_only=False)


def test_two_texts_with_the_same_words_are_two() -> None:
    well = judged("aab", "aab", "aab")
    assert (well.faults, well.heard_once, well.sent_once) == (0, 3, 3)


def test_one_of_two_with_the_same_words_that_is_lost_is_counted() -> None:
    lost = judged("aab", "ab", "ab")
    assert (lost.heard_never, lost.accepted_never_heard, lost.heard_once) == (1, 1, 2)
    assert judged("aab", "aab", "ab").sent_never == 1


def test_what_is_heard_more_often_than_it_was_texted_is_counted_once_for_each_text() -> None:
    often = judged("aab", "aaab", "aaab")
    assert (often.heard_more, often.heard_once) == (1, 2)
    assert judged("ab", "aaaab", "aaaab").heard_more == 1
    assert judged("ab", "ab", "aab").sent_more == 1


def test_of_two_with_the_same_words_the_one_that_was_never_accepted_is_not_owed_by_who_owes_the_accepted_ones() -> None:
    assert judged("aab", "ab", "ab", refused="1").accepted_never_heard == 0
    assert judged("aab", "b", "b", refused="1").accepted_never_heard == 1
    assert judged("aab", "aab", "aab", refused="1").accepted_never_heard == 0


def test_of_equal_answers_the_first_belongs_to_the_first_text() -> None:
    speed = measured(story("aa", "aa", "aa"), [])
    assert (speed.slowest, speed.median) == (10.0, 10.0)
    assert measured(story("aa", "aa", "a"), []).slowest == 10.0


def test_the_plan_of_a_seed_is_always_the_same_and_some_people_repeat_themselves() -> None:
    first, second = (plan(random.Random(7), 1000, 50, 15.0) for _ in range(2))
    assert first == second
    said = Counter((each.phone, each.body) for each in first)
    assert 50 < sum(times - 1 for times in said.values()) < 150


def test_the_schedule_of_a_seed_is_always_the_same_ends_in_time_and_leaves_out_what_is_not_there() -> None:
    first, second = (schedule(random.Random(7), {"worker", "broker"}, 60, 120.0) for _ in range(2))
    assert first == second
    assert len(first) == 60
    assert all(1.0 <= disaster.at <= disaster.at + disaster.seconds <= 120.0 for disaster in first)
    assert {KINDS[disaster.kind].needs for disaster in first} == {"worker", "broker", ""}


def test_what_may_happen_once_happens_once() -> None:
    kinds = Counter(disaster.kind for disaster in schedule(random.Random(7), {"web"}, 200, 600.0))
    limited = [name for name, kind in KINDS.items() if kind.most == 1]
    assert limited
    assert [kinds[name] for name in limited] == [1] * len(limited)
