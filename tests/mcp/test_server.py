"""How a call of a tool ends: with its answer, or with words for the model."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp_types import CallToolResult
from pydantic import ValidationError

from bridge.mcp import inputs, outputs
from bridge.mcp.api import Api
from bridge.mcp.problems import ToolError
from bridge.mcp.server import call
from bridge.mcp.settings import McpSettings
from bridge.mcp.tools import Run, Tool
from bridge.mcp.waiting import Report
from tests.mcp.desk import laptop


async def held(api: Api, asked: Any, report: Report) -> outputs.Retried:
    return outputs.Retried(turns=[asked.conversation_id], messages=[])


async def refused(api: Api, asked: Any, report: Report) -> outputs.Retried:
    raise ToolError("Not now.")


async def faulty(api: Api, asked: Any, report: Report) -> outputs.Retried:
    return outputs.Retried.model_validate({"turns": "none"})


async def silent(seconds: float, words: str) -> None:
    return


def called(tool: Tool, **arguments: Any) -> CallToolResult:
    async def in_loop() -> CallToolResult:
        api = Api(McpSettings.load(laptop("http://127.0.0.1:1")))
        try:
            return await call(tool, arguments, api, silent)
        finally:
            await api.close()

    return anyio.run(in_loop)


def a_tool(run: Run, model: type[inputs.Input] = inputs.TakeOver) -> Tool:
    return Tool("a_tool", "A tool", "It does it.", model, outputs.Retried, run)


def words(told: CallToolResult) -> str:
    assert told.is_error
    [content] = told.content
    assert content.type == "text"
    return content.text


def test_an_answer_is_structured() -> None:
    told = called(a_tool(held), conversation_id=12)
    assert not told.is_error
    assert told.structured_content == {"turns": [12], "messages": []}


def test_a_wrong_argument_is_told_and_nothing_was_done() -> None:
    assert words(called(a_tool(held), conversation_id=0)).startswith("Nothing was done. conversation_id: ")


def test_a_refusal_is_told_in_its_words() -> None:
    assert words(called(a_tool(refused), conversation_id=12)) == "Not now."


def test_a_fault_of_the_work_is_no_fault_of_the_arguments() -> None:
    """Something may have been done."""
    with pytest.raises(ValidationError):
        called(a_tool(faulty), conversation_id=12)


def test_a_pattern_is_told_by_its_meaning() -> None:
    told = called(a_tool(held, inputs.SendText), conversation_id=1, body="A", idempotency_key=" k")
    assert words(told) == (
        "Nothing was done. idempotency_key: must be visible ASCII characters, with blanks only between them"
    )


def test_every_pattern_has_a_meaning() -> None:
    schemas = str([each.model_json_schema() for each in inputs.Input.__subclasses__()])
    assert schemas.count("'pattern'") == 2 * len(inputs.WANTED), "of send_to_agent and of send_text"
