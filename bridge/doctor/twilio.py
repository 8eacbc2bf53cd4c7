"""Twilio: the credentials, each of TWILIO_NUMBERS, and the messaging services that get their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bridge.doctor import webhooks
from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.lib.countries import country_of
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
        return [_refused("TWILIO_AUTH_TOKEN is refused", error, TOKEN, code="token-refused")]
    found = [_state(state.status)]
    if state.trial:
        words = "it is a trial account: only verified phones get its texts"
        found.append(warning(SUBJECT, words, "Upgrade it in Twilio's console.", code="account-trial"))
    return [*found, *_key(context)]


def _state(status: str) -> Finding:
    if status != "active":
        words = f"the account is {status or 'in an unknown state'}"
        remedy = "Twilio's console says why, and support lifts a suspension."
        return fault(SUBJECT, words, remedy, code="account-inactive")
    return ok(SUBJECT, "the account is active, and its token fits")


def _key(context: Context) -> Iterator[Finding]:
    if not context.settings.twilio_api_key:
        return
    try:
        context.twilio.may_call()
        yield ok(SUBJECT, "TWILIO_API_KEY fits")
    except RemoteError as error:
        yield _refused("TWILIO_API_KEY is refused", error, KEY, code="key-refused")


def _refused(words: str, error: RemoteError, remedy: str, *, code: str) -> Finding:
    if isinstance(error, AccountRefused):
        return fault(SUBJECT, f"{words}: {error.reason}", remedy, code=code)
    return fault(SUBJECT, f"can't be asked: {error.reason}", AWAY, code="twilio-away")


def number(address: str) -> Callable[[Context], Sequence[Finding]]:
    """Return the check of this number."""

    def check(context: Context) -> Sequence[Finding]:
        subject = masked(address)
        if e164(address) != address:
            words = "is no plain phone number, and its webhook can't be read here"
            remedy = f"In Twilio's console, set its webhook to {webhooks.wanted(context.settings.public_url).url}"
            return [warning(subject, words, remedy, code="number-unread")]
        try:
            return [_number(context, subject, address)]
        except RemoteError as error:
            words = f"can't be read at Twilio: {error.reason}"
            return [fault(subject, words, "See twilio above.", code="number-away")]

    return check


def _number(context: Context, subject: str, address: str) -> Finding:
    found = context.twilio.number(address)
    if found is None:
        remedy = "Correct TWILIO_NUMBERS, or buy or port the number."
        return fault(subject, "the account does not have it", remedy, code="number-missing")
    if not found.can_text:
        remedy = "Take a number with the capability SMS."
        return fault(subject, "can't send and receive SMS", remedy, code="number-no-sms")
    return webhooks.judged(subject, found.webhook, context.settings.public_url, CONNECT)


def services(context: Context) -> Sequence[Finding]:
    """Check the services of our numbers: which webhook they call, and whether US carriers know them."""
    ours = {each for each in context.settings.twilio_numbers if e164(each) == each}
    try:
        found = context.twilio.services()
    except RemoteError as error:
        remedy = "Let the API key read messaging services, or check them in Twilio's console."
        return [warning("services", f"can't be read: {error.reason}", remedy, code="services-away")]
    concerned = [each for each in found if each.numbers & ours or each.sid == _chosen(context)]
    return [
        *_missing(context, found),
        *(finding for each in concerned for finding in _service(context, each)),
        *_unregistered(ours, concerned),
    ]


def countries(context: Context) -> Sequence[Finding]:
    """Check whether Twilio texts the countries that are served: those of the settings, else those of our numbers."""
    ours = frozenset(filter(None, map(country_of, context.settings.twilio_numbers)))
    served = context.settings.allowed_countries or ours
    if not served:
        return []
    try:
        closed = sorted(served & context.twilio.closed_countries())
    except RemoteError:
        return [ok("countries", "which ones Twilio texts can't be read; its console shows it under Geo permissions")]
    if closed:
        remedy = "Allow them in Twilio's console, under Messaging, Geo permissions."
        return [
            warning("countries", f"Twilio refuses texts to {', '.join(closed)} (21408)", remedy, code="country-closed")
        ]
    return [ok("countries", "Twilio texts all that are served")]


def _chosen(context: Context) -> str | None:
    return context.settings.twilio_messaging_service_sid


def _missing(context: Context, found: Sequence[MessagingService]) -> Iterator[Finding]:
    chosen = _chosen(context)
    if chosen and chosen not in {each.sid for each in found} and len(found) < MOST_SERVICES:
        words = "the account does not have TWILIO_MESSAGING_SERVICE_SID"
        yield fault("services", words, "Correct or remove it.", code="service-missing")


def _service(context: Context, its: MessagingService) -> Iterator[Finding]:
    subject = f"{its.sid[:2]}…{its.sid[-4:]}"
    if its.sid == _chosen(context) and not its.numbers:
        remedy = "Add one to its sender pool in Twilio's console."
        yield fault(subject, "has no number to send from", remedy, code="service-empty")
    if its.defers:
        yield ok(subject, "lets the webhook of each number decide")
    else:
        remedy = "In Twilio's console, let the service defer to the sender's webhook."
        yield webhooks.judged(subject, its.webhook, context.settings.public_url, remedy)
    if its.campaigns and VERIFIED not in its.campaigns:
        words = f"its A2P campaign is {', '.join(sorted(set(its.campaigns)))}, so US carriers block its texts (30034)"
        yield warning(subject, words, "Twilio's console says what the campaign lacks.", code="campaign-unverified")
    yield ok(subject, "whether Advanced Opt-Out is on can't be read; the bridge fits both")


def _unregistered(ours: set[str], concerned: Sequence[MessagingService]) -> Iterator[Finding]:
    """Warn of US numbers without a campaign. Canada has the same country code and needs none at home."""
    with_campaign = {number for each in concerned if VERIFIED in each.campaigns for number in each.numbers}
    for its in sorted(ours - with_campaign):
        if its.startswith(TOLL_FREE):
            words = "is toll-free: without a verification, carriers block its texts (30032)"
            yield warning(masked(its), words, "Check the verification in Twilio's console.", code="toll-free")
        elif its.startswith("+1"):
            words = "has no verified A2P campaign: texts to US phones are blocked (30034)"
            remedy = "Add it to a messaging service with a verified campaign."
            yield warning(masked(its), words, remedy, code="number-without-campaign")
