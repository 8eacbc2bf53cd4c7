"""The models of conversations: the list, one with its texts, notes, tags, canned replies and read marks."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from bridge.chats.steps import StepKind
from bridge.db.models import ChatStatus, Direction, Holder, MessageStatus
from bridge.providers.carriers.contract import Delivery
from bridge.web.models import FILLED, NAME, Cursor, Id, Phone, RequestModel, ResponseModel, digits
from bridge.web.operator_models import AuditEntry, Body
from bridge.web.queries.texts import Author

MOST_LISTED = 200
"""Conversations, or texts of one, in one answer: each of them needs some queries of its own."""

PageLimit = Annotated[int, Field(ge=1, le=MOST_LISTED), digits]

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Kinds of characters that a name may not have: they change what is before and after them."""


def _visible(name: str) -> str:
    """Return the name in its usual form. Refuse characters that nobody sees."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name or any(unicodedata.category(character) in _INVISIBLE for character in name):
        raise ValueError("must be visible characters")
    return name


def _words(text: str) -> str:
    if not re.search(r"\w", text):
        raise ValueError("must have a word")
    return text


TagName = Annotated[str, StringConstraints(min_length=1, max_length=40), AfterValidator(_visible)]
ReplyName = Annotated[str, StringConstraints(pattern=NAME)]
Words = Annotated[str, StringConstraints(pattern=FILLED, min_length=1, max_length=200), AfterValidator(_words)]


def _in_range(at: datetime) -> datetime:
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError("must be from 2000 to 2200")
    return at


def _offset(words: object) -> object:
    """Restore a plus sign that was not escaped and became a blank."""
    return re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", words) if isinstance(words, str) else words


_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
Moment = Annotated[AwareDatetime, BeforeValidator(_offset), AfterValidator(_in_range)]


class ConversationsQuery(RequestModel):
    holder: Holder | None = Field(None, strict=False, description="who answers the person")
    phone: Phone | None = Field(
        None, description="the person's number with + (write it as %2B), or four and more of its last digits"
    )
    q: Words | None = Field(None, description="words that a text has, all of them; the newest hit comes first")
    tag: TagName | None = None
    limit: PageLimit = 50
    cursor: Cursor | None = Field(None, description="`next` of the page before")


class ConversationQuery(RequestModel):
    limit: PageLimit = Field(50, description="the most texts")
    cursor: Cursor | None = Field(None, description="`earlier` of the page after")


class NewNote(RequestModel):
    body: Body = Field(description="only operators read it")


class NewReply(RequestModel):
    body: Body


class Seen(RequestModel):
    message_id: Id = Field(description="the newest text that the operator has seen")


class HolderState(ResponseModel):
    kind: Holder
    name: str | None = Field(description="the operator, or the provider whose human has the chat")
    since: datetime | None
    reason: str | None
    until: datetime | None


class Conversation(ResponseModel):
    id: int
    phone: str
    bridge_number: str
    holder: HolderState
    changed_at: datetime = Field(description="when something happened in it")
    last_text_at: datetime | None
    preview: str | None = Field(description="the beginning of the newest text; of a search, the text that was found")
    unread: int = Field(description="the person's texts since this operator has read it, counted up to 100")
    opted_out: bool
    tags: list[str]


class Conversations(ResponseModel):
    conversations: list[Conversation]
    next: str | None = Field(description="the cursor of the next page; null on the last one")
    searched: str | None = Field(description="how far the search by words went; null: through all texts")


class TextReaction(ResponseModel):
    id: int
    body: str
    created_at: datetime


class AgentStep(ResponseModel):
    kind: StepKind
    name: str = Field(description="the tool; of a transition: where in its flow the agent goes on")
    origin: str | None = Field(description="of a transition: where the agent was")
    arguments: str | None = Field(description="of a tool call, as the provider writes them: mostly JSON")
    arguments_cut: int = Field(description="how many more characters they had; they are not stored")
    result: str | None = Field(description="of a tool call; null: the provider has shown none")
    result_cut: int = Field(description="how many more characters it had; they are not stored")
    successful: bool | None = Field(description="of a tool call; null: the provider does not tell")


class ConversationText(ResponseModel):
    id: int
    direction: Direction
    author: Author = Field(description="who wrote it")
    operator: str | None = Field(description="the operator who wrote it")
    status: MessageStatus
    body: str
    media: int = Field(description="the number of pictures or files with it")
    segments: int | None = Field(description="the number that the carrier bills, by our count")
    created_at: datetime
    attempted_at: datetime | None = Field(description="when it was last sent")
    settled_at: datetime | None = Field(description="when it got its last state; null: it has had it from the start")
    turn_id: int | None
    chat_id: int | None = Field(description="our id of the chat that it belongs to")
    carrier_id: str | None
    delivery: Delivery | None = Field(description="how far the carrier has brought it")
    error_code: int | None = Field(description="the carrier's")
    error: str | None
    meaning: str | None = Field(description="what the code means, and how to fix it")
    resend_at: datetime | None = Field(description="when the bridge sends it again")
    resent_as: int | None = Field(description="the text that replaces it")
    extras: dict[str, str] | None = Field(description="other facts from the carrier, under its names")
    reactions: list[TextReaction] = Field(description="the person's reactions to it, such as a like or a heart")
    unanswered_because: str | None = Field(description="why it has no answer, or was not sent, and what helps")
    steps: list[AgentStep] = Field(
        description="the tools that the agent has called, and its moves from place to place in its flow, in order. "
        "They are at the last text of a turn, and were never sent to the person"
    )
    steps_left_out: int = Field(description="how many more there were; they are not stored")


class ChatAnalysis(ResponseModel):
    analyzed_at: datetime
    summary: str | None
    sentiment: str | None
    successful: bool | None
    cost: float | None = Field(description="in cents")


class ConversationChat(ResponseModel):
    id: int
    provider: str
    chat_id: str = Field(description="the provider's own id of it")
    status: ChatStatus
    started_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    analysis: ChatAnalysis | None


class Note(ResponseModel):
    id: int
    operator: str
    created_at: datetime
    body: str


class WholeConversation(Conversation):
    messages: list[ConversationText] = Field(description="one page of texts, the oldest first; the newest page first")
    earlier: str | None = Field(description="the cursor of the page before; null: there is none")
    chats: list[ConversationChat] = Field(description="the newest first")
    notes: list[Note]
    unanswered_because: str | None = Field(description="why the newest text has no answer, and what helps")


class ConversationExport(ResponseModel):
    exported_at: datetime
    conversation: Conversation
    chats: list[ConversationChat]
    notes: list[Note]
    audit: list[AuditEntry] = Field(description="what operators have done here, the newest first")
    messages: list[ConversationText] = Field(description="all texts, the oldest first")


class PeriodQuery(RequestModel):
    since: Moment = Field(strict=False, description="the beginning, with a time zone; write + as %2B")
    until: Moment | None = Field(None, strict=False, description="the end; default: now")


class Tags(ResponseModel):
    tags: list[str]


class CannedReply(ResponseModel):
    name: str = Field(description="what an operator types after a slash")
    body: str
    operator: str = Field(description="who has written it last")
    changed_at: datetime


class CannedReplies(ResponseModel):
    canned_replies: list[CannedReply]


class ReadMark(ResponseModel):
    message_id: int = Field(description="the newest text that the operator has seen; 0: none")


def whole(found: Any) -> WholeConversation:
    """Return the model of one conversation."""
    chats = [{**vars(each.chat), "analysis": each.analysis} for each in found.chats]
    return WholeConversation.model_validate({**vars(found.conversation), **vars(found), "chats": chats})
