"""What the second opinion stands on: a Twilio that others wrote, and what the vendors write about their APIs.

- ``emulate`` plays Twilio: it keeps texts, and signs the webhooks and callbacks that it sends.
- Prism holds every request, and every answer where it stands in the middle, against an OpenAPI document: Twilio's own,
  or those of Retell and UponAI beside this file.

The job is optional. ``make second-opinion`` installs both beside the checkout, and says by
``BRIDGE_TEST_SECOND_OPINION`` where; without that, all of this but ``test_documents`` is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bridge.processes.embedded import free_port
from testkit.procfile import Processes
from testkit.waiting import until
from tests.scene import NUMBER
from tests.second_opinion.relay import Relay, relay
from tests.vendor import closed_port

HERE = "127.0.0.1"
TOOLS = os.environ.get("BRIDGE_TEST_SECOND_OPINION")

DOCUMENT = "package/src/services/twilio-api/twilio_api_v2010.json"
DOCUMENT_SHA256 = "170b3ccd0f891416840083d72f1795b1499b14a18d4873fd2b39f47ef84642d6"
"""As it lies in the release of Twilio's command line that the Makefile names."""

ON_LOOPBACK = "data:text/javascript," + quote(
    "import net from 'node:net';"
    "const listen = net.Server.prototype.listen;"
    "net.Server.prototype.listen = function (port) { return listen.call(this, port, '127.0.0.1'); };"
)
"""Runs before ``emulate``, which would listen on all interfaces and can't be told otherwise."""


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where the tools are installed."""
    if not TOOLS:
        pytest.skip("a second opinion on the vendors is optional; make second-opinion asks for it")
    return Path(TOOLS).resolve()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("second-opinion"), {})
    yield processes
    processes.close()


# -- emulate -------------------------------------------------------------------------------------------------------


class Emulated:
    """Twilio as ``emulate`` plays it: one account with one number of ours, and the people who text it."""

    account_sid = "AC" + "0" * 32
    auth_token = "twilio_test_auth_token"
    api_key = "SK" + "0" * 32
    api_secret = "twilio_test_api_secret"
    service = "MG" + "1" * 32

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"http://{HERE}:{port}"
        self._http = httpx.Client(base_url=self.address, auth=(self.account_sid, self.auth_token), timeout=30)

    @classmethod
    def seed(cls, webhook_url: str) -> dict[str, Any]:
        """What it knows beyond its defaults."""
        number = {"phone_number": NUMBER, "sms_url": webhook_url}
        service = {"sid": cls.service, "friendly_name": "ours", "phone_numbers": [NUMBER]}
        return {"twilio": {"phone_numbers": [number], "messaging_services": [service]}}

    def text(self, phone: str, body: str) -> str:
        """A person texts; the webhook has been called when this returns. The text's id."""
        sid: str = self._told("/_twilio/simulate/inbound-message", {"From": phone, "To": NUMBER, "Body": body})["sid"]
        return sid

    def report(self, sid: str, status: str) -> None:
        """A text of ours has come so far; the callback has been made when this returns."""
        self._told("/_twilio/simulate/message-status", {"MessageSid": sid, "Status": status})

    def sent_to(self, phone: str) -> list[dict[str, Any]]:
        """What we sent to this person, the oldest first, as its API lists it."""
        path = f"/2010-04-01/Accounts/{self.account_sid}/Messages.json"
        answer = self._http.get(path, params={"To": phone, "PageSize": 1000})
        return list(reversed(answer.raise_for_status().json()["messages"]))

    def listens(self) -> bool:
        try:
            return self._http.get("/").is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()

    def _told(self, path: str, form: dict[str, str]) -> Any:
        return self._http.post(path, data=form).raise_for_status().json()


@pytest.fixture
def doorstep() -> Iterator[Relay]:
    """Stands before the bridge, at the address that Twilio calls. At first nobody lives there."""
    with relay(f"http://{HERE}:{closed_port()}") as doorstep:
        yield doorstep


@pytest.fixture
def emulated(tools: Path, processes: Processes, tmp_path: Path, doorstep: Relay) -> Iterator[Emulated]:
    emulated = Emulated(free_port(HERE))
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps(Emulated.seed(f"{doorstep.address}/twilio/inbound")))
    program = str(tools / "node_modules/emulate/dist/index.js")
    options = ["start", "--service", "twilio", "--port", str(emulated.port), "--seed", str(seed)]
    process = processes.start("emulate", ["node", "--import", ON_LOOPBACK, program, *options])
    process.until_it_says("twilio")
    until(emulated.listens, "emulate listens")
    yield emulated
    emulated.close()
    process.stop()


# -- Prism ---------------------------------------------------------------------------------------------------------


class Prism:
    """An OpenAPI document, and the program that holds traffic against it."""

    def __init__(self, tools: Path, document: Path, processes: Processes) -> None:
        self._program = str(tools / "node_modules/@stoplight/prism-cli/dist/index.js")
        self._file = str(document)
        self._processes = processes

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(Path(self._file).read_text())
        return document

    def mock(self) -> str:
        """The address of a server that has nothing but the examples of the document."""
        return self._start("mock")

    def before(self, upstream: str) -> str:
        """The address at which this server is reached through the document."""
        return self._start("proxy", upstream)

    def _start(self, command: str, *more: str) -> str:
        port = free_port(HERE)
        options = ["--host", HERE, "--port", str(port), self._file, *more]
        process = self._processes.start("prism", ["node", self._program, command, *options])
        process.until_it_says("Prism is listening", within=60)
        return f"http://{HERE}:{port}"


@pytest.fixture(scope="session")
def prism(tools: Path, processes: Processes) -> Prism:
    document = tools / DOCUMENT
    assert hashlib.sha256(document.read_bytes()).hexdigest() == DOCUMENT_SHA256, "not the document that was looked at"
    return Prism(tools, document, processes)


@pytest.fixture(scope="session")
def prism_on(tools: Path, processes: Processes) -> Callable[[Path], Prism]:
    """Prism on a document of ours."""
    return lambda path: Prism(tools, path, processes)
