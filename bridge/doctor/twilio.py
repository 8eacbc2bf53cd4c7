"""Twilio: the credentials, each of TWILIO_NUMBERS, and the messaging services that get their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bridge.doctor import webhooks
from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.lib.phone import e164, masked
from bridge.providers.carriers.twilio.account import MOST_SERVICES, VERIFIED, MessagingService
from bridge.providers.errors import AccountRefused, RemoteError

SUBJECT = "twilio"

TOKEN = "Copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again from the first page of Twilio's console."  # noqa: S105
KEY = "Make a new API key in Twilio's console; set TWILIO_API_KEY and TWILIO_API_SECRET."
CONNECT = "Run bridge connect with this number."
AWAY = "Check the network and TWILIO_API_BASE_URL, and status.twilio.com."

TOLL_FREE = ("+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888")


def credentials(context: Context) -> Sequence[Finding]:
    """Check the token, which also signs the webhooks, then the API key if there is one."""
    try:
        state = context.twilio.account()
    except RemoteError as error:
        return [_refused("TWILIO_AUTH_TOKEN is refused", error, TOKEN)]
    found = [_state(state.status)]
    if state.trial:
        words = "it is a trial account: only verified phones get its texts"
        found.append(warning(SUBJECT, words, "Upgrade it in Twilio's console."))
    return [*found, *_key(context)]


def _state(status: str) -> Finding:
    if status != "active":
        words = f"the account is {status or 'in an unknown state'}"
        return fault(SUBJECT, words, "Twilio's console says why, and support lifts a suspension.")
    return ok(SUBJECT, "the account is active, and its token fits")


def _key(context: Context) -> Iterator[Finding]:
    if not context.settings.twilio_api_key:
        return
    try:
        context.twilio.may_call()
        yield ok(SUBJECT, "TWILIO_API_KEY fits")
    except RemoteError as error:
        yield _refused("TWILIO_API_KEY is refused", error, KEY)


def _refused(words: str, error: RemoteError, remedy: str) -> Finding:
    if isinstance(error, AccountRefused):
        return fault(SUBJECT, f"{words}: {error.reason}", remedy)
    return fault(SUBJECT, f"can't be asked: {error.reason}", AWAY)


def number(address: str) -> Callable[[Context], Sequence[Finding]]:
    """Return the check of this number."""

    def check(context: Context) -> Sequence[Finding]:
        subject = masked(address)
        if e164(address) != address:
            words = "is no plain phone number, and its webhook can't be read here"
            remedy = f"In Twilio's console, set its webhook to {webhooks.wanted(context.settings.public_url).url}"
            return [warning(subject, words, remedy)]
        try:
            return [_number(context, subject, address)]
        except RemoteError as error:
            return [fault(subject, f"can't be read at Twilio: {error.reason}", "See twilio above.")]

    return check


def _number(context: Context, subject: str, address: str) -> Finding:
    found = context.twilio.number(address)
    if found is None:
        return fault(subject, "the account does not have it", "Correct TWILIO_NUMBERS, or buy or port the number.")
    if not found.can_text:
        return fault(subject, "can't send and receive SMS", "Take a number with the capability SMS.")
    return webhooks.judged(subject, found.webhook, context.settings.public_url, CONNECT)


def services(context: Context) -> Sequence[Finding]:
    """Check the services of our numbers: which webhook they call, and whether US carriers know them."""
    ours = {each for each in context.settings.twilio_numbers if e164(each) == each}
    try:
        found = context.twilio.services()
    except RemoteError as error:
        remedy = "Let the API key read messaging services, or check them in Twilio's console."
        return [warning("services", f"can't be read: {error.reason}", remedy)]
    concerned = [each for each in found if each.numbers & ours or each.sid == _chosen(context)]
    return [
        *_missing(context, found),
        *(finding for each in concerned for finding in _service(context, each)),
        *_unregistered(ours, concerned),
    ]


def _chosen(context: Context) -> str | None:
    return context.settings.twilio_messaging_service_sid


def _missing(context: Context, found: Sequence[MessagingService]) -> Iterator[Finding]:
    chosen = _chosen(context)
    if chosen and chosen not in {each.sid for each in found} and len(found) < MOST_SERVICES:
        yield fault("services", "the account does not have TWILIO_MESSAGING_SERVICE_SID", "Correct or remove it.")


def _service(context: Context, its: MessagingService) -> Iterator[Finding]:
    subject = f"{its.sid[:2]}…{its.sid[-4:]}"
    if its.sid == _chosen(context) and not its.numbers:
        yield fault(subject, "has no number to send from", "Add one to its sender pool in Twilio's console.")
    if its.defers:
        yield ok(subject, "lets the webhook of each number decide")
    else:
        remedy = "In Twilio's console, let the service defer to the sender's webhook."
        yield webhooks.judged(subject, its.webhook, context.settings.public_url, remedy)
    if its.campaigns and VERIFIED not in its.campaigns:
        words = f"its A2P campaign is {', '.join(sorted(set(its.campaigns)))}, so US carriers block its texts (30034)"
        yield warning(subject, words, "Twilio's console says what the campaign lacks.")
    yield ok(subject, "whether Advanced Opt-Out is on can't be read; the bridge fits both")


def _unregistered(ours: set[str], concerned: Sequence[MessagingService]) -> Iterator[Finding]:
    """Warn of US numbers without a campaign. Canada has the same country code and needs none at home."""
    with_campaign = {number for each in concerned if VERIFIED in each.campaigns for number in each.numbers}
    for its in sorted(ours - with_campaign):
        if its.startswith(TOLL_FREE):
            words = "is toll-free: without a verification, carriers block its texts (30032)"
            yield warning(masked(its), words, "Check the verification in Twilio's console.")
        elif its.startswith("+1"):
            words = "has no verified A2P campaign: texts to US phones are blocked (30034)"
            yield warning(masked(its), words, "Add it to a messaging service with a verified campaign.")
