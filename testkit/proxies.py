"""TCP proxies between the bridge and its servers on this machine. They can be closed, or can fall silent.

Killing a server does not make it hang, but a silent proxy does. The proxies run in their own process, which ends with
the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from enum import StrEnum

from testkit.procfile import ROOT

HERE = "127.0.0.1"

CHUNK = 65536


class State(StrEnum):
    """The state of a proxy."""

    OPEN = "open"
    SHUT = "shut"
    """All connections are cut, and new ones refused."""
    SILENT = "silent"
    """All connections stay, new ones are accepted, and not a byte passes."""
    CUT = "cut"
    """All connections are cut, and new ones let through."""


class Proxies:
    """The client of the proxies' process. ``targets`` are the ports on this machine that they lead to."""

    def __init__(self, targets: Mapping[str, int]) -> None:
        command = [sys.executable, "-m", "testkit.proxies", json.dumps(targets)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._lock = threading.Lock()
        self.ports: dict[str, int] = json.loads(self._answer())

    def set(self, proxy: str, state: State) -> None:
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(f"{proxy} {state}\n")
            self._process.stdin.flush()
            assert self._answer() == "done\n", "the proxies have ended"

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


class _Proxy:
    """One proxy. Its port never changes."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def set(self, state: State) -> None:
        if state in {State.SHUT, State.CUT}:
            await self._hang_up(listen=state is State.CUT)
        if state is State.SILENT:
            self._flows.clear()
        else:
            self._flows.set()
        if state is not State.SHUT:
            await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connect, HERE, self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _hang_up(self, *, listen: bool) -> None:
        if self._server and not listen:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            there, to_there = await asyncio.open_connection(HERE, self._target)
        except OSError:
            writer.transport.abort()
            return
        finally:
            self._writers.discard(writer)
        self._writers |= {writer, to_there}
        await asyncio.gather(self._pump(reader, to_there), self._pump(there, writer))
        self._writers -= {writer, to_there}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy one direction. At its end, close the other side's writer."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


async def _serve(targets: Mapping[str, int]) -> None:
    proxies = {name: _Proxy(target) for name, target in targets.items()}
    for proxy in proxies.values():
        await proxy.set(State.OPEN)
    _say(json.dumps({name: proxy.port for name, proxy in proxies.items()}))
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        name, state = line.decode().split()
        await proxies[name].set(State(state))
        _say("done")
    for proxy in proxies.values():
        await proxy.set(State.SHUT)
    connections = asyncio.all_tasks() - {asyncio.current_task()}
    if connections:  # cancelling a running task would print a traceback
        await asyncio.wait(connections, timeout=1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
