"""A doctor with a database, a bridge at PUBLIC_URL, and providers, all on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.serving import make_server

from bridge.config import Settings
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.doctor.context import Check, Context
from bridge.doctor.findings import Finding, Mark
from bridge.processes.embedded import free_port
from bridge.web.app import build_web
from tests.fakes import fake_settings
from tests.scene import Scene

HERE = "127.0.0.1"

Told = tuple[Mark, str]


def told(found: Finding) -> Told:
    """What a person reads of it: the mark, and the words with the remedy."""
    return found.mark, f"{found.words}. {found.remedy}".strip()


class Doctor:
    """It runs one check at a time."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def finds(self, check: Check, **changes: Any) -> list[Told]:
        return [told(each) for each in check(replace(self.context, **changes))]


MakeDoctor = Callable[..., Doctor]


@pytest.fixture
def doctor() -> Iterator[MakeDoctor]:
    """It makes doctors with these settings, by field name."""
    with ExitStack() as contexts:

        def made(**settings: Any) -> Doctor:
            context = Context.build(fake_settings(**settings), ping=None)
            contexts.callback(context.close)
            return Doctor(context)

        yield made


@contextmanager
def bridge_with(sessions: Sessions, settings: Settings) -> Iterator[None]:
    """The web of a bridge with these settings, at the port of its PUBLIC_URL."""
    scene = Scene(sessions)
    app = build_web(replace(scene.rt, settings=settings))
    server = make_server(HERE, int(settings.public_url.rpartition(":")[2]), app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def public_url() -> str:
    return f"http://{HERE}:{free_port(HERE)}"


@pytest.fixture
def here(sqlite_url: str) -> Iterator[Sessions]:
    """The database of the bridge at PUBLIC_URL."""
    engine = build_engine(sqlite_url)
    yield build_sessions(engine)
    engine.dispose()
