"""The judgement of a chaos run: the simulator's ledger decides, and the bridge's own database must be at rest.

A text counts as accepted if its webhook was answered with 200. A text that was never accepted needs an answer too,
because the bridge reads the carrier's list. The run may ask to judge accepted texts only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Select, func, or_, select

from bench.operators import WORDS, Operators
from bench.people import FIRST_PHONE, WORD
from bridge.db.engine import build_engine, patient
from bridge.db.models import (
    OPEN_TURN,
    UNSENT,
    Chat,
    ChatStatus,
    CircuitBreaker,
    Conversation,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
)
from bridge.simulator import Ledger, Verdict, judge
from bridge.simulator.ledger import Event, Received, Replied, Sent, Text, Webhook, Wrong

PERSON = str(FIRST_PHONE)[:5]
"""The start of every phone number. Neither it nor the word of the texts may appear in a log."""

_PHONE = re.compile(rf"{PERSON}[0-9]{{6}}")
"""A whole phone number. It has eleven digits; a masked one shows fewer."""

UNSETTLED: dict[str, Select[int]] = {
    "turn queues due": select(func.count()).where(Conversation.turn_due_at.is_not(None)),
    "delivery queues due": select(func.count()).where(Conversation.delivery_due_at.is_not(None)),
    "leases held": select(func.count()).where(
        or_(Conversation.turn_leased_by.is_not(None), Conversation.delivery_leased_by.is_not(None))
    ),
    "open turns": select(func.count()).where(Turn.status.in_(OPEN_TURN)),
    "texts not settled": select(func.count()).where(
        Message.status.in_((MessageStatus.WAITING, MessageStatus.IN_TURN, *UNSENT))
    ),
    "chats being ended": select(func.count()).where(Chat.status == ChatStatus.ENDING),
    "open circuits": select(func.count()).select_from(CircuitBreaker),
    "turns given up": select(func.count()).where(Turn.status == TurnStatus.GIVEN_UP),
    "texts given up": select(func.count()).where(Message.status == MessageStatus.GIVEN_UP),
}
"""The counts that must be zero at the end. Workers do not count: a stalled one does no harm, and is removed later."""


JUDGED: tuple[type[Event], ...] = (Text, Webhook, Received, Replied, Sent, Wrong)
"""The events that count."""


@dataclass
class Judgement:
    """The counts of one run. Those in ``MUST_BE_ZERO`` must be zero."""

    texts: int = 0
    accepted: int = 0
    not_accepted: int = 0
    """Texts without an answer of 200. The bridge has to fetch them."""
    received_once: int = 0
    answers: int = 0
    sent_once: int = 0

    accepted_never_received: int = 0
    """Texts that the agent never received although the bridge had answered 200."""
    received_never: int = 0
    received_more: int = 0
    received_out_of_order: int = 0
    received_never_texted: int = 0
    sent_never: int = 0
    sent_more: int = 0
    sent_to_another: int = 0
    sent_from_another_number: int = 0
    sent_out_of_order: int = 0
    sent_never_replied: int = 0
    parallel: int = 0
    other_wrongs: int = 0
    unsettled: int = 0
    leaks: int = 0
    ended_by_themselves: int = 0
    taken_over: int = 0
    """Conversations that operators took over and handed back."""
    drafts: int = 0
    """Answers that were kept because an operator had the conversation."""
    team_wrong: int = 0
    """Texts of operators that were not sent exactly once, and calls of operators that got no answer."""
    details: dict[str, list[str]] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """The sum of the counts that must be zero."""
        return sum(getattr(self, name) for name in MUST_BE_ZERO)

    @property
    def complete(self) -> bool:
        """Return True if there is nothing left to wait for."""
        return not (self.received_never or self.sent_never or self.unsettled)


ROWS = {
    "texts": "texts sent by the phones",
    "accepted": "… that the bridge answered with 200",
    "not_accepted": "… whose webhook failed, or was lost",
    "received_once": "texts received by the agent once",
    "received_never": "… never (lost)",
    "accepted_never_received": "… never, though answered with 200",
    "received_more": "… more than once",
    "received_out_of_order": "… out of order",
    "received_never_texted": "… that no person texted",
    "answers": "answers of the agent",
    "sent_once": "answers that came to their phone once",
    "sent_never": "… never (lost)",
    "sent_more": "… more than once",
    "sent_out_of_order": "… out of order",
    "sent_to_another": "… to the wrong phone",
    "sent_from_another_number": "… from the wrong number",
    "sent_never_replied": "… that the agent never gave",
    "parallel": "completions while the chat was busy",
    "other_wrongs": "other wrongs towards the providers",
    "unsettled": "rows left unsettled or given up",
    "leaks": "texts or phone numbers in the logs",
    "ended_by_themselves": "processes that ended without being killed",
    "taken_over": "conversations taken over and handed back",
    "drafts": "answers kept as drafts meanwhile",
    "team_wrong": "texts of operators lost or doubled",
}

COUNTED = {"texts", "accepted", "not_accepted", "received_once", "answers", "sent_once", "taken_over", "drafts"}

OURS_ONLY = {"unsettled", "leaks", "ended_by_themselves", "taken_over", "drafts", "team_wrong"}
"""Counts from our own database, logs and processes. Other bridges have none."""

MUST_BE_ZERO = [name for name in ROWS if name not in COUNTED]


def pronounce(ledger: Ledger, *, accepted_only: bool, database: str | None = None) -> Judgement:
    """Return the judgement so far. ``database`` is the bridge's own, if our bridge is judged."""
    accepted = {webhook.sid for webhook in ledger.of(Webhook) if webhook.ok}
    drafts = kept(database) if database else []
    fair = _without_drafts(_fair(ledger, accepted, accepted_only=accepted_only), drafts)
    verdict = judge(fair)
    judgement = _counted(verdict, fair)
    all_texts = ledger.of(Text)
    judgement.texts, judgement.accepted = len(all_texts), sum(text.sid in accepted for text in all_texts)
    judgement.not_accepted = judgement.texts - judgement.accepted
    judgement.accepted_never_received = judge(_fair(ledger, accepted, accepted_only=True)).lost
    judgement.details = dict(verdict.examples)
    wrongs = [f"{wrong.phone}: {wrong.name}, {wrong.detail}" for wrong in ledger.of(Wrong) if wrong.name != "parallel"]
    judgement.other_wrongs = len(wrongs)
    judgement.details["wrongs"] = wrongs[:5]
    judgement.sent_from_another_number = _from_another_number(ledger)
    judgement.drafts = len(drafts)
    if database:
        left = unsettled(database)
        judgement.unsettled = sum(left.values())
        judgement.details["unsettled"] = [f"{count} {what}" for what, count in left.items()]
    return judgement


@patient
def unsettled(database: str) -> dict[str, int]:
    """Return the unfinished rows in the bridge's database, by name."""
    engine = build_engine(database, pool_size=1)
    try:
        with engine.connect() as connection:
            counts = {what: connection.scalar(query) or 0 for what, query in UNSETTLED.items()}
    finally:
        engine.dispose()
    return {what: count for what, count in counts.items() if count}


@dataclass(frozen=True)
class Draft:
    """An answer that was kept, because an operator had the conversation."""

    phone: str
    words: str
    at: float
    """When it was stored, in seconds since 1970."""


@patient
def kept(database: str) -> list[Draft]:
    """Return the drafts in the bridge's database, in order."""
    columns = (Conversation.phone, Message.body, Message.created_at)
    drafts = select(*columns).join(Conversation).where(Message.status == MessageStatus.DRAFT).order_by(Message.id)
    engine = build_engine(database, pool_size=1)
    try:
        with engine.connect() as connection:
            return [Draft(phone, body, at.timestamp()) for phone, body, at in connection.execute(drafts)]
    finally:
        engine.dispose()


def _without_drafts(ledger: Ledger, drafts: Sequence[Draft]) -> Ledger:
    """Return the ledger without the answers that were kept, and without what operators wrote. Both are judged apart."""
    answers = _answers_of(ledger, drafts)
    others = Ledger()
    for event in (event for kind in JUDGED for event in ledger.of(kind)):
        if id(event) not in answers and not (isinstance(event, Sent) and event.body.startswith(WORDS)):
            others.write(event)
    return others


def _answers_of(ledger: Ledger, drafts: Sequence[Draft]) -> set[int]:
    """Return the identities of the agent's answers that became these drafts.

    Phones say the same words again, so an agent answers with the same ones. A draft is the last such answer before it
    was stored.
    """
    given: dict[tuple[str, str], list[Replied]] = defaultdict(list)
    for answer in ledger.of(Replied):
        given[answer.phone, answer.content.strip()].append(answer)
    found: set[int] = set()
    for draft in drafts:
        earlier = [id(answer) for answer in given[draft.phone, draft.words] if answer.at <= draft.at]
        found.update([each for each in earlier if each not in found][-1:])
    return found


def judge_team(judgement: Judgement, ledger: Ledger, team: Operators) -> None:
    """Judge the operators' texts: each was sent once, and nothing else with their words."""
    sent = Counter(text.body.strip() for text in ledger.of(Sent) if text.body.startswith(WORDS))
    wrong = [*(sent - team.written).elements(), *(team.written - sent).elements(), *team.failed]
    judgement.taken_over, judgement.team_wrong = team.taken_over, len(wrong)
    judgement.details["operators"] = wrong[:5]


def leaks(output: str) -> list[str]:
    """Return the log lines that show a text or a whole phone number."""
    return [line for line in output.splitlines() if WORD in line or _PHONE.search(line)]


def _fair(ledger: Ledger, accepted: set[str], *, accepted_only: bool) -> Ledger:
    """Return the ledger without the events for which the bridge is not to blame.

    After a failed announcement, the order of the text is unknown: it may have been stored, or fetched later.
    """
    failed = {webhook.sid for webhook in ledger.of(Webhook) if not webhook.ok}
    texts = ledger.of(Text)
    received_besides = _received(ledger) - Counter((text.phone, text.body) for text in texts if text.sid in accepted)

    def counts(event: Event) -> bool:
        match event:
            case Text() if accepted_only and event.sid not in accepted:
                received_besides[event.phone, event.body] -= 1
                return received_besides[event.phone, event.body] >= 0
            case Webhook():
                return event.sid not in failed
        return True

    fair = Ledger()
    for kind in JUDGED:
        for event in filter(counts, ledger.of(kind)):
            fair.write(event)
    return fair


def _counted(verdict: Verdict, ledger: Ledger) -> Judgement:
    texted = Counter((text.phone, text.body) for text in ledger.of(Text))
    too_often = _received(ledger) - texted
    received_more = sum(min(times, texted[words]) for words, times in too_often.items())
    return Judgement(
        received_once=verdict.texts - verdict.lost - received_more,
        received_never=verdict.lost,
        received_more=received_more,
        received_out_of_order=verdict.disordered,
        received_never_texted=verdict.invented,
        answers=verdict.answers,
        sent_once=_sent_once(ledger.of(Replied), ledger.of(Sent)),
        sent_never=verdict.answers_lost,
        sent_more=verdict.answers_doubled,
        sent_out_of_order=verdict.answers_disordered,
        sent_to_another=verdict.answers_crossed,
        sent_never_replied=verdict.leaks,
        parallel=verdict.parallel,
    )


def _received(ledger: Ledger) -> Counter[tuple[str, str]]:
    """Count how often the agent received each person's words."""
    return Counter((turn.phone, line) for turn in ledger.of(Received) for line in turn.content.split("\n"))


def _sent_once(replied: Iterable[Replied], sent: Iterable[Sent]) -> int:
    """Count the answers that were sent to their phone as often as the agent wrote them."""
    due = Counter((message.phone, message.content.strip()) for message in replied)
    got = Counter((text.to, text.body.strip()) for text in sent)
    return sum(times for words, times in due.items() if got[words] == times)


def _from_another_number(ledger: Ledger) -> int:
    numbers = {text.phone: text.number for text in ledger.of(Text)}
    return sum(text.sender != numbers.get(text.to, text.sender) for text in ledger.of(Sent))
