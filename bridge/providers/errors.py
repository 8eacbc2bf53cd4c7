"""The errors of a provider call, and the questions that a task asks of them.

A task never looks at a status code. It asks the error:

- ``worth_retry``: is another attempt worth it?
- ``maybe_done``: may the provider have carried out the request all the same? Then reconcile before the next attempt.
- ``provider_wide``: does the cause belong to our account or to the provider, and not to this one message?
- ``too_much``: did we only send too much at once? Then the error says nothing about this one message either.

    RemoteError
    ├── NotReached        nothing arrived: refused, no such host, connect timeout  retry; surely not done; provider-wide
    ├── RateLimited       429; never processed, perhaps with a Retry-After         retry; surely not done
    │   └── QueueFull     too many of our texts wait there for this sender         retry, with that sender, later
    ├── AccountRefused    401, 402, 403: our key, our bill, our permission         retry; surely not done; provider-wide
    ├── OutcomeUnknown    timeout, cut connection, 5xx, unreadable success         reconcile, then retry
    └── Refused           the provider will never accept this request              no retry
        ├── ChatEnded     the chat takes no more messages                          no retry in that chat: a new one
        └── WithHuman     a human at the provider has the chat                     no retry before the chat is back
"""

from __future__ import annotations

from bridge.lib.errors import BridgeError

IN_BETWEEN = frozenset({408, 502, 504})
"""Statuses of a proxy that gave up or lost contact. The provider behind it may still be at work."""


def scope_of(provider: str, part: str | None = None) -> str:
    """Return the scope of a cause, as circuit breakers name it: the whole provider, or one agent or sender there."""
    return f"{provider} {part}" if part else provider


def provider_of(scope: str) -> str:
    """Return the provider of a scope."""
    return scope.partition(" ")[0]


class RemoteError(BridgeError):
    """A provider did not carry out a request.

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
        """HTTP status, if there was an answer."""
        self.code = code
        """The provider's own error number. Twilio has one."""
        self.retry_after = retry_after
        """Seconds that the provider asks us to wait."""
        self.part = part
        """The agent or sender with the fault, if the fault is not of the whole account."""

    @property
    def scope(self) -> str:
        """The scope whose work waits if the cause is provider-wide."""
        return scope_of(self.provider, self.part)

    @property
    def response_received(self) -> bool:
        """Return True if the provider itself has answered. Then no part of the request is still on its way."""
        return self.status is not None and self.status not in IN_BETWEEN

    def __str__(self) -> str:
        where = f" ({self.status})" if self.status else ""
        return f"{self.provider}{where}: {self.reason}"


class NotReached(RemoteError):
    """The request never left: DNS failure, connection refused, connect timeout."""

    worth_retry = True
    provider_wide = True


class RateLimited(RemoteError):
    """Too much at once, or a temporary fault. The provider refuses such a request before it carries it out."""

    worth_retry = True
    too_much = True


class QueueFull(RateLimited):
    """The carrier accepts no more texts from this sender until its queue is shorter."""


class AccountRefused(RemoteError):
    """401, 402, 403: the provider serves no message until the operator fixes the account, or the ``part`` of it."""

    worth_retry = True
    provider_wide = True


class OutcomeUnknown(RemoteError):
    """The request left and no readable answer came back. The provider may have carried it out."""

    worth_retry = True
    maybe_done = True


class Refused(RemoteError):
    """The provider understood the request and will never carry it out."""


class ChatEnded(Refused):
    """The chat is closed. The agent did not receive the message; a new chat will."""


class WithHuman(Refused):
    """A human at the provider has the chat. The agent did not receive the message, and must not get it elsewhere."""
