"""Gunicorn's settings, and the start of the web process: ``python -m bridge.processes.gunicorn_conf``.

``WEB_CONCURRENCY`` and ``PORT`` are read here.

Gunicorn reads ``WEB_CONCURRENCY`` as soon as it is imported, and answers a wrong one with a traceback. So this module
starts gunicorn, after it has checked all settings.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from bridge.config import WEB_THREADS, ServerSettings, SettingsError, or_exit
from bridge.lib.garbage import collect_less

NUMBERS = {"PORT": (8000, 65535), "WEB_CONCURRENCY": (2, 1000)}
"""The default and the maximum of each."""


def read_numbers(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return both numbers. Raises :class:`~bridge.config.SettingsError`."""
    texts = {name: environ.get(name, "").strip() or str(default) for name, (default, _) in NUMBERS.items()}
    numbers = {name: int(text) for name, text in texts.items() if re.fullmatch(r"[0-9]{1,9}", text)}
    wrong = [name for name, (_, most) in NUMBERS.items() if not 1 <= numbers.get(name, 0) <= most]
    if wrong:
        raise SettingsError([f"{name} is no whole number from 1 to {NUMBERS[name][1]}; write digits" for name in wrong])
    return numbers


def _all_settings() -> dict[str, int]:
    """Return both numbers. An error lists the faults of all other settings too."""
    faults: list[str] = []
    hints: list[str] = []
    for load in (ServerSettings.load, read_numbers):
        try:
            load()
        except SettingsError as error:
            faults += error.faults
            hints += error.hints
    if faults:
        raise SettingsError(faults, hints)
    return read_numbers()


_set = or_exit(_all_settings if __name__ == "__main__" else read_numbers)

bind = f"0.0.0.0:{_set['PORT']}"

workers = _set["WEB_CONCURRENCY"]

worker_class = "bridge.processes.gunicorn_worker.WebWorker"

threads = WEB_THREADS

timeout = 30
graceful_timeout = 20
"""Seconds for requests under way. Heroku kills 30 s after SIGTERM."""

preload_app = True
"""Faults of settings are printed once, and not once for each process."""


def pre_fork(server: object, worker: object) -> None:
    """Let the garbage collector ignore all objects so far, so that the processes go on sharing their memory."""
    collect_less()


control_socket_disable = True
"""Unused; and all gunicorns of one user would share one socket file in the home directory."""

_HANDED_ON = {"level": "INFO", "handlers": [], "propagate": True}

logconfig_dict = {
    "root": None,
    "handlers": {},
    "formatters": {},
    "loggers": {"gunicorn.error": _HANDED_ON, "gunicorn.access": _HANDED_ON},
}
"""Gunicorn logs through ``bridge.lib.log`` too, which masks: gunicorn quotes requests, with numbers and tokens."""

if __name__ == "__main__":
    os.environ["WEB_CONCURRENCY"] = str(workers)  # gunicorn does not accept an empty one
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", "python:bridge.processes.gunicorn_conf", *sys.argv[1:]]
    os.execv(sys.executable, [*gunicorn, "bridge.processes.web:create_app()"])  # noqa: S606 - no part of it comes from outside
