"""The statements of turns, for many at once: what is due, what is known about it, and what is decided about it.

The conversations are locked first, without waiting: a row that another transaction has is left to the caller. Only then
the other tables are read, so a text that arrives meanwhile is seen here or makes its queue due itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bridge.chats.rows import OpenChat
from bridge.db.models import Holder
from bridge.db.sealing import Keyring
from bridge.db.statements import Statement, moment, rows_of, together
from bridge.db.transaction import Transaction
from bridge.lib.phone import RCS, WHATSAPP, without_channel
from bridge.outbound.opt_outs import OUT_OF_THEM
from bridge.providers.agents.transcript import Bookmark
from bridge.queues.conversation_queue import TURNS, Lease, found_by_fetch
from bridge.queues.timing import MAX_CLOCK_SKEW

# -- claim ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DueQueue:
    """A queue of turns that is due, locked."""

    conversation_id: int
    bridge_number: str
    phone: str
    token: int
    """Of the last lease."""
    throttled: bool
    held: bool
    """The agent is not asked."""
    held_until: datetime | None
    """When the agent got the conversation back; texts wait for it since then. ``None``: it has always had it."""
    noted: bool
    """An operator has left a note for the agent."""
    due_at: datetime
    debounced: bool = False
    """It is due because the person has stopped typing."""


@dataclass(frozen=True)
class Text:
    """A text that waits for the agent."""

    id: int
    body: str
    created_at: datetime
    operator: str | None = None
    """Who says it to the agent, if it is not the person."""


@dataclass(frozen=True)
class Snapshot:
    """What the tables have about a queue that is due."""

    queue: DueQueue
    texts: tuple[Text, ...]
    """At most one more than a turn may have."""
    has_open_turn: bool
    has_history: bool
    """The person has had a turn before, or a text of an operator, here or on another channel."""
    recent: int
    """How often the person was answered within the hour, counted up to a limit."""
    circuits: int
    """How many circuits are open."""
    chat: OpenChat | None


@dataclass(frozen=True)
class NewTurn:
    """The decision to begin a turn with these texts."""

    snapshot: Snapshot
    expires_at: datetime


_DUE = Statement(
    f"""
    SELECT c.id, c.bridge_number, c.phone, c.turn_lease_token, c.throttled_at, c.holder, c.holder_since,
        c.agent_note_at, c.turn_due_at, c.turn_debounce_deadline
    FROM conversations c
    WHERE {found_by_fetch(TURNS)}
    ORDER BY c.turn_due_at, c.id LIMIT :most {{lock c}}
    """
)

_FACTS = Statement(
    """
    SELECT queues.n,
        EXISTS (SELECT 1 FROM turns t WHERE t.conversation_id = queues.id AND t.status IN ('waiting', 'asking'))
            AS has_open_turn,
        EXISTS (SELECT 1 FROM conversations p JOIN turns t ON t.conversation_id = p.id
                WHERE p.phone IN (queues.phone, queues.number, queues.rcs, queues.whatsapp))
            OR EXISTS (SELECT 1 FROM conversations p JOIN messages m ON m.conversation_id = p.id
                       WHERE p.phone IN (queues.phone, queues.number, queues.rcs, queues.whatsapp)
                           AND (m.operator IS NOT NULL OR m.status = 'outside')) AS has_history,
        (SELECT count(*) FROM (
            SELECT 1 FROM conversations p JOIN turns t ON t.conversation_id = p.id
            WHERE p.phone = queues.phone AND t.created_at > :since LIMIT :few) AS had) +
        (SELECT count(*) FROM (
            SELECT 1 FROM conversations p JOIN messages m ON m.conversation_id = p.id
            WHERE p.phone = queues.phone AND m.created_at > :since AND m.status IN ('refused', 'keyword')
            LIMIT :few) AS own) AS recent,
        (SELECT count(*) FROM circuit_breakers) AS circuits,
        (SELECT {json_rows}({json_array}(w.id, w.body, w.created_at, w.operator)) FROM (
            SELECT m.id, m.body, m.created_at, m.operator FROM messages m
            WHERE m.conversation_id = queues.id AND m.status = 'waiting'
            ORDER BY m.created_at, m.id LIMIT :texts) AS w) AS texts,
        ch.id AS chat, ch.provider, ch.agent_id, ch.provider_chat_id, ch.user_items, ch.last_item_id, ch.failures
    FROM {queues} LEFT JOIN chats ch ON ch.conversation_id = queues.id AND ch.status = 'ongoing'
    """,
    queues={"id": "bigint", "phone": "text", "number": "text", "rcs": "text", "whatsapp": "text"},
)

# The status is looked at after the look-up by id. A new database would rather go through all ongoing chats.
_USE_CHATS = Statement(
    """
    WITH free AS (
        SELECT ch.id, ch.status FROM {chats} JOIN chats ch ON ch.id = chats.id {lock ch})
    UPDATE chats SET last_activity_at = :now WHERE id IN (SELECT id FROM free WHERE status = 'ongoing') RETURNING id
    """,
    chats={"id": "bigint"},
)

_INSERT_TURNS = Statement(
    """
    INSERT INTO turns (conversation_id, chat_id, status, attempts, created_at, expires_at, asked_at, chat_requested_at)
    SELECT turns.conversation, turns.chat, CASE WHEN turns.chat IS NULL THEN 'waiting' ELSE 'asking' END, 1,
        :now, turns.expires_at, CASE WHEN turns.chat IS NULL THEN NULL ELSE :now END,
        CASE WHEN turns.chat IS NULL THEN :now END
    FROM {turns} WHERE true RETURNING id, conversation_id
    """,
    turns={"conversation": "bigint", "chat": "bigint", "expires_at": "timestamptz"},
)

_TAKE_TEXTS = Statement(
    "UPDATE messages SET turn_id = texts.turn, status = 'in_turn' FROM {texts} WHERE messages.id = texts.id",
    texts={"id": "bigint", "turn": "bigint"},
)

_LEASE = Statement(
    """
    UPDATE conversations SET turn_due_at = :until, turn_lease_token = turn_lease_token + 1, turn_leased_by = :worker,
        turn_debounce_deadline = NULL
    FROM {leases} WHERE conversations.id = leases.id
    """,
    leases={"id": "bigint"},
)

_HAND_OVER = Statement(
    "UPDATE conversations SET turn_notified_at = :now FROM {others} WHERE conversations.id = others.id",
    others={"id": "bigint"},
)


def due(tx: Transaction, most: int) -> list[DueQueue]:
    """Lock the queues that are due and that no worker was told of by their id, the longest due first."""
    return [
        DueQueue(
            conversation_id=row.id,
            bridge_number=row.bridge_number,
            phone=row.phone,
            token=row.turn_lease_token,
            throttled=row.throttled_at is not None,
            held=row.holder != Holder.AGENT,
            held_until=moment(row.holder_since),
            noted=row.agent_note_at is not None,
            due_at=moment(row.turn_due_at) or tx.now,
            debounced=row.turn_debounce_deadline is not None,
        )
        for row in _DUE.run(tx, now=tx.now, most=most)
    ]


def snapshots(tx: Transaction, queues: Sequence[DueQueue], *, texts: int, few: int, since: datetime) -> list[Snapshot]:
    """Return what is known about these, in order. ``texts``, ``few``: how many texts to read, and answers to count."""
    rows = _FACTS.run(tx, queues=[_addresses(each) for each in queues], since=since, few=few, texts=texts)
    return [_snapshot(tx.keyring, queues[row.n], row) for row in sorted(rows, key=lambda row: row.n)]


def use_chats(tx: Transaction, chats: Sequence[OpenChat]) -> set[int]:
    """Lock these chats and mark them as active. Return those that are ongoing, and that nobody else has locked."""
    if not chats:
        return set()
    return {row.id for row in _USE_CHATS.run(tx, chats=[{"id": chat.id} for chat in chats], now=tx.now)}


def begin(tx: Transaction, new: Sequence[NewTurn], worker: str, until: datetime) -> list[int]:
    """Insert these turns, take their texts, and lease their queues until then. Return the ids of the turns."""
    if not new:
        return []
    inserted = [
        {
            "conversation": turn.snapshot.queue.conversation_id,
            "chat": turn.snapshot.chat and turn.snapshot.chat.id,
            "expires_at": turn.expires_at,
        }
        for turn in new
    ]
    ids = {row.conversation_id: row.id for row in _INSERT_TURNS.run(tx, turns=inserted, now=tx.now)}
    turns = [ids[turn.snapshot.queue.conversation_id] for turn in new]
    texts = [{"id": text.id, "turn": id_} for turn, id_ in zip(new, turns, strict=True) for text in turn.snapshot.texts]
    leases = [{"id": turn.snapshot.queue.conversation_id} for turn in new]
    together(tx, _TAKE_TEXTS, _LEASE, texts=texts, leases=leases, until=until, worker=worker)
    return turns


def hand_over(tx: Transaction, queues: Sequence[DueQueue]) -> None:
    """Record that a worker is told of these by their ids."""
    if queues:
        _HAND_OVER.run(tx, others=[{"id": each.conversation_id} for each in queues], now=tx.now)


def lease_of(queue: DueQueue, worker: str) -> Lease:
    """Return the lease that :func:`begin` takes."""
    return Lease(TURNS, queue.conversation_id, queue.token + 1, worker)


def _addresses(queue: DueQueue) -> dict[str, Any]:
    number = without_channel(queue.phone)
    return {
        "id": queue.conversation_id,
        "phone": queue.phone,
        "number": number,
        "rcs": RCS + number,
        "whatsapp": WHATSAPP + number,
    }


def _snapshot(keyring: Keyring, queue: DueQueue, row: Any) -> Snapshot:
    waiting, opened = rows_of(row.texts), keyring.open
    texts = [Text(id_, opened(body), created_at, by) for id_, body, at, by in waiting if (created_at := moment(at))]
    bookmark = Bookmark(row.user_items, row.last_item_id) if row.chat else Bookmark()
    chat = row.chat and OpenChat(row.chat, row.provider, row.agent_id, row.provider_chat_id, bookmark, row.failures)
    return Snapshot(
        queue=queue,
        texts=tuple(texts),
        has_open_turn=bool(row.has_open_turn),
        has_history=bool(row.has_history),
        recent=row.recent,
        circuits=row.circuits,
        chat=chat or None,
    )


# -- open a chat ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewChatRow:
    """A chat that the provider has opened for a turn."""

    lease: Lease
    turn_id: int
    provider: str
    agent_id: str
    provider_chat_id: str
    bookmark: Bookmark


_HELD = Statement(
    """
    SELECT leases.n, c.bridge_number, c.delivery_lease_token, c.delivery_due_at IS NULL AS delivers_nothing
    FROM {leases} JOIN conversations c ON c.id = leases.id
    WHERE c.turn_lease_token = leases.token AND c.turn_leased_by = leases.worker
    ORDER BY c.id {lock c}
    """,
    leases={"id": "bigint", "token": "integer", "worker": "text"},
)

_INSERT_CHATS = Statement(
    """
    INSERT INTO chats (conversation_id, provider, agent_id, provider_chat_id, status, started_at, last_activity_at,
                       user_items, last_item_id)
    SELECT chats.conversation, chats.provider, chats.agent_id, chats.provider_chat_id, 'ongoing', :now, :now,
        chats.user_items, chats.last_item_id
    FROM {chats} WHERE true ON CONFLICT DO NOTHING RETURNING id, conversation_id
    """,
    chats={
        "conversation": "bigint",
        "provider": "text",
        "agent_id": "text",
        "provider_chat_id": "text",
        "user_items": "integer",
        "last_item_id": "text",
    },
)

_ASK = Statement(
    """
    UPDATE turns SET status = 'asking', chat_id = asked.chat, asked_at = :now, response_received = false,
        items_at_last_check = NULL, chat_requested_at = NULL, reopened = false
    FROM {asked} WHERE turns.id = asked.turn
    """,
    asked={"turn": "bigint", "chat": "bigint"},
)


def held(tx: Transaction, leases: Sequence[Lease]) -> dict[int, Any]:
    """Lock the queues of these leases. Return the rows of those that are still held, by position.

    A lease is missing if it is lost, or if another transaction has the row locked.
    """
    asked = [{"id": lease.conversation_id, "token": lease.token, "worker": lease.worker} for lease in leases]
    return {row.n: row for row in _HELD.run(tx, leases=asked)}


def insert_chats(tx: Transaction, chats: Sequence[NewChatRow]) -> list[OpenChat | None]:
    """Insert these chats, and record that their turns are being asked. ``None``: it was not possible."""
    mine = held(tx, [chat.lease for chat in chats])
    rows = [_chat_row(chats[n]) for n in sorted(mine)]
    inserted = _INSERT_CHATS.run(tx, chats=rows, now=tx.now) if rows else ()
    ids = {row.conversation_id: row.id for row in inserted}
    asked = [{"turn": chat.turn_id, "chat": ids.get(chat.lease.conversation_id)} for chat in chats]
    asked = [each for n, each in enumerate(asked) if n in mine and each["chat"]]
    if asked:
        _ASK.run(tx, asked=asked, now=tx.now)
    return [_inserted(chat, ids.get(chat.lease.conversation_id)) if n in mine else None for n, chat in enumerate(chats)]


def _chat_row(chat: NewChatRow) -> dict[str, Any]:
    return {
        "conversation": chat.lease.conversation_id,
        "provider": chat.provider,
        "agent_id": chat.agent_id,
        "provider_chat_id": chat.provider_chat_id,
        "user_items": chat.bookmark.user_items,
        "last_item_id": chat.bookmark.last_item_id,
    }


def _inserted(chat: NewChatRow, id_: int | None) -> OpenChat | None:
    return (id_ and OpenChat(id_, chat.provider, chat.agent_id, chat.provider_chat_id, chat.bookmark)) or None


# -- settle ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlook:
    """What waits in a conversation whose turn is being settled, and what stops its deliveries."""

    bridge_number: str
    delivery_token: int
    """Of the last lease on deliveries."""
    delivers_nothing: bool
    """No delivery is due, waiting or leased."""
    more: bool
    """Another text waits for the agent."""
    opted_out: bool
    circuits: int
    drafts: bool
    """The answer is not sent: a person has the conversation, or had it when the turn was being asked."""


@dataclass(frozen=True)
class OutboundText:
    """One text of an answer."""

    body: str
    segments: int
    reference: str
    not_before: datetime | None = None
    """Its slot, if it has one."""
    sending: bool = False
    """It is handed to the carrier right after the commit."""


@dataclass(frozen=True)
class LeasedText:
    """A text of the outbox that is leased to be sent now."""

    message_id: int
    bridge_number: str
    token: int
    """Of the lease on deliveries."""


@dataclass(frozen=True)
class Settlement:
    """The end of a turn that was answered, and what follows from it."""

    lease: Lease
    turn_id: int
    chat_id: int
    bookmark: Bookmark
    more: bool
    expires_at: datetime
    texts: tuple[OutboundText, ...]
    deliver_at: datetime | None
    """When the deliveries are due; ``None``: there are none."""
    leases_delivery: bool
    """The first text is leased, until ``deliver_at``."""
    steps: dict[str, Any] | None = field(default=None, repr=False)
    """What the agent has done beside writing; see ``bridge.chats.steps``."""


_OUTLOOK = Statement(
    f"""
    SELECT turns.n,
        EXISTS (SELECT 1 FROM messages m WHERE m.conversation_id = c.id AND m.status = 'waiting') AS more,
        EXISTS (SELECT 1 FROM messages m WHERE m.conversation_id = c.id AND m.status IN ('queued', 'sending'))
            AS unsent,
        {OUT_OF_THEM.format(service="c.service", stands="(o.ended_at IS NULL OR o.since >= :now)")} AS opted_out,
        (SELECT count(*) FROM circuit_breakers) AS circuits,
        c.holder <> 'agent' OR EXISTS (
            SELECT 1 FROM turns t WHERE t.conversation_id = c.id AND t.status = 'asking' AND t.draft) AS drafts
    FROM {{turns}} JOIN conversations c ON c.id = turns.id
    """,
    turns={"id": "bigint"},
)

_SETTLED = {
    "id": "bigint",
    "turn": "bigint",
    "chat": "bigint",
    "user_items": "integer",
    "last_item_id": "text",
    "more": "boolean",
    "deliver_at": "timestamptz",
    "leased": "boolean",
    "worker": "text",
}

_CLOSE_TURNS = Statement(
    """
    UPDATE turns SET status = 'answered', settled_at = :now, items_at_last_check = NULL,
        steps = COALESCE(settled.steps, turns.steps)
    FROM {settled} WHERE turns.id = settled.turn
    """,
    settled={**_SETTLED, "steps": "json"},
)

_CLOSE_TEXTS = Statement(
    """
    UPDATE messages SET status = 'answered', settled_at = :now
    FROM {settled} WHERE messages.turn_id = settled.turn AND messages.direction = 'in'
    """,
    settled=_SETTLED,
)

_ADVANCE_CHATS = Statement(
    """
    UPDATE chats SET last_activity_at = :now, failures = 0, user_items = settled.user_items,
        last_item_id = settled.last_item_id
    FROM {settled} WHERE chats.id = settled.chat
    """,
    settled=_SETTLED,
)

_END_LEASES = Statement(
    """
    UPDATE conversations SET
        turn_leased_by = NULL,
        changed_at = :now,
        silent_turns = 0,
        silent_since = NULL,
        turn_due_at = CASE WHEN settled.more THEN :due END,
        turn_notified_at = CASE WHEN settled.more THEN NULL ELSE turn_notified_at END,
        delivery_notified_at = CASE WHEN delivery_due_at IS NULL THEN NULL ELSE delivery_notified_at END,
        delivery_due_at = CASE WHEN settled.leased THEN settled.deliver_at
                               ELSE COALESCE(delivery_due_at, settled.deliver_at) END,
        delivery_lease_token = delivery_lease_token + CASE WHEN settled.leased THEN 1 ELSE 0 END,
        delivery_leased_by = CASE WHEN settled.leased THEN settled.worker ELSE delivery_leased_by END
    FROM {settled} WHERE conversations.id = settled.id
    """,
    settled=_SETTLED,
)

_INSERT_TEXTS = Statement(
    """
    INSERT INTO messages (conversation_id, turn_id, direction, status, body, segments, created_at, expires_at,
                          reference, not_before, attempts, first_attempt_at, attempted_at)
    SELECT texts.conversation, texts.turn, 'out', CASE WHEN texts.sending THEN 'sending' ELSE 'queued' END, texts.body,
        texts.segments, :now, texts.expires_at, texts.reference, texts.not_before,
        CASE WHEN texts.sending THEN 1 ELSE 0 END,
        CASE WHEN texts.sending THEN :now END, CASE WHEN texts.sending THEN :now END
    FROM {texts} WHERE true ORDER BY texts.n RETURNING id, reference
    """,
    texts={
        "conversation": "bigint",
        "turn": "bigint",
        "body": "text",
        "segments": "integer",
        "expires_at": "timestamptz",
        "reference": "text",
        "not_before": "timestamptz",
        "sending": "boolean",
    },
)


_FIND_LEASED = Statement(
    """
    SELECT m.id, c.bridge_number, c.delivery_lease_token
    FROM messages m JOIN conversations c ON c.id = m.conversation_id
    WHERE m.reference = :reference AND m.status = 'sending' AND c.delivery_leased_by = :worker
    """
)


def find_leased(tx: Transaction, lease: Lease, references: Sequence[str]) -> LeasedText | None:
    """Return the text of this reference if this worker has it leased to be sent."""
    for reference in references:
        for row in _FIND_LEASED.run(tx, reference=reference, worker=lease.worker):
            return LeasedText(row.id, row.bridge_number, row.delivery_lease_token)
    return None


def outlooks(tx: Transaction, leases: Sequence[Lease]) -> dict[int, Outlook]:
    """Lock the queues of these leases. Return what follows in those that are still held, by position."""
    mine = held(tx, leases)
    if not mine:
        return {}
    places = sorted(mine)
    asked = [{"id": leases[n].conversation_id} for n in places]
    found = {places[row.n]: row for row in _OUTLOOK.run(tx, turns=asked, now=tx.now)}
    return {n: _outlook(mine[n], row) for n, row in found.items()}


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> dict[str, int]:
    """Write these. Return the ids of the texts in the outbox, by their references."""
    keyring = tx.keyring
    settled = [_settled(keyring, each) for each in settlements]
    texts = [_text_row(keyring, each, text) for each in settlements for text in each.texts]
    ends = (_CLOSE_TURNS, _CLOSE_TEXTS, _ADVANCE_CHATS, _END_LEASES)
    values: dict[str, Any] = {"settled": settled, "now": tx.now, "due": tx.now - MAX_CLOCK_SKEW}
    if not texts:
        together(tx, *ends, **values)
        return {}
    return {row.reference: row.id for row in together(tx, *ends, _INSERT_TEXTS, texts=texts, **values)}


def _outlook(queue: Any, row: Any) -> Outlook:
    return Outlook(
        bridge_number=queue.bridge_number,
        delivery_token=queue.delivery_lease_token,
        delivers_nothing=bool(queue.delivers_nothing) and not row.unsent,
        more=bool(row.more),
        opted_out=bool(row.opted_out),
        circuits=row.circuits,
        drafts=bool(row.drafts),
    )


def _settled(keyring: Keyring, each: Settlement) -> dict[str, Any]:
    return {
        "id": each.lease.conversation_id,
        "turn": each.turn_id,
        "chat": each.chat_id,
        "user_items": each.bookmark.user_items,
        "last_item_id": each.bookmark.last_item_id,
        "more": each.more,
        "deliver_at": each.deliver_at,
        "leased": each.leases_delivery,
        "worker": each.lease.worker,
        "steps": keyring.seal_json(each.steps),
    }


def _text_row(keyring: Keyring, each: Settlement, text: OutboundText) -> dict[str, Any]:
    return {
        "conversation": each.lease.conversation_id,
        "turn": each.turn_id,
        "body": keyring.seal(text.body),
        "segments": text.segments,
        "expires_at": each.expires_at,
        "reference": text.reference,
        "not_before": text.not_before,
        "sending": text.sending,
    }
