"""What the views of the admin API share: they read a request as a model, and write a model as the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from flask import Response, abort, request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.operators import idempotency
from bridge.operators.idempotency import Asked
from bridge.web.auth import operator
from bridge.web.models import WANTED, RequestModel
from bridge.web.openapi import IDEMPOTENCY_KEY
from bridge.web.problems import problem
from bridge.web.queries.paging import LARGEST_ID

MAX_FAULTS = 20
"""Faults in one answer. A body may hold thousands."""

MAX_NAME = 100
"""Characters of a field's name in an answer."""

_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")

T = TypeVar("T", bound=RequestModel)


def body_as(model: type[T]) -> T:
    """Read the request's JSON as ``model``. An empty body means the defaults."""
    raw = request.get_data().strip()
    if raw and not request.is_json:
        abort(400, "Send the body as application/json.")
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        if any(fault["type"] == "json_invalid" for fault in error.errors(include_input=False)):
            abort(400, "The body is not valid JSON.")
        abort(unfit(_faults(error)))


def query_as(model: type[T]) -> T:
    """Read the query parameters as ``model``. Refuse a repeated parameter, because its value is no text."""
    given = {name: texts[0] if len(texts) == 1 else texts for name, texts in request.args.lists()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        abort(unfit(_faults(error)))


def asked_for(*parts: object) -> Asked:
    """Return the operator's request with its Idempotency-Key, if it has one. ``parts``: what the request says."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return Asked(operator())
    if not _KEY.fullmatch(key.strip()):
        abort(unfit({IDEMPOTENCY_KEY: "must be 1 to 255 visible ASCII characters"}))
    return Asked(operator(), key.strip(), idempotency.digest(*parts))


def row_id(text: str, missing: str) -> int:
    """Read the id in an address. An invalid id is as unknown as a missing row. ``missing``: the words for both."""
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
    if not digits or int(text) > LARGEST_ID:
        abort(404, missing)
    return int(text)


def unfit(faults: Mapping[str, str]) -> Response:
    """Return the problem with the fault of each field."""
    detail = "; ".join(f"{field}: {fault}" for field, fault in faults.items())
    return problem(422, detail, errors=[{"field": field, "fault": fault} for field, fault in faults.items()])


def json_of(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(by_alias=True), status, mimetype="application/json")


def _faults(error: ValidationError) -> dict[str, str]:
    """Return the fault of each field, without its value."""
    faults = error.errors(include_input=False, include_url=False)[:MAX_FAULTS]
    return {".".join(map(str, fault["loc"]))[:MAX_NAME] or "body": in_words(fault) for fault in faults}


def in_words(fault: ErrorDetails) -> str:
    """Return what is wanted. A pattern is named by its meaning."""
    pattern = str(fault.get("ctx", {}).get("pattern"))
    return WANTED.get(pattern, fault["msg"]) if fault["type"] == "string_pattern_mismatch" else fault["msg"]
