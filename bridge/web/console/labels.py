"""The forms for notes and tags in a conversation."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.wrappers import Response as Answer

from bridge.operators import labels
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import done, field, refused
from bridge.web.console.conversation import NONE, address
from bridge.web.console.writing import typed
from bridge.web.reading import row_id

TAG = 40
NOTE = 10_000
"""Characters."""


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/conversations/<id_>/notes")
    @guarded
    def add_note(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        body = typed()[:NOTE]
        if not body.strip():
            return refused("A note needs words.", to)
        labels.add_note(rt, operator(), row, body)
        return done("", to)

    @pages.post("/conversations/<id_>/notes/<note_id>/delete")
    @guarded
    def delete_note(id_: str, note_id: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        try:
            labels.delete_note(rt, operator(), row, row_id(note_id, NONE))
        except labels.SomebodyElses as error:
            return refused(str(error), to)
        except labels.UnknownLabel:
            return refused("This note is gone already.", to)
        return done("", to)

    @pages.post("/conversations/<id_>/tags")
    @guarded
    def add_tag(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        name = " ".join(field("name", TAG).split())
        if not name:
            return refused("A tag needs a name.", to)
        try:
            labels.add_tag(rt, operator(), row, name)
        except labels.TooMany as error:
            return refused(str(error), to)
        return done("", to)

    @pages.post("/conversations/<id_>/tags/remove")
    @guarded
    def remove_tag(id_: str) -> Answer:
        to = address(row := row_id(id_, NONE))
        try:
            labels.remove_tag(rt, operator(), row, field("name", TAG))
        except labels.UnknownLabel:
            return done("", to)
        return done("", to)
