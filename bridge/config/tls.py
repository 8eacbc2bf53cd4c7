"""How the certificate of a Redis is checked: said by a setting, or by the broker's address itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SECURE = "rediss"
"""The scheme of Redis over TLS."""

NO_FILE = "is neither true nor false nor a file with the certificates of a CA (PEM)"

_YES = {"true", "1", "yes", "on"}
_NO = {"false", "0", "no", "off"}

_CHECKS = {
    **dict.fromkeys(("none", "cert_none"), False),
    **dict.fromkeys(("required", "cert_required", "optional", "cert_optional"), True),
}
"""What ``ssl_cert_reqs`` may say. To OpenSSL, ``optional`` is the same as ``required`` where a client says it."""

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_KNOWN = {"ssl_cert_reqs", "ssl_check_hostname", *_FILES}


@dataclass(frozen=True)
class Tls:
    """What a connection to Redis needs to know."""

    check: bool = False
    ca_file: str | None = None
    check_host: bool = True
    certificate: str | None = None
    key: str | None = None

    @property
    def options(self) -> dict[str, object]:
        """The same in redis-py's names. None of these may be left out: kombu takes an empty set for none at all."""
        return {
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.check else ssl.CERT_NONE,
            "ssl_check_hostname": self.check and self.check_host,
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
        }


def parse_verify(value: object) -> object:
    """``true``, ``false``, or a file of certificates to be checked against."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    if not _has_certificates(text):
        raise ValueError(f"{NO_FILE}; write one of them")
    return text


def tls_of(url: str, verify: bool | str = False) -> Tls | None:
    """How to connect to this broker; ``None`` where it is no Redis over TLS. ``verify`` is REDIS_TLS_VERIFY."""
    if urlsplit(url).scheme != SECURE:
        return None
    said = _said_in(url)
    asked = _CHECKS.get(said.get("ssl_cert_reqs", "").lower())
    return Tls(
        check=bool(verify) if asked is None else asked,
        ca_file=verify if isinstance(verify, str) else said.get("ssl_ca_certs"),
        check_host=said.get("ssl_check_hostname", "true").lower() not in _NO,
        certificate=said.get("ssl_certfile"),
        key=said.get("ssl_keyfile"),
    )


def without_tls(url: str) -> str:
    """The address without what it says of TLS: that is handed over beside it."""
    parts = urlsplit(url)
    if parts.scheme != SECURE:
        return url
    rest = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")]
    return urlunsplit(parts._replace(query=urlencode(rest)))


def fault_of_address(url: str) -> str | None:
    """What is wrong with what the address of a Redis says of TLS."""
    said = _said_in(url) if urlsplit(url).scheme.startswith("redis") else {}
    if not said:
        return None
    if urlsplit(url).scheme != SECURE:
        return "says something of TLS (ssl_…), but TLS begins with rediss://; write that, or take it out"
    if said.keys() - _KNOWN:
        return f"has a parameter of TLS that is not known; there are {', '.join(sorted(_KNOWN))}"
    if said.get("ssl_cert_reqs", "none").lower() not in _CHECKS:
        return "has an ssl_cert_reqs that is none; write required or none"
    if said.get("ssl_check_hostname", "true").lower() not in _YES | _NO:
        return "has an ssl_check_hostname that is none; write true or false"
    if "ssl_ca_certs" in said and not _has_certificates(said["ssl_ca_certs"]):
        return "names a file for ssl_ca_certs in which there are no certificates (PEM)"
    return _fault_of_our_own(said)


def contradiction(url: str, verify: bool | str) -> str | None:
    """Where REDIS_TLS_VERIFY asks for a check that does not take place."""
    tls = tls_of(url, verify)
    if not verify:
        return None
    if tls is None:
        return "asks for a check, but the broker's address does not begin with rediss://; write that, or take this out"
    if not tls.check:
        return "asks for a check, and ssl_cert_reqs in the broker's address for none; take one of them out"
    return None


def _said_in(url: str) -> dict[str, str]:
    return {name: value for name, value in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")}


def _has_certificates(file: str) -> bool:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError):
        return False
    return bool(context.get_ca_certs())


def _fault_of_our_own(said: dict[str, str]) -> str | None:
    """The certificate by which a server may want to know us."""
    certificate, key = said.get("ssl_certfile"), said.get("ssl_keyfile")
    if certificate is None and key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate or "", key, password="")
    except (OSError, ValueError):
        return "names files for ssl_certfile and ssl_keyfile that are no certificate with its key (PEM)"
    return None
