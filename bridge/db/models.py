"""The tables, and the states of their rows. All state is in the database; the broker only carries wake-ups.

    conversations     one per pair of our number and a person's; carries the two queues of waiting work
    chats             the agent's sessions; at most one ongoing per conversation
    turns             the texts that the agent gets together; at most one open per conversation
    messages          every text, in and out; the carrier's id is unique
    workers           the processes that are alive, so that the work of a stalled worker is found soon
    circuit_breakers  providers, agents and senders whose work waits, while one probe at a time tries again
    task_errors       unexpected errors that come again and again; empty while the bridge works
    senders           when each of our senders may send again, so that the carrier's queues stay short
    answer_times      how many answers took how long, for the metrics
    inbound_cursors   up to when the carrier's list of texts was read, for each of our numbers
    opt_outs          people who want no texts any more, and from which of our numbers
    consents          who opted out or in, when and by which words; rows are only ever added
    contact_updates   what the contact of a person at the agent's provider must say, and whether it says so
    audit             who has done what; rows are only ever added
    idempotency_keys  operators' requests of the last day, so that a repeated one gets the same answer
    handoff_notices   what the team must be told: a person waits for one of them
    draft_requests    drafts that operators have asked the agent for, for some minutes
    sent_cursors      up to when the carrier's list of texts from each of our numbers was read
    notes             what operators write about a conversation; nobody else reads it
    tags              words by which operators sort conversations
    canned_replies    texts that operators have prepared
    read_marks        how far each operator has read each conversation
    console_sessions  who is logged in to the console
    login_limits      addresses from which too many logins have failed
    erasures          what providers still have of people who are forgotten here
    forgotten_texts   digests of the ids of their texts, so that the carrier's lists don't bring them back
    purged            up to when old texts were purged, so that the carrier's lists don't bring them back

States and their arrows::

    text in     WAITING ──> IN_TURN ──> ANSWERED      IN_TURN: it belongs to a turn
                   │           ├──────> GIVEN_UP
                   ├───────────┴──────> CANCELED      the person has opted out
                   └──────────────────> IGNORED       over a limit, mostly from the start: see bridge.inbound.limits
                REFUSED                               media or nothing readable: it never goes to the agent
                KEYWORD                               STOP, START or HELP: nor does this
                REACTION                              a like or a similar sign: nor does this; see ``reacts_to``
                UNANSWERABLE                          from a sender that can't be answered: nor does this
                HANDLED                               a person of the team has answered it: nor does this
                OPTED_OUT                             received while the person was opted out: nor does this

    turn        WAITING <──> ASKING ──> ANSWERED      ASKING: the agent has received it, or may have
                   └───────────┼──────> GIVEN_UP
                               └──────> CANCELED      from either: the person has opted out
                QUEUED ──> WAITING                    an operator's: its text waits; CANCELED as above

    text out    QUEUED <──> SENDING ──> SENT          SENDING: the carrier has accepted it, or may have
                   └───────────┼──────> GIVEN_UP      ``delivery`` has the carrier's reports after SENT;
                               └──────> CANCELED      from either: the person has opted out
                                                       an undelivered text may be sent again, as a new one
                DRAFT                                 an answer of the agent that is not sent: a person decides
                OUTSIDE                               from our number, and no text of the bridge: only shown

    chat        ONGOING ──> ENDING ──> ENDED          ENDING: ended here, and not yet at the provider
                   └─────────────────────^

    holder      AGENT <──> WAITING <──> PERSON        WAITING: for the team, or a human at the agent's provider
                  └─────────────────────^             PERSON: an operator answers
                  └──> OUTSIDE                        somebody answers with another tool; AGENT again after a while

A queue holds the work of one conversation that must happen in order: its turns, or its texts to the phone. ``due_at``
is the moment at which a worker must look at it next (NULL: nothing waits). A claim moves it ahead before any work
begins: lease, backoff and recovery after a crash are this one column. See ``bridge.queues.conversation_queue``.
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
    text,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from bridge.db.sealing import SealedJson, SealedText, SealedWishes
from bridge.providers.carriers.contract import NOT_DELIVERED, Delivery


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets time zones, so this type adds them when it reads."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone; use datetime.now(UTC)")
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
    HANDLED = "handled"
    REACTION = "reaction"
    UNANSWERABLE = "unanswerable"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    GIVEN_UP = "given_up"
    CANCELED = "canceled"
    DRAFT = "draft"
    OUTSIDE = "outside"


class TurnStatus(StrEnum):
    QUEUED = "queued"
    WAITING = "waiting"
    ASKING = "asking"
    ANSWERED = "answered"
    GIVEN_UP = "given_up"
    CANCELED = "canceled"


class ChatStatus(StrEnum):
    ONGOING = "ongoing"
    ENDING = "ending"
    ENDED = "ended"


class Holder(StrEnum):
    """Who answers the person."""

    AGENT = "agent"
    WAITING = "waiting"
    """A human must, or does already at the agent's provider. The agent is not asked."""
    PERSON = "person"
    """An operator. The agent is not asked."""
    OUTSIDE = "outside"
    """Somebody who texts from our number with another tool. The agent is not asked."""


OPEN_TURN = (TurnStatus.WAITING, TurnStatus.ASKING)
UNSETTLED_TURN = (TurnStatus.QUEUED, *OPEN_TURN)
ANSWERED_BY_US = (MessageStatus.REFUSED, MessageStatus.KEYWORD)
"""Texts of people that only the bridge may answer, and never the agent."""
NEVER_ANSWERED = (MessageStatus.REACTION, MessageStatus.UNANSWERABLE)
"""Texts that never get an answer."""
UNSENT = (MessageStatus.QUEUED, MessageStatus.SENDING)
IN_WORK = (MessageStatus.WAITING, MessageStatus.IN_TURN, *UNSENT)
"""Texts that change soon. The index over the words of texts does without them: each change would write it anew."""

Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows only if the key is a plain INTEGER."""


def one_of(column: InstrumentedAttribute[Any], values: Iterable[StrEnum]) -> ColumnElement[bool]:
    """Return a condition with the values written out, as in a partial index. With parameters SQLite does not use it."""
    return column.in_([literal(value, column.type, literal_execute=True) for value in values])


def _enum(kind: type[StrEnum]) -> Enum:
    """Store a state as its value in a plain string column, so that a new state needs no migration of a type."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, str: Text}
    metadata = MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s"})
    """SQLite can change a constraint only by its name, so each has one."""


SEARCH_INDEXES = ("ix_conversations_backwards", "ix_messages_words")
BACKWARDS = 'reverse((phone)::text) COLLATE "C"'
WORDS = "to_tsvector('simple'::regconfig, body)"
"""What the search of ``bridge.web.queries.search`` compares. They are written as PostgreSQL shows them."""


NEVER_AGAIN = {"sqlite_autoincrement": True}
"""For tables whose rows are deleted. SQLite would give the number of a deleted row to the next one, and what still
names the old row would then mean another person's."""


def _on_postgresql(name: str, expression: str, **more: Any) -> Index:
    """Make an index for the search of operators. SQLite does without."""
    return Index(name, text(expression), **more).ddl_if(dialect="postgresql")


class Conversation(Base):
    """One person talking to one of our numbers."""

    __tablename__ = "conversations"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    bridge_number: Mapped[str] = mapped_column(String(255))
    phone: Mapped[str] = mapped_column(String(255))
    service: Mapped[str | None] = mapped_column(String(64))
    """The messaging service of our number in the last text that named one; NULL: no text has named one."""
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime] = mapped_column(default=lambda made: made.get_current_parameters()["created_at"])
    """When a text came, an answer was ready or was sent, or an operator did something."""

    turn_due_at: Mapped[datetime | None]
    turn_lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts the claims (a fencing token). A worker can settle only with the newest one."""
    turn_leased_by: Mapped[str | None] = mapped_column(String(32))
    turn_notified_at: Mapped[datetime | None]
    turn_debounce_deadline: Mapped[datetime | None]
    """Each text moves ``turn_due_at`` ahead, at most to here: the person may still be typing. NULL: no debounce."""

    delivery_due_at: Mapped[datetime | None]
    delivery_lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    delivery_leased_by: Mapped[str | None] = mapped_column(String(32))
    delivery_notified_at: Mapped[datetime | None]

    limit_notice_at: Mapped[datetime | None]
    """When the person last got the notice that a text is over a limit."""
    throttled_at: Mapped[datetime | None]
    """When texts last had to wait because the person had had too many turns."""

    holder: Mapped[Holder] = mapped_column(_enum(Holder), server_default=Holder.AGENT.value)
    holder_name: Mapped[str | None] = mapped_column(String(255))
    """WAITING: the provider whose human has the chat; NULL: the team is wanted. PERSON: the operator."""
    holder_since: Mapped[datetime | None]
    """NULL: the agent has answered from the start."""
    holder_reason: Mapped[str | None] = mapped_column(SealedText)
    holder_until: Mapped[datetime | None]
    """WAITING: when nobody of the team has come in time. OUTSIDE: when the agent answers again. NULL: never."""
    handoff_told_at: Mapped[datetime | None]
    """When the person was told that a human answers now; NULL: not yet, or the agent answers."""
    human_at: Mapped[str | None] = mapped_column(String(16))
    """PERSON, or the team is wanted: the provider whose human had the chat before, and may still have it."""
    agent_note: Mapped[str | None] = mapped_column(SealedText)
    """What an operator has told the agent on giving the conversation back. Each new chat gets it."""
    agent_note_at: Mapped[datetime | None]

    silent_turns: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many turns in a row the agent has answered without a word. It is asked all the same."""
    silent_since: Mapped[datetime | None]
    """When it did that first; NULL: its last answer had words."""

    __table_args__ = (
        Index("uq_conversations_pair", "bridge_number", "phone", unique=True),
        Index("ix_conversations_phone", "phone"),
        Index("ix_conversations_changed_at", "changed_at", "id"),
        _on_postgresql("ix_conversations_backwards", BACKWARDS),
        NEVER_AGAIN,
    )


def _partial(name: str, *columns: Any, where: Any, unique: bool = False) -> Index:
    """Make an index over the few rows that still need work. It stays small as history grows."""
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


_partial("ix_conversations_turn_due_at", Conversation.turn_due_at, where=Conversation.turn_due_at.is_not(None))
_partial("ix_conversations_turn_leased_by", Conversation.turn_leased_by, where=Conversation.turn_leased_by.is_not(None))
_partial(
    "ix_conversations_delivery_due_at", Conversation.delivery_due_at, where=Conversation.delivery_due_at.is_not(None)
)
_partial("ix_conversations_holder", Conversation.holder_since, where=Conversation.holder != Holder.AGENT)
_partial(
    "ix_conversations_held",
    Conversation.holder,
    Conversation.changed_at,
    Conversation.id,
    where=Conversation.holder != Holder.AGENT,
)
_partial("ix_conversations_holder_until", Conversation.holder_until, where=Conversation.holder_until.is_not(None))
_partial("ix_conversations_agent_note_at", Conversation.agent_note_at, where=Conversation.agent_note_at.is_not(None))
_partial("ix_conversations_silent", Conversation.silent_since, where=Conversation.silent_since.is_not(None))
_partial(
    "ix_conversations_delivery_leased_by",
    Conversation.delivery_leased_by,
    where=Conversation.delivery_leased_by.is_not(None),
)


class Chat(Base):
    """A session at the agent's provider."""

    __tablename__ = "chats"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    provider: Mapped[str] = mapped_column(String(16))
    provider_chat_id: Mapped[str] = mapped_column(String(255))
    agent_id: Mapped[str] = mapped_column(String(255), server_default="")
    """The provider's agent that it was opened with."""
    status: Mapped[ChatStatus] = mapped_column(_enum(ChatStatus))
    started_at: Mapped[datetime]
    last_activity_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(64))
    due_at: Mapped[datetime | None]
    """When to end the chat at the provider, or to try that again."""

    user_items: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many of the person's messages the chat holds, as far as known."""
    last_item_id: Mapped[str | None] = mapped_column(String(255))
    """The id of the newest known item. If the provider has no ids: the mark of ``providers.agents.transcript``."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often the provider has failed in this chat since its last answer, while it served others."""

    analyzed_at: Mapped[datetime | None]
    """When the provider reported its analysis: the next four columns. NULL: it has not."""
    summary: Mapped[str | None] = mapped_column(SealedText)
    sentiment: Mapped[str | None] = mapped_column(String(32))
    successful: Mapped[bool | None]
    cost: Mapped[float | None]
    """In cents."""


Index("ix_chats_conversation_id", Chat.conversation_id)
Index("uq_chats_provider_chat_id", Chat.provider, Chat.provider_chat_id, unique=True)
_partial("uq_chats_ongoing", Chat.conversation_id, where=Chat.status == ChatStatus.ONGOING, unique=True)
_partial("ix_chats_idle", Chat.last_activity_at, where=Chat.status == ChatStatus.ONGOING)
_partial("ix_chats_ended_at", Chat.ended_at, where=Chat.ended_at.is_not(None))
_partial("ix_chats_due_at", Chat.due_at, where=Chat.due_at.is_not(None))


class Turn(Base):
    """The text that the agent gets in one request: one message, or several that waited, joined by newlines."""

    __tablename__ = "turns"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    chat_id: Mapped[int | None] = mapped_column(ForeignKey("chats.id"))
    status: Mapped[TurnStatus] = mapped_column(_enum(TurnStatus))
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """After this moment the turn is given up."""
    asked_at: Mapped[datetime | None]
    """When the agent was last asked; NULL: never."""
    chat_requested_at: Mapped[datetime | None]
    """When a new chat was last requested for it, if the provider may have opened one that is not stored; else NULL."""
    response_received: Mapped[bool] = mapped_column(server_default=false())
    """The provider has answered the last request with an error: nothing of it is on its way any more."""
    items_at_last_check: Mapped[int | None] = mapped_column(Integer)
    """How many items the chat had at the last check: an answer is complete once it has stopped growing."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often the provider has failed at this turn while it served others. See ``bridge.turns.poison``."""
    failed_at: Mapped[datetime | None]
    """When the provider last failed at this turn, whether it served others or not."""
    settled_at: Mapped[datetime | None]
    error: Mapped[str | None]
    """Why the last attempt failed, in words that are safe to show."""
    instruction: Mapped[dict[str, Any] | None] = mapped_column(SealedWishes)
    """The operator's wishes, as in its message; NULL: the texts are the person's."""
    draft: Mapped[bool] = mapped_column(server_default=false())
    """Its answer is not sent. It becomes a draft, because a person has got the conversation or wants it so."""
    reopened: Mapped[bool] = mapped_column(server_default=false())
    """An operator wants it asked again, also if its chat has received it. It has not been asked since."""
    dismissed_at: Mapped[datetime | None]
    """When an operator took it off the list of failures."""
    steps: Mapped[dict[str, Any] | None] = mapped_column(SealedJson, deferred=True)
    """Tools that the agent has called, and moves in its flow: personal, and only for operators. NULL: there are none.
    See ``bridge.chats.steps``."""


Index("ix_turns_chat_id", Turn.chat_id)
Index("ix_turns_conversation_id", Turn.conversation_id, Turn.created_at)
_partial("uq_turns_open", Turn.conversation_id, where=Turn.status.in_(OPEN_TURN), unique=True)
_partial(
    "ix_turns_given_up",
    Turn.settled_at,
    where=(Turn.status == TurnStatus.GIVEN_UP) & Turn.dismissed_at.is_(None),
)


class Message(Base):
    """One text, in or out. The order of ``id`` within a conversation is the order of its texts."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"))
    """In: the turn that it belongs to. Out: the turn that it answers; NULL: a text of the bridge itself."""
    direction: Mapped[Direction] = mapped_column(_enum(Direction))
    status: Mapped[MessageStatus] = mapped_column(_enum(MessageStatus))
    body: Mapped[str] = mapped_column(SealedText)
    media: Mapped[int] = mapped_column(Integer, server_default="0")
    extras: Mapped[dict[str, str] | None] = mapped_column(SealedJson)
    """In: further fields of the webhook, by the carrier's names. Only operators see them."""
    reacts_to: Mapped[int | None] = mapped_column(ForeignKey("messages.id"))
    """In: the text of ours that it reacts to, if that is known."""
    segments: Mapped[int | None] = mapped_column(Integer)
    """Out: how many segments the carrier bills, by our count."""
    created_at: Mapped[datetime]
    carrier_id: Mapped[str | None] = mapped_column(String(64))
    reference: Mapped[str | None] = mapped_column(String(32))
    """Out: our own name for it, in the address of its status callback."""
    operator: Mapped[str | None] = mapped_column(String(64))
    """The operator who wrote it. NULL: in: the person; out: the agent or the bridge."""
    instruction: Mapped[dict[str, Any] | None] = mapped_column(SealedWishes)
    """In: an operator says this to the agent, and wishes it so; see ``bridge.operators.instructions``."""
    is_opt_out_confirmation: Mapped[bool] = mapped_column(server_default=false())
    """Out: it confirms an opt-out. It is the only text that is sent after one."""

    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    expires_at: Mapped[datetime | None]
    """Out: after this moment the text is given up."""
    not_before: Mapped[datetime | None]
    """Out: its slot in the stream of its sender: it is not sent before. NULL: it has no slot yet."""
    first_attempt_at: Mapped[datetime | None]
    attempted_at: Mapped[datetime | None]
    """The time of the last attempt."""
    response_received: Mapped[bool] = mapped_column(server_default=false())
    """The carrier has answered the last attempt with an error: nothing of it is on its way any more."""
    settled_at: Mapped[datetime | None]
    """Out: when it was sent or given up, or when the carrier reported it as undelivered. In: when it got its last
    state; NULL: it has had that state from the start."""
    delivery: Mapped[Delivery | None] = mapped_column(_enum(Delivery))
    error_code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    duplicate_carrier_id: Mapped[str | None] = mapped_column(String(64))
    """The carrier's id of a second copy, if a callback has shown that there is one."""

    poll_status_at: Mapped[datetime | None]
    """When to ask the carrier for its status; NULL: the status is final, or the bridge asks no more."""
    resend_at: Mapped[datetime | None]
    """When to send it again as a new text, because it was not delivered."""
    resent_as: Mapped[int | None] = mapped_column(ForeignKey("messages.id"))
    """The new text, or the first of several."""
    resends: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many copies of this text failed before it."""
    dismissed_at: Mapped[datetime | None]
    """When an operator took it off the list of failures."""

    __table_args__ = (
        _on_postgresql(
            "ix_messages_words",
            WORDS,
            postgresql_using="gin",
            postgresql_where=text("status NOT IN ('waiting', 'in_turn', 'queued', 'sending')"),
        ),
        NEVER_AGAIN,
    )


WRITTEN_BY_PEOPLE = Message.operator.is_not(None) | (Message.status == MessageStatus.OUTSIDE)
"""Out: a person of the business wrote it, here or with another tool."""

Index("uq_messages_carrier_id", Message.carrier_id, unique=True)
Index("uq_messages_reference", Message.reference, unique=True)
Index("ix_messages_conversation_id", Message.conversation_id, Message.id)
Index("ix_messages_turn_id", Message.turn_id)
_partial("ix_messages_waiting", Message.conversation_id, Message.id, where=Message.status == MessageStatus.WAITING)
_partial("ix_messages_unsent", Message.conversation_id, Message.id, where=Message.status.in_(UNSENT))
_shown = Message.dismissed_at.is_(None)
_partial("ix_messages_given_up", Message.settled_at, where=(Message.status == MessageStatus.GIVEN_UP) & _shown)
_partial("ix_messages_ignored", Message.settled_at, where=(Message.status == MessageStatus.IGNORED) & _shown)
_partial(
    "ix_messages_answered_by_us",
    Message.conversation_id,
    Message.created_at,
    where=Message.status.in_(ANSWERED_BY_US),
)
_partial("ix_messages_not_delivered", Message.settled_at, where=Message.delivery.in_(NOT_DELIVERED) & _shown)
_partial(
    "uq_messages_duplicate_carrier_id",
    Message.duplicate_carrier_id,
    where=Message.duplicate_carrier_id.is_not(None),
    unique=True,
)
_partial("ix_messages_poll_status_at", Message.poll_status_at, where=Message.poll_status_at.is_not(None))
_partial("ix_messages_resend_at", Message.resend_at, where=Message.resend_at.is_not(None))
_partial("ix_messages_reacts_to", Message.reacts_to, where=Message.reacts_to.is_not(None))
_partial("ix_messages_unanswerable", Message.settled_at, where=(Message.status == MessageStatus.UNANSWERABLE) & _shown)
_partial(
    "ix_messages_operator",
    Message.conversation_id,
    Message.id,
    where=WRITTEN_BY_PEOPLE,
)
_partial("uq_messages_resent_as", Message.resent_as, where=Message.resent_as.is_not(None), unique=True)


class Worker(Base):
    """A process that claims work. It writes a heartbeat every few seconds."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    last_heartbeat_at: Mapped[datetime]


class CircuitBreaker(Base):
    """An open circuit: a provider serves none of our messages (a refused account, a bill, an unreachable address).

    Or an agent there does not exist, or a sender has a fault, while the others are served.
    """

    __tablename__ = "circuit_breakers"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    """The provider, or the provider and the agent's id or the sender; see ``bridge.providers.errors.scope_of``."""
    cause: Mapped[str]
    since: Mapped[datetime]
    probe_at: Mapped[datetime]
    """When the next piece of work may probe the circuit."""
    probes: Mapped[int] = mapped_column(Integer, server_default="0")
    from_receipt: Mapped[bool] = mapped_column(server_default=false())
    """The carrier accepts our messages and reports the failure later: an accepted one proves nothing."""
    probe_failed: Mapped[bool] = mapped_column(server_default=false())
    """A message has failed since the last probe."""


class TaskError(Base):
    """Unexpected errors of a task for one row, and how many came in a row. See ``bridge.queues.task_errors``."""

    __tablename__ = "task_errors"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    task: Mapped[str] = mapped_column(String(32))
    row_id: Mapped[int] = mapped_column(BigInteger)
    """The conversation or the chat that the task was called for; 0: a job of the clock."""
    conversation_id: Mapped[int | None] = mapped_column(BigInteger)
    """No foreign key: an error must be recorded even if rows are wrong."""
    error: Mapped[str]
    """The error's type and its place in the code, without its words."""
    times: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime]
    last_at: Mapped[datetime]
    stands_until: Mapped[datetime]
    """If the error does not come again until then, it is over."""

    __table_args__ = (Index("uq_task_errors", "task", "row_id", unique=True),)


class Sender(Base):
    """One of our numbers, or the service that sends for them, and how much it has sent, lately and ever.

    See ``bridge.outbound.rate_limiter``.
    """

    __tablename__ = "senders"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    free_at: Mapped[int] = mapped_column(BigInteger)
    """When all texts with a slot will be sent at the sender's rate, in microseconds since 1970. It is a number, because
    both databases can add to a number in the UPDATE that reads it."""
    paused_until: Mapped[datetime | None]
    """The carrier's queue for this sender is full; nothing is sent before."""
    refusals: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often in a row the queue was full."""
    texts: Mapped[int] = mapped_column(BigInteger, server_default="0")
    segments: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """How much got a slot since the first text. Both counts only grow."""


class AnswerTime(Base):
    """How many answers took so long, in all processes ever. See ``bridge.queues.answer_times``."""

    __tablename__ = "answer_times"

    which: Mapped[str] = mapped_column(String(16), primary_key=True)
    up_to: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """The upper bound in milliseconds; -1: above the last one."""
    texts: Mapped[int] = mapped_column(BigInteger)
    milliseconds: Mapped[int] = mapped_column(BigInteger)
    """Their sum."""


class InboundCursor(Base):
    """How far catch-up has read the carrier's list of the texts to one number."""

    __tablename__ = "inbound_cursors"

    bridge_number: Mapped[str] = mapped_column(String(255), primary_key=True)
    read_until: Mapped[datetime]
    """Every text that the carrier had by this moment of its clock is stored."""


class ReplacedWebhook(Base):
    """The webhook that a number had before ``bridge connect``, for its ``--restore``."""

    __tablename__ = "replaced_webhooks"

    number_sid: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The carrier's id of the number."""
    url: Mapped[str]
    method: Mapped[str] = mapped_column(String(16))
    application_sid: Mapped[str] = mapped_column(String(64))
    replaced_at: Mapped[datetime]


class OptOut(Base):
    """A person who wants no texts any more. The row stays after an opt-in: that moment counts too."""

    __tablename__ = "opt_outs"

    phone: Mapped[str] = mapped_column(String(255), primary_key=True)
    scope: Mapped[str] = mapped_column(String(255), primary_key=True)
    """One of our numbers, or ``*`` for all of them."""
    service: Mapped[str | None] = mapped_column(String(64))
    """The opt-out also covers all numbers of this messaging service."""
    since: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(64))
    ended_at: Mapped[datetime | None]
    """When the person opted in again; refusals of the carrier from before that moment no longer count."""


class Consent(Base):
    """A person has opted out or in. No row is ever changed or deleted. See ``bridge.outbound.consents``."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime]
    """When the person wanted it so."""
    recorded_at: Mapped[datetime]
    phone: Mapped[str] = mapped_column(String(255))
    """The address to which the opt-out belongs: SMS and RCS share one."""
    bridge_number: Mapped[str] = mapped_column(String(255))
    """Our number, to which the person wrote, or which was refused."""
    scope: Mapped[str] = mapped_column(String(255))
    """What it covers, as in ``opt_outs``: one of our numbers, or ``*``."""
    service: Mapped[str | None] = mapped_column(String(64))
    """It also covers all numbers of this messaging service."""
    wants_texts: Mapped[bool]
    channel: Mapped[str] = mapped_column(String(16))
    """``sms``, ``rcs`` or ``whatsapp``."""
    cause: Mapped[str] = mapped_column(String(64))
    words: Mapped[str]
    """The keyword, as the person wrote it; empty: the carrier has told it."""


Index("ix_consents_phone", Consent.phone, Consent.id)
Index("ix_consents_recorded_at", Consent.recorded_at, Consent.id)


class ContactUpdate(Base):
    """A person's newest wish, which the contact at the agent's provider must say. See ``bridge.chats.do_not_call``."""

    __tablename__ = "contact_updates"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    provider: Mapped[str] = mapped_column(String(16))
    phone: Mapped[str] = mapped_column(String(16))
    """The number, without a channel."""
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    """Where the wish came."""
    do_not_call: Mapped[bool]
    wished_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    """Grows with each change that must be written. A worker settles only the version that it has written."""
    due_at: Mapped[datetime | None]
    """When to write it, or to try that again; the end of the lease; NULL: it is written, or given up."""
    leased: Mapped[bool] = mapped_column(server_default=false())
    lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts the claims (a fencing token)."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last attempt failed, in words that are safe to show; NULL: it is written, or was not tried yet."""
    given_up_at: Mapped[datetime | None]


Index("uq_contact_updates_person", ContactUpdate.provider, ContactUpdate.phone, unique=True)
Index("ix_contact_updates_conversation_id", ContactUpdate.conversation_id)
Index("ix_contact_updates_wished_at", ContactUpdate.wished_at)
_partial("ix_contact_updates_due_at", ContactUpdate.due_at, where=ContactUpdate.due_at.is_not(None))
_partial("ix_contact_updates_error", ContactUpdate.wished_at, where=ContactUpdate.error.is_not(None))


class Audit(Base):
    """One deed of an operator. It has no words of a person and no full number. See ``bridge.operators.audit``."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime]
    operator: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    conversation_id: Mapped[int | None] = mapped_column(BigInteger)
    """No foreign key: the row stays when the conversation is erased."""
    subject: Mapped[str] = mapped_column(String(64))
    """What it was done to, such as ``chat 4``."""
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    once: Mapped[str | None] = mapped_column(String(64))
    """A name that only one row may have; NULL: the row may come again."""


Index("ix_audit_conversation_id", Audit.conversation_id, Audit.id)
Index("ix_audit_operator", Audit.operator, Audit.id)
Index("ix_audit_action", Audit.action, Audit.id)
Index("uq_audit_once", Audit.once, unique=True)


class IdempotencyKey(Base):
    """A request of an operator that was carried out, and its answer. See ``bridge.operators.idempotency``."""

    __tablename__ = "idempotency_keys"

    operator: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))
    """A digest of the request. The same key with another request is a mistake."""
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]


Index("ix_idempotency_keys_created_at", IdempotencyKey.created_at)


class HandoffNotice(Base):
    """A person waits for somebody of the team, and the team must be told. See ``bridge.outbound.notices``."""

    __tablename__ = "handoff_notices"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    reason: Mapped[str] = mapped_column(SealedText)
    since: Mapped[datetime]
    """When the person began to wait."""
    due_at: Mapped[datetime | None]
    """When to tell the team, or to try that again; the end of the lease; NULL: done, or given up."""
    lease_token: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts the claims (a fencing token)."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last attempt failed, in words that are safe to show."""
    texted_at: Mapped[datetime | None]
    """When a text to HANDOFF_NUMBER was put into the outbox."""
    told_at: Mapped[datetime | None]
    """When HANDOFF_WEBHOOK has answered that it knows."""
    given_up_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]
    """When an operator took it off the list of failures."""


Index("uq_handoff_notices_once", HandoffNotice.conversation_id, HandoffNotice.since, unique=True)
_partial("ix_handoff_notices_due_at", HandoffNotice.due_at, where=HandoffNotice.due_at.is_not(None))
_partial(
    "ix_handoff_notices_given_up",
    HandoffNotice.given_up_at,
    where=HandoffNotice.given_up_at.is_not(None) & HandoffNotice.dismissed_at.is_(None),
)


class DraftRequest(Base):
    """A draft that an operator has asked for, kept for some minutes. See ``bridge.operators.draft_requests``."""

    __tablename__ = "draft_requests"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    operator: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    begun_at: Mapped[datetime | None]
    """When a worker took it. No other one does then."""
    settled_at: Mapped[datetime | None]
    messages: Mapped[list[dict[str, Any]] | None] = mapped_column(SealedJson)
    """The draft, as it would reach the phone."""
    error: Mapped[str | None]
    """Why there is none, in words that are safe to show."""


Index("ix_draft_requests_created_at", DraftRequest.created_at)


class SentCursor(Base):
    """How far the carrier's list of the texts from one number was read. See ``bridge.maintenance.outside_texts``."""

    __tablename__ = "sent_cursors"

    bridge_number: Mapped[str] = mapped_column(String(255), primary_key=True)
    read_until: Mapped[datetime]
    """Every text that the carrier had by this moment of its clock was compared with ours."""


class Note(Base):
    """What an operator writes about a conversation. Only operators read it."""

    __tablename__ = "notes"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    operator: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    body: Mapped[str] = mapped_column(SealedText)


Index("ix_notes_conversation_id", Note.conversation_id, Note.id)


class Tag(Base):
    """A word by which operators sort conversations."""

    __tablename__ = "tags"

    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)


Index("ix_tags_name", Tag.name, Tag.conversation_id)


class CannedReply(Base):
    """A text that operators have prepared."""

    __tablename__ = "canned_replies"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    """What an operator types after a slash."""
    body: Mapped[str] = mapped_column(SealedText)
    operator: Mapped[str] = mapped_column(String(64))
    """Who has written it last."""
    changed_at: Mapped[datetime]


class ReadMark(Base):
    """How far an operator has read a conversation."""

    __tablename__ = "read_marks"

    operator: Mapped[str] = mapped_column(String(64), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger)
    """The newest message that the operator has seen."""


Index("ix_read_marks_conversation_id", ReadMark.conversation_id)


class ConsoleSession(Base):
    """An operator who is logged in to the console, in one browser."""

    __tablename__ = "console_sessions"

    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A digest of the token in the cookie."""
    operator: Mapped[str] = mapped_column(String(64))
    credential: Mapped[str] = mapped_column(String(64))
    """A digest of the operator's token in the settings: the session ends when that token changes."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    """When it was last used, to within some minutes."""


Index("ix_console_sessions_operator", ConsoleSession.operator)
Index("ix_console_sessions_used_at", ConsoleSession.used_at)


class LoginLimit(Base):
    """Logins to the console that failed from one address."""

    __tablename__ = "login_limits"

    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A digest of the address."""
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime]


Index("ix_login_limits_last_at", LoginLimit.last_at)


class Purged(Base):
    """Up to when old rows were purged. See ``bridge.maintenance.purge_mark``."""

    __tablename__ = "purged"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    before: Mapped[datetime]
    """Rows from before this moment may be gone."""


class Erasure(Base):
    """Something that a provider still has of a person who is forgotten here. See ``bridge.operators.erasures``.

    The row is deleted when it is done.
    """

    __tablename__ = "erasures"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    provider: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    """``chat``, at an agent's provider, or ``text``, at the carrier."""
    remote_id: Mapped[str] = mapped_column(String(255))
    """The provider's id of it."""
    with_media: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    """When to delete it there, or to try that again; the end of the lease; NULL: given up."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last attempt failed, in words that are safe to show."""
    given_up_at: Mapped[datetime | None]


_partial("ix_erasures_due_at", Erasure.due_at, where=Erasure.due_at.is_not(None))
_partial("ix_erasures_given_up", Erasure.given_up_at, where=Erasure.given_up_at.is_not(None))


class ForgottenText(Base):
    """A text of a person who is forgotten. See ``bridge.operators.forgotten``."""

    __tablename__ = "forgotten_texts"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the carrier's id. The id itself can't be found from it."""
    forgotten_at: Mapped[datetime]


Index("ix_forgotten_texts_forgotten_at", ForgottenText.forgotten_at)
