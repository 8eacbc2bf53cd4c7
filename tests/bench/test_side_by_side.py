"""The bench's own parts: what it measures with must not be what is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import subprocess
import sys
import time

import pytest
from twilio.request_validator import RequestValidator

from bench import figures, meters
from bench.load import Burst, Load, Outcome, Webhooks, _request
from bench.providers import ACCOUNT, AGENT, ANSWER, KEY, NUMBER, TEXT, TOKEN, Call, Conversation, Providers, phone_of
from bench.side_by_side import CLOSE_ENOUGH, between, search

HELD = Outcome(1, 1, 0, 0, 0, 0, (0, 0, 0), (0, 0, 0), (0, 0, 0), 1, 0, 1, 0, 0, {})


def test_a_usual_answer_has_111_characters() -> None:
    assert len(ANSWER.format(1)) == 111


def test_every_text_comes_from_a_phone_of_its_own() -> None:
    assert len({phone_of(number) for number in range(1, 5000)}) == 4999


def test_webhooks_are_signed_as_twilio_signs_them() -> None:
    url, fields = "http://127.0.0.1:1/twilio/status?message=abc", {"To": "+1", "Body": "é & =", "A": ""}
    head, body = _request(url, fields).decode().split("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert RequestValidator(TOKEN).validate(url, fields, headers["X-Twilio-Signature"])
    assert int(headers["Content-Length"]) == len(body)
    assert head.startswith("POST /twilio/status?message=abc HTTP/1.1")


class Bridge:
    """The least bridge there can be: it opens a chat, asks, and sends, on one connection for each call."""

    def __init__(self, agent: int, carrier: int, *, wrong_phone: bool) -> None:
        self._agent, self._carrier, self._wrong_phone = agent, carrier, wrong_phone
        self._tasks: list[asyncio.Task[None]] = []
        self.open: set[asyncio.Transport] = set()

    def take(self, call: Call) -> None:
        call.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        number = int(call.body.split(b"ref")[1][:7])
        self._tasks.append(asyncio.create_task(self._answer(number)))

    async def _answer(self, number: int) -> None:
        chat = json.loads(await call(self._agent, "/create-chat", json.dumps({"agent_id": AGENT})))["chat_id"]
        said = json.dumps({"chat_id": chat, "content": TEXT.format(number)})
        items = json.loads(await call(self._agent, "/create-chat-completion", said))["messages"]
        to = phone_of(number + self._wrong_phone).replace("+", "%2B")
        words = items[0]["content"].replace(" ", "+")
        await call(self._carrier, f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", f"To={to}&Body={words}")


async def call(port: int, path: str, body: str) -> bytes:
    """In pieces: a request may come in as many as it likes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    login = f"Bearer {KEY}" if path.startswith("/create") else "Basic " + _basic()
    head = f"POST {path} HTTP/1.1\r\nAuthorization: {login}\r\nContent-Length: {len(body)}\r\n\r\n"
    for piece in (head[:20], head[20:] + body[:3], body[3:]):
        writer.write(piece.encode())
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    payload = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return payload


def _basic() -> str:
    return base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()


async def _outcome(burst: Burst, *, agent_delay: float = 0.05, wrong_phone: bool = False) -> Outcome:
    providers = Providers(agent_delay)
    ports = await providers.listen()
    bridge = Bridge(*ports, wrong_phone=wrong_phone)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(bridge.take, bridge.open), "127.0.0.1", 0)
    webhooks = Webhooks(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/twilio/inbound")
    outcome = await Load(providers, webhooks).run(burst)
    webhooks.close()
    server.close()
    for transport in bridge.open:
        transport.abort()
    providers.close()
    return outcome


@pytest.mark.parametrize("arrivals", ["poisson", "even"])
def test_what_a_bridge_adds_is_told_without_the_agents_own_time(arrivals: str) -> None:
    outcome = asyncio.run(_outcome(Burst(100, 20, arrivals), agent_delay=0.2))
    assert (outcome.texts, outcome.answered, outcome.doubled, outcome.crossed) == (20, 20, 0, 0)
    assert outcome.calls == {"create-chat": 20, "create-chat-completion": 20, "send": 20}
    assert 0 < outcome.added[0] < 0.2 < outcome.took
    assert outcome.most_open_turns > 1


def test_an_answer_to_the_wrong_phone_is_seen() -> None:
    assert asyncio.run(_outcome(Burst(100, 5), wrong_phone=True)).crossed == 5


def test_a_bridge_that_is_not_there_has_answered_nothing() -> None:
    async def nobody() -> Outcome:
        providers = Providers(0.1)
        await providers.listen()
        outcome = await Load(providers, Webhooks("http://127.0.0.1:9/twilio/inbound")).run(Burst(100, 3, drain=0.2))
        providers.close()
        return outcome

    outcome = asyncio.run(nobody())
    assert (outcome.answered, outcome.webhooks_failed) == (0, 3)
    assert math.isnan(outcome.added[0])


def test_the_carriers_list_goes_on_where_the_page_before_has_ended() -> None:
    async def pages() -> list[str]:
        providers = Providers(0)
        providers.inbound += [(f"SM{n}", phone_of(n), "words", time.time()) for n in range(5)]
        _, port = await providers.listen()
        seen, path = [], f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?To={NUMBER.replace('+', '%2B')}&PageSize=2"
        while path:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nAuthorization: Basic {_basic()}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            page = json.loads(await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0])))
            writer.close()
            await writer.wait_closed()
            seen += [text["sid"] for text in page["messages"]]
            providers.inbound.append(("SM-new", phone_of(9), "words", time.time()))
            path = page["next_page_uri"]
        providers.close()
        return seen

    assert asyncio.run(pages()) == ["SM4", "SM3", "SM2", "SM1", "SM0"]


def test_the_time_of_a_child_that_has_ended_is_its_parents() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    before = meters.cpu({"us": [os.getpid()]})
    subprocess.run([sys.executable, "-c", burn], check=True)
    after = meters.cpu({"us": [os.getpid()]})
    assert after["us"] - before["us"] > 0.15
    assert after[meters.MACHINE] - before[meters.MACHINE] >= 0.15


@pytest.mark.parametrize("true", [3.0, 24.0, 25.0, 26.0, 140.0, 999.0])
def test_a_ceiling_is_found_from_below_and_from_above(true: float) -> None:
    found = search(25, lambda rate: rate <= true)
    assert found <= true <= found * CLOSE_ENOUGH


def test_a_bridge_that_holds_no_rate_at_all_has_none() -> None:
    assert search(25, lambda rate: False) == 0
    assert between(0, 25) == 12.5


def test_a_median_leaves_out_the_runs_without_the_figure() -> None:
    runs = [{"a": 3.0}, {"a": math.nan, "b": 1.0}, {"a": 5.0}, {"a": 4.0}]
    assert figures.medians(runs) == {"a": 4.0, "b": 1.0}


def test_the_table_has_ratios_to_the_one_beside_and_none_of_what_is_not_the_bridges() -> None:
    found = {"peer": {"x, ms": 2.0, "(noise)": 1.0}, "ours": {"x, ms": 3.0, "own row": 1.5, "(noise)": 9.0}}
    assert figures.table(found, "peer")[2:] == [
        "| x, ms | 2 | 3 | 1.50 |",
        "| own row | – | 1.5 |  |",
        "| (noise) | 1 | 9 |  |",
    ]
