"""A minimal Twilio and Retell for measuring. They cost next to nothing and never fail; the simulator's do.

They are a few lines of HTTP on asyncio, in the process of the load generator. They check the credentials, delay the
agent's answer as the run says, and note the time of each call. Every text and every answer carries the number of the
text. So an answer is matched by its words, and an answer to a wrong phone is detected.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, urlencode, urlsplit

ACCOUNT = "AC" + "5" * 32
TOKEN = "token-of-the-account"
KEY = "key_of_the_agent"
AGENT = "agent_of_the_bench"
NUMBER = "+15005550006"

TEXT = "Hi! Do you have a table for four on Friday at seven? ref{:07}"
ANSWER = "Thank you for asking, ref{:07}! Yes, we have one by the window. May I have a name to book it under on Friday?"
"""111 characters, as long as a usual answer."""

MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages"
LARGEST_PAGE = 1000

_NUMBERED = re.compile(rb"ref(\d{7})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BEARER = f"Bearer {KEY}".encode()
_BASIC = b"Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode())


def phone_of(number: int) -> str:
    """Return a separate phone for each text."""
    return f"+1212{2_000_000 + number}"


@dataclass(slots=True)
class Noted:
    """The history of one text. Times are of the monotonic clock."""

    phone: str
    planned: float
    posted: float = 0.0
    taken: float = 0.0
    status: int = 0
    """The status of the webhook's answer; 0 if there was none."""
    held: float = 0.0
    """The real seconds that the agent has delayed its answers."""
    sent: float = 0.0
    sends: int = 0
    crossed: bool = False
    callbacks: int = 0


@dataclass
class Providers:
    """Both providers. ``sent`` is called with the number of the text and the call's fields."""

    agent_delay: float
    create_delay: float = 0.0
    texts: dict[int, Noted] = field(default_factory=dict)
    sent: Callable[[int, dict[str, str], str], None] = lambda number, fields, sid: None
    calls: Counter[str] = field(default_factory=Counter)
    open_turns: int = 0
    most_open_turns: int = 0
    inbound: list[tuple[str, str, str, float]] = field(default_factory=list)
    """People's texts for the carrier's list: SID, phone, words, time since 1970."""
    _servers: list[asyncio.Server] = field(default_factory=list)
    _open: set[asyncio.Transport] = field(default_factory=set)
    _chats: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    _held: dict[str, float] = field(default_factory=dict)
    _outbound: dict[str, dict[str, object]] = field(default_factory=dict)
    _by_phone: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    async def listen(self) -> tuple[int, int]:
        """Return the ports of the agent and of the carrier."""
        loop = asyncio.get_running_loop()
        self._servers = [
            await loop.create_server(
                lambda answer=answer: Conversation(answer, self._open), "127.0.0.1", 0, backlog=4096
            )
            for answer in (self._agent, self._carrier)
        ]
        agent, carrier = (server.sockets[0].getsockname()[1] for server in self._servers)
        return agent, carrier

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for transport in self._open:
            transport.abort()

    # -- the agent -------------------------------------------------------------------------------------------------

    def _agent(self, call: Call) -> None:
        if _BEARER not in call.head:
            call.answer(401, {"status": "error", "message": "API key is missing or invalid."})
        elif call.path == "/create-chat-completion":
            self._complete(call)
        elif call.path == "/create-chat":
            self._create(call)
        elif call.path.startswith("/get-chat/"):
            self._show(call, call.path.rpartition("/")[2])
        elif call.path.startswith("/end-chat/"):
            self.calls["end-chat"] += 1
            call.answer(204, None)
        else:
            self._unknown(call)

    def _create(self, call: Call) -> None:
        self.calls["create-chat"] += 1
        chat_id = f"chat_{len(self._chats):027}"
        self._chats[chat_id] = []
        _later(self.create_delay, lambda: self._created(call, chat_id))

    def _created(self, call: Call, chat_id: str) -> None:
        self._held[chat_id] = time.monotonic() - call.came
        call.answer(201, _chat(chat_id, []))

    def _complete(self, call: Call) -> None:
        self.calls["create-chat-completion"] += 1
        body = json.loads(call.body)
        items = self._chats.get(body["chat_id"])
        found = _NUMBERED.findall(call.body)
        if items is None or not found:
            call.answer(422, {"status": "error", "message": "Cannot find requested asset under given api key."})
            return
        items.append(_item(body["chat_id"], len(items), "user", body["content"]))
        self.open_turns += 1
        self.most_open_turns = max(self.most_open_turns, self.open_turns)
        _later(self.agent_delay, lambda: self._answered(call, body["chat_id"], int(found[-1])))

    def _answered(self, call: Call, chat_id: str, number: int) -> None:
        self.open_turns -= 1
        items = self._chats[chat_id]
        item = _item(chat_id, len(items), "agent", ANSWER.format(number))
        items.append(item)
        if text := self.texts.get(number):
            text.held = self._held.pop(chat_id, 0.0) + time.monotonic() - call.came
        call.answer(201, {"messages": [item]})

    def _show(self, call: Call, chat_id: str) -> None:
        self.calls["get-chat"] += 1
        if chat_id in self._chats:
            call.answer(200, _chat(chat_id, self._chats[chat_id]))
        else:
            call.answer(422, {"status": "error", "message": "Cannot find requested asset under given api key."})

    # -- the carrier -----------------------------------------------------------------------------------------------

    def _carrier(self, call: Call) -> None:
        if _BASIC not in call.head:
            call.answer(401, {"code": 20003, "message": "Authenticate", "status": 401})
        elif call.method == "POST" and call.path == f"{MESSAGES}.json":
            self._send(call)
        elif call.path == f"{MESSAGES}.json":
            self._list(call)
        elif call.path.startswith(f"{MESSAGES}/"):
            self._message(call)
        else:
            self._unknown(call)

    def _send(self, call: Call) -> None:
        self.calls["send"] += 1
        fields = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        sid = f"SM{'f' * 8}{len(self._outbound):024x}"
        resource = _resource(sid, fields.get("From", NUMBER), fields["To"], fields["Body"], "queued", time.time())
        self._outbound[sid] = resource
        self._by_phone[fields["To"]].append(sid)
        found = _NUMBERED.search(call.body)
        if found and (text := self.texts.get(int(found[1]))):
            text.sends += 1
            text.sent = text.sent or call.came
            text.crossed = text.crossed or fields["To"] != text.phone
            self.sent(int(found[1]), fields, sid)
        else:
            self.calls["send of other words"] += 1
        call.answer(201, resource)

    def _message(self, call: Call) -> None:
        self.calls["get message"] += 1
        resource = self._outbound.get(call.path.rpartition("/")[2].removesuffix(".json"))
        call.answer(*(200, {**resource, "status": "delivered"}) if resource else (404, {"code": 20404, "status": 404}))

    def _list(self, call: Call) -> None:
        """List the newest first.

        A page continues where the one before ended, however many texts have come meanwhile.
        """
        self.calls["list"] += 1
        asked = {name: values[0] for name, values in parse_qs(call.query).items()}
        size = min(int(asked.get("PageSize", "50")), LARGEST_PAGE)
        if asked.get("To", NUMBER) != NUMBER:
            page, start = [self._outbound[sid] for sid in reversed(self._by_phone[asked["To"]])], 0
        else:
            end = int(asked.get("PageToken", f"PA{len(self.inbound)}")[2:])
            start = max(0, end - size)
            page = [
                _resource(sid, phone, NUMBER, body, "received", at)
                for sid, phone, body, at in reversed(self.inbound[start:end])
            ]
        following = {**asked, "Page": int(asked.get("Page", "0")) + 1, "PageToken": f"PA{start}"}
        this = f"{call.path}?{call.query}"
        answer = {"messages": page, "page": int(asked.get("Page", "0")), "page_size": size, "uri": this}
        ends = {"start": 0, "end": len(page), "first_page_uri": this, "previous_page_uri": None}
        call.answer(200, {**answer, **ends, "next_page_uri": f"{call.path}?{urlencode(following)}" if start else None})

    def _unknown(self, call: Call) -> None:
        self.calls[f"unknown: {call.method} {call.path}"] += 1
        call.answer(404, {"code": 20404, "status": 404})


def _later(seconds: float, work: Callable[[], None]) -> None:
    if seconds:
        asyncio.get_running_loop().call_later(seconds, work)
    else:
        work()


def _chat(chat_id: str, items: list[dict[str, object]]) -> dict[str, object]:
    transcript = "\n".join(f"{item['role']}: {item['content']}" for item in items)
    return {
        "chat_id": chat_id,
        "agent_id": AGENT,
        "version": 0,
        "chat_status": "ongoing",
        "chat_type": "api_chat",
        "start_timestamp": int(time.time() * 1000),
        "transcript": transcript,
        "message_with_tool_calls": items,
        "chat_cost": {"combined_cost": 0, "product_costs": []},
    }


def _item(chat_id: str, place: int, role: str, content: str) -> dict[str, object]:
    now = int(time.time() * 1000)
    return {"message_id": f"{chat_id}-{place}", "role": role, "content": content, "created_timestamp": now}


def _resource(sid: str, sender: str, recipient: str, body: str, status: str, at: float) -> dict[str, object]:
    moment = formatdate(at)
    inbound = status == "received"
    return {
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "body": body,
        "date_created": moment,
        "date_sent": moment if inbound else None,
        "date_updated": moment,
        "direction": "inbound" if inbound else "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": sender,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": status,
        "subresource_uris": {"media": f"{MESSAGES}/{sid}/Media.json"},
        "to": recipient,
        "uri": f"{MESSAGES}/{sid}.json",
    }


class Call:
    """One complete request."""

    __slots__ = ("body", "came", "head", "method", "path", "query", "transport")

    def __init__(self, head: bytes, body: bytes, transport: asyncio.Transport) -> None:
        self.came = time.monotonic()
        self.head = head
        self.body = body
        self.method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        address = urlsplit(target)
        self.path, self.query = address.path, address.query
        self.transport = transport

    def answer(self, status: int, payload: object) -> None:
        body = b"" if payload is None else json.dumps(payload).encode()
        length = b"" if payload is None else b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 %d .\r\n%s\r\n%s" % (status, length, body))


LENGTH_REQUIRED = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a body in chunks. No bridge here sends one, and to read them would cost the generator time."""


class Conversation(asyncio.Protocol):
    """One connection from a bridge. The bridge decides how long it stays open."""

    def __init__(self, answer: Callable[[Call], None], among: set[asyncio.Transport]) -> None:
        self._answer = answer
        self._among = among
        self._buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._among.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._among.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            if length is None and b"\r\ntransfer-encoding:" in head.lower():
                self._transport.write(LENGTH_REQUIRED)
                self._transport.close()
                return
            following = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < following:
                return
            body, self._buffer = self._buffer[end + 4 : following], self._buffer[following:]
            self._answer(Call(head, body, self._transport))
