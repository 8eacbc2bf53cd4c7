"""Refused logins in the audit: one row a minute for each cause, so that an attacker can't fill the table.

A process counts its refusals in memory. The first one of a minute writes the row, with the count since the last row of
this process. If another process has written one for this minute, the count waits for the next refusal.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from enum import StrEnum

from bridge.db.engine import AWAY
from bridge.operators import audit
from bridge.operators.audit import NOBODY, Action, Entry
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


class Cause(StrEnum):
    """Why a login was refused."""

    NO_TOKEN = "no token"  # noqa: S105 - the words for it
    WRONG_TOKEN = "wrong token"  # noqa: S105 - the words for it
    TOO_MANY = "too many failed logins"


class Refusals:
    """The refused logins of this process."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._times: Counter[Cause] = Counter()
        self._minutes: dict[Cause, str] = {}
        self._lock = threading.Lock()

    def count(self, cause: Cause) -> None:
        """Count one more. A database that is away is no error: the count waits for the next refusal."""
        minute = f"{self._rt.now():%Y-%m-%d %H:%M}"
        with self._lock:
            self._times[cause] += 1
            if self._minutes.get(cause) == minute:
                return
            self._minutes[cause] = minute
            times = self._times.pop(cause)
        if not self._written(cause, minute, times):
            with self._lock:
                self._times[cause] += times

    def _written(self, cause: Cause, minute: str, times: int) -> bool:
        once = f"{Action.LOGIN_REFUSED} {cause} {minute}"
        entry = Entry(NOBODY, Action.LOGIN_REFUSED, cause, details={"times": times}, once=once)
        try:
            with self._rt.database.transaction() as tx:
                return audit.write(tx, entry)
        except AWAY as error:
            log.warning("a refused login is not recorded yet: %s", type(error).__name__)
            return False
