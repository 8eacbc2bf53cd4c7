"""The processor time of the steps of a text that need no database, in microseconds.

.venv/bin/python -m bench.cpu
.venv/bin/python -m bench.cpu --beside ../main --rounds 6

``--beside`` measures another checkout too, in turns with this one. Each figure is the best of all rounds, because other
work of the machine makes the others slower.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from twilio.request_validator import RequestValidator

from bridge.config import Settings
from bridge.inbound import limits
from bridge.inbound.reactions import reaction
from bridge.inbound.readable import readable
from bridge.lib.keywords import keyword
from bridge.outbound.formatting.shape import Recipient, answer
from bridge.providers.agents.contract import NewChat
from bridge.providers.agents.retell.client import Retell
from bridge.providers.carriers.contract import OutgoingText
from bridge.providers.carriers.twilio import webhooks
from bridge.providers.carriers.twilio.client import Twilio

ROOT = Path(__file__).parent.parent
ROUNDS, TIMES = 7, {"calls": 60, "others": 500}

ACCOUNT, NUMBER, PHONE, CHAT = "AC" + "0" * 32, "+15557770001", "+14155550123", "chat_" + "a" * 27
REPLY = (
    "Your table for two is booked for 7 pm tonight. Reply here if your plans change, or just call us again. Thank you!"
)
MARKDOWN = (
    "Your table for **two** is booked:\n\n- tonight, 7 pm\n- [menu](https://x.example)\n\nReply to change. Thank you!"
)
BOLD = (
    "Your table for **two** is booked:\n\n- **When:** tonight, 7 pm\n- **Where:** on the terrace\n\nReply to change it."
)
SHORT = "a table for three at eight?"
LONG = (
    "could you please move our reservation from friday to saturday, we are five people now and one of us needs a "
    "wheelchair. also, is the terrace open when it rains a little, or only on sunny days, thx"
)

Steps = dict[str, Callable[[], object]]


# --- a text comes in -----------------------------------------------------------------------------------------------


def settings(address: str) -> Settings:
    return Settings.load(
        {},
        database_url="sqlite:///never-opened.sqlite3",
        public_url="https://bridge.example.com",
        twilio_account_sid=ACCOUNT,
        twilio_auth_token="token-of-the-account",
        twilio_numbers=f"{NUMBER},+15557770002",
        twilio_api_base_url=address,
        retell_api_key="key_of_the_agent",
        retell_agent_id="agent_1",
        retell_base_url=address,
    )


def form(body: str) -> dict[str, list[str]]:
    """Return the fields as Twilio sends them."""
    places = {f"{end}{part}": "" for end in ("From", "To") for part in ("City", "State", "Zip", "Country")}
    sid = dict.fromkeys(("MessageSid", "SmsMessageSid", "SmsSid"), "SM" + "1" * 32)
    fields = {**places, **sid, "From": PHONE, "To": NUMBER, "FromCountry": "US", "FromCity": "SAN FRANCISCO"}
    fields |= {"Body": body, "NumMedia": "0", "NumSegments": "1", "SmsStatus": "received", "ApiVersion": "2010-04-01"}
    return {name: [value] for name, value in {**fields, "AccountSid": ACCOUNT}.items()}


def inbound(own: Settings, body: str) -> Steps:
    fields, [token] = form(body), own.signing_tokens
    url = webhooks.public_address(own.public_url, "/twilio/inbound", "")
    signature = RequestValidator(token).compute_signature(url, {name: value for name, [value] in fields.items()})
    text = webhooks.parse_inbound(fields)
    assert webhooks.signed([token], url, fields, signature)
    return {
        "signed": lambda: webhooks.signed(own.signing_tokens, url, fields, signature),
        "parse_inbound": lambda: webhooks.parse_inbound(fields),
        "unanswerable": lambda: limits.unanswerable(own, text),
        "keyword": lambda: keyword(text.body, text.bridge_number, text.opt_out, own.extra_words),
        "reaction": lambda: reaction(text.body),
        "readable": lambda: readable(text.content),
        "shut_out": lambda: limits.shut_out(own, text),
        "too_long": lambda: limits.too_long(own, text.content),
    }


# --- the providers are called --------------------------------------------------------------------------------------

MESSAGE = {"message_id": "m" * 27, "role": "agent", "content": REPLY, "created_timestamp": 1703302428855}
SMS = {
    **dict.fromkeys(("date_sent", "error_code", "error_message", "price", "messaging_service_sid")),
    **dict.fromkeys(("date_created", "date_updated"), "Fri, 24 Jan 2026 18:19:37 +0000"),
    "sid": "SM" + "1" * 32,
    "account_sid": ACCOUNT,
    "body": REPLY,
    "status": "queued",
    "num_segments": "1",
    "direction": "outbound-api",
    "from": NUMBER,
    "to": PHONE,
    "num_media": "0",
    "api_version": "2010-04-01",
}
ANSWERS: dict[bytes, dict[str, Any]] = {
    b"/create-chat ": {"chat_id": CHAT, "agent_id": "agent_1", "chat_status": "ongoing"},
    b"/create-chat-completion ": {"messages": [MESSAGE]},
    b"/Messages.json ": SMS,
}


def serve() -> None:
    """Answer each request at once, as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_converse, args=(connection,), daemon=True).start()


def _converse(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as requests:
        while first := requests.readline():
            length = 0
            while (line := requests.readline().lower()) not in (b"\r\n", b""):
                length = int(line[15:]) if line.startswith(b"content-length:") else length
            requests.read(length)
            body = json.dumps(next(each for path, each in ANSWERS.items() if path in first)).encode()
            head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.sendall(head + body)


@contextmanager
def server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-P", __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def calls(own: Settings, address: str) -> Steps:
    bare = httpx.Client(base_url=address, headers={"Authorization": "Bearer key_of_the_agent"})
    body = {"chat_id": CHAT, "content": SHORT}
    agent, carrier = Retell.from_settings(own), Twilio.from_settings(own)
    about, text = NewChat(7, PHONE, NUMBER), OutgoingText("r" * 32, NUMBER, PHONE, REPLY)
    return {
        "httpx.Client.post": lambda: bare.post("/create-chat-completion", json=body).json(),
        "create_chat": lambda: agent.create_chat(about),
        "complete": lambda: agent.complete(CHAT, SHORT),
        "send": lambda: carrier.send(text),
    }


# --- measuring -----------------------------------------------------------------------------------------------------


def shaping() -> Steps:
    to = Recipient(PHONE)
    texts = {"plain words": REPLY, "a link, bold, a list": MARKDOWN, "bold, a list": BOLD}
    return {name: lambda text=text: answer([text], to, join=False) for name, text in texts.items()}  # type: ignore[misc]


def measured() -> dict[str, float]:
    """Return the microseconds of each step, and the sums of those for an inbound text."""
    with server() as address:
        own = settings(address)
        groups = {"a text comes in: short": inbound(own, SHORT), "a text comes in: 200 characters": inbound(own, LONG)}
        groups |= {"a call": calls(own, address), "an answer is shaped": shaping()}
        figures: dict[str, float] = {}
        for group, steps in groups.items():
            times = TIMES["calls" if group == "a call" else "others"]
            best = _best(steps, times)
            figures |= {f"{group}: {name}": best[name] for name in steps}
            if group.startswith("a text"):
                figures[f"{group}: sum"] = sum(best.values())
        return figures


def _best(steps: Steps, times: int) -> dict[str, float]:
    """Measure the steps in turns."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step()
            began = time.process_time()
            for _ in range(times):
                step()
            best[name] = min(best[name], (time.process_time() - began) / times * 1e6)
    return best


def of(checkout: Path) -> dict[str, float]:
    """Measure a checkout in a process of its own."""
    environ = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    told = subprocess.run(
        [sys.executable, "-P", __file__, "--json"], env=environ, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve()
    if given.json:
        return print(json.dumps(measured()))
    checkouts = [given.beside, ROOT] if given.beside else [ROOT]
    best: list[dict[str, float]] = [{} for _ in checkouts]
    for _ in range(given.rounds):
        for figures, checkout in zip(best, checkouts, strict=True):
            figures |= {name: min(cost, figures.get(name, cost)) for name, cost in of(checkout).items()}
    print(f"{'microseconds':56}" + "".join(f"{checkout.resolve().name:>12}" for checkout in checkouts))
    for name in best[0]:
        print(f"{name:56}" + "".join(f"{figures[name]:>12.1f}" for figures in best))
    return None


if __name__ == "__main__":
    main()
