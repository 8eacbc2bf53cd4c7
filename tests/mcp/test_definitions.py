"""What a client sees of the tools: complete, true to the facts, and as docs/mcp.md has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge.config.faults import variable_names
from bridge.mcp.server import INSTRUCTIONS, definition
from bridge.mcp.settings import McpSettings
from bridge.mcp.tools import BY_NAME, TOOLS, Tool

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()

MOST_WORDS = 220
"""Of a description. A client shows all of them to its model at once."""

CONTRACT = {
    *("list_conversations", "get_conversation", "send_to_agent", "get_answer", "send_text", "take_over"),
    *("hand_back", "end_chat", "end_stale_chats", "list_failures", "retry_failure"),
}

each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def shown(tool: Tool) -> dict[str, Any]:
    return definition(tool).model_dump(mode="json", by_alias=True, exclude_none=True)


def test_there_are_the_eleven_tools() -> None:
    assert {tool.name for tool in TOOLS} == CONTRACT
    assert len(TOOLS) == len(CONTRACT)


def test_tdqs_finds_no_fault(tmp_path: Path) -> None:
    """The linter of the Tool Definition Quality Score; its warnings count too."""
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps({"tools": [shown(tool) for tool in TOOLS]}))
    command = [sys.executable, "-m", "tdqs", "lint", "--file", str(tools), "--format", "json", "--fail-on", "warning"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stdout + told.stderr
    report = json.loads(told.stdout)
    assert report["findings"] == []
    assert len(report["tools"]) == len(TOOLS)


def test_tdqs_finds_a_fault_that_is_there(tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps({"tools": [shown(TOOLS[0]) | {"annotations": {}}]}))
    command = [sys.executable, "-m", "tdqs", "lint", "--file", str(tools), "--fail-on", "warning"]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 1


@each_tool
def test_a_tool_has_a_title_and_a_word_on_every_hint(tool: Tool) -> None:
    seen = shown(tool)
    assert seen["title"] != tool.name
    hints = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
    assert all(isinstance(seen["annotations"][hint], bool) for hint in hints)


@each_tool
def test_a_description_says_when_what_it_costs_and_how_it_fails(tool: Tool) -> None:
    words = tool.description
    assert len(words.split()) <= MOST_WORDS
    assert re.search(r"\bUse it\b|\bCall it\b", words), "when"
    assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", words)) & (BY_NAME.keys() - {tool.name}), "a sibling"
    assert re.search(r"\b[Cc]osts?\b|\bbills\b|\b[Ss]ends nothing\b|\b[Nn]o text is sent\b", words), "what it costs"
    assert "Fails if" in words or "Fails with" in words or tool.input.model_fields.keys() == {"limit", "cursor"}


@each_tool
def test_a_description_names_only_tools_and_arguments_that_there_are(tool: Tool) -> None:
    arguments = {name for each in TOOLS for name in each.input.model_fields}
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", tool.description))
    assert named - BY_NAME.keys() - arguments == set()


@each_tool
def test_every_argument_has_a_title_a_description_and_an_example_that_fits(tool: Tool) -> None:
    schema = shown(tool)["inputSchema"]
    assert schema["additionalProperties"] is False
    assert not {"oneOf", "anyOf", "allOf"} & schema.keys(), "some clients refuse these at the top"
    for name, each in schema["properties"].items():
        assert each["title"], name
        assert len(each["description"]) > 10, name
        assert each["examples"], name
        for example in each["examples"]:
            Draft202012Validator(each).validate(example)


@each_tool
def test_the_examples_of_a_tool_are_accepted(tool: Tool) -> None:
    examples = shown(tool)["inputSchema"]["examples"]
    assert examples
    for example in examples:
        tool.input.model_validate(example)


@each_tool
def test_the_output_schema_describes_every_field(tool: Tool) -> None:
    schema = shown(tool)["outputSchema"]
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    for model in (schema, *schema.get("$defs", {}).values()):
        for name, each in model["properties"].items():
            described = "description" in each or "$ref" in each or name.endswith(("id", "_at"))
            assert described, (model["title"], name)


def test_the_hints_are_those_of_the_facts() -> None:
    reads = {tool.name for tool in TOOLS if tool.hints.read_only}
    assert reads == {"list_conversations", "get_conversation", "get_answer", "list_failures"}
    assert not any(tool.hints.destructive or tool.hints.open_world for tool in TOOLS if tool.hints.read_only)
    keyed = {tool.name for tool in TOOLS if tool.input.model_fields.get("idempotency_key")}
    assert keyed == {"send_to_agent", "send_text"}
    assert all(BY_NAME[name].input.model_fields["idempotency_key"].is_required() for name in keyed), "else it is not so"
    assert {tool.name for tool in TOOLS if not tool.hints.idempotent} == {"retry_failure"}, "a new attempt each time"


def test_the_instructions_name_only_tools_that_there_are() -> None:
    assert set(re.findall(r"\b[a-z]+_[a-z_]+\b", INSTRUCTIONS)) <= BY_NAME.keys()


# -- the page ------------------------------------------------------------------------------------------------------


def row(tool: Tool) -> str:
    required = [field.alias or name for name, field in tool.input.model_fields.items() if field.is_required()]
    others = [field.alias or name for name, field in tool.input.model_fields.items() if not field.is_required()]
    arguments = ", ".join([*(f"**`{name}`**" for name in required), *(f"`{name}`" for name in others)])
    hints = tool.hints
    kind = "reads" if hints.read_only else "changes, can end or drop something" if hints.destructive else "changes"
    kind += "; reaches the agent or a phone" if hints.open_world else ""
    first, _, _ = tool.description.partition(". ")
    return f"| `{tool.name}` | {arguments} | {kind} | {first} |"


def test_the_page_has_every_tool_as_it_is() -> None:
    _, table, _ = re.split(r"<!-- /?tools -->\n", PAGE)
    expected = ["| tool | arguments | kind | what it does |", "|---|---|---|---|", *map(row, TOOLS)]
    assert table.strip() == "\n".join(expected), "paste into docs/mcp.md:\n" + "\n".join(expected)


def test_the_page_has_every_setting_as_it_is() -> None:
    _, table, _ = re.split(r"<!-- /?settings of mcp -->\n", PAGE)
    fields = McpSettings.model_fields.items()
    rows = [
        f"| {', else '.join(f'`{variable}`' for variable in variable_names(name))} | "
        f"{'**must be set**' if field.is_required() else ''} | {field.description} |"
        for name, field in fields
    ]
    expected = ["| name | | meaning |", "|---|---|---|", *rows]
    assert table.strip() == "\n".join(expected), "paste into docs/mcp.md:\n" + "\n".join(expected)
