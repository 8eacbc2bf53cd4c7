"""What each tool does: one or two calls of the admin API."""

from __future__ import annotations

from bridge.mcp import inputs
from bridge.mcp.api import Api
from bridge.mcp.outputs import (
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


async def list_conversations(api: Api, asked: inputs.ListConversations, report: Report) -> Conversations:
    return await api.read("/admin/conversations", Conversations, **asked.model_dump())


async def get_conversation(api: Api, asked: inputs.GetConversation, report: Report) -> WholeConversation:
    where = f"/admin/conversations/{asked.conversation_id}"
    return await api.read(where, WholeConversation, limit=asked.limit, cursor=asked.cursor)


async def send_to_agent(api: Api, asked: inputs.SendToAgent, report: Report) -> AgentAnswer:
    """Queue it behind what the person has written, and wait for the answer within bounds."""
    conversation_id = asked.conversation_id
    if asked.chat_id is not None:
        conversation_id = await _conversation_of(api, asked.chat_id)
    where = f"/admin/conversations/{conversation_id}/turns"
    body = {"content": asked.content, "send": asked.send}
    queued = await api.do(where, QueuedTurn, body, asked.idempotency_key)
    return await with_handle(api, queued.turn_id, asked.wait_seconds, report)


async def get_answer(api: Api, asked: inputs.GetAnswer, report: Report) -> AgentAnswer:
    return await until_done(api, asked.turn_id, asked.wait_seconds, report)


async def send_text(api: Api, asked: inputs.SendText, report: Report) -> QueuedText:
    body = {"to": asked.to, "from": asked.sender, "body": asked.body}
    known = asked.conversation_id is not None
    where = f"/admin/conversations/{asked.conversation_id}/messages" if known else "/admin/messages"
    return await api.do(where, QueuedText, body, asked.idempotency_key)


async def take_over(api: Api, asked: inputs.TakeOver, report: Report) -> Held:
    return await api.do(f"/admin/conversations/{asked.conversation_id}/take-over", Held, {"force": asked.force})


async def hand_back(api: Api, asked: inputs.HandBack, report: Report) -> Held:
    body = {"note": asked.note, "answer": asked.answer}
    return await api.do(f"/admin/conversations/{asked.conversation_id}/hand-back", Held, body)


async def end_chat(api: Api, asked: inputs.EndChat, report: Report) -> ChatOfConversation:
    chat_id = asked.chat_id
    if isinstance(chat_id, str):
        chat_id = (await _at_provider(api, chat_id)).id
    return await api.do(f"/admin/chats/{chat_id}/end", ChatOfConversation)


async def end_stale_chats(api: Api, asked: inputs.EndStaleChats, report: Report) -> Stale:
    return await api.do("/admin/chats/end-stale", Stale, asked.model_dump())


async def list_failures(api: Api, asked: inputs.ListFailures, report: Report) -> Failures:
    return await api.read("/admin/failures", Failures, **asked.model_dump())


async def retry_failure(api: Api, asked: inputs.RetryFailure, report: Report) -> Retried:
    return await api.do(f"/admin/{asked.kind}s/{asked.id}/retry", Retried)


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
