"""The way out of a network that has a proxy, as ``HTTPS_PROXY`` and its like prescribe it.

The names are those of curl and of most libraries: a variable for the scheme of the address, else ``ALL_PROXY``, and
``NO_PROXY`` for the exceptions. Written in small letters they go first. What runs on this machine needs no proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from bridge.config.visible import visible

_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

EXAMPLE = "write it like http://proxy.example.com:3128"


def way_out(address: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The name of the variable that counts for this address, and the proxy in it; ``None`` for the direct way."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    named = _named(environ)
    _, exceptions = named.get("no", ("", ""))
    if _is_here(host) or _is_exception(host, exceptions):
        return None
    return named.get(parts.scheme) or named.get("all")


def faults_of_proxies(addresses: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Of those through which one of these addresses would be reached."""
    return list(dict.fromkeys(_faults(addresses, environ)))


def _faults(addresses: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    for address in addresses:
        try:
            found = way_out(address, environ)
        except ValueError:
            continue  # the address itself has a fault, and that is told
        if found and (fault := fault_of_proxy(found[1])):
            yield f"{found[0]} {fault}"


def fault_of_proxy(address: str) -> str | None:
    """Why nobody can go out through this."""
    try:
        visible(address)
    except ValueError as error:
        return str(error)
    if "://" not in address:
        return f"has no scheme; {EXAMPLE}"
    try:
        parts = urlsplit(address)
        usable = is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        return f"is no address; {EXAMPLE}"
    if parts.scheme.startswith("socks"):
        return f"names a SOCKS proxy, and the bridge can only use HTTP proxies; {EXAMPLE}"
    if parts.scheme not in {"http", "https"} or not usable:
        return f"names no HTTP proxy; {EXAMPLE}"
    return None


def _named(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By what they are for: the variable and its value."""
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(environ, key=str.islower):  # small letters come last, and count, also where they say nothing
        kind, _, proxy = name.lower().rpartition("_")
        if proxy == "proxy":
            found[kind] = (name, environ[name].strip())
    return {kind: pair for kind, pair in found.items() if pair[1]}


def _is_exception(host: str, exceptions: str) -> bool:
    """``NO_PROXY`` has names of machines and of domains, with or without a dot before and a port behind, or a star."""
    names = [re.sub(r":[0-9]+$", "", name.strip().lower()).lstrip(".") for name in exceptions.split(",")]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names if name)


def is_host(name: str) -> bool:
    """An address, or labels of letters and digits with dots in between."""
    try:
        return bool(ip_address(name.partition("%")[0]))
    except ValueError:
        return bool(_HOST.fullmatch(name))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
