"""One bridge for many tests: the Procfile's processes between simulated providers, and its people.

The test brings the database and the broker.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.engine import make_url
from twilio.request_validator import RequestValidator

from bridge.db.engine import build_engine
from bridge.db.models import Conversation, Direction, Message
from bridge.processes.embedded import free_port
from bridge.queues.conversation_queue import ConversationQueue
from bridge.simulator import Ledger, Simulator, SimulatorSettings, judge, serve
from bridge.simulator.ledger import Sent, Text, Wrong
from testkit.procfile import Process, Processes
from testkit.waiting import PATIENCE, until

HERE = "127.0.0.1"
WORD = "tangerine"
"""A word that is in every text, and must be nowhere else."""

TOKEN = "token-of-the-operator"
PASSWORD = "password-of-the-database"

Replied = dict[str, list[str]]
"""The texts of each person."""


class Standing:
    """One bridge between simulated providers, and its people."""

    def __init__(self, simulator: Simulator, processes: Processes, engine: Engine, settings: dict[str, str]) -> None:
        self.simulator = simulator
        self.processes = processes
        self.settings = settings
        self.web = httpx.Client(base_url=settings["PUBLIC_URL"], timeout=PATIENCE)
        self._engine = engine
        self._numbers = itertools.count(2_000_000)

    # -- processes -------------------------------------------------------------------------------------------------

    def put_up(self) -> None:
        """Start missing processes, so that one of each kind runs, and wait until they are ready."""
        for name in ("web", "worker", "clock"):
            if not self.processes.running(name):
                self.processes.start(name)
        until(self.ready, "the web is ready")
        for worker in self.processes.running("worker"):
            worker.until_it_says("ready")

    def only(self, name: str) -> Process:
        [process] = self.processes.running(name)
        return process

    def another_worker(self) -> Process:
        worker = self.processes.start("worker")
        worker.until_it_says("ready")
        return worker

    def ready(self) -> bool:
        """Return whether ``/readyz`` has no fault."""
        try:
            return self.web.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.processes.close()
        self.web.close()
        self._engine.dispose()

    # -- people ----------------------------------------------------------------------------------------------------

    def people(self, how_many: int) -> list[str]:
        """Return new phones."""
        return [f"+1555{next(self._numbers)}" for _ in range(how_many)]

    def text(self, phones: Iterable[str], times: int = 1) -> Replied:
        """Let all of them text, in turn."""
        said: Replied = {phone: [] for phone in phones}
        for n, phone in itertools.product(range(times), said):
            said[phone].append(f"{WORD} {n} of {phone[-4:]}")
            self.simulator.phones.text(phone, said[phone][-1])
        return said

    def announce(self, sid: str) -> int:
        """Call the webhook for a text, as Twilio does. Return the status of the answer."""
        [told] = [event for event in self.simulator.ledger.of(Text) if event.sid == sid]
        form = {"MessageSid": sid, "From": told.phone, "To": told.number, "Body": told.body}
        return self._call("/twilio/inbound", form)

    def report(self, phone: str, status: str) -> int:
        """Call the callback of the newest text to this phone, as Twilio does. Return the status of the answer."""
        theirs = select(Message.reference).join(Conversation).where(Conversation.phone == phone)
        reference = self.rows(theirs.where(Message.reference.is_not(None)).order_by(Message.id.desc()).limit(1))[0]
        told = [event for event in self.simulator.ledger.about(phone) if isinstance(event, Sent)][-1]
        form = {"MessageSid": told.sid, "MessageStatus": status, "From": told.sender, "To": phone}
        return self._call(f"/twilio/status?message={reference}", form)

    def _call(self, path: str, form: dict[str, str]) -> int:
        form = form | {"AccountSid": self.settings["TWILIO_ACCOUNT_SID"]}
        url = f"{self.settings['PUBLIC_URL']}{path}"
        signature = RequestValidator(self.settings["TWILIO_AUTH_TOKEN"]).compute_signature(url, form)
        return self.web.post(url, data=form, headers={"X-Twilio-Signature": signature}).status_code

    def unannounced(self, phones: Iterable[str], times: int = 1) -> Replied:
        """Let them text without a webhook."""
        self.simulator.faults.set("webhooks_lost")
        try:
            return self.text(phones, times)
        finally:
            self.simulator.faults.clear("webhooks_lost")

    # -- what happened ---------------------------------------------------------------------------------------------

    def received(self, phone: str) -> list[str]:
        """Return the texts of this person that the agent has received."""
        return [line for turn in self.simulator.agent.received(phone) for line in turn.split("\n")]

    def got(self, phone: str) -> list[str]:
        return [event.body for event in self.simulator.ledger.about(phone) if isinstance(event, Sent)]

    def sids(self, phones: Iterable[str]) -> list[str]:
        """Return the carrier's ids of their texts, in order."""
        phones = set(phones)
        return [event.sid for event in self.simulator.ledger.of(Text) if event.phone in phones]

    def rows(self, query: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def stored(self, said: Replied) -> bool:
        """Return whether the bridge has stored all of it."""
        texts = select(func.count(Message.id)).join(Conversation)
        theirs = texts.where(Conversation.phone.in_(said), Message.direction == Direction.IN)
        return self.rows(theirs) == [sum(map(len, said.values()))]

    @contextmanager
    def locked(self, phone: str) -> Iterator[None]:
        """Lock this person's conversation against all others."""
        with self._engine.begin() as connection:
            connection.execute(select(Conversation.id).where(Conversation.phone == phone).with_for_update())
            yield

    def end_leases(self, queue: ConversationQueue, phones: Iterable[str]) -> None:
        """End the leases of their queues now, as if they had begun long ago."""
        theirs = update(Conversation).where(Conversation.phone.in_(list(phones)))
        with self._engine.begin() as connection:
            connection.execute(theirs.values({queue.due_at: datetime.now(UTC)}))

    def nothing_left(self) -> bool:
        """Return whether no queue is due, now or later: no more work will happen."""
        due = or_(Conversation.turn_due_at.is_not(None), Conversation.delivery_due_at.is_not(None))
        return not self.rows(select(Conversation.id).where(due))

    def must_have_answered(self, said: Replied) -> None:
        """Wait until each text was received once, and each answer came to its own phone once, all in order."""
        self.must_come_to_rest(said, 90)
        for phone, bodies in said.items():
            assert self.received(phone) == bodies
            assert self.got(phone) == [f"re: {body}" for body in bodies]

    def must_come_to_rest(self, said: Replied, within: float) -> None:
        """Wait until all are answered. A text that was fetched from the carrier's list may come late."""
        until(
            lambda: self._answered(said) and self.nothing_left(), "all people have answers, and no work is left", within
        )
        verdict = judge(self._ledger_of(said))
        assert verdict.ok, f"{verdict} {dict(verdict.examples)}"
        assert self.simulator.ledger.of(Wrong) == []

    def _answered(self, said: Replied) -> bool:
        return all(min(len(self.received(phone)), len(self.got(phone))) >= len(said[phone]) for phone in said)

    def _ledger_of(self, phones: Iterable[str]) -> Ledger:
        ledger = Ledger()
        for event in itertools.chain.from_iterable(map(self.simulator.ledger.about, phones)):
            ledger.write(event)
        return ledger


@contextmanager
def standing_on(database: str, broker: str, folder: Path, *, fetches: bool = False) -> Iterator[Standing]:
    """Yield a bridge on these two, with its tables and without processes.

    ``fetches``: it also fetches texts from the carrier's list.
    """
    simulator = Simulator(SimulatorSettings(echo=True, account_sid="AC" + "5" * 32, auth_token="token-of-the-account"))
    with serve(simulator) as providers:
        settings = settings_for(simulator, providers, database, broker)
        settings["TWILIO_NUMBERS"] = ",".join(simulator.settings.numbers) if fetches else ""
        simulator.webhook_url = f"{settings['PUBLIC_URL']}/twilio/inbound#rc=5&rp=5xx,ct,rt"
        standing = Standing(simulator, Processes(folder, settings), build_engine(database), settings)
        try:
            assert standing.processes.start("release").wait() == 0
            yield standing
        finally:
            standing.close()


def settings_for(simulator: Simulator, providers: str, database: str, broker: str) -> dict[str, str]:
    url, port = make_url(database), free_port(HERE)
    return {
        "DATABASE_URL": url.set(password=url.password or PASSWORD).render_as_string(hide_password=False),
        "CELERY_BROKER_URL": broker,
        "PORT": str(port),
        "PUBLIC_URL": f"http://{HERE}:{port}",
        "TWILIO_ACCOUNT_SID": simulator.settings.account_sid,
        "TWILIO_AUTH_TOKEN": simulator.settings.auth_token,
        "TWILIO_API_BASE_URL": providers,
        "RETELL_API_KEY": simulator.settings.retell_api_key,
        "RETELL_AGENT_ID": simulator.settings.agent_id,
        "RETELL_BASE_URL": providers,
        "ADMIN_TOKEN": TOKEN,
        "WORKER_CONCURRENCY": "16",
    }
