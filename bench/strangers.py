"""Web servers side by side: the cost of a request, and the service beside slow strangers.

``python -m bench.strangers`` prints the table of ``docs/decisions.md``. It leaves out servers that are not installed:
``pip install gevent granian cheroot`` adds the others. All serve one plain WSGI app on eight threads, so that only the
servers differ.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bridge.web  # noqa: F401 - so that all servers carry the same modules about, and their memory compares

STRANGERS = 1000
THREADS = 8
REQUESTS = 3000
CLIENTS = 4
BODY = b"MessageSid=SM" + b"0" * 32 + b"&Body=" + b"hello+" * 150 + b"&From=%2B15551230001&To=%2B15550001111"
HEAD = b"Host: bridge.example.com\r\nX-Twilio-Signature: " + b"A" * 28 + b"\r\nUser-Agent: TwilioProxy/1.1\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(BODY)
POST = b"POST /twilio/inbound HTTP/1.1\r\n" + HEAD + FORM + b"\r\n" + BODY
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"
HALVES = {"half a head": POST[:60], "half a body": POST[:-200]}
PATIENCE = 5.0
"""Seconds that an answer may take beside the strangers."""
LOOK = 20.0
"""Seconds for which the strangers are watched."""
TICKS = os.sysconf("SC_CLK_TCK")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Read the request, as the bridge does, and do nothing else."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/xml"), ("Content-Length", "11")])
    return [b"<Response/>"]


@dataclass(frozen=True)
class Server:
    needs: str
    command: tuple[str, ...]


def _gunicorn(kind: str, *more: str) -> tuple[str, ...]:
    """Return ``python -m gunicorn`` with the settings of the Procfile."""
    options = (
        "--workers",
        "1",
        "--threads",
        str(THREADS),
        "--keep-alive",
        "75",
        "--worker-connections",
        "5000",
        "--preload",
    )
    bind = ("--bind", "127.0.0.1:{port}", "--no-control-socket")
    return ("-m", "gunicorn", "-k", kind, *options, *bind, *more, "bench.strangers:app")


def _serve_waitress(port: int, **more: Any) -> None:
    import waitress

    waitress.serve(app, host="127.0.0.1", port=port, threads=THREADS, **more)


def _waitress(words: str) -> tuple[str, ...]:
    return ("-c", f"from bench.strangers import _serve_waitress as w; w({{port}}, {words})")


_OURS = (
    "from bench.strangers import app; from bridge.processes.http_server import Address, WebServer; "
    f"WebServer(app, threads={THREADS}, on=Address('127.0.0.1', {{port}})).run()"
)
_CHEROOT = (
    "from cheroot.wsgi import Server; from bench.strangers import app; "
    f"Server(('127.0.0.1', {{port}}), app, numthreads={THREADS}).start()"
)

_GRANIAN = "-m granian --interface wsgi --port {port} --workers 1 --backpressure 5000 --backlog 2048"

SERVERS = {
    "gunicorn, gthread": Server("gunicorn", _gunicorn("gthread", "--http-parser", "python")),
    "gunicorn, gthread, C parser": Server("gunicorn_h1c", _gunicorn("gthread")),
    "gunicorn, gevent": Server("gevent", _gunicorn("gevent")),
    "gunicorn, this bridge's worker": Server("gunicorn", _gunicorn("bridge.processes.gunicorn_worker.WebWorker")),
    "`bridge up`'s": Server("waitress", ("-c", _OURS)),
    "waitress as it comes": Server("waitress", _waitress("")),
    "waitress, 5,000 connections, poll": Server(
        "waitress", _waitress("connection_limit=5000, channel_timeout=10, cleanup_interval=1, asyncore_use_poll=True")
    ),
    "granian, WSGI": Server(
        "granian",
        (*_GRANIAN.split(), "--blocking-threads", str(THREADS), "bench.strangers:app"),
    ),
    "cheroot": Server("cheroot", ("-c", _CHEROOT)),
}


def main(names: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    columns = ["server", "CPU ms kept alive", "CPU ms new connection", "memory MB"]
    columns += [f"{what}: {word}" for what in HALVES for word in ("answered", "median ms", "CPU %", "left open")]
    print("| " + " | ".join(columns) + " |\n|---|" + "--:|" * (len(columns) - 1))
    for name, server in SERVERS.items():
        if importlib.util.find_spec(server.needs) and (not names or name in names):
            print(f"| {name} | {' | '.join(_measure(server))} |", flush=True)


def _measure(server: Server) -> list[str]:
    cells = []
    with _running(server) as (port, pid):
        _load(port, 200, keep=True)
        cells += [f"{_cost(port, pid, keep=keep):.2f}" for keep in (True, False)]
        cells.append(f"{_memory(pid):.0f}")
    for half in HALVES.values():
        with _running(server) as (port, pid):
            cells += _stand(port, pid, half)
    return cells


def _cost(port: int, pid: int, *, keep: bool) -> float:
    before = _cpu(pid)
    _load(port, REQUESTS, keep=keep)
    return (_cpu(pid) - before) / REQUESTS * 1000


def _load(port: int, requests: int, *, keep: bool) -> None:
    clients = [threading.Thread(target=_client, args=(port, requests // CLIENTS, keep)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def _client(port: int, requests: int, keep: bool) -> None:
    connection = None
    for _ in range(requests):
        connection = connection or socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.sendall(POST)
        answer = b""
        while b"<Response/>" not in answer:
            answer += (got := connection.recv(4096))
            assert got, answer
        if not keep:
            connection.close()
            connection = None


def _stand(port: int, pid: int, half: bytes) -> list[str]:
    """Return the share of answered requests beside a thousand strangers, and the number of strangers left."""
    strangers = [_stranger(port, half) for _ in range(STRANGERS)]
    until, before = time.monotonic() + LOOK, _cpu(pid)
    took, asked = [], 0
    while time.monotonic() < until:
        asked += 1
        began = time.monotonic()
        if _answers(port):
            took.append((time.monotonic() - began) * 1000)
        time.sleep(max(0.0, began + 0.2 - time.monotonic()))
    load = (_cpu(pid) - before) / LOOK * 100
    left = sum(_open(stranger) for stranger in strangers)
    for stranger in strangers:
        stranger.close()
    median = f"{statistics.median(took):.0f}" if took else "–"
    return [f"{len(took)} of {asked}", median, f"{load:.0f}", str(left)]


def _stranger(port: int, half: bytes) -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", port), timeout=30)
    stranger.sendall(half)
    return stranger


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(HEALTH)
            return b" 200 " in connection.recv(4096)
    except OSError:
        return False


def _open(stranger: socket.socket) -> bool:
    stranger.setblocking(False)
    try:
        while stranger.recv(4096):
            continue
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def _running(server: Server) -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, *(word.replace("{port}", str(port)) for word in server.command)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 20
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < until, command
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in _tree(int(child)))]


def _cpu(pid: int) -> float:
    """Return the seconds of processor time of all processes."""
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in _tree(pid)]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS


def _memory(pid: int) -> float:
    """Return the megabytes of all processes. Shared pages count once."""
    rolled_up = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in _tree(pid)]
    return sum(int(found) for text in rolled_up for found in re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)) / 1000


if __name__ == "__main__":
    main(sys.argv[1:])
