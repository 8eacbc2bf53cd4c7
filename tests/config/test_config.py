"""The settings: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.config import (
    DEFAULT_MEDIA_REPLY,
    LONGEST,
    DatabaseSettings,
    Route,
    ServerSettings,
    Settings,
    SettingsError,
    or_exit,
    parse_duration,
    variable_names,
)
from bridge.config.numbers import NO_NUMBER
from bridge.config.values import NO_KEY, NO_OPERATOR
from bridge.lib.log import secrets_in
from tests.environ import ENOUGH
from tests.imports import imported_by
from tests.keys import NEW, OLD

SECRET = "hunter2-is-no-good-password"


def faults_of(environ: dict[str, str], kind: type[DatabaseSettings] = Settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        kind.load(environ)
    return caught.value.faults


def the_fault_of(**variables: str) -> str:
    faults = faults_of(ENOUGH | variables)
    assert len(faults) == 1
    return faults[0]


# --- what is taken -----------------------------------------------------------------------------------------------


def test_five_variables_are_enough() -> None:
    settings = Settings.load(ENOUGH)
    assert settings.database_url == "sqlite:///bridge.sqlite3"
    assert settings.agent_timeout == timedelta(minutes=2)
    assert settings.signing_tokens == ("token",)


def test_the_migrations_need_the_database_alone() -> None:
    assert DatabaseSettings.load({"DATABASE_URL": "postgres:///x"}).database_url == "postgresql+psycopg:///x"


def test_either_token_signs_during_a_rotation() -> None:
    assert Settings.load(ENOUGH | {"TWILIO_AUTH_TOKEN_SECONDARY": "other"}).signing_tokens == ("token", "other")


def test_space_around_a_value_is_no_part_of_it() -> None:
    settings = Settings.load({name: f"  {text}\n" for name, text in ENOUGH.items()})
    assert settings == Settings.load(ENOUGH)


def test_overrides_go_before_the_environment() -> None:
    assert Settings.load(ENOUGH, public_url="http://127.0.0.1:5000").public_url == "http://127.0.0.1:5000"


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_empty_is_the_same_as_not_set(empty: str) -> None:
    names = ("DATABASE_URL", "ADMIN_TOKEN", "TWILIO_API_KEY", "TWILIO_NUMBERS", "AGENT_TIMEOUT", "WORKER_CONCURRENCY")
    assert Settings.load(ENOUGH | dict.fromkeys(names, empty)) == Settings.load(ENOUGH)


@pytest.mark.parametrize(("written", "turns"), [(None, 3), ("5", 5), ("0", None), ("", None)])
def test_no_number_of_silent_turns_is_a_choice(written: str | None, turns: int | None) -> None:
    settings = Settings.load(ENOUGH | ({} if written is None else {"SILENT_TURNS": written, "HANDOFF_REPLY": ""}))
    assert settings.silent_turns == turns
    assert bool(settings.handoff_reply) == (written is None)


def test_empty_is_a_choice_where_it_means_something() -> None:
    settings = Settings.load(ENOUGH | {"MEDIA_REPLY": "", "FALLBACK_REPLY": " ", "STALE_AFTER": ""})
    assert (settings.media_reply, settings.fallback_reply, settings.stale_after) == ("", "", None)
    assert Settings.load(ENOUGH).media_reply == DEFAULT_MEDIA_REPLY


@pytest.mark.parametrize(
    ("variables", "broker"),
    [
        ({}, None),
        ({"REDIS_URL": "redis://r"}, "redis://r"),
        ({"REDIS_URL": "redis://r", "CLOUDAMQP_URL": "amqp://c"}, "amqp://c"),
        ({"REDIS_URL": "redis://r", "CLOUDAMQP_URL": "amqp://c", "CELERY_BROKER_URL": "amqps://b"}, "amqps://b"),
        ({"CELERY_BROKER_URL": "", "CLOUDAMQP_URL": " ", "REDIS_URL": "rediss://r:6380/1"}, "rediss://r:6380/1"),
    ],
)
def test_the_first_broker_that_is_set_counts(variables: dict[str, str], broker: str | None) -> None:
    assert Settings.load(ENOUGH | variables).broker_url == broker


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("postgres://u:p@h:5432/d", "postgresql+psycopg://u:p@h:5432/d"),
        ("postgres://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg://h/d"),
        ("postgres://u:p@h:6543/d?pgbouncer=true&connection_limit=1", "postgresql+psycopg://u:p@h:6543/d"),
        (
            "postgres://u:p@h/d?sslmode=require&channel_binding=require&supa=base-pooler.x",
            "postgresql+psycopg://u:p@h/d?channel_binding=require&sslmode=require",
        ),
        ("postgres://u:p%40%25@h/d?options=endpoint%3Dx", "postgresql+psycopg://u:p%40%25@h/d?options=endpoint%3Dx"),
        ("sqlite:///x.sqlite3", "sqlite:///x.sqlite3"),
        ("sqlite:////home/José/my files/x.sqlite3", "sqlite:////home/José/my files/x.sqlite3"),
        ("sqlite:////var/lib/x.sqlite3", "sqlite:////var/lib/x.sqlite3"),
    ],
)
def test_a_database_address_may_be_written_as(written: str, used: str) -> None:
    assert DatabaseSettings.load({"DATABASE_URL": written}).database_url == used


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("+15550001111", ("+15550001111",)),
        (" +15550001111 , +15550002222, ", ("+15550001111", "+15550002222")),
        ("whatsapp:+15550001111,12345", ("whatsapp:+15550001111", "12345")),
    ],
)
def test_numbers_are_separated_by_commas(written: str, numbers: tuple[str, ...]) -> None:
    assert Settings.load(ENOUGH | {"TWILIO_NUMBERS": written}).twilio_numbers == numbers


@pytest.mark.parametrize(
    ("written", "contacts", "written_at"),
    [("", None, set()), ("read", "read", set()), ("write", "write", {"retell"})],
)
def test_contacts_are_left_alone_read_or_written(written: str, contacts: str | None, written_at: set[str]) -> None:
    settings = Settings.load(ENOUGH | {"RETELL_CONTACTS": written})
    assert settings.retell_contacts == contacts
    assert settings.writes_contacts_at == written_at


def test_an_unknown_way_with_contacts_is_a_fault() -> None:
    assert the_fault_of(RETELL_CONTACTS="both").startswith("RETELL_CONTACTS is not one of the choices; write 'read' or")


def test_contacts_need_the_account_that_has_them() -> None:
    uponai = {"AGENT_PROVIDER": "uponai", "UPONAI_API_KEY": "t", "UPONAI_WORKSPACE_ID": "1", "UPONAI_AGENT_ID": "a"}
    enough = {name: text for name, text in ENOUGH.items() if not name.startswith("RETELL")} | uponai
    assert faults_of(enough | {"RETELL_CONTACTS": "read"}) == [
        "RETELL_CONTACTS needs RETELL_API_KEY; set both, or neither"
    ]
    assert Settings.load(enough | {"RETELL_CONTACTS": "read", "RETELL_API_KEY": "k"}).retell_contacts == "read"


@pytest.mark.parametrize("name", ["TURNS_PER_HOUR", "TURNS_PER_MINUTE", "CHARACTERS_PER_TEXT"])
@pytest.mark.parametrize(("written", "limit"), [("", None), (" ", None), ("1", 1), ("500", 500)])
def test_a_limit_may_be_empty(name: str, written: str, limit: int | None) -> None:
    assert getattr(Settings.load(ENOUGH | {name: written}), name.lower()) == limit


@pytest.mark.parametrize(
    ("written", "countries"), [("", set()), ("US", {"US"}), (" us , Ca,", {"US", "CA"}), ("US,US", {"US"})]
)
def test_countries_are_two_letters_each(written: str, countries: set[str]) -> None:
    assert Settings.load(ENOUGH | {"ALLOWED_COUNTRIES": written}).allowed_countries == countries


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", set()),
        (" ", set()),
        ("ALTO", {"alto"}),
        (" Arrêt , NO MÁS,arre\u0302t,“Baja”", {"arrêt", "nomás", "baja"}),
        ("ＳＴＯＰＰ,Straße", {"stopp", "strasse"}),
        ("STOP,Opt out", {"stop", "optout"}),  # said again, it does no harm
    ],
)
def test_stop_words_are_read_as_their_letters(written: str, words: set[str]) -> None:
    assert Settings.load(ENOUGH | {"EXTRA_STOP_WORDS": written}).extra_stop_words == words


@pytest.mark.parametrize("name", ["EXTRA_START_WORDS", "EXTRA_HELP_WORDS"])
def test_other_words_are_read_in_one_case_and_form(name: str) -> None:
    words = Settings.load(ENOUGH | {name: " Já Volto , AIDE!,ＯＮ"})
    assert getattr(words, name.lower()) == {"já volto", "aide!", "on"}


NO_WORD = "has no word at its entry {}; write words with commas between them"
TWO_MEANINGS = "has {} words that another list or the carrier uses too; keep each in one list"


@pytest.mark.parametrize("name", ["EXTRA_STOP_WORDS", "EXTRA_START_WORDS", "EXTRA_HELP_WORDS"])
@pytest.mark.parametrize(
    ("written", "entries"),
    [(",", "1, 2"), ("alto,", "2"), ("alto,,baja", "2"), ("!!!", "1"), ("alto, “” ,?,\u200b", "2, 3, 4"), ("🛑", "1")],
)
def test_an_entry_without_a_word_is_a_fault(name: str, written: str, entries: str) -> None:
    assert the_fault_of(**{name: written}) == f"{name} {NO_WORD.format(entries)}"


@pytest.mark.parametrize(
    ("name", "written", "count"),
    [
        *[("EXTRA_STOP_WORDS", word, 1) for word in ("yes", "START", "un-stop", "Help!", "ｉｎｆｏ")],
        *[("EXTRA_START_WORDS", word, 1) for word in ("stop", "STOP ALL", "opt-out", "e.n.d", "help")],
        *[("EXTRA_HELP_WORDS", word, 1) for word in ("stop", "cancel!", "yes", "Un stop")],
        ("EXTRA_START_WORDS", "stop,go,end", 2),
    ],
)
def test_a_word_of_the_carrier_that_means_something_else_is_a_fault(name: str, written: str, count: int) -> None:
    assert the_fault_of(**{name: written}) == f"{name} {TWO_MEANINGS.format(count)}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EXTRA_STOP_WORDS", "EXTRA_START_WORDS"),
        ("EXTRA_STOP_WORDS", "EXTRA_HELP_WORDS"),
        ("EXTRA_START_WORDS", "EXTRA_HELP_WORDS"),
    ],
)
@pytest.mark.parametrize("again", ["MÁS", "ma\u0301s", "m-á-s", "“más”"])
def test_a_word_in_two_lists_is_a_fault(one: str, other: str, again: str) -> None:
    assert the_fault_of(**{one: "bis,más", other: again}) == f"{other} {TWO_MEANINGS.format(1)}"


def test_the_words_that_the_docs_propose_can_be_set_as_they_stand_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    lines = dict(re.findall(r"^(EXTRA_[A-Z]+_WORDS)=(.+)$", page, re.MULTILINE))
    words = Settings.load(ENOUGH | lines).extra_words
    assert all(len(found) >= 4 for found in (words.stop, words.start, words.help))


def test_our_bare_numbers_have_no_channels() -> None:
    settings = Settings.load(ENOUGH | {"TWILIO_NUMBERS": "+15550001111,whatsapp:+15550002222"})
    assert settings.our_bare_numbers == settings.our_bare_numbers == {"+15550001111", "+15550002222"}


def test_our_numbers_are_those_of_all_settings() -> None:
    route = '{"+15550003333": {"provider": "retell", "agent_id": "agent_x"}}'
    settings = Settings.load(ENOUGH | {"TWILIO_NUMBERS": "+15550001111", "AGENT_ROUTES": route})
    assert settings.our_numbers == {"+15550001111", "+15550003333"}


@pytest.mark.parametrize("off", ["", "0"])
def test_a_silent_agent_that_calls_the_team_must_be_counted(off: str) -> None:
    wrong = ENOUGH | {"HANDOFF_ON": "silence,failure", "SILENT_TURNS": off}
    assert faults_of(wrong) == ["SILENT_TURNS is off, and HANDOFF_ON has silence; set a number, or leave silence out"]
    assert Settings.load(ENOUGH | {"HANDOFF_ON": "failure", "SILENT_TURNS": off}).silent_turns is None


def test_what_asks_for_a_human_is_read_as_it_is_written() -> None:
    wishes = {"HANDOFF_WORDS": "Human, a person!", "HANDOFF_ON": " Failure ,silence", "HANDOFF_GIVE_BACK": "true"}
    settings = Settings.load(ENOUGH | wishes | {"HANDOFF_WITHIN": "10m"})
    assert settings.handoff_words == {"human", "aperson"}
    assert (settings.handoff_on, settings.handoff_give_back) == ({"failure", "silence"}, True)


def test_a_web_address_loses_its_last_slash() -> None:
    assert Settings.load(ENOUGH | {"PUBLIC_URL": "https://x.example/sms/"}).public_url == "https://x.example/sms"


# --- what is refused, and in which words -------------------------------------------------------------------------

NO_DURATION = "is not a duration; write a number and a unit, such as 90s, 15m, 24h or 90d"
NO_ADDRESS = "is not a web address; write it like https://bridge.example.com"
NO_DATABASE = "is not a database address; write it like postgresql://user:password@host/name"
NO_BROKER = "is not a broker; write redis://, rediss://, amqp:// or amqps:// and the host"
NO_COUNTRIES = "has 2 entries that are not countries; write two letters, such as US,CA,GB"
BOTH = "TWILIO_API_SECRET and TWILIO_API_KEY belong together; set both, or neither"


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("AGENT_TIMEOUT", "120", NO_DURATION),
        ("AGENT_TIMEOUT", "0s", NO_DURATION),
        ("AGENT_TIMEOUT", "-5s", NO_DURATION),
        ("ANSWER_WITHIN", "4 hours", NO_DURATION),
        ("STALE_AFTER", "never", NO_DURATION),
        ("RETENTION", "90", NO_DURATION),
        ("RETENTION", "23h", "is too short; the least is 1d"),
        ("STALE_AFTER", "4000d", "is too long; the most is 3650d"),
        ("STALE_AFTER", "9" * 5000 + "s", NO_DURATION),
        ("PUBLIC_URL", "bridge.example.com", NO_ADDRESS),
        ("PUBLIC_URL", "ftp://bridge.example.com", NO_ADDRESS),
        ("PUBLIC_URL", "https://", NO_ADDRESS),
        ("PUBLIC_URL", "https://x.example:port", NO_ADDRESS),
        ("PUBLIC_URL", "https://x.example?a=b", NO_ADDRESS),
        ("PUBLIC_URL", "https://x .example", "has a blank as character 10; copy it again from its source"),
        (
            "DATABASE_URL",
            "postgres://h/d?schema=public",
            "has a parameter after the ? that PostgreSQL does not know; remove it",
        ),
        (
            "PUBLIC_URL",
            "https://x.example/twilio/inbound/",
            "ends with /twilio/inbound, which the bridge adds itself; leave it out",
        ),
        ("HANDOFF_WORDS", "human, Stop, YES", "has 2 words that opt out or in, or ask for help; choose others"),
        ("HANDOFF_GIVE_BACK", "true", "needs HANDOFF_WITHIN; set both, or leave it out"),
        ("PUBLIC_URL", "https://[::1", NO_ADDRESS),
        ("PUBLIC_URL", "https://x.example:0", NO_ADDRESS),
        ("RETELL_BASE_URL", "https://api..retellai.com", NO_ADDRESS),
        ("RETELL_BASE_URL", f"https://{'x' * 64}.com", NO_ADDRESS),
        ("DATABASE_URL", "bridge.sqlite3", NO_DATABASE),
        ("DATABASE_URL", "postgres://h:port/d", NO_DATABASE),
        (
            "DATABASE_URL",
            "mysql://h/d",
            "names an unsupported database; write postgresql:// or sqlite:///",
        ),
        ("DATABASE_URL", "sqlite://", "does not name a file; write it like sqlite:///bridge.sqlite3"),
        ("DATABASE_URL", "sqlite:///:memory:", "does not name a file; write it like sqlite:///bridge.sqlite3"),
        ("CELERY_BROKER_URL", "sqs://", NO_BROKER),
        ("CLOUDAMQP_URL", "rabbit.example", NO_BROKER),
        ("REDIS_URL", "redis://", NO_BROKER),
        ("REDIS_URL", "redis://h:port", NO_BROKER),
        (
            "TWILIO_NUMBERS",
            "+1 555 000",
            "at its entry 1 (…00): " + NO_NUMBER,
        ),
        ("TWILIO_ACCOUNT_SID", "SK" + "0" * 32, "does not look right; it is AC and 32 digits or letters from a to f"),
        ("TWILIO_MESSAGING_SERVICE_SID", "MG0", "does not look right; it is MG and 32 digits or letters from a to f"),
        ("ALLOWED_COUNTRIES", "USA,CA,+1", NO_COUNTRIES),
        ("ALLOWED_COUNTRIES", "001,ZZ", NO_COUNTRIES),
        (
            "AGENT_PROVIDER",
            "eliza",
            "is not one of the choices; write 'retell' or 'uponai' (the provider of the chat agent)",
        ),
    ],
)
def test_a_fault_is_told_in_plain_words(variable: str, text: str, words: str) -> None:
    assert the_fault_of(**{variable: text}) == f"{variable} {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("many", "is not a whole number; write digits"),
        ("1.5", "is not a whole number; write digits"),
        ("0", "is too small; the least is 1"),
        ("1000000", "is too large; the most is 5000"),
    ],
)
def test_a_wrong_number_is_told_in_plain_words(text: str, words: str) -> None:
    assert the_fault_of(WORKER_CONCURRENCY=text).startswith(f"WORKER_CONCURRENCY {words} (")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none", "is not a whole number; write digits"),
        ("0", "is too small; the least is 1"),
        ("-1", "is too small; the least is 1"),
        ("99999999999999999999", "is too large; the most is 1000000"),
    ],
)
def test_a_limit_that_is_none_is_told_in_plain_words(text: str, words: str) -> None:
    assert the_fault_of(TURNS_PER_HOUR=text).startswith(f"TURNS_PER_HOUR {words} (")


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of({"PUBLIC_URL": "x", "RETELL_API_KEY": "", "TWILIO_API_SECRET": "alone", "STALE_AFTER": "soon"})
    assert faults == [
        f"PUBLIC_URL {NO_ADDRESS}",
        "TWILIO_ACCOUNT_SID is not set; set it (your account: AC and 32 characters, on the first page of the console)",
        "TWILIO_AUTH_TOKEN is not set; set it (the account's token; it signs the webhooks)",
        BOTH,
        "RETELL_API_KEY is not set; set it (the key with the webhook badge in the dashboard)",
        "RETELL_AGENT_ID is not set; set it (a chat agent, not a voice agent)",
        f"STALE_AFTER {NO_DURATION}",
    ]


# --- the provider of the agent -----------------------------------------------------------------------------------

NO_AGENT = {name: text for name, text in ENOUGH.items() if not name.startswith("RETELL_")}
UPONAI = {
    "AGENT_PROVIDER": "uponai",
    "UPONAI_API_KEY": "token",
    "UPONAI_WORKSPACE_ID": "42",
    "UPONAI_AGENT_ID": "agent_u",
}
TO_UPONAI = '{"+15550003333": {"provider": "uponai", "agent_id": "agent_x"}}'
TO_RETELL = TO_UPONAI.replace("uponai", "retell")
NO_KEY_THERE = "UPONAI_API_KEY is not set, and AGENT_ROUTES names an agent at uponai; set it"
NO_WORKSPACE_THERE = "UPONAI_WORKSPACE_ID is not set, and AGENT_ROUTES names an agent at uponai; set it"


def test_the_settings_of_the_provider_that_is_not_chosen_may_be_missing() -> None:
    settings = Settings.load(NO_AGENT | UPONAI)
    assert settings.default_route == Route(provider="uponai", agent_id="agent_u")
    assert settings.providers == ["uponai"]
    assert (settings.uponai_workspace_id, settings.uponai_base_url) == (42, "https://api.upon-ai.com")
    assert Settings.load(ENOUGH).default_route == Route(provider="retell", agent_id="agent_1")
    assert Settings.load(ENOUGH).providers == ["retell"]


def test_events_of_uponai_have_a_key_of_their_own_and_words_are_sent_on_only_if_that_is_set() -> None:
    assert Settings.load(ENOUGH | UPONAI).uponai_webhook_key is None
    assert Settings.load(ENOUGH).send_auto_close_message is False
    settings = Settings.load(ENOUGH | {"UPONAI_WEBHOOK_KEY": f" {SECRET}", "SEND_AUTO_CLOSE_MESSAGE": "true"})
    assert settings.uponai_webhook_key
    assert settings.uponai_webhook_key.get_secret_value() == SECRET
    assert settings.send_auto_close_message is True
    assert SECRET not in repr(settings)
    fault = the_fault_of(SEND_AUTO_CLOSE_MESSAGE=SECRET)
    assert fault.startswith("SEND_AUTO_CLOSE_MESSAGE ")
    assert SECRET not in fault


def test_the_provider_that_was_chosen_before_is_still_called_while_its_key_is_there() -> None:
    settings = Settings.load(ENOUGH | UPONAI)
    assert (settings.default_route.provider, settings.providers) == ("uponai", ["retell", "uponai"])


def test_everything_that_the_chosen_provider_needs_is_told_at_once() -> None:
    assert faults_of(NO_AGENT | {"AGENT_PROVIDER": "uponai", "STALE_AFTER": "soon"}) == [
        "UPONAI_API_KEY is not set; set it (a token, from the profile settings at app.uponai.com)",
        "UPONAI_WORKSPACE_ID is not set; set it (the number of the workspace)",
        "UPONAI_AGENT_ID is not set; set it (a chat agent of this workspace)",
        f"STALE_AFTER {NO_DURATION}",
    ]


def test_a_route_to_a_provider_needs_its_account_and_no_agent_for_all_numbers() -> None:
    routed = ENOUGH | {"AGENT_ROUTES": TO_UPONAI}
    assert faults_of(routed) == [NO_KEY_THERE, NO_WORKSPACE_THERE]
    account = {name: UPONAI[name] for name in ("UPONAI_API_KEY", "UPONAI_WORKSPACE_ID")}
    assert Settings.load(routed | account).providers == ["retell", "uponai"]
    assert faults_of(NO_AGENT | UPONAI | {"AGENT_ROUTES": TO_RETELL}) == [
        "RETELL_API_KEY is not set, and AGENT_ROUTES names an agent at retell; set it"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine", "is not a whole number; write digits"),
        ("4.2", "is not a whole number; write digits"),
        ("0", "is too small; the least is 1"),
        ("9" * 30, "is too large; the most is 9007199254740992"),
        ("9" * 5000, "has too many digits"),
    ],
)
def test_a_workspace_that_is_no_number_is_told_beside_all_other_faults(text: str, words: str) -> None:
    told = faults_of(NO_AGENT | UPONAI | {"UPONAI_WORKSPACE_ID": text, "UPONAI_API_KEY": "", "PUBLIC_URL": "x"})
    assert told == [
        f"PUBLIC_URL {NO_ADDRESS}",
        "UPONAI_API_KEY is not set; set it (a token, from the profile settings at app.uponai.com)",
        f"UPONAI_WORKSPACE_ID {words} (the number of the workspace)",
    ]


AT_ENTRY = "AGENT_ROUTES at its entry {}: {}"
UNKNOWN = "provider is not one of the choices; write 'retell' or 'uponai'"


def test_a_route_to_an_unknown_provider_is_told_beside_all_other_faults() -> None:
    routes = {
        "+15550003333": {"provider": "eliza", "agent_id": "agent_x"},
        "+15550004444": {"provider": "uponai", "agent_id": "agent_x", "agent_version": "3"},
        "+15550005555": {"provider": "retell"},
    }
    told = faults_of(ENOUGH | {"AGENT_ROUTES": json.dumps(routes), "RETELL_API_KEY": "", "STALE_AFTER": "soon"})
    assert told == [
        AT_ENTRY.format("1 (+1555…33)", UNKNOWN),
        AT_ENTRY.format("2 (+1555…44)", "agent_version can't be chosen at uponai; remove it"),
        AT_ENTRY.format("3 (+1555…55)", "agent_id is not set; set it"),
        "RETELL_API_KEY is not set; set it (the key with the webhook badge in the dashboard)",
        f"STALE_AFTER {NO_DURATION}",
    ]


def test_the_faults_of_both_providers_are_told_at_once() -> None:
    """UponAI answers at one number, and both accounts are wrong."""
    wrong = {
        "AGENT_ROUTES": TO_UPONAI,
        "UPONAI_WORKSPACE_ID": "mine",
        "UPONAI_BASE_URL": "upon-ai.com",
        "PUBLIC_URL": "",
    }
    assert faults_of(NO_AGENT | wrong) == [
        "PUBLIC_URL is not set; set it (the address that Twilio calls, such as https://x.example)",
        "RETELL_API_KEY is not set; set it (the key with the webhook badge in the dashboard)",
        "RETELL_AGENT_ID is not set; set it (a chat agent, not a voice agent)",
        NO_KEY_THERE,
        "UPONAI_WORKSPACE_ID is not a whole number; write digits (the number of the workspace)",
        f"UPONAI_BASE_URL {NO_ADDRESS}",
    ]


def test_a_workspace_that_is_no_number_is_a_fault_even_where_nobody_asks_there() -> None:
    [fault] = faults_of(ENOUGH | {"UPONAI_WORKSPACE_ID": "mine"})
    assert fault == "UPONAI_WORKSPACE_ID is not a whole number; write digits (the number of the workspace)"


def test_a_start_with_such_faults_tells_them_all_and_starts_nothing(tmp_path: Path) -> None:
    environ = ENOUGH | {"AGENT_ROUTES": TO_UPONAI, "UPONAI_WORKSPACE_ID": "mine", "STALE_AFTER": "soon"}
    path = str(Path(sys.executable).parent)
    started = subprocess.run(
        [sys.executable, "-m", "bridge", "up"],
        cwd=tmp_path,
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert started.returncode == 2
    assert started.stderr.splitlines() == [
        NO_KEY_THERE,
        "UPONAI_WORKSPACE_ID is not a whole number; write digits (the number of the workspace)",
        f"STALE_AFTER {NO_DURATION}",
    ]
    assert list(tmp_path.iterdir()) == []


def test_where_the_provider_itself_is_wrong_no_other_setting_is_asked_for() -> None:
    assert faults_of(NO_AGENT | {"AGENT_PROVIDER": "eliza"}) == [
        "AGENT_PROVIDER is not one of the choices; write 'retell' or 'uponai' (the provider of the chat agent)"
    ]


@pytest.mark.parametrize("half", [{"TWILIO_API_KEY": "SK" + "0" * 32}, {"TWILIO_API_SECRET": "s"}])
def test_half_a_key_is_a_fault(half: dict[str, str]) -> None:
    assert faults_of(ENOUGH | half) == [BOTH]


def test_without_a_broker_the_servers_name_every_way_to_set_one() -> None:
    (fault,) = faults_of(ENOUGH, ServerSettings)
    assert fault.startswith("CELERY_BROKER_URL or CLOUDAMQP_URL or REDIS_URL is not set; set it (Redis or RabbitMQ")


@pytest.mark.parametrize(
    "variable",
    [
        "DATABASE_URL",
        "REDIS_URL",
        "PUBLIC_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_API_KEY",
        "TWILIO_NUMBERS",
        "AGENT_PROVIDER",
    ],
)
def test_no_fault_shows_a_value(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(ENOUGH | {variable: f"{SECRET}://{SECRET}:{SECRET}@h !"})
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_operators_have_names_and_tokens() -> None:
    settings = Settings.load(ENOUGH | {"ADMIN_TOKEN": "first", "ADMIN_TOKENS": " ana:t:1 , ben@example.com: t-2"})
    tokens = {name: token.get_secret_value() for name, token in settings.operators.items()}
    assert tokens == {"admin": "first", "ana": "t:1", "ben@example.com": "t-2"}
    assert Settings.load(ENOUGH).operators == {}
    assert list(Settings.load(ENOUGH | {"ADMIN_TOKENS": "Admin:x"}).operators) == ["Admin"]


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("ana", "at its entry 1: the token is empty; write name:token"),
        ("ana:", "at its entry 1: the token is empty; write name:token"),
        (":t", f"at its entry 1: {NO_OPERATOR}"),
        ("ana:t,", f"at its entry 2: {NO_OPERATOR}"),
        ("9:t", f"at its entry 1: {NO_OPERATOR}"),
        ("an a:t", f"at its entry 1: {NO_OPERATOR}"),
        ("ané:t", f"at its entry 1: {NO_OPERATOR}"),
        ("a" * 65 + ":t", f"at its entry 1: {NO_OPERATOR}"),
        ("ana:a b", "at its entry 1: the token has a blank as character 2; copy it again from its source"),
        ("ana:“t”", "at its entry 1: the token is in quotes; remove them"),
        ("ana:t,Ana:u", "at its entry 2: this name appears twice; keep one"),
        ("ana:t,ben:t", "at its entry 2: another operator has the same token; give each their own"),
        ("Admin:t", "names admin, who is the operator with the ADMIN_TOKEN; choose another name"),
        ("ana:first", "has the ADMIN_TOKEN; give each operator their own"),
    ],
)
def test_a_fault_of_an_operator_is_told_without_the_token(written: str, fault: str) -> None:
    assert faults_of(ENOUGH | {"ADMIN_TOKEN": "first", "ADMIN_TOKENS": written}) == [f"ADMIN_TOKENS {fault}"]


def test_all_faults_of_operators_are_told_at_once() -> None:
    assert len(faults_of(ENOUGH | {"ADMIN_TOKENS": "ana,ben:t,ben:u,:"})) == 3


def test_the_first_key_encrypts_and_several_may_open() -> None:
    its = Settings.load(ENOUGH | {"ENCRYPTION_KEYS": f"{NEW} , {OLD}"})
    assert its.keys == (NEW, OLD)
    assert {NEW, OLD} <= set(secrets_in(its))
    assert NEW not in repr(its)
    assert Settings.load(ENOUGH | {"ENCRYPTION_KEYS": ""}).keys == ()


@pytest.mark.parametrize(
    ("written", "place", "fault"),
    [
        ("hunter2", 1, NO_KEY),
        (NEW[:-1], 1, NO_KEY),
        (f"{NEW},", 2, NO_KEY),
        (f"{NEW},{OLD[:-2]}+=", 2, NO_KEY),
        (f"{NEW},“{OLD}”", 2, "the key is in quotes; remove them"),
    ],
)
def test_what_is_no_key_is_told_with_the_way_to_make_one(written: str, place: int, fault: str) -> None:
    assert the_fault_of(ENCRYPTION_KEYS=written) == f"ENCRYPTION_KEYS at its entry {place}: {fault}"


def test_the_same_key_twice_is_a_fault() -> None:
    assert the_fault_of(ENCRYPTION_KEYS=f"{NEW},{NEW}") == "ENCRYPTION_KEYS has a key twice; keep one"


def test_the_log_hides_the_tokens_of_operators() -> None:
    settings = Settings.load(ENOUGH | {"ADMIN_TOKENS": "ana:token-of-ana"})
    assert "token-of-ana" in secrets_in(settings)
    assert "token-of-ana" not in repr(settings)


def test_the_settings_print_no_secret() -> None:
    secrets = (
        "TWILIO_AUTH_TOKEN",
        "TWILIO_AUTH_TOKEN_SECONDARY",
        "TWILIO_API_SECRET",
        "RETELL_API_KEY",
        "UPONAI_API_KEY",
    )
    addresses = {"DATABASE_URL": f"postgres://u:{SECRET}@h/d", "REDIS_URL": f"redis://:{SECRET}@h"}
    environ = (
        ENOUGH | dict.fromkeys((*secrets, "ADMIN_TOKEN"), SECRET) | addresses | {"TWILIO_API_KEY": "SK" + "0" * 32}
    )
    assert SECRET not in repr(ServerSettings.load(environ))


# --- where it is read --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        for variable in variable_names(name):
            monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_a_dotenv_file_is_read_and_the_environment_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("DATABASE_URL=sqlite:///file.sqlite3\n")
    assert DatabaseSettings.load().database_url == "sqlite:///file.sqlite3"
    monkeypatch.setenv("DATABASE_URL", "sqlite:///environment.sqlite3")
    assert DatabaseSettings.load().database_url == "sqlite:///environment.sqlite3"


def test_a_dotenv_file_may_come_from_any_editor(folder: Path) -> None:
    lines = [f"{name}={text}" for name, text in ENOUGH.items()] + ["# a remark", "ADMIN_TOKEN='a$b-${c}'"]
    (folder / ".env").write_text("\r\n".join(lines), encoding="utf-8-sig")
    token = Settings.load().admin_token
    assert token is not None
    assert token.get_secret_value() == "a$b-${c}"


def test_a_dotenv_file_that_is_no_text_is_a_fault(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xff\xfe\x00A")
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        DatabaseSettings.load()


def test_a_front_door_says_every_fault_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        or_exit(lambda: Settings.load({"PUBLIC_URL": "x"}))
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_reading_the_settings_loads_no_server() -> None:
    assert imported_by("import bridge.config", "flask", "celery", "twilio") == []


# --- durations ---------------------------------------------------------------------------------------------------

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@given(st.integers(1, 10**9 - 1), st.sampled_from(sorted(UNITS)))
def test_every_duration_is_what_it_says_or_refused_for_its_length(number: int, unit: str) -> None:
    seconds = number * UNITS[unit]
    if seconds <= LONGEST.total_seconds():
        assert parse_duration(f" {number}{unit} ") == timedelta(seconds=seconds)
    else:
        with pytest.raises(ValueError, match="too long"):
            parse_duration(f"{number}{unit}")


@given(st.text() | st.none() | st.integers())
def test_anything_else_is_no_duration(text: object) -> None:
    assume(not re.fullmatch(r"\s*[0-9]*[1-9][0-9]*[smhd]\s*", str(text)))
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


# -- telling the team ------------------------------------------------------------------------------------------------

HOOK = {"HANDOFF_WEBHOOK": "https://team.example.com/waiting?key=1", "HANDOFF_WEBHOOK_SECRET": "secret-of-the-hook"}


@pytest.mark.parametrize(
    "address",
    [
        "https://team.example.com/waiting?key=1",
        "https://team.example.com:8443",
        "http://127.0.0.1:9/x",
        "http://localhost:9",
    ],
)
def test_a_webhook_is_encrypted_or_on_this_machine(address: str) -> None:
    settings = Settings.load(ENOUGH | HOOK | {"HANDOFF_WEBHOOK": address})
    assert settings.handoff_webhook == address


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://team.example.com/x", "is not encrypted; write https:// before the host"),
        ("http://10.0.0.1/x", "is not encrypted; write https:// before the host"),
        ("team.example.com", "is not a web address; write it like https://team.example.com/waiting"),
        ("ftp://team.example.com", "is not a web address; write it like https://team.example.com/waiting"),
        ("https://user:pass@team.example.com", "is not a web address; write it like https://team.example.com/waiting"),
        ("https://team.example.com/#x", "is not a web address; write it like https://team.example.com/waiting"),
        ("https://team.example.com:0", "is not a web address; write it like https://team.example.com/waiting"),
        ("https://[x", "is not a web address; write it like https://team.example.com/waiting"),
    ],
)
def test_an_unusable_webhook_is_a_fault(address: str, fault: str) -> None:
    assert faults_of(ENOUGH | HOOK | {"HANDOFF_WEBHOOK": address}) == [f"HANDOFF_WEBHOOK {fault}"]


@pytest.mark.parametrize("alone", HOOK)
def test_a_webhook_and_its_secret_belong_together(alone: str) -> None:
    assert faults_of(ENOUGH | {alone: HOOK[alone]}) == [
        "HANDOFF_WEBHOOK_SECRET and HANDOFF_WEBHOOK belong together; set both, or neither"
    ]


def test_the_settings_of_a_webhook_are_not_printed() -> None:
    settings = Settings.load(ENOUGH | HOOK)
    assert "key=1" not in repr(settings)
    assert "secret-of-the-hook" in secrets_in(settings)


def test_a_proxy_on_the_way_to_the_webhook_is_checked() -> None:
    local = dict.fromkeys(("TWILIO_API_BASE_URL", "RETELL_BASE_URL", "UPONAI_BASE_URL"), "http://127.0.0.1:9")
    assert Settings.load(ENOUGH | local | {"HTTPS_PROXY": "nowhere"})
    [fault] = faults_of(ENOUGH | local | HOOK | {"HTTPS_PROXY": "nowhere"})
    assert fault.startswith("HTTPS_PROXY has no scheme")


@pytest.mark.parametrize("written", ["+1 (555) 999-0000", "+15559990000"])
def test_a_phone_of_the_team_is_written_as_people_write_it(written: str) -> None:
    assert Settings.load(ENOUGH | {"HANDOFF_NUMBER": written}).handoff_number == "+15559990000"


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("whatsapp:+15559990000", "is not a phone number with its country; write it like +15550001111"),
        ("55512", "is not a phone number with its country; write it like +15550001111"),
        ("5559990", "is not a phone number with its country; write it like +15550001111"),
        ("ana", "is not a phone number with its country; write it like +15550001111"),
        ("+15550001111", "is one of the bridge's own numbers; write a phone of the team"),
    ],
)
def test_a_phone_of_the_team_that_gets_no_sms_is_a_fault(written: str, fault: str) -> None:
    ours = {"TWILIO_NUMBERS": "whatsapp:+15550001111"}
    assert faults_of(ENOUGH | ours | {"HANDOFF_NUMBER": written}) == [f"HANDOFF_NUMBER {fault}"]
