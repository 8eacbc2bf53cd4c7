"""The page with the phone, and the calls of the page and of whoever runs the simulator from outside.

Everything under ``/simulator`` speaks JSON; nothing here exists at the real vendors.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import BadRequest

from bridge.simulator import receptionist
from bridge.simulator.channels import Channel, bare, channel, on
from bridge.simulator.ledger import plain
from bridge.simulator.reasons import REASONS, SHOWN, Reason, fate, reason
from bridge.simulator.simulator import Simulator
from bridge.simulator.verdict import judge

_LONGEST_WAIT = 25.0
"""Seconds that a page's question for news may hang; proxies cut at 30."""
_LOOK_AGAIN = 1.0
"""Seconds between two looks at what the bridge does: it does not say when that changes."""
_NEWEST = 60
"""Events and rows that a page shows."""
_MOST_PEOPLE = 50
"""People that a page shows; a load run has thousands."""


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
            ("/simulator/people", "POST", self._new_person),
            ("/simulator/inbox", "GET", self._inbox),
            ("/simulator/faults", "GET", self._faults),
            ("/simulator/faults", "POST", self._set_fault),
            ("/simulator/ledger", "GET", self._ledger),
            ("/simulator/verdict", "GET", self._verdict),
            ("/simulator/settled", "GET", self._settled),
            ("/simulator/webhook", "POST", self._set_webhook),
        ):
            pages.add_url_rule(rule, f"{work.__name__.strip('_')}", work, methods=[method])
        return pages

    def _page(self) -> Response:
        number = self._simulator.settings.number
        initials = "".join(word[0] for word in receptionist.NAME.split())
        page = make_response(render_template("phone.html", number=number, name=receptionist.NAME, initials=initials))
        page.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return page

    def _text(self) -> tuple[Response, int]:
        """Perhaps with ``fields`` of the webhook (a place, a tapped button) and ``heard_as``, what is for the agent of
        it; or with ``tap`` and ``on``, a reaction to the text of that sid.
        """
        body, phones = _body(), self._simulator.phones
        try:
            if "tap" in body:
                sid = phones.react(str(body["from"]), str(body["on"]), str(body["tap"]), body.get("to"))
                return jsonify(sid=sid), 201
            sid = phones.text(
                str(body["from"]),
                str(body.get("body", "")),
                int(body.get("media", 0)),
                body.get("to"),
                body.get("id"),
                {str(name): str(value) for name, value in dict(body.get("fields", {})).items()},
                None if body.get("heard_as") is None else str(body["heard_as"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(str(error)) from None
        return jsonify(sid=sid), 201

    def _new_person(self) -> tuple[Response, int]:
        """Perhaps on a ``channel``; with ``code``, one whose texts fail so; with ``of``, the owner of that phone."""
        body, phones = _body(), self._simulator.phones
        try:
            way = Channel(body.get("channel", Channel.SMS))
            if "of" in body:
                phone = phones.take_up(on(way, str(body["of"])))
            else:
                phone = phones.failing(int(body["code"]), way) if "code" in body else phones.new(way)
        except (TypeError, ValueError) as error:
            raise BadRequest(str(error)) from None
        return jsonify(phone=phone), 201

    def _inbox(self) -> Response:
        return jsonify(texts=self._simulator.phones.inbox(request.args.get("phone", "")))

    def _faults(self) -> Response:
        return jsonify(faults=self._simulator.faults.describe())

    def _set_fault(self) -> Response:
        """``name`` with ``percent`` or ``next``, perhaps ``calls`` and options; or ``clear``, for one or for all."""
        body = _body()
        faults = self._simulator.faults
        try:
            if body.pop("clear", False):
                faults.clear(body.get("name"))
            elif "next" in body:
                faults.next(body.pop("name"), int(body.pop("next")), **body)
            else:
                faults.set(body.pop("name"), float(body.pop("percent", 100)), **body)
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(str(error)) from None
        return self._faults()

    def _ledger(self) -> Response:
        since = request.args.get("since", 0, int)
        events = self._simulator.ledger.export(since)
        return jsonify(events=events, next=since + len(events))

    def _verdict(self) -> Response:
        """With ``own_words`` (repeated) for what the bridge may say by itself."""
        return jsonify(judge(self._simulator.ledger, request.args.getlist("own_words")).plain())

    def _settled(self) -> Response:
        """With ``wait`` seconds at most."""
        wait = min(request.args.get("wait", 0.0, float), _LONGEST_WAIT)
        return jsonify(settled=self._simulator.wait_until_settled(wait))

    def _set_webhook(self) -> Response:
        self._simulator.webhook_url = _body().get("url")
        return jsonify(url=self._simulator.webhook_url)

    def _state(self) -> Response:
        """What the page shows. With the ``version`` that it knows, the answer waits until there is news."""
        seen = request.args.get("version", -1, int)
        watched = request.args.get("watched", "")
        until = time.monotonic() + _LONGEST_WAIT
        while True:
            version = self._simulator.changes.version
            rows = self._watch()
            mark = str(hash(repr(rows)))
            if version != seen or mark != watched or time.monotonic() >= until or self._simulator.changes.closed:
                return jsonify(self._snapshot(version, rows, mark))
            self._simulator.changes.wait(seen, _LOOK_AGAIN)

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


def _body() -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body
