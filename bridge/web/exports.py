"""Exports: everything of one conversation as JSON, and the texts of a period as CSV for a spreadsheet.

Both are streamed page by page. An export takes one of the threads of the process, so only one runs at a time.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from flask import Response, current_app

from bridge.lib.spreadsheets import harmless
from bridge.operators import exports
from bridge.operators.conversations import UnknownConversation
from bridge.runtime import Runtime
from bridge.web import conversation_models as models
from bridge.web.operator_models import AuditEntry
from bridge.web.problems import problem
from bridge.web.queries import audit, conversations, period, texts
from bridge.web.queries.conversations import Reader
from bridge.web.queries.period import Period, Row

PAGE = 200
"""Texts of a conversation in one read."""

MOST_DEEDS = 1000
"""Rows of the audit in the export of a conversation, the newest."""

BUSY = "Another export runs in this process. Try again when it is done."

_LOCK = "bridge.export"
"""The lock of an app's exports, among its extensions."""

COLUMNS = (
    *("id", "conversation_id", "created_at", "direction", "author", "operator", "phone", "bridge_number"),
    *("status", "delivery", "segments", "media", "error_code", "error", "body"),
)


def answer_conversation(rt: Runtime, operator: str, conversation_id: int) -> Response:
    """Answer with everything of one conversation. Raise :class:`UnknownConversation`."""
    exports.record_conversation(rt, operator, conversation_id)
    return _streamed(
        _conversation(rt, operator, conversation_id), f"conversation-{conversation_id}.json", "application/json"
    )


def answer_period(rt: Runtime, operator: str, wanted: Period) -> Response:
    """Answer with the texts of a period."""
    exports.record_period(rt, operator, wanted.since, wanted.until)
    name = f"texts-{wanted.since:%Y%m%d-%H%M}-{wanted.until:%Y%m%d-%H%M}.csv"
    return _streamed(_csv(rt, operator, wanted), name, "text/csv")


class _Running:
    """One export. The next one begins when it has ended."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._ended = False

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._lock.release()

    def encoded(self, parts: Iterator[str]) -> Iterator[bytes]:
        try:
            for part in parts:
                yield part.encode()
        finally:
            self.end()


def _streamed(parts: Iterator[str], name: str, mimetype: str) -> Response:
    """Stream the parts as a file. The next export may begin when the client has everything, or has gone."""
    lock: threading.Lock = current_app.extensions.setdefault(_LOCK, threading.Lock())
    if not lock.acquire(blocking=False):
        return problem(503, BUSY, headers={"Retry-After": "10"})
    running = _Running(lock)
    answer = Response(running.encoded(parts), mimetype=mimetype)
    answer.call_on_close(running.end)  # also if nobody has asked for the first part
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


# -- one conversation ----------------------------------------------------------------------------------------------


def _conversation(rt: Runtime, operator: str, conversation_id: int) -> Iterator[str]:
    found = conversations.get_conversation(rt, conversation_id, Reader(operator, limit=1))
    if found is None:
        raise UnknownConversation
    whole = models.whole(found)
    deeds = audit.list_audit(rt, audit.Filter(conversation_id=conversation_id, limit=MOST_DEEDS))
    head = models.ConversationExport(
        exported_at=rt.now(),
        conversation=models.Conversation.model_validate(found.conversation),
        chats=whole.chats,
        notes=whole.notes,
        audit=[AuditEntry.model_validate(row) for row in deeds.audit],
        messages=[],
    ).model_dump_json()
    yield head.removesuffix("]}")
    separator = ""
    for page in texts.all_of(rt, conversation_id, PAGE):
        for text in page:
            yield separator + models.ConversationText.model_validate(text).model_dump_json()
            separator = ","
    yield "]}"


# -- a period ------------------------------------------------------------------------------------------------------


def _csv(rt: Runtime, operator: str, wanted: Period) -> Iterator[str]:
    """Yield the rows. The first ones tell what they are."""
    yield "\ufeff" + _rows(  # the mark by which spreadsheets know UTF-8
        [
            ["Texts of the SMS bridge"],
            ["from", _moment(wanted.since), "until before", _moment(wanted.until)],
            ["exported", _moment(rt.now()), "by", operator],
            ["All times are UTC. A cell that a spreadsheet would take for a formula begins with an apostrophe."],
            [],
            COLUMNS,
        ]
    )
    for page in period.texts_of(rt, wanted):
        yield _rows([_cells(row) for row in page])


def _cells(row: Row) -> list[Any]:
    known = {"author": row.author, "phone": row.phone, "bridge_number": row.bridge_number}
    return [known[name] if name in known else getattr(row.text, name) for name in COLUMNS]


def _rows(rows: Sequence[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows([[_shown(cell) for cell in row] for row in rows])
    return written.getvalue()


def _shown(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return _moment(cell)
    return harmless(cell) if isinstance(cell, str) else cell


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
