"""Spans for OpenTelemetry, made of the log's records about each text, turn and delivery.

The id of a trace follows from the id of its text. So the web process and a worker write into the same trace, and no
wake-up and no row has to carry it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.util.re import parse_env_headers

from bridge import __version__
from bridge.config import Settings
from bridge.lib.log import REQUEST_ID, Discreet, Field, fields_of

TIMEOUT = 3
"""Seconds for one batch. A collector that is away costs spans, and delays no text."""

RECEIVE, TURN, DELIVERY = "receive", "turn", "delivery"

FAILED = "given_up"
"""The outcome of an error."""

NANOSECONDS = 10**9


def spans_to(settings: Settings) -> Spans:
    """Return the handler that sends spans to the collector of the settings."""
    headers = settings.otel_exporter_otlp_headers
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.otel_exporter_otlp_endpoint}/v1/traces",
        headers=parse_env_headers(headers.get_secret_value()) if headers else None,
        timeout=TIMEOUT,
    )
    ids = _Ids()
    resource = Resource.create({"service.name": "sms-bridge", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider, ids, f"{settings.twilio_account_sid} {settings.public_url}")


class _Ids(IdGenerator):
    """It gives the next span the ids that were chosen for it. The handler's lock lets one span begin at a time."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Spans(Discreet):
    """It makes a span of each record that ends something. ``bridge``: tells this bridge's traces from another's."""

    def __init__(self, provider: TracerProvider, ids: _Ids, bridge: str) -> None:
        super().__init__(logging.INFO)
        self.provider = provider
        self._ids = ids
        self._bridge = bridge
        self._tracer = provider.get_tracer("bridge", __version__)

    def emit(self, record: logging.LogRecord) -> None:
        seconds = fields_of(record).get("seconds")
        if not isinstance(seconds, float):
            return
        try:
            self._make(record, seconds)
        except Exception:  # a fault here must not be one of the text
            self.handleError(record)

    def _make(self, record: logging.LogRecord, seconds: float) -> None:
        fields = fields_of(record)
        step, text = step_of(fields), text_of(fields)
        root = self._number("receive", text, 8)
        self._ids.trace = trace = self.trace_of(text)
        self._ids.span = root if step == RECEIVE else self._number(f"{step} {record.created}", text, 8)
        above = SpanContext(trace, root, is_remote=True, trace_flags=self._flags(trace))
        span = self._tracer.start_span(
            step,
            context=None if step == RECEIVE else set_span_in_context(NonRecordingSpan(above)),
            attributes=attributes_of(fields),
            start_time=round((record.created - seconds) * NANOSECONDS),
        )
        if fields.get("outcome") == FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(round(record.created * NANOSECONDS))

    def _flags(self, trace: int) -> TraceFlags:
        """Return what the sampler decides on the first span of the trace. Another process may have made that one."""
        decision = self.provider.sampler.should_sample(Context(), trace, RECEIVE).decision
        return TraceFlags(TraceFlags.SAMPLED if decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)

    def trace_of(self, text: int) -> int:
        """Return the id of the trace of this text of a person."""
        return self._number("trace", text, 16)

    def _number(self, what: str, text: int, size: int) -> int:
        """Return an id that all processes of this bridge find for this text."""
        return int.from_bytes(sha256(f"{self._bridge} {what} {text}".encode()).digest()[:size])


def step_of(fields: Mapping[str, Field]) -> str:
    """Return what the record has ended."""
    if "texts" in fields:
        return TURN
    return DELIVERY if "attempt" in fields else RECEIVE


def text_of(fields: Mapping[str, Field]) -> int:
    """Return the text of the person that it is about; of a text that answers none, that text itself."""
    texts = fields.get("texts")
    if isinstance(texts, list):
        return min(texts, default=0)
    text = fields.get("answers", fields.get("text"))
    return text if isinstance(text, int) else 0


def attributes_of(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Return all fields but the length, which the span has itself, and the id of the request."""
    shown = {f"bridge.{name}": value for name, value in fields.items() if name != "seconds"}
    return {**shown, "bridge.request_id": REQUEST_ID.get()} if REQUEST_ID.get() else shown
