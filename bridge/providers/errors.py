"""What can go wrong with the other side, and the questions that a step asks of it.

A step never looks at a status code. It asks the error:

- ``worth_retry``: is another try worth it?
- ``maybe_done``: may the other side have done it all the same? Then look before trying again.
- ``provider_wide``: does the cause belong to our account or to the provider, and not to this one message?
- ``too_much``: was only too much asked at once? Then it says nothing about this one message either.

    RemoteError
    ├── NotReached        nothing arrived: refused, no such host, connect timeout  retry; surely not done; provider-wide
    ├── RateLimited       429; never processed, perhaps with a Retry-After         retry; surely not done
    │   └── QueueFull     too much of ours waits there for this sender             retry, with that sender, later
    ├── AccountRefused    401, 402, 403: our key, our bill, our permission         retry; surely not done; provider-wide
    ├── OutcomeUnknown    timeout, cut connection, 5xx, unreadable success         retry after a look
    └── Refused           this request will never be taken                         no retry
        └── ChatEnded     the chat takes no more messages                          no retry in that chat: a new one
"""

from __future__ import annotations

from bridge.lib.errors import BridgeError

IN_BETWEEN = frozenset({408, 502, 504})
"""Statuses that a proxy gives when it has lost patience or contact: the vendor behind it may still be at work."""


def scope_of(provider: str, part: str | None = None) -> str:
    """What a cause concerns, as holds call it: everything that we have at a vendor, or one agent or sender there."""
    return f"{provider} {part}" if part else provider


def provider_of(scope: str) -> str:
    """At which vendor that is."""
    return scope.partition(" ")[0]


class RemoteError(BridgeError):
    """A vendor did not do what was asked.

    ``reason`` is one line that is safe to log and to show: no key, no full phone number, no message body.
    """

    worth_retry = False
    maybe_done = False
    provider_wide = False
    too_much = False

    def __init__(
        self,
        reason: str,
        *,
        provider: str,
        status: int | None = None,
        code: int | None = None,
        retry_after: float | None = None,
        part: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.provider = provider
        self.status = status
        """HTTP status, where there was an answer."""
        self.code = code
        """The vendor's own error number (Twilio has one)."""
        self.retry_after = retry_after
        """Seconds that the vendor asked us to wait."""
        self.part = part
        """Where the cause is this one agent or sender of ours, and not the account."""

    @property
    def scope(self) -> str:
        """Whose work waits, where the cause is provider-wide."""
        return scope_of(self.provider, self.part)

    @property
    def response_received(self) -> bool:
        """Has the vendor itself answered, so that nothing of the request is on its way any more?"""
        return self.status is not None and self.status not in IN_BETWEEN

    def __str__(self) -> str:
        where = f" ({self.status})" if self.status else ""
        return f"{self.provider}{where}: {self.reason}"


class NotReached(RemoteError):
    """The request never left: DNS failure, connection refused, connect timeout."""

    worth_retry = True
    provider_wide = True


class RateLimited(RemoteError):
    """Not now: too much at once, or a fault that passes. Vendors turn such a request away before they carry it out."""

    worth_retry = True
    too_much = True


class QueueFull(RateLimited):
    """The carrier takes no more from this sender until some of what waits there has gone out."""


class AccountRefused(RemoteError):
    """401, 402, 403: no message can be served until the operator mends the account, or the ``part`` of it."""

    worth_retry = True
    provider_wide = True


class OutcomeUnknown(RemoteError):
    """The request left and no readable verdict came back: it may have been carried out."""

    worth_retry = True
    maybe_done = True


class Refused(RemoteError):
    """The vendor understood the request and will never carry it out."""


class ChatEnded(Refused):
    """The chat is closed. What was said was not heard; a new chat will hear it."""
