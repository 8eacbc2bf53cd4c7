"""WhatsApp and RCS: in by the same webhook, and back on the same channel, with every address as it came."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from twilio.request_validator import RequestValidator

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Message, MessageStatus
from bridge.providers.carriers.contract import Delivery
from bridge.providers.errors import Refused
from tests.scene import ANN, NUMBER, Scene

PAIRS = [
    (f"whatsapp:{ANN}", f"whatsapp:{NUMBER}"),
    ("whatsapp:US.13491208655302741918", f"whatsapp:{NUMBER}"),
    (f"rcs:{ANN}", "rcs:brand_xmfz4_agent"),
    ("Ann's user id / 7", "12345"),
]


@pytest.fixture(params=[None, "MG" + "0" * 32], ids=["numbers", "service"])
def scene(request: pytest.FixtureRequest, sessions: Sessions) -> Scene:
    scene = Scene(sessions, twilio_messaging_service_sid=request.param)
    scene.carrier.service = request.param
    return scene


@pytest.fixture
def web(scene: Scene) -> FlaskClient:
    return scene.web.test_client()


def post(web: FlaskClient, path: str, **form: Any) -> int:
    form = {"AccountSid": "AC" + "0" * 32, **form}
    signature = RequestValidator("token-of-the-account").compute_signature(f"https://bridge.example.com{path}", form)
    return web.post(path, data=form, headers={"X-Twilio-Signature": signature}).status_code


def bring(web: FlaskClient, body: str, phone: str, number: str, n: int = 1) -> None:
    assert post(web, "/twilio/inbound", MessageSid=f"SM{n + 0xC000:032x}", From=phone, To=number, Body=body) == 200


@pytest.mark.parametrize(("phone", "number"), PAIRS)
def test_an_answer_goes_back_the_way_the_text_came(scene: Scene, web: FlaskClient, phone: str, number: str) -> None:
    bring(web, "hello", phone, number)
    scene.work()
    [accepted] = scene.carrier.accepted
    assert (accepted.text.sender, accepted.text.recipient) == (number, phone)
    [chat] = scene.agent.chats.values()
    assert (chat.about.user_number, chat.about.agent_number) == (phone, number)


@pytest.mark.parametrize(("phone", "number"), PAIRS)
def test_a_report_of_it_finds_it(scene: Scene, web: FlaskClient, phone: str, number: str) -> None:
    bring(web, "hello", phone, number)
    scene.work()
    row = scene.rows(Message)[1]
    path = f"/twilio/status?message={row.reference}"
    assert post(web, path, MessageSid=row.carrier_id, MessageStatus="read", To=phone, From=number) == 204
    assert scene.rows(Message)[1].delivery is Delivery.READ


def test_one_person_on_three_channels_is_three_conversations(scene: Scene, web: FlaskClient) -> None:
    for n, channel in enumerate(("", "whatsapp:", "rcs:")):
        bring(web, f"hello by {channel}{n}", f"{channel}{ANN}", f"{channel}{NUMBER}", n)
    scene.work()
    assert [row.phone for row in scene.rows(Conversation)] == [ANN, f"whatsapp:{ANN}", f"rcs:{ANN}"]
    for n, channel in enumerate(("", "whatsapp:", "rcs:")):
        assert scene.got(f"{channel}{ANN}") == [f"You said: hello by {channel}{n}"]


@pytest.mark.parametrize(("phone", "number"), PAIRS)
def test_no_address_reaches_the_log(
    scene: Scene, web: FlaskClient, caplog: pytest.LogCaptureFixture, phone: str, number: str
) -> None:
    scene.carrier.fail("send", Refused("no", provider="twilio", status=400, code=63024))
    bring(web, "hello", phone, number)
    scene.work()
    assert "given up" in caplog.text
    assert phone not in caplog.text


def test_an_answer_outside_of_the_24_hours_is_given_up_and_the_next_one_goes_on(scene: Scene, web: FlaskClient) -> None:
    phone, number = PAIRS[0]
    scene.agent.answer = lambda said: ["one", "two"]
    error = Refused("outside the allowed window", provider="twilio", status=400, code=63016)
    scene.carrier.fail("send", error)
    bring(web, "hello", phone, number)
    scene.work()
    assert scene.got(phone) == ["two"]
    first = scene.rows(Message)[1]
    assert (first.status, first.error_code) == (MessageStatus.GIVEN_UP, 63016)
    assert first.error == "twilio (400): outside the allowed window"
