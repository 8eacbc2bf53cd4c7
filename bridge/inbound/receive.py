"""Texts from people: the one door through which they come in, whoever brings them.

What lives here: storing a text once, the answer to what can't be read, what STOP, START and HELP do, and which text of
ours a reaction is to. What becomes of the others: ``bridge.turns.process``. What is not answered at all:
``bridge.inbound.limits``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, literal, select, update
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import NEVER_ANSWERED, Conversation, Direction, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.inbound import limits
from bridge.inbound.reactions import Reaction, reaction
from bridge.inbound.readable import readable
from bridge.lib.keywords import Keyword, bridge_answers, carrier_recognizes, keyword
from bridge.lib.phone import RCS, masked
from bridge.outbound import opt_outs, outbox
from bridge.outbound.opt_outs import Reach
from bridge.providers.carriers.contract import Attachment, InboundText
from bridge.queues.conversation_queue import DELIVERIES, TURNS, ConversationQueue, with_work
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

LATEST_TEXTS = 20
MOST_CONVERSATIONS = 5
"""Our texts in each conversation, and the conversations of one person, that are looked through for what a reaction is
to."""

GOT = (MessageStatus.SENDING, MessageStatus.SENT)
"""Texts that the person has, or may have."""


class _Duplicate(Exception):
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

    status: MessageStatus
    queue: ConversationQueue | None = None
    """Where what follows from it has to wait; ``None`` where nothing follows."""
    heeded: _Heeded = _Heeded()
    ignored: str | None = None
    """Why it gets no answer, not even one of the bridge's own."""
    reacts_to: int | None = None

    @property
    def lasts(self) -> bool:
        """It stays what it is, also where the person has opted out."""
        return self.status in (MessageStatus.KEYWORD, *NEVER_ANSWERED)


@dataclass(frozen=True)
class _Tap:
    """A reaction, and the text of ours that it is to."""

    reacts_to: int | None


def receive(rt: Runtime, text: InboundText) -> bool:
    """Store a text and ring for it; False when it was stored before, and then nothing changes.

    The carrier's message id decides. The conversation's row is written first: its lock puts the texts of one person in
    order, also when several webhooks bring them at once. Only an opt-out goes before it: see
    ``bridge.outbound.opt_outs``.
    """
    try:
        with rt.database.transaction() as tx:
            fate = _fate(rt, tx, text)
            conversation_id = _conversation(rt, tx, text, fate.queue)
            _insert(tx, text, conversation_id, fate)
            _follow(rt, tx, text, conversation_id, fate)
    except _Duplicate:
        return False
    _tell(text, fate)
    return True


def _follow(rt: Runtime, tx: Transaction, text: InboundText, conversation_id: int, fate: _Fate) -> None:
    """Do what follows from the text besides storing it."""
    word = fate.heeded.word
    if word is Keyword.STOP and fate.heeded.changed:
        opt_outs.cancel(tx, _reach(rt, text))
    if fate.ignored:
        _say_why(rt, tx, conversation_id, fate.ignored)
    elif word:
        _confirm(rt, tx, text, conversation_id, fate.heeded)
    elif fate.queue is DELIVERIES:
        outbox.say(rt, tx, conversation_id, _unread(rt.settings, text))
    may_still_type = fate.queue is TURNS and rt.settings.reply_debounce is not None  # then the sweeper wakes a worker
    if fate.queue and not may_still_type:
        tx.wake(fate.queue.task, conversation_id)


def _fate(rt: Runtime, tx: Transaction, text: InboundText) -> _Fate:
    if nobody := limits.unanswerable(rt.settings, text):
        return _Fate(MessageStatus.UNANSWERABLE, ignored=nobody)
    heeded = _heed(rt, tx, text)
    tap = None if heeded.word else _tap(tx.session, text)
    reacts_to = tap.reacts_to if tap else None
    if tap and rt.settings.reactions == "ignore":
        return _Fate(MessageStatus.REACTION, reacts_to=reacts_to)
    pictures_alone = text.media and not text.aside
    for_us = bool(heeded.word or pictures_alone) or not readable(text.content)
    ignored = _ignored(rt, tx, text, heeded, for_us)
    queue = DELIVERIES if for_us or ignored else TURNS
    return _Fate(_status(queue, heeded, ignored), queue, heeded, ignored, reacts_to)


def _status(queue: ConversationQueue, heeded: _Heeded, ignored: str | None) -> MessageStatus:
    if heeded.word:
        return MessageStatus.KEYWORD
    if queue is TURNS:
        return MessageStatus.WAITING
    return MessageStatus.IGNORED if ignored else MessageStatus.REFUSED


def _tap(session: Session, text: InboundText) -> _Tap | None:
    """What looks like a reaction and may be a person's own words is one only if it quotes a text of ours."""
    tapped = None if text.aside else reaction(text.body)
    if tapped is None:
        return None
    reacts_to = _reacts_to(session, text, tapped) if tapped.quoted else None
    return _Tap(reacts_to) if tapped.sure or reacts_to else None


def _reacts_to(session: Session, text: InboundText, tapped: Reaction) -> int | None:
    """The newest of our last texts to that person that begins so, on SMS or RCS and from whichever number of ours.

    One that is quoted as a whole goes before one that only begins like it.
    """
    person = text.phone.removeprefix(RCS)
    here_first = (Conversation.bridge_number != text.bridge_number, Conversation.id.desc())
    theirs = select(Conversation.id).where(Conversation.phone.in_([person, RCS + person])).order_by(*here_first)
    fitting: list[tuple[bool, int]] = []
    for conversation_id in session.scalars(theirs.limit(MOST_CONVERSATIONS)):
        # One conversation at a time: so each look is a few steps in an index, also in a long history.
        ours = (Message.conversation_id == conversation_id, Message.direction == Direction.OUT, Message.status.in_(GOT))
        latest = select(Message.id, Message.body).where(*ours).order_by(Message.id.desc()).limit(LATEST_TEXTS)
        fitting += [(tapped.is_all_of(body), id_) for id_, body in session.execute(latest) if tapped.is_about(body)]
    return max(fitting)[1] if fitting else None


def _unread(settings: Settings, text: InboundText) -> str:
    """What is said to somebody whose text can't be read."""
    words = {Attachment.VOICE: settings.voice_reply, Attachment.CONTACT: settings.contact_reply}
    return words.get(text.attachment) or settings.media_reply


def _heed(rt: Runtime, tx: Transaction, text: InboundText) -> _Heeded:
    """Opt the person out or in, if that is what the text asks for. A word that opts in nobody is a text like others."""
    word = keyword(text.body, text.bridge_number, text.opt_out, rt.settings.extra_words)
    at = _moment(text, rt.now())
    if word is Keyword.STOP:
        overtaken = text.sent_at is not None and _started_since(rt, tx, text)
        return _Heeded(word, not overtaken and opt_outs.record(tx, _reach(rt, text), opt_outs.BY_TEXT, at))
    if word is Keyword.START and not opt_outs.opt_in(tx, _reach(rt, text), at):
        return _Heeded()
    return _Heeded(word, word is Keyword.START)


def _reach(rt: Runtime, text: InboundText) -> Reach:
    return opt_outs.reach(rt.settings, text.bridge_number, text.phone, text.service)


def _started_since(rt: Runtime, tx: Transaction, text: InboundText) -> bool:
    """A STOP that comes late, by the carrier's list, may be over: then START came to us as a text like others."""
    later = (Message.direction == Direction.IN, Message.created_at > text.sent_at)
    theirs = opt_outs.conversations(_reach(rt, text))
    said = select(Message.body, Conversation.bridge_number).join(Conversation).where(*theirs, *later)
    extra = rt.settings.extra_words
    return any(keyword(body, number, extra=extra) is Keyword.START for body, number in tx.session.execute(said))


def _moment(text: InboundText, now: datetime) -> datetime:
    """When it was sent."""
    return min(text.sent_at or now, now)


def _ignored(rt: Runtime, tx: Transaction, text: InboundText, heeded: _Heeded, for_us: bool) -> str | None:
    """Why it gets no answer; ``None`` where it may get one. ``for_us``: the bridge answers it, and not the agent."""
    if never := limits.shut_out(rt.settings, text):
        return never
    if text.hidden:
        return limits.HIDDEN
    if for_us:
        over = limits.free_at(rt, tx, text.phone) > rt.now()
        return limits.TOO_MANY if over and not _confirmed_in_any_case(rt, tx, text, heeded) else None
    return limits.too_long(rt.settings, text.content)


def _confirmed_in_any_case(rt: Runtime, tx: Transaction, text: InboundText, heeded: _Heeded) -> bool:
    """Who opts out is told so over a limit too, but a machine that opts in and out not more than once an hour."""
    if heeded.word is not Keyword.STOP or not heeded.changed:
        return False
    since = rt.now() - limits.HOUR
    return not opt_outs.was_confirmed(tx, _reach(rt, text), since)


def _conversation(rt: Runtime, tx: Transaction, text: InboundText, queue: ConversationQueue | None) -> int:
    """The conversation of this pair of numbers, made when needed and locked, with its line due."""
    now = rt.now()
    due = with_work(queue, now, rt.settings.reply_debounce) if queue else {Conversation.phone: text.phone}
    pair = {"bridge_number": text.bridge_number, "phone": text.phone}
    told = {"service": text.service} if text.service else {}
    touch = update(Conversation).filter_by(**pair).values({**due, **told}).returning(Conversation.id)
    known = tx.session.scalar(touch)
    if known is None:
        tx.session.execute(
            insert_if_new(tx.session, Conversation).values(**pair, created_at=now).on_conflict_do_nothing()
        )
        known = tx.session.scalars(touch).one()
    return known


def _insert(tx: Transaction, text: InboundText, conversation_id: int, fate: _Fate) -> None:
    """A text that is known stays as it is, but one whose words the carrier's list has hidden gets them."""
    out = opt_outs.is_out(conversation_id)
    row = insert_if_new(tx.session, Message).values(
        conversation_id=conversation_id,
        direction=Direction.IN,
        status=fate.status if fate.lasts else case((out, MessageStatus.OPTED_OUT), else_=fate.status),
        body=text.body if fate.heeded.word else text.content,
        media=text.media,
        extras=dict(text.extras) or None,
        reacts_to=fate.reacts_to,
        carrier_id=text.carrier_id,
        created_at=_moment(text, tx.now),
        error=fate.ignored,
    )
    told = row.excluded
    row = row.on_conflict_do_update(
        index_elements=[Message.carrier_id],
        set_={name: told[name] for name in ("status", "body", "media", "extras", "reacts_to", "error")},
        where=and_(Message.error == limits.HIDDEN, literal(not text.hidden)),
    )
    if tx.session.scalar(row.returning(Message.id)) is None:
        raise _Duplicate


def _say_why(rt: Runtime, tx: Transaction, conversation_id: int, ignored: str) -> None:
    """To who may be answered at all."""
    words = {limits.TOO_LONG: rt.settings.too_long_reply, limits.TOO_MANY: rt.settings.rate_limit_reply}
    if ignored in words:
        limits.notify(rt, tx, conversation_id, words[ignored])


def _confirm(rt: Runtime, tx: Transaction, text: InboundText, conversation_id: int, heeded: _Heeded) -> None:
    """What Twilio says by itself elsewhere. STOP and START are confirmed once, and not when they change nothing."""
    answered_by, recognized = rt.settings.opt_out_answered_by, carrier_recognizes(text.body, text.opt_out)
    if not bridge_answers(answered_by, text.bridge_number, text.opt_out, recognized=recognized):
        return
    stop = heeded.word is Keyword.STOP
    outbox.say(rt, tx, conversation_id, _reply(rt.settings, heeded), is_opt_out_confirmation=stop)


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
