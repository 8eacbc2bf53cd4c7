"""What Retell and UponAI say about their APIs, as OpenAPI documents, and openapi-core that holds traffic against them.

``retell.yaml`` and ``uponai.yaml`` say where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import ValidationError
from jsonschema_path import SchemaPath
from openapi_core import OpenAPI, V31RequestValidator, V31ResponseValidator
from openapi_core.templating.paths.finders import APICallPathFinder
from openapi_core.testing import MockRequest, MockResponse

FOLDER = Path(__file__).parent


class Document:
    """One provider's document."""

    def __init__(self, provider: str) -> None:
        self.path = FOLDER / f"{provider}.yaml"
        self.content: dict[str, Any] = yaml.safe_load(self.path.read_text())

    @property
    def operations(self) -> set[str]:
        """The calls that are described."""
        return {call["operationId"] for item in self.content["paths"].values() for call in _calls(item)}

    def schema(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.content["components"]["schemas"][name]
        return found

    def operation_of(self, request: httpx.Request) -> str:
        """Which call this is."""
        asked = self._asked(request)
        operation = APICallPathFinder(self._spec).find(asked.method, f"{asked.host_url}{asked.path}").operation
        return str((operation / "operationId").read_value())

    def faults(self, request: httpx.Request, response: httpx.Response | None = None) -> list[str]:
        """What is wrong with a request, and with its answer if there is one."""
        asked = self._asked(request)
        errors = list(V31RequestValidator(self._spec).iter_errors(asked))
        if response is not None:
            errors += V31ResponseValidator(self._spec).iter_errors(asked, _answered(response))
        return [why for error in errors for why in _words(error)]

    @cached_property
    def _spec(self) -> SchemaPath:
        return OpenAPI.from_dict(self.content).spec

    def _asked(self, request: httpx.Request) -> MockRequest:
        """The request as if it had gone to the provider itself."""
        return MockRequest(
            self.content["servers"][0]["url"],
            request.method.lower(),
            request.url.raw_path.decode().partition("?")[0],
            args=dict(request.url.params),
            headers=dict(request.headers),
            data=request.content or None,
            content_type=_mimetype(request),
        )


@cache
def document(provider: str) -> Document:
    return Document(provider)


def _calls(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (call for method, call in item.items() if method in {"get", "post", "patch", "delete"})


def _answered(response: httpx.Response) -> MockResponse:
    return MockResponse(response.content, response.status_code, dict(response.headers), _mimetype(response))


def _mimetype(message: httpx.Request | httpx.Response) -> str:
    return message.headers.get("Content-Type", "").partition(";")[0]


def _words(error: Exception) -> list[str]:
    """The reason below a general sentence: which member of the body, and why."""
    below = [error, error.__cause__]
    found = [each for one in below for each in getattr(one, "schema_errors", ())]
    shown = [f"{each.json_path}: {each.message}" for each in found if isinstance(each, ValidationError)]
    return shown or [str(below[1] or error)]
