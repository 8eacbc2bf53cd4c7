"""One deployment, two providers: one number is answered from Retell and another one from UponAI.

A fault or a death at one of them must neither lose nor double anything, nor mix the two, nor stop the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.serving import make_server

from bridge.config import Settings
from bridge.db.models import Chat, Conversation, Turn, TurnStatus
from bridge.processes import embedded
from bridge.providers.agents.routes import Agents
from bridge.providers.errors import AccountRefused, OutcomeUnknown
from bridge.queues import circuit_breakers
from bridge.runtime import Runtime
from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from bridge.simulator.ledger import FaultStruck
from bridge.web.app import build_web
from bridge.web.health import find_faults
from testkit.waiting import PATIENCE
from tests.fakes import UPONAI, FakeAgent
from tests.mortal import Fate, Mortal, MortalScene, emptied
from tests.scene import ANN, BOB, NUMBER

OTHER = "+15550002222"
MIXED: dict[str, Any] = {
    **UPONAI,
    "agent_provider": "retell",
    "agent_routes": {OTHER: {"provider": "uponai", "agent_id": "agent_x"}},
}
HOST = "127.0.0.1"


class TwoProviders(MortalScene):
    """Ann texts the number of Retell's agent, Bob that of UponAI's, which gives no message ids."""

    def __init__(self, engine: Engine, fate: Fate) -> None:
        super().__init__(emptied(engine), fate, FakeAgent(lambda said: [f"retell: {said}"]), **MIXED)
        self.other = FakeAgent(lambda said: [f"uponai: {said}"], now=self.clock, provider="uponai", item_ids=False)
        self.by_name = {"retell": self.agent, "uponai": self.other}
        mortal: Any = {name: Mortal(agent, fate) for name, agent in self.by_name.items()}
        self.rt = replace(self.rt, agents=Agents(self.rt.settings, mortal))

    def both_text(self, said: str) -> None:
        self.text(said, ANN)
        self.call(lambda rt: self._receive(said))
        self.work_until_idle(at_most=600)

    def _receive(self, said: str) -> None:
        super(MortalScene, self).text(said, BOB, sid=f"SM-{said}", to=OTHER)


def answer_is_lost(at: FakeAgent) -> None:
    at.fail("complete", OutcomeUnknown("cut", provider=at.provider), received=True)


def account_is_refused(at: FakeAgent) -> None:
    at.fail("complete", AccountRefused("no key", provider=at.provider, status=401))


def perform(engine: Engine, fate: Fate, fault: Callable[[FakeAgent], None], at: str) -> tuple[TwoProviders, int]:
    """Return the scene, and how many boundaries were passed before the fault."""
    scene = TwoProviders(engine, fate)
    scene.both_text("one")
    calm = len(fate.passed)
    fault(scene.by_name[at])
    scene.both_text("two")
    return scene, calm


@pytest.mark.parametrize("fault", [answer_is_lost, account_is_refused], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("at", ["retell", "uponai"])
def test_no_death_beside_a_fault_of_one_loses_doubles_or_mixes_anything(
    hasty_engine: Engine, fault: Callable[[FakeAgent], None], at: str
) -> None:
    whole = Fate()
    _, calm = perform(hasty_engine, whole, fault, at)
    deaths = [n for n, name in enumerate(whole.passed, start=1) if name.startswith("before") and n > calm]
    assert len(deaths) > 10
    for n in [0, *deaths]:
        scene, _ = perform(hasty_engine, Fate(n), fault, at)
        assert (scene.agent.received, scene.other.received) == (["one", "two"], ["one", "two"])
        assert scene.got(ANN) == ["retell: one", "retell: two"]
        assert scene.got(BOB) == ["uponai: one", "uponai: two"]
        senders = {(accepted.text.recipient, accepted.text.sender) for accepted in scene.carrier.accepted}
        assert senders == {(ANN, NUMBER), (BOB, OTHER)}
        numbers = {row.id: row.bridge_number for row in scene.rows(Conversation)}
        providers = {(numbers[row.conversation_id], row.provider, row.agent_id) for row in scene.rows(Chat)}
        assert providers == {(NUMBER, "retell", "agent_1"), (OTHER, "uponai", "agent_x")}


@pytest.mark.parametrize("at", ["retell", "uponai"])
def test_a_provider_that_refuses_the_account_stops_its_own_numbers_alone_and_is_named(
    hasty_engine: Engine, at: str
) -> None:
    scene = TwoProviders(hasty_engine, Fate())
    scene.by_name[at].fail("create_chat", AccountRefused("no key", provider=at, status=401), times=1000)
    scene.text("one", ANN)
    scene._receive("one")
    scene.work(seconds=30)
    answered = {"retell": scene.got(ANN), "uponai": scene.got(BOB)}
    assert answered == {name: [] if name == at else [f"{name}: one"] for name in answered}
    with scene.rt.database.read() as session:
        [circuit] = circuit_breakers.open_circuits(session)
    assert (circuit.scope, circuit.cause) == (at, f"{at} (401): no key")
    scene.by_name[at].recover()
    scene.work_until_idle(at_most=600)
    assert (scene.got(ANN), scene.got(BOB)) == (["retell: one"], ["uponai: one"])
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED] * 2


def test_when_the_provider_changes_old_chats_are_ended_where_they_are_and_old_turns_looked_for_there(
    hasty_engine: Engine,
) -> None:
    scene = TwoProviders(hasty_engine, Fate())
    scene.text("one", ANN)
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    scene.wake()
    settings = Settings.load(environ={}, **scene.rt.settings.model_dump() | UPONAI | {"agent_routes": {}})
    scene.rt = replace(scene.rt, settings=settings, agents=Agents(settings, scene.by_name))
    scene.work_until_idle(at_most=600)
    scene.text("two", ANN)
    scene.work(seconds=60)
    assert (scene.agent.received, scene.other.received) == (["one"], ["two"])
    assert scene.got(ANN) == ["retell: one", "uponai: two"]
    assert ("end_chat", "chat_1") in scene.agent.calls
    assert [row.provider for row in scene.rows(Chat)] == ["retell", "uponai"]


# -- the real adapters -----------------------------------------------------------------------------------------------


@contextmanager
def running(simulator: Simulator, folder: Path) -> Iterator[Runtime]:
    """A whole bridge between the simulated providers."""
    port = embedded.free_port(HOST)
    own = f"http://{HOST}:{port}"
    with serve(simulator) as address:
        settings = Settings.load(
            environ=simulator.settings.agents_at_both(address),
            database_url=f"sqlite:///{folder / 'bridge.sqlite3'}",
            public_url=own,
            twilio_account_sid=simulator.settings.account_sid,
            twilio_auth_token=simulator.settings.auth_token,
            twilio_api_base_url=address,
        )
        with embedded.running(settings, HOST, 0) as (rt, _):
            simulator.webhook_url = f"{own}/twilio/inbound"
            server = make_server(HOST, port, build_web(rt, PATIENCE), threaded=True)
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield rt
            finally:
                server.shutdown()
                thread.join()
                server.server_close()


def test_both_adapters_answer_beside_each_other_and_settle_what_was_cut_off(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorSettings(echo=True, number=NUMBER, more_numbers=(OTHER,)))
    with running(simulator, tmp_path) as rt:
        for said in ("one", "two"):
            simulator.phones.text(ANN, said, to=NUMBER)
            simulator.phones.text(BOB, said, to=OTHER)
            assert simulator.wait_until_settled(30)
        simulator.faults.next("agent_cut", 2)
        for phone, number in ((ANN, NUMBER), (BOB, OTHER)):
            simulator.phones.text(phone, "three", to=number)
        assert simulator.wait_until_settled(60)
        assert find_faults(rt) == []
        with rt.database.read() as session:
            assert sorted(session.query(Chat.provider).all()) == [("retell",), ("uponai",)]
    assert simulator.ledger.count(FaultStruck) == 2
    assert judge(simulator.ledger).ok
    assert [simulator.phones.inbox(phone) for phone in (ANN, BOB)] == [["re: one", "re: two", "re: three"]] * 2
