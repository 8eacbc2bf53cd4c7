"""The excuses of the bridge: opted-out people, unreachable phones, and poisoned texts.

Only the times of the events count, never their places in the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from bridge.simulator.ledger import Failed, Ledger, Poisoned, Refused, Replied, Sent, Text, Webhook
from bridge.simulator.opt_out import START, STOP, meant
from bridge.simulator.reasons import Bars, reason

OPTED_OUT = 21610

IN_FLIGHT = 2.0
"""Seconds. A reply from before the STOP was known may have been on its way at that moment."""

Moments = Sequence[tuple[float, str]]
"""Bodies of one person with their times, in order."""


@dataclass(frozen=True)
class Span:
    """A span of time in which nothing reaches a person."""

    begin: float
    end: float = inf

    def __contains__(self, at: float) -> bool:
        return self.begin <= at <= self.end


class Excuses:
    """The excuses that a ledger contains."""

    def __init__(self, ledger: Ledger) -> None:
        self._texts: dict[str, list[Text]] = defaultdict(list)
        for text in ledger.of(Text):
            self._texts[text.phone].append(text)
        self._refused: dict[str, list[Refused]] = defaultdict(list)
        for refusal in ledger.of(Refused):
            self._refused[refusal.phone].append(refusal)
        self._failed: dict[str, list[Failed]] = defaultdict(list)
        for failure in ledger.of(Failed):
            self._failed[failure.phone].append(failure)
        self._bodies = {text.sid: text.body.strip() for text in ledger.of(Sent)} if self._failed else {}
        self._poisoned: dict[str, set[str]] = defaultdict(set)
        for turn in ledger.of(Poisoned):
            self._poisoned[turn.phone].add(turn.content)
        self._known_at: dict[str, float] = {}
        for webhook in ledger.of(Webhook):
            if webhook.ok:
                self._known_at.setdefault(webhook.sid, webhook.at)

    def need_not_receive(self, phone: str, texts: Moments, received: Iterable[str]) -> Counter[str]:
        """Return the texts of an opted-out person, and those that were still waiting when STOP came."""
        return _excused(self._opted_out(phone), texts, received)

    def poisoned(self, phone: str) -> Collection[str]:
        """Return the turns at which the agent's provider fails each time. A bridge may give them up."""
        return self._poisoned[phone]

    def need_not_send(self, phone: str, replied: Moments, sent: Iterable[str]) -> Counter[str]:
        """Return answers to an unreachable person, and answers that the carrier has refused for good."""
        spans = [*self._opted_out(phone), *self._unreachable(phone)]
        refused = {r.body.strip() for r in self._refused[phone] if reason(r.code).bars is not Bars.NOW}
        for_good = Counter(body for _, body in replied if body in refused)
        return _excused(spans, replied, sent) | for_good

    def may_send_again(self, phone: str) -> Counter[str]:
        """Return the failed texts. Each may be sent once more."""
        return Counter(self._bodies[failure.sid] for failure in self._failed[phone] if failure.sid in self._bodies)

    def sent_after_stop(self, replied: Iterable[Replied]) -> Iterator[Refused]:
        """Return the attempts to send to a person whose opt-out the bridge knew."""
        answers: dict[tuple[str, str], list[float]] = defaultdict(list)
        for answer in replied:
            answers[answer.phone, answer.content.strip()].append(answer.at)
        for refusal in (refusal for refusals in self._refused.values() for refusal in refusals):
            known_at = self._stop_known_at(refusal) if refusal.code == OPTED_OUT else inf
            replied_at = min(answers[refusal.phone, refusal.body.strip()], default=inf)
            in_flight = replied_at < known_at and refusal.at < known_at + IN_FLIGHT
            if known_at <= refusal.at and not in_flight:
                yield refusal

    def _stop_known_at(self, refusal: Refused) -> float:
        """Return when the bridge received the STOP behind this refusal; infinity if it could not know of it."""
        moments = [
            self._known_at.get(text.sid, inf)
            for text in self._texts[refusal.phone]
            if text.keyword == STOP and not self._opened(refusal.phone, text.at, refusal.at)
        ]
        return min(moments, default=inf)

    def _opened(self, phone: str, since: float, until: float) -> bool:
        return any(text.keyword == START and since < text.at <= until for text in self._texts[phone])

    def _opted_out(self, phone: str) -> list[Span]:
        begins = [text.at for text in self._texts[phone] if _asks_for(text) == STOP]
        begins += [refusal.at for refusal in self._refused[phone] if refusal.code == OPTED_OUT]
        begins += [failure.at for failure in self._failed[phone] if failure.code == OPTED_OUT]
        return [Span(begin, self._until_start(phone, begin)) for begin in begins]

    def _until_start(self, phone: str, begin: float) -> float:
        starts = (text.at for text in self._texts[phone] if _asks_for(text) == START and text.at > begin)
        return min(starts, default=inf)

    def _unreachable(self, phone: str) -> list[Span]:
        told = [(refusal.at, refusal.code) for refusal in self._refused[phone]]
        told += [(failure.at, failure.code) for failure in self._failed[phone]]
        lasting = [at for at, code in told if code != OPTED_OUT and reason(code).bars is Bars.PERSON]
        return [Span(min(lasting))] if lasting else []


def _asks_for(text: Text) -> str | None:
    return text.keyword or meant(text.body)


def _excused(spans: Sequence[Span], things: Moments, done: Iterable[str]) -> Counter[str]:
    if not spans:
        return Counter()
    finished = _places(things, done)
    places = {i for span in spans for i in (*_inside(span, things), *_overtaken(span, things, finished))}
    return Counter(things[i][1] for i in places - finished)


def _places(things: Moments, done: Iterable[str]) -> set[int]:
    """Return the indexes of the things that were done. Of equal ones, the first counts."""
    left = Counter(done)
    places = set()
    for i, (_, body) in enumerate(things):
        if left[body] > 0:
            left[body] -= 1
            places.add(i)
    return places


def _inside(span: Span, things: Moments) -> Iterator[int]:
    return (i for i, (at, _) in enumerate(things) if at in span)


def _overtaken(span: Span, things: Moments, finished: Collection[int]) -> Iterator[int]:
    """Return the things that were still waiting at the span's start: all after the last one that was done."""
    earlier = [i for i, (at, _) in enumerate(things) if at < span.begin]
    for i in reversed(earlier):
        if i in finished:
            return
        yield i
