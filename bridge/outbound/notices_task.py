"""The task that tells the team of a person who waits for one of them."""

from __future__ import annotations

from bridge.outbound import notices
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime


def tell_team(rt: Runtime, row_id: int) -> None:
    """Text HANDOFF_NUMBER, and call HANDOFF_WEBHOOK. On a fault the notice comes due again, and the sweep wakes.

    Without both settings a notice waits.
    """
    notice = notices.claim(rt, row_id) if notices.is_wanted(rt) else None
    if notice is None or rt.team is None:
        return
    try:
        rt.team.tell(notice.waiting)
    except RemoteError as error:
        notices.failed(rt, notice, error)
    else:
        notices.told(rt, notice)
