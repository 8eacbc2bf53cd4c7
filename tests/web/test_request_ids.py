"""Each request has an id, from the router or made here; what the log has of the request shows it."""

from __future__ import annotations

import logging
import re
import uuid

import pytest
from flask.testing import FlaskClient

from bridge.lib.log import REQUEST_ID, fields_of
from bridge.web.app import build_web
from bridge.web.request_ids import HEADER, id_of
from tests.scene import ANN, Scene
from tests.web.test_twilio import FORM, INBOUND, post, scene, web  # noqa: F401 - fixtures

ROUTERS = "0b2f6a53-0f4a-4f2b-9a53-1df0b64ad0f2"

MADE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_the_router_s_id_is_kept(web: FlaskClient) -> None:  # noqa: F811
    assert web.get("/healthz", headers={HEADER: ROUTERS}).headers[HEADER] == ROUTERS


@pytest.mark.parametrize(
    "header", [None, "", "x", ANN, ANN[1:] * 3, f"{ROUTERS}-{ANN}", "id with blanks", "a" * 500, ROUTERS + "\u00e9"]
)
def test_anything_else_is_replaced_as_it_may_have_a_number(web: FlaskClient, header: str | None) -> None:  # noqa: F811
    headers = {} if header is None else {HEADER: header.encode().decode("latin-1")}
    shown = web.get("/healthz", headers=headers).headers[HEADER]
    assert MADE.fullmatch(shown)
    assert shown != header


def test_an_id_without_dashes_is_kept_and_a_run_of_digits_is_not() -> None:
    assert id_of("0b2f6a530f4a4f2b9a531df0b64ad0f2") == "0b2f6a530f4a4f2b9a531df0b64ad0f2"
    assert id_of("1" * 32) != "1" * 32


def test_a_number_in_the_form_of_a_uuid_is_replaced() -> None:
    number = ANN[1:].rjust(32, "0")
    written = "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))
    assert uuid.UUID(written)
    assert id_of(written) != written


def test_a_refusal_and_an_error_have_one_too(web: FlaskClient) -> None:  # noqa: F811
    for path in ("/twilio/inbound", "/nothing/here", "/metrics"):
        assert web.get(path, headers={HEADER: ROUTERS}).headers[HEADER] == ROUTERS


def test_what_a_webhook_logs_has_the_id_also_in_the_thread_that_stores(
    web: FlaskClient,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "bridge")
    seen: list[str] = []
    caplog.handler.addFilter(lambda record: seen.append(REQUEST_ID.get()) or True)
    signed = post(web, FORM, environ_base={"HTTP_X_REQUEST_ID": ROUTERS})
    assert signed.status_code == 200
    assert seen == [ROUTERS]
    assert REQUEST_ID.get() == ""


def test_a_text_is_followed_from_the_webhook_to_the_delivery_by_its_id(
    scene: Scene,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The webhook's record has the request's id and the text's. The worker's have the text's."""
    caplog.set_level(logging.INFO, "bridge")
    post(build_web(scene.rt).test_client(), FORM, url=INBOUND)
    scene.work_until_idle()
    ends = [dict(fields_of(record)) for record in caplog.records if fields_of(record)]
    received, turn, delivery = ends
    assert (received["outcome"], turn["outcome"], delivery["outcome"]) == ("waiting", "answered", "accepted")
    assert turn["texts"] == [received["text"]]
    assert delivery["answers"] == received["text"]
    assert delivery["turn"] == turn["turn"]
    assert {each["conversation"] for each in ends} == {1}
    assert (turn["provider"], delivery["provider"]) == ("retell", "twilio")
    assert (turn["attempt"], delivery["attempt"]) == (1, 1)
    assert all(isinstance(each["seconds"], float) for each in ends)
    assert not any(ANN[1:] in str(each) or str(FORM["Body"]) in str(each) for each in ends)
