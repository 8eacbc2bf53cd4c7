"""The forms that keep all agents still and let them go on."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.wrappers import Response as Answer

from bridge.operators import pausing
from bridge.runtime import Runtime
from bridge.web.auth import operator
from bridge.web.console.access import Guard
from bridge.web.console.acts import done


def add_views(pages: Blueprint, guarded: Guard, rt: Runtime) -> None:
    @pages.post("/pause")
    @guarded
    def pause() -> Answer:
        begun = pausing.begin(rt, operator())
        if begun and begun.operator != operator():
            return done(f"{begun.operator} was first: all agents are paused already.")
        return done("All agents are paused. Texts are stored and wait.")

    @pages.post("/resume")
    @guarded
    def resume() -> Answer:
        pausing.end(rt, operator())
        return done("The agents go on.")
