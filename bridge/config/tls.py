"""The check of a Redis server's certificate. A setting or the broker's address decides about it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SECURE = "rediss"
"""The scheme of Redis over TLS."""

NO_FILE = "is not true, false or a file with a CA's certificates (PEM)"

_YES = {"true", "1", "yes", "on"}
_NO = {"false", "0", "no", "off"}

_CHECKS = {
    **dict.fromkeys(("none", "cert_none"), False),
    **dict.fromkeys(("required", "cert_required", "optional", "cert_optional"), True),
}
"""The values of ``ssl_cert_reqs``. For a client, OpenSSL treats ``optional`` and ``required`` alike."""

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_KNOWN = {"ssl_cert_reqs", "ssl_check_hostname", *_FILES}


@dataclass(frozen=True)
class Tls:
    """The TLS options of a connection to Redis."""

    check: bool = False
    ca_file: str | None = None
    check_host: bool = True
    certificate: str | None = None
    key: str | None = None

    @property
    def options(self) -> dict[str, object]:
        """Return the options under redis-py's names. Pass all of them: kombu takes an empty set for no TLS at all."""
        return {
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.check else ssl.CERT_NONE,
            "ssl_check_hostname": self.check and self.check_host,
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
        }


def parse_verify(value: object) -> object:
    """Read ``true``, ``false``, or a file with the certificates to check against."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    if not _has_certificates(text):
        raise ValueError(f"{NO_FILE}; write one of them")
    return text


def tls_of(url: str, verify: bool | str = False) -> Tls | None:
    """Return the options for this broker, or ``None`` if it is not Redis over TLS. ``verify`` is REDIS_TLS_VERIFY."""
    if urlsplit(url).scheme != SECURE:
        return None
    parameters = _tls_parameters(url)
    asked = _CHECKS.get(parameters.get("ssl_cert_reqs", "").lower())
    return Tls(
        check=bool(verify) if asked is None else asked,
        ca_file=verify if isinstance(verify, str) else parameters.get("ssl_ca_certs"),
        check_host=parameters.get("ssl_check_hostname", "true").lower() not in _NO,
        certificate=parameters.get("ssl_certfile"),
        key=parameters.get("ssl_keyfile"),
    )


def without_tls(url: str) -> str:
    """Return the address without its TLS parameters. They are passed separately."""
    parts = urlsplit(url)
    if parts.scheme != SECURE:
        return url
    rest = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")]
    return urlunsplit(parts._replace(query=urlencode(rest)))


def fault_of_address(url: str) -> str | None:
    """Return the fault in the TLS parameters of a Redis address, or ``None``."""
    parameters = _tls_parameters(url) if urlsplit(url).scheme.startswith("redis") else {}
    if not parameters:
        return None
    if urlsplit(url).scheme != SECURE:
        return "has TLS parameters (ssl_…) but no TLS; write rediss://, or remove the parameters"
    if parameters.keys() - _KNOWN:
        return f"has an unknown TLS parameter; the known ones are {', '.join(sorted(_KNOWN))}"
    if parameters.get("ssl_cert_reqs", "none").lower() not in _CHECKS:
        return "has an invalid ssl_cert_reqs; write required or none"
    if parameters.get("ssl_check_hostname", "true").lower() not in _YES | _NO:
        return "has an invalid ssl_check_hostname; write true or false"
    if "ssl_ca_certs" in parameters and not _has_certificates(parameters["ssl_ca_certs"]):
        return "names a file for ssl_ca_certs without certificates; name one with PEM certificates"
    return _fault_of_our_own(parameters)


def contradiction(url: str, verify: bool | str) -> str | None:
    """Return the fault if REDIS_TLS_VERIFY asks for a check that does not take place."""
    tls = tls_of(url, verify)
    if not verify:
        return None
    if tls is None:
        return "asks for a check, but the broker's address has no TLS; write rediss:// there, or remove this setting"
    if not tls.check:
        return "asks for a check, but ssl_cert_reqs in the broker's address turns it off; remove one of them"
    return None


def _tls_parameters(url: str) -> dict[str, str]:
    return {name: value for name, value in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")}


def _has_certificates(file: str) -> bool:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError):
        return False
    return bool(context.get_ca_certs())


def _fault_of_our_own(parameters: dict[str, str]) -> str | None:
    """Return the fault in our own certificate, with which a server may identify us."""
    certificate, key = parameters.get("ssl_certfile"), parameters.get("ssl_keyfile")
    if certificate is None and key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate or "", key, password="")
    except (OSError, ValueError):
        return "names files for ssl_certfile and ssl_keyfile that do not match; name a PEM certificate and its key"
    return None
