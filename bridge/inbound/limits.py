"""Limits for each phone, so that neither a reply loop nor an attack runs up a bill.

Three rules apply when a text comes in. A text from a sender that can't be answered is stored and marked. A text is
stored and never answered if it comes from one of our own numbers or from a country that is not served. The same holds
for a text with too many characters.

What an operator says to the agent counts for no limit, and waits for none.

One rule applies in the queue. A person who has had all turns of an hour waits for the next one. So a flood is answered
at that pace, ten texts to a turn. Texts that expire meanwhile are ignored. A phone that writes faster than a person can
counts as a machine that answers our texts, and waits for an hour.

The bridge notifies a person of a limit once an hour. The log and ``/admin/failures`` show each ignored text. These
functions run inside the transactions of their callers.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Select, select, union_all, update

from bridge.config import Settings
from bridge.db.models import ANSWERED_BY_US, Conversation, Message, MessageStatus, Turn, one_of
from bridge.db.transaction import Transaction
from bridge.lib.countries import country_of
from bridge.lib.phone import SHORT_CODE, is_name, without_channel
from bridge.outbound import outbox
from bridge.providers.carriers.contract import InboundText
from bridge.runtime import Runtime

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

LOOP_PAUSE = HOUR
"""How long a phone waits that counts as a machine."""

FROM_A_NAME = "it comes from a name, to which nothing can be sent"
FROM_A_SHORT_CODE = "it comes from a short code, and IGNORE_SHORT_CODES is set"
OUR_OWN = "it comes from one of our own numbers"
NOT_SERVED = "its country is not among ALLOWED_COUNTRIES"
TOO_LONG = "it is longer than CHARACTERS_PER_TEXT"
HIDDEN = "no webhook brought it, and the carrier hides its words: ask the person, or read the carrier's console"
TOO_MANY = "the phone has used up TURNS_PER_HOUR or TURNS_PER_MINUTE"


def unanswerable(settings: Settings, text: InboundText) -> str | None:
    """Return why this sender can't be answered; ``None`` if it may be a person, or if :func:`shut_out` has a reason."""
    if shut_out(settings, text):
        return None
    if is_name(text.phone):
        return FROM_A_NAME
    return FROM_A_SHORT_CODE if settings.ignore_short_codes and SHORT_CODE.fullmatch(text.phone) else None


def shut_out(settings: Settings, text: InboundText) -> str | None:
    """Return why nothing is ever sent to this phone, not even a notice; ``None`` if it may be answered."""
    return never_texted(settings, text.phone, text.bridge_number)


def never_texted(settings: Settings, address: str, bridge_number: str) -> str | None:
    """Return why nothing is ever sent from this number of ours to this address; ``None`` if it may be."""
    phone = without_channel(address)  # it may be one of ours on WhatsApp
    if phone == without_channel(bridge_number) or phone in settings.our_bare_numbers:
        return OUR_OWN
    if settings.allowed_countries and country_of(address) not in settings.allowed_countries:
        return NOT_SERVED
    return None


def too_long(settings: Settings, body: str) -> str | None:
    """Return why a text of this length is ignored; ``None`` if it is not."""
    most = settings.characters_per_text
    return TOO_LONG if most and len(body) > most else None


def free_at(rt: Runtime, tx: Transaction, phone: str) -> datetime:
    """Return when the agent or the bridge may answer this phone again: now or later."""
    hour, minute = rt.settings.turns_per_hour, rt.settings.turns_per_minute
    most = max(hour or 0, minute or 0)
    if not most:
        return rt.now()
    had = tx.session.scalars(_had(phone, rt.now() - HOUR).limit(most)).all()
    if minute and len(had) >= minute and had[minute - 1] > rt.now() - MINUTE:
        return rt.now() + LOOP_PAUSE
    return had[hour - 1] + HOUR if hour and len(had) >= hour else rt.now()


def notify(rt: Runtime, tx: Transaction, conversation_id: int, words: str) -> int:
    """Send a notice of a limit, unless one was sent within the hour. Return the number of messages.

    The caller has the conversation locked.
    """
    this = Conversation.id == conversation_id
    last = tx.session.scalar(select(Conversation.limit_notice_at).where(this))
    if last and last > rt.now() - HOUR:
        return 0
    messages = outbox.put_notice(rt, tx, conversation_id, words)
    if messages:
        tx.session.execute(update(Conversation).where(this).values(limit_notice_at=rt.now()))
    return messages


def ignore_waiting(tx: Transaction, conversation_id: int, until: datetime, now: datetime) -> int:
    """Ignore the texts that wait for the agent and came up to ``until``. Return the number of texts."""
    texts = (Message.conversation_id == conversation_id, Message.instruction.is_(None))
    waiting = (*texts, Message.status == MessageStatus.WAITING)
    ignored = update(Message).where(*waiting, Message.created_at <= until)
    values = {"status": MessageStatus.IGNORED, "settled_at": now, "error": TOO_MANY}
    return len(tx.session.scalars(ignored.values(values).returning(Message.id)).all())


def _had(phone: str, since: datetime) -> Select[datetime]:
    """Select the times of this phone's turns and of the texts that the bridge answered itself, newest first."""
    asked = (Turn.asked_at.is_not(None), Turn.instruction.is_(None))
    turns = select(Turn.created_at).where(Turn.created_at > since, *asked)
    own = select(Message.created_at).where(Message.created_at > since, one_of(Message.status, ANSWERED_BY_US))
    each = union_all(*(had.join(Conversation).where(Conversation.phone == phone) for had in (turns, own))).subquery()
    return select(each.c.created_at).order_by(each.c.created_at.desc())
