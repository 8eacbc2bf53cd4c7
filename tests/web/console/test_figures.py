"""The figures of the console's plots, on both databases: hours, days, fast answers, and the way to the first row."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from bridge.db.models import Holder, Message
from bridge.operators import holding
from bridge.web.queries import figures, overview
from bridge.web.queries.period import first_id
from tests.scene import ANN, BOB
from tests.web.console.desk import House

CAT = "+15551230003"


@pytest.fixture
def house(sessions) -> House:
    house = House(sessions)
    for phone in (ANN, BOB, CAT):
        house.scene.text(f"Hello from {phone[-1]}", phone)
        house.scene.work_until_idle()
        house.scene.clock.tick(60)
    return house


def test_the_glance_counts_who_has_the_conversations(house) -> None:
    rt = house.scene.rt
    holding.take_over(rt, "ana", 1)
    holding.take_over(rt, "ben", 2)
    holding.hand_to_team(rt, "ana", 3, "A complaint")
    seen = overview.at_a_glance(rt)
    assert seen.holders == {Holder.WAITING: 1, Holder.PERSON: 2, Holder.OUTSIDE: 0}
    assert seen.waiting_since == house.scene.clock()
    assert overview.by_holder(rt, "ana") == {"waiting": 1, "you": 1, "others": 1, "outside": 0}


def test_without_any_text_there_are_no_figures(sessions) -> None:
    shown = figures.Figures(House(sessions).scene.rt).read()
    assert (len(shown.hours), len(shown.days), shown.share.percent) == (24, 30, None)
    assert not any(count.received or count.sent for count in (*shown.hours, *shown.days))


def test_hours_that_are_over_are_counted_once_and_those_of_now_each_time(house) -> None:
    read = figures.Figures(house.scene.rt)
    assert sum(hour.received for hour in read.read().hours) == 3
    house.scene.text("One more", ANN)
    assert sum(hour.received for hour in read.read().hours) == 4
    house.scene.clock.tick(3 * 3600)
    assert sum(day.received for day in read.read().days) == 4
    house.scene.clock.tick(25 * 3600)
    shown = read.read()
    assert (sum(hour.received for hour in shown.hours), sum(day.received for day in shown.days)) == (0, 4)


def test_only_answers_within_a_minute_are_fast(house) -> None:
    with house.scene.rt.database.transaction() as tx:
        answer = tx.session.scalars(select(Message).where(Message.conversation_id == 1, Message.segments > 0)).one()
        answer.settled_at = answer.created_at + timedelta(seconds=61)
    share = figures.Figures(house.scene.rt).read().share
    assert (share.asked, share.fast, share.percent) == (3, 2, 67)


def test_the_first_text_since_a_moment_is_found_by_halving(house) -> None:
    for n in range(40):
        house.scene.clock.tick(3600)
        house.scene.text(f"text {n}", ANN)
    rows = house.scene.rows(Message)
    with house.scene.sessions() as session:
        for row in rows[::7]:
            found = first_id(session, row.created_at)
            assert found == min(each.id for each in rows if each.created_at >= row.created_at)
        assert first_id(session, house.scene.clock() + timedelta(days=1)) == rows[-1].id + 1


def test_a_text_of_this_minute_may_still_get_its_answer_in_time(house) -> None:
    read = figures.Figures(house.scene.rt)
    house.scene.text("And now?", ANN)
    assert read.read().share.asked == 3
    house.scene.clock.tick(60)
    assert (read.read().share.asked, read.read().share.fast) == (4, 3)


def test_a_long_history_is_counted_in_small_statements(house, monkeypatch) -> None:
    whole = figures.Figures(house.scene.rt).read()
    monkeypatch.setattr(figures, "WINDOW", 1)
    assert figures.Figures(house.scene.rt).read() == whole


def test_of_two_who_ask_at_once_one_counts(house) -> None:
    read = figures.Figures(house.scene.rt)
    with read._lock:
        assert read.read() is None
    assert read.read() is not None
