"""The tools' models are those of the admin API: it writes every field that is read, and accepts all that is sent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from bridge.mcp import inputs, outputs
from bridge.web import conversation_models, holding_models, openapi, operator_models

READ: dict[type[BaseModel], type[BaseModel]] = {
    outputs.HolderState: conversation_models.HolderState,
    outputs.Conversation: conversation_models.Conversation,
    outputs.Conversations: conversation_models.Conversations,
    outputs.WholeConversation: conversation_models.WholeConversation,
    outputs.Text: conversation_models.ConversationText,
    outputs.Chat: conversation_models.ConversationChat,
    outputs.ChatOfConversation: openapi.Chat,
    outputs.Chats: openapi.Chats,
    outputs.Note: conversation_models.Note,
    outputs.AgentText: operator_models.Written,
    outputs.Turn: operator_models.Turn,
    outputs.QueuedTurn: operator_models.QueuedTurn,
    outputs.QueuedText: operator_models.QueuedText,
    outputs.Held: holding_models.Held,
    outputs.Stale: openapi.Stale,
    outputs.Failure: openapi.Failure,
    outputs.Failures: openapi.Failures,
    outputs.Retried: operator_models.Retried,
}

OUR_OWN = {outputs.Output, outputs.AgentAnswer}

SENT: dict[type[BaseModel], tuple[type[BaseModel], ...]] = {
    inputs.ListConversations: (conversation_models.ConversationsQuery,),
    inputs.GetConversation: (conversation_models.ConversationQuery,),
    inputs.SendToAgent: (operator_models.NewTurn,),
    inputs.SendText: (operator_models.NewText, operator_models.NewTextHere),
    inputs.TakeOver: (holding_models.TakeOver,),
    inputs.HandBack: (holding_models.HandBackWish,),
    inputs.EndStaleChats: (openapi.EndStale,),
    inputs.ListFailures: (openapi.FailuresQuery,),
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


def bounds(schema: dict[str, Any]) -> set[tuple[str, int]]:
    """The least and the most that a number may be."""
    names = ("minimum", "maximum")
    return {(name, each[name]) for each in (schema, *schema.get("anyOf", ())) for name in names if name in each}


@pytest.mark.parametrize(("ours", "theirs"), READ.items(), ids=lambda model: model.__name__)
def test_what_is_read_is_what_the_admin_api_writes(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    read, written = (model.model_json_schema(mode="serialization") for model in (ours, theirs))
    assert read["properties"].keys() <= written["properties"].keys()
    for name, schema in read["properties"].items():
        known, possible = allowed(schema, read), allowed(written["properties"][name], written)
        assert known == possible or known - {"null"} == {"string"}, name
        assert "null" in known or "null" not in possible, name


def test_every_model_is_held_against_its_own() -> None:
    models = {each for each in vars(outputs).values() if isinstance(each, type) and issubclass(each, BaseModel)}
    assert models - {BaseModel} == READ.keys() | OUR_OWN


@pytest.mark.parametrize(("ours", "theirs"), SENT.items(), ids=str)
def test_what_is_sent_is_what_the_admin_api_accepts(ours: type[BaseModel], theirs: tuple[type[BaseModel], ...]) -> None:
    sent = properties(ours, "validation").keys() - {"conversation_id", "chat_id", "idempotency_key", "wait_seconds"}
    assert sent == set().union(*(properties(model, "validation") for model in theirs))


def test_the_limits_of_the_arguments_are_those_of_the_admin_api() -> None:
    assert inputs.MOST_BODY == operator_models.MAX_BODY
    for ours, theirs in SENT.items():
        sent = properties(ours, "validation")
        for name, each in (pair for model in theirs for pair in properties(model, "validation").items()):
            assert bounds(sent[name]) == bounds(each), (ours, name)
