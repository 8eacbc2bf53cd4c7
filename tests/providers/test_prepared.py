"""A request that is put together from a known head is the one that httpx would make, byte by byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.errors import OutcomeUnknown, RemoteError
from bridge.providers.http.client import Answer, Api
from bridge.providers.http.deadline import transports
from bridge.providers.http.prepared import MOST_FORMS, Heads, target
from tests.vendor import Vendor, vendor

BASE = "https://acme.test:8443/v2"
HEADERS = {"User-Agent": "sms-bridge", "Authorization": "Bearer key"}


class Complete(httpx.BaseTransport):
    """The same transport, but unknown to ``Api``: so httpx's client makes every request."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def server() -> Iterator[Vendor]:
    with vendor() as told:
        yield told


@pytest.fixture
def apis(server: Vendor) -> Iterator[tuple[Api, Api]]:
    new = transports(server.address)
    both = tuple(
        Api("acme", server.address, headers=HEADERS, transport=each) for each in (new, lambda: Complete(new()))
    )
    yield both[0], both[1]
    for api in both:
        api.close()


def ask(api: Api, method: str = "GET", url: str = "/x", **request: Any) -> Answer | RemoteError:
    try:
        return api.call(method, url, deadline=time.monotonic() + 10, **request)
    except RemoteError as error:
        return error


# -- one request ---------------------------------------------------------------------------------------------------

STORABLE = st.characters(exclude_categories=["Cs"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(STORABLE),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(STORABLE, max_size=5), inside, max_size=3),
    max_leaves=6,
)
FORM = st.dictionaries(
    st.text(STORABLE, max_size=8),
    st.text(STORABLE) | st.integers() | st.booleans() | st.none() | st.lists(st.text(STORABLE), max_size=2),
    max_size=4,
)
BODY = st.fixed_dictionaries({}, optional={"json": JSON, "data": FORM})
FORMS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PATCH", "DELETE", "post"]),
        "url": st.sampled_from(
            ["/chat", "chat/a%20b?x=1&x=", "/ä/ö?q=ü", f"{BASE}/Messages.json", "http://other.test/"]
        ),
        "headers": st.sampled_from(
            [None, {}, {"accept": "*/*", "X-More": "1"}, {"Content-Type": "text/x", "Host": "h"}]
        ),
        "auth": st.sampled_from([None, ("AC1", "tøken")]),
    }
)


def made_by_httpx(
    client: httpx.Client, method: str, url: str, auth: tuple[str, str] | None, **given: Any
) -> tuple[object, ...]:
    """The request as the transport gets it."""
    caught: list[httpx.Request] = []

    def catch(request: httpx.Request) -> httpx.Response:
        caught.append(request)
        return httpx.Response(200)

    with httpx.Client(base_url=BASE, headers=client.headers, transport=httpx.MockTransport(catch)) as complete:
        complete.request(method, url, auth=auth, **given)
    [request] = caught
    return request.method.encode(), bytes(str(target(request.url)), "utf-8"), request.headers.raw, request.read()


@given(FORMS, st.lists(BODY, min_size=1, max_size=3))
def test_every_request_is_the_one_that_httpx_makes(form: dict[str, Any], bodies: list[dict[str, Any]]) -> None:
    heads = Heads()
    with httpx.Client(base_url=BASE, headers=HEADERS) as client:
        for body in bodies:
            given = {name: value for name, value in form.items() if name not in ("method", "url")} | body
            ready = heads.request(client, form["method"], form["url"], given)
            expected = made_by_httpx(client, form["method"], form["url"], **given)
            if ready is None:
                assert any(type(value) not in (str, int) for value in body["data"].values())
                continue
            assert (ready.method, bytes(str(ready.url), "utf-8"), ready.headers, b"".join(ready.stream)) == expected


def test_what_httpx_would_not_encode_is_no_request_here_either() -> None:
    with httpx.Client(base_url=BASE) as client:
        for body in ({"json": float("nan")}, {"json": "\ud800"}, {"data": {"a": "\ud800"}}, {"json": object()}):
            for make in (Heads().request, lambda client, *request: client.request(*request[:2], **request[2])):
                with pytest.raises((ValueError, TypeError)):
                    make(client, "POST", "/", body)


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("/", {"params": {}}),
        ("/", {"params": {"a": "b"}}),
        ("/", {"content": b"raw"}),
        ("/", {"data": {"a": ["b", "c"]}}),
        ("/", {"data": {"a": True}}),
        ("https://user:password@acme.test/", {}),
    ],
)
def test_what_is_rare_is_left_to_httpx(url: str, given: dict[str, Any]) -> None:
    with httpx.Client(base_url=BASE) as client:
        assert Heads().request(client, "POST", url, given) is None


def test_few_forms_are_kept_however_many_addresses_there_are() -> None:
    heads = Heads()
    with httpx.Client(base_url=BASE) as client:
        for number in range(2 * MOST_FORMS + 1):
            ready = heads.request(client, "GET", f"/chat/{number}", {})
            assert ready
            assert ready.url.target == b"/v2/chat/%d" % number
    assert len(heads._known) <= MOST_FORMS


# -- one call ------------------------------------------------------------------------------------------------------

CALLS: list[dict[str, Any]] = [
    {"method": "POST", "url": "/create-chat", "json": {"agent": "ä", "n": 1}},
    {"method": "POST", "url": "/create-chat", "json": {"agent": "a longer one"}},
    {"method": "PATCH", "url": "/end-chat/a%2Fb"},
    {"method": "GET", "url": "/chats", "params": {"limit": 2}},
    {"method": "POST", "url": "/M.json", "data": {"To": "+1", "V": 5}, "headers": {"A": "b"}, "auth": ("u", "p")},
]
ANSWERS: list[tuple[int, object, dict[str, str]]] = [
    (200, {"a": 1}, {"X-Note": "1"}),
    (404, b"no", {}),
    (302, b"", {"Location": "/elsewhere"}),
    (302, b"", {"Location": "https://["}),
    (301, b"", {"Location": "http://\u00e4"}),
    (200, b"zzz", {"Content-Encoding": "gzip"}),
    (200, {}, {"Set-Cookie": "a=b; Path=/"}),
    (429, {}, {"Retry-After": "7", "Set-Cookie2": "c=d"}),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call['method']} {call['url']}")
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer[0]} {answer[2]}")
def test_a_call_sends_and_returns_what_it_does_by_httpx(
    server: Vendor, apis: tuple[Api, Api], call: dict[str, Any], answer: tuple[int, object, dict[str, str]]
) -> None:
    """Twice each: the second request may have a known head, and a cookie."""
    outcomes = []
    for api in apis:
        for _ in range(2):
            server.says(*answer)
            outcomes.append(ask(api, **call))
    asked = [(each.method, each.path, each.query, list(each.headers.items()), each.body) for each in server.asked]
    assert len(asked) == 4
    assert asked[:2] == asked[2:]
    assert [shown(each) for each in outcomes[:2]] == [shown(each) for each in outcomes[2:]]


def shown(outcome: Answer | RemoteError) -> tuple[object, ...]:
    if isinstance(outcome, RemoteError):
        return type(outcome), str(outcome)
    headers = [(name, value) for name, value in outcome.headers.items() if name != "date"]
    return outcome.status, headers, outcome.body, type(outcome.headers)


def test_a_cookie_comes_back_with_the_next_call(server: Vendor, apis: tuple[Api, Api]) -> None:
    for _ in range(2):
        server.says(200, {}, {"Set-Cookie": "a=b; Path=/"})
        assert isinstance(ask(apis[0]), Answer)
    assert [each.headers.get("Cookie") for each in server.asked] == [None, "a=b"]


@pytest.mark.parametrize("fault", [Vendor.hangs_up, lambda told: told.says(200, b"{}", {"Content-Length": "9"})])
def test_a_fault_is_the_same_and_nothing_is_repeated(
    server: Vendor, apis: tuple[Api, Api], fault: Callable[[Vendor], None]
) -> None:
    faults = []
    for api in apis:
        fault(server)
        faults.append(api_fault(api))
    assert faults[0] == faults[1]
    assert len(server.asked) == 2


def api_fault(api: Api) -> str:
    with pytest.raises(OutcomeUnknown) as caught:
        api.call("POST", "/x", deadline=time.monotonic() + 0.5, json={})
    assert caught.value.__suppress_context__
    return str(caught.value)
