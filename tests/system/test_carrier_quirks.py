"""A whole bridge beside a Twilio that spells phones otherwise, swaps typography or hides what texts say.

The callbacks are lost where the list is to tell what became of a text.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from bridge.config import Settings
from bridge.db.models import Direction, Message, MessageStatus
from bridge.processes import embedded
from bridge.runtime import Runtime
from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from bridge.web.app import build_web
from testkit.waiting import PATIENCE, until

HOST = "127.0.0.1"
MEXICO = "+5215512345678"
BRAZIL = "whatsapp:+551187654321"
ANN = "+15551230001"

QUIRKS: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("a callback spells the phone otherwise", MEXICO, {"respells": True}, ()),
    ("so does the list", MEXICO, {"respells": True}, ("callbacks_lost",)),
    ("also on WhatsApp", BRAZIL, {"respells": True}, ("callbacks_lost",)),
    ("the list shows swapped typography", ANN, {"smart_encoding": True}, ("callbacks_lost",)),
    ("the list shows no words, and a callback tells", ANN, {"redacts": True}, ()),
    ("the list shows no words, and nothing else tells", ANN, {"redacts": True}, ("callbacks_lost",)),
]


def known(rt: Runtime) -> list[MessageStatus]:
    """What the bridge knows of its own texts."""
    with rt.database.read() as session:
        return list(session.scalars(select(Message.status).where(Message.direction == Direction.OUT)))


@contextmanager
def serving(rt: Runtime, port: int) -> Iterator[None]:
    server = make_server(HOST, port, build_web(rt, PATIENCE), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("phone", "quirk", "lost"), [row[1:] for row in QUIRKS], ids=[row[0] for row in QUIRKS])
def test_a_text_of_unknown_outcome_arrives_once(
    tmp_path: Path, phone: str, quirk: dict[str, Any], lost: tuple[str, ...]
) -> None:
    providers = SimulatorSettings(echo=True, **quirk)
    simulator = Simulator(providers)
    for fault in lost:
        simulator.faults.set(fault)
    simulator.faults.next("carrier_500_after", calls=["send"])
    port = embedded.free_port(HOST)
    own = f"http://{HOST}:{port}"
    with serve(simulator) as address:
        settings = Settings.load(
            environ={},
            database_url=f"sqlite:///{tmp_path / 'bridge.sqlite3'}",
            public_url=own,
            twilio_account_sid=providers.account_sid,
            twilio_auth_token=providers.auth_token,
            twilio_numbers=providers.number,
            twilio_api_base_url=address,
            retell_api_key=providers.retell_api_key,
            retell_agent_id=providers.agent_id,
            retell_base_url=address,
        )
        with embedded.running(settings, HOST, 0) as (rt, _), serving(rt, port):
            simulator.webhook_url = f"{own}/twilio/inbound"
            simulator.phones.text(phone, "“one” – 👍 two…")
            assert simulator.wait_until_settled(60)
            until(lambda: known(rt) == [MessageStatus.SENT], "the outcome is known", 60)
    assert judge(simulator.ledger).ok
    assert len(simulator.phones.inbox(phone)) == 1
