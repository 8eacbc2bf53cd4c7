"""``bridge encrypt``: the words in the database are encrypted, or brought under a newer key, or decrypted."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import Counter

import click

from bridge.commands.arguments import brief_runtime
from bridge.db.sealing import Keyring
from bridge.maintenance import encryption
from bridge.operators.audit import COMMAND
from bridge.runtime import Runtime

LEFT = {
    "locked": "are in use, run it again",
    "unreadable": "can't be decrypted, because their key is not set, or the row is damaged",
}
"""Why rows stay as they are."""

NO_KEY = "ENCRYPTION_KEYS is not set; make a key with: bridge encrypt --new-key"


@click.command()
@click.option("--new-key", is_flag=True, help="Only write a new key for ENCRYPTION_KEYS.")
@click.option("--decrypt", is_flag=True, help="Bring all words back to plain text. Stop the bridge before.")
def encrypt(new_key: bool, decrypt: bool) -> None:
    """Bring all words in the database under the first of ENCRYPTION_KEYS: plain ones, and those under older keys.

    The bridge may go on meanwhile. What is stopped in the middle goes on where it was with the next call. The exit code
    is 1 if some words stay as they are: then no key may be removed yet.
    """
    if new_key:
        click.echo(urlsafe_b64encode(secrets.token_bytes(32)).decode())
        return
    with brief_runtime() as rt:
        keyring = rt.database.keyring
        if keyring.first is None:
            raise click.ClickException(NO_KEY)
        left = _bring(rt, Keyring() if decrypt else keyring)
    state = "in plain text" if decrypt else f"under the key {keyring.first}"
    if left:
        raise click.ClickException(f"not all words are {state}: {left}")
    click.echo(f"All words are {state}. {_next(decrypt)}")


def _next(decrypt: bool) -> str:
    return "Remove ENCRYPTION_KEYS, and start the bridge." if decrypt else "Other keys may be removed."


def _bring(rt: Runtime, target: Keyring) -> str:
    """Bring all rows there, and say what is left. A row that is locked gets a second chance."""
    encryption.begin(rt, COMMAND, target)
    done = _pass(rt, target)
    if done["locked"]:
        done = _pass(rt, target)
    return "; ".join(f"{done[name]:,} rows {why}" for name, why in LEFT.items() if done[name])


def _pass(rt: Runtime, target: Keyring) -> Counter[str]:
    done: Counter[str] = Counter()
    label = "Encrypting" if target.first else "Decrypting"
    with click.progressbar(length=encryption.most_rows(rt), label=label) as bar:
        for page in encryption.pages(rt, target):
            done.update(locked=page.locked, unreadable=page.unreadable)
            bar.update(page.rows)
    return done
