"""Gunicorn's settings: ``gunicorn --config python:bridge.gunicorn``. ``WEB_CONCURRENCY`` and ``PORT`` are read here."""

from __future__ import annotations

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))

worker_class = "gthread"

threads = 8
"""A webhook waits for one commit and nothing else."""

timeout = 30
graceful_timeout = 20
"""Seconds. Heroku kills 30 s after SIGTERM."""

keepalive = 75
"""Seconds; longer than the platform's router keeps an idle connection, so that the router closes first."""

preload_app = True
"""Wrong settings are told once, not once a process."""

control_socket_disable = True
"""Nobody asks it anything, and all that run as one user would fight for one file in the home directory."""
