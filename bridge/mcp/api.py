"""The calls of the admin API. Nothing is repeated here: an error says whether the caller may do so."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from bridge.config.proxies import way_out
from bridge.mcp import problems
from bridge.mcp.settings import McpSettings, is_tunneled

TIMEOUT = httpx.Timeout(15, connect=5)
"""Seconds. Each call of the admin API takes some commits and no call to a provider."""

Answer = TypeVar("Answer", bound=BaseModel)


class Api:
    """The admin API of one bridge, as one operator."""

    def __init__(self, settings: McpSettings) -> None:
        self._client = httpx.AsyncClient(
            base_url=settings.bridge_url,
            headers={"Authorization": f"Bearer {settings.admin_token.get_secret_value()}"},
            timeout=TIMEOUT,
            proxy=_proxy(settings.bridge_url),
            verify=_tls(),
            trust_env=False,
        )

    async def read(self, path: str, model: type[Answer], **query: object) -> Answer:
        """Read something. Raise :class:`ToolError`."""
        given: dict[str, Any] = {name: value for name, value in query.items() if value is not None}
        return await self._answer(self._client.build_request("GET", path, params=given), model)

    async def do(
        self, path: str, model: type[Answer], body: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Answer:
        """Change something. With a ``key``, a repeated call changes nothing more. Raise :class:`ToolError`."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        headers = {"Idempotency-Key": key} if key else {}
        return await self._answer(self._client.build_request("POST", path, json=given, headers=headers), model)

    async def close(self) -> None:
        await self._client.aclose()

    async def _answer(self, request: httpx.Request, model: type[Answer]) -> Answer:
        try:
            answer = await self._client.send(request)
        except httpx.HTTPError as error:
            raise problems.unreached(request, error) from None
        if not answer.is_success:
            raise problems.refusal(answer)
        if "json" not in answer.headers.get("content-type", ""):
            raise problems.unreadable(answer)
        try:
            return model.model_validate_json(answer.content)
        except ValidationError:
            raise problems.other_version(answer) from None


@cache
def _tls() -> ssl.SSLContext:
    """Return one TLS context for all sessions. It has the certificates that SSL_CERT_FILE names, if that is set."""
    return httpx.create_ssl_context()


def _proxy(address: str) -> str | None:
    """Return the proxy that the environment prescribes, if it is a tunnel. Any other proxy would get the token."""
    found = way_out(address, os.environ) if is_tunneled(address) else None
    return found[1] if found else None
