"""The requests of the page's own API. Everything else is refused with a sentence, before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from bridge.simulator.channels import Channel

MOST_MEDIA = 10
"""As many as a carrier accepts with one text."""

_Address = Annotated[str, Field(min_length=1, max_length=255)]
_Words = Annotated[str, Field(max_length=100_000)]
_Options = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("an address of the web begins with http:// or https://")
    return url


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class NewText(_Asked):
    """A person sends a text.

    ``fields`` are more fields of the webhook (a place, a tapped button), and ``received_as`` is the content for the
    agent. ``tap`` and ``on`` make it a reaction to the text with that sid.
    """

    sender: _Address = Field(alias="from")
    body: _Words = ""
    media: Annotated[int, Field(ge=0, le=MOST_MEDIA)] = 0
    to: _Address | None = None
    id: _Address | None = None
    fields: Annotated[dict[_Address, _Words], Field(max_length=50)] = {}
    received_as: _Words | None = None
    tap: _Address | None = None
    on: Annotated[str, Field(max_length=255)] = ""


class OutsideText(_Asked):
    """Somebody texts a person from one of our numbers with another tool; from the first one without ``from``."""

    to: _Address
    body: Annotated[str, Field(min_length=1, max_length=1600)]
    sender: _Address | None = Field(None, alias="from")


class NewPerson(_Asked):
    """A new person, on a ``channel``.

    With ``code``, texts to this person fail so. With ``of``, the owner of that phone.
    """

    channel: Channel = Channel.SMS
    code: Annotated[int, Field(ge=0, le=100_000)] | None = None
    of: _Address | None = None


class FaultSet(_Asked):
    """``name`` with ``percent`` or ``next``, optional ``calls`` and options; or ``clear``, for one fault or for all."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Options]

    name: _Address | None = None
    clear: bool = False
    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 100
    next: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    calls: Annotated[list[_Address], Field(max_length=20)] | None = None

    @property
    def options(self) -> Mapping[str, float]:
        return self.__pydantic_extra__


class WebhookSet(_Asked):
    """The address to which texts are announced. Without one they are not announced."""

    url: Annotated[str, Field(max_length=2000), AfterValidator(_web_address)] | None = None


A = TypeVar("A", bound=_Asked)


def asked(kind: type[A]) -> A:
    """Read the request's JSON. The required content type keeps the forms of other pages out."""
    if not request.is_json:
        raise UnsupportedMediaType("send application/json")
    try:
        return kind.model_validate_json(request.get_data())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step)[:50] for step in first["loc"]) or "the body"
        raise BadRequest(f"{where}: {first['msg']}") from None
