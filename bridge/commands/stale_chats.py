"""``bridge end-stale``."""

from __future__ import annotations

from datetime import timedelta

import click

from bridge.chats import end_task, ending
from bridge.commands.arguments import Duration, brief_runtime
from bridge.operators import chats
from bridge.operators.audit import COMMAND
from bridge.runtime import Runtime

AT_ONCE = 100_000
"""Chats that one call of ``end-stale`` ends; a number that its progress bar can still show."""


@click.command("end-stale")
@click.option("--idle", type=Duration(), help="Idle for how long; STALE_AFTER, or 24h, when not given.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def end_stale(idle: timedelta | None, dry_run: bool) -> None:
    """End the chats that nobody uses any more."""
    with brief_runtime() as rt:
        _end_stale(rt, idle or rt.settings.stale_after or ending.DEFAULT_IDLE, dry_run)


def _end_stale(rt: Runtime, idle: timedelta, dry_run: bool) -> None:
    """What the provider does not end now is left to the running bridge."""
    stale = chats.end_stale(rt, COMMAND, idle, limit=AT_ONCE, dry_run=dry_run)
    if dry_run:
        click.echo(f"{stale.matched} chats are stale. Nothing was ended.")
        return
    with click.progressbar(stale.chat_ids, label="Ending stale chats") as bar:
        for chat_id in bar:
            end_task.end_chat(rt, chat_id)
    left = sum(ending.ending(rt, chat_id) is not None for chat_id in stale.chat_ids)
    click.echo(f"{stale.matched - left} chats ended." + (f" {left} are left to the running bridge." if left else ""))
