"""One client for each thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerThread(Generic[T]):
    """One client for each thread, made at first use, so after every fork. Threads never share a client.

    A shared client with many connections searches all of them for each request.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], object]) -> None:
        self._make = make
        self._close = close
        self._own = threading.local()
        self._all: list[T] = []
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return this thread's client."""
        client: T | None = getattr(self._own, "client", None)
        return self._new() if client is None else client

    def close(self) -> None:
        """Close the clients of all threads. The next call of ``get`` makes a new one."""
        with self._lock:
            clients, self._all, self._own = self._all, [], threading.local()
        for client in clients:
            self._close(client)

    def _new(self) -> T:
        client = self._own.client = self._make()
        with self._lock:
            self._all.append(client)
        return client
