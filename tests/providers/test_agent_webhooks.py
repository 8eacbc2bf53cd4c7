"""The webhooks of the agent's providers, below HTTP: the signature, and what is read of an event."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retell.lib.webhook_auth import symmetric

from bridge.providers.agents.contract import ChatState, Item, Speaker
from bridge.providers.agents.retell import webhooks as retell
from bridge.providers.agents.uponai import webhooks as uponai
from bridge.providers.agents.webhooks import (
    LONGEST_SUMMARY,
    LONGEST_WORD,
    Analysis,
    ChatEvent,
    EventKind,
    Signed,
    verified,
)
from tests import nasty

STAMP = 1_700_000_000_000
THEN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
MS = timedelta(milliseconds=1)

GOLDEN = [
    (
        "test-api-key",
        b'{"event":"call_ended"}',
        "07024cabe7dd8f6d1c6e4a8324ca92c812e6ad4a7ee506c04f7e462e3321823e",
    ),
    (
        "key_test_secret",
        b'{"event":"chat_ended","chat":{"chat_id":"chat_test_1","agent_id":"agent_test_1","chat_status":"ended",'
        b'"chat_type":"api_chat"}}',
        "e6106446a2e6a42194bb6ce76e8f47ccf495b0e1a13d3129125aa60d7f09f288",
    ),
]
"""Made by the vendor's own libraries."""

KEY, BODY, DIGEST = GOLDEN[1]


def signature(key: str, body: bytes, stamp: int | str = STAMP) -> str:
    return f"v={stamp},d={hmac.new(key.encode(), body + str(stamp).encode(), sha256).hexdigest()}"


# -- the signature -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "body", "digest"), GOLDEN, ids=["1", "2"])
def test_the_vendor_s_own_signatures_are_valid(key: str, body: bytes, digest: str) -> None:
    assert verified(key, body, f"v={STAMP},d={digest}", THEN) == Signed(body, THEN)
    assert signature(key, body) == f"v={STAMP},d={digest}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        DIGEST,
        f"d={DIGEST},v={STAMP}",
        f"v={STAMP},d={DIGEST.upper()}",
        f"v={STAMP},d={DIGEST[:-1]}",
        f"v={STAMP},d={DIGEST}0",
        f"v={STAMP},d={DIGEST}\n",
        f" v={STAMP},d={DIGEST}",
        f"v={STAMP}, d={DIGEST}",
        f"v={STAMP},d={DIGEST},v={STAMP},d={DIGEST}",
        f"v={STAMP + 1},d={DIGEST}",
        f"v=+{STAMP},d={DIGEST}",
        f"v=0{STAMP},d={DIGEST}",
        "v=١٧٠٠,d=" + DIGEST,
        f"v=,d={DIGEST}",
        f"v={STAMP}" + "0" * 5000 + f",d={DIGEST}",
        f"v={STAMP},d=" + "0" * 64,
        "\xff",
    ],
)
def test_anything_else_is_no_signature(header: str | None) -> None:
    assert verified(KEY, BODY, header, THEN) is None


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], BODY.replace(b":", b": "), b""])
def test_a_signature_holds_for_these_very_bytes_alone(body: bytes) -> None:
    assert verified(KEY, body, f"v={STAMP},d={DIGEST}", THEN) is None


def test_a_signature_is_of_one_key_alone() -> None:
    assert verified("key_test_secre", BODY, f"v={STAMP},d={DIGEST}", THEN) is None


@pytest.mark.parametrize("sign", [1, -1], ids=["old", "ahead"])
def test_a_signature_is_valid_for_five_minutes_to_the_millisecond(sign: int) -> None:
    header = f"v={STAMP},d={DIGEST}"
    assert verified(KEY, BODY, header, THEN + sign * 300_000 * MS)
    assert verified(KEY, BODY, header, THEN + sign * 300_001 * MS) is None


@pytest.mark.parametrize("late", [-300_001, -300_000, 0, 299_999, 300_001])
@pytest.mark.parametrize("spoil", ["", "d", "0", "=", "\n"])
def test_the_vendor_s_library_says_the_same(late: int, spoil: str) -> None:
    header = signature(KEY, BODY).replace(spoil, "", 1) if spoil != "\n" else signature(KEY, BODY) + spoil
    valid = symmetric["verify"](BODY.decode(), KEY, header, {"timestamp": STAMP + late})
    assert (verified(KEY, BODY, header, THEN + late * MS) is not None) == valid


def test_a_digest_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a stale signature: the time must not tell which of the two was wrong."""
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda right, given: compared.append((right, given)) or right == given)
    wrong = "0" * 64
    for digest, now in ((DIGEST, THEN), (wrong, THEN), (wrong, THEN + timedelta(days=1))):
        verified(KEY, BODY, f"v={STAMP},d={digest}", now)
    assert compared == [(DIGEST, DIGEST), (DIGEST, wrong), (DIGEST, wrong)]


@given(st.binary(max_size=200), st.integers(0, 10**14), st.text(max_size=20))
def test_what_is_signed_is_verified_and_nothing_else(body: bytes, stamp: int, key: str) -> None:
    key = key.encode("utf-8", "replace").decode()
    now = datetime(1970, 1, 1, tzinfo=UTC) + stamp * MS
    assert verified(key, body, signature(key, body, stamp), now) == Signed(body, now)
    assert verified(key + "x", body, signature(key, body, stamp), now) is None


# -- the event -----------------------------------------------------------------------------------------------------

ITEMS = [
    {"role": "user", "message_id": "m1", "content": "hi"},
    {"role": "agent", "message_id": "m2", "content": "Hello!"},
]
CHAT: dict[str, Any] = {
    "chat_id": "chat_7f3a",
    "agent_id": "agent_k2",
    "chat_status": "ended",
    "chat_type": "api_chat",
    "transcript": "User: hi\nAgent: Hello!",
    "message_with_tool_calls": ITEMS,
    "chat_cost": {"combined_cost": 1.5, "product_costs": []},
}
ANALYSIS = {"chat_summary": "A greeting.", "user_sentiment": "Positive", "chat_successful": True}


def signed(payload: object) -> Signed:
    return Signed(json.dumps(payload).encode(), THEN)


def ended(**chat: Any) -> Signed:
    return signed({"event": "chat_ended", "chat": CHAT | chat})


def analyzed(**chat: Any) -> Signed:
    return signed({"event": "chat_analyzed", "chat": CHAT | {"chat_analysis": ANALYSIS} | chat})


def test_the_end_of_a_chat_is_read_with_its_items() -> None:
    items = (Item(Speaker.USER, "hi", "m1"), Item(Speaker.AGENT, "Hello!", "m2"))
    expected = ChatEvent(EventKind.ENDED, "retell", "chat_7f3a", THEN, items, Analysis(cost=1.5), ChatState.ENDED)
    assert retell.event(ended()) == expected
    assert uponai.event(ended()) == replace(expected, provider="uponai", items=())


@pytest.mark.parametrize("name", ["chat_escalated", "transcript_updated", "a new word", "chat_started"])
@pytest.mark.parametrize("more", [{"chat_status": "ongoing", "is_escalated": True}, {"chat_status": "transferred"}])
def test_an_event_of_any_name_tells_of_a_human(name: str, more: dict[str, object]) -> None:
    payload = signed({"event": name, "chat": {"chat_id": "chat_7f3a", **more}})
    for event in (retell.event(payload), uponai.event(payload)):
        assert event
        assert (event.kind, event.state) == (EventKind.ESCALATED, ChatState.WITH_HUMAN)


@pytest.mark.parametrize("more", [{"chat_status": "ongoing"}, {"chat_status": "ended", "is_escalated": True}, {}])
def test_an_event_of_another_name_and_of_another_chat_changes_nothing(more: dict[str, object]) -> None:
    payload = signed({"event": "transcript_updated", "chat": {"chat_id": "chat_7f3a", **more}})
    assert (retell.event(payload), uponai.event(payload)) == (None, None)


def test_an_analysis_is_read() -> None:
    event = retell.event(analyzed())
    assert event
    assert (event.kind, event.analysis) == (EventKind.ANALYZED, Analysis("A greeting.", "Positive", True, 1.5))


def test_uponai_may_write_its_fields_in_either_way() -> None:
    chat = {
        "chatId": "chat_5d",
        "chatAnalysis": {"chatSummary": "A greeting.", "userSentiment": "Neutral", "chatSuccessful": False},
        "chatCost": {"combinedCost": 2},
    }
    event = uponai.event(signed({"event": "chat_analyzed", "chat": chat}))
    assert event
    assert (event.chat_id, event.analysis) == ("chat_5d", Analysis("A greeting.", "Neutral", False, 2.0))


@pytest.mark.parametrize(
    "payload",
    [
        {"event": "chat_started", "chat": CHAT},
        {"event": "transcript_updated", "chat": CHAT},
        {"event": "call_ended", "call": {"call_id": "c"}},
        {"event": "chat_ended", "call": CHAT},
        {"event": "chat_ended", "chat": []},
        {"event": "chat_ended", "chat": {**CHAT, "chat_id": None}},
        {"event": "chat_ended", "chat": {**CHAT, "chat_id": " "}},
        {"event": "chat_ended", "chat": {**CHAT, "chat_id": "x" * 300}},
        {"event": "chat_ended", "chat": {**CHAT, "chat_id": {"a": 1}}},
        {"event": ["chat_ended"], "chat": CHAT},
        {"event": {"chat_ended": 1}, "chat": CHAT},
        {"event": "CHAT_ENDED", "chat": CHAT},
        {},
        [],
        None,
        "chat_ended",
    ],
)
def test_what_changes_nothing_here_is_no_event(payload: object) -> None:
    assert retell.event(signed(payload)) is None
    assert uponai.event(signed(payload)) is None


@pytest.mark.parametrize("body", nasty.NO_JSON)
def test_what_is_no_json_is_no_event(body: bytes) -> None:
    assert retell.event(Signed(body, THEN)) is None


@pytest.mark.parametrize(
    ("told", "analysis"),
    [
        ({"chat_summary": "x" * 20_000}, Analysis(summary="x" * LONGEST_SUMMARY)),
        ({"user_sentiment": "y" * 100}, Analysis(sentiment="y" * LONGEST_WORD)),
        ({"user_sentiment": "Delighted"}, Analysis(sentiment="Delighted")),
        ({"chat_summary": "a\x00b\ud83d"}, Analysis(summary="a\ufffdb\ufffd")),
        ({"chat_summary": " ", "user_sentiment": 7, "chat_successful": "yes"}, Analysis()),
        ({"chat_successful": 1}, Analysis()),
        ([], Analysis()),
        (None, Analysis()),
    ],
)
def test_of_an_analysis_only_what_fits_is_kept(told: object, analysis: Analysis) -> None:
    event = retell.event(analyzed(chat_analysis=told, chat_cost=None))
    assert event
    assert event.analysis == analysis


@pytest.mark.parametrize("cost", [None, "1", True, -1, float("nan"), float("inf"), 10**400, [], {"a": 1}])
def test_a_cost_that_is_none_is_left_out(cost: object) -> None:
    event = retell.event(analyzed(chat_cost={"combined_cost": cost}))
    assert event
    assert event.analysis.cost is None
