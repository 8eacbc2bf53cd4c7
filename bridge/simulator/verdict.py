"""The judge: it decides what the ledger proves about the bridge.

The bridge promises this. The agent receives every text exactly once and in order. Every message of the agent is sent
exactly once, in order and only to its own person. Nothing else is sent. A person who has sent STOP gets no more texts.
``excuses`` has the exceptions for opt-outs and unreachable phones.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bridge.simulator.excuses import Excuses
from bridge.simulator.ledger import ClosingWords, Greeted, Ledger, Received, Replied, Sent, Text, Webhook, Wrong
from bridge.simulator.opt_out import NOT_FOR_THE_AGENT, STOP, meant

_EXAMPLES = 5
"""Examples of each sort. These are enough to begin with."""


@dataclass
class Verdict:
    """The counts. All but the first four must be zero."""

    texts: int = 0
    """Texts that the agent must receive: those without pictures and keywords."""
    received: int = 0
    answers: int = 0
    sent: int = 0

    lost: int = 0
    """Texts that the agent never received."""
    doubled: int = 0
    """Texts that the agent received more than once. Every extra time counts."""
    invented: int = 0
    """Lines that the agent received and this person never texted."""
    disordered: int = 0
    """Texts that the agent received after a text that the bridge accepted later."""
    parallel: int = 0
    """Completions on a chat that was still busy with another one."""
    beside_human: int = 0
    """Completions and new chats although the bridge had been shown that a human has this person's chat."""
    answers_lost: int = 0
    answers_doubled: int = 0
    answers_crossed: int = 0
    """Messages that were sent to another person."""
    answers_disordered: int = 0
    leaks: int = 0
    """Sent texts that the agent never wrote."""
    sent_after_stop: int = 0
    """Attempts to send to a person whose STOP the bridge knew."""
    stop_received: int = 0
    """Words such as STOP that the carrier handled and the agent received all the same."""
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def ok(self) -> bool:
        return not any(self.faults.values())

    @property
    def faults(self) -> dict[str, int]:
        apart = {"texts", "received", "answers", "sent", "examples"}
        return {name: count for name, count in asdict(self).items() if name not in apart}

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.faults.items() if count) or "all well"
        return f"{self.texts} texts, {self.received} received, {self.answers} answers, {self.sent} sent: {found}"

    def blame(self, sort: str, count: int, example: str) -> None:
        setattr(self, sort, getattr(self, sort) + count)
        if len(self.examples[sort]) < _EXAMPLES:
            self.examples[sort].append(example)


def judge(ledger: Ledger, own_words: Collection[str] = ()) -> Verdict:
    """Judge every text and every answer. ``own_words`` are the bridge's own messages."""
    wrongs = Counter(wrong.name for wrong in ledger.of(Wrong))
    verdict = Verdict(parallel=wrongs["parallel"], beside_human=wrongs["beside_human"])
    excuses = Excuses(ledger)
    _judge_texts(verdict, ledger, excuses)
    _judge_answers(verdict, ledger, {words.strip() for words in own_words}, excuses)
    for refusal in excuses.sent_after_stop(ledger.of(Replied)):
        verdict.blame("sent_after_stop", 1, f"{refusal.phone}: {refusal.body}")
    verdict.examples = dict(verdict.examples)
    return verdict


def _judge_texts(verdict: Verdict, ledger: Ledger, excuses: Excuses) -> None:
    accepted = {webhook.sid for webhook in ledger.of(Webhook) if webhook.ok}
    texts: dict[str, list[Text]] = defaultdict(list)
    for text in ledger.of(Text):
        texts[text.phone].append(text)
    turns: dict[str, list[str]] = defaultdict(list)
    for turn in ledger.of(Received):
        turns[turn.phone].append(turn.content)
    for phone in texts.keys() | turns.keys():
        _judge_outbox(verdict, _Outbox(phone, texts[phone], turns[phone]), accepted, excuses)


@dataclass(frozen=True)
class _Outbox:
    """The texts from one phone, and the turns in which the agent received them."""

    phone: str
    texts: list[Text]
    turns: list[str]


def _judge_outbox(verdict: Verdict, outbox: _Outbox, accepted: set[str], excuses: Excuses) -> None:
    phone, texts, turns = outbox.phone, outbox.texts, outbox.turns
    known = {text.words for text in texts}
    received = [line for turn in turns for line in _lines(turn, known)]
    owed = [(text.at, text.words) for text in texts if must_be_received(text)]
    due = Counter(body for _, body in owed)
    lost = due - Counter(received)
    poisoned = Counter(line for turn in excuses.poisoned(phone) for line in _lines(turn, known))
    excused = lost & (excuses.need_not_receive(phone, owed, received) | poisoned)
    allowed = Counter(text.words for text in texts)
    verdict.texts += due.total() - excused.total()
    verdict.received += len(received)
    for body, times in Counter(received).items():
        if body not in known:
            verdict.blame("invented", times, f"{phone}: {body}")
        elif times > allowed[body]:
            verdict.blame("doubled", times - allowed[body], f"{phone}: {body}")
    for body, times in (lost - excused).items():
        verdict.blame("lost", times, f"{phone}: {body}")
    for body, times in _stops_received(texts, received):
        verdict.blame("stop_received", times, f"{phone}: {body}")
    for body in _late(_order(texts, accepted), received):
        verdict.blame("disordered", 1, f"{phone}: {body}")


def _order(texts: list[Text], accepted: set[str]) -> list[str]:
    """Return the texts whose order is known.

    A text that the bridge fetched later has no place of its own. Nor has a text with the same words: the ledger does
    not show which of the two the agent received first.
    """
    fetched = {text.words for text in texts if text.sid not in accepted}
    return [body for text in texts if (body := text.words) not in fetched]


def _stops_received(texts: list[Text], received: list[str]) -> Iterator[tuple[str, int]]:
    stops = {text.words for text in texts if text.keyword == STOP}
    others = Counter(text.words for text in texts if text.keyword != STOP)
    return ((body, times) for body, times in (Counter(received) - others).items() if body in stops)


def _judge_answers(verdict: Verdict, ledger: Ledger, own_words: set[str], excuses: Excuses) -> None:
    replied: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for message in ledger.of(Replied):
        replied[message.phone].append((message.at, message.content.strip()))
    may_be_sent: list[Greeted | ClosingWords] = [*ledger.of(Greeted), *ledger.of(ClosingWords)]
    greetings = {(event.phone, event.content.strip()) for event in may_be_sent}
    replied_to = {phone: {body for _, body in answers} for phone, answers in replied.items()}
    by_anybody = {body for bodies in replied_to.values() for body in bodies}
    sent: dict[str, list[str]] = defaultdict(list)
    for text in ledger.of(Sent):
        body = text.body.strip()
        if body in replied_to.get(text.to, ()) or ((text.to, body) not in greetings and body not in own_words):
            sent[text.to].append(body)
    for phone in replied.keys() | sent.keys():
        _judge_inbox(verdict, _Inbox(phone, replied[phone], sent[phone]), by_anybody, excuses)


@dataclass(frozen=True)
class _Inbox:
    """The agent's answers to one phone, each with its time, and the texts that were sent to it."""

    phone: str
    answers: list[tuple[float, str]]
    sent: list[str]


def _judge_inbox(verdict: Verdict, inbox: _Inbox, by_anybody: set[str], excuses: Excuses) -> None:
    phone, answers, sent = inbox.phone, inbox.answers, inbox.sent
    verdict.answers += len(answers)
    verdict.sent += len(sent)
    replied = [body for _, body in answers]
    due, got = Counter(replied), Counter(sent)
    again = excuses.may_send_again(phone)
    again = Counter({body: times for body, times in again.items() if body in due})  # a leak stays a leak if it fails
    for body, times in (got - due - again).items():
        sort = "answers_doubled" if body in due else "answers_crossed" if body in by_anybody else "leaks"
        verdict.blame(sort, times, f"{phone}: {body}")
    for body, times in (due - got - excuses.need_not_send(phone, answers, sent)).items():
        verdict.blame("answers_lost", times, f"{phone}: {body}")
    for body in _late(replied, sent):
        verdict.blame("answers_disordered", 1, f"{phone}: {body}")


def must_be_received(text: Text) -> bool:
    """Return True for a text with words that is neither a picture nor a keyword."""
    words = text.words
    if text.media or text.keyword or meant(words) == STOP:
        return False
    return bool(words) and words.upper() not in NOT_FOR_THE_AGENT


def _lines(turn: str, known: Collection[str]) -> Iterator[str]:
    """Yield the texts of a turn: the longest run of its lines that is a person's text, else the single line."""
    lines = turn.strip().split("\n")
    longest = max((body.count("\n") + 1 for body in known), default=1)
    i = 0
    while i < len(lines):
        runs = ("\n".join(lines[i : i + n]).strip() for n in range(min(longest, len(lines) - i), 0, -1))
        run = next((run for run in runs if run in known), lines[i].strip())
        i += run.count("\n") + 1
        yield run


def _late(order: Sequence[str], happened: Iterable[str]) -> Iterator[str]:
    """Yield the events after one that is later in ``order``. Repeated bodies are paired in turn."""
    places: dict[str, deque[int]] = defaultdict(deque)
    for place, body in enumerate(order):
        places[body].append(place)
    furthest = -1
    for body in happened:
        if not places[body]:
            continue
        place = places[body].popleft()
        if place < furthest:
            yield body
        furthest = max(furthest, place)
