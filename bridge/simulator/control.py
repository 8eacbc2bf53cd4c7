"""The page with the phone, and the calls of the page and of external runners.

Everything under ``/simulator`` uses JSON. The real providers have none of it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest

from bridge.simulator import receptionist
from bridge.simulator.asked import FaultSet, NewPerson, NewText, OutsideText, WebhookSet, asked
from bridge.simulator.channels import bare, channel, on
from bridge.simulator.ledger import plain
from bridge.simulator.phones import Beside
from bridge.simulator.reasons import REASONS, SHOWN, Reason, fate, reason
from bridge.simulator.simulator import Simulator
from bridge.simulator.verdict import judge

_LONGEST_WAIT = 25.0
"""Seconds that the page's call for news may wait. HTTP proxies cut it at 30."""
_CHECK_EVERY = 1.0
"""Seconds between two checks of the bridge's activity. The bridge does not announce changes."""
_NEWEST = 60
"""Events and rows on a page."""
_MOST_PEOPLE = 50
"""People on a page. A load run has thousands."""


class Control:
    """The routes of the page and of the runners."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def blueprint(self) -> Blueprint:
        pages = Blueprint("control", __name__)
        for rule, method, work in (
            ("/", "GET", self._page),
            ("/simulator/state", "GET", self._state),
            ("/simulator/texts", "POST", self._text),
            ("/simulator/outside", "POST", self._outside),
            ("/simulator/people", "POST", self._new_person),
            ("/simulator/inbox", "GET", self._inbox),
            ("/simulator/faults", "GET", self._faults),
            ("/simulator/faults", "POST", self._set_fault),
            ("/simulator/ledger", "GET", self._ledger),
            ("/simulator/verdict", "GET", self._verdict),
            ("/simulator/settled", "GET", self._settled),
            ("/simulator/webhook", "POST", self._set_webhook),
            ("/simulator/console", "GET", self._console),
        ):
            pages.add_url_rule(rule, f"{work.__name__.strip('_')}", work, methods=[method])
        return pages

    def _page(self) -> Response:
        number = self._simulator.settings.number
        initials = "".join(word[0] for word in receptionist.NAME.split())
        about = {"number": number, "name": receptionist.NAME, "initials": initials}
        page = make_response(render_template("phone.html", **about, console=self._simulator.console is not None))
        page.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return page

    def _console(self) -> Any:
        """Lead to the operators' console, logged in."""
        make = self._simulator.console
        return redirect(make()) if make else abort(404)

    def _text(self) -> tuple[Response, int]:
        text, phones = asked(NewText), self._simulator.phones
        try:
            if text.tap is not None:
                sid = phones.react(text.sender, text.on, text.tap, text.to)
            else:
                beside = Beside(text.id, text.fields, text.received_as)
                sid = phones.text(text.sender, text.body, text.media, text.to, beside)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return jsonify(sid=sid), 201

    def _outside(self) -> tuple[Response, int]:
        text = asked(OutsideText)
        try:
            sid = self._simulator.phones.write_outside(text.to, text.body, text.sender)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return jsonify(sid=sid), 201

    def _new_person(self) -> tuple[Response, int]:
        person, phones = asked(NewPerson), self._simulator.phones
        try:
            if person.of is not None:
                phone = phones.take_up(on(person.channel, person.of))
            elif person.code is not None:
                phone = phones.failing(person.code, person.channel)
            else:
                phone = phones.new(person.channel)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return jsonify(phone=phone), 201

    def _inbox(self) -> Response:
        return jsonify(texts=self._simulator.phones.inbox(request.args.get("phone", "")))

    def _faults(self) -> Response:
        return jsonify(faults=self._simulator.faults.describe())

    def _set_fault(self) -> Response:
        fault, faults = asked(FaultSet), self._simulator.faults
        try:
            if fault.clear:
                faults.clear(fault.name)
            elif fault.name is None:
                raise ValueError("name: which fault?")
            elif fault.next is not None:
                faults.next(fault.name, fault.next, fault.calls, **fault.options)
            else:
                faults.set(fault.name, fault.percent, fault.calls, **fault.options)
        except (TypeError, ValueError) as error:  # an option that is named as an argument is a TypeError
            raise BadRequest(str(error)) from None
        return self._faults()

    def _ledger(self) -> Response:
        since = request.args.get("since", 0, int)
        events = self._simulator.ledger.export(since)
        return jsonify(events=events, next=since + len(events))

    def _verdict(self) -> Response:
        """Return the verdict. ``own_words`` (repeated) are the bridge's own messages."""
        return jsonify(judge(self._simulator.ledger, request.args.getlist("own_words")).plain())

    def _settled(self) -> Response:
        """Wait for at most ``wait`` seconds."""
        wait = request.args.get("wait", 0.0, float)
        wait = min(wait, _LONGEST_WAIT) if wait > 0 else 0.0  # NaN is not more than 0
        return jsonify(settled=self._simulator.wait_until_settled(wait))

    def _set_webhook(self) -> Response:
        self._simulator.webhook_url = asked(WebhookSet).url
        return jsonify(url=self._simulator.webhook_url)

    def _state(self) -> Response:
        """Return the content of the page. With the page's ``version``, wait until there is news."""
        seen = request.args.get("version", -1, int)
        watched = request.args.get("watched", "")
        until = time.monotonic() + _LONGEST_WAIT
        while True:
            self._simulator.agent.chats()  # which closes those that have been silent for too long
            version = self._simulator.changes.version
            rows = self._watch()
            mark = str(hash(repr(rows)))
            if version != seen or mark != watched or time.monotonic() >= until or self._simulator.changes.closed:
                return jsonify(self._snapshot(version, rows, mark))
            self._simulator.changes.wait(seen, _CHECK_EVERY)

    def _watch(self) -> list[dict[str, Any]] | None:
        return self._simulator.watch()[:_NEWEST] if self._simulator.watch else None

    def _snapshot(self, version: int, rows: list[dict[str, Any]] | None, mark: str) -> dict[str, Any]:
        simulator = self._simulator
        people = list(simulator.phones.people().items())[-_MOST_PEOPLE:]
        thinking = simulator.agent.thinking()
        return {
            "version": version,
            "watched": mark,
            "number": simulator.settings.number,
            "connected": simulator.webhook_url is not None,
            "people": [self._person(phone, name, thinking) for phone, name in people],
            "faults": simulator.faults.describe(),
            "reasons": [_reason(why) for why in REASONS.values()],
            "failing": [_reason(reason(code)) for code in SHOWN],
            "watch": rows,
            "events": [plain(event) for event in reversed(simulator.ledger.latest(_NEWEST))],
        }

    def _person(self, phone: str, name: str, thinking: set[str]) -> dict[str, Any]:
        bubbles = [asdict(bubble) for bubble in self._simulator.phones.screen(phone)]
        doomed = fate(phone)
        return {
            "phone": phone,
            "number": bare(phone),
            "channel": channel(phone),
            "name": name,
            "thinking": phone in thinking,
            "opted_out": self._simulator.phones.opted_out(phone),
            "fails": _reason(doomed) if doomed else None,
            "texts": bubbles[-_NEWEST * 3 :],
        }


def _reason(why: Reason) -> dict[str, Any]:
    return {"code": why.code, "plain": why.plain, "at_once": why.at_once}
