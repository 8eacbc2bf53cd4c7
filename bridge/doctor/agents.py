"""The agents' providers: the keys, and each agent to which a route leads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from bridge.config import Route
from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, Mark, fault, ok, warning
from bridge.providers.agents.retell.account import LONGEST_SILENCE, ChatAgent, RetellAccount
from bridge.providers.errors import AccountRefused, RemoteError

RETELL = "retell"
UPONAI = "uponai"

LATEST_PUBLISHED = "latest_published"

SHORT = timedelta(hours=24)
"""People who text answer the next morning. A chat that ends before is a chat too many."""

PUBLISH = "Publish it in Retell's dashboard, or set RETELL_AGENT_VERSION to a version that is there."


def retell(context: Context) -> Sequence[Finding]:
    """Check the key. If it is well, check each agent there."""
    key = retell_key(context)
    return [*key, *retell_agents(context)] if all(each.mark is Mark.OK for each in key) else key


def retell_key(context: Context) -> Sequence[Finding]:
    """Check whose key it is."""
    if context.retell is None:
        return []
    try:
        return [ok(RETELL, f"the key is one of {context.retell.owner()}")]
    except RemoteError as error:
        return [_refused(RETELL, "RETELL_API_KEY", error)]


def retell_agents(context: Context) -> Sequence[Finding]:
    """Check each agent to which a route leads."""
    if context.retell is None:
        return []
    try:
        return [each for route in _routes(context, RETELL) for each in _retell_agent(context.retell, route)]
    except RemoteError as error:
        return [_refused(RETELL, "RETELL_API_KEY", error)]


def uponai(context: Context) -> Sequence[Finding]:
    """Check the token and the workspace. More can't be asked."""
    remedy = "Compare the id with UponAI's dashboard, and send the number a text."
    unknown = [
        warning(each.agent_id, "UponAI's API does not tell whether it is there", remedy, code="agent-unread")
        for each in _routes(context, UPONAI)
    ]
    key = uponai_key(context)
    return [*key, *unknown] if key and all(each.mark is Mark.OK for each in key) else key


def uponai_key(context: Context) -> Sequence[Finding]:
    """Check whether the token fits the workspace."""
    if context.uponai is None:
        return []
    try:
        context.uponai.read_workspace()
    except RemoteError as error:
        return [_refused(UPONAI, "UPONAI_API_KEY or UPONAI_WORKSPACE_ID", error)]
    return [ok(UPONAI, "the token fits the workspace")]


def _routes(context: Context, provider: str) -> list[Route]:
    """Return the agents of this provider, each once."""
    its = context.settings
    routes = dict.fromkeys([its.default_route, *its.agent_routes.values()])
    return [each for each in routes if each.provider == provider]


def _refused(subject: str, setting: str, error: RemoteError) -> Finding:
    if isinstance(error, AccountRefused):
        remedy = f"Copy {setting} again from the dashboard."
        return fault(subject, f"{setting} is refused: {error.reason}", remedy, code="agent-key-refused")
    remedy = f"Check the network and {subject.upper()}_BASE_URL."
    return fault(subject, f"can't be asked: {error.reason}", remedy, code="agent-away")


def _retell_agent(account: RetellAccount, route: Route) -> Iterator[Finding]:
    newest = account.agent(route.agent_id)
    if newest is None:
        yield _missing(account, route)
        return
    used = account.agent(route.agent_id, route.agent_version)
    yield _version(route, newest, used)
    yield from _advice(route.agent_id, used or newest)


def _version(route: Route, newest: ChatAgent, used: ChatAgent | None) -> Finding:
    """Judge the version of the settings. No document says that this call knows the name ``latest_published``."""
    name, is_named = route.agent_version, not route.agent_version.isdecimal()
    published = [each for each in (used, newest) if each and each.is_published]
    if used and (name != LATEST_PUBLISHED or published):
        return ok(route.agent_id, f"is a chat agent, and has the version {name}")
    if name == LATEST_PUBLISHED and published:
        return ok(route.agent_id, "is a chat agent, and its newest version is published")
    if is_named and not used and not newest.is_first:
        words = f"its version {name} can't be read, and its newest one is a draft"
        return warning(route.agent_id, words, PUBLISH, code="agent-version-unread")
    return fault(route.agent_id, f"has no version {name}", PUBLISH, code="agent-version-missing")


def _missing(account: RetellAccount, route: Route) -> Finding:
    if account.is_voice(route.agent_id):
        remedy = "Make a chat agent and set its id."
        return fault(route.agent_id, "is a voice agent, which can't text", remedy, code="agent-voice")
    remedy = "Copy the id again from Retell's dashboard; the key must be of the same workspace."
    return fault(route.agent_id, "is not there", remedy, code="agent-missing")


def _advice(agent_id: str, its: ChatAgent) -> Iterator[Finding]:
    if its.closes_after < SHORT:
        longest = LONGEST_SILENCE // timedelta(milliseconds=1)
        yield warning(
            agent_id,
            f"ends a chat after {_length(its.closes_after)} of silence, which is short for texting",
            f"Set end_chat_after_silence_ms to {longest} (72 h) and publish.",
            code="agent-silence-short",
        )
    if not its.stores_transcripts:
        yield warning(
            agent_id,
            "stores no transcripts, so after a lost answer the bridge can't tell whether the agent has answered",
            "Set data_storage_setting to everything.",
            code="agent-no-transcripts",
        )


def _length(silence: timedelta) -> str:
    minutes = int(silence.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} minutes"
