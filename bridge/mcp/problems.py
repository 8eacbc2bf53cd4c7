"""The words of a tool's errors: the fault, and how to mend it.

The admin API answers with problem JSON (RFC 9457). Its ``detail`` is for the caller, and never has a body or a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from bridge.lib.errors import BridgeError

REMEDIES = {
    401: "Set ADMIN_TOKEN to the token of an operator of this bridge, and start bridge mcp again.",
    404: "list_conversations has the ids of conversations, get_conversation those of chats and turns, and "
    "list_failures those of failures.",
    413: "Write less.",
    422: "Change that field and call again.",
}
"""What helps, where the detail alone does not say it."""

FORCE = "If that is somebody else, ask them to hand it back, or take it over with take_over and `force: true`."

NOT_REACHED = (
    "No bridge answers at {}. Nothing was done. Check BRIDGE_URL (PUBLIC_URL, if that one is not set), and that the "
    "bridge runs."
)
PROXY = "A proxy on the way has refused the connection: check HTTPS_PROXY, ALL_PROXY and NO_PROXY too."
NO_BRIDGE = "{} answers with status {}, and not as the admin API of a bridge. Check BRIDGE_URL."
OTHER_VERSION = (
    "The bridge answers in a form that this version of bridge mcp does not know. Bring both to the same version."
)
NOT_IN_TIME = "The bridge at {} has not answered in time."
LOST = "The connection to the bridge at {} was lost before the answer was complete."

MAYBE_DONE = "The action may be done all the same."
SAME_KEY = "Call again with the same idempotency_key and the same arguments: it is done once."
READ_FIRST = "Read the state first, with get_conversation or list_failures. Then call again, if the action is not done."
ASK_AGAIN = "Nothing was to be changed, so call again."


NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""The request never left. After any other network error the bridge may have carried it out."""


class ToolError(BridgeError):
    """The tool can't do it. The words are for the model, and for the person before it."""


def refusal(answer: httpx.Response) -> ToolError:
    """Return the error for an answer of another status than 2xx."""
    problem = _problem(answer)
    if problem is None:
        words = [NO_BRIDGE.format(_origin(answer.request.url), answer.status_code)]
    else:
        words = [str(problem["detail"]), _holder(problem.get("holder")), REMEDIES.get(answer.status_code, "")]
    if answer.is_server_error:
        words.append(_maybe_done(answer.request))
    return _error(words)


def unreached(request: httpx.Request, error: httpx.HTTPError) -> ToolError:
    """Return the error for a request without an answer."""
    origin = _origin(request.url)
    if isinstance(error, NOT_SENT):
        return _error([NOT_REACHED.format(origin), PROXY if isinstance(error, httpx.ProxyError) else ""])
    words = NOT_IN_TIME if isinstance(error, httpx.TimeoutException) else LOST
    return _error([words.format(origin), _maybe_done(request) or ASK_AGAIN])


def unreadable(answer: httpx.Response) -> ToolError:
    """Return the error for a 2xx answer that is no JSON."""
    return _error([NO_BRIDGE.format(_origin(answer.request.url), answer.status_code), _maybe_done(answer.request)])


def other_version(answer: httpx.Response) -> ToolError:
    """Return the error for a 2xx answer with other fields."""
    return _error([OTHER_VERSION, _maybe_done(answer.request)])


def _maybe_done(request: httpx.Request) -> str:
    """Return the words for a request of which nobody knows whether it is done; empty: it only reads."""
    return "" if request.method == "GET" else f"{MAYBE_DONE} {_again(request)}"


def _again(request: httpx.Request) -> str:
    """Return how a request that may be done can be repeated."""
    return SAME_KEY if "Idempotency-Key" in request.headers else READ_FIRST


def _error(words: Iterable[str]) -> ToolError:
    return ToolError(" ".join(filter(None, words)))


def _problem(answer: httpx.Response) -> Mapping[str, Any] | None:
    """Return the problem; ``None``: it is none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and "detail" in found else None


def _holder(holder: Any) -> str:
    """Return a sentence on who has the conversation, and what helps."""
    if not isinstance(holder, dict):
        return ""
    since, reason = holder.get("since"), holder.get("reason")
    known = [f"since {since}" if since else "", f"because: {reason}" if reason else ""]
    told = f"The holder is {holder.get('name') or holder.get('kind')}"
    return ", ".join(filter(None, [told, *known])) + "." + (f" {FORCE}" if holder.get("kind") == "person" else "")


def _origin(url: httpx.URL) -> str:
    """Return the address without path and query, which may have a number."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
