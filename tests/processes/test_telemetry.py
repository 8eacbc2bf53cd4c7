"""Spans and errors reach a collector and a Sentry of the test's own, and nothing private is in what arrives there."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bridge.config import Settings, SettingsError
from bridge.db.engine import Sessions
from bridge.lib.log import fields
from bridge.processes import telemetry
from bridge.processes.spans import Spans, spans_to
from bridge.processes.tasks import run_task
from bridge.providers.errors import Refused
from bridge.web.app import build_web
from tests.fakes import SETTINGS, fake_settings
from tests.imports import imported_by
from tests.keys import NEW
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.web.test_twilio import FORM, post

ROOT = Path(__file__).parents[2]

BODY = "tangerine mandarin"
HEADER = "authorization=Basic%20c2VjcmV0==,X-Team=a%2Cb"
PRIVATE = ("tangerine", "mandarin", ANN[1:], BOB[1:], NUMBER[1:], "token-of-the-account", "key_of_the_agent", "SMaa")


@dataclass
class Arrived:
    """What a server was sent."""

    address: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def holds(self, word: str) -> bool:
        return any(word.encode() in body or word in str(headers) for _, headers, body in self.requests)


@pytest.fixture
def server() -> Iterator[Arrived]:
    """It accepts everything."""
    arrived = Arrived()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""))
            headers = {name.lower(): value for name, value in self.headers.items()}
            arrived.requests.append((self.path, headers, packed(body) if packed else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        arrived.address = f"127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield arrived
        listening.shutdown()


@pytest.fixture
def _root() -> Iterator[None]:
    """The handlers and the level of all logging, put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.setLevel(logging.INFO)
    yield
    for handler in root.handlers:
        if isinstance(handler, Spans):
            handler.provider.shutdown()
    root.handlers[:], root.level = before[0], before[1]
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def flush() -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Spans):
            handler.provider.force_flush()
    sentry_sdk.flush(timeout=10)


def use(scene: Scene) -> None:
    """A text is answered, one is given up, and one meets a bug whose words have the text."""
    web = build_web(scene.rt).test_client()
    post(web, {**FORM, "Body": BODY})
    scene.work_until_idle()
    scene.agent.fail("complete", Refused("no", provider="retell", status=400), times=2)
    post(web, {**FORM, "Body": BODY, "MessageSid": "SM" + "b" * 32})
    scene.work_until_idle()
    scene.text(BODY, BOB)

    def bug() -> None:
        number, body = ANN, BODY
        raise ValueError(f"{body} from {number}")

    scene.agent.in_next_call(bug)
    try:
        run_task(scene.alone, "process_turns", 2)
    except ValueError:
        logging.getLogger("bridge.processes.dispatcher").exception("%s failed", "process_turns")


# -- spans ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def spans(server: Arrived, sessions: Sessions, _root: None) -> list[Span]:
    settings = {"otel_exporter_otlp_endpoint": f"http://{server.address}", "otel_exporter_otlp_headers": HEADER}
    scene = Scene(sessions, **settings)
    telemetry.start(scene.rt.settings)
    use(scene)
    flush()
    found = [ExportTraceServiceRequest.FromString(body) for _, _, body in server.requests]
    return [
        span
        for each in found
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_a_text_is_one_trace_of_spans_by_web_and_worker(spans: list[Span], server: Arrived) -> None:
    root = next(span for span in spans if span.name == "receive")
    trace = [span for span in spans if span.trace_id == root.trace_id]
    assert [span.name for span in trace] == ["receive", "turn", "delivery"]
    assert [span.parent_span_id for span in trace] == [b"", root.span_id, root.span_id]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in trace)
    assert {path for path, _, _ in server.requests} == {"/v1/traces"}
    assert server.requests[0][1]["authorization"] == "Basic c2VjcmV0=="
    assert server.requests[0][1]["x-team"] == "a,b"


def test_a_span_has_the_fields_of_its_record(spans: list[Span]) -> None:
    delivery = next(span for span in spans if span.name == "delivery")
    told = {each.key: each.value for each in delivery.attributes}
    assert told["bridge.outcome"].string_value == "accepted"
    assert told["bridge.provider"].string_value == "twilio"
    assert told["bridge.attempt"].int_value == 1


def test_what_was_given_up_is_an_error(spans: list[Span]) -> None:
    assert [span.name for span in spans if span.status.code == Status.STATUS_CODE_ERROR] == ["turn"]


def test_no_span_has_anything_private(spans: list[Span], server: Arrived) -> None:
    assert len(spans) >= 6
    assert [word for word in PRIVATE if server.holds(word)] == []


def test_two_bridges_that_share_a_collector_have_traces_of_their_own() -> None:
    endpoint = "http://127.0.0.1:1"
    handlers = [
        spans_to(fake_settings(otel_exporter_otlp_endpoint=endpoint, public_url=url))
        for url in ("https://one.example.com", "https://one.example.com", "https://other.example.com")
    ]
    first, again, other = (handler.trace_of(1) for handler in handlers)
    assert first == again != other
    for handler in handlers:
        handler.provider.shutdown()


def test_a_fault_in_a_span_harms_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    handler = spans_to(fake_settings(otel_exporter_otlp_endpoint="http://127.0.0.1:1"))
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, f"to {ANN}", (), None)
    vars(record).update(fields(texts=[1, "no id"], seconds=0.1))  # type: ignore[list-item]
    handler.handle(record)
    handler.provider.shutdown()
    assert capsys.readouterr().err == "a record of x could not be written\n"


def sampled(monkeypatch: pytest.MonkeyPatch, sampler: str) -> list[set[str]]:
    """The spans that are kept of each of a hundred traces."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    handlers = [spans_to(fake_settings(otel_exporter_otlp_endpoint="http://127.0.0.1:1")) for _ in ("web", "worker")]
    kept = InMemorySpanExporter()
    for handler in handlers:
        handler.provider.add_span_processor(SimpleSpanProcessor(kept))
    found = []
    for n in range(100):
        for handler, told in zip(handlers, ({"text": n}, {"texts": [n]}), strict=True):
            record = logging.LogRecord("x", logging.INFO, "x.py", 1, "x", (), None)
            vars(record).update(fields(seconds=0.1, **told))  # type: ignore[arg-type]
            handler.handle(record)
        found.append({span.name for span in kept.get_finished_spans()})
        kept.clear()
    for handler in handlers:
        handler.provider.shutdown()
    return found


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
def test_no_span_is_made_where_the_sampler_is_off(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    assert sampled(monkeypatch, sampler) == [set()] * 100


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_sampler_keeps_whole_traces(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    found = sampled(monkeypatch, sampler)
    assert found.count(set()) + found.count({"receive", "turn"}) == 100
    assert 20 < found.count(set()) < 80


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.fixture
def errors(server: Arrived, sessions: Sessions, _root: None) -> Arrived:
    scene = Scene(sessions, sentry_dsn=f"http://key@{server.address}/7")
    telemetry.start(scene.rt.settings)
    use(scene)
    flush()
    return server


def test_errors_arrive_with_their_type_and_their_place(errors: Arrived) -> None:
    assert {path for path, _, _ in errors.requests} == {"/api/7/envelope/"}
    assert errors.holds("process_turns failed")
    assert errors.holds('"type":"ValueError"')
    assert errors.holds("bridge.turns.ask")
    assert errors.holds("given up after 1 attempts")


def test_no_error_has_anything_private(errors: Arrived) -> None:
    """Not the words of the exception, no local variable, no request, and no name of the machine."""
    assert errors.requests
    assert [word for word in PRIVATE if errors.holds(word)] == []
    assert not errors.holds('"vars"')
    assert not errors.holds('"request"')
    assert not errors.holds("raise ValueError")


# -- settings ------------------------------------------------------------------------------------------------------


WRONG = [
    ("sentry_dsn", "https://sentry.io/1"),
    ("sentry_dsn", "key@host/1"),
    ("otel_exporter_otlp_endpoint", "localhost:4318"),
    ("otel_exporter_otlp_headers", "Bearer abc"),
    ("otel_exporter_otlp_headers", 'a=b,token="secret"'),
    ("otel_exporter_otlp_headers", "a=b;token=secret"),
    ("otel_exporter_otlp_headers", "a=b,"),
    ("otel_exporter_otlp_headers", "töken=secret"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({name.upper(): value}, **SETTINGS)
    [fault] = refused.value.faults
    assert fault.startswith(name.upper())
    assert value not in fault


def test_without_the_settings_nothing_of_it_is_imported() -> None:
    code = (
        "from bridge.processes import telemetry; from tests.fakes import fake_settings;telemetry.start(fake_settings())"
    )
    assert imported_by(code, "opentelemetry", "sentry_sdk") == []


@pytest.mark.parametrize(
    ("name", "value", "extra", "library"),
    [
        ("SENTRY_DSN", "https://key@host/1", "sentry", "sentry_sdk"),
        ("ENCRYPTION_KEYS", NEW, "encryption", "cryptography"),
    ],
)
def test_without_the_extra_its_setting_is_refused_with_the_remedy(
    name: str, value: str, extra: str, library: str
) -> None:
    code = (
        "import sys; from importlib.machinery import PathFinder;"
        "find = PathFinder.find_spec;"
        f"PathFinder.find_spec = lambda name, *a: None if name.split('.')[0] == '{library}' else find(name, *a);"
        f"from tests.fakes import fake_settings; fake_settings({name.lower()}={value!r})"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert f"{name} needs the extra {extra}; run: pip install 'sms-bridge[{extra}]'" in told.stderr
