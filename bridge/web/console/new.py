"""The page for a text to a new or known person: an exact one, or one of the agent, which speaks first."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, make_response, render_template, request, url_for
from pydantic import TypeAdapter

from bridge.config.numbers import our_address
from bridge.lib.errors import BridgeError
from bridge.operators import instructions, texts
from bridge.operators.instructions import NotNow, Start
from bridge.operators.texts import Pair, Unfit
from bridge.runtime import Runtime
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, field
from bridge.web.console.writing import asked, typed, why_refused
from bridge.web.operator_models import OurNumber, Person

ACTIVE = (
    "This person has a chat with the agent that is active. Open the conversation, and tell the agent something there."
)

FIELDS = {"to": "The number of the person", "from": "Our number", "body": "The text", "content": "The text"}

NO_NUMBER = "is not complete; write it with + and the country code, like +15551230001"

PERSON: TypeAdapter[str] = TypeAdapter(Person)
OUR_NUMBER: TypeAdapter[str] = TypeAdapter(OurNumber)
"""The checks of the admin API."""


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    numbers = sorted(rt.settings.our_numbers)

    def page(fault: str = "", status: int = 200, wrong: str = "") -> Any:
        given = {name: request.form.get(name, "") for name in ("to", "sender")}
        key = secrets.token_hex(16)
        given |= {"who": request.form.get("who", "me"), "wrong": wrong}
        shown = render_template("console/new.html", numbers=numbers, body=typed(), fault=fault, key=key, **given)
        return make_response(shown, status)

    @pages.get("/new")
    @guarded
    def new_text() -> Any:
        return page()

    @pages.post("/new")
    @guarded
    def send_new_text() -> Any:
        body = typed()
        try:
            pair = Pair(_read(PERSON, "to", field("to", 80)), _read(OUR_NUMBER, "from", field("sender", 80)))
            if field("who") == "agent":
                wish = asked("start", pair.phone, pair.bridge_number, body)
                told = instructions.start(rt, wish, pair, Start(body.strip()))
                return done("The agent is asked to begin.", _page_of(told.conversation_id))
            queued = texts.write(rt, asked("new", pair.phone, pair.bridge_number, body), pair, body)
        except Unfit as error:
            return page(f"{FIELDS.get(error.field, error.field)} {error.fault}.", 422, error.field)
        except NotNow as error:
            return page(ACTIVE if "new_chat" in str(error) else str(error), 409)
        except BridgeError as error:
            return page(why_refused(error), 409)
        return done("The text is on its way.", _page_of(queued.conversation_id))


def _page_of(conversation_id: int) -> str:
    return url_for("console.conversation", id_=conversation_id)


def _read(check: TypeAdapter[str], name: str, written: str) -> str:
    """Return the number as the carrier writes it, from the way people write it. Raise :class:`Unfit`."""
    try:
        return check.validate_python(our_address(written))
    except ValueError:
        raise Unfit(name, NO_NUMBER) from None
