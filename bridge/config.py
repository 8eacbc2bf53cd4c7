"""The settings: read once from the environment, and from ``.env`` where it is there; checked before anything starts.

``Settings.load()`` reports every fault at once. README's table of settings is held equal to this class by a test.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bridge.countries import COUNTRIES
from bridge.errors import BridgeError
from bridge.phone import RCS, WHATSAPP, masked

DEFAULT_MEDIA_REPLY = "Sorry, I can't read pictures or files here. Could you write it to me as text?"
DEFAULT_FALLBACK_REPLY = "Sorry, I can't answer right now. Please try again later."
DEFAULT_OPT_OUT_REPLY = "You are unsubscribed and will get no more texts from us. Reply START to subscribe again."
DEFAULT_OPT_IN_REPLY = "You are subscribed again. Reply HELP for help, or STOP to unsubscribe."
DEFAULT_TOO_LONG_REPLY = "Sorry, that is too long for me. Could you say it in fewer words?"
DEFAULT_PACE_REPLY = "You are texting faster than I can answer. I will read the rest a little later."
DEFAULT_HELP_REPLY = "Text us here and you get an answer. Message and data rates may apply. Reply STOP to unsubscribe."

LONGEST = timedelta(days=3650)
"""Longer is a slip of the keyboard, and would run past the end of the calendar."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_NO_DURATION = re.compile(r"0+[smhd]?")

_NUMBER = re.compile(rf"({WHATSAPP}|{RCS})?\+?[0-9A-Za-z_-]{{3,64}}")

_BROKERS = ("CELERY_BROKER_URL", "CLOUDAMQP_URL", "REDIS_URL")
"""The first is ours; the others are what a platform sets when a broker is added there."""

WEB_THREADS = 8
"""Of each process that answers requests. A webhook waits for one commit and nothing else."""

QUIET_AT_MOST = 10
"""Who goes on texting is answered after so many times REPLY_QUIET all the same."""

EMPTY_COUNTS = object()
"""Marks a field for which empty is a choice. For every other one, empty is the same as not set."""


Loaded = TypeVar("Loaded")


class SettingsError(BridgeError):
    """The settings can't be used. ``faults`` has one sentence for each, with the way to mend it; never a value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


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
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username or re.search(r"\s", text):
        raise ValueError("is no web address; write it like https://bridge.example.com")
    return text.rstrip("/")


def _database_url(text: str) -> str:
    """SQLAlchemy's or Heroku's form; PostgreSQL always by psycopg 3."""
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
    return text


def _broker_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"redis", "rediss", "amqp", "amqps"} and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no broker; write redis://, rediss://, amqp:// or amqps:// and the host")
    return text


def _numbers(text: object) -> object:
    """Comma-separated numbers, each with its country code."""
    if not isinstance(text, str):
        return text
    numbers = tuple(part.strip() for part in text.split(",") if part.strip())
    wrong = [n for n in numbers if not _NUMBER.fullmatch(n)]
    if wrong:
        raise ValueError(f"has {len(wrong)} entries that are no numbers; write +15550001111,+15550002222")
    return numbers


def _countries(text: object) -> object:
    """Comma-separated codes of two letters."""
    if not isinstance(text, str):
        return text
    codes = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if unknown := len(codes - COUNTRIES):
        raise ValueError(f"has {unknown} entries that are no countries; write their two letters, such as US,CA,GB")
    return codes


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
    return {number: Route.model_validate(dict(_object(route))) for number, route in written}


def _faults_of_routes(written: _Object) -> Iterator[str]:
    known: set[str] = set()
    for place, (number, route) in enumerate(written, start=1):
        faults = _faults_of_route(route)
        if not _NUMBER.fullmatch(number):
            faults.append("this is no number; write it like +15550001111")
        if number in known:
            faults.append("this number stands there twice; keep one of them")
        known.add(number)
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
    return f"{error['loc'][0]} {_words(error)}"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(lambda v: parse_duration(v) if v else None), EMPTY_COUNTS]
DurationOrNone = Annotated[
    timedelta | None, BeforeValidator(lambda v: None if not v or _NO_DURATION.fullmatch(str(v)) else parse_duration(v))
]
HttpAddress = Annotated[str, AfterValidator(_http_address)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
Countries = Annotated[frozenset[str], BeforeValidator(_countries)]
Limit = Annotated[
    int | None, Field(ge=1, le=1_000_000), BeforeValidator(lambda v: None if v == "" else v), EMPTY_COUNTS
]
Numbers = Annotated[tuple[str, ...], BeforeValidator(_numbers)]
Reply = Annotated[str, EMPTY_COUNTS]
AccountSid = Annotated[str, AfterValidator(_sid("AC"))]
KeySid = Annotated[str, AfterValidator(_sid("SK"))]
ServiceSid = Annotated[str, AfterValidator(_sid("MG"))]
Secret = Annotated[SecretStr, Field(min_length=1)]
AgentId = Annotated[str, Field(min_length=1, max_length=200)]
Version = Annotated[str, Field(min_length=1), BeforeValidator(lambda v: str(v) if type(v) is int else v)]
Provider = Literal["retell"]

EXAMPLE_ROUTES = '{"+15550001111": {"provider": "retell", "agent_id": "agent_x"}}'


class Route(BaseModel):
    """Who answers at one of our numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider
    agent_id: AgentId
    agent_version: Version = "latest_published"


Routes = Annotated[dict[str, Route], BeforeValidator(_routes)]


class DatabaseSettings(BaseModel):
    """What the migrations need: they must run before anything else is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: DatabaseUrl = Field(
        "sqlite:///bridge.sqlite3", repr=False, description="PostgreSQL or SQLite, in SQLAlchemy's or Heroku's form"
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read the environment; ``overrides`` go by the names of the fields. Raises :class:`SettingsError`."""
        found = _found(cls, _environment() if environ is None else environ)
        values = {name: text for name, (_, text) in found.items()}
        try:
            return cls(**{**values, **overrides})
        except ValidationError as error:
            names = {name: variable for name, (variable, _) in found.items()}
            faults = [fault for e in error.errors(include_input=False) for fault in _faults(cls, names, e)]
            raise SettingsError(faults) from None


class Settings(DatabaseSettings):
    """Everything that an operator can set."""

    broker_url: BrokerUrl | None = Field(
        None, repr=False, description="Redis or RabbitMQ; the first one of the three that is set"
    )
    public_url: HttpAddress = Field(description="the address that Twilio calls, such as https://x.example")

    twilio_account_sid: AccountSid = Field(
        description="your account: AC and 32 characters, on the console's first page"
    )
    twilio_auth_token: Secret = Field(description="the account's token; it signs the webhooks")
    twilio_auth_token_secondary: Secret | None = Field(None, description="accepted too, while you change tokens")
    twilio_api_key: KeySid | None = Field(
        None, description="SK and 32 characters; used for sending in place of the token"
    )
    twilio_api_secret: Secret | None = Field(None, validate_default=True, description="belongs to TWILIO_API_KEY")
    twilio_numbers: Numbers = Field((), description="this bridge's numbers, separated by commas")
    twilio_messaging_service_sid: ServiceSid | None = Field(
        None, description="send by this service instead of the number that was texted"
    )
    twilio_api_base_url: HttpAddress = Field("https://api.twilio.com", description="Twilio's REST API")

    sender_rate: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="segments a second that each of our senders may send; empty: by its kind",
    )

    agent_provider: Provider = Field("retell", description="who answers")
    retell_api_key: Secret = Field(description="the key with the webhook badge in the dashboard")
    retell_agent_id: AgentId = Field(description="a chat agent, not a voice agent")
    retell_agent_version: Version = Field("latest_published", description="a number, a tag, latest or latest_published")
    retell_base_url: HttpAddress = Field("https://api.retellai.com", description="Retell's API")
    agent_routes: Routes = Field({}, description="JSON: which of our numbers has another agent")

    agent_timeout: Duration = Field(timedelta(seconds=120), description="how long one answer of the agent may take")
    answer_within: Duration = Field(timedelta(hours=4), description="a text that waits longer is given up, loudly")
    reply_quiet: DurationOrNone = Field(
        None,
        description="how long a person must be silent before the agent is asked; empty: not at all",
    )
    stale_after: DurationOrNever = Field(
        timedelta(hours=24), description="a chat idle for this long is ended; empty: never by itself"
    )
    media_reply: Reply = Field(DEFAULT_MEDIA_REPLY, description="answers a picture; empty: silence")
    fallback_reply: Reply = Field(
        DEFAULT_FALLBACK_REPLY, description="said once when a text is given up; empty: silence"
    )
    smart_encoding: bool = Field(
        True, description="curly quotes, dashes and the like are sent as plain ones where that makes a text cheaper"
    )
    reply_join: bool = Field(False, description="what the agent says at once is sent as one text")
    opt_out_reply: Reply = Field(
        DEFAULT_OPT_OUT_REPLY, description="confirms STOP where Twilio does not; empty: silence"
    )
    opt_in_reply: Reply = Field(
        DEFAULT_OPT_IN_REPLY, description="confirms START where Twilio does not; empty: silence"
    )
    help_reply: Reply = Field(DEFAULT_HELP_REPLY, description="answers HELP where Twilio does not; empty: silence")
    opt_out_answered_by: Literal["auto", "twilio", "bridge"] = Field(
        "auto",
        description="who answers these three; auto: Twilio, but the bridge on short codes and WhatsApp",
    )
    turns_per_hour: Limit = Field(
        300, description="what one phone gets in an hour; what comes beyond waits for the next one; empty: no limit"
    )
    turns_per_minute: Limit = Field(
        60, description="who gets more is taken for a machine, and waits for an hour; empty: no limit"
    )
    characters_per_text: Limit = Field(
        None, description="a longer text is ignored; empty: as long as the carrier brings it"
    )
    allowed_countries: Countries = Field(
        frozenset(), description="two letters each, such as US,CA: others are ignored; empty: every country is served"
    )
    pace_reply: Reply = Field(
        DEFAULT_PACE_REPLY, description="said once an hour to who gets no more turns; empty: silence"
    )
    too_long_reply: Reply = Field(
        DEFAULT_TOO_LONG_REPLY, description="answers too long a text, once an hour; empty: silence"
    )
    admin_token: Secret | None = Field(None, description="opens /admin and /metrics; without it both answer 503")
    metrics_open: bool = Field(False, description="/metrics needs no token")
    worker_concurrency: int = Field(
        50,
        ge=1,
        le=5000,
        description="turns and deliveries at once in one worker process; `bridge up`: so many of each",
    )

    @field_validator("twilio_api_secret")
    @classmethod
    def _both_or_neither(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # On the field and not on the model: a model's check is left out as long as any field has a fault.
        if "twilio_api_key" in info.data and (secret is None) != (info.data["twilio_api_key"] is None):
            raise ValueError("and TWILIO_API_KEY belong together; set both, or neither")
        return secret

    @field_validator("reply_quiet")
    @classmethod
    def _much_shorter_than_patience(cls, quiet: timedelta | None, info: ValidationInfo) -> timedelta | None:
        if quiet and quiet * QUIET_AT_MOST >= info.data.get("answer_within", LONGEST):
            raise ValueError(f"is too long; it must be shorter than ANSWER_WITHIN / {QUIET_AT_MOST}")
        return quiet

    @property
    def our_numbers(self) -> frozenset[str]:
        """Those that the settings name."""
        return frozenset(self.twilio_numbers) | self.agent_routes.keys()

    @property
    def default_route(self) -> Route:
        """Who answers at a number that ``AGENT_ROUTES`` does not name."""
        return Route(
            provider=self.agent_provider,
            agent_id=self.retell_agent_id,
            agent_version=self.retell_agent_version,
        )

    @property
    def signing_tokens(self) -> tuple[str, ...]:
        """Either token's signature is good: during a rotation both are in use."""
        tokens = (self.twilio_auth_token, self.twilio_auth_token_secondary)
        return tuple(token.get_secret_value() for token in tokens if token)


class ServerSettings(Settings):
    """The same for the processes of the Procfile, which meet at a broker."""

    broker_url: BrokerUrl = Field(repr=False, description="Redis or RabbitMQ; the first one of the three that is set")


def or_exit(load: Callable[[], Loaded]) -> Loaded:
    """For a front door: what ``load`` reads, or every fault on the terminal and exit code 2."""
    try:
        return load()
    except SettingsError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - nothing else is up yet, the log included
        sys.exit(2)


def variable_names(name: str) -> tuple[str, ...]:
    """The environment variables of one field, the first one that is set winning."""
    return _BROKERS if name == "broker_url" else (name.upper(),)


def _environment() -> dict[str, str]:
    """The environment, over ``.env`` in the working folder."""
    try:
        # A token may hold a dollar sign: nothing is put in its place.
        written = dotenv_values(".env", interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise SettingsError([".env can't be read; it must be a text file in UTF-8"]) from None
    return {name: text for name, text in written.items() if text is not None} | dict(os.environ)


def _found(settings: type[BaseModel], environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is set: for each field the variable and its text."""
    found = {}
    for name, field in settings.model_fields.items():
        keeps_empty = EMPTY_COUNTS in field.metadata
        for variable in variable_names(name):
            text = environ.get(variable, "").strip()
            if text or (keeps_empty and variable in environ):
                found[name] = (variable, text)
                break
    return found


_PLAIN_WORDS = {
    "missing": "is not set; set it",
    "string_too_short": "is empty; set it",
    "too_short": "is empty; set it",
    "string_too_long": "is too long; the most is {max_length} characters",
    "string_type": "is no text; write it between quotes",
    "int_parsing": "is no whole number; write digits",
    "float_parsing": "is no number; write digits, such as 0.5 or 75",
    "finite_number": "is no number; write digits, such as 0.5 or 75",
    "bool_parsing": "is neither true nor false; write one of them",
    "greater_than": "is too small; it must be more than {gt:g}",
    "greater_than_equal": "is too small; the least is {ge}",
    "less_than_equal": "is too large; the most is {le:.0f}",
    "literal_error": "is none of the choices; write {expected}",
    "value_error": "{error}",
}


def _faults(settings: type[BaseModel], names: Mapping[str, str], error: Any) -> list[str]:
    """Sentences that name the variable, what is wrong and how to mend it; never the value. Mostly one."""
    name = str(error["loc"][0])
    variable = names.get(name) or " or ".join(variable_names(name))
    field = settings.model_fields.get(name)
    about = f" ({field.description})" if field and error["type"] != "value_error" else ""
    return [f"{variable} {line}{about}" for line in _words(error).splitlines()]


def _words(error: Any) -> str:
    return _PLAIN_WORDS.get(error["type"], "does not fit").format(**error.get("ctx", {}))
