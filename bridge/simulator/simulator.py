"""The simulator: a Twilio account, an agent and all phones, connected. All state is in memory."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256

from bridge.simulator.agent import Agent, Chat
from bridge.simulator.carrier import Carrier
from bridge.simulator.carrier import Text as Carried
from bridge.simulator.changes import Changes
from bridge.simulator.contacts import Contacts
from bridge.simulator.courier import Courier
from bridge.simulator.dispatch import Dispatch
from bridge.simulator.faults import Faults
from bridge.simulator.hook import Caller, Overrides
from bridge.simulator.ledger import CarrierReply, Ledger, Received, Refused, Replied, Sent, Text
from bridge.simulator.network import Network
from bridge.simulator.phones import Phones
from bridge.simulator.postman import Postman
from bridge.simulator.reporter import Reporter
from bridge.simulator.settings import SimulatorSettings
from bridge.simulator.verdict import judge, must_be_received

_EVENT_OVERRIDES = Overrides(retries=3, retry_on=frozenset({"all"}), read=10.0, total=40.0)
"""Retell waits 10 s for an event's answer and repeats it up to three times."""

_CHECK_EVERY = 0.02
"""Seconds between two checks whether all is settled."""


class Simulator:
    """All providers and the people. Thread-safe; ``serve`` puts it on the network."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.changes = Changes()
        self.ledger = Ledger(self.changes)
        self.faults = Faults(settings.seed, self.ledger, self.changes)
        self.carrier = Carrier(settings)
        self.agent = Agent(settings, self.ledger, self.changes)
        self.agent.on_event = self._announce_event
        self.contacts = Contacts(self.ledger, settings.clock)
        self.watch = settings.watch
        self.console: Callable[[], str] | None = None
        """It makes an address at which the bridge's operators are logged in."""
        self.events_url = settings.events_url
        self.uponai_events_url = settings.uponai_events_url
        self._caller = Caller(settings.auth_token)
        self._courier = Courier(settings.webhook_threads)
        network = Network(settings, self.carrier, self._courier, self._caller, self.faults, self.ledger)
        self.dispatch = Dispatch(settings, self.carrier, self.faults, self.ledger, Reporter(network).report)
        self.postman = Postman(network, self._answered)
        self.phones = Phones(settings, self.carrier, self.ledger, self.changes, self.postman.announce)

    @property
    def webhook_url(self) -> str | None:
        """The webhook of our first number. Setting it sets it for all numbers."""
        return self.carrier.numbers[self.settings.number].sms_url or None

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        for number in self.carrier.numbers.values():
            number.settings["sms_url"] = url or ""

    def settled(self) -> bool:
        """Return True if every text was received, every answer sent, and nothing is in progress."""
        if self._courier.busy or self.agent.thinking():
            return False
        if not self._anything_excused() and self._surely_missing():
            return False
        verdict = judge(self.ledger)
        return not verdict.lost and not verdict.answers_lost

    def _anything_excused(self) -> bool:
        return bool(self.ledger.count(CarrierReply) or self.ledger.count(Refused))

    def _surely_missing(self) -> bool:
        """Return True if something is certainly missing. This check is cheap; the judge is slow."""
        if self.ledger.count(Sent) < self.ledger.count(Replied):
            return True
        return not self.ledger.count(Received) and any(must_be_received(text) for text in self.ledger.of(Text))

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait for :meth:`settled`. Return False if it takes longer than ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while not self.settled():
            left = until - time.monotonic()
            if left <= 0 or self.changes.closed:
                return False
            self.changes.pause(min(left, _CHECK_EVERY))
        return True

    def open(self, address: str) -> None:
        """Announce the address of the server."""
        self.changes.open()
        self.postman.address = address

    def close(self) -> None:
        """Wake all waiting threads. Return when no webhook is in progress any more."""
        self.changes.close()
        self._caller.abort()
        self._courier.stop()

    def _answered(self, text: Carried, body: str) -> None:
        """Send the text of the webhook's answer to the person."""
        self.dispatch.reply(text.sender, text.to, body)

    def _announce_event(self, event: str, chat: Chat) -> None:
        """Announce it to the webhook of the provider whose chat it is, if that has an address."""
        at_uponai = chat.agent_id == self.settings.uponai_agent_id
        url = self.uponai_events_url if at_uponai else self.events_url
        key = self.settings.uponai_webhook_key if at_uponai else self.settings.retell_api_key
        if not url:
            return
        shown = self.agent.show(chat)
        if event != "chat_analyzed":
            shown.pop("chat_analysis", None)
        body = json.dumps({"event": event, "chat": shown}).encode()
        stamp = str(int(self.settings.clock() * 1000))
        digest = hmac.new(key.encode(), body + stamp.encode(), sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Retell-Signature": f"v={stamp},d={digest}"}
        self._courier.post(("event", chat.id), lambda: self._post_event(url, body, headers))

    def _post_event(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        self._caller.post(url, body, headers, _EVENT_OVERRIDES)
