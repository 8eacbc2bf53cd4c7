"""The types of the settings' values: how each is read, its limits, and the words for its faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from psycopg.pq import Conninfo
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bridge.config.faults import EMPTY_COUNTS, variable_names, words
from bridge.config.numbers import our_address, our_addresses
from bridge.config.proxies import is_here, is_host
from bridge.config.tls import fault_of_address, parse_verify
from bridge.config.visible import path, visible
from bridge.lib.countries import COUNTRIES
from bridge.lib.keywords import letters_of, plain
from bridge.lib.phone import e164, masked

LONGEST = timedelta(days=3650)
"""A longer duration is a typing error, and would run past the end of the calendar."""

FOREIGN = ("pgbouncer", "connection_limit", "pool_timeout", "supa", "prepareThreshold", "prepared_statements")
"""Parameters for other libraries that hosted databases write into the addresses of their poolers."""

SHORTEST_AGE = timedelta(days=1)
"""What is younger is never purged: limits, idempotency keys and the carrier's queues count in hours."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_NO_DURATION = re.compile(r"0+[smhd]?")

_OPERATOR = re.compile(r"[A-Za-z][A-Za-z0-9._@+-]{0,63}")
NO_OPERATOR = "the name must begin with a letter and have at most 64 letters, digits and . _ - @ +; write name:token"

_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
NO_KEY = "this is no key, which has 44 characters and ends with =; make one with: bridge encrypt --new-key"


def parse_duration(text: object) -> timedelta:
    """Read ``90s``, ``15m``, ``24h`` or ``90d``. Raise ValueError for anything else."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if not match or not int(match[1]):
        raise ValueError("is not a duration; write a number and a unit, such as 90s, 15m, 24h or 90d")
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if duration > LONGEST:
        raise ValueError(f"is too long; the most is {LONGEST.days}d")
    return duration


def parse_age(text: object) -> timedelta:
    """Read how old something must be to be purged. Raise ValueError if that is too young."""
    age = parse_duration(text)
    if age < SHORTEST_AGE:
        raise ValueError(f"is too short; the least is {SHORTEST_AGE.days}d")
    return age


def _http_address(text: str) -> str:
    """Read a base address. Remove its trailing slash."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username or re.search(r"\s", text):
        raise ValueError("is not a web address; write it like https://bridge.example.com")
    return text.rstrip("/")


def _webhook_address(text: str) -> str:
    """Read the address of a webhook, which may have a query. What it gets must be encrypted on its way."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        usable = parts.scheme in {"http", "https"} and is_host(host) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.fragment or parts.username is not None:
        raise ValueError("is not a web address; write it like https://team.example.com/waiting")
    if parts.scheme == "http" and not is_here(host):
        raise ValueError("is not encrypted; write https:// before the host")
    return text


def _sentry_dsn(written: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[^\s@/:]+@[^\s@/]+(/\S+)?/[0-9]+", written.get_secret_value()):
        raise ValueError("is no DSN; copy it from the project's settings in Sentry, Client Keys")
    return written


_OTLP_HEADER = re.compile(r"[\w-]+=[!#-+\--:<-\[\]-~]+", re.ASCII)
"""A pair as the SDK of OpenTelemetry accepts it. It would log any other one, with its token."""


def _otlp_headers(written: SecretStr) -> SecretStr:
    pairs = written.get_secret_value().split(",")
    if not all(_OTLP_HEADER.fullmatch(pair) for pair in pairs):
        raise ValueError("has another form; write name=value, and commas between several")
    return written


def _sms_number(written: str) -> str:
    try:
        address = our_address(written)
    except ValueError:
        address = ""
    if address != e164(address):
        raise ValueError("is not a phone number with its country; write it like +15550001111")
    return address


def _database_url(text: str) -> str:
    """Read SQLAlchemy's or Heroku's form.

    PostgreSQL always uses psycopg 3. A file name may have any usual character.
    """
    text = path(text) if text.startswith("sqlite:") else str(visible(text))
    text = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", text)
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise ValueError("is not a database address; write it like postgresql://user:password@host/name") from None
    if backend not in {"postgresql", "sqlite"}:
        raise ValueError("names an unsupported database; write postgresql:// or sqlite:///")
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ValueError("does not name a file; write it like sqlite:///bridge.sqlite3")
    return text if backend == "sqlite" else _for_libpq(url)


def _for_libpq(url: URL) -> str:
    """Remove the parameters of a pooler's address that only other libraries understand. libpq refuses them."""
    known = _libpq_knows() | {"host", "port"}
    ours = url.difference_update_query(FOREIGN)
    if ours.query.keys() - known:
        raise ValueError("has a parameter after the ? that PostgreSQL does not know; remove it")
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
        raise ValueError("is not a broker; write redis://, rediss://, amqp:// or amqps:// and the host")
    if fault := fault_of_address(text):
        raise ValueError(fault)
    return text


def _numbers(text: object) -> object:
    return our_addresses(text) if isinstance(text, str) else text


def _countries(text: object) -> object:
    """Read comma-separated codes of two letters."""
    if not isinstance(text, str):
        return text
    codes = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if unknown := len(codes - COUNTRIES):
        raise ValueError(f"has {unknown} entries that are not countries; write two letters, such as US,CA,GB")
    return codes


def _words(form: Callable[[str], str]) -> Callable[[object], object]:
    """Return a reader of comma-separated words or phrases, in the form that :mod:`bridge.lib.keywords` compares."""

    def read(text: object) -> object:
        if not isinstance(text, str):
            return text
        written = text.split(",") if text.strip() else []
        if empty := [str(place) for place, word in enumerate(written, start=1) if not letters_of(word)]:
            raise ValueError(f"has no word at its entry {', '.join(empty)}; write words with commas between them")
        return frozenset(map(form, written))

    return read


def _listed(text: object) -> object:
    """Read words with commas between them."""
    if not isinstance(text, str):
        return text
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _sid(prefix: str) -> Callable[[str], str]:
    """Return a check for one of Twilio's ids."""

    def check(text: str) -> str:
        if not re.fullmatch(prefix + "[0-9a-fA-F]{32}", text):
            raise ValueError(f"does not look right; it is {prefix} and 32 digits or letters from a to f")
        return text

    return check


class _Object(list[tuple[str, object]]):
    """A JSON object with all its names, including repeated ones. JSON itself accepts those."""


def _routes(text: object) -> object:
    """Read JSON. Raise ValueError with one line for each fault."""
    if not isinstance(text, str):
        return text
    try:
        written = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        raise ValueError(f"is not JSON; write it like {EXAMPLE_ROUTES}") from None
    if not isinstance(written, _Object):
        raise ValueError(f"is not a JSON object; write it like {EXAMPLE_ROUTES}")
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
                faults.append("this number appears twice; keep one")
            known.add(address)
        yield from (f"at its entry {place} ({masked(number)}): {fault}" for fault in faults)


def _faults_of_route(route: object) -> list[str]:
    names = [name for name, _ in _object(route)]
    faults = ["a field appears twice; keep one"] if len(set(names)) < len(names) else []
    try:
        Route.model_validate(dict(_object(route)))
    except ValidationError as error:
        faults += [_fault_of_route(fault) for fault in error.errors(include_input=False)]
    return faults


def _object(value: object) -> _Object:
    """Return an object without fields for any other value. Then every required field is reported as missing."""
    return value if isinstance(value, _Object) else _Object()


def _fault_of_route(error: Any) -> str:
    if error["type"] == "extra_forbidden":  # the name is not shown, as it may be private
        return f"a field is unknown; the known ones are {', '.join(Route.model_fields)}"
    return f"{error['loc'][0]} {words(error)}"


def _operators(text: object) -> object:
    """Read ``ana:token,ben:token``. Raise ValueError with one line for each fault."""
    if not isinstance(text, str):
        return text
    faults: list[str] = []
    tokens: dict[str, SecretStr] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, token = (part.strip() for part in entry.partition(":"))
        fault = _fault_of_operator(name, token, tokens)
        if fault:
            faults.append(f"at its entry {place}: {fault}")
        else:
            tokens[name] = SecretStr(token)
    if faults:
        raise ValueError("\n".join(faults))
    return tokens


def _fault_of_operator(name: str, token: str, before: Mapping[str, SecretStr]) -> str | None:
    if not _OPERATOR.fullmatch(name):
        return NO_OPERATOR
    if not token:
        return "the token is empty; write name:token"
    try:
        visible(token)
    except ValueError as error:
        return f"the token {error}"
    if name.casefold() in map(str.casefold, before):
        return "this name appears twice; keep one"
    if token in {known.get_secret_value() for known in before.values()}:
        return "another operator has the same token; give each their own"
    return None


def _encryption_keys(text: object) -> object:
    """Read keys as Fernet wants them. Raise ValueError with one line for each fault."""
    if not isinstance(text, str):
        return text
    written = [part.strip() for part in text.split(",")]
    faults = [f"at its entry {place}: {fault}" for place, key in enumerate(written, 1) if (fault := _fault_of_key(key))]
    if faults:
        raise ValueError("\n".join(faults))
    if len(set(written)) < len(written):
        raise ValueError("has a key twice; keep one")
    return tuple(map(SecretStr, written))


def _fault_of_key(key: str) -> str | None:
    try:
        visible(key)
    except ValueError as error:
        return f"the key {error}"
    return None if _KEY.fullmatch(key) else NO_KEY


def is_secret(field: FieldInfo) -> bool:
    """Return whether nobody may see the value: a key or a token, or an address that may have a password."""
    return not field.repr or SecretStr.__name__ in str(field.annotation)


@cache
def secret_names(settings: type[BaseModel]) -> tuple[str, ...]:
    """Return the variables of all secret settings. A file may have the value of each."""
    secret = [name for name, field in settings.model_fields.items() if is_secret(field)]
    return tuple(variable for name in secret for variable in variable_names(name))


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(lambda v: parse_duration(v) if v else None), EMPTY_COUNTS]
DurationOrNone = Annotated[
    timedelta | None, BeforeValidator(lambda v: None if not v or _NO_DURATION.fullmatch(str(v)) else parse_duration(v))
]
AgeOrNever = Annotated[timedelta | None, BeforeValidator(lambda v: parse_age(v) if v else None), EMPTY_COUNTS]
Visible = BeforeValidator(visible)
HttpAddress = Annotated[str, Visible, AfterValidator(_http_address)]
WebhookAddress = Annotated[str, Visible, AfterValidator(_webhook_address)]
SmsNumber = Annotated[str, AfterValidator(_sms_number)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, Visible, AfterValidator(_broker_url)]
TlsVerify = Annotated[bool | str, BeforeValidator(parse_verify)]
Countries = Annotated[frozenset[str], BeforeValidator(_countries)]
Limit = Annotated[
    int | None, Field(ge=1, le=1_000_000), BeforeValidator(lambda v: None if v == "" else v), EMPTY_COUNTS
]
LimitOrNever = Annotated[
    int | None, Field(ge=1, le=1_000_000), BeforeValidator(lambda v: None if v in ("", "0", 0) else v), EMPTY_COUNTS
]
Numbers = Annotated[tuple[str, ...], BeforeValidator(_numbers)]
Reply = Annotated[str, EMPTY_COUNTS]
StopWords = Annotated[frozenset[str], BeforeValidator(_words(letters_of))]
HandoffOn = Annotated[frozenset[Literal["silence", "failure"]], BeforeValidator(_listed)]
OtherWords = Annotated[frozenset[str], BeforeValidator(_words(plain))]
AccountSid = Annotated[str, Visible, AfterValidator(_sid("AC"))]
KeySid = Annotated[str, Visible, AfterValidator(_sid("SK"))]
ServiceSid = Annotated[str, Visible, AfterValidator(_sid("MG"))]
EncryptionKeys = Annotated[tuple[SecretStr, ...], BeforeValidator(_encryption_keys)]
Operators = Annotated[dict[str, SecretStr], BeforeValidator(_operators)]
Secret = Annotated[SecretStr, Field(min_length=1), Visible]
SentryDsn = Annotated[Secret, AfterValidator(_sentry_dsn)]
OtlpHeaders = Annotated[Secret, AfterValidator(_otlp_headers)]
AgentId = Annotated[str, Field(min_length=1, max_length=200), Visible]
Version = Annotated[str, Field(min_length=1), Visible, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
Provider = Literal["retell", "uponai"]

EXAMPLE_ROUTES = '{"+15550001111": {"provider": "retell", "agent_id": "agent_x"}}'


class Route(BaseModel):
    """The agent that answers at one of our numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider
    agent_id: AgentId
    agent_version: Version = "latest_published"

    @field_validator("agent_version")
    @classmethod
    def _can_be_chosen(cls, version: str, info: ValidationInfo) -> str:
        if info.data.get("provider") == "uponai":
            raise ValueError("can't be chosen at uponai; remove it")
        return version


Routes = Annotated[dict[str, Route], BeforeValidator(_routes)]

_ROUTES: TypeAdapter[dict[str, Route]] = TypeAdapter(Routes)


def providers_named(default: object, routes: object) -> set[object]:
    """Return the provider of AGENT_PROVIDER and those of AGENT_ROUTES, as far as these can be read."""
    try:
        return {default, *(route.provider for route in _ROUTES.validate_python(routes).values())}
    except ValidationError:
        return {default}
