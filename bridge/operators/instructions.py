"""What an operator says to the agent: it goes through the conversation's queue, as a turn of its own.

    ask      in the chat that is open when its turn comes, or in a new one
    start    the agent speaks first: a new chat is opened, and its greeting is the answer, or the answer to ``content``

The turn is there at once, as ``QUEUED``, so that its id can be asked for. It waits behind what the person has written
before, counts for none of their limits, and is given up after ANSWER_WITHIN without a word to the person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from bridge.chats import rows
from bridge.chats.instruction import Instruction
from bridge.config import Settings
from bridge.db.models import Chat, Conversation, Direction, Holder, Message, MessageStatus, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.operators import audit, idempotency, texts
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import HolderNow, has, holder_now, lock
from bridge.operators.idempotency import Asked
from bridge.operators.texts import OptedOut, Pair, Unfit, must_have_words
from bridge.outbound import opt_outs
from bridge.providers.agents.opening import OURS
from bridge.queues.conversation_queue import TURNS, enqueue, make_due
from bridge.runtime import Runtime

MOST_BYTES = 8192
"""Of all names and values of an operator's variables, in UTF-8."""

TOO_MUCH = f"has more than {MOST_BYTES} bytes of names and values"
RESERVED = "has a name that the bridge sets itself: {}"
NAME_ONE = "is needed: this person has no conversation, and TWILIO_NUMBERS does not have just one number"

ACTIVE = (
    "This person has a chat with the agent that is active. Send `new_chat: true` to begin another one, "
    "or say something in that chat with POST /admin/conversations/{id}/turns."
)
PROVIDER_S_HUMAN = "A human at the agent's provider has this chat. Answer there, and hand it back or end it."
TEAM_IS_WANTED = "The person waits for somebody of the team. Take the conversation over first."
SOMEBODY_ELSE = "Somebody answers this person with another tool, so the agent keeps still."
A_PERSON = "{} has this conversation. Hand it back first, or have a draft written with `send: false`."


class NotNow(BridgeError):
    """The agent can't be asked as things are. The words are for the operator.

    ``holder``: who has the conversation, if that is why.
    """

    def __init__(self, why: str, holder: HolderNow | None = None) -> None:
        super().__init__(why)
        self.holder = holder


@dataclass(frozen=True)
class Start:
    """How the agent begins."""

    content: str = ""
    """What it is asked first. Empty: its greeting is sent."""
    variables: Mapping[str, str] = field(default_factory=dict)
    new_chat: bool = False
    """A chat that is active is left."""


@dataclass(frozen=True)
class Told:
    """A turn that waits for the agent, and its text."""

    id: int
    conversation_id: int
    turn_id: int


def ask(rt: Runtime, asked: Asked, conversation_id: int, content: str, *, send: bool = True) -> Told:
    """Say this to the agent. Raise :class:`Unfit`, :class:`NotNow`, and the errors of ``texts.write_in``."""
    must_have_words("content", content)
    with rt.database.transaction() as tx:
        if known := idempotency.begin(tx, asked):
            return Told(**known)
        pair = _locked(tx, conversation_id)
        _must_listen(pair, asked.operator, send=send)
        told = _queue(rt, tx, pair, _Wish(asked.operator, content, Instruction(send=send)))
        details = {"message": told.id, "send": send}
        audit.write(tx, Entry(asked.operator, Action.ASK_AGENT, f"turn {told.turn_id}", conversation_id, details))
        idempotency.end(tx, asked, vars(told))
        return told


def start(rt: Runtime, asked: Asked, pair: Pair, wish: Start) -> Told:
    """Let the agent speak first. Raise :class:`Unfit`, :class:`NotNow`, ``OptedOut`` or ``KeyReused``."""
    texts.check(rt.settings, pair)
    _check(wish)
    with rt.database.transaction() as tx:
        if known := idempotency.begin(tx, asked):
            return Told(**known)
        row = _locked(tx, texts.opened(tx, pair))
        _must_listen(row, asked.operator, send=True)
        if not wish.new_chat and _is_active(rt, tx, row.id):
            raise NotNow(ACTIVE.format(id=row.id))
        instruction = Instruction(start=True, variables=wish.variables)
        told = _queue(rt, tx, row, _Wish(asked.operator, wish.content, instruction))
        details = {"message": told.id, "variables": len(wish.variables)}
        audit.write(tx, Entry(asked.operator, Action.START_AGENT, f"turn {told.turn_id}", row.id, details))
        idempotency.end(tx, asked, vars(told))
        return told


def number_for(rt: Runtime, phone: str) -> str:
    """Return the number of ours that writes to this person, if the operator names none. Raise :class:`Unfit`.

    It is that of the person's last conversation, or else the only one.
    """
    newest = select(Conversation.bridge_number).where(Conversation.phone == phone)
    with rt.database.read() as session:
        known = session.scalar(newest.order_by(Conversation.changed_at.desc(), Conversation.id.desc()).limit(1))
    number = known or _only(rt.settings)
    if number is None:
        raise Unfit("from", NAME_ONE)
    return number


def _only(settings: Settings) -> str | None:
    numbers = settings.twilio_numbers
    return numbers[0] if len(numbers) == 1 else None


def _check(wish: Start) -> None:
    if wish.content:
        must_have_words("content", wish.content)
    if reserved := sorted(OURS & wish.variables.keys()):
        raise Unfit("dynamic_variables", RESERVED.format(", ".join(reserved)))
    if sum(len(name.encode()) + len(value.encode()) for name, value in wish.variables.items()) > MOST_BYTES:
        raise Unfit("dynamic_variables", TOO_MUCH)


def _locked(tx: Transaction, conversation_id: int) -> Conversation:
    """Return the conversation, locked. Raise :class:`UnknownConversation`, or :class:`OptedOut`."""
    pair = lock(tx, conversation_id)
    if opt_outs.has_opted_out(tx, conversation_id):
        raise OptedOut
    return pair


def _must_listen(pair: Conversation, operator: str, *, send: bool) -> None:
    """Raise :class:`NotNow` unless the agent has the conversation. For a draft, this operator may have it."""
    if pair.holder is Holder.AGENT or (has(pair, operator) and not send):
        return
    waiting = PROVIDER_S_HUMAN if pair.holder_name else TEAM_IS_WANTED
    why = {Holder.WAITING: waiting, Holder.OUTSIDE: SOMEBODY_ELSE, Holder.PERSON: A_PERSON.format(pair.holder_name)}
    raise NotNow(why[pair.holder], holder_now(pair))


def _is_active(rt: Runtime, tx: Transaction, conversation_id: int) -> bool:
    """Return whether an open chat is not stale. Without STALE_AFTER, no chat is stale by itself."""
    last = tx.session.scalar(select(Chat.last_activity_at).where(rows.ongoing(conversation_id)))
    stale_after = rt.settings.stale_after
    return last is not None and (stale_after is None or last > tx.now - stale_after)


@dataclass(frozen=True)
class _Wish:
    """What an operator says, and how."""

    operator: str
    content: str
    instruction: Instruction


def _queue(rt: Runtime, tx: Transaction, pair: Conversation, wish: _Wish) -> Told:
    """Put it behind all that waits for the agent."""
    instruction = wish.instruction.as_row()
    turn = Turn(
        conversation_id=pair.id,
        status=TurnStatus.QUEUED,
        created_at=tx.now,
        expires_at=tx.now + rt.settings.answer_within,
        instruction=instruction,
    )
    tx.session.add(turn)
    tx.session.flush()
    text = Message(
        conversation_id=pair.id,
        turn_id=turn.id,
        direction=Direction.IN,
        status=MessageStatus.WAITING,
        body=wish.content,
        created_at=tx.now,
        operator=wish.operator,
        instruction=instruction,
    )
    tx.session.add(text)
    tx.session.flush()
    # The queue may pause for a limit of the person, which is not the operator's.
    (make_due if pair.throttled_at else enqueue)(tx, TURNS, pair.id)
    return Told(text.id, pair.id, turn.id)
