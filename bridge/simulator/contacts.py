"""The contacts of the simulated Retell account. It knows a person by the number."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from bridge.simulator.ledger import ContactChanged, ContactRead, Ledger

CHANGEABLE = frozenset({"contact_memory", "contact_tag_ids", "custom_fields", "do_not_call", "first_name", "last_name"})


class Contacts:
    """All contacts, as Retell shows them. Thread-safe."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._contacts: dict[str, dict[str, Any]] = {}

    def find(self, phone: str) -> dict[str, Any] | None:
        """Return the contact of this number. The ledger counts it, as a call that the bridge pays for with time."""
        self._ledger.write(ContactRead(at=self._clock(), phone=phone))
        with self._lock:
            return next((dict(each) for each in self._contacts.values() if each["phone_number"] == phone), None)

    def create(self, phone: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Add a contact. Return ``None`` if the number has one."""
        with self._lock:
            if any(each["phone_number"] == phone for each in self._contacts.values()):
                return None
            contact = {
                "contact_id": "contact_" + uuid.uuid4().hex[:16],
                "created_timestamp": int(self._clock() * 1000),
                "org_id": "org_simulated",
                "phone_number": phone,
                **_set(fields),
            }
            self._contacts[contact["contact_id"]] = contact
        self._note(contact, fields)
        return dict(contact)

    def update(self, contact_id: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Change a contact; ``None`` clears a field. Return ``None`` if there is no such contact."""
        with self._lock:
            known = self._contacts.get(contact_id)
            if known is None:
                return None
            contact = _set({**known, **fields})
            self._contacts[contact_id] = contact
        self._note(contact, fields)
        return dict(contact)

    def delete(self, phone: str) -> None:
        with self._lock:
            self._contacts = {name: c for name, c in self._contacts.items() if c["phone_number"] != phone}

    def _note(self, contact: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        if "do_not_call" in fields:
            wanted = bool(fields["do_not_call"])
            self._ledger.write(ContactChanged(at=self._clock(), phone=contact["phone_number"], do_not_call=wanted))


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
