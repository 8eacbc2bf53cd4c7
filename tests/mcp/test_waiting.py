"""What a tool says of the agent's answer: what has happened to it, and what the caller does now."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bridge.mcp.api import Api
from bridge.mcp.outputs import AgentAnswer, AgentText, Turn
from bridge.mcp.problems import ToolError
from bridge.mcp.settings import McpSettings
from bridge.mcp.waiting import next_step, until_done, with_handle


def text(id: int = 32, **more: Any) -> AgentText:
    known = {"body": "A table is free.", "status": "sent", "delivery": None, "error": None, "resent_as": None}
    return AgentText.model_validate({"id": id, **known, **more})


def turn(status: str, *messages: AgentText, error: str | None = None) -> Turn:
    return Turn.model_validate(
        {"id": 7, "conversation_id": 12, "status": status, "error": error, "messages": list(messages)}
    )


@pytest.mark.parametrize("status", ["queued", "waiting", "asking"])
def test_of_an_open_turn_it_says_how_to_wait_on(status: str) -> None:
    assert next_step(turn(status, error="the agent answered with 500")) == (
        "The agent is not done. Call get_answer with turn_id 7."
    )


def test_of_a_turn_that_was_given_up_it_says_why_and_how_to_try_again() -> None:
    told = next_step(turn("given_up", error="the agent answered with 500."))
    assert told.startswith("It was given up: the agent answered with 500. Repair the cause.")
    assert "retry_failure with kind turn and id 7" in told


@pytest.mark.parametrize("why", ["the person has opted out", "a person has got the conversation"])
def test_of_a_canceled_turn_it_says_why_and_offers_no_retry(why: str) -> None:
    told = next_step(turn("canceled", error=why))
    assert told.startswith(f"It was canceled: {why}. It gets no answer, and can't be tried again.")
    assert "retry_failure" not in told
    assert "get_conversation" in told


def test_a_cause_that_is_not_recorded_is_told_as_such() -> None:
    for status in ("given_up", "canceled"):
        assert ": the bridge has recorded no cause." in next_step(turn(status))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "The agent has written nothing."),
        ([text(status="queued"), text(33, delivery="delivered")], "The answer goes to the person as a text."),
        ([text(status="draft")], "The answer is kept as a draft, and nothing was sent"),
    ],
)
def test_of_an_answer_it_says_where_it_goes(messages: list[AgentText], words: str) -> None:
    assert next_step(turn("answered", *messages)).startswith(words)


def test_of_a_text_that_was_given_up_it_says_why_and_how_to_try_again() -> None:
    failed = text(33, status="given_up", error="the carrier refuses with 30007")
    told = next_step(turn("answered", text(32, delivery="delivered"), failed))
    assert told.startswith("The agent has answered, but text 33 was given up: the carrier refuses with 30007. Repair")
    assert "retry_failure with kind message and id 33" in told


def test_of_a_canceled_text_it_says_that_the_person_has_opted_out() -> None:
    told = next_step(turn("answered", text(status="canceled", error="the person has opted out")))
    assert told.startswith("The agent has answered, but text 32 was not sent, because the person has opted out.")
    assert "retry_failure" not in told


@pytest.mark.parametrize("delivery", ["undelivered", "failed", "canceled"])
def test_of_a_text_that_was_not_delivered_it_says_who_knows_why(delivery: str) -> None:
    told = next_step(turn("answered", text(delivery=delivery)))
    assert told.startswith("The agent has answered, but the carrier has not delivered text 32.")
    assert "`unanswered_because`" in told


def test_of_a_text_that_was_sent_again_the_newest_copy_counts() -> None:
    first = text(32, delivery="undelivered", resent_as=33)
    assert next_step(turn("answered", first, text(33))).startswith("The answer goes to the person")
    assert "not delivered text 33" in next_step(turn("answered", first, text(33, delivery="failed")))


# -- the wait ------------------------------------------------------------------------------------------------------


class Scripted(Api):
    """An admin API that answers with these, the last one again and again."""

    def __init__(self, *answers: Turn | ToolError) -> None:
        super().__init__(McpSettings.load({"BRIDGE_URL": "http://127.0.0.1:1", "ADMIN_TOKEN": "t"}))
        self.reads = 0
        self._answers = list(answers)

    async def read(self, path: str, model: type[Any], **query: object) -> Any:
        assert path == "/admin/turns/7"
        self.reads += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ToolError):
            raise answer
        return answer


async def silent(seconds: float, words: str) -> None:
    return


def test_a_turn_of_which_the_answer_can_t_be_read_keeps_its_handle() -> None:
    away = ToolError("No bridge answers. Start it.")
    told: AgentAnswer = anyio.run(with_handle, Scripted(away), 7, 0, silent)
    assert (told.turn_id, told.done) == (7, False)
    assert told.next_step == (
        "It is queued as turn 7: do not send it again. Its answer can't be read now. No bridge answers. Start it. "
        "After that, call get_answer with this turn_id."
    )


def test_without_a_wait_the_turn_is_read_once() -> None:
    api = Scripted(turn("asking"))
    told: AgentAnswer = anyio.run(until_done, api, 7, 0, silent)
    assert (api.reads, told.done, told.status) == (1, False, "asking")


def test_the_wait_ends_with_the_turn() -> None:
    api = Scripted(turn("queued"), turn("asking"), turn("answered", text()))
    told: AgentAnswer = anyio.run(until_done, api, 7, 50, silent)
    assert (api.reads, told.done) == (3, True)
