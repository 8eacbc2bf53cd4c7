"""The chaos run's own counts: what must be zero is counted, also where somebody says the same words again, and a run
that shows any of it is not clean.
"""

from __future__ import annotations

import random
import signal
import socket
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from bench.chaos import exit_code
from bench.disasters import (
    ENOUGH,
    KINDS,
    Disaster,
    Happened,
    Stage,
    by_themselves,
    missed,
    schedule,
    set_provider_faults,
)
from bench.judgement import MUST_BE_ZERO, OURS_ONLY, UNSETTLED, Judgement, judge_team, leaks, pronounce, unsettled
from bench.operators import Operators
from bench.people import WORD, plan
from bench.report import shown
from bench.result import Result
from bench.speed import RECOVERS_WITHIN, Speed, measured
from bench.supervisor import Ended, Supervisor
from bridge.db.engine import build_engine
from bridge.db.models import (
    Base,
    Chat,
    ChatStatus,
    CircuitBreaker,
    Conversation,
    Direction,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
    Worker,
)
from bridge.lib.phone import masked
from bridge.simulator import Ledger
from bridge.simulator.faults import FAULTS
from bridge.simulator.ledger import Event, Received, Replied, Sent, Text, Webhook, Wrong
from testkit.places import Place
from testkit.waiting import until

ANA = "+15552000001"
BEN = "+15552000002"
OURS = "+15550001111"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def story(texts: str, received: str, sent: str, *, refused: str = "") -> Ledger:
    """One letter a text; ``refused`` are places whose webhook was not answered with 200. What is heard is answered."""
    ledger = Ledger()
    for place, letter in enumerate(texts):
        ledger.write(Text(sid=f"SM{place}", phone=ANA, number=OURS, body=letter, at=float(place)))
        ledger.write(Webhook(sid=f"SM{place}", phone=ANA, ok=str(place) not in refused))
    for letter in received:
        ledger.write(Received(chat="chat", phone=ANA, content=letter))
        ledger.write(Replied(chat="chat", phone=ANA, content=f"re: {letter}"))
    for letter in sent:
        ledger.write(Sent(sid="SM", to=ANA, sender=OURS, body=f"re: {letter}", at=10.0))
    return ledger


def judged(texts: str, received: str, sent: str, *, refused: str = "") -> Judgement:
    return pronounce(story(texts, received, sent, refused=refused), accepted_only=False)


def test_two_texts_with_the_same_words_are_two() -> None:
    well = judged("aab", "aab", "aab")
    assert (well.faults, well.received_once, well.sent_once) == (0, 3, 3)


def test_one_of_two_with_the_same_words_that_is_lost_is_counted() -> None:
    lost = judged("aab", "ab", "ab")
    assert (lost.received_never, lost.accepted_never_received, lost.received_once) == (1, 1, 2)
    assert judged("aab", "aab", "ab").sent_never == 1


def test_what_is_heard_more_often_than_it_was_texted_is_counted_once_for_each_text() -> None:
    often = judged("aab", "aaab", "aaab")
    assert (often.received_more, often.received_once) == (1, 2)
    assert judged("ab", "aaaab", "aaaab").received_more == 1
    assert judged("ab", "ab", "aab").sent_more == 1


def test_of_two_with_the_same_words_the_one_that_was_never_accepted_is_not_owed_by_who_owes_the_accepted_ones() -> None:
    assert judged("aab", "ab", "ab", refused="1").accepted_never_received == 0
    assert judged("aab", "b", "b", refused="1").accepted_never_received == 1
    assert judged("aab", "aab", "aab", refused="1").accepted_never_received == 0


def test_of_equal_answers_the_first_belongs_to_the_first_text() -> None:
    speed = measured(story("aa", "aa", "aa"), [])
    assert (speed.slowest, speed.median) == (10.0, 10.0)
    assert measured(story("aa", "aa", "a"), []).slowest == 10.0
    assert measured(Ledger(), []) == Speed()


def test_the_plan_of_a_seed_is_always_the_same_and_some_people_repeat_themselves() -> None:
    first, second = (plan(random.Random(7), 1000, 50, 15.0) for _ in range(2))
    assert first == second
    replied = Counter((each.phone, each.body) for each in first)
    assert 50 < sum(times - 1 for times in replied.values()) < 150


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


# --- every row that must be zero ---------------------------------------------------------------------------------


def with_events(ledger: Ledger, *events: Event) -> Ledger:
    for event in events:
        ledger.write(event)
    return ledger


def sent(body: str, to: str = ANA, sender: str = OURS) -> Sent:
    return Sent(sid="SM", to=to, sender=sender, body=body, at=10.0)


PLANTED: dict[str, Ledger] = {
    "received_never": story("ab", "a", "a", refused="1"),
    "accepted_never_received": story("ab", "a", "a"),
    "received_more": story("a", "aa", "aa"),
    "received_out_of_order": story("ab", "ba", "ba"),
    "received_never_texted": story("a", "ab", "ab"),
    "sent_never": story("ab", "ab", "a"),
    "sent_more": story("a", "a", "aa"),
    "sent_out_of_order": story("ab", "ab", "ba"),
    "sent_to_another": with_events(story("a", "a", "a"), sent("re: a", to=BEN)),
    "sent_from_another_number": with_events(story("a", "a", ""), sent("re: a", sender="+15550002222")),
    "sent_never_replied": with_events(story("a", "a", "a"), sent("out of my own head")),
    "parallel": with_events(story("a", "a", "a"), Wrong(name="parallel", phone=ANA)),
    "other_wrongs": with_events(story("a", "a", "a"), Wrong(name="webhook answered with words", phone=ANA)),
}
"""One wrong for each row, of the rows that the ledger tells."""

BESIDES = {"accepted_never_received": {"received_never": 1}}
"""What such a wrong is counted as besides."""


def conversation(**columns: Any) -> Conversation:
    return Conversation(id=1, bridge_number=OURS, phone=ANA, created_at=NOW, **columns)


def other_conversation(**columns: Any) -> Conversation:
    return Conversation(id=2, bridge_number=OURS, phone=BEN, created_at=NOW, **columns)


def turn(status: TurnStatus, conversation_id: int = 1) -> Turn:
    return Turn(conversation_id=conversation_id, status=status, created_at=NOW, expires_at=NOW)


def text(status: MessageStatus, direction: Direction = Direction.IN) -> Message:
    return Message(conversation_id=1, direction=direction, status=status, body="a", created_at=NOW)


def chat(status: ChatStatus, name: str = "chat") -> Chat:
    return Chat(
        conversation_id=1, provider="retell", provider_chat_id=name, status=status, started_at=NOW, last_activity_at=NOW
    )


LEFT: dict[str, list[Base]] = {
    "turn queues due": [conversation(turn_due_at=NOW)],
    "delivery queues due": [conversation(delivery_due_at=NOW)],
    "leases held": [conversation(turn_leased_by="w"), other_conversation(delivery_leased_by="w")],
    "open turns": [conversation(), other_conversation(), turn(TurnStatus.WAITING), turn(TurnStatus.ASKING, 2)],
    "texts not settled": [
        conversation(),
        text(MessageStatus.WAITING),
        text(MessageStatus.IN_TURN),
        text(MessageStatus.QUEUED, Direction.OUT),
        text(MessageStatus.SENDING, Direction.OUT),
    ],
    "chats being ended": [conversation(), chat(ChatStatus.ENDING)],
    "open circuits": [CircuitBreaker(scope="retell", cause="401", since=NOW, probe_at=NOW)],
    "turns given up": [conversation(), turn(TurnStatus.GIVEN_UP)],
    "texts given up": [conversation(), text(MessageStatus.GIVEN_UP, Direction.OUT)],
}
"""Rows that are left undone, for each entry of ``UNSETTLED``."""

TIMES = {"leases held": 2, "open turns": 2, "texts not settled": 4}
"""How often, where more than one of these rows is undone."""

SHOWN = {
    "a text": f'level=info message="took {WORD} 3 of 7, 0123abcd"',
    "a phone number": f'level=info message="took a text of {ANA}"',
    "one without its plus": f"GET /console/{ANA[1:]}",
}
"""Lines of a log that tell too much."""

ENDS = {"with an error": "exit 3", "without one": "exit 0", "by a signal of its own": "kill -9 $$"}
"""Commands of processes that end by themselves."""

TEAM_TEXT = "Team text 1"
TEAMS = {
    "lost": ((), Counter({TEAM_TEXT: 1}), ()),
    "doubled": ((TEAM_TEXT, TEAM_TEXT), Counter({TEAM_TEXT: 1}), ()),
    "of nobody": ((TEAM_TEXT,), Counter(), ()),
    "without an answer": ((), Counter(), ("a call",)),
}
"""Texts of operators that were sent, those that were written, and calls that failed."""

OF_OURS = {"unsettled": LEFT, "leaks": SHOWN, "ended_by_themselves": ENDS, "team_wrong": TEAMS}


def zeros_broken(judgement: Judgement) -> dict[str, int]:
    return {row: count for row in MUST_BE_ZERO if (count := getattr(judgement, row))}


def left(database: str, *rows: Base) -> None:
    engine = build_engine(database)
    with Session(engine) as session, session.begin():
        for row in rows:
            session.merge(row)  # a copy: the table of cases stays as it is
    engine.dispose()


def test_every_row_that_must_be_zero_has_a_planted_wrong() -> None:
    assert {*PLANTED, *OF_OURS} == {*MUST_BE_ZERO}
    assert {*OF_OURS} == OURS_ONLY & {*MUST_BE_ZERO}
    assert {*LEFT} == {*UNSETTLED}


@pytest.mark.parametrize("wrong", TEAMS)
def test_a_wrong_text_of_an_operator_is_found(wrong: str) -> None:
    sent, written, failed = TEAMS[wrong]
    ledger, team, judgement = Ledger(), Operators("http://nowhere", 1), Judgement()
    for body in sent:
        ledger.write(Sent(sid="SM", to=ANA, sender=OURS, body=body, at=1.0))
    team.written, team.failed = Counter(written), list(failed)
    judge_team(judgement, ledger, team)
    assert judgement.team_wrong == 1


def test_an_answer_that_was_kept_need_not_be_sent_and_must_not_be(sqlite_url: str) -> None:
    row = {"conversation_id": 1, "direction": Direction.OUT, "status": MessageStatus.DRAFT, "body": "re: b"}
    left(
        sqlite_url,
        Conversation(id=1, bridge_number=OURS, phone=ANA, created_at=NOW),
        Message(id=1, created_at=NOW, **row),
    )
    kept = pronounce(story("ab", "ab", "a"), accepted_only=False, database=sqlite_url)
    assert (kept.drafts, kept.sent_never) == (1, 0)
    both = pronounce(story("ab", "ab", "ab"), accepted_only=False, database=sqlite_url)
    assert both.faults


@pytest.mark.parametrize(("kept_at", "sent"), [(1, "cb"), (3, "bc")], ids=["the first", "the last"])
def test_of_answers_with_the_same_words_the_one_before_the_draft_was_kept(
    sqlite_url: str, kept_at: int, sent: str
) -> None:
    ledger = Ledger()
    for at, body in enumerate(("re: b", "re: c", "re: b"), start=1):
        ledger.write(Replied(chat="chat", phone=ANA, content=body, at=float(at)))
    for body in sent:
        ledger.write(Sent(sid=f"SM{body}", to=ANA, sender=OURS, body=f"re: {body}", at=9.0))
    stored = datetime.fromtimestamp(kept_at, UTC)
    row = {"conversation_id": 1, "direction": Direction.OUT, "status": MessageStatus.DRAFT, "body": "re: b"}
    left(
        sqlite_url,
        Conversation(id=1, bridge_number=OURS, phone=ANA, created_at=stored),
        Message(id=1, created_at=stored, **row),
    )
    judgement = pronounce(ledger, accepted_only=False, database=sqlite_url)
    assert (judgement.sent_out_of_order, judgement.sent_never) == (0, 0)


@pytest.mark.parametrize("row", PLANTED)
def test_a_planted_wrong_is_counted_in_its_row_and_in_no_other(row: str) -> None:
    judgement = pronounce(PLANTED[row], accepted_only=False)
    assert zeros_broken(judgement) == {row: 1, **BESIDES.get(row, {})}
    assert judgement.faults


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_undone_in_the_database_is_counted(what: str, sqlite_url: str) -> None:
    left(sqlite_url, *LEFT[what])
    assert unsettled(sqlite_url) == {what: TIMES.get(what, 1)}
    judgement = pronounce(story("a", "a", "a"), accepted_only=False, database=sqlite_url)
    assert zeros_broken(judgement) == {"unsettled": TIMES.get(what, 1)}
    assert not judgement.complete


def test_what_is_done_is_not_nor_is_a_worker_that_has_not_signed_off(sqlite_url: str) -> None:
    done = [text(MessageStatus.ANSWERED), text(MessageStatus.SENT, Direction.OUT), turn(TurnStatus.ANSWERED)]
    chats = [chat(ChatStatus.ENDED), chat(ChatStatus.ONGOING, "another")]
    left(sqlite_url, conversation(), *done, *chats, Worker(id="w", last_heartbeat_at=NOW))
    assert unsettled(sqlite_url) == {}


@pytest.mark.parametrize("what", SHOWN)
def test_a_line_of_the_log_that_tells_too_much_is_a_leak(what: str) -> None:
    assert leaks(f"level=info message=up\n{SHOWN[what]}\nlevel=info message=down") == [SHOWN[what]]


def test_a_masked_number_is_none() -> None:
    assert leaks(f'level=info message="took a text of {masked(ANA)}"') == []


# --- processes ---------------------------------------------------------------------------------------------------


def watched(command: str, folder: Path) -> Supervisor:
    """Runs one process, after a release that has come to its end."""
    with socket.create_server(("127.0.0.1", 0)) as web:
        supervisor = Supervisor([("clock", command)], folder, {}, seed=1)
        supervisor.once("release", "true")
        supervisor.start(web.getsockname()[1])
    return supervisor


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_by_itself_is_counted(how: str, tmp_path: Path) -> None:
    with closing(watched(f"sh -c '{ENDS[how]}'", tmp_path)) as supervisor:
        until(lambda: supervisor.ended)
    assert {process.name for process in supervisor.ended} == {"clock"}


def test_one_that_the_run_kills_or_asks_to_end_is_not(tmp_path: Path) -> None:
    with closing(watched("sleep 60", tmp_path)) as supervisor:
        supervisor.running("clock")[0].tell(signal.SIGKILL)
        until(lambda: supervisor.restarts)
    assert supervisor.ended == []


def test_nor_is_one_that_a_disaster_keeps_from_starting() -> None:
    halted = [Happened("web child halted", began=100.0, ended=115.0)]
    without_a_port = Ended("web", code=1, started=104.0, at=111.0)
    assert by_themselves([without_a_port], halted) == []
    for by_itself in (
        Ended("clock", code=1, started=104.0, at=111.0),
        Ended("web", code=1, started=50.0, at=111.0),
        Ended("web", code=1, started=116.0, at=120.0),
    ):
        assert by_themselves([by_itself], halted) == [by_itself]
    assert by_themselves([without_a_port], [Happened("web killed", began=100.0, ended=115.0)]) == [without_a_port]
    locked = [Happened("database locked", began=100.0, ended=112.0)]
    assert by_themselves([Ended("up", code=1, started=99.0, at=111.0)], locked) == []


# --- speed -------------------------------------------------------------------------------------------------------


def moving(*moments: float) -> Ledger:
    return with_events(Ledger(), *(Received(chat="chat", phone=ANA, content="a", at=moment) for moment in moments))


def standstills(ledger: Ledger, *happened: tuple[str, float, float]) -> tuple[float, float, str]:
    speed = measured(ledger, [Happened(*each) for each in happened])
    return speed.standstill, speed.standstill_alone, speed.standstill_alone_after


def test_a_standstill_lasts_from_the_end_of_a_disaster_to_the_next_thing_that_is_heard_or_sent() -> None:
    assert standstills(moving(5, 30), ("one", 4, 10)) == (20.0, 20.0, "one")
    assert standstills(with_events(moving(30), sent("re: a")), ("one", 4, 8)) == (2.0, 2.0, "one")
    assert standstills(moving(15, 50), ("one", 4, 10), ("two", 20, 22)) == (28.0, 28.0, "two")
    assert standstills(moving(5), ("one", 4, 10)) == (0.0, 0.0, "")


def test_alone_it_lasts_until_the_next_disaster_at_most() -> None:
    assert standstills(moving(50), ("one", 4, 10), ("two", 13, 46)) == (40.0, 4.0, "two")


def test_alone_it_is_not_measured_where_another_disaster_is_under_way() -> None:
    assert standstills(moving(50), ("one", 4, 10), ("two", 6, 45)) == (40.0, 5.0, "two")
    assert standstills(moving(50), ("one", 4, 10), ("two", 6, 8)) == (42.0, 40.0, "one")


# --- the whole run -----------------------------------------------------------------------------------------------


def result(**changes: Any) -> Result:
    well: dict[str, Any] = {
        "judgement": Judgement(),
        "happened": [],
        "missed": [],
        "struck": Counter(),
        "speed": Speed(standstill=99.0, standstill_alone=RECOVERS_WITHIN),
        "settled": True,
        "settled_in": 1.0,
    }
    return Result(**{**well, **changes})


def test_a_run_in_which_all_is_well_is_clean() -> None:
    assert result().clean
    assert exit_code([result(), result()]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        *({"judgement": Judgement(**{row: 1})} for row in MUST_BE_ZERO),
        {"settled": False},
        {"speed": Speed(standstill_alone=RECOVERS_WITHIN + 0.1)},
        {"missed": ["web killed"]},
    ],
    ids=str,
)
def test_a_run_with_anything_wrong_is_not_and_says_so(changes: dict[str, Any]) -> None:
    wrong = result(**changes)
    assert not wrong.clean
    assert exit_code([result(), wrong]) == 1
    table = shown({"ours": wrong}, "a run", markdown=False)
    assert "(!)" in table or "never" in table.split("at rest after the last fault")[1].splitlines()[0]


def test_what_is_counted_and_may_be_more_than_zero_is_no_fault() -> None:
    assert result(
        judgement=Judgement(texts=9, accepted=8, not_accepted=1, received_once=9, answers=9, sent_once=9)
    ).clean


def test_a_kind_that_was_planned_and_never_struck_is_told_where_there_were_enough_disasters() -> None:
    planned = [Disaster(float(n), kind, 0.0, 0) for n, kind in enumerate(("web killed", "agent away") * ENOUGH)]
    struck = [Happened("web killed", 1.0, 1.0)]
    assert missed(planned, struck) == ["agent away"]
    assert missed(planned, [*struck, Happened("agent away", 2.0, 3.0)]) == []
    assert missed(planned[1:], struck) == []


# --- what goes wrong ---------------------------------------------------------------------------------------------


class Played:
    """Stands for the switchboard of the faults, and remembers which were switched on."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def set(self, name: str, *_: Any, **__: Any) -> None:
        self.names.add(name)

    def clear(self, name: str) -> None:
        assert name in self.names


def test_every_fault_of_the_vendors_is_played_but_one() -> None:
    faults = Played()
    nothing: Any = SimpleNamespace(set=lambda proxy, state: None)
    simulator: Any = SimpleNamespace(faults=faults)
    stage = Stage(Place(), nothing, nothing, simulator, agent_timeout=15.0, percent=1.0, address="")
    set_provider_faults(stage, webhooks_lost=True)
    for kind in KINDS.values():
        if not kind.needs:
            assert kind.act(stage, random.Random(7), 0.0)
    # A handset that can't be reached has its text given up by the carrier: the bridge may send it again some times, and
    # then its answer is lost for good, which no bridge can make up for.
    assert {*FAULTS} - faults.names == {"callbacks_undelivered"}
