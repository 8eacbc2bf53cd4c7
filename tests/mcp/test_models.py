"""The tools' models are those of the admin API: it writes every field that is read, and accepts all that is sent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from bridge.mcp import answers, wishes
from bridge.web import conversation_models, holding_models, openapi, operator_models

READ: dict[type[BaseModel], type[BaseModel]] = {
    answers.HolderState: conversation_models.HolderState,
    answers.Conversation: conversation_models.Conversation,
    answers.Conversations: conversation_models.Conversations,
    answers.WholeConversation: conversation_models.WholeConversation,
    answers.Text: conversation_models.ConversationText,
    answers.Chat: conversation_models.ConversationChat,
    answers.ChatOfConversation: openapi.Chat,
    answers.Chats: openapi.Chats,
    answers.Note: conversation_models.Note,
    answers.AgentText: operator_models.Written,
    answers.Turn: operator_models.Turn,
    answers.QueuedTurn: operator_models.QueuedTurn,
    answers.QueuedText: operator_models.QueuedText,
    answers.Held: holding_models.Held,
    answers.Stale: openapi.Stale,
    answers.Failure: openapi.Failure,
    answers.Failures: openapi.Failures,
    answers.Retried: operator_models.Retried,
}

OUR_OWN = {answers.Answer, answers.AgentAnswer}

SENT: dict[type[BaseModel], tuple[type[BaseModel], ...]] = {
    wishes.ListConversations: (conversation_models.ConversationsQuery,),
    wishes.GetConversation: (conversation_models.ConversationQuery,),
    wishes.SendToAgent: (operator_models.NewTurn,),
    wishes.SendText: (operator_models.NewText, operator_models.NewTextHere),
    wishes.TakeOver: (holding_models.TakeOver,),
    wishes.HandBack: (holding_models.HandBackWish,),
    wishes.EndStaleChats: (openapi.EndStale,),
    wishes.ListFailures: (openapi.FailuresQuery,),
}


def properties(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema(mode=mode)["properties"]
    return found


def allowed(schema: Any, within: dict[str, Any]) -> set[str]:
    """The types and the words that a schema allows; ``$ref`` for a model."""
    if "$ref" in schema:
        target = within["$defs"][schema["$ref"].rpartition("/")[2]]
        return {"$ref"} if target.get("type") == "object" else allowed(target, within)
    if "anyOf" in schema:
        return set().union(*(allowed(each, within) for each in schema["anyOf"]))
    words = set(schema.get("enum", ())) | ({schema["const"]} if "const" in schema else set())
    return words or {schema["type"]}


@pytest.mark.parametrize(("ours", "theirs"), READ.items(), ids=lambda model: model.__name__)
def test_what_is_read_is_what_the_admin_api_writes(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    read, written = (model.model_json_schema(mode="serialization") for model in (ours, theirs))
    assert read["properties"].keys() <= written["properties"].keys()
    for name, schema in read["properties"].items():
        known, possible = allowed(schema, read), allowed(written["properties"][name], written)
        assert known == possible or known - {"null"} == {"string"}, name
        assert "null" in known or "null" not in possible, name


def test_every_model_is_held_against_its_own() -> None:
    models = {each for each in vars(answers).values() if isinstance(each, type) and issubclass(each, BaseModel)}
    assert models - {BaseModel} == READ.keys() | OUR_OWN


@pytest.mark.parametrize(("ours", "theirs"), SENT.items(), ids=str)
def test_what_is_sent_is_what_the_admin_api_accepts(ours: type[BaseModel], theirs: tuple[type[BaseModel], ...]) -> None:
    sent = properties(ours, "validation").keys() - {"conversation_id", "chat_id", "idempotency_key", "wait_seconds"}
    assert sent == set().union(*(properties(model, "validation") for model in theirs))


def test_the_limits_of_the_arguments_are_those_of_the_admin_api() -> None:
    assert wishes.MOST_BODY == operator_models.MAX_BODY
    for ours, theirs in SENT.items():
        limits = [properties(model, "validation").get("limit", {}) for model in (ours, *theirs)]
        assert len({(each.get("minimum"), each.get("maximum")) for each in limits}) == 1, ours
