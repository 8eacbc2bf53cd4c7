"""The simulator alone, as a server of its own. ``--help`` tells how a bridge is pointed at it."""

from __future__ import annotations

import argparse
import ast
import inspect
import signal
import sys
import threading
from dataclasses import fields
from itertools import pairwise
from typing import Any

from bridge.simulator.server import serve
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.simulator import Simulator

_TYPES: dict[str, Any] = {"str": str, "str | None": str, "int": int, "float": float}

_ABOUT = """\
A pretended Twilio, and a pretended chat agent at Retell and at UponAI, with a page of phones to text from. It needs no
account and reaches nothing outside this machine. `bridge demo` starts it together with a bridge.

To let a bridge of your own use it, start the simulator with the address of the bridge's webhook:

  python -m bridge.simulator --port 8090 --webhook-url http://127.0.0.1:8000/twilio/inbound

and give the bridge these settings, with the values that the options have:

  PUBLIC_URL=http://127.0.0.1:8000
  TWILIO_API_BASE_URL=http://127.0.0.1:8090   TWILIO_ACCOUNT_SID=(--account-sid)   TWILIO_AUTH_TOKEN=(--auth-token)
  RETELL_BASE_URL=http://127.0.0.1:8090       RETELL_API_KEY=(--retell-api-key)    RETELL_AGENT_ID=(--agent-id)
"""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the paragraphs of the description, and show the default of each option."""


def main() -> None:
    arguments = vars(_parser().parse_args())
    host, port = arguments.pop("host"), arguments.pop("port")
    with serve(Simulator(SimulatorSettings(**arguments)), host, port) as address:
        sys.stdout.write(f"The phone: {address}/\n")
        sys.stdout.flush()
        _until_signal()


def _parser() -> argparse.ArgumentParser:
    """Add one option for each plain setting."""
    parser = argparse.ArgumentParser(
        prog="python -m bridge.simulator", usage="%(prog)s [options]", description=_ABOUT, formatter_class=_Help
    )
    parser.add_argument("--host", default="127.0.0.1", help="where it listens")
    parser.add_argument("--port", type=int, default=8090, help="where it listens")
    meanings = _meanings()
    for field in fields(SimulatorSettings):
        words = field.name.replace("_", " ")
        about: dict[str, Any] = {"default": field.default, "help": meanings.get(field.name, f"the {words}")}
        if field.type == "bool":
            parser.add_argument("--" + words.replace(" ", "-"), action=argparse.BooleanOptionalAction, **about)
        elif field.type in _TYPES:
            parser.add_argument("--" + words.replace(" ", "-"), type=_TYPES[str(field.type)], metavar="…", **about)
    return parser


def _meanings() -> dict[str, str]:
    """Return what the settings' own docstrings say of them. They are in the source alone."""
    [settings] = ast.parse(inspect.getsource(SimulatorSettings)).body
    assert isinstance(settings, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value).replace("``", "").replace("%", "%%").replace("\n", " ")
        for field, text in pairwise(settings.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _until_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
