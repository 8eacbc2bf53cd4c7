"""A simulated Twilio and a simulated agent, at Retell and at UponAI, for the demo, the tests and the load runs.

    simulator = Simulator(SimulatorSettings(webhook_url="http://127.0.0.1:8080/twilio/inbound"))
    with serve(simulator) as address:
        simulator.phones.text("+15551230001", "hello")

The bridge runs against ``address`` unchanged: it is the base of all providers' APIs. ``simulator.ledger`` records all
events, and ``judge`` decides what they prove. The simulator imports nothing of the bridge.
"""

from bridge.simulator.ledger import Ledger
from bridge.simulator.server import serve
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.simulator import Simulator
from bridge.simulator.verdict import Verdict, judge

__all__ = ["Ledger", "Simulator", "SimulatorSettings", "Verdict", "judge", "serve"]
