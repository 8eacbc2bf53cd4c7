"""The proxies of docs/deploy/ before ``bridge up``: signatures hold, events come at once, and large bodies do not."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bridge.operators import login_limits
from bridge.processes.embedded import free_port
from testkit.procfile import ROOT
from testkit.waiting import until
from tests.conftest import not_there
from tests.scene import ANN
from tests.up import HERE, OPERATOR, Up, up_in

DEPLOY = ROOT / "docs" / "deploy"
AT_ONCE = 10.0
"""Seconds. The bridge reads the tables every second; a proxy that buffers waits for the end of the answer."""


def nginx(folder: Path, port: int, bridge: int) -> list[str]:
    """The command that runs nginx with our file, here and without TLS."""
    server = re.sub(r" *ssl_certificate.*\n", "", (DEPLOY / "nginx.conf").read_text())
    server = server.replace("443 ssl", f"{HERE}:{port}").replace(f"{HERE}:8000", f"{HERE}:{bridge}")
    own = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{_user()}pid {folder}/nginx.pid;\ndaemon off;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{own}{server}}}\n"
    )
    return ["nginx", "-c", str(folder / "nginx.conf")]


def _user() -> str:
    """Root's nginx would hand its work to a user who may not write into the test's folder."""
    return "user root;\n" if os.geteuid() == 0 else ""


def caddy(folder: Path, port: int, bridge: int) -> list[str]:
    site = (DEPLOY / "Caddyfile").read_text().replace("sms.example.com {", f"http://{HERE}:{port} {{")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + site.replace(f"{HERE}:8000", f"{HERE}:{bridge}"))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Up]:
    """A bridge that is reached by its proxy alone: that address is its PUBLIC_URL."""
    command: Callable[[Path, int, int], list[str]] = request.param
    port = free_port(HERE)
    with up_in(tmp_path, PUBLIC_URL=f"http://{HERE}:{port}", XDG_DATA_HOME=str(tmp_path)) as up:
        program, *arguments = command(tmp_path, port, up.port)
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
        if not found:
            not_there(program, "apt-get install nginx caddy brings both")
        up.start()
        up.processes.start(program, [found, *arguments])
        until(lambda: _answers(up.settings["PUBLIC_URL"]), f"{program} answers")
        yield up


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_text_is_answered_through_it(up: Up) -> None:
    up.simulator.phones.text(ANN, "one & a café")
    up.must_have_answered("one & a café")


def test_events_come_at_once(up: Up) -> None:
    login = {"Authorization": f"Bearer {OPERATOR}"}
    with httpx.stream("GET", f"{up.settings['PUBLIC_URL']}/admin/events", headers=login, timeout=AT_ONCE) as events:
        lines = events.iter_lines()
        assert events.headers["content-type"].startswith("text/event-stream")
        assert next(lines).startswith("retry:")
        up.simulator.phones.text(ANN, "one")
        began = time.monotonic()
        assert next(line for line in lines if line.startswith("event:"))
        assert time.monotonic() - began < AT_ONCE


def test_nobody_chooses_the_address_that_wrong_logins_count_for(up: Up) -> None:
    told = [_guess(up, {"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(login_limits.MOST + 1)]
    assert told == [401] * login_limits.MOST + [429]


def _guess(up: Up, headers: dict[str, str]) -> int:
    """Return the status of a login with a wrong token, from the form that a browser gets."""
    address = f"{up.settings['PUBLIC_URL']}/console/login"
    shown = httpx.get(address)
    [token] = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', shown.text)
    cookies = "; ".join(line.partition(";")[0] for line in shown.headers.get_list("set-cookie"))
    sent = {"Cookie": cookies, "Referer": address, **headers}
    return httpx.post(address, data={"token": "a guess", "csrf_token": token}, headers=sent).status_code


def test_a_body_that_is_too_large_is_refused(up: Up, request: pytest.FixtureRequest) -> None:
    """nginx reads the length first. Caddy 2.6 meets the limit while it passes the body on, and blames the bridge."""
    refusals = (413, 502) if "caddy" in request.node.name else (413,)
    big = httpx.post(f"{up.settings['PUBLIC_URL']}/twilio/inbound", data={"Body": "x" * 300_000})
    assert big.status_code in refusals
    fits = httpx.post(f"{up.settings['PUBLIC_URL']}/retell/events", content=b"x" * 200_000)
    assert fits.status_code == 403, "the bridge has read it, and misses the signature"
