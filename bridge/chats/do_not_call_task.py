"""The task that writes a person's wish into the contact at the agent's provider."""

from __future__ import annotations

from bridge.chats import do_not_call
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime


def write_do_not_call(rt: Runtime, row_id: int) -> None:
    """Write the newest wish. A newer one that comes meanwhile is written by the same worker, after this one.

    On a fault the wish comes due again, and the sweeper wakes a worker. Without RETELL_CONTACTS=write it waits.
    """
    wish = do_not_call.claim(rt, row_id) if rt.settings.writes_contacts_at else None
    while wish:
        try:
            rt.agents.of(wish.provider).set_do_not_call(wish.phone, wish.do_not_call)
        except RemoteError as error:
            do_not_call.failed(rt, wish, error)
            return
        wish = do_not_call.settled(rt, wish)
