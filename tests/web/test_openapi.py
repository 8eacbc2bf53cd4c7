"""The document of the admin API is valid, and every answer to generated requests is what it says."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bridge.db.engine import Sessions
from bridge.db.models import Message, MessageStatus
from bridge.operators import labels, pausing
from bridge.providers.errors import Refused
from bridge.web import openapi
from bridge.web.app import build_web
from testkit.waiting import PATIENCE
from tests.fakes import DraftWriter
from tests.scene import Scene

TOKEN = "correct-horse"
KEY = {"Authorization": f"Bearer {TOKEN}"}

EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 8}
"""Requests of each kind to each operation: such as the document allows, and such as it forbids."""

KNOWN = {"id": 1, "note": 1, "name": "hours"}
"""Parameters in addresses that lead somewhere."""

UNDERSTOOD = [positive_data_acceptance]
"""Left out: a cursor, or a text of blanks, has the right form and is refused all the same."""

Operation = APIOperation[Any, Any, Any, Any]


def test_the_document_is_openapi_3_1() -> None:
    document = openapi.document()
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """A bridge with an answered person, and with a text that was given up."""
    scene = Scene(sessions, admin_token=TOKEN, drafts=True)
    scene.text("hello")
    scene.work_until_idle()
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    scene.text("hello?")
    scene.work_until_idle()
    assert scene.rows(Message)[-1].status is MessageStatus.GIVEN_UP
    labels.add_note(scene.rt, "admin", 1, "private")
    labels.add_tag(scene.rt, "admin", 1, "hours")
    labels.save_reply(scene.rt, "admin", "hours", "9 to 5")
    return scene


def operations(app: Flask) -> Iterator[Operation]:
    schema = schemathesis.openapi.from_wsgi("/admin/openapi.json", app, headers=KEY)
    for found in schema.get_all_operations():
        yield found.ok()


def holds(operation: Operation, mode: GenerationMode) -> Counter[int]:
    """Hold the answers to generated requests against the document. Return how often each status was answered."""
    statuses: Counter[int] = Counter()

    def check(case: Case) -> None:
        statuses[case.call_and_validate(headers=KEY, excluded_checks=UNDERSTOOD).status_code] += 1
        if case.path_parameters and mode is GenerationMode.POSITIVE:
            case.path_parameters |= {name: KNOWN[name] for name in case.path_parameters}
            statuses[case.call_and_validate(headers=KEY, excluded_checks=UNDERSTOOD).status_code] += 1

    as_many = settings(
        max_examples=EXAMPLES[mode],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    named = seed(zlib.crc32(operation.label.encode()))
    as_many(named(given(operation.as_strategy(generation_mode=mode))(check)))()
    return statuses


@pytest.mark.parametrize("mode", EXAMPLES)
def test_no_request_upsets_the_api_and_every_answer_is_as_described(
    scene: Scene, mode: GenerationMode, caplog: pytest.LogCaptureFixture
) -> None:
    app = build_web(scene.woken_by(DraftWriter(scene.rt)), PATIENCE)
    told = {operation.label: holds(operation, mode) for operation in operations(app)}
    described = {f"{each.method.upper()} {each.path}" for each in openapi.OPERATIONS}
    assert described - told.keys() == {"GET /admin/openapi.json"}  # where the document was read
    never = {label for label, statuses in told.items() if not any(status < 300 for status in statuses)}
    assert mode is GenerationMode.NEGATIVE or len(never) <= 2, never
    assert "Traceback" not in caplog.text
    pausing.end(scene.rt, "ana")
    scene.work_until_idle()


def test_an_answer_that_the_document_does_not_have_is_found(scene: Scene) -> None:
    app = build_web(scene.rt, PATIENCE)
    app.view_functions["admin.show_pause"] = lambda: {"paused": "perhaps"}
    [operation] = [each for each in operations(app) if each.label == "GET /admin/pause"]
    with pytest.raises(FailureGroup):
        holds(operation, GenerationMode.POSITIVE)
