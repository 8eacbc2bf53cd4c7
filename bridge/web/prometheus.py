"""``/metrics`` for Prometheus, with an operator's token, or without it if METRICS_OPEN says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from bridge.runtime import Runtime
from bridge.web.auth import PUBLIC, admin_required, declares
from bridge.web.queries.metrics import build_registry
from bridge.web.time_limit import WITHIN, InTime

Guard = Callable[[Callable[[], Response]], Callable[..., Any]]


def blueprint(rt: Runtime, within: float = WITHIN) -> Blueprint:
    metrics = Blueprint("metrics", __name__)
    let_in: Guard = declares(PUBLIC) if rt.settings.metrics_open else admin_required(rt)
    registry = build_registry(rt)
    in_time = InTime(within, threads=1)  # one at a time: the database connections are for the webhooks

    @metrics.get("/metrics")
    @let_in
    def show() -> Response:
        return Response(in_time(lambda: generate_latest(registry)), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return metrics
