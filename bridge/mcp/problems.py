"""What a tool says when it can't do its work: what has happened, and how to mend it.

The admin API answers with problem JSON (RFC 9457). Its ``detail`` is for the caller, and never has a body or a number.
"""

from __future__ import annotations

from collections.abc import Mapping
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

NOT_REACHED = "No bridge answers at {}. Nothing was done. Check BRIDGE_URL, and that the bridge runs."
NO_BRIDGE = "{} answers with status {}, and not as the admin API of a bridge. Check BRIDGE_URL."
OTHER_VERSION = (
    "The bridge answers in a form that this version of bridge mcp does not know. Bring both to the same version."
)
TOO_LATE = "The bridge at {} has not answered in time, so it is not known whether it has done this. "
SAME_KEY = "Call again with the same idempotency_key: it is done once."
READ_FIRST = "Read the state before you call again."
ASK_AGAIN = "Nothing was to be changed, so call again."


class ToolError(BridgeError):
    """The tool can't do it. The words are for the model, and for the person before it."""


def refusal(answer: httpx.Response) -> ToolError:
    """Return the error for an answer of another status than 2xx."""
    problem = _problem(answer)
    if problem is None:
        return ToolError(NO_BRIDGE.format(_origin(answer.request.url), answer.status_code))
    words = [str(problem["detail"]), _holder(problem.get("holder")), REMEDIES.get(answer.status_code, "")]
    return ToolError(" ".join(filter(None, words)))


def unreached(request: httpx.Request, error: httpx.HTTPError) -> ToolError:
    """Return the error for a request without an answer."""
    origin = _origin(request.url)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return ToolError(NOT_REACHED.format(origin))
    keyed = "Idempotency-Key" in request.headers
    remedy = ASK_AGAIN if request.method == "GET" else SAME_KEY if keyed else READ_FIRST
    return ToolError(TOO_LATE.format(origin) + remedy)


def unreadable(answer: httpx.Response) -> ToolError:
    """Return the error for a 2xx answer that is no JSON."""
    return ToolError(NO_BRIDGE.format(_origin(answer.request.url), answer.status_code))


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
