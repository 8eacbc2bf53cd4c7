"""What each tool does: one or two calls of the admin API."""

from __future__ import annotations

from bridge.mcp import wishes
from bridge.mcp.answers import (
    AgentAnswer,
    ChatOfConversation,
    Chats,
    Conversations,
    Failures,
    Held,
    QueuedText,
    QueuedTurn,
    Retried,
    Stale,
    WholeConversation,
)
from bridge.mcp.api import Api
from bridge.mcp.problems import ToolError
from bridge.mcp.waiting import Report, until_done, with_handle

NO_CHAT = (
    "There is no chat whose id at its provider is this string. The bridge's own id of a chat is a number: write it "
    "without quotes. get_conversation has both."
)
NOT_OPEN = (
    "This chat is {}, so this call has passed nothing to it. Call again with conversation_id {} instead of chat_id and "
    "the same idempotency_key: the message goes to the open chat of this person, or to a new one. If an earlier call "
    "has passed it on already, nothing is done twice."
)
"""The key stands for the conversation, not for the chat."""


async def list_conversations(api: Api, wish: wishes.ListConversations, report: Report) -> Conversations:
    return await api.read("/admin/conversations", Conversations, **wish.model_dump())


async def get_conversation(api: Api, wish: wishes.GetConversation, report: Report) -> WholeConversation:
    where = f"/admin/conversations/{wish.conversation_id}"
    return await api.read(where, WholeConversation, limit=wish.limit, cursor=wish.cursor)


async def send_to_agent(api: Api, wish: wishes.SendToAgent, report: Report) -> AgentAnswer:
    """Queue it behind what the person has written, and wait for the answer within bounds."""
    conversation_id = wish.conversation_id
    if wish.chat_id is not None:
        conversation_id = await _conversation_of(api, wish.chat_id)
    where = f"/admin/conversations/{conversation_id}/turns"
    body = {"content": wish.content, "send": wish.send}
    queued = await api.do(where, QueuedTurn, body, wish.idempotency_key)
    return await with_handle(api, queued.turn_id, wish.wait_seconds, report)


async def get_answer(api: Api, wish: wishes.GetAnswer, report: Report) -> AgentAnswer:
    return await until_done(api, wish.turn_id, wish.wait_seconds, report)


async def send_text(api: Api, wish: wishes.SendText, report: Report) -> QueuedText:
    body = {"to": wish.to, "from": wish.sender, "body": wish.body}
    known = wish.conversation_id is not None
    where = f"/admin/conversations/{wish.conversation_id}/messages" if known else "/admin/messages"
    return await api.do(where, QueuedText, body, wish.idempotency_key)


async def take_over(api: Api, wish: wishes.TakeOver, report: Report) -> Held:
    return await api.do(f"/admin/conversations/{wish.conversation_id}/take-over", Held, {"force": wish.force})


async def hand_back(api: Api, wish: wishes.HandBack, report: Report) -> Held:
    body = {"note": wish.note, "answer": wish.answer}
    return await api.do(f"/admin/conversations/{wish.conversation_id}/hand-back", Held, body)


async def end_chat(api: Api, wish: wishes.EndChat, report: Report) -> ChatOfConversation:
    chat_id = wish.chat_id
    if isinstance(chat_id, str):
        chat_id = (await _at_provider(api, chat_id)).id
    return await api.do(f"/admin/chats/{chat_id}/end", ChatOfConversation)


async def end_stale_chats(api: Api, wish: wishes.EndStaleChats, report: Report) -> Stale:
    return await api.do("/admin/chats/end-stale", Stale, wish.model_dump())


async def list_failures(api: Api, wish: wishes.ListFailures, report: Report) -> Failures:
    return await api.read("/admin/failures", Failures, **wish.model_dump())


async def retry_failure(api: Api, wish: wishes.RetryFailure, report: Report) -> Retried:
    return await api.do(f"/admin/{wish.kind}s/{wish.id}/retry", Retried)


async def _conversation_of(api: Api, chat_id: int | str) -> int:
    """Return the conversation of an open chat. Raise :class:`ToolError` if it is not open."""
    if isinstance(chat_id, str):
        chat = await _at_provider(api, chat_id)
    else:
        chat = await api.read(f"/admin/chats/{chat_id}", ChatOfConversation)
    if chat.status != "ongoing":
        raise ToolError(NOT_OPEN.format(chat.status, chat.conversation_id))
    return chat.conversation_id


async def _at_provider(api: Api, chat_id: str) -> ChatOfConversation:
    found = await api.read("/admin/chats", Chats, chat_id=chat_id, limit=1)
    if not found.chats:
        raise ToolError(NO_CHAT)
    return found.chats[0]
