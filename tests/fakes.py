"""Stand-ins for everything outside, written by hand and held to the real ones by the contract suites.

They record their calls, and a test scripts their failures before.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from bridge.config import Settings
from bridge.operators import draft_requests
from bridge.outbound.formatting.segments import segments
from bridge.processes.dispatcher import Work, find
from bridge.processes.tasks import TASKS
from bridge.providers.agents.contract import Agent, ChatPage, ChatState, Item, NewChat, RemoteChat, Speaker, Step
from bridge.providers.agents.opening import metadata
from bridge.providers.agents.routes import Agents
from bridge.providers.carriers.contract import CarriedText, Delivery, InboundText, Meaning, OutgoingText, SentText
from bridge.providers.carriers.twilio import error_codes
from bridge.providers.errors import AccountRefused, ChatEnded, OutcomeUnknown, Refused, RemoteError, WithHuman
from bridge.providers.team_webhook import WaitingPerson
from bridge.queues.conversation_queue import QUEUES

T = TypeVar("T")

SETTINGS: dict[str, Any] = {
    "database_url": "sqlite:///never-opened.sqlite3",
    "public_url": "https://bridge.example.com",
    "twilio_account_sid": "AC" + "0" * 32,
    "twilio_auth_token": "token-of-the-account",
    "retell_api_key": "key_of_the_agent",
    "retell_agent_id": "agent_1",
}
"""The least that is valid."""

UPONAI: dict[str, Any] = {
    "agent_provider": "uponai",
    "uponai_api_key": "token_of_the_workspace",
    "uponai_workspace_id": 42,
    "uponai_agent_id": "agent_u",
}
"""The settings that let UponAI answer at all numbers."""


TEAM: dict[str, Any] = {
    "handoff_webhook": "https://team.example.com/waiting",
    "handoff_webhook_secret": "secret-of-the-webhook",
}
"""The settings with which the team is told."""


def fake_settings(**overrides: Any) -> Settings:
    """Valid settings, by field name; the environment is not asked."""
    return Settings.load(environ={}, **SETTINGS | overrides)


def fake_agents(agent: Agent | None = None, settings: Settings | None = None) -> Agents:
    """The routes of the settings, all of which lead to this one provider."""
    agent = agent or FakeAgent()
    return Agents(settings or fake_settings(), {agent.provider: agent})


class FakeClock:
    """A moment that moves only by ``tick``. Call it, as ``Runtime.now`` is called."""

    def __init__(self, start: datetime = datetime(2026, 11, 2, 12, tzinfo=UTC)) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    now = __call__

    def tick(self, seconds: float) -> datetime:
        self._now += timedelta(seconds=seconds)
        return self._now


class FakeNotifier:
    """It keeps the wake-ups; no task runs until :meth:`drain`."""

    def __init__(self) -> None:
        self.wakeups: list[tuple[str, int]] = []
        self.backlogs: Counter[str] = Counter()
        """The backlog of each task, as a broker would report it."""
        self.backlogs_asked: list[str] = []

    def wake(self, task: str, row: int) -> None:
        self.wakeups.append((task, row))

    def reachable(self) -> bool:
        return True

    def backlog(self, task: str) -> int:
        self.backlogs_asked.append(task)
        return self.backlogs[task]

    def close(self) -> None:
        pass

    def drain(self, rt: Any, run: Callable[[Work], None] = lambda work: work.run(), at_most: int = 1000) -> int:
        """Run the work of all wake-ups, also of those that it adds. Return how much there was.

        A wake-up for a queue means that a worker looks for all that is due. One for a chat names it.
        """
        done = 0
        while self.wakeups:
            assert done < at_most, f"still wake-ups after {at_most} tasks"
            task, row = self.wakeups.pop(0)
            queue = next((each for each in QUEUES if each.task == task), None)
            due = find(rt, queue, 100) if queue else [Work(task, row, partial(TASKS[task], rt, row))]
            found = due or []
            for work in found:
                run(work)
            done += len(found)
        return done


class DraftWriter(FakeNotifier):
    """The notifier of a web beside a worker that writes each draft as soon as it is asked for."""

    def __init__(self, rt: Any) -> None:
        super().__init__()
        self._rt = rt

    def wake(self, task: str, row: int) -> None:
        if task == draft_requests.TASK:
            TASKS[task](self._rt, row)
        else:
            self._rt.notifier.wake(task, row)


@dataclass(frozen=True)
class _Failure:
    error: RemoteError
    done: bool


class _Script:
    """The failures to come: a queue of them for each method."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[_Failure]] = defaultdict(deque)
        self._meanwhile: Callable[[], None] | None = None

    def add(self, method: str, error: RemoteError, done: bool, times: int) -> None:
        self._failures[method].extend([_Failure(error, done)] * times)

    def clear(self) -> None:
        self._failures.clear()
        self._meanwhile = None

    def meanwhile(self, work: Callable[[], None]) -> None:
        self._meanwhile = work

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        """Raise the next failure before the call's work, or after it if the failure is ``done``."""
        queue = self._failures[method]
        failure = queue.popleft() if queue else None
        if failure and not failure.done:
            raise failure.error
        yield
        work, self._meanwhile = self._meanwhile, None
        if work:
            work()
        if failure:
            raise failure.error


class _Pages(Iterator[list[T]]):
    """The pages of a list as it is when the first one is read. One that could not be read comes next all the same."""

    def __init__(self, listed: Callable[[], list[T]], size: int, script: _Script) -> None:
        self._listed = listed
        self._size = size
        self._script = script
        self._left: deque[list[T]] | None = None

    def __next__(self) -> list[T]:
        if self._left is None:
            found = self._listed()
            self._left = deque(found[n : n + self._size] for n in range(0, len(found) or 1, self._size))
        elif self._left:
            with self._script.call("next_page"):
                pass
        if not self._left:
            raise StopIteration
        return self._left.popleft()


@dataclass
class FakeChat:
    """One chat, as its fake provider keeps it."""

    id: str
    about: NewChat
    started_at: datetime
    state: ChatState = ChatState.ONGOING
    items: list[Item] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    """Received, and not answered yet."""

    @property
    def received(self) -> list[str]:
        return [item.content for item in self.items if item.speaker is Speaker.USER]


class FakeAgent:
    """A chat agent in memory. See :class:`bridge.providers.agents.contract.Agent`.

    ``answer`` makes the answers to a text; an echo in capitals would be ``lambda text: [text.upper()]``.
    """

    def __init__(
        self,
        answer: Callable[[str], list[str]] = lambda text: [f"You said: {text}"],
        *,
        greeting: str = "",
        item_ids: bool = True,
        shows_items: bool = True,
        provider: str = "retell",
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.provider = provider
        self.answer = answer
        self.greeting = greeting
        self.item_ids = item_ids
        self.shows_items = shows_items
        self.shows_items_at_create = True
        self.shows_last: int | None = None
        """How many of its newest items a chat shows. ``None``: all."""
        self.hangs_up_on: set[str] = set()
        """Texts after whose answer the agent ends the chat."""
        self.hands_over_on: dict[str, str] = {}
        """Texts after whose answer a human has the chat, and the message to the person beside the answer."""
        self.uses_tools_on: dict[str, tuple[Step, ...]] = {}
        """Texts before whose answer the agent calls tools, and what it does then."""
        self.thinks = False
        """While it is set, a text is received and its answer does not come before :meth:`finish`."""
        self.poison: set[str] = set()
        """Words: a text that contains one gets a 500 each time, and is not received."""
        self.poisoned: set[str] = set()
        """Chats in which every text gets a 500."""
        self.listed_after = timedelta(0)
        """How long after its beginning a chat is found in the list."""
        self.writes_drafts = True
        self.deletes_chats = True
        self.drafted: list[tuple[NewChat, tuple[Item, ...]]] = []
        """The facts and the history of each draft."""
        self.do_not_call: dict[str, bool] = {}
        """What the contact of each number says."""
        self.chats: dict[str, FakeChat] = {}
        self.calls: list[tuple[str, str]] = []
        """Every call: its method, and the chat or the text."""
        self.asked_beside_a_human: list[str] = []
        """Chats that were asked while a human had them. Each refuses it."""
        self.closed = False
        self._script = _Script()
        self._now = now or FakeClock()
        self._lock = threading.RLock()
        self._items = 0
        self._chat_numbers = itertools.count(1)

    @property
    def received(self) -> list[str]:
        """All texts that the chats have received, in order of the chats."""
        return [text for chat in self.chats.values() for text in chat.received]

    def fail(self, method: str, error: RemoteError, *, received: bool = False, times: int = 1) -> None:
        """Let the next calls of ``method`` (``complete`` …) fail. ``received``: after they were carried out."""
        self._script.add(method, error, received, times)

    def recover(self) -> None:
        """Nothing fails any more."""
        self._script.clear()

    def in_next_call(self, work: Callable[[], None]) -> None:
        """Do this in the next call, between its work and its answer."""
        self._script.meanwhile(work)

    def end(self, chat_id: str) -> None:
        """The chat ends by itself, as after an hour of silence."""
        self.chats[chat_id].state = ChatState.ENDED

    def hand_over(self, chat_id: str) -> None:
        """A human gets the chat, and the agent says nothing."""
        self.chats[chat_id].state = ChatState.WITH_HUMAN

    def hand_back(self, chat_id: str) -> None:
        self.chats[chat_id].state = ChatState.ONGOING

    def finish(self, chat_id: str) -> None:
        """The answers that were still being thought of are there now."""
        with self._lock:
            chat = self.chats[chat_id]
            for text in chat.unfinished:
                chat.items += self._answer(text)
            chat.unfinished.clear()

    # -- the contract ----------------------------------------------------------------------------------------------

    def create_chat(self, about: NewChat) -> RemoteChat:
        with self._lock:
            self.calls.append(("create_chat", about.user_number))
            with self._script.call("create_chat"):
                chat = FakeChat(f"chat_{next(self._chat_numbers)}", about, self._now())
                self.chats[chat.id] = chat
                if self.greeting:
                    chat.items.append(self._item(Speaker.AGENT, self.greeting))
            return self._seen(chat) if self.shows_items_at_create else replace(self._seen(chat), items=None)

    def find_chats(self, about: NewChat, since: datetime) -> tuple[RemoteChat, ...]:
        with self._lock:
            self.calls.append(("find_chats", about.user_number))
            with self._script.call("find_chats"):
                listed = [c for c in self.chats.values() if since <= c.started_at <= self._now() - self.listed_after]
            ours = [c for c in listed if metadata(c.about) == metadata(about) and c.state is ChatState.ONGOING]
            return tuple(replace(self._seen(chat), items=None) for chat in ours)

    def set_do_not_call(self, phone: str, wanted: bool) -> None:
        with self._lock:
            self.calls.append(("set_do_not_call", phone))
            with self._script.call("set_do_not_call"):
                self.do_not_call[phone] = wanted

    def draft(self, about: NewChat, history: Sequence[Item]) -> tuple[Item, ...]:
        with self._lock:
            self.calls.append(("draft", about.user_number))
            with self._script.call("draft"):
                self.drafted.append((about, tuple(history)))
                said = [item.content for item in history if item.speaker is Speaker.USER]
            return tuple(self._item(Speaker.AGENT, words) for words in self.answer(said[-1] if said else ""))

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        with self._lock:
            self.calls.append(("complete", content))
            with self._script.call("complete"):
                if chat_id in self.poisoned or any(word in content for word in self.poison):
                    raise OutcomeUnknown("HTTP 500", provider=self.provider, status=500)
                chat = self._open(chat_id)
                chat.items.append(self._item(Speaker.USER, content))
                if self.thinks:
                    chat.unfinished.append(content)
                    raise OutcomeUnknown("no complete answer in time", provider=self.provider)
                answer = self._answer(content)
                chat.items += answer
                if any(item.ends_chat for item in answer):
                    chat.state = ChatState.ENDED
                if any(item.escalates for item in answer):
                    chat.state = ChatState.WITH_HUMAN
            return tuple(answer)

    def get_chat(self, chat_id: str) -> RemoteChat:
        with self._lock:
            self.calls.append(("get_chat", chat_id))
            with self._script.call("get_chat"):
                chat = self._known(chat_id)
            return self._seen(chat)

    def end_chat(self, chat_id: str) -> None:
        with self._lock:
            self.calls.append(("end_chat", chat_id))
            with self._script.call("end_chat"):
                if chat_id in self.chats:
                    self.chats[chat_id].state = ChatState.ENDED

    def delete_chat(self, chat_id: str) -> None:
        with self._lock:
            self.calls.append(("delete_chat", chat_id))
            with self._script.call("delete_chat"):
                if not self.deletes_chats:
                    raise Refused("it has no call that deletes a chat", provider=self.provider)
                self.chats.pop(chat_id, None)

    def list_chats(self, *, ongoing_only: bool = False, limit: int = 50, after: str | None = None) -> ChatPage:
        with self._lock:
            self.calls.append(("list_chats", after or ""))
            with self._script.call("list_chats"):
                chats = [self._seen(chat) for chat in reversed(self.chats.values())]
            wanted = [chat for chat in chats if chat.state is ChatState.ONGOING or not ongoing_only]
            start = [chat.id for chat in wanted].index(after) + 1 if after else 0
            page = wanted[start : start + limit]
            more = start + limit < len(wanted)
            return ChatPage(tuple(replace(chat, items=None) for chat in page), page[-1].id if more else None)

    def close(self) -> None:
        self.closed = True

    # -- inside ----------------------------------------------------------------------------------------------------

    def _known(self, chat_id: str) -> FakeChat:
        if chat_id not in self.chats:
            raise ChatEnded("no such chat", provider=self.provider, status=422)
        return self.chats[chat_id]

    def _open(self, chat_id: str) -> FakeChat:
        chat = self._known(chat_id)
        if chat.state is ChatState.ENDED:
            raise ChatEnded("Chat already ended", provider=self.provider, status=400)
        if chat.state is ChatState.WITH_HUMAN:
            self.asked_beside_a_human.append(chat.id)
            raise WithHuman("This chat was transferred", provider=self.provider, status=400)
        return chat

    def _seen(self, chat: FakeChat) -> RemoteChat:
        hidden = 0 if self.shows_last is None else max(0, len(chat.items) - self.shows_last)
        items = tuple(chat.items[hidden:]) if self.shows_items else None
        return RemoteChat(chat.id, chat.state, items, chat.started_at)

    def _answer(self, text: str) -> list[Item]:
        used = [replace(self._item(Speaker.OTHER, ""), steps=(step,)) for step in self.uses_tools_on.get(text, ())]
        items = used + [self._item(Speaker.AGENT, answer) for answer in self.answer(text)]
        if text in self.hangs_up_on:
            items.append(replace(self._item(Speaker.OTHER, ""), ends_chat=True))
        if text in self.hands_over_on:
            items.append(replace(self._item(Speaker.OTHER, ""), escalates=True, handoff=self.hands_over_on[text]))
        return items

    def _item(self, speaker: Speaker, content: str) -> Item:
        self._items += 1
        return Item(speaker, content, id=f"m{self._items}" if self.item_ids else None)


@dataclass(frozen=True)
class Accepted:
    """A text that the fake carrier has accepted."""

    text: OutgoingText
    carried: CarriedText


class FakeCarrier:
    """A carrier in memory. See :class:`bridge.providers.carriers.contract.Carrier`."""

    provider = "twilio"

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.accepted: list[Accepted] = []
        self.outside: list[SentText] = []
        """Texts from our numbers that somebody has sent with another tool, and the carrier's own answers."""
        self.received: list[InboundText] = []
        """The texts of people, in order. They reach the bridge only by a test's webhook or by catch-up."""
        self.page_size = 50
        self.service: str | None = None
        """Sends for all our numbers, where it is set."""
        self.refuses: set[str] = set()
        """Senders with a fault, by the names of their queues."""
        self.refused = 0
        """How often a text of theirs was refused."""
        self.redacts = False
        """The account hides the words of texts, in lists and in single texts."""
        self.calls: list[tuple[str, str]] = []
        """Every call: its method, and the reference of the text or the phone."""
        self.closed = False
        self._script = _Script()
        self._now = now or FakeClock()
        self._lock = threading.RLock()

    @property
    def bodies(self) -> list[str]:
        """The texts that the carrier has accepted, in order."""
        return [accepted.text.body for accepted in self.accepted]

    def fail(self, method: str, error: RemoteError, *, taken: bool = False, times: int = 1) -> None:
        """The next calls of ``method`` fail: ``send``, ``sent_to``, ``fetch``, ``received_by``, or its ``next_page``.

        ``taken``: after the carrier has accepted the text.
        """
        self._script.add(method, error, taken, times)

    def recover(self) -> None:
        """Nothing fails any more."""
        self._script.clear()

    def in_next_call(self, work: Callable[[], None]) -> None:
        """Do this in the next call, between its work and its answer."""
        self._script.meanwhile(work)

    def sending_identity(self, sender: str) -> str:
        return sender if ":" in sender else self.service or sender

    def send(self, text: OutgoingText) -> CarriedText:
        with self._lock:
            self.calls.append(("send", text.reference))
            with self._script.call("send"):
                self._turn_away(self.sending_identity(text.sender))
                sid, parts = f"SM{len(self.accepted) + 1:032x}", segments(text.body, text.recipient)
                carried = CarriedText(sid, Delivery.QUEUED, text.body, self._now(), segments=parts)
                self.accepted.append(Accepted(text, carried))
            return carried

    def _turn_away(self, sender: str) -> None:
        if sender in self.refuses:
            self.refused += 1
            why = "The 'From' phone number is not a valid one."
            raise AccountRefused(why, provider=self.provider, status=400, code=21606, part=sender)

    def sent_to(self, recipient: str, sender: str, since: datetime) -> list[CarriedText]:
        with self._lock:
            self.calls.append(("sent_to", recipient))
            with self._script.call("sent_to"):
                pair = [a for a in self.accepted if (a.text.recipient, a.text.sender) == (recipient, sender)]
                foreign = [t.carried for t in self.outside if (t.recipient, t.sender) == (recipient, sender)]
            carried = sorted([*(a.carried for a in pair), *foreign], key=lambda text: text.created_at or since)[::-1]
            shown = [self._shown(text) for text in carried]
            return [text for text in shown if text.created_at is None or text.created_at >= since]

    def _shown(self, text: CarriedText) -> CarriedText:
        return replace(text, body="") if self.redacts else text

    def becomes(self, carrier_id: str, status: Delivery, error_code: int | None = None) -> None:
        """Change the status of a text. No callback reports it: a test does that."""
        with self._lock:
            [n] = [n for n, a in enumerate(self.accepted) if a.carried.id == carrier_id]
            carried = replace(self.accepted[n].carried, status=status, error_code=error_code)
            self.accepted[n] = replace(self.accepted[n], carried=carried)

    def fetch(self, carrier_id: str) -> CarriedText | None:
        with self._lock:
            self.calls.append(("fetch", carrier_id))
            with self._script.call("fetch"):
                return next((a.carried for a in self.accepted if a.carried.id == carrier_id), None)

    def meaning(self, code: int | None) -> Meaning:
        return error_codes.meaning(code)

    def receive(self, phone: str, number: str, body: str, media: int = 0) -> InboundText:
        """A person texts one of our numbers."""
        with self._lock:
            sid = f"SM{len(self.received) + 0xB000:032x}"
            text = InboundText(sid, phone, number, body, media, sent_at=self._now())
            self.received.append(text)
            return text

    def received_by(self, number: str, since: datetime) -> Iterator[list[InboundText]]:
        def listed() -> list[InboundText]:
            self.calls.append(("received_by", number))
            with self._script.call("received_by"):
                found = [text for text in self.received if text.bridge_number == number]
            return [self._listed(text) for text in found if text.sent_at is None or text.sent_at >= since]

        return _Pages(listed, self.page_size, self._script)

    def write_outside(self, phone: str, number: str, body: str, *, is_reply: bool = False) -> SentText:
        """Somebody texts a person from one of our numbers with another tool."""
        with self._lock:
            sid, now = f"SM{len(self.outside) + 0xC000:032x}", self._now()
            carried = CarriedText(sid, Delivery.SENT, body, now, segments=segments(body, phone))
            text = SentText(carried, number, phone, now, is_reply)
            self.outside.append(text)
            return text

    def sent_by(self, number: str, since: datetime) -> Iterator[list[SentText]]:
        def listed() -> list[SentText]:
            self.calls.append(("sent_by", number))
            with self._script.call("sent_by"):
                ours = [
                    SentText(a.carried, a.text.sender, a.text.recipient, a.carried.created_at) for a in self.accepted
                ]
                found = [text for text in (*ours, *self.outside) if text.sender == number]
            found = [text for text in found if text.sent_at is None or text.sent_at >= since]
            return [self._sent(text) for text in sorted(found, key=lambda text: text.sent_at or since)]

        return _Pages(listed, self.page_size, self._script)

    def _sent(self, text: SentText) -> SentText:
        return replace(text, carried=self._shown(text.carried), hidden=True) if self.redacts else text

    def fetch_received(self, carrier_id: str) -> InboundText | None:
        with self._lock:
            self.calls.append(("fetch_received", carrier_id))
            with self._script.call("fetch_received"):
                return next((self._listed(text) for text in self.received if text.carrier_id == carrier_id), None)

    def _listed(self, text: InboundText) -> InboundText:
        return replace(text, body="", hidden=not text.media) if self.redacts else replace(text)

    def erase(self, carrier_id: str, *, with_media: bool) -> None:
        with self._lock:
            self.calls.append(("erase", carrier_id))
            with self._script.call("erase"):
                self.accepted = [each for each in self.accepted if each.carried.id != carrier_id]
                self.received = [each for each in self.received if each.carrier_id != carrier_id]
                self.outside = [each for each in self.outside if each.carried.id != carrier_id]

    def close(self) -> None:
        self.closed = True


class FakeTeam:
    """The business's webhook, in memory. See :class:`bridge.providers.team_webhook.Team`."""

    def __init__(self) -> None:
        self.told: list[WaitingPerson] = []
        """What it knows, in order; the same notice perhaps twice."""
        self.calls = 0
        self.closed = False
        self._script = _Script()

    def fail(self, error: RemoteError, *, received: bool = False, times: int = 1) -> None:
        """Let the next calls fail. ``received``: after it knows."""
        self._script.add("tell", error, received, times)

    def recover(self) -> None:
        """Nothing fails any more."""
        self._script.clear()

    def in_next_call(self, work: Callable[[], None]) -> None:
        """Do this in the next call, between its work and its answer."""
        self._script.meanwhile(work)

    def tell(self, waiting: WaitingPerson) -> None:
        self.calls += 1
        with self._script.call("tell"):
            self.told.append(waiting)

    def close(self) -> None:
        self.closed = True
