"""The simulator alone:

``python -m bridge.simulator --port 8090 --webhook-url http://127.0.0.1:8080/twilio/inbound``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import fields
from typing import Any

from bridge.simulator.server import serve
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.simulator import Simulator

_TYPES: dict[str, Any] = {"str": str, "str | None": str, "int": int, "float": float}


def main() -> None:
    arguments = vars(_parser().parse_args())
    host, port = arguments.pop("host"), arguments.pop("port")
    with serve(Simulator(SimulatorSettings(**arguments)), host, port) as address:
        sys.stdout.write(f"The phone: {address}/\n")
        sys.stdout.flush()
        _until_signal()


def _parser() -> argparse.ArgumentParser:
    """Add one option for each plain setting."""
    parser = argparse.ArgumentParser(prog="python -m bridge.simulator", description="A pretend Twilio and chat agent.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    for field in fields(SimulatorSettings):
        option = "--" + field.name.replace("_", "-")
        if field.type == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
        elif field.type in _TYPES:
            parser.add_argument(option, type=_TYPES[str(field.type)], default=field.default)
    return parser


def _until_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
