"""What the models of the admin API's requests and answers have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from bridge.web.queries.paging import LARGEST_ID

MAX_LIMIT = 1000
"""Rows in one answer, and chats ended in one call. A call must end long before a router's timeout."""

MAX_TEXT = 255
"""Characters of an address or a cursor. The real ones are shorter."""


ADDRESS = r"(?:whatsapp:|rcs:)?\+[1-9][0-9]{6,14}"
PERSON = rf"^{ADDRESS}$"
OURS = rf"^(?:{ADDRESS}|[0-9]{{3,8}}|rcs:[0-9A-Za-z_.-]{{3,64}})$"
NAME = r"^[0-9A-Za-z_-]{1,40}$"
VARIABLE = r"^[^\x00{}]+$"
FILLED = r"^[^\x00]+$"
PRINTABLE = r"^[^\x00]*$"

WANTED = {
    PERSON: "must be a number with + and the country code, such as +15551230001; on other channels with whatsapp: or "
    "rcs: before it",
    OURS: "must be a number with + and the country code, such as +15550001111, a short code, or an RCS sender such as "
    "rcs:my_agent; on WhatsApp with whatsapp: before the number",
    NAME: "must be 1 to 40 letters without accents, digits, - or _",
    VARIABLE: "must be a name without braces",
    FILLED: "must be a text, without the character NUL",
    PRINTABLE: "must not have the character NUL",
}
"""The patterns of texts, and what a caller is told whose text does not fit. The pattern itself is of no help."""


def _digits(text: object) -> object:
    """Accept only the digits of a number in an address. Python would accept ``5_0`` and `` 50`` too."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 else text


def _plus(text: object) -> object:
    """Restore a plus sign that was not escaped and became a blank. No number begins with a blank."""
    return "+" + text[1:] if isinstance(text, str) and text.startswith(" ") else text


Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
digits = BeforeValidator(_digits)
QueryLimit = Annotated[Limit, digits]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
QueryId = Annotated[Id, digits]
Phone = Annotated[str, StringConstraints(pattern=FILLED, max_length=MAX_TEXT), BeforeValidator(_plus)]
ProviderChatId = Annotated[str, StringConstraints(pattern=FILLED, max_length=MAX_TEXT)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class RequestModel(BaseModel):
    """The fields that a caller sends. Unknown fields and other types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """The fields that a caller gets, read from the values of the layer below."""

    model_config = ConfigDict(from_attributes=True, hide_input_in_errors=True)


class Fault(BaseModel):
    field: str
    fault: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = Field(None, description="one for each field that is wrong")
