"""The parts of the simulator that the carrier's calls to the bridge share."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.simulator.carrier import Carrier
from bridge.simulator.courier import Courier
from bridge.simulator.faults import Faults
from bridge.simulator.hook import Caller
from bridge.simulator.ledger import Ledger
from bridge.simulator.settings import SimulatorSettings


@dataclass(frozen=True)
class Network:
    """The carrier's network on the side of the bridge."""

    settings: SimulatorSettings
    carrier: Carrier
    courier: Courier
    caller: Caller
    faults: Faults
    ledger: Ledger
