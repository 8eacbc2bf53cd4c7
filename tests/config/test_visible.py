"""What gets into a key, an id or an address by copying: told at the start, by the name of the setting."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import ServerSettings, Settings, SettingsError
from bridge.config.visible import visible

KEY = "key_0123456789abcdef"

ENOUGH = {
    "PUBLIC_URL": "https://bridge.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": KEY,
    "RETELL_API_KEY": KEY,
    "RETELL_AGENT_ID": "agent_1",
    "CELERY_BROKER_URL": "redis://:password@127.0.0.1:6379/0",
}

GOOD = ENOUGH | {
    "DATABASE_URL": "postgres://u:password@127.0.0.1/d",
    "TWILIO_AUTH_TOKEN_SECONDARY": KEY,
    "TWILIO_API_KEY": "SK" + "0" * 32,
    "TWILIO_API_SECRET": KEY,
    "TWILIO_MESSAGING_SERVICE_SID": "MG" + "0" * 32,
    "TWILIO_API_BASE_URL": "https://api.twilio.com",
    "RETELL_AGENT_VERSION": "latest",
    "RETELL_BASE_URL": "https://api.retellai.com",
    "ADMIN_TOKEN": KEY,
}
"""Every setting that is a key, an id or an address."""

NEVER_MEANT = {
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "zero-width non-joiner": "\u200c",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "left-to-right mark": "\u200e",
    "left-to-right embedding": "\u202a",
    "word joiner": "\u2060",
    "variation selector": "\ufe0f",
    "tag": "\U000e0041",
    "Hangul filler": "\u3164",
    "Braille blank": "\u2800",
    "NUL": "\0",
    "escape": "\x1b",
    "delete": "\x7f",
    "replacement": "\ufffd",
    "blank": " ",
    "tabulator": "\t",
    "no-break space": "\u00a0",
    "narrow no-break space": "\u202f",
    "ideographic space": "\u3000",
    "line break": "\n",
    "carriage return": "\r",
    "both": "\r\n",
    "line separator": "\u2028",
    "next line": "\x85",
    "curly quote": "\u201d",
    "curly apostrophe": "\u2019",
    "en dash": "\u2013",
    "minus": "\u2212",
    "ellipsis": "\u2026",
    "Cyrillic a": "\u0430",
    "wide digit": "\uff11",
    "Arabic digit": "\u0661",
    "e with an accent": "\u00e9",
    "emoji": "👍",
}

QUOTES = ['""', "''", "``", "“”", "‘’", "«»", "„“", "”“"]


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        ServerSettings.load(environ)
    return caught.value.faults


def test_all_these_are_good_as_they_are() -> None:
    ServerSettings.load(GOOD)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("char", NEVER_MEANT.values(), ids=NEVER_MEANT)
def test_a_character_that_can_not_be_meant_is_told_by_the_name_of_the_setting(name: str, char: str) -> None:
    good = GOOD[name]
    [fault] = faults(GOOD | {name: good[:-1] + char + good[-1]})
    assert fault.startswith(f"{name} has a")
    assert f" as character {len(good)}; copy it again" in fault
    assert good not in fault
    assert "\n" not in fault


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("quotes", QUOTES)
def test_quotes_around_a_value_are_told(name: str, quotes: str) -> None:
    [fault] = faults(GOOD | {name: quotes[0] + GOOD[name] + quotes[1]})
    assert fault == f"{name} is in quotes; remove them"


@pytest.mark.parametrize("blanks", [" ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028"])
def test_blanks_around_a_value_are_no_part_of_it(blanks: str) -> None:
    assert ServerSettings.load({name: blanks + text + blanks for name, text in GOOD.items()}) == ServerSettings.load(
        GOOD
    )


@pytest.mark.parametrize("char", ["\u200b", "\ufeff", "\u2060"])
def test_an_invisible_mark_at_an_end_is_told_too(char: str) -> None:
    for text in (char + KEY, KEY + char):
        [fault] = faults(GOOD | {"RETELL_API_KEY": text})
        assert fault.startswith(f"RETELL_API_KEY has an invisible character (U+{ord(char):04X}) as character")


def test_all_of_them_are_told_at_once() -> None:
    told = faults({name: text + "\u200b" for name, text in GOOD.items()})
    assert sorted(line.split()[0] for line in told) == sorted(GOOD)


@pytest.mark.parametrize("field", ["agent_id", "agent_version"])
@pytest.mark.parametrize("char", ["\u200b", " ", "é"])
def test_the_ids_in_a_route_are_looked_at_too(field: str, char: str) -> None:
    route = {"provider": "retell", "agent_id": "agent_x", "agent_version": "3"}
    written = json.dumps({"+15550002222": {**route, field: f"agent{char}x"}}, ensure_ascii=False)
    [fault] = faults(GOOD | {"AGENT_ROUTES": written})
    assert fault.startswith(f"AGENT_ROUTES at its entry 1 (+1555…22): {field} has a")


@pytest.mark.parametrize("char", ["\u200b", "\ufeff", "\n"])
def test_a_file_of_sqlite_has_no_invisible_characters(char: str) -> None:
    [fault] = faults(GOOD | {"DATABASE_URL": f"sqlite:///bri{char}dge.sqlite3"})
    assert fault.startswith("DATABASE_URL has a")


@pytest.mark.parametrize("reply", ["“Sorry” – später", "Thanks\u00a0👍🏽\n\nbye", '"quoted"'])
def test_what_people_are_told_may_be_anything(reply: str) -> None:
    assert Settings.load(GOOD | {"MEDIA_REPLY": reply}).media_reply == reply


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\"'`"), min_size=1))
def test_what_is_visible_ascii_stays_to_the_letter(text: str) -> None:
    assert visible(text) == text


@given(st.text(min_size=1), st.characters(exclude_categories=["Cs"], min_codepoint=0x7F), st.text(min_size=1))
def test_nothing_else_gets_through(before: str, char: str, after: str) -> None:
    text = f"x{before}{char}{after}x"
    with pytest.raises(ValueError, match=r"has an? ") as caught:
        visible(text)
    assert unicodedata.normalize("NFC", str(caught.value)).isascii()
