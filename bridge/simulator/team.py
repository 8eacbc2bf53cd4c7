"""The business's own server, which is told by HANDOFF_WEBHOOK that a person waits for somebody of the team."""

from __future__ import annotations

import hmac
import json
import re
import threading
from hashlib import sha256

from flask import Blueprint, Response, request

from bridge.simulator.ledger import Ledger, TeamTold, Wrong
from bridge.simulator.settings import SimulatorSettings

PATH = "/team/waiting"

_SIGNATURE = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")

_LONGEST_AGE = 300.0
"""Seconds. An older notice may be a repeated one of somebody else."""


class Team:
    """The route. A repeated notice is dropped, as every receiver should do."""

    def __init__(self, settings: SimulatorSettings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def blueprint(self) -> Blueprint:
        pages = Blueprint("team", __name__)
        pages.add_url_rule(PATH, "waiting", self._waiting, methods=["POST"])
        return pages

    def _waiting(self) -> Response:
        body, at = request.get_data(), self._settings.clock()
        if not self._is_signed(body, at):
            self._ledger.write(Wrong(at=at, name="team_signature"))
            return Response(status=401)
        notice = json.loads(body)
        with self._lock:
            new = notice["id"] not in self._known
            self._known.add(notice["id"])
        if new:
            self._ledger.write(TeamTold(at=at, phone=notice["phone"], reason=notice["reason"], url=notice["url"]))
        return Response(status=204)

    def _is_signed(self, body: bytes, now: float) -> bool:
        found = _SIGNATURE.fullmatch(request.headers.get("X-Bridge-Signature", ""))
        if found is None or abs(now - int(found[1])) > _LONGEST_AGE:
            return False
        expected = hmac.new(self._settings.team_secret.encode(), found[1].encode() + b"." + body, sha256)
        return hmac.compare_digest(expected.hexdigest(), found[2])
