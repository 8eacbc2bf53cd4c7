"""Twilio's REST API: what is asked, and what each of its answers means."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bridge.providers.carriers.contract import TREATMENTS, CarriedText, Carrier, Delivery, InboundText, OutgoingText
from bridge.providers.carriers.twilio import list_pages as twilio_received
from bridge.providers.carriers.twilio.client import LIST_LIMIT, MOST_LIST_PAGES, PAGE_SIZE, SEND_TIMEOUT, Twilio
from bridge.providers.carriers.twilio.error_codes import MEANINGS
from bridge.providers.carriers.twilio.list_pages import LONGEST_WAY, MOST_PAGES, Page, Pages
from bridge.providers.errors import AccountRefused, OutcomeUnknown, QueueFull, RateLimited, Refused, RemoteError
from bridge.simulator import Simulator, SimulatorSettings, serve
from tests.fakes import fake_settings
from tests.vendor import Vendor, vendor

ACCOUNT = "AC" + "0" * 32
SERVICE = "MG" + "1" * 32
SID = "SM" + "a" * 32
ANN = "+15551230001"
NUMBER = "+15550001111"
TEXT = OutgoingText(reference="abc123", sender=NUMBER, recipient=ANN, body="Hé, 10:00 ok? 👍")
SINCE = datetime(2026, 11, 2, 12, 0, 0, 500_000, UTC)
DATE = "Mon, 02 Nov 2026 12:00:00 +0000"
TOKEN = "token-of-the-account"


@pytest.fixture
def server() -> Iterator[Vendor]:
    with vendor() as told:
        yield told


NewCarrier = Callable[..., Carrier]


@pytest.fixture
def new_carrier(server: Vendor) -> Iterator[NewCarrier]:
    built: list[Carrier] = []

    def build(**settings: Any) -> Carrier:
        built.append(Twilio.from_settings(fake_settings(twilio_api_base_url=server.address, **settings)))
        return built[-1]

    yield build
    for carrier in built:
        carrier.close()


@pytest.fixture
def carrier(new_carrier: NewCarrier) -> Carrier:
    return new_carrier()


def message(**fields: object) -> dict[str, object]:
    """A message as Twilio shows it."""
    shown = {"sid": SID, "status": "queued", "body": TEXT.body, "date_created": DATE, "direction": "outbound-api"}
    return {**shown, "to": ANN, "from": NUMBER, "error_code": None, **fields}


def page(*messages: object, **fields: object) -> dict[str, object]:
    return {"messages": list(messages), "page": 0, "next_page_uri": None, **fields}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_compressed_answer_is_not_asked_for_and_a_huge_one_says_so(server: Vendor, carrier: Carrier) -> None:
    packed = gzip.compress(bytes(100_000_000))
    server.says(201, packed, {"Content-Encoding": "gzip"})
    with pytest.raises(OutcomeUnknown, match="too large"):
        carrier.send(TEXT)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


# -- sending -------------------------------------------------------------------------------------------------------


def test_a_text_is_handed_over_with_our_name_for_it_in_the_callback(server: Vendor, carrier: Carrier) -> None:
    server.says(201, message())
    taken = carrier.send(TEXT)
    assert taken == CarriedText(SID, Delivery.QUEUED, TEXT.body, datetime(2026, 11, 2, 12, tzinfo=UTC))
    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert asked.form == {
        "To": [ANN],
        "From": [NUMBER],
        "Body": [TEXT.body],
        "StatusCallback": ["https://bridge.example.com/twilio/status?message=abc123"],
    }


def test_a_messaging_service_is_the_sender_where_it_is_set(server: Vendor, new_carrier: NewCarrier) -> None:
    server.says(201, message(status="accepted"))
    taken = new_carrier(twilio_messaging_service_sid=SERVICE).send(TEXT)
    assert taken.status is Delivery.ACCEPTED
    assert server.asked[0].form["MessagingServiceSid"] == [SERVICE]
    assert "From" not in server.asked[0].form


@pytest.mark.parametrize("channel", ["whatsapp:", "rcs:"])
def test_an_address_of_a_channel_speaks_for_itself_also_where_there_is_a_service(
    server: Vendor, new_carrier: NewCarrier, channel: str
) -> None:
    server.says(201, message())
    server.says(200, page())
    carrier = new_carrier(twilio_messaging_service_sid=SERVICE)
    ours, theirs = f"{channel}{NUMBER}", f"{channel}{ANN}"
    carrier.send(OutgoingText("abc123", ours, theirs, "hello"))
    carrier.sent_to(theirs, ours, SINCE)
    sent, looked = server.asked
    assert (sent.form["From"], sent.form["To"]) == ([ours], [theirs])
    assert "MessagingServiceSid" not in sent.form
    assert (looked.query["From"], looked.query["To"]) == ([ours], [theirs])


def test_a_text_waits_in_the_queue_of_its_number_or_of_the_service(new_carrier: NewCarrier) -> None:
    alone, together = new_carrier(), new_carrier(twilio_messaging_service_sid=SERVICE)
    assert (alone.sending_identity(NUMBER), together.sending_identity(NUMBER)) == (NUMBER, SERVICE)
    assert together.sending_identity(f"whatsapp:{NUMBER}") == f"whatsapp:{NUMBER}"


@pytest.mark.parametrize(
    ("seconds", "told"), [(14_400, "14400"), (0.4, "1"), (-5, "1"), (10**6, "36000"), (59.9, "59"), (None, None)]
)
def test_twilio_is_told_how_long_a_text_is_of_use(
    server: Vendor, carrier: Carrier, seconds: float | None, told: str | None
) -> None:
    server.says(201, message())
    carrier.send(replace(TEXT, valid_for=None if seconds is None else timedelta(seconds=seconds)))
    assert server.asked[0].form.get("ValidityPeriod") == ([told] if told else None)


def test_the_token_opens_the_account(server: Vendor, carrier: Carrier) -> None:
    server.says(201, message())
    carrier.send(TEXT)
    assert server.asked[0].headers["Authorization"] == basic(ACCOUNT, TOKEN)


def test_the_api_key_is_used_where_there_is_one(server: Vendor, new_carrier: NewCarrier) -> None:
    server.says(201, message())
    key = "SK" + "2" * 32
    new_carrier(twilio_api_key=key, twilio_api_secret="secret-of-the-key").send(TEXT)
    assert server.asked[0].headers["Authorization"] == basic(key, "secret-of-the-key")
    assert f"/Accounts/{ACCOUNT}/" in server.asked[0].path


def test_the_environment_does_not_move_the_address(
    server: Vendor, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"REGION": "au1", "EDGE": "sydney", "ACCOUNT_SID": "AC9", "AUTH_TOKEN": "other"}.items():
        monkeypatch.setenv(f"TWILIO_{name}", value)
    server.says(201, message())
    carrier.send(TEXT)
    assert server.asked[0].headers["Authorization"] == basic(ACCOUNT, TOKEN)


@pytest.mark.parametrize(
    ("word", "status"),
    [(word.value, word) for word in Delivery] + [("partially_delivered", Delivery.ACCEPTED), (None, Delivery.ACCEPTED)],
)
def test_every_word_of_twilio_is_a_status_and_a_new_one_means_taken(
    server: Vendor, carrier: Carrier, word: str | None, status: Delivery
) -> None:
    server.says(201, message(status=word))
    assert carrier.send(TEXT).status is status


def test_a_text_may_have_failed_at_once(server: Vendor, carrier: Carrier) -> None:
    server.says(201, message(status="failed", error_code=30002))
    taken = carrier.send(TEXT)
    assert (taken.status, taken.error_code) == (Delivery.FAILED, 30002)


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"3", b"{}", b'{"sid": null}', b'{"sid": ""}', b'{"sid": 3}', b"\xff"]
)
def test_a_success_that_does_not_name_the_text_leaves_the_outcome_open(
    server: Vendor, carrier: Carrier, status: int, body: bytes
) -> None:
    server.says(status, body)
    with pytest.raises(OutcomeUnknown):
        carrier.send(TEXT)


def test_a_cut_connection_leaves_the_outcome_open_and_is_not_repeated(server: Vendor, carrier: Carrier) -> None:
    server.hangs_up()
    with pytest.raises(OutcomeUnknown):
        carrier.send(TEXT)
    assert len(server.asked) == 1


def test_a_twilio_that_trickles_does_not_outlive_the_timeout(server: Vendor) -> None:
    server.trickles(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000\r\n\r\n")
    carrier = Twilio(
        account_sid=ACCOUNT,
        username=ACCOUNT,
        password=TOKEN,
        base_url=server.address,
        public_url="https://bridge.example.com",
        timeout=0.3,
    )
    start = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="in time"):
        carrier.send(TEXT)
    assert time.monotonic() - start < SEND_TIMEOUT / 2
    carrier.close()


# -- finding again -------------------------------------------------------------------------------------------------


def test_one_page_of_this_pair_is_asked_for(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(*[message()] * LIST_LIMIT, next_page_uri="/2010-04-01/more"))
    assert len(carrier.sent_to(ANN, NUMBER, SINCE)) == LIST_LIMIT
    [asked] = server.asked
    assert (asked.method, asked.path) == ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert asked.query == {"To": [ANN], "From": [NUMBER], "PageSize": [str(LIST_LIMIT)]}


def test_a_page_that_is_not_full_may_lead_on(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(message(sid="SM2"), next_page_uri=MORE))
    server.says(200, page(message(sid="SM1")))
    assert [found.id for found in carrier.sent_to(ANN, NUMBER, SINCE)] == ["SM2", "SM1"]
    assert server.asked[1].query == {"To": [NUMBER], "PageSize": ["200"], "Page": ["1"], "PageToken": ["PASM1"]}


def test_a_list_of_ours_that_leads_to_ever_new_addresses_tells_nothing(server: Vendor, carrier: Carrier) -> None:
    for n in range(MOST_LIST_PAGES + 1):
        server.says(200, page(next_page_uri=f"{MORE}&n={n}"))
    with pytest.raises(OutcomeUnknown):
        carrier.sent_to(ANN, NUMBER, SINCE)
    assert len(server.asked) == MOST_LIST_PAGES + 1


@pytest.mark.parametrize("address", ["https://api.example.com/2010-04-01/more", "/more", 7, "{}/\x00", "{}/é"])
def test_it_leads_to_no_other_server_and_to_no_address_that_is_none(
    server: Vendor, carrier: Carrier, address: object
) -> None:
    address = address.format(server.address) if isinstance(address, str) else address
    server.says(200, {"messages": [message()], "meta": {"key": "messages", "next_page_url": address}})
    with pytest.raises(OutcomeUnknown):
        carrier.sent_to(ANN, NUMBER, SINCE)
    assert len(server.asked) == 1


def test_with_a_messaging_service_the_sender_may_vary(server: Vendor, new_carrier: NewCarrier) -> None:
    server.says(200, page())
    new_carrier(twilio_messaging_service_sid=SERVICE).sent_to(ANN, NUMBER, SINCE)
    assert server.asked[0].query == {"To": [ANN], "PageSize": [str(LIST_LIMIT)]}


@pytest.mark.parametrize("service", [None, SERVICE])
def test_a_phone_with_two_spellings_is_looked_for_by_both(
    server: Vendor, new_carrier: NewCarrier, service: str | None
) -> None:
    """Each text once, also where either list shows it."""
    other = {"sid": "SM" + "b" * 32, "date_created": "Mon, 02 Nov 2026 12:00:09 +0000", "to": "+525512345678"}
    server.says(200, page(message()))
    server.says(200, page(message(**other), message()))
    found = new_carrier(twilio_messaging_service_sid=service).sent_to("+5215512345678", NUMBER, SINCE)
    assert [text.id for text in found] == ["SM" + "b" * 32, SID]
    assert [asked.query["To"] for asked in server.asked] == [["+5215512345678"], ["+525512345678"]]
    assert [asked.query.get("From") for asked in server.asked] == [None if service else [NUMBER]] * 2


def test_our_own_number_may_have_two_spellings_too(server: Vendor, carrier: Carrier) -> None:
    for _ in range(2):
        server.says(200, page())
    carrier.sent_to(ANN, "+5215512345678", SINCE)
    assert [asked.query["From"] for asked in server.asked] == [["+5215512345678"], ["+525512345678"]]


def test_only_what_we_sent_counts(server: Vendor, carrier: Carrier) -> None:
    directions = ("inbound", "outbound-api", "outbound-reply", "outbound-call", None)
    server.says(200, page(*[message(sid=f"SM{n}", direction=way) for n, way in enumerate(directions)]))
    assert [found.id for found in carrier.sent_to(ANN, NUMBER, SINCE)] == ["SM1", "SM2", "SM3"]


def test_only_what_was_made_since_counts_whatever_was_sent_when(server: Vendor, carrier: Carrier) -> None:
    dates = {
        "before": "Mon, 02 Nov 2026 11:59:59 +0000",
        "then": DATE,
        "after": "Mon, 02 Nov 2026 12:00:01 +0000",
        "undated": None,
        "odd": "soon",
    }
    server.says(200, page(*[message(sid=name, date_created=date, date_sent=None) for name, date in dates.items()]))
    assert {found.id for found in carrier.sent_to(ANN, NUMBER, SINCE)} == {"then", "after", "undated", "odd"}


def test_a_text_without_words_is_found_too(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(message(body=None)))
    assert [found.body for found in carrier.sent_to(ANN, NUMBER, SINCE)] == [""]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"messages": 3}', b'{"messages": [3]}', b'{"messages": [{}]}']
)
def test_a_list_that_can_not_be_read_is_asked_for_again(server: Vendor, carrier: Carrier, body: bytes) -> None:
    server.says(200, body)
    if body == b'{"messages": [{}]}':
        assert carrier.sent_to(ANN, NUMBER, SINCE) == []
        return
    with pytest.raises(OutcomeUnknown):
        carrier.sent_to(ANN, NUMBER, SINCE)


# -- one text ------------------------------------------------------------------------------------------------------


def test_one_text_is_asked_for_by_its_id(server: Vendor, carrier: Carrier) -> None:
    server.says(200, message(status="undelivered", error_code=30003))
    assert carrier.fetch(SID) == CarriedText(
        SID, Delivery.UNDELIVERED, TEXT.body, datetime(2026, 11, 2, 12, tzinfo=UTC), error_code=30003
    )
    [asked] = server.asked
    assert (asked.method, asked.path) == ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json")


@pytest.mark.parametrize("body", [{"code": 20404, "message": "not found"}, b"", b"<html>"])
def test_a_text_that_is_not_there_says_nothing_about_the_account(
    server: Vendor, carrier: Carrier, body: object
) -> None:
    server.says(404, body)
    assert carrier.fetch(SID) is None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, 20003, AccountRefused),
        (429, 20429, RateLimited),
        (400, 20404, AccountRefused),
        (500, None, OutcomeUnknown),
    ],
)
def test_a_text_that_can_not_be_asked_for_says_why(
    server: Vendor, carrier: Carrier, status: int, code: int | None, expected: type[RemoteError]
) -> None:
    server.says(status, {"code": code, "message": "no"})
    with pytest.raises(expected):
        carrier.fetch(SID)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"sid": 3}'])
def test_a_text_that_can_not_be_read_is_asked_for_again(server: Vendor, carrier: Carrier, body: bytes) -> None:
    server.says(200, body)
    with pytest.raises(OutcomeUnknown):
        carrier.fetch(SID)


LATER_THAN_ANY_DATE = "Mon, 02 Nov 99999999999 12:00:00 +0000"


@pytest.mark.parametrize(
    "fields",
    [
        {"sid": "S" * 65},
        {"sid": "SM\x00"},
        {"sid": "SM\ud83d"},
        {"sid": 7},
        {"sid": ""},
        {"date_created": LATER_THAN_ANY_DATE},
        {"date_created": "Mon, 99 Nov 2026 12:00:00 +0000"},
        {"error_code": float("inf")},
        {"body": 7},
    ],
    ids=lambda fields: f"{fields}"[:30],
)
def test_a_text_that_no_row_can_hold_leaves_the_outcome_open(
    server: Vendor, carrier: Carrier, fields: dict[str, object]
) -> None:
    server.says(201, message(**fields))
    server.says(200, page(message(**fields)))
    with pytest.raises(OutcomeUnknown, match="does not have the documented form"):
        carrier.send(TEXT)
    with pytest.raises(OutcomeUnknown, match="does not have the documented form"):
        carrier.sent_to(ANN, NUMBER, SINCE)


@pytest.mark.parametrize(
    ("said", "kept"), [(30003, 30003), ("30003", 30003), (-1, None), (10**30, None), ("odd", None), ([1], None)]
)
def test_an_error_number_fits_its_column(server: Vendor, carrier: Carrier, said: object, kept: int | None) -> None:
    server.says(201, message(error_code=said))
    assert carrier.send(TEXT).error_code == kept
    if isinstance(said, int) and kept is None:
        server.says(400, {"code": said, "message": "no"})
        with pytest.raises(Refused) as caught:
            carrier.send(TEXT)
        assert caught.value.code is None


# -- what people sent ----------------------------------------------------------------------------------------------

MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
MORE = f"{MESSAGES}?To=%2B15550001111&PageSize=200&Page=1&PageToken=PASM1"


def inbound(**fields: object) -> dict[str, object]:
    """A person's text as Twilio shows it."""
    shown = {"direction": "inbound", "status": "received", "from": ANN, "to": NUMBER, "date_sent": DATE}
    return message(**{**shown, "num_media": "0", **fields})


HIDDEN: list[tuple[dict[str, object], bool]] = [
    ({"body": ""}, True),
    ({"body": None}, True),
    ({"body": "[Redacted]"}, True),
    ({"body": " \n"}, True),
    ({"body": "hello"}, False),
    ({"body": "", "num_media": "1"}, False),
]


def received(carrier: Carrier) -> list[InboundText]:
    return [text for page in carrier.received_by(NUMBER, SINCE) for text in page]


def received_ids(carrier: Carrier) -> list[str]:
    return [text.carrier_id for text in received(carrier)]


@pytest.mark.parametrize(("shown", "service"), [("MG" + "a" * 32, "MG" + "a" * 32), (None, None), ("", None)])
def test_the_list_names_the_service_too(server: Vendor, carrier: Carrier, shown: str | None, service: str) -> None:
    server.says(200, page(inbound(messaging_service_sid=shown)))
    assert [text.service for text in received(carrier)] == [service]


def test_the_days_since_the_moment_are_asked_for(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(inbound()))
    east = SINCE.astimezone(timezone(timedelta(hours=13)))  # where it is the day after
    [[text]] = carrier.received_by(NUMBER, east)
    assert text == InboundText(SID, ANN, NUMBER, TEXT.body, sent_at=datetime(2026, 11, 2, 12, tzinfo=UTC))
    [asked] = server.asked
    assert (asked.method, asked.path) == ("GET", MESSAGES)
    assert asked.query == {"To": [NUMBER], "DateSent>": ["2026-11-02"], "PageSize": [str(PAGE_SIZE)]}


def test_one_request_is_enough_when_the_first_page_goes_back_to_the_moment(server: Vendor, carrier: Carrier) -> None:
    before = "Mon, 02 Nov 2026 11:59:59 +0000"
    server.says(200, page(inbound(sid="SM2"), inbound(sid="SM1", date_sent=before), next_page_uri=MORE))
    assert received_ids(carrier) == ["SM2"]
    assert len(server.asked) == 1


def test_the_next_page_is_asked_for_exactly_as_twilio_names_it(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(inbound(sid="SM2"), next_page_uri=MORE))
    for _ in range(2):  # once to find where the list goes on, once to show it
        server.says(200, page(inbound(sid="SM1")))
    assert received_ids(carrier) == ["SM1", "SM2"]
    for asked in server.asked[1:]:
        assert asked.query == {"To": [NUMBER], "PageSize": ["200"], "Page": ["1"], "PageToken": ["PASM1"]}
        assert asked.headers["Authorization"] == basic(ACCOUNT, TOKEN)


def test_the_moment_is_when_twilio_called_the_webhook(server: Vendor, carrier: Carrier) -> None:
    made = "Mon, 02 Nov 2026 11:59:59 +0000"
    server.says(200, page(inbound(sid="SM2", date_created=made), inbound(sid="SM1", date_sent=made)))
    assert received_ids(carrier) == ["SM2"]


def test_a_text_that_was_not_announced_yet_counts_from_when_it_was_made(server: Vendor, carrier: Carrier) -> None:
    server.says(200, page(inbound(date_sent=None)))
    assert [text.sent_at for text in received(carrier)] == [datetime(2026, 11, 2, 12, tzinfo=UTC)]


@pytest.mark.parametrize("date", [None, "soon", ""])
def test_a_text_without_any_date_is_shown_too(server: Vendor, carrier: Carrier, date: str | None) -> None:
    server.says(200, page(inbound(date_sent=date, date_created=date)))
    assert [text.sent_at for text in received(carrier)] == [None]


@pytest.mark.parametrize(("fields", "hidden"), HIDDEN)
def test_a_text_whose_words_are_hidden_is_told_as_such(
    server: Vendor, carrier: Carrier, fields: dict[str, object], hidden: bool
) -> None:
    server.says(200, page(inbound(**fields)))
    server.says(200, inbound(**fields))
    [listed] = received(carrier)
    asked = carrier.fetch_received(SID)
    assert (listed.hidden, asked and asked.hidden) == (hidden, hidden)
    assert server.asked[1].path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json"


@pytest.mark.parametrize("status", ["failed", "undelivered"])
def test_a_machines_text_that_twilio_holds_back_stays_there(server: Vendor, carrier: Carrier, status: str) -> None:
    server.says(200, page(inbound(status=status, error_code=30039, body="I am a machine")))
    assert received(carrier) == []


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("3", 3),
        (3, 3),
        ("0", None),
        (None, None),
        ("", None),
        ("many", None),
        ("-1", None),
        ("9" * 5000, None),
        ([], None),
    ],
)
def test_segments_are_a_number_or_not_counted_yet(
    server: Vendor, carrier: Carrier, said: object, kept: int | None
) -> None:
    server.says(200, message(num_segments=said))
    shown = carrier.fetch(SID)
    assert shown and shown.segments == kept


def test_only_what_people_sent_is_shown(server: Vendor, carrier: Carrier) -> None:
    directions = ("inbound", "outbound-api", "outbound-reply", "outbound-call", None)
    server.says(200, page(*[inbound(sid=f"SM{n}", direction=way) for n, way in enumerate(directions)]))
    assert received_ids(carrier) == ["SM0"]


@pytest.mark.parametrize(("shown", "media"), [("2", 2), (3, 3), ("0", 0), (None, 0), ("many", 0)])
def test_pictures_are_counted(server: Vendor, carrier: Carrier, shown: object, media: int) -> None:
    server.says(200, page(inbound(num_media=shown)))
    assert [text.media for text in received(carrier)] == [media]


@pytest.mark.parametrize(("body", "stored"), [(None, ""), ("a\x00b\ud83d", "a\ufffdb\ufffd"), (7, "7")])
def test_a_persons_text_can_be_stored_whatever_it_holds(
    server: Vendor, carrier: Carrier, body: object, stored: str
) -> None:
    server.says(200, page(inbound(body=body)))
    assert [text.body for text in received(carrier)] == [stored]


@pytest.mark.parametrize("fields", [{"sid": None}, {"sid": "S" * 65}, {"from": ""}, {"from": "+" * 256}, {"to": None}])
def test_one_text_that_can_not_be_told_does_not_hide_the_others(
    server: Vendor, carrier: Carrier, caplog: pytest.LogCaptureFixture, fields: dict[str, object]
) -> None:
    server.says(200, page(inbound(sid="SM2"), inbound(**fields), inbound(sid="SM1")))
    assert received_ids(carrier) == ["SM1", "SM2"]
    assert "left out" in caplog.text
    assert "1230001" not in caplog.text


def test_a_page_of_the_longest_texts_fits_into_an_answer(server: Vendor, carrier: Carrier) -> None:
    # JSON may write an emoji as "\ud83d\udc4d", and does here.
    server.says(200, page(*[inbound(sid=f"SM{n}", body="👍" * 1600) for n in range(PAGE_SIZE)]))
    assert len(received(carrier)) == PAGE_SIZE


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"messages": 3}', b'{"messages": [3]}'])
def test_a_list_of_peoples_texts_that_can_not_be_read_says_so(server: Vendor, carrier: Carrier, body: bytes) -> None:
    server.says(200, body)
    with pytest.raises(OutcomeUnknown):
        received(carrier)


def test_a_list_that_leads_in_a_circle_comes_to_an_end(server: Vendor, carrier: Carrier) -> None:
    for _ in range(3):
        server.says(200, page(inbound(), next_page_uri=MORE))
    assert received_ids(carrier) == [SID, SID]
    assert len(server.asked) == 3


def test_a_list_that_leads_to_ever_new_addresses_comes_to_an_end_and_that_is_told(
    server: Vendor, carrier: Carrier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(twilio_received, "MOST_PAGES", 5)
    for n in (0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1):
        server.says(200, page(inbound(sid=f"SM{n:032x}"), next_page_uri=f"{MORE}&n={n}"))
    assert received_ids(carrier) == [f"SM{n:032x}" for n in (5, 4, 3, 2, 1, 0)]
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "goes on after 6 pages" in told.getMessage() and NUMBER not in told.getMessage()


def endless(read: list[str]) -> Callable[[str | None], Page]:
    """A list without an end, and without a text on most of its pages."""

    def page_at(address: str | None) -> Page:
        read.append(address or "newest")
        text = InboundText(f"SM{len(read)}", ANN, NUMBER, "hello")
        return Page([] if address else [text], f"page {len(read)}")

    return page_at


def test_a_list_without_an_end_is_bound_by_pages() -> None:
    read: list[str] = []
    pages = Pages(endless(read), NUMBER)
    assert sum(len(page) for page in pages) == 1
    assert len(read) == 1 + 2 * MOST_PAGES
    assert list(pages) == []


def test_a_list_without_an_end_is_bound_by_time(caplog: pytest.LogCaptureFixture) -> None:
    read: list[str] = []
    moments = itertools.count(0.0, LONGEST_WAY / 4)
    assert sum(len(page) for page in Pages(endless(read), NUMBER, clock=lambda: next(moments))) == 1
    assert len(read) == 1 + 2 * 3
    assert "goes on after 4 pages" in caplog.text


def test_a_fault_on_the_way_takes_no_more_than_its_time() -> None:
    """Also where each page fails at first: pauses count."""
    read: list[str] = []
    moments = itertools.count(0.0, LONGEST_WAY / 4)
    page_at, failed = endless(read), []

    def unsteady(address: str | None) -> Page:
        if address not in failed:
            failed.append(address)
            raise OutcomeUnknown("cut off", provider="twilio")
        return page_at(address)

    pages = Pages(unsteady, NUMBER, clock=lambda: next(moments))
    ends = 0
    while ends < 20:
        with contextlib.suppress(OutcomeUnknown):
            if next(pages, None) is None:
                break
        ends += 1
    assert ends < 20
    assert len(read) <= 1 + 2 * 3


@pytest.mark.parametrize(
    "address", [7, ["/more"], "{}/\x00", "{}/\ud83d", "{}/é", "{}/" + "x" * 70_000], ids=lambda named: f"{named}"[:20]
)
def test_an_address_that_is_none_is_not_followed(server: Vendor, carrier: Carrier, address: object) -> None:
    address = address.format(server.address) if isinstance(address, str) else address
    server.says(200, {"messages": [inbound()], "meta": {"key": "messages", "next_page_url": address}})
    with pytest.raises(OutcomeUnknown):
        received(carrier)
    assert len(server.asked) == 1


def test_the_key_is_shown_to_no_other_server(server: Vendor, carrier: Carrier) -> None:
    elsewhere = {"key": "messages", "next_page_url": "https://api.example.com/2010-04-01/more"}
    server.says(200, {"messages": [inbound()], "meta": elsewhere})
    with pytest.raises(OutcomeUnknown):
        received(carrier)
    assert len(server.asked) == 1


def test_a_long_list_is_never_in_memory_as_a_whole(alive: Mapping[int, InboundText]) -> None:
    simulator = Simulator(SimulatorSettings())
    simulator.faults.set("webhooks_lost")
    for n in range(10_000):
        simulator.phones.text(ANN, f"text {n}")
    shown, most = 0, 0
    with serve(simulator) as address:
        login = {"account_sid": simulator.settings.account_sid, "auth_token": simulator.settings.auth_token}
        carrier = Twilio.from_settings(
            fake_settings(twilio_api_base_url=address, **{f"twilio_{name}": value for name, value in login.items()})
        )
        for page in carrier.received_by(NUMBER, datetime.now(UTC) - timedelta(hours=1)):
            assert [text.body for text in page] == [f"text {n}" for n in range(shown, shown + len(page))]
            shown += len(page)
            most = max(most, len(alive))
        carrier.close()
    assert shown == 10_000
    assert PAGE_SIZE <= most <= 3 * PAGE_SIZE


# -- refusals ------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[int, int | None, type[RemoteError]]] = [
    (400, 21211, Refused),
    (400, 21408, Refused),
    (400, 21602, Refused),
    (400, 21606, AccountRefused),
    (400, 21608, Refused),
    (400, 21610, Refused),
    (400, 21612, Refused),
    (400, 21614, Refused),
    (400, 21617, Refused),
    (400, 21635, Refused),
    (403, 21211, Refused),
    (403, 21610, Refused),
    (400, 30034, AccountRefused),
    (429, 63038, Refused),
    (400, 63016, Refused),
    (400, 99999, Refused),
    (400, None, Refused),
    (405, None, Refused),
    (413, None, Refused),
    (400, 21611, QueueFull),
    (400, 30001, QueueFull),
    (400, 14107, RateLimited),
    (429, 20429, RateLimited),
    (429, 63018, QueueFull),
    (429, None, RateLimited),
    (400, 20003, AccountRefused),
    (401, 20003, AccountRefused),
    (401, None, AccountRefused),
    (402, None, AccountRefused),
    (403, 20005, AccountRefused),
    (403, None, AccountRefused),
    (400, 30002, AccountRefused),
    (400, 21703, AccountRefused),
    (400, 21704, AccountRefused),
    (400, 21705, AccountRefused),
    (404, 20404, AccountRefused),
    (404, None, AccountRefused),
    (301, None, AccountRefused),
    (307, None, AccountRefused),
    (408, None, OutcomeUnknown),
    (400, 20500, OutcomeUnknown),
    (500, 20500, OutcomeUnknown),
    (500, 21211, OutcomeUnknown),
    (500, None, OutcomeUnknown),
    (502, None, OutcomeUnknown),
    (503, 20503, OutcomeUnknown),
    (503, 20429, OutcomeUnknown),
    (504, None, OutcomeUnknown),
]


@pytest.mark.parametrize(("status", "code", "expected"), REFUSALS)
@pytest.mark.parametrize("form", ["error", "problem"])
def test_every_refusal_means_one_error(
    server: Vendor, carrier: Carrier, status: int, code: int | None, expected: type[RemoteError], form: str
) -> None:
    """In Twilio's own form and as RFC 9457 problem JSON, which its library raises as another exception."""
    error = {"code": code, "message": "no", "status": status}
    problem = {"type": "about:blank", "title": "no", "status": "odd", "code": code, "detail": "no, thanks"}
    body = {name: value for name, value in (error if form == "error" else problem).items() if value is not None}
    server.says(status, body)
    with pytest.raises(RemoteError) as caught:
        carrier.send(TEXT)
    assert type(caught.value) is expected
    assert (caught.value.provider, caught.value.status, caught.value.code) == ("twilio", status, code)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("code", "service", "scope"),
    [
        (21606, None, f"twilio {NUMBER}"),
        (30034, None, f"twilio {NUMBER}"),
        (21703, SERVICE, f"twilio {SERVICE}"),
        (30034, SERVICE, f"twilio {SERVICE}"),
        (20003, None, "twilio"),
        (30002, SERVICE, "twilio"),
        (21211, None, "twilio"),
    ],
)
def test_what_is_wrong_with_a_sender_concerns_that_one_alone(
    server: Vendor, new_carrier: NewCarrier, code: int, service: str | None, scope: str
) -> None:
    server.says(400, {"code": code, "message": "no"})
    with pytest.raises(RemoteError) as caught:
        new_carrier(twilio_messaging_service_sid=service).send(TEXT)
    assert caught.value.scope == scope


@pytest.mark.parametrize(("status", "code", "expected"), REFUSALS)
def test_a_refused_list_means_the_same(
    server: Vendor, carrier: Carrier, status: int, code: int | None, expected: type[RemoteError]
) -> None:
    server.says(status, {"code": code, "message": "no"})
    with pytest.raises(expected):
        carrier.sent_to(ANN, NUMBER, SINCE)


def test_every_number_of_the_table_means_what_it_says(server: Vendor, carrier: Carrier) -> None:
    for code, meaning in MEANINGS.items():
        server.says(400, {"code": code, "message": "no"})
        with pytest.raises(RemoteError) as caught:
            carrier.send(TEXT)
        assert (type(caught.value), caught.value.code) == (TREATMENTS[meaning.failure].refused, code)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code": "21211"}', b'{"code": true}', b"[" * 50_000])
def test_a_refusal_in_no_known_form_goes_by_its_status(server: Vendor, carrier: Carrier, body: bytes) -> None:
    server.says(400, body)
    with pytest.raises(Refused) as caught:
        carrier.send(TEXT)
    assert (caught.value.code, caught.value.reason) == (None, "HTTP 400")


@pytest.mark.parametrize("body", [b"", b"<html>Sorry, you have been blocked</html>", b"{}"])
def test_a_firewall_that_dislikes_one_text_does_not_speak_for_the_account(
    server: Vendor, carrier: Carrier, body: bytes
) -> None:
    server.says(403, body)
    with pytest.raises(OutcomeUnknown):
        carrier.send(TEXT)


@pytest.mark.parametrize(
    "call",
    [lambda carrier: carrier.send(TEXT), lambda carrier: carrier.sent_to(ANN, NUMBER, SINCE), received],
    ids=["send", "sent_to", "received_by"],
)
def test_a_refusal_says_how_long_to_wait(server: Vendor, carrier: Carrier, call: Callable[[Carrier], object]) -> None:
    server.says(429, {"code": 20429, "message": "Too Many Requests"}, {"Retry-After": "7"})
    with pytest.raises(RateLimited) as caught:
        call(carrier)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (f"Invalid 'To' Phone Number: {ANN}", "Invalid 'To' Phone Number: +1555…01"),
        (f"the body {TEXT.body!r} is refused", "HTTP 400"),
        (f"the key {TOKEN} is refused", "HTTP 400"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("", "HTTP 400"),
    ],
)
def test_a_reason_gives_nobody_away(server: Vendor, carrier: Carrier, said: str, reason: str) -> None:
    server.says(400, {"code": 21211, "message": said})
    with pytest.raises(Refused) as caught:
        carrier.send(TEXT)
    assert caught.value.reason == reason


def test_nothing_is_logged_that_belongs_to_a_person(
    server: Vendor, carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    server.says(201, message())
    server.says(200, page(message()))
    server.says(200, page(inbound()))
    server.says(400, {"code": 21211, "message": ANN})
    with caplog.at_level(logging.DEBUG):
        carrier.send(TEXT)
        carrier.sent_to(ANN, NUMBER, SINCE - timedelta(days=1))
        received(carrier)
        with pytest.raises(Refused):
            carrier.send(TEXT)
    assert "1230001" not in caplog.text
    assert "10:00" not in caplog.text
