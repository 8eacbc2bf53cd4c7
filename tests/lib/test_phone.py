"""Masking: what is shown of a number is never enough to call it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.lib.phone import HIDDEN, mask_numbers, masked

NUMBERS = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)


def digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+15551230001", "+1555…01"),
        ("+4712345678", "+471…78"),
        ("+4712345", "+…45"),
        ("15551230001", "1555…01"),
        ("whatsapp:+15551230001", "whatsapp:+1555…01"),
        ("rcs:brand_abc_agent", "rcs:…nt"),
        ("whatsapp:US.13491208655302741918", "whatsapp:…18"),
        ("72975", "…75"),
        ("911", "…"),
        ("MyBrand", "…nd"),
        ("Brand", "…"),
        ("(555) 123-0001", "…01"),
        ("", "…"),
        ("whatsapp:", "whatsapp:…"),
    ],
)
def test_an_address_is_shown_in_part(address: str, shown: str) -> None:
    assert masked(address) == shown


@given(NUMBERS)
def test_a_number_never_shows_enough_to_be_called(number: str) -> None:
    assert len(digits(masked(number))) <= len(digits(number)) - HIDDEN
    assert masked(number)[-2:] == number[-2:]


@given(st.text(st.characters(exclude_characters="…:"), min_size=1))
def test_no_address_is_shown_whole(address: str) -> None:
    assert address not in masked(address)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The 'To' number +15551230001 is not valid.", "The 'To' number +1555…01 is not valid."),
        ("+15551230001 and +15551230002", "+1555…01 and +1555…02"),
        ("+15551230001,+15551230002", "+1555…01,+1555…02"),
        ("To=%2B15551230001&From=%2b15551230002", "To=+1555…01&From=+1555…02"),
        ("whatsapp:+15551230001", "whatsapp:+1555…01"),
        ("call (555) 123-0001 now", "call 555…01 now"),
        ("call +1 (555) 123-0001.", "call +1555…01."),
        ("call 555.123.0001", "call 555…01"),
        ("call 01 23 45 67 89", "call 012…89"),
        ("call 12345678", "call 1…78"),
        ("call 555-0123", "call …23"),
        ("n15551230001x", "n1555…01x"),
        ("+٤٤٧٧٠٠٩٠٠١٢٣", "+٤٤٧٧…٢٣"),
        ("code 72975, 100 parts", "code 72975, 100 parts"),
        ("on 2026-11-21 08:33:12.123456", "on 2026-11-21 08:33:12.123456"),
        ("SM0123456789abcdef0123456789012345", "SM0123456789abcdef0123456789012345"),
        ("run 01234567-0123-4123-8123-012345678901", "run 01234567-0123-4123-8123-012345678901"),
        ("at 192.168.100.200:5432", "at 192.168.100.200:5432"),
        ("took 0.012345678s", "took 0.012345678s"),
        ("", ""),
        ("on 2026-11-21T08:33:12+00:00.", "on 2026-11-21T08:33:12+00:00."),
        ("Listening at: http://0.0.0.0:8000 (123)", "Listening at: http://0.0.0.0:8000 (123)"),
        ("redis://12.34.56.78:6379/0", "redis://12.34.56.78:6379/0"),
        ('server at "12.34.56.78", port 5432 failed', 'server at "12.34.56.78", port 5432 failed'),
        ("Error 111 connecting to 10.0.0.5:6379.", "Error 111 connecting to 10.0.0.5:6379."),
        ("HTTP/1.1 on Python 3.11.7", "HTTP/1.1 on Python 3.11.7"),
    ],
)
def test_numbers_inside_a_text_are_masked_and_the_rest_stays(text: str, shown: str) -> None:
    assert mask_numbers(text) == shown


ODD = {
    "blanks around dashes": "555 - 123 - 0001",
    "underscores": "555_123_0001",
    "commas": "555,123,0001",
    "commas and blanks": "555, 123, 0001",
    "colons": "555:123:0001",
    "semicolons": "555;123;0001",
    "slashes": "555 / 123 / 0001",
    "backslashes": "555\\123\\0001",
    "bars": "555|123|0001",
    "stars": "555*123*0001",
    "tildes": "555~123~0001",
    "no-break spaces": "555\u00a0123\u00a00001",
    "narrow spaces": "555\u2009123\u202f0001",
    "zero-width spaces": "555\u200b123\u200b0001",
    "marks of direction": "\u202a555\u200e123\u200e0001\u202c",
    "soft hyphens": "555\u00ad123\u00ad0001",
    "minus signs": "555\u2212123\u22120001",
    "long dashes": "555—123—0001",
    "wide signs": "５５５－１２３－０００１",
    "middle dots": "555·123·0001",
    "bullets": "555 • 123 • 0001",
    "brackets": "(555)(123)(0001)",
    "apostrophes": "555'123'0001",
    "dots in pairs": "55.51.23.00.01",
    "four dotted pairs": "12.34.56.78",
    "four dotted groups": "212.123.45.67",
    "dotted like a private server": "10.20.30.40",
    "like a date": "5551-23-00 01",
    "like a date of today": "2026-11-21-55",
    "like a duration": "5551230.001s",
    "single digits": "5 5 5 1 2 3 0 0 0 1",
    "keycaps": "5️⃣5️⃣5️⃣1️⃣2️⃣3️⃣0️⃣0️⃣0️⃣1️⃣",
    "Arabic-Indic digits": "٥٥٥-١٢٣-٠٠٠١",
    "Persian digits": "۵۵۵ ۱۲۳ ۰۰۰۱",
    "Devanagari digits": "५५५१२३०००१",
    "wide digits": "５５５１２３０００１",
    "mathematical digits": "𝟓𝟓𝟓𝟏𝟐𝟑𝟎𝟎𝟎𝟏",
    "raised digits": "⁵⁵⁵¹²³⁰⁰⁰¹",
    "circled digits": "⑤⑤⑤①②③⓪⓪⓪①",
    "a wide plus": "＋15551230001",
    "mixed digits": "555١٢٣0001",
}


@pytest.mark.parametrize("number", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("around", ["{}", "call {} now", "phone={}", "'{}'", "me at {}.", "To: {}, please"])
def test_a_number_is_masked_however_it_is_written(number: str, around: str) -> None:
    before = [char for char in around.format(number) if char.isdigit()]
    after = [char for char in mask_numbers(around.format(number)) if char.isdigit()]
    assert len(after) <= len(before) - HIDDEN


@given(st.text("ab ,=:'\"<>\n"), NUMBERS, st.text("ab ,=:'\"<>\n"))
def test_a_number_is_found_wherever_it_stands(before: str, number: str, after: str) -> None:
    assert mask_numbers(before + number + after) == before + masked(number) + after


@given(NUMBERS)
def test_what_is_masked_stays_as_it_is(number: str) -> None:
    assert mask_numbers(masked(number)) == masked(number)


def test_plain_runs_may_be_given_more_room() -> None:
    assert mask_numbers("turn 12345678 of +15551230001", shortest=10) == "turn 12345678 of +1555…01"


def test_a_long_text_is_masked_in_no_time() -> None:
    for text in ("1 " * 50_000, "a" * 100_000, "0123456789abcdef" * 6000, "(" * 100_000, "1.2" * 33_000):
        mask_numbers(text)
