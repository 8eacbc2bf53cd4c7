"""How the value of a setting is read: its type, what it may be, and the words for what it may not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from psycopg.pq import Conninfo
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bridge.config.faults import EMPTY_COUNTS, words
from bridge.config.numbers import our_address, our_addresses
from bridge.config.proxies import is_host
from bridge.config.tls import fault_of_address, parse_verify
from bridge.config.visible import path, visible
from bridge.lib.countries import COUNTRIES
from bridge.lib.keywords import letters_of, plain
from bridge.lib.phone import masked

LONGEST = timedelta(days=3650)
"""Longer is a slip of the keyboard, and would run past the end of the calendar."""

FOREIGN = ("pgbouncer", "connection_limit", "pool_timeout", "supa", "prepareThreshold", "prepared_statements")
"""What hosted databases write into the addresses of their poolers, for other libraries."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_NO_DURATION = re.compile(r"0+[smhd]?")


def parse_duration(text: object) -> timedelta:
    """``90s``, ``15m``, ``24h`` or ``90d`` as a timedelta; anything else is a ValueError."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if not match or not int(match[1]):
        raise ValueError("is no duration; write a number and a unit, such as 90s, 15m, 24h or 90d")
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if duration > LONGEST:
        raise ValueError(f"is too long; the most is {LONGEST.days}d")
    return duration


def _http_address(text: str) -> str:
    """A base address without a trailing slash."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username or re.search(r"\s", text):
        raise ValueError("is no web address; write it like https://bridge.example.com")
    return text.rstrip("/")


def _database_url(text: str) -> str:
    """SQLAlchemy's or Heroku's form; PostgreSQL always by psycopg 3. A file's name may hold what people name files."""
    text = path(text) if text.startswith("sqlite:") else str(visible(text))
    text = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", text)
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise ValueError("is no database address; write it like postgresql://user:password@host/name") from None
    if backend not in {"postgresql", "sqlite"}:
        raise ValueError("names another kind of database; the bridge runs on postgresql:// and sqlite:///")
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ValueError("names no file; write it like sqlite:///bridge.sqlite3")
    return text if backend == "sqlite" else _for_libpq(url)


def _for_libpq(url: URL) -> str:
    """Poolers' addresses bring along what only another library understands; libpq would refuse all of it."""
    known = _libpq_knows() | {"host", "port"}
    ours = url.difference_update_query(FOREIGN)
    if ours.query.keys() - known:
        raise ValueError("has a parameter behind the ? that PostgreSQL does not know; take it out")
    return ours.render_as_string(hide_password=False)


@cache
def _libpq_knows() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


def _broker_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"redis", "rediss", "amqp", "amqps"} and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no broker; write redis://, rediss://, amqp:// or amqps:// and the host")
    if fault := fault_of_address(text):
        raise ValueError(fault)
    return text


def _numbers(text: object) -> object:
    return our_addresses(text) if isinstance(text, str) else text


def _countries(text: object) -> object:
    """Comma-separated codes of two letters."""
    if not isinstance(text, str):
        return text
    codes = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if unknown := len(codes - COUNTRIES):
        raise ValueError(f"has {unknown} entries that are no countries; write their two letters, such as US,CA,GB")
    return codes


def _words(form: Callable[[str], str]) -> Callable[[object], object]:
    """Comma-separated words, or phrases, as :mod:`bridge.lib.keywords` compares them."""

    def read(text: object) -> object:
        if not isinstance(text, str):
            return text
        written = text.split(",") if text.strip() else []
        if empty := [str(place) for place, word in enumerate(written, start=1) if not letters_of(word)]:
            raise ValueError(f"has no word at its entry {', '.join(empty)}; write words with commas between them")
        return frozenset(map(form, written))

    return read


def _sid(prefix: str) -> Callable[[str], str]:
    """Twilio's way to name things."""

    def check(text: str) -> str:
        if not re.fullmatch(prefix + "[0-9a-fA-F]{32}", text):
            raise ValueError(f"does not look right; it is {prefix} and 32 digits or letters from a to f")
        return text

    return check


class _Object(list[tuple[str, object]]):
    """A JSON object with all its names, also one that stands there twice: JSON itself lets that pass."""


def _routes(text: object) -> object:
    """JSON. Whatever is wrong with it is told at once, a line for each fault."""
    if not isinstance(text, str):
        return text
    try:
        written = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        raise ValueError(f"is no JSON; write it like {EXAMPLE_ROUTES}") from None
    if not isinstance(written, _Object):
        raise ValueError(f"is no JSON object; write it like {EXAMPLE_ROUTES}")
    faults = list(_faults_of_routes(written))
    if faults:
        raise ValueError("\n".join(faults))
    return {our_address(number): Route.model_validate(dict(_object(route))) for number, route in written}


def _faults_of_routes(written: _Object) -> Iterator[str]:
    known: set[str] = set()
    for place, (number, route) in enumerate(written, start=1):
        faults = _faults_of_route(route)
        try:
            address = our_address(number)
        except ValueError as error:
            faults.append(str(error))
        else:
            if address in known:
                faults.append("this number stands there twice; keep one of them")
            known.add(address)
        yield from (f"at its entry {place} ({masked(number)}): {fault}" for fault in faults)


def _faults_of_route(route: object) -> list[str]:
    names = [name for name, _ in _object(route)]
    faults = ["a field stands there twice; keep one of them"] if len(set(names)) < len(names) else []
    try:
        Route.model_validate(dict(_object(route)))
    except ValidationError as error:
        faults += [_fault_of_route(fault) for fault in error.errors(include_input=False)]
    return faults


def _object(value: object) -> _Object:
    """What is none has no fields; so every field that must be there is told to be missing."""
    return value if isinstance(value, _Object) else _Object()


def _fault_of_route(error: Any) -> str:
    if error["type"] == "extra_forbidden":  # its name is not repeated: it may be anything
        return f"a field is not known; there are {', '.join(Route.model_fields)}"
    return f"{error['loc'][0]} {words(error)}"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(lambda v: parse_duration(v) if v else None), EMPTY_COUNTS]
DurationOrNone = Annotated[
    timedelta | None, BeforeValidator(lambda v: None if not v or _NO_DURATION.fullmatch(str(v)) else parse_duration(v))
]
Visible = BeforeValidator(visible)
HttpAddress = Annotated[str, Visible, AfterValidator(_http_address)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, Visible, AfterValidator(_broker_url)]
TlsVerify = Annotated[bool | str, BeforeValidator(parse_verify)]
Countries = Annotated[frozenset[str], BeforeValidator(_countries)]
Limit = Annotated[
    int | None, Field(ge=1, le=1_000_000), BeforeValidator(lambda v: None if v == "" else v), EMPTY_COUNTS
]
Numbers = Annotated[tuple[str, ...], BeforeValidator(_numbers)]
Reply = Annotated[str, EMPTY_COUNTS]
StopWords = Annotated[frozenset[str], BeforeValidator(_words(letters_of))]
OtherWords = Annotated[frozenset[str], BeforeValidator(_words(plain))]
AccountSid = Annotated[str, Visible, AfterValidator(_sid("AC"))]
KeySid = Annotated[str, Visible, AfterValidator(_sid("SK"))]
ServiceSid = Annotated[str, Visible, AfterValidator(_sid("MG"))]
Secret = Annotated[SecretStr, Field(min_length=1), Visible]
AgentId = Annotated[str, Field(min_length=1, max_length=200), Visible]
Version = Annotated[str, Field(min_length=1), Visible, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
Provider = Literal["retell"]

EXAMPLE_ROUTES = '{"+15550001111": {"provider": "retell", "agent_id": "agent_x"}}'


class Route(BaseModel):
    """Who answers at one of our numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider
    agent_id: AgentId
    agent_version: Version = "latest_published"


Routes = Annotated[dict[str, Route], BeforeValidator(_routes)]
