"""The operators of a chaos run: they take conversations over, write, and hand them back, in the middle of everything.

They use the admin API, as a script of a customer does: a call without an answer is repeated, with the same key. What
they hand back is to be answered by the agent. An answer that the agent was just giving becomes a draft, so it need not
be sent.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

TOKENS = {"ana": "token-of-ana", "ben": "token-of-ben"}

WORDS = "Team"
"""The beginning of each text by an operator. No agent writes it."""

LONGEST = 3.0
"""Seconds for which an operator has a conversation."""

PAUSE = 1.0
"""Seconds between two conversations at most."""

ANSWERS_WITHIN = 5.0
"""Seconds for one call. Then it is repeated."""

GIVE_UP_AFTER = 90.0
"""Seconds in which a call is repeated. No disaster takes that long."""


class Operators:
    """One thread for each operator."""

    def __init__(self, address: str, seed: int) -> None:
        self.written: Counter[str] = Counter()
        """How often each text was put into the outbox, by its words. No two texts have the same."""
        self.taken_over = 0
        self.failed: list[str] = []
        """Calls that were given up."""
        self._address = address
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(name, random.Random(f"{seed} {name}")), daemon=True)
            for name in TOKENS
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each operator hand back what they have, and go."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str, rng: random.Random) -> None:
        headers = {"Authorization": f"Bearer {TOKENS[name]}"}
        with httpx.Client(base_url=f"{self._address}/admin", headers=headers, timeout=ANSWERS_WITHIN) as client:
            while not self._stopped.wait(rng.uniform(0, PAUSE)):
                try:
                    self._visit(client, name, rng)
                except Exception as error:  # it must not end the thread unseen
                    self.failed.append(f"{name}: {error!r}")

    def _visit(self, client: httpx.Client, name: str, rng: random.Random) -> None:
        listed = _until_answered(lambda: client.get("/conversations", params={"limit": 50}), self.failed)
        if not listed.get("conversations"):
            return
        here = f"/conversations/{rng.choice(listed['conversations'])['id']}"
        taken = _until_answered(lambda: client.post(f"{here}/take-over"), self.failed)
        if taken["holder"]["name"] != name:
            return  # the other one was first
        self._stopped.wait(rng.uniform(0, LONGEST / 2))
        if rng.random() < 0.5:
            self._write(client, here, f"{WORDS} text {rng.randrange(16**12):012x}")
        self._stopped.wait(rng.uniform(0, LONGEST / 2))
        _until_answered(lambda: client.post(f"{here}/hand-back", json={"answer": True}), self.failed)
        with self._lock:
            self.taken_over += 1

    def _write(self, client: httpx.Client, here: str, body: str) -> None:
        key = {"Idempotency-Key": body}
        answer = _until_answered(lambda: client.post(f"{here}/messages", json={"body": body}, headers=key), self.failed)
        if "id" in answer:
            with self._lock:
                self.written[body] += 1


def _until_answered(call: Callable[[], httpx.Response], failed: list[str]) -> dict[str, Any]:
    """Repeat the call until the bridge has decided. Raise :class:`TimeoutError` if it never does."""
    until = time.monotonic() + GIVE_UP_AFTER
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            response = call()
            if response.status_code < 500 and "json" in response.headers.get("Content-Type", ""):
                answer: dict[str, Any] = response.json()
                return answer
        time.sleep(0.3)
    failed.append("a call of an operator got no answer")
    raise TimeoutError
