"""The models of each tool's arguments. The schema of its input is made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_BODY = 16_000
"""Characters of a text, as in the admin API."""

LONGEST_WAIT = 55
"""Seconds. Many clients give a tool up after a minute."""

MAX_IDLE = 10 * 366 * 24 * 3600
"""Seconds, as in the admin API: ten years."""

KEY = r"^[!-~]([ -~]*[!-~])?$"

WANTED = {KEY: "must be visible ASCII characters, with blanks only between them"}
"""The meaning of each pattern. The pattern itself is of no help."""

EXAMPLE_PHONE = "+15551230001"
EXAMPLE_CHAT = "chat_3040a90969f44c13902d53a104e5ee7b"

RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
AnyChatId = RowId | Annotated[str, Field(min_length=1, max_length=255)]
ConversationId = Annotated[
    RowId, Field(title="Conversation", description="`id` of a conversation in list_conversations", examples=[12])
]
ChatId = Annotated[
    AnyChatId,
    Field(
        title="Chat",
        description="A number: the bridge's `id` of a chat, in `chats` of get_conversation. A string: the id that the "
        "agent's provider has for it (`chat_id` at Retell).",
        examples=[7, EXAMPLE_CHAT],
    ),
]
TurnId = Annotated[
    RowId,
    Field(title="Turn", description="`turn_id` of send_to_agent, or one of the `turns` of retry_failure", examples=[7]),
]
Cursor = Annotated[
    str | None,
    Field(title="Cursor", description="`next` of the page before; leave it out for the first page", examples=["WzRd"]),
]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        pattern=KEY,
        title="Idempotency key",
        description="Make up a new one for each message. Repeat a call whose answer you did not get with the same key "
        "and the same arguments: within a day nothing is sent twice.",
        examples=["offer-table-8-2026-11-29"],
    ),
]
Body = Annotated[str, Field(min_length=1, max_length=MOST_BODY)]


class Input(BaseModel):
    """The arguments of a tool. Unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _examples(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


def _one_of(asked: Input, *names: str) -> None:
    if sum(getattr(asked, name) is not None for name in names) != 1:
        raise ValueError(f"give exactly one of {' and '.join(names)}")


class ListConversations(Input):
    model_config = _examples({"holder": "waiting"}, {"phone": "0001"}, {"q": "table friday", "limit": 5})

    holder: Literal["agent", "waiting", "person", "outside"] | None = Field(
        None,
        title="Holder",
        description="Who answers the person: the `agent`; nobody yet, it is `waiting` for the team; a `person` of the "
        "team; or somebody `outside` the bridge with another tool. Leave it out for all.",
        examples=["waiting"],
    )
    phone: str | None = Field(
        None,
        title="Phone",
        description="The person's number with + and country code, or four and more of its last digits.",
        examples=[EXAMPLE_PHONE, "0001"],
    )
    q: str | None = Field(
        None,
        title="Words",
        description="Words that one text has, all of them and whole. The newest hit comes first.",
        examples=["table friday"],
    )
    tag: str | None = Field(None, title="Tag", description="Only conversations with this tag.", examples=["vip"])
    limit: int = Field(
        20, ge=1, le=200, title="Limit", description="The most conversations in one answer.", examples=[20]
    )
    cursor: Cursor = None


class GetConversation(Input):
    model_config = _examples({"conversation_id": 12}, {"conversation_id": 12, "limit": 100})

    conversation_id: ConversationId
    limit: int = Field(30, ge=1, le=200, title="Limit", description="The most texts in one answer.", examples=[30])
    cursor: str | None = Field(
        None,
        title="Cursor",
        description="`earlier` of the page after; leave it out for the newest texts.",
        examples=["WzE1XQ"],
    )


class SendToAgent(Input):
    model_config = _examples(
        {"conversation_id": 12, "content": "Offer her the table at 8.", "idempotency_key": "offer-table-8"},
        {
            "chat_id": EXAMPLE_CHAT,
            "content": "What do you know of this person?",
            "send": False,
            "idempotency_key": "k2",
        },
    )

    conversation_id: RowId | None = Field(
        None,
        title="Conversation",
        description="`id` of a conversation in list_conversations. The message goes to its open chat, or to a new one. "
        "Give this or chat_id.",
        examples=[12],
    )
    chat_id: AnyChatId | None = Field(
        None,
        title="Chat",
        description="Only if this chat is still open. A number: the bridge's `id` of a chat, in `chats` of "
        "get_conversation. A string: the id that the agent's provider has for it (`chat_id` at Retell). Give this or "
        "conversation_id.",
        examples=[EXAMPLE_CHAT, 7],
    )
    content: Body = Field(
        title="Content",
        description="What the agent reads, as the next message of the user in its chat. The person does not read it.",
        examples=["Offer her the table at 8."],
    )
    send: bool = Field(
        True,
        title="Send",
        description="true: the agent's answer is sent to the person as a text. false: nothing is sent; the answer is "
        "kept as a draft and returned.",
        examples=[False],
    )
    idempotency_key: Key
    wait_seconds: int = Field(
        25,
        ge=0,
        le=LONGEST_WAIT,
        title="Wait",
        description="How long to wait for the answer, in seconds. After that get_answer goes on waiting.",
        examples=[25],
    )

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        _one_of(self, "conversation_id", "chat_id")
        return self


class GetAnswer(Input):
    model_config = _examples({"turn_id": 7}, {"turn_id": 7, "wait_seconds": 50})

    turn_id: TurnId
    wait_seconds: int = Field(
        0,
        ge=0,
        le=LONGEST_WAIT,
        title="Wait",
        description="How long to wait for the end of the turn, in seconds. 0 only reads it.",
        examples=[50],
    )


class SendText(Input):
    model_config = _examples(
        {"conversation_id": 12, "body": "Your table is ready.", "idempotency_key": "ready-12"},
        {"to": EXAMPLE_PHONE, "from": "+15550001111", "body": "Your table is ready.", "idempotency_key": "ready-13"},
    )

    conversation_id: RowId | None = Field(
        None,
        title="Conversation",
        description="`id` of a conversation in list_conversations. Give this, or `to` and `from`.",
        examples=[12],
    )
    to: str | None = Field(
        None,
        title="To",
        description="The number of a new or known person, with + and country code; with `whatsapp:` or `rcs:` before "
        "it on these channels. Needs `from`.",
        examples=[EXAMPLE_PHONE],
    )
    sender: str | None = Field(
        None,
        alias="from",
        title="From",
        description="The number of the bridge that writes, on the same channel: `bridge_number` of a conversation.",
        examples=["+15550001111"],
    )
    body: Body = Field(
        title="Body",
        description="The text, sent as it is written. A text of up to 160 characters is one segment, a longer one has "
        "a segment for each 153 begun. With an emoji, a dash (–), a curly quote or any other letter outside GSM-7 it "
        "is 70 and 67. WhatsApp and RCS have no segments.",
        examples=["Your table is ready. – Ana"],
    )
    idempotency_key: Key

    @model_validator(mode="after")
    def _says_to_whom(self) -> Self:
        _one_of(self, "conversation_id", "to")
        if (self.to is None) != (self.sender is None):
            raise ValueError("to and from belong together")
        return self


class TakeOver(Input):
    model_config = _examples({"conversation_id": 12}, {"conversation_id": 12, "force": True})

    conversation_id: ConversationId
    force: bool = Field(
        False,
        title="Force",
        description="true: take it from another operator too. Ask that person first.",
        examples=[False],
    )


class HandBack(Input):
    model_config = _examples({"conversation_id": 12, "note": "She gets the corner table.", "answer": True})

    conversation_id: ConversationId
    note: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        title="Note",
        description="A sentence for the agent on what your team has agreed with the person.",
        examples=["She gets the corner table."],
    )
    answer: bool = Field(
        False,
        title="Answer",
        description="true: the agent answers the texts that came meanwhile. false: they count as answered, and the "
        "agent waits for the next one.",
        examples=[True],
    )


class EndChat(Input):
    model_config = _examples({"chat_id": 7}, {"chat_id": EXAMPLE_CHAT})

    chat_id: ChatId


class EndStaleChats(Input):
    model_config = _examples({}, {"idle_seconds": 43200}, {"idle_seconds": 43200, "dry_run": False})

    idle_seconds: int | None = Field(
        None,
        ge=0,
        le=MAX_IDLE,
        title="Idle",
        description="Seconds without a message after which a chat counts as stale. Default: the bridge's STALE_AFTER, "
        "else a day.",
        examples=[43200],
    )
    limit: int = Field(1000, ge=1, le=1000, title="Limit", description="The most chats in one call.", examples=[100])
    dry_run: bool = Field(
        True,
        title="Dry run",
        description="true: only show which chats would be ended. false: end them.",
        examples=[True],
    )


class ListFailures(Input):
    model_config = _examples({}, {"limit": 100})

    limit: int = Field(20, ge=1, le=1000, title="Limit", description="The most failures in one answer.", examples=[20])
    cursor: Cursor = None


class RetryFailure(Input):
    model_config = _examples({"kind": "turn", "id": 7}, {"kind": "message", "id": 15})

    kind: Literal["turn", "message"] = Field(
        title="Kind",
        description="`kind` in list_failures. Only these two can be tried again here.",
        examples=["turn"],
    )
    id: RowId = Field(
        title="Failure",
        description="`id` in list_failures, or the turn_id of a turn that was given up.",
        examples=[7],
    )
