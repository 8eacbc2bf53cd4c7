"""The settings of ``bridge mcp``. It runs on an operator's machine, so it needs no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SecretStr, field_validator

from bridge.config import ReadSettings
from bridge.config.values import HttpAddress, Secret


class McpSettings(ReadSettings):
    """Which bridge, and the tokens."""

    bridge_url: HttpAddress = Field(description="the address of the bridge; the first of these two names that is set")
    admin_token: Secret = Field(description="the token of an operator of that bridge; the audit has their name")
    mcp_token: Secret | None = Field(None, description="opens `bridge mcp --http`; empty: ADMIN_TOKEN does")

    @field_validator("bridge_url")
    @classmethod
    def _is_the_base(cls, address: str) -> str:
        if address.endswith("/admin"):
            raise ValueError("ends with /admin, which is added by itself; leave it out")
        return address

    @property
    def opens(self) -> SecretStr:
        """Return the token that opens this server over HTTP."""
        return self.mcp_token or self.admin_token

    @classmethod
    def _called(cls, values: Mapping[str, Any]) -> list[str]:
        return [address] if is_tunneled(address := values.get("bridge_url", "")) else []


def is_tunneled(address: str) -> bool:
    """Return whether a proxy on the way to this address only passes on what it can't read."""
    return address.lower().startswith("https:")
