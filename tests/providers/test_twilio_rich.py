"""What comes beside the words of a text: every parameter has a fate, and what can be said is said."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.carriers.contract import Attachment, InboundText
from bridge.providers.carriers.twilio.rich import FATES, LONGEST_EXTRA, LONGEST_WORDS, MOST_EXTRAS, Fate, fate
from bridge.providers.carriers.twilio.webhooks import parse_inbound

LEAST = {"MessageSid": "SM1", "From": "whatsapp:+15551230001", "To": "whatsapp:+15550001111", "Body": ""}
PLACE = {"Latitude": "52.520008", "Longitude": "13.404954"}
LINK = "https://www.google.com/maps/search/?api=1&query=52.520008,13.404954"


def read(**fields: str) -> InboundText:
    return parse_inbound({name: [value] for name, value in (LEAST | fields).items()})


# -- fates ---------------------------------------------------------------------------------------------------------

_NAMES = """
MessageSid SmsSid SmsMessageSid AccountSid MessagingServiceSid From To Body NumMedia NumSegments MediaUrl0
MediaContentType0 FromCity FromState FromZip FromCountry ToCity ToState ToZip ToCountry OptOutType SmsStatus ApiVersion
MessageType AddOns ButtonPayload ButtonText ButtonType ListTitle ListId ListDescription InteractiveData FlowData
ChannelMetadata Latitude Longitude Address Label ProfileName WaId Forwarded FrequentlyForwarded ReferralBody
ReferralHeadline ReferralSourceId ReferralSourceType ReferralSourceUrl ReferralMediaUrl ReferralNumMedia
OriginalRepliedMessageSender OriginalRepliedMessageSid ErrorCode ErrorUrl
"""
DOCUMENTED = _NAMES.split()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_documented_parameter_has_a_fate(name: str) -> None:
    known = "Referral" if name.startswith("Referral") else re.sub(r"[0-9]+$", "", name)
    assert fate(name) is FATES[known]


@given(st.sampled_from([*FATES, "Unheard", "Referral"]), st.sampled_from(["", "0", "12", "Url0", "x"]))
def test_a_known_name_is_found_by_itself_or_by_its_rules(name: str, more: str) -> None:
    known = "Referral" if (name + more).startswith("Referral") else (name + more).rstrip("0123456789")
    assert fate(name + more) is FATES.get(known, Fate.LEFT)


def test_a_parameter_that_nobody_knows_is_left() -> None:
    assert fate("NewThing") is Fate.LEFT
    assert read(NewThing="x").extras == ()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_its_fate_comes_true(name: str) -> None:
    """A parameter that is stored is found beside the text, and one that is said in its words."""
    value = "12.5" if name in ("Latitude", "Longitude") else "7" if name == "NumMedia" else "zebra"
    value = '{"answer": "zebra"}' if name in ("InteractiveData", "FlowData") else value
    others = PLACE if name in PLACE else {}
    text = read(**{**others, name: value})
    assert (dict(text.extras).get(name) == value) is (fate(name) in (Fate.STORED, Fate.REFUSED))
    said = "12.5" if name in PLACE else "zebra"
    assert (said in text.content) is (fate(name) is Fate.AGENT)


# -- a place -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {**PLACE, "Label": "Brandenburger Tor", "Address": "Pariser Platz, Berlin"},
            f"Location: Brandenburger Tor, Pariser Platz, Berlin, 52.520008, 13.404954\n{LINK}",
        ),
        (PLACE, f"Location: 52.520008, 13.404954\n{LINK}"),
        ({**PLACE, "Label": " ", "Address": ""}, f"Location: 52.520008, 13.404954\n{LINK}"),
        ({**PLACE, "Label": "Home"}, f"Location: Home, 52.520008, 13.404954\n{LINK}"),
        ({**PLACE, "Address": "Pariser Platz"}, f"Location: Pariser Platz, 52.520008, 13.404954\n{LINK}"),
        ({**PLACE, "Body": "Here!"}, f"Here!\nLocation: 52.520008, 13.404954\n{LINK}"),
        ({"Label": "Home", "Address": "Elm Street 3"}, "Location: Home, Elm Street 3"),
        (
            {"Latitude": "-33.8567844", "Longitude": "-151.213108"},
            "Location: -33.8567844, -151.213108\n"
            "https://www.google.com/maps/search/?api=1&query=-33.8567844,-151.213108",
        ),
        ({"Latitude": "0", "Longitude": "0"}, "Location: 0, 0\nhttps://www.google.com/maps/search/?api=1&query=0,0"),
        ({"Latitude": "52.5"}, ""),
        ({"Longitude": "13.4"}, ""),
        ({"Latitude": "", "Longitude": ""}, ""),
        ({"Latitude": "north", "Longitude": "13.4"}, ""),
        ({"Latitude": "91", "Longitude": "13.4"}, ""),
        ({"Latitude": "52.5", "Longitude": "181"}, ""),
        ({"Latitude": "nan", "Longitude": "inf"}, ""),
        ({"Latitude": "1e1", "Longitude": "1"}, ""),
        ({"Latitude": "٣", "Longitude": "1"}, ""),
        ({"Latitude": "north", "Longitude": "13.4", "Label": "Home"}, "Location: Home"),
    ],
)
def test_a_place_is_said_in_words(fields: dict[str, str], said: str) -> None:
    assert read(**fields).content == said


# -- taps ----------------------------------------------------------------------------------------------------------


def interactive(kind: str, **reply: str) -> str:
    return json.dumps({"type": kind, kind: reply})


@pytest.mark.parametrize(
    ("fields", "body", "said"),
    [
        ({"ButtonText": "Yes"}, "Yes", "Yes"),
        ({"ButtonText": "Yes", "ButtonPayload": "book_2"}, "Yes", "Yes (payload: book_2)"),
        ({"ButtonText": "Yes", "ButtonPayload": "Yes"}, "Yes", "Yes"),
        ({"ButtonText": "Yes", "ButtonPayload": " yes "}, "Yes", "Yes"),
        ({"ButtonText": "Yes", "ButtonPayload": ""}, "Yes", "Yes"),
        ({"Body": "Yes", "ButtonText": "Yes", "ButtonPayload": "book_2"}, "Yes", "Yes (payload: book_2)"),
        ({"Body": "Yes, please", "ButtonText": "Yes"}, "Yes, please", "Yes, please"),
        ({"ButtonPayload": "book_2"}, "", "(payload: book_2)"),
        ({"ListTitle": "Table for two"}, "Table for two", "Table for two"),
        ({"ListTitle": "Table for two", "ListId": "row_2"}, "Table for two", "Table for two (payload: row_2)"),
        ({"ListId": "row_2"}, "", "(payload: row_2)"),
        ({"Body": "Table for two", "ListId": "row_2"}, "Table for two", "Table for two (payload: row_2)"),
        ({"InteractiveData": interactive("button_reply", id="b1", title="Yes")}, "Yes", "Yes (payload: b1)"),
        ({"InteractiveData": interactive("list_reply", id="r1", title="Two")}, "Two", "Two (payload: r1)"),
        (
            {"InteractiveData": interactive("list_reply", id="r1", title="Two"), "ListTitle": "Two", "ListId": "r1"},
            "Two",
            "Two (payload: r1)",
        ),
        ({"InteractiveData": interactive("button_reply", id="Yes", title="Yes")}, "Yes", "Yes"),
        ({"InteractiveData": interactive("list_reply", title="Two")}, "Two", "Two"),
        ({"InteractiveData": interactive("button", payload="b1", text="Yes")}, "Yes", "Yes (payload: b1)"),
        (
            {"InteractiveData": interactive("suggestionResponse", postbackData="b1", text="Yes")},
            "Yes",
            "Yes (payload: b1)",
        ),
        (
            {"InteractiveData": interactive("list_reply", id="r1", title="Two", description="at eight")},
            "Two",
            "Two (payload: r1)",
        ),
        ({"InteractiveData": "no json"}, "", ""),
        ({"InteractiveData": "[]"}, "", ""),
        ({"InteractiveData": "null"}, "", ""),
        ({"InteractiveData": '"text"'}, "", ""),
        ({"ButtonText": " ", "ListTitle": "Two"}, "Two", "Two"),
        ({"Body": "  \n "}, "  \n ", "  \n "),
    ],
)
def test_the_words_of_a_tap_are_the_text(fields: dict[str, str], body: str, said: str) -> None:
    text = read(**fields)
    assert (text.body, text.content) == (body, said)


@pytest.mark.parametrize(
    ("field", "data", "said"),
    [
        ("FlowData", {"flow_token": "t1", "name": "Ann", "guests": 2, "late": False}, "name: Ann\nguests: 2\nlate: no"),
        ("FlowData", {"response_json": json.dumps({"name": "Ann"})}, "name: Ann"),
        ("FlowData", {"extras": ["nuts", "milk"]}, "extras: nuts, milk"),
        (
            "InteractiveData",
            {"pages": [{"title": "Booking", "items": [{"label": "Guests?", "value": "2", "type": "NUMBER"}]}]},
            "title: Booking\nGuests?: 2",
        ),
        ("FlowData", {"text": "By the window", "name": "Ann"}, "text: By the window\nname: Ann"),
        ("FlowData", {"id": 7, "name": "Ann"}, "id: 7\nname: Ann"),
        ("FlowData", {}, ""),
        ("FlowData", {"type": "flow", "status": "ok"}, ""),
        ("FlowData", {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": "too deep"}}}}}}}}, ""),
    ],
)
def test_the_answers_of_a_form_are_said_one_a_line(field: str, data: Any, said: str) -> None:
    assert read(**{field: json.dumps(data)}).content == said


def test_the_same_answers_in_two_parameters_are_said_once() -> None:
    answers = json.dumps({"name": "Ann"})
    assert read(FlowData=answers, InteractiveData=answers).content == "name: Ann"


# -- what can't be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "attachment"),
    [
        (["image/jpeg"], Attachment.PICTURE),
        (["image/webp", "image/png"], Attachment.PICTURE),
        (["audio/ogg; codecs=opus"], Attachment.VOICE),
        (["audio/amr"], Attachment.VOICE),
        (["AUDIO/MPEG"], Attachment.VOICE),
        (["text/vcard"], Attachment.CONTACT),
        (["text/x-vCard; charset=utf-8"], Attachment.CONTACT),
        (["text/directory"], Attachment.CONTACT),
        (["video/mp4"], Attachment.FILE),
        (["application/pdf"], Attachment.FILE),
        (["image/jpeg", "audio/ogg"], Attachment.FILE),
        ([""], Attachment.FILE),
        ([], Attachment.FILE),
    ],
)
def test_media_are_told_by_their_type(types: list[str], attachment: Attachment) -> None:
    media = {f"MediaContentType{n}": each for n, each in enumerate(types)}
    assert read(NumMedia=str(len(types)), **media).attachment is attachment


# -- bounds --------------------------------------------------------------------------------------------------------

ANYTHING = st.text(max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | ANYTHING,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(ANYTHING, inside, max_size=4),
    max_leaves=30,
)


@given(
    fields=st.dictionaries(st.sampled_from(DOCUMENTED), ANYTHING),
    data=JSON.map(json.dumps),
    field=st.sampled_from(["InteractiveData", "FlowData"]),
)
def test_whatever_comes_is_a_text_that_the_tables_can_hold(fields: dict[str, str], data: str, field: str) -> None:
    text = read(**{**fields, **LEAST, field: data})
    assert len(text.aside) <= LONGEST_WORDS
    assert len(text.extras) <= MOST_EXTRAS
    for words in (text.content, *itertools.chain(*text.extras)):
        assert "\x00" not in words
        words.encode()


def test_huge_parameters_are_cut() -> None:
    text = read(ChannelMetadata="x" * 50_000, FlowData=json.dumps({f"q{n}": "x" * 100 for n in range(500)}))
    assert len(dict(text.extras)["ChannelMetadata"]) == LONGEST_EXTRA
    assert len(text.content) == LONGEST_WORDS
    assert len(read(**{f"MediaUrl{n}": "https://a" for n in range(500)}).extras) == MOST_EXTRAS


@pytest.mark.parametrize("piece", ["[", '{"a":', "1" * 9, '"[', "{}"])
def test_a_deep_or_odd_document_is_no_fault(piece: str) -> None:
    assert read(FlowData=piece * 7000).content == ""


def test_characters_that_no_table_holds_are_replaced_in_what_a_form_says() -> None:
    assert read(FlowData='{"name": "a\\u0000b\\ud800"}').content == "name: a\ufffdb\ufffd"
