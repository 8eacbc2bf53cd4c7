"""The proxies of the environment: which one counts, and what is told of one that is of no use."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from bridge.config import DatabaseSettings, Settings, SettingsError
from bridge.config.proxies import EXAMPLE, fault_of_proxy, way_out
from tests.fakes import SETTINGS
from tests.test_cli import run

TWILIO = "https://api.twilio.com"
GOOD = "http://proxy.example:3128"
ENVIRON = {name.upper(): value for name, value in SETTINGS.items()}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"HTTPS_PROXY": GOOD}, "HTTPS_PROXY"),
        ({"https_proxy": GOOD}, "https_proxy"),
        ({"HTTPS_PROXY": "http://other", "https_proxy": GOOD}, "https_proxy"),
        ({"HTTPS_PROXY": "http://other", "https_proxy": ""}, None),
        ({"ALL_PROXY": GOOD}, "ALL_PROXY"),
        ({"all_proxy": GOOD, "HTTPS_PROXY": "http://other"}, "HTTPS_PROXY"),
        ({"HTTP_PROXY": GOOD}, None),
        ({"HTTPS_PROXY": "  "}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "twilio.com"}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "localhost, .twilio.com"}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": " API.Twilio.com:443 ,x"}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "x, *"}, None),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "example.com"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": "lio.com,i.twilio.com,.com.,,"}, "HTTPS_PROXY"),
        ({"ALL_PROXY": GOOD, "no_proxy": "api.twilio.com"}, None),
    ],
)
def test_the_proxy_that_counts_is_the_one_that_others_would_take(environ: dict[str, str], name: str | None) -> None:
    found = way_out(TWILIO, environ)
    assert (found and found[0]) == name


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost", "[::1]:80", "127.1.2.3"])
def test_what_runs_on_this_machine_needs_no_proxy(host: str) -> None:
    assert way_out(f"http://{host}/", {"HTTP_PROXY": GOOD, "ALL_PROXY": GOOD}) is None


@pytest.mark.parametrize(
    "address",
    [
        GOOD,
        "http://proxy.example",
        "http://proxy.example:3128/",
        "https://proxy.example:443",
        "http://user:p%40ss@10.0.0.1:8080",
        "http://[fd00::1]:3128",
        "HTTP://PROXY.EXAMPLE:3128",
    ],
)
def test_a_good_proxy_is_one_for_httpx_too(address: str) -> None:
    assert fault_of_proxy(address) is None
    httpx.Proxy(address)


BAD = [
    ("proxy.example:3128", f"has no scheme; {EXAMPLE}"),
    ("proxy.example", f"has no scheme; {EXAMPLE}"),
    ("10.0.0.1:3128", f"has no scheme; {EXAMPLE}"),
    ("//proxy.example:3128", f"has no scheme; {EXAMPLE}"),
    ("http:/proxy.example", f"has no scheme; {EXAMPLE}"),
    ("http:proxy.example:3128", f"has no scheme; {EXAMPLE}"),
    ("user:password@proxy.example:3128", f"has no scheme; {EXAMPLE}"),
    *((f"{s}://p:1080", "names a SOCKS proxy") for s in ("socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5")),
    ("ftp://proxy.example", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("://proxy.example", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://:3128", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://proxy.example:0", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://proxy.example:99999", f"is not an address; {EXAMPLE}"),
    ("http://proxy.example:-1", f"is not an address; {EXAMPLE}"),
    ("http://proxy.example:port", f"is not an address; {EXAMPLE}"),
    ("http://[fd00::1", f"is not an address; {EXAMPLE}"),
    ("http://proxy .example", "has a blank as character 13"),
    ("http://proxy\u200b.example:3128", "has an invisible character (U+200B) as character 13"),
    ("“http://proxy.example”", "is in quotes"),
    ("http://próxy.example", "has a character outside ASCII as character 10"),
    ("http://proxy..example", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://" + "x" * 300, f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://pro%zzxy:3128", f"does not name an HTTP proxy; {EXAMPLE}"),
    ("http://a,b:3128", f"does not name an HTTP proxy; {EXAMPLE}"),
]


@pytest.mark.parametrize(("address", "words"), BAD)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_no_use_is_a_fault_at_the_start(name: str, address: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(ENVIRON | {name: address})
    [fault] = caught.value.faults
    assert fault.startswith(f"{name} {words}")
    assert "password" not in fault


def test_it_is_told_once_and_beside_all_other_faults() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(ENVIRON | {"HTTPS_PROXY": "proxy:1", "PUBLIC_URL": "x", "AGENT_TIMEOUT": "soon"})
    assert [fault.split()[0] for fault in caught.value.faults] == ["PUBLIC_URL", "AGENT_TIMEOUT", "HTTPS_PROXY"]


def test_a_proxy_by_which_nobody_goes_may_be_anything() -> None:
    Settings.load(ENVIRON | {"HTTP_PROXY": "socks://x", "HTTPS_PROXY": GOOD, "ALL_PROXY": "nonsense"})
    Settings.load(ENVIRON | {"HTTPS_PROXY": "socks://x", "NO_PROXY": "*"})
    DatabaseSettings.load({"HTTPS_PROXY": "socks://x"})
    with pytest.raises(SettingsError, match=r"^HTTP_PROXY names a SOCKS proxy"):
        Settings.load(ENVIRON | {"HTTP_PROXY": "socks://x", "RETELL_BASE_URL": "http://retell.inside"})


def test_the_proxy_of_a_provider_that_is_not_called_may_be_anything() -> None:
    proxies = {"HTTP_PROXY": "socks://x"}
    inside = {"UPONAI_BASE_URL": "http://uponai.inside"}
    Settings.load(ENVIRON | proxies | inside)
    account = {"UPONAI_API_KEY": "token", "UPONAI_WORKSPACE_ID": "42"}
    route = {"AGENT_ROUTES": '{"+15550003333": {"provider": "uponai", "agent_id": "agent_x"}}'}
    for named in (account, account | route):
        with pytest.raises(SettingsError, match=r"^HTTP_PROXY names a SOCKS proxy"):
            Settings.load(ENVIRON | proxies | inside | named)


def test_a_front_door_says_it_in_a_sentence(tmp_path: Path) -> None:
    told = run([sys.executable, "-m", "bridge", "up"], tmp_path, ENVIRON | {"HTTPS_PROXY": "socks5://127.0.0.1:9050"})
    assert told.returncode == 2
    assert told.stdout.startswith("HTTPS_PROXY names a SOCKS proxy")
    assert len(told.stdout.splitlines()) == 1
