"""Stale chats: the clock ends chats that are idle for too long."""

from __future__ import annotations

import logging

from bridge.chats import ending
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def end_stale(rt: Runtime) -> None:
    """End the chats that are idle for longer than STALE_AFTER, if that is set."""
    if rt.settings.stale_after is None:
        return
    result = ending.end_stale(rt, rt.settings.stale_after)
    if result.queued:
        log.info("%s stale chats are being ended", result.queued)
