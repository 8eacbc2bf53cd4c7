"""``bridge connect``: point the webhook of a number here, and put back what was there before.

What was there is stored in the database, and not in a file: platforms such as Heroku run a command on a machine whose
files are gone with it, and several operators share one database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import delete

from bridge.config import Settings
from bridge.db.engine import build_engine, insert_if_new
from bridge.db.models import ReplacedWebhook
from bridge.db.transaction import Database, Transaction
from bridge.doctor import webhooks
from bridge.lib.errors import BridgeError
from bridge.lib.phone import masked
from bridge.operators.audit import COMMAND, Action, Entry, write
from bridge.providers.carriers.twilio.account import OwnNumber, TwilioAccount, Webhook
from bridge.queues.notifier import NullNotifier
from bridge.runtime import utc_now


class CannotConnect(BridgeError):
    """The number can't get this webhook. The message says why and what to do."""


@dataclass(frozen=True)
class Site:
    """The two places that a change concerns, and the address of this bridge."""

    account: TwilioAccount
    database: Database
    public_url: str

    @classmethod
    @contextmanager
    def of(cls, settings: Settings) -> Iterator[Site]:
        engine = build_engine(settings.database_url, pool_size=1)
        account = TwilioAccount.from_settings(settings)
        try:
            yield cls(account, Database(engine, NullNotifier().wake, utc_now), settings.public_url)
        finally:
            account.close()
            engine.dispose()


@dataclass(frozen=True)
class Change:
    """The webhook of a number before and after. They are equal if nothing is to be done."""

    number: str
    found: OwnNumber
    after: Webhook
    restores: bool = False

    @property
    def before(self) -> Webhook:
        return self.found.webhook


def plan(site: Site, number: str) -> Change:
    """Return the change that brings the number's texts here."""
    found = _found(site.account, number)
    if not found.can_text:
        raise CannotConnect(f"{masked(number)} can't send and receive SMS. Take a number with the capability SMS.")
    is_well = webhooks.is_well(found.webhook, site.public_url)
    return Change(number, found, found.webhook if is_well else webhooks.wanted(site.public_url))


def plan_restore(site: Site, number: str) -> Change:
    """Return the change that undoes the last one of this number."""
    found = _found(site.account, number)
    with site.database.read() as session:
        row = session.get(ReplacedWebhook, found.sid)
        if row is None:
            raise CannotConnect(f"{masked(number)} was not connected by this bridge, so nothing is known to put back.")
        before = Webhook(row.url, row.method, row.application_sid)
    return Change(number, found, before, restores=True)


def carry_out(site: Site, change: Change) -> Webhook:
    """Make the change at Twilio. What was there is stored before the call: a change can always be undone."""
    if change.restores:
        after = site.account.set_webhook(change.found, change.after).webhook
        with site.database.transaction() as tx:
            tx.session.execute(delete(ReplacedWebhook).where(ReplacedWebhook.number_sid == change.found.sid))
            _record(tx, change)
        return after
    with site.database.transaction() as tx:
        _remember(tx, change)
        _record(tx, change)
    return site.account.set_webhook(change.found, change.after).webhook


def _found(account: TwilioAccount, number: str) -> OwnNumber:
    found = account.number(number)
    if found is None:
        raise CannotConnect(f"{masked(number)} is not a number of this Twilio account.")
    return found


def _remember(tx: Transaction, change: Change) -> None:
    was = change.before
    values = {"url": was.url, "method": was.method, "application_sid": was.application_sid, "replaced_at": tx.now}
    new = insert_if_new(tx.session, ReplacedWebhook).values(number_sid=change.found.sid, **values)
    tx.session.execute(new.on_conflict_do_update(index_elements=[ReplacedWebhook.number_sid], set_=values))


def _record(tx: Transaction, change: Change) -> None:
    """Write the audit. An address may have a password, so it stays out."""
    write(tx, Entry(COMMAND, Action.CONNECT, masked(change.number), details={"restored": change.restores}))
