"""Our own numbers: however people write them, they are what Twilio writes in ``To``; and what can't be one is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Settings, SettingsError
from bridge.config.numbers import A_SERVICE, AN_ID, NO_COUNTRY, NO_NUMBER, our_address, our_addresses
from tests.fakes import SETTINGS

ENVIRON = {name.upper(): value for name, value in SETTINGS.items()}
ROUTE = {"provider": "retell", "agent_id": "agent_x"}

SAME = [
    "+15550001111",
    "15550001111",
    "+1 555 000 1111",
    "+1 (555) 000-1111",
    "1 (555) 000-1111",
    "1-555-000-1111",
    "1.555.000.1111",
    "+1.555.000.1111",
    "+1/555/000/1111",
    "+1-(555)-000-1111",
    " + 1 555 000 1111 ",
    "+1\u00a0555\u00a0000\u00a01111",
    "+1\u202f555\u2009000\u20071111",
    "+1 555\u2011000\u20111111",
    "+1 555\u2013000\u20131111",
    "+1 555\u2212000\u22121111",
    "\u202a+1 (555) 000\u20111111\u202c",
    "\u200b+15550001111\ufeff",
    "＋１５５５０００１１１１",
    "+1\u0665\u0665\u0665\u0660\u0660\u0660\u0661\u0661\u0661\u0661",
    "0015550001111",
    "00 1 555 000 1111",
    "tel:+1-555-000-1111",
    "tel:+15550001111",
    "sms:+15550001111",
    "SMS: +1 555 000 1111",
    "sms://+15550001111",
]


@pytest.mark.parametrize("written", SAME)
def test_a_number_may_be_written_as_people_do(written: str) -> None:
    assert our_address(written) == "+15550001111"
    settings = Settings.load(
        ENVIRON | {"TWILIO_NUMBERS": written, "AGENT_ROUTES": json.dumps({written: ROUTE}, ensure_ascii=False)}
    )
    assert (settings.twilio_numbers, list(settings.agent_routes)) == (("+15550001111",), ["+15550001111"])


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("0044 20 7946 0958", "+442079460958"),
        ("011 44 20 7946 0958", "+442079460958"),
        ("447700900123", "+447700900123"),
        ("+49 30 / 901820", "+4930901820"),
        ("+290 2345 6", "+29023456"),
        ("+52 1 55 1234 5678", "+5215512345678"),
        ("12345", "12345"),
        ("\u200b729725", "729725"),
        ("whatsapp:+15550001111", "whatsapp:+15550001111"),
        ("WhatsApp: +1 (555) 000-1111", "whatsapp:+15550001111"),
        ("whatsapp:15550001111", "whatsapp:+15550001111"),
        ("whatsapp://15550001111", "whatsapp:+15550001111"),
        ("RCS:+1 555 000 1111", "rcs:+15550001111"),
        ("rcs:my_brand-x_Agent", "rcs:my_brand-x_Agent"),
    ],
)
def test_other_addresses_are_written_as_twilio_does(written: str, address: str) -> None:
    assert our_address(written) == address
    assert our_address(address) == address


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("MG" + "0" * 32, A_SERVICE),
        ("mg" + "ab" * 16, A_SERVICE),
        ("MG0123", A_SERVICE),
        ("whatsapp:MG" + "0" * 32, A_SERVICE),
        ("PN" + "0" * 32, AN_ID),
        ("AC" + "f" * 32, AN_ID),
        ("SK" + "0" * 32, AN_ID),
        ("(555) 000-1111", NO_COUNTRY),
        ("5550003333", NO_COUNTRY),
        ("000-1111", NO_COUNTRY),
        ("020 7946 0958", NO_COUNTRY),
        ("+0 555 000 1111", NO_NUMBER),
        ("+1 555 000", NO_NUMBER),
        ("+1 555 000 11112", NO_NUMBER),
        ("+1 155 000 1111", NO_NUMBER),
        ("+1 555 000 1111 x5", NO_NUMBER),
        ("+1 800 FLOWERS", NO_NUMBER),
        ("++15550001111", NO_NUMBER),
        ("+1555+0001111", NO_NUMBER),
        ("+" + "9" * 16, NO_NUMBER),
        ("VERIFY", NO_NUMBER),
        ("My Brand", NO_NUMBER),
        ("12", NO_NUMBER),
        ("*", NO_NUMBER),
        ("default", NO_NUMBER),
        ("whatsapp:12345", NO_NUMBER),
        ("whatsapp:brand", NO_NUMBER),
        ("messenger:15550001111", NO_NUMBER),
        ("mailto:a@example.com", NO_NUMBER),
        ("https://example.com", NO_NUMBER),
        ('"+15550001111"', NO_NUMBER),
        ("rcs:", NO_NUMBER),
        ("+", NO_NUMBER),
        ("\u200b", NO_NUMBER),
    ],
)
def test_what_nobody_can_text_is_a_fault_of_both_settings(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^this ") as caught:
        our_address(written)
    assert str(caught.value) == words
    routes = json.dumps({"+15550009999": ROUTE, written: ROUTE}, ensure_ascii=False)
    environ = {"AGENT_ROUTES": routes}
    if written != "\u200b":  # that is no entry at all
        environ["TWILIO_NUMBERS"] = f"+15550009999, {written}"
    with pytest.raises(SettingsError) as told:
        Settings.load(ENVIRON | environ)
    assert [(fault.split()[0], fault.rsplit("): ", 1)[1]) for fault in told.value.faults] == [
        (name, words) for name in sorted(environ, reverse=True)
    ]
    assert all(" at its entry 2 (" in fault for fault in told.value.faults)
    assert len(written) < 6 or written not in str(told.value)


@pytest.mark.parametrize("between", [",", " , ", ";", "\n", ",\n", "，", ", ,"])
def test_several_are_separated_as_people_do(between: str) -> None:
    assert our_addresses(f"+1 555 000 1111{between}+1 555 000 2222") == ("+15550001111", "+15550002222")


def test_a_number_that_stands_there_twice_counts_once() -> None:
    assert our_addresses("+15550001111, 1 (555) 000-1111, 12345") == ("+15550001111", "12345")


def test_every_wrong_entry_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(ENVIRON | {"TWILIO_NUMBERS": f"+15550001111,5550002222,MG{'0' * 32},x"})
    assert caught.value.faults == [
        f"TWILIO_NUMBERS at its entry 2 (555…22): {NO_COUNTRY}",
        f"TWILIO_NUMBERS at its entry 3 (…00): {A_SERVICE}",
        f"TWILIO_NUMBERS at its entry 4 (…): {NO_NUMBER}",
    ]


def test_two_spellings_of_one_number_can_not_have_two_routes() -> None:
    routes = json.dumps({"+15550001111": ROUTE, "1 (555) 000-1111": {**ROUTE, "agent_id": "agent_y"}})
    with pytest.raises(SettingsError, match=r"entry 2 .*: this number appears twice; keep one"):
        Settings.load(ENVIRON | {"AGENT_ROUTES": routes})


def read(written: str) -> tuple[str, str | None]:
    """The address, or what is told of it."""
    try:
        return our_address(written), None
    except ValueError as error:
        return "", str(error)


@given(st.text(max_size=40))
def test_whatever_is_written_is_an_address_for_good_or_a_fault(written: str) -> None:
    address, fault = read(written)
    assert fault in {None, A_SERVICE, AN_ID, NO_COUNTRY, NO_NUMBER}
    if fault is None:
        assert read(address) == (address, None)
        assert address.isascii()
        assert " " not in address


@given(st.from_regex(r"\+[2-9][0-9]{6,14}", fullmatch=True), st.data())
def test_separators_between_the_digits_mean_nothing(number: str, data: st.DataObject) -> None:
    between = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011", "/"])
    assert our_address("".join(char + data.draw(between) for char in number)) == number
