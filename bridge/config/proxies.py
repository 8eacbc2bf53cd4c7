"""The HTTP proxy on the way out of a network, as ``HTTPS_PROXY`` and similar variables prescribe it.

The names are those of curl and of most libraries: a variable for the scheme of the address, else ``ALL_PROXY``, and
``NO_PROXY`` for the exceptions. Names in lower case take precedence. An address on this machine needs no proxy.
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
    """Return the variable for this address and its proxy, or ``None`` for a direct connection."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    named = _named(environ)
    _, exceptions = named.get("no", ("", ""))
    if is_here(host) or _is_exception(host, exceptions):
        return None
    return named.get(parts.scheme) or named.get("all")


def faults_of_proxies(addresses: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Return the faults of the proxies on the way to these addresses."""
    return list(dict.fromkeys(_faults(addresses, environ)))


def _faults(addresses: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    for address in addresses:
        try:
            found = way_out(address, environ)
        except ValueError:
            continue  # the address itself has a fault, which is reported elsewhere
        if found and (fault := fault_of_proxy(found[1])):
            yield f"{found[0]} {fault}"


def fault_of_proxy(address: str) -> str | None:
    """Return the reason why this proxy is unusable, or ``None``."""
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
        return f"is not an address; {EXAMPLE}"
    if parts.scheme.startswith("socks"):
        return f"names a SOCKS proxy, and the bridge can only use HTTP proxies; {EXAMPLE}"
    if parts.scheme not in {"http", "https"} or not usable:
        return f"does not name an HTTP proxy; {EXAMPLE}"
    return None


def _named(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return each variable and its value, by purpose."""
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(environ, key=str.islower):  # lower case comes last and wins, even if empty
        kind, _, proxy = name.lower().rpartition("_")
        if proxy == "proxy":
            found[kind] = (name, environ[name].strip())
    return {kind: pair for kind, pair in found.items() if pair[1]}


def _is_exception(host: str, exceptions: str) -> bool:
    """Match ``NO_PROXY``: names of machines and domains, with or without a leading dot and a port, or a star."""
    names = [re.sub(r":[0-9]+$", "", name.strip().lower()).lstrip(".") for name in exceptions.split(",")]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names if name)


def is_host(name: str) -> bool:
    """Return True for an IP address, or for labels of letters and digits with dots in between."""
    try:
        return bool(ip_address(name.partition("%")[0]))
    except ValueError:
        return bool(_HOST.fullmatch(name))


def is_here(host: str) -> bool:
    """Return True for an address of this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
