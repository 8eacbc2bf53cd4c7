"""The settings, read once from the environment and from ``.env``, and checked before anything starts.

``Settings.load()`` reports all faults together. A test keeps the table of ``docs/settings.md`` equal to this class.
``values`` reads a value. ``faults`` finds it in the environment, and has the words for a wrong one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from bridge.config.faults import SettingsError, environment, faults_of, found_in, or_exit, variable_names
from bridge.config.files import SUFFIX, read_files
from bridge.config.misspelt import Unknown, unknown
from bridge.config.proxies import faults_of_proxies
from bridge.config.tls import contradiction
from bridge.config.values import (
    EXAMPLE_ROUTES,
    LONGEST,
    AccountSid,
    AgentId,
    AgeOrNever,
    BrokerUrl,
    Countries,
    DatabaseUrl,
    Duration,
    DurationOrNever,
    DurationOrNone,
    EncryptionKeys,
    HandoffOn,
    HttpAddress,
    KeySid,
    Limit,
    LimitOrNever,
    Numbers,
    Operators,
    OtherWords,
    OtlpHeaders,
    Provider,
    Reply,
    Route,
    Routes,
    Secret,
    SentryDsn,
    ServiceSid,
    SmsNumber,
    StopWords,
    TlsVerify,
    Version,
    WebhookAddress,
    parse_age,
    parse_duration,
    providers_named,
    secret_names,
)
from bridge.lib.keywords import HELP_WORDS, START_WORDS, STOP_WORDS, ExtraWords, letters_of
from bridge.lib.phone import without_channel

__all__ = [
    "ACCOUNTS",
    "ADMIN",
    "DEBOUNCE_AT_MOST",
    "DEFAULT_FALLBACK_REPLY",
    "DEFAULT_HANDOFF_LATE_REPLY",
    "DEFAULT_HANDOFF_REPLY",
    "DEFAULT_HELP_REPLY",
    "DEFAULT_MEDIA_REPLY",
    "DEFAULT_OPT_IN_REPLY",
    "DEFAULT_OPT_OUT_REPLY",
    "DEFAULT_RATE_LIMIT_REPLY",
    "DEFAULT_TOO_LONG_REPLY",
    "EXAMPLE_ROUTES",
    "LONGEST",
    "NEEDED_BY",
    "WEB_THREADS",
    "DatabaseSettings",
    "ReadSettings",
    "Route",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "or_exit",
    "parse_age",
    "parse_duration",
    "unknown_names",
    "variable_names",
    "warn_of_unknown_names",
]

log = logging.getLogger(__name__)

DEFAULT_MEDIA_REPLY = "Sorry, I can't read pictures or files here. Could you write it to me as text?"
DEFAULT_FALLBACK_REPLY = "Sorry, I can't answer right now. Please try again later."
DEFAULT_HANDOFF_REPLY = "A member of our team will go on from here and answer you soon."
DEFAULT_HANDOFF_LATE_REPLY = "Sorry, nobody of our team is free yet. We have your message and will answer it here."
DEFAULT_OPT_OUT_REPLY = "You are unsubscribed and will get no more texts from us. Reply START to subscribe again."
DEFAULT_OPT_IN_REPLY = "You are subscribed again. Reply HELP for help, or STOP to unsubscribe."
DEFAULT_TOO_LONG_REPLY = "Sorry, that is too long for me. Could you say it in fewer words?"
DEFAULT_RATE_LIMIT_REPLY = "You are texting faster than I can answer. I will read the rest a little later."
DEFAULT_HELP_REPLY = "Text us here and you get an answer. Message and data rates may apply. Reply STOP to unsubscribe."

EXTRA_WORDS = {
    "extra_stop_words": STOP_WORDS,
    "extra_start_words": START_WORDS,
    "extra_help_words": HELP_WORDS,
}
"""The words to which each of these settings adds."""

ACCOUNTS: dict[str, tuple[str, ...]] = {
    "retell": ("retell_api_key",),
    "uponai": ("uponai_api_key", "uponai_workspace_id"),
}
"""The settings without which a provider can't be called."""

NEEDED_BY = {
    **{name: provider for provider, account in ACCOUNTS.items() for name in account},
    **{f"{provider}_agent_id": provider for provider in ACCOUNTS},
}
"""The settings that must be set if ``AGENT_PROVIDER`` is this provider."""

NEEDS_EXTRA = {
    "otel_exporter_otlp_endpoint": ("otel", "opentelemetry"),
    "sentry_dsn": ("sentry", "sentry_sdk"),
    "encryption_keys": ("encryption", "cryptography"),
}
"""The settings that need a library of an extra: the extra, and the name by which the library is imported."""

WEBHOOKS = ("/twilio/inbound", "/twilio/status", "/twilio", "/retell/events", "/uponai/events")
"""Addresses below ``PUBLIC_URL``, which is often set to one of them by mistake."""

KEYWORDS = frozenset(map(letters_of, STOP_WORDS | START_WORDS | HELP_WORDS))

ADMIN = "admin"
"""The name of the operator with the ADMIN_TOKEN."""

OTHERS = frozenset({"PORT", "WEB_CONCURRENCY", "BRIDGE_URL"})
"""Variables that the bridge reads elsewhere."""

WEB_THREADS = 8
"""Threads of each process that answers requests. A webhook waits for one commit and nothing else."""

DEBOUNCE_AT_MOST = 10
"""Times REPLY_DEBOUNCE. A person who keeps texting gets an answer after this time."""


class ReadSettings(BaseModel):
    """Settings that are read from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read the environment. ``overrides`` have the names of the fields. Raise :class:`SettingsError`."""
        known = environment() if environ is None else environ
        files = read_files(secret_names(cls), known)
        found = found_in(cls, {**known, **files.values}, files.values)
        values = {**{name: text for name, (_, text) in found.items()}, **overrides}
        faults = faults_of_proxies(cls._called(values), os.environ if environ is None else environ)
        try:
            loaded = cls(**values)
        except ValidationError as error:
            names = {name: variable for name, (variable, _) in found.items()}
            faults = [fault for e in error.errors(include_input=False) for fault in faults_of(cls, names, e)] + faults
        if faults or files.faults:
            # Without its file a variable is not set. Only the fault of the file is one.
            others = [each for each in faults if each.split(" ")[0] not in files.faults]
            raise SettingsError([*files.faults.values(), *others], _hints(known) if environ is None else []) from None
        return loaded

    @classmethod
    def _called(cls, values: Mapping[str, Any]) -> list[str]:
        """Return the addresses that are called through a proxy, if there is one."""
        return []


class DatabaseSettings(ReadSettings):
    """The settings that the migrations need. They must run before anything else is set."""

    database_url: DatabaseUrl = Field(
        "sqlite:///bridge.sqlite3", repr=False, description="PostgreSQL or SQLite, in the form of SQLAlchemy or Heroku"
    )


class Settings(DatabaseSettings):
    """All settings of an operator."""

    broker_url: BrokerUrl | None = Field(
        None, repr=False, description="Redis or RabbitMQ; the first of these three names that is set"
    )
    redis_tls_verify: TlsVerify = Field(
        False,
        description="check the certificate of a rediss:// broker: true, or a file with the CA's certificates; "
        "the default fits Heroku's, which is self-signed",
    )
    public_url: HttpAddress = Field(description="the address that Twilio calls, such as https://x.example")

    twilio_account_sid: AccountSid = Field(
        description="your account: AC and 32 characters, on the first page of the console"
    )
    twilio_auth_token: Secret = Field(description="the account's token; it signs the webhooks")
    twilio_auth_token_secondary: Secret | None = Field(None, description="also accepted, while you change tokens")
    twilio_api_key: KeySid | None = Field(
        None, description="SK and 32 characters; used for API calls instead of the token"
    )
    twilio_api_secret: Secret | None = Field(None, validate_default=True, description="the secret of TWILIO_API_KEY")
    twilio_numbers: Numbers = Field((), description="the numbers of this bridge, separated by commas")
    twilio_messaging_service_sid: ServiceSid | None = Field(
        None, description="send through this service instead of the number that was texted"
    )
    twilio_api_base_url: HttpAddress = Field("https://api.twilio.com", description="Twilio's REST API")

    sender_rate: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="segments a second for each sender; empty: by the kind of number",
    )

    agent_provider: Provider = Field("retell", description="the provider of the chat agent")
    agent_routes: Routes = Field({}, description="JSON: the numbers that have another agent")
    retell_api_key: Secret | None = Field(
        None, validate_default=True, description="the key with the webhook badge in the dashboard"
    )
    retell_agent_id: AgentId | None = Field(None, validate_default=True, description="a chat agent, not a voice agent")
    retell_agent_version: Version = Field("latest_published", description="a number, a tag, latest or latest_published")
    retell_base_url: HttpAddress = Field("https://api.retellai.com", description="Retell's API")
    retell_contacts: Literal["read", "write"] | None = Field(
        None,
        description="read: a new chat gets the person's contact; write: STOP and START by text also set do_not_call "
        "there; empty: neither",
    )
    uponai_api_key: Secret | None = Field(
        None, validate_default=True, description="a token, from the profile settings at app.uponai.com"
    )
    uponai_workspace_id: int | None = Field(
        None, ge=1, le=2**53, validate_default=True, description="the number of the workspace"
    )
    uponai_agent_id: AgentId | None = Field(None, validate_default=True, description="a chat agent of this workspace")
    uponai_base_url: HttpAddress = Field("https://api.upon-ai.com", description="UponAI's API")
    uponai_webhook_key: Secret | None = Field(
        None, description="the key with the webhook badge, which signs events; without it they are refused"
    )

    agent_timeout: Duration = Field(
        timedelta(seconds=120), description="the longest time that one answer of the agent may take"
    )
    answer_within: Duration = Field(timedelta(hours=4), description="a text that waits longer is given up")
    reply_debounce: DurationOrNone = Field(
        None,
        description="the agent is asked after this long without a new text; empty: immediately",
    )
    stale_after: DurationOrNever = Field(
        timedelta(hours=24), description="a chat that is idle this long is ended; empty: never"
    )
    recap_within: DurationOrNever = Field(
        timedelta(days=30), description="a new chat gets a recap of the messages of this period; empty: no recap"
    )
    recap_across_whatsapp: bool = Field(
        False, description="share the recap of one person between WhatsApp and the other channels"
    )
    media_reply: Reply = Field(
        DEFAULT_MEDIA_REPLY, description="answers a picture and anything else that can't be read; empty: no reply"
    )
    voice_reply: str = Field("", description="answers a voice note; empty: MEDIA_REPLY")
    contact_reply: str = Field("", description="answers a contact card; empty: MEDIA_REPLY")
    reactions: Literal["ignore", "tell"] = Field(
        "ignore", description="ignore: store likes and other reactions, and do not answer; tell: pass them to the agent"
    )
    fallback_reply: Reply = Field(
        DEFAULT_FALLBACK_REPLY, description="sent once when a text is given up; empty: no reply"
    )
    handoff_reply: Reply = Field(
        DEFAULT_HANDOFF_REPLY,
        description="sent once when a human takes over, if the agent has not told that; empty: no reply",
    )
    handoff_webhook: WebhookAddress | None = Field(
        None, repr=False, description="this https address is told when somebody waits for a person of the team"
    )
    handoff_webhook_secret: Secret | None = Field(
        None, validate_default=True, description="signs what HANDOFF_WEBHOOK gets"
    )
    handoff_number: SmsNumber | None = Field(
        None, description="this phone gets a text when somebody waits for a person of the team"
    )
    handoff_words: StopWords = Field(
        frozenset(), description="a text that is one of these words asks for a human, such as agent,human"
    )
    handoff_on: HandoffOn = Field(
        frozenset(),
        description="what else asks for a human: silence (SILENT_TURNS), failure (a text is given up); separated by "
        "commas",
    )
    handoff_within: DurationOrNone = Field(
        None, description="after this long without a human, the person gets HANDOFF_LATE_REPLY; empty: never"
    )
    handoff_late_reply: Reply = Field(
        DEFAULT_HANDOFF_LATE_REPLY, description="sent once if no human has come within HANDOFF_WITHIN; empty: no reply"
    )
    handoff_give_back: bool = Field(
        False, description="after HANDOFF_WITHIN the agent answers again, also what came meanwhile"
    )
    auto_hold: DurationOrNever = Field(
        timedelta(minutes=30),
        description="the agent keeps still this long after a text from our number by another tool; empty: not at all",
    )
    silent_turns: LimitOrNever = Field(
        3, description="operators are told of an agent that gives no word in so many turns in a row; 0 or empty: never"
    )
    send_auto_close_message: bool = Field(
        False, description="send the agent's auto_close_message when Retell reports that a silent chat was closed"
    )
    drafts: bool = Field(
        False, description="operators may have the agent write a draft; its tools run for real, and Retell bills it"
    )
    smart_encoding: bool = Field(
        True, description="send curly quotes, dashes and the like as plain characters where that makes a text cheaper"
    )
    segments_per_text: int = Field(
        10,
        ge=1,
        le=24,
        description="a message with more segments is sent as several; carriers refuse large ones (30019)",
    )
    reply_join: bool = Field(False, description="send all messages of one answer as one text")
    opt_out_reply: Reply = Field(
        DEFAULT_OPT_OUT_REPLY, description="confirms STOP where Twilio does not; empty: no reply"
    )
    opt_in_reply: Reply = Field(
        DEFAULT_OPT_IN_REPLY, description="confirms START where Twilio does not; empty: no reply"
    )
    help_reply: Reply = Field(DEFAULT_HELP_REPLY, description="answers HELP where Twilio does not; empty: no reply")
    opt_out_answered_by: Literal["auto", "twilio", "bridge"] = Field(
        "auto",
        description="the sender of these three replies; auto: Twilio, or the bridge if Twilio does not know the word",
    )
    extra_stop_words: StopWords = Field(frozenset(), description="more words that opt out, separated by commas")
    extra_start_words: OtherWords = Field(frozenset(), description="more words that opt in again")
    extra_help_words: OtherWords = Field(frozenset(), description="more words that ask for help")
    turns_per_hour: Limit = Field(
        300, description="turns of one phone in an hour; more texts wait for the next hour; empty: no limit"
    )
    turns_per_minute: Limit = Field(
        60, description="a phone with more turns is paused for an hour, to stop reply loops; empty: no limit"
    )
    characters_per_text: Limit = Field(None, description="a longer text is ignored; empty: no limit")
    allowed_countries: Countries = Field(
        frozenset(), description="two letters each, such as US,CA; other countries are ignored; empty: all countries"
    )
    ignore_short_codes: bool = Field(
        False, description="store texts from short codes and do not answer them, like texts from names such as VERIFY"
    )
    rate_limit_reply: Reply = Field(
        DEFAULT_RATE_LIMIT_REPLY,
        description="sent to a phone over its limit of turns, at most once an hour; empty: no reply",
    )
    too_long_reply: Reply = Field(
        DEFAULT_TOO_LONG_REPLY, description="answers a text that is too long, at most once an hour; empty: no reply"
    )
    retention: AgeOrNever = Field(
        None,
        description="texts and all that belongs to them are deleted when they are older than this, at least 1d; "
        "empty: never",
    )
    encryption_keys: EncryptionKeys = Field(
        (),
        description="the words in the database are encrypted by the first of these keys, and each opens what it has "
        "encrypted; separated by commas",
    )
    admin_token: Secret | None = Field(
        None, description="opens /admin, /console and /metrics; without it and ADMIN_TOKENS they answer 503"
    )
    admin_tokens: Operators = Field({}, description="the same with a name for each operator: ana:token,ben:token")
    metrics_open: bool = Field(False, description="/metrics needs no token")
    log_format: Literal["text", "json"] = Field(
        "text", description="how the log is written: text for people, json for a log service"
    )
    otel_exporter_otlp_endpoint: HttpAddress | None = Field(
        None, description="spans go to this collector of OpenTelemetry by HTTP, such as http://localhost:4318"
    )
    otel_exporter_otlp_headers: OtlpHeaders | None = Field(
        None, description="what the collector asks for: name=value, separated by commas; a blank is %20"
    )
    sentry_dsn: SentryDsn | None = Field(None, description="errors go to this project at Sentry")
    worker_concurrency: int = Field(
        1000,
        ge=1,
        le=5000,
        description="turns in flight at the same time in one worker process, or in `bridge up`",
    )

    @field_validator("twilio_api_secret")
    @classmethod
    def _both_or_neither(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # A field's check, because pydantic skips a model's check while any field has a fault.
        if "twilio_api_key" in info.data and (secret is None) != (info.data["twilio_api_key"] is None):
            raise ValueError("and TWILIO_API_KEY belong together; set both, or neither")
        return secret

    @field_validator("handoff_webhook_secret")
    @classmethod
    def _signs_the_webhook(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "handoff_webhook" in info.data and (secret is None) != (info.data["handoff_webhook"] is None):
            raise ValueError("and HANDOFF_WEBHOOK belong together; set both, or neither")
        return secret

    @field_validator("handoff_number")
    @classmethod
    def _is_a_phone_of_the_team(cls, number: str | None, info: ValidationInfo) -> str | None:
        ours = [*info.data.get("twilio_numbers", ()), *info.data.get("agent_routes", ())]
        if number and number in map(without_channel, ours):
            raise ValueError("is one of the bridge's own numbers; write a phone of the team")
        return number

    @field_validator(*NEEDED_BY)
    @classmethod
    def _is_there_if_needed(cls, value: object, info: ValidationInfo) -> object:
        name = str(info.field_name)
        owner, named = NEEDED_BY[name], providers_named(None, info.data.get("agent_routes", {}))
        if value is None and info.data.get("agent_provider") == owner:
            raise PydanticKnownError("missing")
        if value is None and name in ACCOUNTS[owner] and owner in named:
            raise ValueError(f"is not set, and AGENT_ROUTES names an agent at {owner}; set it")
        return value

    @field_validator("retell_contacts")
    @classmethod
    def _has_an_account(cls, contacts: str | None, info: ValidationInfo) -> str | None:
        if contacts and "retell_api_key" in info.data and info.data["retell_api_key"] is None:
            raise ValueError("needs RETELL_API_KEY; set both, or neither")
        return contacts

    @field_validator("public_url")
    @classmethod
    def _is_the_base(cls, address: str) -> str:
        if path := next((path for path in WEBHOOKS if address.endswith(path)), None):
            raise ValueError(f"ends with {path}, which the bridge adds itself; leave it out")
        return address

    @field_validator("handoff_words")
    @classmethod
    def _are_no_keywords(cls, words: frozenset[str]) -> frozenset[str]:
        if twice := len(words & KEYWORDS):
            raise ValueError(f"has {twice} words that opt out or in, or ask for help; choose others")
        return words

    @field_validator("handoff_give_back")
    @classmethod
    def _has_its_time(cls, gives_back: bool, info: ValidationInfo) -> bool:
        if gives_back and info.data.get("handoff_within", LONGEST) is None:
            raise ValueError("needs HANDOFF_WITHIN; set both, or leave it out")
        return gives_back

    @field_validator("silent_turns")
    @classmethod
    def _counts_what_hands_off(cls, turns: int | None, info: ValidationInfo) -> int | None:
        if turns is None and "silence" in info.data.get("handoff_on", ()):
            raise ValueError("is off, and HANDOFF_ON has silence; set a number, or leave silence out")
        return turns

    @field_validator(*NEEDS_EXTRA)
    @classmethod
    def _is_installed(cls, value: object, info: ValidationInfo) -> object:
        extra, library = NEEDS_EXTRA[str(info.field_name)]
        if value and find_spec(library) is None:
            raise ValueError(f"needs the extra {extra}; run: pip install 'sms-bridge[{extra}]', or leave it out")
        return value

    @field_validator("admin_tokens")
    @classmethod
    def _differ_from_the_first(cls, tokens: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        first = info.data.get("admin_token")
        if first and ADMIN in map(str.casefold, tokens):
            raise ValueError(f"names {ADMIN}, who is the operator with the ADMIN_TOKEN; choose another name")
        if first and first in tokens.values():
            raise ValueError("has the ADMIN_TOKEN; give each operator their own")
        return tokens

    @field_validator("redis_tls_verify")
    @classmethod
    def _is_what_happens(cls, verify: bool | str, info: ValidationInfo) -> bool | str:
        broker = info.data.get("broker_url")
        if broker and (fault := contradiction(broker, verify)):
            raise ValueError(fault)
        return verify

    @field_validator("reply_debounce")
    @classmethod
    def _much_shorter_than_patience(cls, quiet: timedelta | None, info: ValidationInfo) -> timedelta | None:
        if quiet and quiet * DEBOUNCE_AT_MOST >= info.data.get("answer_within", LONGEST):
            raise ValueError(f"is too long; it must be shorter than ANSWER_WITHIN / {DEBOUNCE_AT_MOST}")
        return quiet

    @field_validator("extra_stop_words", "extra_start_words", "extra_help_words")
    @classmethod
    def _each_word_means_one_thing(cls, words: frozenset[str], info: ValidationInfo) -> frozenset[str]:
        own = str(info.field_name)
        others = {
            word for name in EXTRA_WORDS if name != own for word in (*EXTRA_WORDS[name], *info.data.get(name, ()))
        }
        if twice := len(set(map(letters_of, words)) & set(map(letters_of, others))):
            raise ValueError(f"has {twice} words that another list or the carrier uses too; keep each in one list")
        return words

    @property
    def extra_words(self) -> ExtraWords:
        """Return the keywords in addition to the carrier's own."""
        return ExtraWords(self.extra_stop_words, self.extra_start_words, self.extra_help_words)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys that encrypt the words in the database. The first one is in use."""
        return tuple(key.get_secret_value() for key in self.encryption_keys)

    @property
    def operators(self) -> dict[str, SecretStr]:
        """Return the token of each operator, by name."""
        return {**({ADMIN: self.admin_token} if self.admin_token else {}), **self.admin_tokens}

    @property
    def our_numbers(self) -> frozenset[str]:
        """Return our numbers, as far as the settings name them."""
        return frozenset(self.twilio_numbers) | self.agent_routes.keys()

    @cached_property
    def our_bare_numbers(self) -> frozenset[str]:
        """Return our numbers without their channels. Every inbound text asks for them."""
        return frozenset(map(without_channel, self.our_numbers))

    @property
    def default_route(self) -> Route:
        """Return the agent for a number that ``AGENT_ROUTES`` does not name."""
        agents: dict[str, dict[str, str | None]] = {
            "retell": {"agent_id": self.retell_agent_id, "agent_version": self.retell_agent_version},
            "uponai": {"agent_id": self.uponai_agent_id},
        }
        return Route.model_validate({"provider": self.agent_provider, **agents[self.agent_provider]})

    @property
    def providers(self) -> list[str]:
        """Return the agent providers that can be called, whether or not a route names them."""
        return [name for name, account in ACCOUNTS.items() if all(getattr(self, field) for field in account)]

    @classmethod
    def _called(cls, values: Mapping[str, Any]) -> list[str]:
        """Leave out the providers that no route names and that have no account."""
        named = providers_named(values.get("agent_provider", "retell"), values.get("agent_routes", {}))
        known = {name for name, account in ACCOUNTS.items() if all(values.get(field) for field in account)}
        idle = {f"{name}_base_url" for name in ACCOUNTS.keys() - named - known}
        fields = {name: field for name, field in cls.model_fields.items() if name.endswith("_base_url")}
        called = [str(values.get(name, field.default)) for name, field in fields.items() if name not in idle]
        return [*called, *filter(None, [values.get("handoff_webhook")])]

    @property
    def writes_contacts_at(self) -> frozenset[str]:
        """Return the agent providers whose contacts the bridge changes."""
        return frozenset({"retell"}) if self.retell_contacts == "write" else frozenset()

    @property
    def signing_tokens(self) -> tuple[str, ...]:
        """Return the tokens whose signatures are valid. During a rotation both are in use."""
        tokens = (self.twilio_auth_token, self.twilio_auth_token_secondary)
        return tuple(token.get_secret_value() for token in tokens if token)


def unknown_names(environ: Mapping[str, str]) -> list[Unknown]:
    """Return the names that may be settings with a typing error."""
    names = {variable for name in Settings.model_fields for variable in variable_names(name)}
    return unknown(environ, names | {name + SUFFIX for name in secret_names(Settings)} | OTHERS)


def _hints(environ: Mapping[str, str]) -> list[str]:
    return [f"{each.words}. {each.remedy}" for each in unknown_names(environ)]


def warn_of_unknown_names() -> None:
    """Log each name that may be a setting with a typing error. For an entry point."""
    for each in unknown_names(environment()):
        log.warning("%s. %s", each.words, each.remedy)


class ServerSettings(Settings):
    """The settings of the Procfile's processes, which share a broker."""

    broker_url: BrokerUrl = Field(
        repr=False, description="Redis or RabbitMQ; the first of these three names that is set"
    )
