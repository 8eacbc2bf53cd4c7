"""Twilio's webhooks: checking the signature and reading the form.

The functions are pure and work on addresses and forms. A form has all values of each field, as
``request.form.to_dict(flat=False)`` of Flask returns it. ``bridge.web.twilio`` answers and stores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from bridge.lib.errors import BridgeError
from bridge.providers.carriers.contract import Delivery, InboundText, StatusReport
from bridge.providers.carriers.twilio import rich
from bridge.providers.redaction import storable

LONGEST_SID = 64
LONGEST_ADDRESS = 255
"""Characters, as in the tables."""

OPT_OUT = frozenset({"STOP", "START", "HELP"})

Form = Mapping[str, Sequence[str]]

_SMALL_NUMBER = re.compile(r"[0-9]{1,9}")
_REFERENCE = re.compile(r"[0-9A-Za-z]{1,32}")


class BadField(BridgeError):
    """A webhook lacks a field that every text has. The message names the field and never shows a value."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}; point the number's webhook for messages here, unchanged by any proxy")
        self.field = field


class _Values:
    """A form with the interface of Twilio's validator: it reads the names, then all values of each name.

    The validator asks for ``getall`` first. Without that method each name costs an exception.
    """

    def __init__(self, form: Form) -> None:
        self._form = form

    def __iter__(self) -> Iterator[str]:
        return iter(self._form)

    def getall(self, name: str) -> Sequence[str]:
        return self._form[name]


def public_address(public_url: str, path: str, raw_query: str) -> str:
    """Return the address that Twilio called and signed: our public address, with the query exactly as it came."""
    return f"{public_url}{path}?{raw_query}" if raw_query else f"{public_url}{path}"


def signed(tokens: Iterable[str], url: str, form: Form, signature: str | None) -> bool:
    """Return True if one of the tokens made the signature. Any fault of the request means that it is not signed."""
    if not signature:
        return False
    return any(_signed(token, url, form, signature) for token in tokens if token)


def parse_inbound(form: Form) -> InboundText:
    """Read the text from a person. Raise :class:`BadField`."""
    fields = {name: _value(form, name) for name in form}
    return InboundText(
        carrier_id=_required(form, "MessageSid", LONGEST_SID),
        phone=_required(form, "From", LONGEST_ADDRESS),
        bridge_number=_required(form, "To", LONGEST_ADDRESS),
        body=storable(rich.words(fields)),
        media=_media(form),
        opt_out=_opt_out(_value(form, "OptOutType")),
        service=_service(_value(form, "MessagingServiceSid")),
        aside=storable(rich.aside(fields)),
        attachment=rich.attachment(fields),
        extras=tuple((storable(name), value) for name, value in rich.extras(fields)),
    )


def parse_status(form: Form, reference: str | None) -> StatusReport | None:
    """Read the status report of the text with our id ``reference``. Return ``None`` if it contains no usable status."""
    carrier_id = _value(form, "MessageSid").strip()
    status = Delivery.of(_value(form, "MessageStatus") or _value(form, "SmsStatus"))
    if status is None or not 0 < len(carrier_id) <= LONGEST_SID:
        return None
    return StatusReport(
        reference=reference if reference and _REFERENCE.fullmatch(reference) else None,
        carrier_id=carrier_id,
        status=status,
        recipient=_value(form, "To").strip(),
        error_code=_number(_value(form, "ErrorCode")),
    )


def _signed(token: str, url: str, form: Form, signature: str) -> bool:
    try:
        return bool(RequestValidator(token).validate(url, _Values(form), signature))
    except (ValueError, TypeError, IndexError):
        return False


def _value(form: Form, name: str) -> str:
    """Return the first value in a form that a table can store; empty if there is none."""
    values = form.get(name)
    return storable(values[0]) if values else ""


def _required(form: Form, name: str, longest: int) -> str:
    value = _value(form, name).strip()
    if not value:
        raise BadField(name, "is missing")
    if len(value) > longest:
        raise BadField(name, f"is longer than {longest} characters")
    return value


def _media(form: Form) -> int:
    """Return the number of pictures or files. Count their addresses if ``NumMedia`` is no number."""
    count = _number(_value(form, "NumMedia"))
    if count is not None:
        return count
    return sum(name.startswith("MediaUrl") for name in form) if _value(form, "MediaUrl0") else 0


def _opt_out(word: str) -> str | None:
    word = word.strip().upper()
    return word if word in OPT_OUT else None


def _service(sid: str) -> str | None:
    return sid.strip()[:LONGEST_SID] or None


def _number(text: str) -> int | None:
    """Return a number that fits the table's column, or ``None``."""
    return int(text) if _SMALL_NUMBER.fullmatch(text.strip()) else None
