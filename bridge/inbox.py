"""Texts from people: the one door through which they come in, whoever brings them.

What lives here: storing a text once, the answer to what can't be read, and what STOP, START and HELP do. What becomes
of the others: ``bridge.turns``. What is not answered at all: ``bridge.limits``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, literal, select, update
from sqlalchemy.orm import Session

from bridge import limits, opt_outs, outbox
from bridge.carriers import InboundText
from bridge.carriers.readable import readable
from bridge.config import Settings
from bridge.db import insert_if_new
from bridge.keywords import Keyword, bridge_answers, carrier_hears, keyword
from bridge.line import DELIVERIES, LINES, TURNS, Line, enqueue
from bridge.models import Conversation, Direction, Message, MessageStatus
from bridge.opt_outs import Reach
from bridge.phone import masked
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


class _Known(Exception):
    """The carrier has told us this text before; everything done for it is rolled back."""


@dataclass(frozen=True)
class _Heeded:
    """What a text is, and what it has changed."""

    word: Keyword | None = None
    changed: bool = False
    """The person has opted out or in by it."""


@dataclass(frozen=True)
class _Fate:
    """What becomes of a text."""

    heeded: _Heeded
    ignored: str | None
    """Why it gets no answer, not even one of the bridge's own."""
    line: Line
    """Where what follows from it has to wait."""

    @property
    def status(self) -> MessageStatus:
        if self.heeded.word:
            return MessageStatus.KEYWORD
        if self.line is TURNS:
            return MessageStatus.WAITING
        return MessageStatus.IGNORED if self.ignored else MessageStatus.REFUSED


def store(rt: Runtime, text: InboundText) -> bool:
    """Store a text and ring for it; False when it was stored before, and then nothing changes.

    The carrier's message id decides. The conversation's row is written first: its lock puts the texts of one person
    in order, also when several webhooks bring them at once. Only an opt-out goes before it: see ``bridge.opt_outs``.
    """
    canceled: Sequence[int] = ()
    try:
        with rt.sessions.begin() as session:
            fate = _fate(rt, session, text)
            heeded = fate.heeded
            conversation_id = _conversation(rt, session, text, fate.line)
            _insert(session, text, conversation_id, fate, rt.now())
            if heeded.word is Keyword.STOP and heeded.changed:
                canceled = opt_outs.cancel(session, _reach(rt, text), rt.now())
            if fate.ignored:
                _say_why(rt, session, conversation_id, fate.ignored)
            elif heeded.word:
                _confirm(rt, session, text, conversation_id, heeded)
            elif fate.line is DELIVERIES:
                outbox.say(rt, session, conversation_id, rt.settings.media_reply)
    except _Known:
        return False
    _tell(text, fate)
    if fate.line is DELIVERIES or rt.settings.reply_quiet is None:  # else the person may still type: the sweeper rings
        rt.bell.ring(fate.line.step, conversation_id)
    for each in canceled:
        for busy in LINES:
            rt.bell.ring(busy.step, each)
    return True


def _fate(rt: Runtime, session: Session, text: InboundText) -> _Fate:
    heeded = _heed(rt, session, text)
    for_us = bool(heeded.word or text.media) or not readable(text.body)
    ignored = _ignored(rt, session, text, heeded, for_us)
    return _Fate(heeded, ignored, DELIVERIES if for_us or ignored else TURNS)


def _heed(rt: Runtime, session: Session, text: InboundText) -> _Heeded:
    """Opt the person out or in, if that is what the text asks for. A word that opts in nobody is a text like others."""
    word = keyword(text.body, text.bridge_number, text.opt_out, rt.settings.extra_words)
    at = _moment(text, rt.now())
    if word is Keyword.STOP:
        overtaken = text.sent_at is not None and _started_since(rt, session, text)
        return _Heeded(word, not overtaken and opt_outs.record(session, _reach(rt, text), opt_outs.BY_TEXT, at))
    if word is Keyword.START and not opt_outs.end(session, _reach(rt, text), at):
        return _Heeded()
    return _Heeded(word, word is Keyword.START)


def _reach(rt: Runtime, text: InboundText) -> Reach:
    return opt_outs.reach(rt.settings, text.bridge_number, text.phone, text.service)


def _started_since(rt: Runtime, session: Session, text: InboundText) -> bool:
    """A STOP that comes late, by the carrier's list, may be over: then START came to us as a text like others."""
    later = (Message.direction == Direction.IN, Message.created_at > text.sent_at)
    theirs = opt_outs.conversations(_reach(rt, text))
    said = select(Message.body, Conversation.bridge_number).join(Conversation).where(*theirs, *later)
    extra = rt.settings.extra_words
    return any(keyword(body, number, extra=extra) is Keyword.START for body, number in session.execute(said))


def _moment(text: InboundText, now: datetime) -> datetime:
    """When it was sent."""
    return min(text.sent_at or now, now)


def _ignored(rt: Runtime, session: Session, text: InboundText, heeded: _Heeded, for_us: bool) -> str | None:
    """Why it gets no answer; ``None`` where it may get one. ``for_us``: the bridge answers it, and not the agent."""
    if never := limits.shut_out(rt.settings, text):
        return never
    if text.hidden:
        return limits.HIDDEN
    if for_us:
        over = limits.free_at(rt, session, text.phone) > rt.now()
        return limits.TOO_MANY if over and not _confirmed_in_any_case(rt, session, text, heeded) else None
    return limits.too_long(rt.settings, text.body)


def _confirmed_in_any_case(rt: Runtime, session: Session, text: InboundText, heeded: _Heeded) -> bool:
    """Who opts out is told so over a limit too, but a machine that opts in and out not more than once an hour."""
    if heeded.word is not Keyword.STOP or not heeded.changed:
        return False
    since = rt.now() - limits.HOUR
    return not opt_outs.was_confirmed(session, _reach(rt, text), since)


def _conversation(rt: Runtime, session: Session, text: InboundText, line: Line) -> int:
    """The conversation of this pair of numbers, made when needed, with its line due."""
    now, due = rt.now(), enqueue(line, rt.now(), rt.settings.reply_quiet)
    pair = {"bridge_number": text.bridge_number, "phone": text.phone}
    told = {"service": text.service} if text.service else {}
    touch = update(Conversation).filter_by(**pair).values({**due, **told}).returning(Conversation.id)
    known = session.scalar(touch)
    if known is None:
        session.execute(insert_if_new(session, Conversation).values(**pair, created_at=now).on_conflict_do_nothing())
        known = session.scalars(touch).one()
    return known


def _insert(session: Session, text: InboundText, conversation_id: int, fate: _Fate, now: datetime) -> None:
    """A text that is known stays as it is, but one whose words the carrier's list has hidden gets them."""
    out = opt_outs.is_out(conversation_id)
    row = insert_if_new(session, Message).values(
        conversation_id=conversation_id,
        direction=Direction.IN,
        status=fate.status if fate.heeded.word else case((out, MessageStatus.OPTED_OUT), else_=fate.status),
        body=text.body,
        media=text.media,
        carrier_id=text.carrier_id,
        created_at=_moment(text, now),
        error=fate.ignored,
    )
    told = row.excluded
    row = row.on_conflict_do_update(
        index_elements=[Message.carrier_id],
        set_={"status": told.status, "body": told.body, "media": told.media, "error": told.error},
        where=and_(Message.error == limits.HIDDEN, literal(not text.hidden)),
    )
    if session.scalar(row.returning(Message.id)) is None:
        raise _Known


def _say_why(rt: Runtime, session: Session, conversation_id: int, ignored: str) -> None:
    """To who may be answered at all."""
    words = {limits.TOO_LONG: rt.settings.too_long_reply, limits.TOO_MANY: rt.settings.pace_reply}
    if ignored in words:
        limits.notify(rt, session, conversation_id, words[ignored])


def _confirm(rt: Runtime, session: Session, text: InboundText, conversation_id: int, heeded: _Heeded) -> None:
    """What Twilio says by itself elsewhere. STOP and START are confirmed once, and not when they change nothing."""
    answered_by, heard = rt.settings.opt_out_answered_by, carrier_hears(text.body, text.opt_out)
    if not bridge_answers(answered_by, text.bridge_number, text.opt_out, heard=heard):
        return
    stop = heeded.word is Keyword.STOP
    outbox.say(rt, session, conversation_id, _reply(rt.settings, heeded), despite_opt_out=stop)


def _reply(settings: Settings, heeded: _Heeded) -> str:
    if heeded.word is Keyword.HELP:
        return settings.help_reply
    if not heeded.changed:
        return ""
    return settings.opt_out_reply if heeded.word is Keyword.STOP else settings.opt_in_reply


def _tell(text: InboundText, fate: _Fate) -> None:
    if fate.heeded.changed:
        change = "opted out of" if fate.heeded.word is Keyword.STOP else "opted in again to"
        log.info("%s has %s %s", masked(text.phone), change, masked(text.bridge_number))
    if fate.ignored:
        word, phone = fate.heeded.word, masked(text.phone)
        what = f"the {word} of {phone} gets no answer" if word else f"a text of {phone} is ignored"
        log.warning("%s: %s", what, fate.ignored)
