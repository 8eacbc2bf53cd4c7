"""The tables, and the states of their rows. The database is the truth; everything else is a doorbell.

    conversations   one per pair of our number and theirs; carries two lines of waiting work
    chats           the provider's sessions; at most one ongoing per conversation
    turns           what is said to the agent at once; at most one open per conversation
    messages        every text, in and out; the carrier's id is unique
    workers         which processes are alive, so that the work of a dead one is known at once
    holds           vendors, or agents, that serve nobody at the moment: their work waits, one try at a time probes
    task_errors     unexpected errors that come again and again; the rows of a bridge that works are none
    senders         when each of our senders may send again, so that the carrier's queues stay short
    catch_ups       up to when the carrier's own list of texts was read, for each of our numbers
    opt_outs        who wants no texts any more, from which of our numbers

States and their arrows::

    text in     WAITING ──> TAKEN ──> ANSWERED        TAKEN: it belongs to a turn
                   │           ├────> GIVEN_UP
                   ├───────────┴────> CANCELED        the person has opted out
                   └────────────────> IGNORED         over a limit, mostly from the start: see bridge.inbound.limits
                REFUSED                               media or nothing readable: never goes to the agent
                KEYWORD                               STOP, START or HELP: neither
                REACTION                              a like or its like: neither; see ``reacts_to``
                UNANSWERABLE                          from a sender that nobody can answer: neither
                OPTED_OUT                             it came while the person was opted out: neither

    turn        WAITING <──> ASKING ──> ANSWERED      ASKING: it was said, or may have been
                   └───────────┼──────> GIVEN_UP
                               └──────> CANCELED      from either: the person has opted out

    text out    QUEUED <──> SENDING ──> SENT          SENDING: the carrier has it, or may have
                   └───────────┼──────> GIVEN_UP      what the carrier tells after SENT stands in ``delivery``;
                               └──────> CANCELED      from either: the person has opted out
                                                       what it could not bring may go again, as a new text

    chat        ONGOING ──> ENDING ──> ENDED          ENDING: decided here, the provider is still to be told
                   └─────────────────────^

A line is the work of one conversation that must happen one after the other: its turns, and its texts to the phone.
``due_at`` says when somebody must look at it next (NULL: nothing waits), and is booked ahead before any work begins:
claim, back-off and recovery after a crash are this one column. See ``bridge.queues.conversation_queue``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    false,
    literal,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from bridge.providers.carriers.contract import NOT_DELIVERED, Delivery


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets time zones, so they are put on and taken off here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Direction(StrEnum):
    IN = "in"
    OUT = "out"


class MessageStatus(StrEnum):
    WAITING = "waiting"
    IN_TURN = "in_turn"
    ANSWERED = "answered"
    REFUSED = "refused"
    KEYWORD = "keyword"
    IGNORED = "ignored"
    OPTED_OUT = "opted_out"
    REACTION = "reaction"
    UNANSWERABLE = "unanswerable"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    GIVEN_UP = "given_up"
    CANCELED = "canceled"


class TurnStatus(StrEnum):
    WAITING = "waiting"
    ASKING = "asking"
    ANSWERED = "answered"
    GIVEN_UP = "given_up"
    CANCELED = "canceled"


class ChatStatus(StrEnum):
    ONGOING = "ongoing"
    ENDING = "ending"
    ENDED = "ended"


OPEN_TURN = (TurnStatus.WAITING, TurnStatus.ASKING)
ANSWERED_BY_US = (MessageStatus.REFUSED, MessageStatus.KEYWORD)
"""Texts of people that the bridge answers itself, if anybody does."""
NEVER_ANSWERED = (MessageStatus.REACTION, MessageStatus.UNANSWERABLE)
"""Texts that have no answer, whoever sent them."""
UNSENT = (MessageStatus.QUEUED, MessageStatus.SENDING)

Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only when the key is a plain INTEGER."""


def one_of(column: InstrumentedAttribute[Any], values: Iterable[StrEnum]) -> ColumnElement[bool]:
    """Written out, as in the condition of a partial index: SQLite does not take a list of parameters for the same."""
    return column.in_([literal(value, column.type, literal_execute=True) for value in values])


def _enum(kind: type[StrEnum]) -> Enum:
    """Stored as its value in a plain string column, so that a new state needs no migration of a type."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, str: Text}
    metadata = MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s"})
    """SQLite can change a constraint only by its name."""


class Conversation(Base):
    """One person talking to one of our numbers."""

    __tablename__ = "conversations"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    bridge_number: Mapped[str] = mapped_column(String(255))
    phone: Mapped[str] = mapped_column(String(255))
    service: Mapped[str | None] = mapped_column(String(64))
    """The carrier's messaging service that our number belonged to when it was last texted; NULL where it told none."""
    created_at: Mapped[datetime]

    turn_due_at: Mapped[datetime | None]
    turn_lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts the claims. Who settles must hold the newest: a worker that outlived its booking does not."""
    turn_leased_by: Mapped[str | None] = mapped_column(String(32))
    turn_notified_at: Mapped[datetime | None]
    turn_debounce_deadline: Mapped[datetime | None]
    """The person may still be typing, and ``turn_due_at`` moves ahead at each text, at most to here; else NULL."""

    delivery_due_at: Mapped[datetime | None]
    delivery_lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    delivery_leased_by: Mapped[str | None] = mapped_column(String(32))
    delivery_notified_at: Mapped[datetime | None]

    limit_notice_at: Mapped[datetime | None]
    """When the person was last told that a text is over a limit."""
    throttled_at: Mapped[datetime | None]
    """When texts were last made to wait because the person had had too many turns."""

    __table_args__ = (
        Index("uq_conversations_pair", "bridge_number", "phone", unique=True),
        Index("ix_conversations_phone", "phone"),
    )


def _partial(name: str, *columns: Any, where: Any, unique: bool = False) -> Index:
    """An index over the few rows that still need something; it stays small as history grows."""
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


_partial("ix_conversations_turn_due_at", Conversation.turn_due_at, where=Conversation.turn_due_at.is_not(None))
_partial("ix_conversations_turn_leased_by", Conversation.turn_leased_by, where=Conversation.turn_leased_by.is_not(None))
_partial(
    "ix_conversations_delivery_due_at", Conversation.delivery_due_at, where=Conversation.delivery_due_at.is_not(None)
)
_partial(
    "ix_conversations_delivery_leased_by",
    Conversation.delivery_leased_by,
    where=Conversation.delivery_leased_by.is_not(None),
)


class Chat(Base):
    """A session at the agent's provider."""

    __tablename__ = "chats"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    provider: Mapped[str] = mapped_column(String(16))
    provider_chat_id: Mapped[str] = mapped_column(String(255))
    agent_id: Mapped[str] = mapped_column(String(255), server_default="")
    """Which of the provider's agents it was opened with."""
    status: Mapped[ChatStatus] = mapped_column(_enum(ChatStatus))
    started_at: Mapped[datetime]
    last_activity_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(64))
    due_at: Mapped[datetime | None]
    """When the provider must be told (again) that the chat is over."""

    user_items: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many of the person's messages the chat is known to hold."""
    last_item_id: Mapped[str | None] = mapped_column(String(255))
    """The newest item that is known, where the provider names its items."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often the provider has failed in this chat since its last answer, while it served others."""


Index("ix_chats_conversation_id", Chat.conversation_id)
Index("uq_chats_provider_chat_id", Chat.provider, Chat.provider_chat_id, unique=True)
_partial("uq_chats_ongoing", Chat.conversation_id, where=Chat.status == ChatStatus.ONGOING, unique=True)
_partial("ix_chats_idle", Chat.last_activity_at, where=Chat.status == ChatStatus.ONGOING)
_partial("ix_chats_due_at", Chat.due_at, where=Chat.due_at.is_not(None))


class Turn(Base):
    """What is said to the agent at once: one text, or several that waited, joined by newlines."""

    __tablename__ = "turns"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    chat_id: Mapped[int | None] = mapped_column(ForeignKey("chats.id"))
    status: Mapped[TurnStatus] = mapped_column(_enum(TurnStatus))
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """After this moment the turn is given up."""
    asked_at: Mapped[datetime | None]
    """When it was last said; NULL: never."""
    response_received: Mapped[bool] = mapped_column(server_default=false())
    """The agent's provider has answered that, with an error: nothing of it is on its way any more."""
    items_at_last_check: Mapped[int | None] = mapped_column(Integer)
    """How many items the chat had at the last look: an answer counts once it has stopped growing."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often the provider has failed at it while it served others. See ``bridge.turns.poison``."""
    failed_at: Mapped[datetime | None]
    """When it last failed at it, whether others were served or not."""
    settled_at: Mapped[datetime | None]
    error: Mapped[str | None]
    """Why the last attempt failed, in words that are safe to show."""


Index("ix_turns_chat_id", Turn.chat_id)
Index("ix_turns_conversation_id", Turn.conversation_id, Turn.created_at)
_partial("uq_turns_open", Turn.conversation_id, where=Turn.status.in_(OPEN_TURN), unique=True)
_partial("ix_turns_given_up", Turn.settled_at, where=Turn.status == TurnStatus.GIVEN_UP)


class Message(Base):
    """One text, in or out. The order of ``id`` within a conversation is the order of its texts."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"))
    """In: the turn that says it. Out: the turn that it answers; NULL where the bridge speaks for itself."""
    direction: Mapped[Direction] = mapped_column(_enum(Direction))
    status: Mapped[MessageStatus] = mapped_column(_enum(MessageStatus))
    body: Mapped[str]
    media: Mapped[int] = mapped_column(Integer, server_default="0")
    extras: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """In: what else the carrier told of it, by the carrier's names; nobody is told that but operators."""
    reacts_to: Mapped[int | None] = mapped_column(ForeignKey("messages.id"))
    """In: the text of ours that it is a reaction to, where that is known."""
    segments: Mapped[int | None] = mapped_column(Integer)
    """Out: how many the carrier bills for it, by our count."""
    created_at: Mapped[datetime]
    carrier_id: Mapped[str | None] = mapped_column(String(64))
    reference: Mapped[str | None] = mapped_column(String(32))
    """Out: our own name for it in the status-callback address."""
    is_opt_out_confirmation: Mapped[bool] = mapped_column(server_default=false())
    """Out: it confirms that the person has opted out, and is the one text that still goes to them."""

    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    expires_at: Mapped[datetime | None]
    """Out: after this moment it is given up."""
    not_before: Mapped[datetime | None]
    """Out: its place in the stream of its sender, not to be sent before; NULL: it has none yet."""
    first_attempt_at: Mapped[datetime | None]
    attempted_at: Mapped[datetime | None]
    """The last attempt."""
    response_received: Mapped[bool] = mapped_column(server_default=false())
    """The carrier has answered the last attempt, with an error: nothing of it is on its way any more."""
    settled_at: Mapped[datetime | None]
    """Out: when it was sent or given up, or when the carrier told that it could not bring it. In: when it got the last
    of its states; NULL where it has had that one from the start."""
    delivery: Mapped[Delivery | None] = mapped_column(_enum(Delivery))
    error_code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    duplicate_carrier_id: Mapped[str | None] = mapped_column(String(64))
    """The carrier's id of a second copy, where a callback has shown that there is one."""

    poll_status_at: Mapped[datetime | None]
    """When to ask the carrier what became of it; NULL: that is known, or no longer asked."""
    resend_at: Mapped[datetime | None]
    """When it goes again as a new text, because it was not delivered."""
    resent_as: Mapped[int | None] = mapped_column(ForeignKey("messages.id"))
    """That new text, or the first of several."""
    resends: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many texts with these words failed before this one."""


Index("uq_messages_carrier_id", Message.carrier_id, unique=True)
Index("uq_messages_reference", Message.reference, unique=True)
Index("ix_messages_conversation_id", Message.conversation_id, Message.id)
Index("ix_messages_turn_id", Message.turn_id)
_partial("ix_messages_waiting", Message.conversation_id, Message.id, where=Message.status == MessageStatus.WAITING)
_partial("ix_messages_unsent", Message.conversation_id, Message.id, where=Message.status.in_(UNSENT))
_partial("ix_messages_given_up", Message.settled_at, where=Message.status == MessageStatus.GIVEN_UP)
_partial("ix_messages_ignored", Message.settled_at, where=Message.status == MessageStatus.IGNORED)
_partial(
    "ix_messages_answered_by_us",
    Message.conversation_id,
    Message.created_at,
    where=Message.status.in_(ANSWERED_BY_US),
)
_partial("ix_messages_not_delivered", Message.settled_at, where=Message.delivery.in_(NOT_DELIVERED))
_partial(
    "uq_messages_duplicate_carrier_id",
    Message.duplicate_carrier_id,
    where=Message.duplicate_carrier_id.is_not(None),
    unique=True,
)
_partial("ix_messages_poll_status_at", Message.poll_status_at, where=Message.poll_status_at.is_not(None))
_partial("ix_messages_resend_at", Message.resend_at, where=Message.resend_at.is_not(None))
_partial("ix_messages_reacts_to", Message.reacts_to, where=Message.reacts_to.is_not(None))
_partial("ix_messages_unanswerable", Message.settled_at, where=Message.status == MessageStatus.UNANSWERABLE)
_partial("uq_messages_resent_as", Message.resent_as, where=Message.resent_as.is_not(None), unique=True)


class Worker(Base):
    """A process that claims work. It says every few seconds that it is alive."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    last_heartbeat_at: Mapped[datetime]


class CircuitBreaker(Base):
    """A vendor that serves none of our messages: a refused account, a bill, an address that nobody answers at.

    Or one agent there that does not exist, or one sender that is not in order, while the others are served.
    """

    __tablename__ = "circuit_breakers"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    """The vendor, or the vendor and the agent's id or the sender; see ``bridge.providers.errors.scope_of``."""
    cause: Mapped[str]
    since: Mapped[datetime]
    probe_at: Mapped[datetime]
    """When one piece of work may try again whether all is well."""
    probes: Mapped[int] = mapped_column(Integer, server_default="0")
    from_receipt: Mapped[bool] = mapped_column(server_default=false())
    """The vendor takes our messages and fails afterwards: that one is taken proves nothing."""
    probe_failed: Mapped[bool] = mapped_column(server_default=false())
    """A message has failed since the last probe."""


class TaskError(Base):
    """An unexpected error in a step, for one row: how often it came one after the other. See
    ``bridge.queues.task_errors``.
    """

    __tablename__ = "task_errors"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    task: Mapped[str] = mapped_column(String(32))
    row_id: Mapped[int] = mapped_column(BigInteger)
    """The conversation or the chat that the step was called for; 0: a job of the clock."""
    conversation_id: Mapped[int | None] = mapped_column(BigInteger)
    """No foreign key: an error must be noted whatever is wrong with the rows."""
    error: Mapped[str]
    """Its kind and its place in the code, without its words."""
    times: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime]
    last_at: Mapped[datetime]
    stands_until: Mapped[datetime]
    """If it does not come again until then, it is over."""

    __table_args__ = (Index("uq_task_errors", "task", "row_id", unique=True),)


class Sender(Base):
    """One of our numbers, or the service that sends for them, and how much was sent, lately and ever.

    See ``bridge.outbound.rate_limiter``.
    """

    __tablename__ = "senders"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    free_at: Mapped[int] = mapped_column(BigInteger)
    """When all that has a place would be sent at its rate, in microseconds since 1970: a number, because both databases
    can add to one in the UPDATE that reads it."""
    paused_until: Mapped[datetime | None]
    """The carrier's queue for it is full; nothing is sent before."""
    refusals: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often that came one after the other."""
    texts: Mapped[int] = mapped_column(BigInteger, server_default="0")
    segments: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """How much was given a place, since the first text. They only grow."""


class InboundCursor(Base):
    """How far the carrier's list of the texts to one number was read."""

    __tablename__ = "inbound_cursors"

    bridge_number: Mapped[str] = mapped_column(String(255), primary_key=True)
    read_until: Mapped[datetime]
    """Every text that the carrier had by then is stored, by the carrier's clock."""


class OptOut(Base):
    """A person who wants no texts any more. The row stays when they opt in again: that moment counts too."""

    __tablename__ = "opt_outs"

    phone: Mapped[str] = mapped_column(String(255), primary_key=True)
    scope: Mapped[str] = mapped_column(String(255), primary_key=True)
    """One of our numbers, or ``*`` for all of them."""
    service: Mapped[str | None] = mapped_column(String(64))
    """All numbers of this messaging service are meant too."""
    since: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(64))
    ended_at: Mapped[datetime | None]
    """When they opted in again; what the carrier refused before that moment says nothing any more."""
