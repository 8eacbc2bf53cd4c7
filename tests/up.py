"""``bridge up`` between simulated providers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bridge.processes.embedded import free_port
from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from testkit.procfile import Process, Processes
from testkit.waiting import until
from tests.scene import ANN

HERE = "127.0.0.1"
OPERATOR = "token-of-the-operator"
BRIDGE = (sys.executable, "-m", "bridge")


class Up:
    """``bridge up`` between simulated providers; it may be started again on the same file."""

    def __init__(self, folder: Path, simulator: Simulator, providers: str, **more: str) -> None:
        self.simulator = simulator
        self.port = free_port(HERE)
        self.address = f"http://{HERE}:{self.port}"
        self.database = folder / "bridge.sqlite3"
        self.settings = {**self._settings(providers), **more}
        simulator.webhook_url = f"{self.settings['PUBLIC_URL']}/twilio/inbound#rc=5&rp=5xx,ct,rt"
        self.processes = Processes(folder, self.settings)

    def start(self, bridge: Sequence[str] = BRIDGE) -> Process:
        process = self.processes.start("up", [*bridge, "up", "--port", str(self.port)])
        process.until_it_says("The bridge listens")
        return process

    def killed_in_a_turn(self) -> None:
        """Ann's *one* is answered. When it is killed, her *two* is with the agent, which has received it."""
        process = self.start()
        self.simulator.phones.text(ANN, "one")
        self.must_have_answered("one")
        self.simulator.faults.next("agent_slow", seconds=2)
        self.simulator.phones.text(ANN, "two")
        until(lambda: self.simulator.agent.received(ANN) == ["one", "two"], "the agent has received it")
        process.kill()

    def must_have_answered(self, *said: str, within: float = 30) -> None:
        """The agent has received each of Ann's texts so far once, and each was answered once, in order."""
        until(self.simulator.settled, "all is settled", within)
        assert self.simulator.agent.received(ANN) == list(said)
        assert self.simulator.phones.inbox(ANN) == [f"re: {text}" for text in said]
        self.must_have_lost_nothing()

    def must_have_lost_nothing(self) -> None:
        verdict = judge(self.simulator.ledger)
        assert verdict.ok, str(verdict)

    def _settings(self, providers: str) -> dict[str, str]:
        settings = self.simulator.settings
        return {
            "DATABASE_URL": f"sqlite:///{self.database}",
            "PUBLIC_URL": self.address,
            "TWILIO_ACCOUNT_SID": settings.account_sid,
            "TWILIO_AUTH_TOKEN": settings.auth_token,
            "TWILIO_API_BASE_URL": providers,
            "RETELL_API_KEY": settings.retell_api_key,
            "RETELL_AGENT_ID": settings.agent_id,
            "RETELL_BASE_URL": providers,
            "ADMIN_TOKEN": OPERATOR,
        }


@contextmanager
def up_in(folder: Path, simulator: Simulator | None = None, **more: str) -> Iterator[Up]:
    """Yield a bridge that is not started yet. ``more`` are settings."""
    simulator = simulator or Simulator(SimulatorSettings(echo=True))
    with serve(simulator) as providers:
        up = Up(folder, simulator, providers, **more)
        try:
            yield up
        finally:
            up.processes.close()
