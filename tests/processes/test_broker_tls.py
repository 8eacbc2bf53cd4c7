"""Redis over TLS, real: what is checked, by which setting, and how often that is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from kombu import pools

from bridge.config import ServerSettings, SettingsError
from bridge.config.tls import without_tls
from bridge.processes.broker import CeleryNotifier, build_consumer, queue_name, tell_of_no_check
from testkit.servers import Certificate
from testkit.waiting import until
from tests.conftest import tls_redis
from tests.fakes import SETTINGS
from tests.standing import standing_on

NOT_CHECKED = "certificate is not checked"
NOT_TRUSTED = "its certificate is not trusted, see REDIS_TLS_VERIFY"
ENVIRON = {name.upper(): value for name, value in SETTINGS.items()}

Certificates = dict[str, Certificate]


@pytest.fixture(scope="module")
def url(certificates: Certificates) -> Iterator[str]:
    """A Redis like Heroku's: nobody has signed its certificate."""
    with tls_redis(certificates["here"]) as url:
        yield url


@pytest.fixture(scope="module")
def elsewhere(certificates: Certificates) -> Iterator[str]:
    """One whose certificate is another machine's."""
    with tls_redis(certificates["elsewhere"]) as url:
        yield url


def settings(url: str, verify: str = "") -> tuple[str, bool | str]:
    """As the environment has them."""
    loaded = ServerSettings.load(ENVIRON | {"REDIS_URL": url, "REDIS_TLS_VERIFY": verify})
    return loaded.broker_url, loaded.redis_tls_verify


def notifier_for(url: str, verify: str) -> CeleryNotifier:
    """With connections of its own: kombu shares them in a process by address, whatever is said of TLS."""
    pools.reset()
    return CeleryNotifier(*settings(url, verify))


def wakeups(url: str, verify: str = "") -> bool:
    """Does a wake-up arrive at a consumer with the same settings?"""
    notifier = notifier_for(url, verify)
    try:
        if not notifier.reachable():
            return False
        notifier.wake("end_chat", 17)
        with (
            build_consumer(*settings(url, verify)).connection_for_read() as connection,
            connection.channel() as channel,
        ):
            until(lambda: channel.basic_get(queue_name("end_chat"), no_ack=True), "the wake-up has arrived")
    finally:
        notifier.close()
    return True


def refused(url: str, caplog: pytest.LogCaptureFixture, verify: str = "") -> bool:
    """Is the broker taken for away, with the reason in the log?"""
    notifier = notifier_for(url, verify)
    reachable = notifier.reachable()
    notifier.wake("end_chat", 17)
    notifier.close()
    return not reachable and NOT_TRUSTED in caplog.text


# -- nothing is checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "verify"),
    [
        ("", ""),
        ("", "false"),
        ("", "no"),
        ("?ssl_cert_reqs=none", ""),
        ("?ssl_cert_reqs=CERT_NONE", "0"),
        ("/0?ssl_cert_reqs=NONE&ssl_check_hostname=false", ""),
    ],
)
def test_the_default_fits_a_certificate_that_nobody_has_signed(
    url: str, query: str, verify: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert wakeups(url + query, verify)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_only_the_entry_point_logs_that_nothing_is_checked(url: str, caplog: pytest.LogCaptureFixture) -> None:
    tell_of_no_check(*settings(url))
    for _ in range(5):
        assert wakeups(url)
    assert caplog.text.count(NOT_CHECKED) == 1
    assert "REDIS_TLS_VERIFY" in caplog.text


@pytest.mark.parametrize("broker", ["redis://127.0.0.1", "amqp://127.0.0.1", "amqps://127.0.0.1"])
def test_where_there_is_nothing_to_check_nothing_is_logged(broker: str, caplog: pytest.LogCaptureFixture) -> None:
    tell_of_no_check(broker)
    assert caplog.text == ""


# -- it is checked -------------------------------------------------------------------------------------------------


def test_a_certificate_is_checked_against_a_file_by_the_setting(url: str, certificates: Certificates) -> None:
    assert wakeups(url, str(certificates["here"].file))


@pytest.mark.parametrize("required", ["required", "CERT_REQUIRED", "optional"])
def test_a_certificate_is_checked_against_a_file_by_the_address(
    url: str, certificates: Certificates, required: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = f"?ssl_cert_reqs={required}&ssl_ca_certs={quote(str(certificates['here'].file), safe='')}"
    assert wakeups(url + query)
    tell_of_no_check(*settings(url + query))
    assert NOT_CHECKED not in caplog.text


def test_the_setting_and_the_file_in_the_address_go_together(url: str, certificates: Certificates) -> None:
    assert wakeups(f"{url}?ssl_ca_certs={certificates['here'].file}", "true")


@pytest.mark.parametrize(("query", "verify"), [("", "true"), ("", "YES"), ("?ssl_cert_reqs=required", "")])
def test_what_the_machine_does_not_trust_is_refused(
    url: str, query: str, verify: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(url + query, caplog, verify)


def test_what_another_one_has_signed_is_refused(
    url: str, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(url, caplog, str(certificates["elsewhere"].file))


def test_the_certificate_of_another_machine_is_refused(
    elsewhere: str, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = str(certificates["elsewhere"].file)
    assert refused(elsewhere, caplog, trusted)
    assert wakeups(f"{elsewhere}?ssl_check_hostname=false", trusted)
    assert wakeups(elsewhere)  # nothing is checked


def test_a_server_may_want_to_know_us(certificates: Certificates) -> None:
    us = certificates["elsewhere"]
    with tls_redis(certificates["here"], clients=us) as url:
        assert not wakeups(url)
        assert wakeups(f"{url}?ssl_certfile={us.file}&ssl_keyfile={us.key}", str(certificates["here"].file))


# -- what is a fault at the start ----------------------------------------------------------------------------------

REDISS = "rediss://:password@127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("url", "verify", "fault"),
    [
        (REDISS, "maybe", "REDIS_TLS_VERIFY is not true, false or a file"),
        (REDISS, "/no/such/file.pem", "REDIS_TLS_VERIFY is not true, false or a file"),
        (REDISS, __file__, "REDIS_TLS_VERIFY is not true, false or a file"),
        (REDISS, "/tmp", "REDIS_TLS_VERIFY is not true, false or a file"),
        (REDISS + "?ssl_cert_reqs=maybe", "", "CELERY_BROKER_URL has an invalid ssl_cert_reqs"),
        (REDISS + "?ssl_check_hostname=maybe", "", "CELERY_BROKER_URL has an invalid ssl_check_hostname"),
        (REDISS + "?ssl_ca_certs=/no/such/file.pem", "", "CELERY_BROKER_URL names a file for ssl_ca_certs"),
        (REDISS + "?ssl_certfile=/no/such/file.pem", "", "CELERY_BROKER_URL names files for ssl_certfile"),
        (REDISS + "?ssl_cert_req=none", "", "CELERY_BROKER_URL has an unknown TLS parameter"),
        (REDISS.replace("rediss", "redis") + "?ssl_cert_reqs=none", "", "CELERY_BROKER_URL has TLS parameters"),
        (REDISS + "?ssl_cert_reqs=none", "true", "REDIS_TLS_VERIFY asks for a check, but ssl_cert_reqs"),
        (REDISS.replace("rediss", "redis"), "true", "REDIS_TLS_VERIFY asks for a check, but the broker's address"),
        ("amqps://u:password@127.0.0.1", "true", "REDIS_TLS_VERIFY asks for a check, but the broker's address"),
    ],
)
def test_a_value_that_can_not_be_meant_is_refused_at_the_start(url: str, verify: str, fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ServerSettings.load(ENVIRON | {"CELERY_BROKER_URL": url, "REDIS_TLS_VERIFY": verify})
    [told] = caught.value.faults
    assert told.startswith(fault)
    assert "password" not in told


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (REDISS, REDISS),
        ("rediss://:p%40%2F@h:1?ssl_cert_reqs=none", "rediss://:p%40%2F@h:1"),
        ("rediss://h/3?ssl_cert_reqs=none&health_check_interval=9", "rediss://h/3?health_check_interval=9"),
        ("amqps://h//?ssl_cert_reqs=none", "amqps://h//?ssl_cert_reqs=none"),
    ],
)
def test_the_address_keeps_all_but_what_it_says_of_tls(written: str, left: str) -> None:
    assert without_tls(written) == left


# -- the story -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(150)
def test_every_text_is_answered_over_tls_and_each_process_tells_once_that_nothing_is_checked(
    url: str, postgres: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tls")
    with postgres.database() as database, standing_on(database, url, folder) as standing:
        standing.put_up()
        standing.must_have_answered(standing.text(standing.people(4), times=2))
        for name in ("web", "worker", "clock"):
            assert standing.processes.running(name)[0].output.count(NOT_CHECKED) == 1
        assert "insecure" not in standing.processes.output
        assert "Traceback" not in standing.processes.output
