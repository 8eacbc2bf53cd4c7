"""Sealing: the words of people, agents and operators are encrypted before they reach the database, if a key is set.

    <!--sealed:ID:TOKEN-->              a sealed text: the id of its key, and the Fernet token
    {"sealed": "<!--sealed:…-->"}       sealed JSON
    <!--sealed::TEXT                    a plain text that begins as a sealed one does; or JSON that does
    TEXT                                any other plain text

So plain rows and rows of several keys may stand side by side. The id of the key is a digest of it. It tells which key
opens a text, and which rows are still under an older key, without an attempt to open them. It has the form of a comment
in HTML: PostgreSQL's index over the words of texts leaves comments out.

A text whose key is missing is read as :class:`Unreadable`, and JSON as :class:`UnreadableJson`. Operators see why.
Nothing of it may go to a person or to an agent, so whoever sends words asks :func:`why_unreadable` first. Written back,
both are stored as they were.

The keys belong to the engine (``build_engine``): the types of the columns and the statements of the stages find them
there. Without a key, texts are stored as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, Dialect, Engine, Text, TypeDecorator

PREFIX = "<!--sealed:"
END = "-->"
SEALED = "sealed"
"""The one name in sealed JSON."""

VARIABLES = "variables"
"""The name of what has words in the wishes of an operator."""

CANT = "can't be decrypted"
"""The beginning of the words that stand in place of a text."""

DAMAGED = f"{CANT}: its row is damaged"

_BEGINS = re.compile(rf"{PREFIX}([0-9a-f]{{8}}):")


class Unreadable(str):
    """The words in place of a text that can't be decrypted."""

    sealed: str
    """The text as it is stored."""

    def __new__(cls, why: str, sealed: str) -> Unreadable:
        made = super().__new__(cls, why)
        made.sealed = sealed
        return made


class UnreadableJson(dict[str, Any]):
    """The same in place of JSON."""

    def __init__(self, of: Unreadable) -> None:
        super().__init__(unreadable=str(of))
        self.of = of


class Keyring:
    """The keys: the first one seals, and each opens what it has sealed."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._ciphers = {key_id(key): _Cipher(key) for key in keys}
        self.first = next(iter(self._ciphers), None)
        """The id of the key that seals; ``None``: texts are stored as they are."""

    def knows(self, id_: str) -> bool:
        """Return whether the key with this id is there."""
        return id_ in self._ciphers

    def seal(self, text: str) -> str:
        """Return the text as it is stored."""
        if isinstance(text, Unreadable):
            return text.sealed
        if self.first is None:
            return plain(text)
        return f"{PREFIX}{self.first}:{self._ciphers[self.first].seal(text)}{END}"

    def open(self, stored: str) -> str:
        """Return the text that is stored so, or why it can't be read."""
        if not stored.startswith(PREFIX):
            return stored
        if stored.startswith(PREFIX + ":"):
            return stored[len(PREFIX) + 1 :]
        begins = _BEGINS.match(stored)
        if begins is None:
            return Unreadable(DAMAGED, stored)
        token = stored[begins.end() :].removesuffix(END)  # of a text that was cut, the end is missing
        return self._opened(begins[1], token, stored)

    def seal_json(self, value: Any) -> Any:
        """Return JSON as it is stored. ``None`` stays."""
        if isinstance(value, UnreadableJson):
            return {SEALED: value.of.sealed}
        if value is None or (self.first is None and not _is_sealed(value)):
            return value
        words = json.dumps(value, ensure_ascii=False)
        return {SEALED: self.seal(words) if self.first else escaped(words)}

    def open_json(self, stored: Any) -> Any:
        """Return the JSON that is stored so."""
        if not _is_sealed(stored):
            return stored
        opened = self.open(stored[SEALED])
        return UnreadableJson(opened) if isinstance(opened, Unreadable) else json.loads(opened)

    def _opened(self, id_: str, token: str, stored: str) -> str:
        cipher = self._ciphers.get(id_)
        if cipher is None:
            return Unreadable(f"{CANT}: ENCRYPTION_KEYS lacks its key, {id_}", stored)
        opened = cipher.open(token)
        return Unreadable(DAMAGED, stored) if opened is None else opened


def why_unreadable(*values: object) -> str | None:
    """Return why one of these can't be read; ``None``: all can be."""
    for value in values:
        if isinstance(value, Unreadable):
            return str(value)
        if isinstance(value, UnreadableJson):
            return str(value.of)
    return None


def joined(texts: Iterable[str]) -> str:
    """Return the texts as one, with breaks between them. If one of them can't be read, return that one."""
    parts = list(texts)
    return next((part for part in parts if isinstance(part, Unreadable)), None) or "\n".join(parts)


def key_of(stored: str) -> str | None:
    """Return the id of the key under which this is stored; ``None``: it is plain."""
    begins = _BEGINS.match(stored)
    return begins[1] if begins else None


def plain(text: str) -> str:
    """Return the text as it is stored without a key."""
    return escaped(text) if text.startswith(PREFIX) else text


def escaped(text: str) -> str:
    """Return the text behind a beginning that says: it is plain, whatever it looks like."""
    return f"{PREFIX}:{text}"


def key_id(key: str) -> str:
    """Return the id of a key. Nobody can find the key from it."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _is_sealed(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {SEALED}:
        return False
    return isinstance(value[SEALED], str) and value[SEALED].startswith(PREFIX)


class _Cipher:
    """One key. Only who sets one needs the package."""

    def __init__(self, key: str) -> None:
        from cryptography.fernet import Fernet, InvalidToken

        self._fernet, self._invalid = Fernet(key), InvalidToken

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, token: str) -> str | None:
        """Return the text; ``None``: it is not what this key has made."""
        try:
            return self._fernet.decrypt(token).decode()
        except (self._invalid, ValueError):  # the second one for letters outside ASCII
            return None


# -- where the database is ------------------------------------------------------------------------------------------

_NAME = "bridge_keyring"

NO_KEYS = Keyring()


def give(engine: Engine, keyring: Keyring) -> None:
    """Let all connections of this engine seal and open with these keys. Call it before the first statement."""
    setattr(engine.dialect, _NAME, keyring)


def keyring_of(dialect: Dialect) -> Keyring:
    """Return the keys of the engine that this dialect belongs to: each engine has a dialect of its own."""
    found: Keyring = getattr(dialect, _NAME, NO_KEYS)
    return found


# -- the types of the columns ---------------------------------------------------------------------------------------


class SealedText(TypeDecorator[str]):
    """Words. SQL can't compare them: whoever wants that, opens them first."""

    impl = Text
    cache_ok = True

    def seal(self, keyring: Keyring, value: Any) -> Any:
        return keyring.seal(value)

    def open(self, keyring: Keyring, stored: Any) -> Any:
        return keyring.open(stored)

    def key_of(self, stored: Any) -> str | None:
        """Return the id of the key under which this is stored; ``None``: it is plain."""
        return key_of(stored)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """What is compared with the stored text is not sealed."""
        return self.impl_instance

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.seal(keyring_of(dialect), value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.open(keyring_of(dialect), value)


class SealedJson(TypeDecorator[Any]):
    """JSON with words. NULL: there is none."""

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def seal(self, keyring: Keyring, value: Any) -> Any:
        return keyring.seal_json(value)

    def open(self, keyring: Keyring, stored: Any) -> Any:
        return keyring.open_json(stored)

    def key_of(self, stored: Any) -> str | None:
        return key_of(stored[SEALED]) if _is_sealed(stored) else None

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.seal(keyring_of(dialect), value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.open(keyring_of(dialect), value)


class SealedWishes(SealedJson):
    """The wishes of an operator, of which ``variables`` alone has words.

    The others decide what becomes of a turn, and must be read without a key too.
    """

    cache_ok = True

    def seal(self, keyring: Keyring, value: Any) -> Any:
        return {**value, VARIABLES: keyring.seal_json(value.get(VARIABLES, {}))}

    def open(self, keyring: Keyring, stored: Any) -> Any:
        return {**stored, VARIABLES: keyring.open_json(stored.get(VARIABLES, {}))}

    def key_of(self, stored: Any) -> str | None:
        return super().key_of(stored.get(VARIABLES))
