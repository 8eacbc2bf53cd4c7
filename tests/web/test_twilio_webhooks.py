"""Twilio's webhooks: which are theirs, and what they say."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from werkzeug.datastructures import MultiDict

from bridge.providers.carriers.contract import Delivery, InboundText, StatusReport
from bridge.providers.carriers.twilio.webhooks import (
    OPT_OUT,
    BadField,
    Form,
    parse_inbound,
    parse_status,
    public_address,
    signed,
)

TOKEN = "12345"
CALL = {"CallSid": ["CA1234567890ABCDE"], "Digits": ["1234"], "To": ["+18005551212"]}
TEXT = {
    "AccountSid": ["AC" + "0" * 32],
    "ApiVersion": ["2010-04-01"],
    "Body": ["Hé, 10:00 ok? 👍"],
    "From": ["+15551230001"],
    "FromCity": [""],
    "MessageSid": ["SM" + "a" * 32],
    "NumMedia": ["0"],
    "NumSegments": ["1"],
    "SmsStatus": ["received"],
    "To": ["+15550001111"],
}
HERE = "https://bridge.example.com/sms"
MYAPP = "https://mycompany.com/myapp.php?foo=1&bar=2"
GOLDEN: list[tuple[str, str, Form, str]] = [
    (
        "the vendor's page",
        "https://example.com/myapp.php?foo=1&bar=2",
        {**CALL, "Caller": ["+14158675310"], "From": ["+14158675310"]},
        "L/OH5YylLD5NRKLltdqwSvS0BnU=",
    ),
    (
        "the vendor's tests",
        MYAPP,
        {**CALL, "Caller": ["+14158675309"], "From": ["+14158675309"]},
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    (
        "repeated values",
        MYAPP,
        {"Sid": ["CA123"], "SidAccount": ["AC123"], "Digits": ["5678", "1234", "1234"]},
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
    ),
    ("an emoji and an empty value", HERE, TEXT, "Sn7d3Oq6QztfTCjA/Vw0Oo9fPLg="),
    (
        "without the empty value",
        HERE,
        {name: values for name, values in TEXT.items() if name != "FromCity"},
        "rAdu9gk+6MhD8c0cKTHfBGZVJcU=",
    ),
]
SIGNATURE = GOLDEN[3][3]


def sign(token: str, url: str, form: Form) -> str:
    """As Twilio does it."""
    pairs = MultiDict([(name, value) for name, values in form.items() for value in values])
    return str(RequestValidator(token).compute_signature(url, pairs))


# -- signatures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "form", "signature"), [row[1:] for row in GOLDEN], ids=[row[0] for row in GOLDEN])
def test_the_golden_signatures_are_good(url: str, form: Form, signature: str) -> None:
    assert signed([TOKEN], url, form, signature)
    assert sign(TOKEN, url, form) == signature


WRONG: list[tuple[str, str, Form, str | None]] = [
    ("no header", HERE, TEXT, None),
    ("an empty header", HERE, TEXT, ""),
    ("another signature", HERE, TEXT, GOLDEN[0][3]),
    ("a shortened one", HERE, TEXT, SIGNATURE[:-1]),
    ("a lengthened one", HERE, TEXT, SIGNATURE + "="),
    ("other letter case", HERE, TEXT, SIGNATURE.lower()),
    ("not ASCII", HERE, TEXT, "Sn7d3Oq6QztfTCjA/Vw0Oo9fPLé="),
    ("another host", HERE.replace("bridge", "other"), TEXT, SIGNATURE),
    ("plain http", HERE.replace("https", "http"), TEXT, SIGNATURE),
    ("another path", HERE + "/", TEXT, SIGNATURE),
    ("a query", HERE + "?a=1", TEXT, SIGNATURE),
    ("a fragment", HERE + "#rc=2", TEXT, SIGNATURE),
    ("empty values dropped", HERE, GOLDEN[4][2], SIGNATURE),
    ("a value trimmed", HERE, {**TEXT, "Body": ["Hé, 10:00 ok?"]}, SIGNATURE),
    ("a field more", HERE, {**TEXT, "New": ["1"]}, SIGNATURE),
    ("nothing posted", HERE, {}, SIGNATURE),
    ("repeated values cut to the first", MYAPP, {**GOLDEN[2][2], "Digits": ["5678"]}, GOLDEN[2][3]),
    ("half a pair of surrogates", HERE, {**TEXT, "Body": ["\ud83d"]}, SIGNATURE),
    ("a port that is none", "https://bridge.example.com:abc/sms", TEXT, SIGNATURE),
    ("a port that is too high", "https://bridge.example.com:99999/sms", TEXT, SIGNATURE),
    ("a broken address", "https://[bridge/sms", TEXT, SIGNATURE),
    ("no address", "", TEXT, SIGNATURE),
]


@pytest.mark.parametrize(("url", "form", "signature"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_whatever_is_changed_is_not_signed(url: str, form: Form, signature: str | None) -> None:
    assert not signed([TOKEN], url, form, signature)


@pytest.mark.parametrize(
    "query", ["a=1&b=2", "q=%20", "q=+", "q=%C3%A9", "q=%27", "q=%2F", "q=%40", "q=%3A", "q=%7E", "q=%7B", "q=%22"]
)
def test_percent_escapes_in_the_query_stay_as_they_came(query: str) -> None:
    url = public_address("https://bridge.example.com", "/sms", query)
    assert url == f"{HERE}?{query}"
    assert signed([TOKEN], url, TEXT, sign(TOKEN, f"{HERE}?{query}", TEXT))


@pytest.mark.parametrize(
    ("base", "path", "query", "address"),
    [
        ("https://x.example", "/twilio/inbound", "", "https://x.example/twilio/inbound"),
        ("https://x.example/below", "/twilio/inbound", "", "https://x.example/below/twilio/inbound"),
        ("http://127.0.0.1:8000", "/twilio/status", "message=a1", "http://127.0.0.1:8000/twilio/status?message=a1"),
    ],
)
def test_the_public_address_is_what_twilio_called(base: str, path: str, query: str, address: str) -> None:
    assert public_address(base, path, query) == address


@pytest.mark.parametrize("port", [":443", ":8000"])
def test_a_port_may_be_signed_or_not(port: str) -> None:
    url = f"https://bridge.example.com{port}/sms"
    for called in (url, HERE):
        assert signed([TOKEN], url, TEXT, sign(TOKEN, called, TEXT))


def test_either_token_is_good_while_they_are_changed() -> None:
    assert signed(["old", TOKEN], HERE, TEXT, SIGNATURE)
    assert signed([TOKEN, "next"], HERE, TEXT, SIGNATURE)
    assert not signed(["old", "next"], HERE, TEXT, SIGNATURE)


@pytest.mark.parametrize("tokens", [[], [""]])
def test_without_a_token_nothing_is_signed(tokens: list[str]) -> None:
    assert not signed(tokens, HERE, TEXT, sign("", HERE, TEXT))


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FORMS = st.dictionaries(WORDS, st.lists(WORDS, min_size=1, max_size=3), max_size=5)
QUERIES = st.lists(st.tuples(st.text("abc", min_size=1), WORDS), max_size=3).map(urlencode)


@given(form=FORMS, query=QUERIES, token=st.text("abc123", min_size=1))
def test_what_twilio_signs_is_signed(form: Form, query: str, token: str) -> None:
    url = public_address("https://bridge.example.com", "/twilio/inbound", query)
    assert signed([token], url, form, sign(token, url, form))


def meaning(form: Form) -> str:
    """What a signature covers of a form."""
    return "".join(name + value for name in sorted(form) for value in sorted(set(form[name])))


@given(form=FORMS, other=FORMS, query=QUERIES, other_query=QUERIES)
def test_any_change_breaks_it(form: Form, other: Form, query: str, other_query: str) -> None:
    assume(query + meaning(form) != other_query + meaning(other))
    address = "https://bridge.example.com/twilio/inbound?x=1&"
    assert not signed([TOKEN], address + other_query, other, sign(TOKEN, address + query, form))


ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))
ANY_FORM = st.dictionaries(ANYTHING, st.lists(ANYTHING, max_size=2), max_size=4)


@given(url=ANYTHING, form=ANY_FORM, signature=st.none() | ANYTHING)
def test_nothing_that_comes_from_outside_raises(url: str, form: Form, signature: str | None) -> None:
    assert not signed([TOKEN], url, form, signature)


# -- texts ---------------------------------------------------------------------------------------------------------

LEAST: Form = {"MessageSid": ["SM1"], "From": ["+15551230001"], "To": ["+15550001111"]}


def test_a_text_is_read() -> None:
    assert parse_inbound(TEXT) == InboundText(
        carrier_id="SM" + "a" * 32, phone="+15551230001", bridge_number="+15550001111", body="Hé, 10:00 ok? 👍"
    )


def test_a_text_needs_no_more_than_its_name_and_both_ends() -> None:
    assert parse_inbound(LEAST) == InboundText("SM1", "+15551230001", "+15550001111", "")


@pytest.mark.parametrize("name", ["MessageSid", "From", "To"])
@pytest.mark.parametrize(
    "values", [None, [], [""], [" \t"], ["x" * 256]], ids=["absent", "none", "empty", "blank", "long"]
)
def test_a_field_that_is_missing_is_named_with_the_way_to_mend_it(name: str, values: list[str] | None) -> None:
    form = {field: given for field, given in LEAST.items() if field != name}
    with pytest.raises(BadField) as caught:
        parse_inbound(form if values is None else {**form, name: values})
    assert caught.value.field == name
    assert str(caught.value).startswith(f"{name} is ")
    assert "webhook" in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert "+1555" not in str(caught.value)


def test_addresses_are_opaque_and_may_be_long() -> None:
    text = parse_inbound({**LEAST, "From": ["whatsapp:" + "u" * 246], "MessageSid": ["S" * 64]})
    assert text.phone == "whatsapp:" + "u" * 246
    with pytest.raises(BadField):
        parse_inbound({**LEAST, "MessageSid": ["S" * 65]})


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 0),
        ({"NumMedia": "0"}, 0),
        ({"NumMedia": "3"}, 3),
        ({"NumMedia": " 3 "}, 3),
        ({"NumMedia": ""}, 0),
        ({"NumMedia": "-1"}, 0),
        ({"NumMedia": "1e3"}, 0),
        ({"NumMedia": "٣"}, 0),
        ({"NumMedia": "9" * 30}, 0),
        ({"NumMedia": "many", "MediaUrl0": "https://a", "MediaUrl1": "https://b"}, 2),
        ({"MediaUrl0": "https://a"}, 1),
        ({"NumMedia": "many", "MediaUrl0": ""}, 0),
        ({"NumMedia": "0", "MediaUrl0": "https://a"}, 0),
    ],
)
def test_pictures_are_counted(fields: dict[str, str], count: int) -> None:
    assert parse_inbound({**LEAST, **{name: [value] for name, value in fields.items()}}).media == count


@pytest.mark.parametrize(
    ("body", "stored"), [("a\x00b", "a\ufffdb"), ("a\ud83db", "a\ufffdb"), (" a\n", " a\n"), ("👍", "👍")]
)
def test_a_body_is_kept_but_for_what_no_table_can_hold(body: str, stored: str) -> None:
    assert parse_inbound({**LEAST, "Body": [body]}).body == stored


@pytest.mark.parametrize(
    ("said", "word"), [("STOP", "STOP"), ("start", "START"), (" HELP ", "HELP"), ("", None), ("MAYBE", None)]
)
def test_what_twilio_says_of_an_opt_out_is_kept(said: str, word: str | None) -> None:
    assert parse_inbound({**LEAST, "OptOutType": [said]}).opt_out == word


@pytest.mark.parametrize(
    ("said", "service"), [("MG" + "a" * 32, "MG" + "a" * 32), (" MG1 ", "MG1"), ("", None), ("x" * 999, "x" * 64)]
)
def test_the_service_that_twilio_names_is_kept(said: str, service: str | None) -> None:
    assert parse_inbound({**LEAST, "MessagingServiceSid": [said]}).service == service


FIELDS = ("MessageSid", "From", "To", "Body", "NumMedia", "MediaUrl0", "OptOutType", "MessageStatus", "ErrorCode")
FIELDS += ("MessagingServiceSid",)
KNOWN_FORM = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, st.lists(ANYTHING, max_size=2)))


@given(st.one_of(ANY_FORM, KNOWN_FORM))
def test_any_form_is_a_text_that_fits_the_tables_or_a_bad_field(form: Form) -> None:
    try:
        text = parse_inbound(form)
    except BadField:
        return
    assert 0 < len(text.carrier_id) <= 64
    assert 0 < len(text.phone) <= 255
    assert 0 < len(text.bridge_number) <= 255
    assert 0 <= text.media < 2**31
    assert text.opt_out in {None, *OPT_OUT}
    for words in (text.carrier_id, text.phone, text.bridge_number, text.body):
        assert "\x00" not in words
        words.encode()


# -- reports -------------------------------------------------------------------------------------------------------

REPORT: Form = {"MessageSid": ["SM1"], "MessageStatus": ["delivered"], "To": ["+15551230001"], "From": ["+15550001111"]}


def test_a_report_is_read() -> None:
    assert parse_status(REPORT, "abc123") == StatusReport("abc123", "SM1", Delivery.DELIVERED, "+15551230001")


@pytest.mark.parametrize("status", Delivery)
def test_every_known_word_is_a_status(status: Delivery) -> None:
    report = parse_status({**REPORT, "MessageStatus": [status.value]}, None)
    assert report
    assert report.status is status


@pytest.mark.parametrize("word", ["", "DELIVERED", "partially_delivered", "receiving", "new"])
def test_a_word_that_is_not_known_says_nothing(word: str) -> None:
    assert parse_status({**REPORT, "MessageStatus": [word]}, "abc123") is None


def test_the_old_name_of_the_status_is_read_too() -> None:
    form = {"MessageSid": ["SM1"], "SmsStatus": ["sent"], "To": ["+15551230001"]}
    assert parse_status(form, None) == StatusReport(None, "SM1", Delivery.SENT, "+15551230001")


@pytest.mark.parametrize("sid", [[], [""], [" "], ["S" * 65]])
def test_a_report_on_nothing_says_nothing(sid: list[str]) -> None:
    assert parse_status({**REPORT, "MessageSid": sid}, "abc123") is None


@pytest.mark.parametrize(
    ("given_reference", "kept"),
    [
        (None, None),
        ("", None),
        ("abc123", "abc123"),
        ("a" * 32, "a" * 32),
        ("a" * 33, None),
        ("a b", None),
        ("é", None),
    ],
)
def test_a_reference_is_ours_or_nothing(given_reference: str | None, kept: str | None) -> None:
    report = parse_status(REPORT, given_reference)
    assert report
    assert report.reference == kept


@pytest.mark.parametrize(
    ("said", "code"), [("30003", 30003), ("", None), ("none", None), ("9" * 30, None), ("-1", None)]
)
def test_an_error_number_is_read(said: str, code: int | None) -> None:
    report = parse_status({**REPORT, "MessageStatus": ["undelivered"], "ErrorCode": [said]}, None)
    assert report
    assert report.error_code == code


@given(st.one_of(ANY_FORM, KNOWN_FORM), st.none() | ANYTHING)
def test_no_report_is_too_odd(form: Form, reference: str | None) -> None:
    report = parse_status(form, reference)
    assert report is None or (0 < len(report.carrier_id) <= 64 and (report.error_code or 0) < 2**31)


def test_a_form_as_flask_hands_it_over_is_read() -> None:
    posted = MultiDict(parse_qsl(urlencode(TEXT, doseq=True), keep_blank_values=True))
    form = posted.to_dict(flat=False)
    assert signed([TOKEN], HERE, form, SIGNATURE)
    assert parse_inbound(form).body == TEXT["Body"][0]
