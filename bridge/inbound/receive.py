"""Receiving a text: both webhooks and catch-up store texts here, each text once.

This module chooses the text's queue and applies STOP, START and HELP. It answers a text that can't be read, and finds
the text of ours that a reaction is about. Texts for the agent: ``bridge.turns.process``. Texts without an answer:
``bridge.inbound.limits``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, literal, select, update
from sqlalchemy.orm import Session

from bridge.chats import do_not_call
from bridge.chats.do_not_call import NewWish
from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import NEVER_ANSWERED, Conversation, Direction, Holder, Message, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.db.transaction import Transaction
from bridge.inbound import holder, limits, store
from bridge.inbound.reactions import Reaction, reaction
from bridge.inbound.readable import readable
from bridge.inbound.store import Stored, WaitingText
from bridge.lib.keywords import Keyword, bridge_answers, carrier_recognizes, keyword, letters_of
from bridge.lib.log import fields
from bridge.lib.phone import RCS, channel_of, e164, masked
from bridge.outbound import opt_outs, outbox
from bridge.outbound.consents import Evidence
from bridge.outbound.opt_outs import Reach
from bridge.providers.carriers.contract import Attachment, InboundText
from bridge.queues.conversation_queue import DELIVERIES, TURNS, ConversationQueue, with_work
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

LATEST_TEXTS = 20
MOST_CONVERSATIONS = 5
"""The search for the text of a reaction: our newest texts in each conversation, and the person's conversations."""

GOT = (MessageStatus.SENDING, MessageStatus.SENT)
"""Texts that the person has, or may have."""


class _Duplicate(Exception):
    """The text is stored already. Everything done for it now is rolled back."""


@dataclass(frozen=True)
class _KeywordEffect:
    """The keyword of a text, if any, and whether it has changed an opt-out."""

    word: Keyword | None = None
    changed: bool = False
    """The person has opted out or in with this text."""


@dataclass(frozen=True)
class _Fate:
    """The treatment of a text."""

    status: MessageStatus
    queue: ConversationQueue | None = None
    """The queue in which the answer waits; ``None`` if there is none."""
    effect: _KeywordEffect = _KeywordEffect()
    ignored: str | None = None
    """Why neither the agent nor the bridge answers it."""
    reacts_to: int | None = None
    asks_for_team: bool = False
    """The text is one of HANDOFF_WORDS."""

    @property
    def lasts(self) -> bool:
        """The status is the same if the person has opted out."""
        return self.status in (MessageStatus.KEYWORD, *NEVER_ANSWERED)


@dataclass(frozen=True)
class _Tap:
    """A reaction, and the text of ours that it is about."""

    reacts_to: int | None


def receive(rt: Runtime, text: InboundText) -> bool:
    """Store a text and wake a worker for it. Return False, without a change, if the text is stored already.

    The carrier's message id identifies the text. The conversation's row is written first. Its lock puts the texts of
    one person in order, even if several webhooks bring them at the same time. Only an opt-out is locked before it: see
    ``bridge.outbound.opt_outs``.
    """
    began = time.perf_counter()
    stored = rt.together(store_many, text) if _is_plain(rt.settings, text) else None
    stored = stored or _store(rt, text)
    if stored is None:
        return False
    ended = fields(
        outcome=stored.status,
        conversation=stored.conversation_id,
        text=stored.text_id,
        seconds=round(time.perf_counter() - began, 4),
    )
    log.info("text %s is received", stored.text_id, extra=ended)
    return True


def _store(rt: Runtime, text: InboundText) -> Stored | None:
    """Store a text in a transaction of its own. ``None``: it is stored already."""
    try:
        with rt.database.transaction() as tx:
            fate = _fate(rt, tx, text)
            conversation_id = _conversation(rt, tx, text, fate.queue)
            stored = _insert(tx, text, conversation_id, fate)
            _follow(rt, tx, text, conversation_id, fate)
    except _Duplicate:
        return None
    _log(text, fate)
    return stored


def store_many(rt: Runtime, texts: Sequence[InboundText]) -> Sequence[Stored | None]:
    """Store plain texts for the agent. ``None``: a text is known already, or its conversation is locked."""
    now = rt.now()
    with rt.database.transaction() as tx:
        stored = store.store(tx, [_waiting(text, now) for text in texts])
        for each in filter(None, stored):
            tx.wake(TURNS.task, each.conversation_id)
    return stored


def _is_plain(settings: Settings, text: InboundText) -> bool:
    """Return whether the text is one for the agent, whatever the database has. All others need more statements."""
    if text.hidden or text.aside or text.media or settings.reply_debounce is not None:
        return False
    if limits.unanswerable(settings, text) or limits.shut_out(settings, text):
        return False
    if limits.too_long(settings, text.content) or not readable(text.content) or _asks_for_team(settings, text):
        return False
    return not keyword(text.body, text.bridge_number, text.opt_out, settings.extra_words) and not reaction(text.body)


def _waiting(text: InboundText, now: datetime) -> WaitingText:
    return WaitingText(
        carrier_id=text.carrier_id,
        bridge_number=text.bridge_number,
        phone=text.phone,
        service=text.service or None,
        body=text.content,
        media=text.media,
        extras=dict(text.extras) or None,
        created_at=_moment(text, now),
    )


def _follow(rt: Runtime, tx: Transaction, text: InboundText, conversation_id: int, fate: _Fate) -> None:
    """Apply the text's effects: cancel work, answer it, wake a worker."""
    word = fate.effect.word
    if word is Keyword.STOP and fate.effect.changed:
        opt_outs.cancel(tx, _reach(rt, text))
    if fate.ignored:
        _notify(rt, tx, conversation_id, fate.ignored)
    elif word:
        _confirm_keyword(rt, tx, text, conversation_id, fate.effect)
    elif fate.asks_for_team:
        _ask_for_team(rt, tx, conversation_id)
    elif fate.queue is DELIVERIES:
        outbox.put_notice(rt, tx, conversation_id, _unread(rt.settings, text))
    may_still_type = fate.queue is TURNS and rt.settings.reply_debounce is not None  # then the sweeper wakes a worker
    if fate.queue and not may_still_type:
        tx.wake(fate.queue.task, conversation_id)
    if rt.settings.writes_contacts_at and word in (Keyword.STOP, Keyword.START):
        _tell_contact(rt, tx, text, conversation_id, fate.effect)


def _ask_for_team(rt: Runtime, tx: Transaction, conversation_id: int) -> None:
    """Let the conversation wait for the team. A person of the team who has it reads the word anyway."""
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.holder is not Holder.PERSON and not opt_outs.has_opted_out(tx, conversation_id):
        holder.ask_for_team(rt, tx, conversation_id, "the person has asked for a human")


def _tell_contact(
    rt: Runtime, tx: Transaction, text: InboundText, conversation_id: int, effect: _KeywordEffect
) -> None:
    """Let the person's contact at the agent's provider say what the person wants, later and by a worker.

    A STOP counts even if the opt-out is known: the carrier may have reported it first.
    """
    stop = effect.word is Keyword.STOP
    provider, number = rt.agents.route(text.bridge_number).provider, e164(text.phone)
    if number is None or provider not in rt.settings.writes_contacts_at:
        return
    if effect.changed or (stop and opt_outs.stands(tx, _reach(rt, text))):
        at = _moment(text, tx.now)
        do_not_call.record(tx, NewWish(provider, number, conversation_id, do_not_call=stop, at=at))


def _fate(rt: Runtime, tx: Transaction, text: InboundText) -> _Fate:
    if reason := limits.unanswerable(rt.settings, text):
        return _Fate(MessageStatus.UNANSWERABLE, ignored=reason)
    effect = _apply_keyword(rt, tx, text)
    tap = None if effect.word else _tap(tx.session, text)
    reacts_to = tap.reacts_to if tap else None
    if tap and rt.settings.reactions == "ignore":
        return _Fate(MessageStatus.REACTION, reacts_to=reacts_to)
    pictures_alone = text.media and not text.aside
    asks = not (effect.word or text.media or text.aside) and _asks_for_team(rt.settings, text)
    for_us = bool(effect.word or asks or pictures_alone) or not readable(text.content)
    ignored = _ignored(rt, tx, text, effect, for_us)
    queue = DELIVERIES if for_us or ignored else TURNS
    return _Fate(_status(queue, bool(effect.word or asks), ignored), queue, effect, ignored, reacts_to, asks)


def _asks_for_team(settings: Settings, text: InboundText) -> bool:
    return bool(settings.handoff_words) and letters_of(text.body) in settings.handoff_words


def _status(queue: ConversationQueue, is_keyword: bool, ignored: str | None) -> MessageStatus:
    if is_keyword:
        return MessageStatus.KEYWORD
    if queue is TURNS:
        return MessageStatus.WAITING
    return MessageStatus.IGNORED if ignored else MessageStatus.REFUSED


def _tap(session: Session, text: InboundText) -> _Tap | None:
    """Return the reaction, if the text is one.

    A text that a person may have written counts as a reaction only if it quotes a text of ours.
    """
    tapped = None if text.aside else reaction(text.body)
    if tapped is None:
        return None
    reacts_to = _reacts_to(session, text, tapped) if tapped.quoted else None
    return _Tap(reacts_to) if tapped.sure or reacts_to else None


def _reacts_to(session: Session, text: InboundText, tapped: Reaction) -> int | None:
    """Return our newest text to this person that begins with the quotation. It may be on SMS or RCS, from any number.

    A text that is quoted as a whole is preferred to one that only begins like the quotation.
    """
    person = text.phone.removeprefix(RCS)
    here_first = (Conversation.bridge_number != text.bridge_number, Conversation.id.desc())
    theirs = select(Conversation.id).where(Conversation.phone.in_([person, RCS + person])).order_by(*here_first)
    fitting: list[tuple[bool, int]] = []
    for conversation_id in session.scalars(theirs.limit(MOST_CONVERSATIONS)):
        # One conversation at a time: so each query reads a few index entries, even in a long history.
        ours = (Message.conversation_id == conversation_id, Message.direction == Direction.OUT, Message.status.in_(GOT))
        latest = select(Message.id, Message.body).where(*ours).order_by(Message.id.desc()).limit(LATEST_TEXTS)
        bodies = [(id_, body) for id_, body in session.execute(latest) if not why_unreadable(body)]
        fitting += [(tapped.is_all_of(body), id_) for id_, body in bodies if tapped.is_about(body)]
    return max(fitting)[1] if fitting else None


def _unread(settings: Settings, text: InboundText) -> str:
    """Return the reply to a text that can't be read."""
    words = {Attachment.VOICE: settings.voice_reply, Attachment.CONTACT: settings.contact_reply}
    return words.get(text.attachment) or settings.media_reply


def _apply_keyword(rt: Runtime, tx: Transaction, text: InboundText) -> _KeywordEffect:
    """Opt the person out or in if the text is such a keyword. A START without an opt-out is an ordinary text."""
    word = keyword(text.body, text.bridge_number, text.opt_out, rt.settings.extra_words)
    evidence = Evidence(opt_outs.BY_TEXT, _moment(text, rt.now()), channel_of(text.phone), text.body)
    if word is Keyword.STOP:
        overtaken = text.sent_at is not None and _started_since(rt, tx, text)
        return _KeywordEffect(word, not overtaken and opt_outs.record(tx, _reach(rt, text), evidence))
    if word is Keyword.START and not opt_outs.opt_in(tx, _reach(rt, text), evidence):
        return _KeywordEffect()
    return _KeywordEffect(word, word is Keyword.START)


def _reach(rt: Runtime, text: InboundText) -> Reach:
    return opt_outs.reach(rt.settings, text.bridge_number, text.phone, text.service)


def _started_since(rt: Runtime, tx: Transaction, text: InboundText) -> bool:
    """Return whether the person has sent START since this STOP.

    A STOP from the carrier's list may come late. START was an ordinary text then, because no opt-out was known.
    """
    later = (Message.direction == Direction.IN, Message.operator.is_(None), Message.created_at > text.sent_at)
    theirs = opt_outs.conversations(_reach(rt, text))
    received = select(Message.body, Conversation.bridge_number).join(Conversation).where(*theirs, *later)
    extra = rt.settings.extra_words
    return any(keyword(body, number, extra=extra) is Keyword.START for body, number in tx.session.execute(received))


def _moment(text: InboundText, now: datetime) -> datetime:
    """Return when the text was sent, and never a moment in the future."""
    return min(text.sent_at or now, now)


def _ignored(rt: Runtime, tx: Transaction, text: InboundText, effect: _KeywordEffect, for_us: bool) -> str | None:
    """Return why the text gets no answer; ``None`` if it may get one. ``for_us``: the bridge answers it itself."""
    if never := limits.shut_out(rt.settings, text):
        return never
    if text.hidden:
        return limits.HIDDEN
    if for_us:
        over = limits.free_at(rt, tx, text.phone) > rt.now()
        return limits.TOO_MANY if over and not _confirmed_in_any_case(rt, tx, text, effect) else None
    return limits.too_long(rt.settings, text.content)


def _confirmed_in_any_case(rt: Runtime, tx: Transaction, text: InboundText, effect: _KeywordEffect) -> bool:
    """Return whether the text is a STOP that is confirmed even over a limit.

    That happens once an hour at most, because a machine may opt in and out again and again.
    """
    if effect.word is not Keyword.STOP or not effect.changed:
        return False
    since = rt.now() - limits.HOUR
    return not opt_outs.was_confirmed(tx, _reach(rt, text), since)


def _conversation(rt: Runtime, tx: Transaction, text: InboundText, queue: ConversationQueue | None) -> int:
    """Lock the conversation of this pair of numbers, and make its queue due. Insert the conversation if it is new."""
    now = rt.now()
    due = with_work(queue, now, rt.settings.reply_debounce) if queue else {Conversation.changed_at: now}
    pair = {"bridge_number": text.bridge_number, "phone": text.phone}
    service = {"service": text.service} if text.service else {}
    touch = update(Conversation).filter_by(**pair).values({**due, **service}).returning(Conversation.id)
    conversation_id = tx.session.scalar(touch)
    if conversation_id is None:
        tx.session.execute(
            insert_if_new(tx.session, Conversation).values(**pair, created_at=now).on_conflict_do_nothing()
        )
        conversation_id = tx.session.scalars(touch).one()
    return conversation_id


def _insert(tx: Transaction, text: InboundText, conversation_id: int, fate: _Fate) -> Stored:
    """Insert the text, or raise :class:`_Duplicate`. A stored text whose words were hidden gets its words."""
    out = opt_outs.is_out(conversation_id)
    row = insert_if_new(tx.session, Message).values(
        conversation_id=conversation_id,
        direction=Direction.IN,
        status=fate.status if fate.lasts else case((out, MessageStatus.OPTED_OUT), else_=fate.status),
        body=text.body if fate.effect.word else text.content,
        media=text.media,
        extras=dict(text.extras) or None,
        reacts_to=fate.reacts_to,
        carrier_id=text.carrier_id,
        created_at=_moment(text, tx.now),
        error=fate.ignored,
    )
    new = row.excluded
    row = row.on_conflict_do_update(
        index_elements=[Message.carrier_id],
        set_={name: new[name] for name in ("status", "body", "media", "extras", "reacts_to", "error")},
        where=and_(Message.error == limits.HIDDEN, literal(not text.hidden)),
    )
    inserted = tx.session.execute(row.returning(Message.id, Message.status)).one_or_none()
    if inserted is None:
        raise _Duplicate
    return Stored(conversation_id, inserted.id, inserted.status)


def _notify(rt: Runtime, tx: Transaction, conversation_id: int, ignored: str) -> None:
    """Notify the person of the limit, if a setting has words for it."""
    words = {limits.TOO_LONG: rt.settings.too_long_reply, limits.TOO_MANY: rt.settings.rate_limit_reply}
    if ignored in words:
        limits.notify(rt, tx, conversation_id, words[ignored])


def _confirm_keyword(
    rt: Runtime, tx: Transaction, text: InboundText, conversation_id: int, effect: _KeywordEffect
) -> None:
    """Confirm a keyword where Twilio does not. STOP and START are confirmed only if they change something."""
    answered_by, recognized = rt.settings.opt_out_answered_by, carrier_recognizes(text.body, text.opt_out)
    if not bridge_answers(answered_by, text.bridge_number, text.opt_out, recognized=recognized):
        return
    stop = effect.word is Keyword.STOP
    outbox.put_notice(rt, tx, conversation_id, _reply(rt.settings, effect), is_opt_out_confirmation=stop)


def _reply(settings: Settings, effect: _KeywordEffect) -> str:
    if effect.word is Keyword.HELP:
        return settings.help_reply
    if not effect.changed:
        return ""
    return settings.opt_out_reply if effect.word is Keyword.STOP else settings.opt_in_reply


def _log(text: InboundText, fate: _Fate) -> None:
    if fate.effect.changed:
        change = "opted out of" if fate.effect.word is Keyword.STOP else "opted in again to"
        log.info("%s has %s %s", masked(text.phone), change, masked(text.bridge_number))
    if fate.ignored:
        word, phone = fate.effect.word, masked(text.phone)
        what = f"the {word} of {phone} gets no answer" if word else f"a text of {phone} is ignored"
        log.warning("%s: %s", what, fate.ignored)
