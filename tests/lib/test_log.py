"""The log: one line a record, and never a number, a key or a text in it."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel, SecretStr

from bridge.lib import log

NUMBER = "+15551230001"
SHOWN = "+1555…01"
SECRET = "d34db33f-very-secret"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[str]]]:
    """Logging as a front door sets it up; put back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.level, root.handlers[:])
    root.handlers = []  # pytest's own must not be closed
    log.configure(stream=stream, secrets=[SECRET, "x"])
    yield lambda: stream.getvalue().splitlines()
    logging.captureWarnings(False)
    root.level, root.handlers = before
    for name in log.ONLY_WARNINGS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name in log.NOT_ASKED:
        setattr(logging, name, True)


class Fault(Exception):
    pass


def test_a_record_is_one_line_of_keys_and_values(lines) -> None:
    logging.getLogger("bridge.turns.process").warning("turn %s waits", 7)
    (line,) = lines()
    assert line.startswith("time=2")
    assert line.endswith('+00:00 level=warning logger=bridge.turns.process message="turn 7 waits"')


def test_line_ends_and_quotes_can_not_forge_a_record(lines) -> None:
    logging.getLogger("x").info('a\nlevel=error message="b"\r\u2028\x85\x7fc')
    (line,) = lines()
    assert line.endswith(r'message="a\nlevel=error message=\"b\"\r\u2028\u0085\u007fc"')


@pytest.mark.parametrize(
    ("message", "args"),
    [
        (f"no way to {NUMBER}", ()),
        ("no way to %s", (NUMBER,)),
        ("no way to %r", (NUMBER,)),
        ("no way to %(to)s", ({"to": NUMBER},)),
        ("no way to %s", ([NUMBER],)),
        ("no way to %s", ({"to": NUMBER},)),
        ("no way to %s", (Fault(NUMBER),)),
        ("no way to %d", (int(NUMBER),)),
        (Fault(f"no way to {NUMBER}"), ()),
        ("GET /admin/chats?phone=%%2B%s", (NUMBER[1:],)),
    ],
)
def test_a_full_number_is_never_shown(lines, message: object, args: tuple[object, ...]) -> None:
    logging.getLogger("x").info(message, *args)
    (line,) = lines()
    assert NUMBER[1:] not in line
    assert "1555…01" in line


def test_values_that_do_not_fit_are_left_out() -> None:
    line = log.OneLine().format(logging.LogRecord("x", logging.INFO, "x.py", 1, "turn %d waits", (NUMBER,), None))
    assert "turn %d waits (its values do not fit" in line
    assert NUMBER[1:] not in line


def test_a_short_local_number_among_the_values_is_masked_and_an_id_is_not(lines) -> None:
    logging.getLogger("x").info("turn %s for %s", 12345678, "12345678")
    (line,) = lines()
    assert 'message="turn 12345678 for 1…78"' in line


def test_a_traceback_stays_on_the_line_and_shows_no_number_and_no_secret(lines) -> None:
    try:
        try:
            raise Fault(f"{SECRET} for {NUMBER}")
        except Fault as cause:
            raise ValueError(f"could not text {NUMBER}") from cause
    except ValueError:
        logging.getLogger("x").exception("failed", stack_info=True)
    (line,) = lines()
    assert NUMBER not in line and SECRET not in line
    assert f"Fault: *** for {SHOWN}" in line and "Traceback" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {SECRET}!", "key ***!"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("'authorization': 'Basic QUM6c2VjcmV0'", "'authorization': 'Basic ***'"),
        ("to amqp://user:pa55word@host/vhost", "to amqp://user:***@host/vhost"),
        ("to rediss://:pa55word@host:6379", "to rediss://:***@host:6379"),
        ("x exists\nDETAIL:  Key (phone)=(me)\nand more\n[SQL: y]", r"x exists\nDETAIL: ***\n[SQL: y]"),
        ("[SQL: x]\n[parameters: {'a': '[b]\\nc'}]\n(Background)", r"[SQL: x]\n[parameters: ***]\n(Background)"),
        ("nothing to hide, x", "nothing to hide, x"),
    ],
)
def test_what_must_not_be_shown_is_blacked_out(lines, text: str, shown: str) -> None:
    logging.getLogger("x").info(text)
    (line,) = lines()
    assert line.endswith(f'message="{shown}"')


@pytest.mark.parametrize("name", ["twilio.http_client", "httpx", "urllib3.connectionpool", "sqlalchemy.engine.Engine"])
def test_libraries_that_print_addresses_keep_to_warnings(lines, name: str) -> None:
    logging.getLogger(name).info("GET https://x.example")
    assert lines() == []
    logging.getLogger(name).warning("slow")
    assert len(lines()) == 1


def test_warnings_go_the_same_way(lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"old number {NUMBER}", stacklevel=1)
    assert SHOWN in lines()[0]


def test_a_broken_stream_shows_nothing_of_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    closed = io.StringIO()
    closed.close()
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, f"to {NUMBER}", (), None)
    log._Handler(closed).handle(record)
    assert capsys.readouterr().err == "a record of x could not be written\n"


def test_half_a_character_is_written_all_the_same() -> None:
    line = log.OneLine().format(logging.LogRecord("x", logging.INFO, "x.py", 1, "odd \ud800", (), None))
    assert line.endswith(r'message="odd \\ud800"')


def test_the_secrets_of_the_settings_are_found_by_their_type() -> None:
    class Some(BaseModel):
        open: str = "open"
        key: SecretStr = SecretStr("s3cret")
        none: SecretStr | None = None

    assert log.secrets_in(Some()) == ["s3cret"]


def test_the_default_stream_is_standard_error() -> None:
    assert log._Handler(sys.stderr).stream is sys.stderr


# -- fields, requests and JSON -------------------------------------------------------------------------------------


@pytest.fixture
def objects(lines: Callable[[], list[str]]) -> Callable[[], list[dict[str, object]]]:
    """The log in JSON, on a stream of its own."""
    stream = io.StringIO()
    log.configure(stream=stream, secrets=[SECRET], form="json")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


ENDED = log.fields(outcome="answered", turn=7, texts=[12, 13], provider=None, seconds=0.25)


def test_the_fields_of_a_record_are_written_beside_its_message(lines) -> None:
    logging.getLogger("x").info("turn %s is answered", 7, extra=ENDED)
    (line,) = lines()
    assert line.endswith('message="turn 7 is answered" outcome=answered turn=7 texts=12,13 seconds=0.25')


def test_in_json_a_record_is_one_object_and_numbers_are_numbers(objects) -> None:
    logging.getLogger("x").info("turn %s is answered", 7, extra=ENDED)
    (shown,) = objects()
    assert str(shown.pop("time")).endswith("+00:00")
    assert shown == {
        "level": "info",
        "logger": "x",
        "message": "turn 7 is answered",
        "outcome": "answered",
        "turn": 7,
        "texts": [12, 13],
        "seconds": 0.25,
    }


def test_in_json_nothing_private_is_shown_either(objects) -> None:
    words = f"{SECRET} for {NUMBER} and Bearer abc.def-123"
    try:
        raise Fault(words)
    except Fault:
        logging.getLogger("x").exception("to %s", NUMBER, extra=log.fields(why=f"no {SECRET} for {NUMBER}"))
    (shown,) = objects()
    assert NUMBER[1:] not in str(shown) and SECRET not in str(shown) and "abc.def" not in str(shown)
    assert shown["message"] == f"to {SHOWN}"
    assert shown["why"] == f"no *** for {SHOWN}"
    assert f"Fault: *** for {SHOWN}" in str(shown["error"])


def test_in_json_line_ends_and_half_a_character_do_no_harm() -> None:
    words = 'a\n{"level": "error"}\r\u2028\x85 \ud800'
    line = log.OneObject().format(logging.LogRecord("x", logging.INFO, "x.py", 1, words, (), None))
    assert len(line.splitlines()) == 1
    shown = json.loads(line)
    assert shown["message"] == 'a\n{"level": "error"}\r\u2028\x85 \ud800'
    assert "error" not in shown


def test_what_a_library_attaches_to_its_records_stays_inside(objects) -> None:
    logging.getLogger("celery.worker").info("received", extra={"data": {"args": [NUMBER]}, "phone": NUMBER})
    (shown,) = objects()
    assert shown.keys() == {"time", "level", "logger", "message"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_of_a_request_has_its_id(form: log.Format) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "stored", (), None)
    set_before = log.REQUEST_ID.set("0b2f6a53-0f4a-4f2b-9a53-1df0b64ad0f2")
    try:
        assert "0b2f6a53-0f4a-4f2b-9a53-1df0b64ad0f2" in log.FORMATTERS[form]().format(record)
    finally:
        log.REQUEST_ID.reset(set_before)
    assert "request_id" not in log.FORMATTERS[form]().format(record)


@pytest.mark.parametrize("word", ["+12345", "12345678901", "¹²³⁴⁵⁶⁷⁸⁹⁰¹²", "(555) 123-0001"])
def test_text_with_few_digits_alone_is_not_searched_for_numbers(word: str) -> None:
    """The short cut lets nothing through that the search would mask."""
    assert word not in log.OneLine().format(logging.LogRecord("x", logging.INFO, "x.py", 1, f"to {word}", (), None))
