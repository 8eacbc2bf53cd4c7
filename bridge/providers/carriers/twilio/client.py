"""Twilio's REST API, called through Twilio's own library: sending texts, and reading texts of both directions.

The library uses our own transport. Its default transport has four faults:
- It limits each single read, not the call.
- It reports a refused connection and a lost answer with the same error.
- It loads all certificates again for every connection.
- It logs addresses that contain numbers.

``list_pages`` reads long lists, ``errors`` the refusals, ``error_codes`` the codes, ``webhooks`` the webhooks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, product
from typing import Any, TypeVar
from urllib.parse import urlencode

from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]
from twilio.http import HttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from bridge.config import Settings
from bridge.lib.phone import masked
from bridge.providers.carriers.contract import CarriedText, Delivery, InboundText, Meaning, OutgoingText, SentText
from bridge.providers.carriers.hidden_text import hidden
from bridge.providers.carriers.spellings import spellings
from bridge.providers.carriers.twilio import error_codes
from bridge.providers.carriers.twilio.errors import PROVIDER, error_code, refusal, unreadable
from bridge.providers.carriers.twilio.list_pages import Page, Pages
from bridge.providers.carriers.twilio.webhooks import LONGEST_SID, BadField, parse_inbound
from bridge.providers.errors import RemoteError
from bridge.providers.http.client import Answer, Api
from bridge.providers.http.deadline import NewTransport
from bridge.providers.redaction import storable

log = logging.getLogger(__name__)

T = TypeVar("T")

SEND_TIMEOUT = 20.0
"""Seconds for each call. Twilio mostly answers within one."""

STATUS_PATH = "/twilio/status"
"""The path to which Twilio reports a text's status. The query carries our own id of the text."""

LIST_LIMIT = 200
"""Texts that one check reads, mostly on one page. One phone gets fewer between a send and the check."""

MOST_LIST_PAGES = 50
"""Pages of such a list. The first one or two hold everything of interest."""

PAGE_SIZE = 200
"""Texts on one page of a long list. Twilio gives up to 1,000, but 1,000 texts of emoji would exceed the answer
limit."""

MOST_MEDIA = 50
"""Pictures and files of one text. Twilio allows ten."""

LONGEST_COUNT = 6
"""Digits. No text has a segment count of this length."""

NOT_FOUND = 404
"""In a call for one text, this status means that text. In any other call, only the account can be unknown."""


HELD_BACK = ("failed", "undelivered")
"""Statuses of texts from people that Twilio deliberately does not pass on.

They are one-time codes, and texts of machines that would answer us for ever.
"""

NEVER_SENT = ("failed", "canceled")
"""Statuses of texts that have not left Twilio."""

REPLY = "outbound-reply"
"""The direction of Twilio's own answers to keywords, and of answers in TwiML."""

LONGEST_VALIDITY = 36_000
"""Seconds. Twilio keeps a text no longer, and keeps it this long by default."""

LONGEST_PAGE_ADDRESS = 10_000
"""Characters. Twilio's addresses are many times shorter."""


class Twilio:
    """See :class:`bridge.providers.carriers.contract.Carrier`."""

    provider = PROVIDER

    def __init__(
        self,
        *,
        account_sid: str,
        username: str,
        password: str,
        base_url: str,
        public_url: str,
        messaging_service_sid: str | None = None,
        timeout: float = SEND_TIMEOUT,
        transport: NewTransport | None = None,
    ) -> None:
        self._account_sid = account_sid
        self._login = (username, password)
        self._base_url = base_url
        self._status_address = public_url + STATUS_PATH
        self._service = messaging_service_sid
        self._timeout = timeout
        self._api = Api(PROVIDER, base_url, transport=transport)

    @classmethod
    def from_settings(cls, settings: Settings, transport: NewTransport | None = None) -> Twilio:
        """Build the client from the settings. It uses the API key if there is one; the token is for signatures."""
        password = settings.twilio_api_secret or settings.twilio_auth_token
        return cls(
            account_sid=settings.twilio_account_sid,
            username=settings.twilio_api_key or settings.twilio_account_sid,
            password=password.get_secret_value(),
            base_url=settings.twilio_api_base_url,
            public_url=settings.public_url,
            messaging_service_sid=settings.twilio_messaging_service_sid,
            transport=transport,
        )

    def sending_identity(self, sender: str) -> str:
        return self._service_of(sender) or sender

    def send(self, text: OutgoingText) -> CarriedText:
        service = self._service_of(text.sender)
        more: dict[str, Any] = {"messaging_service_sid": service} if service else {"from_": text.sender}
        if text.valid_for is not None:
            more["validity_period"] = _seconds(text.valid_for)
        callback = f"{self._status_address}?{urlencode({'message': text.reference})}"
        with self._messages(text) as messages:
            accepted = messages.create(to=text.recipient, body=text.body, status_callback=callback, **more)
            return _carried(accepted)

    def sent_to(self, recipient: str, sender: str, since: datetime) -> list[CarriedText]:
        """Search by phone alone if a messaging service picks the sender.

        A text without a date may be new and counts.
        """
        senders = [None] if self._service_of(sender) else spellings(sender)
        carried: list[CarriedText] = []
        with self._messages() as messages:
            for to, from_ in product(spellings(recipient), senders):
                known = {text.id for text in carried}
                sent = self._sent(messages, {"to": to, "from_": from_} if from_ else {"to": to})
                carried += [text for text in sent if text.id not in known]
        since = since.replace(microsecond=0)  # Twilio's moments are whole seconds
        recent = [text for text in carried if text.created_at is None or text.created_at >= since]
        return sorted(recent, key=lambda text: text.created_at or since, reverse=True)

    def fetch(self, carrier_id: str) -> CarriedText | None:
        try:
            with self._messages() as messages:
                return _carried(messages(carrier_id).fetch())
        except RemoteError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def fetch_received(self, carrier_id: str) -> InboundText | None:
        try:
            with self._messages() as messages:
                return _received(messages(carrier_id).fetch())
        except RemoteError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def erase(self, carrier_id: str, *, with_media: bool) -> None:
        """Empty the words first: Twilio does not delete a text that is still on its way."""
        for medium in self._media_of(carrier_id) if with_media else ():
            self._gone(partial(_delete_medium, carrier_id, medium))
        self._gone(lambda messages: messages(carrier_id).update(body=""))
        self._gone(lambda messages: messages(carrier_id).delete())

    def _media_of(self, carrier_id: str) -> list[str]:
        sids: list[str] = []
        self._gone(lambda messages: sids.extend(each.sid for each in messages(carrier_id).media.list(limit=MOST_MEDIA)))
        return sids

    def _gone(self, call: Callable[[Any], Any]) -> None:
        """Make a call about one text. That it is unknown is fine."""
        try:
            with self._messages() as messages:
                call(messages)
        except RemoteError as error:
            if error.status != NOT_FOUND:
                raise

    def meaning(self, code: int | None) -> Meaning:
        return error_codes.meaning(code)

    def received_by(self, number: str, since: datetime) -> Iterator[list[InboundText]]:
        page_at = self._long_list({"to": number}, since, _received)
        return Pages(page_at, f"to {masked(number)}")

    def sent_by(self, number: str, since: datetime) -> Iterator[list[SentText]]:
        page_at = self._long_list({"from_": number}, since, _sent)
        return Pages(page_at, f"from {masked(number)}")

    def close(self) -> None:
        self._api.close()

    def _service_of(self, sender: str) -> str | None:
        """Return the messaging service that picks the number, or ``None``.

        An address with a channel is its own sender. Both sides must be on one channel, and the bridge can't see whether
        the service has a sender on it.
        """
        return None if ":" in sender else self._service

    def _sent(self, messages: Any, which: dict[str, Any]) -> Iterator[CarriedText]:
        found = islice(self._texts(messages, {"page_size": LIST_LIMIT, **which}), LIST_LIMIT)
        return (_carried(message) for message in found if str(message.direction).startswith("outbound"))

    def _texts(self, messages: Any, which: dict[str, Any]) -> Iterator[Any]:
        """Yield a list from its beginning. A page that is not full may still have a next page.

        Raise ValueError if the list leads to another server or has no end. Such a list does not prove which texts
        Twilio accepted.
        """
        page = messages.page(**which)
        for _ in range(MOST_LIST_PAGES):
            yield from page
            address = page.next_page_url
            if address and not self._is_address(address):
                raise ValueError("no address")
            if not address:
                return
            page = messages.get_page(address)
        raise ValueError("no end")

    def _is_address(self, address: object) -> bool:
        """Return True if this is a usable address of this API. The list itself names its next page."""
        return (
            isinstance(address, str)
            and len(address) <= LONGEST_PAGE_ADDRESS
            and address.startswith(f"{self._base_url}/")
            and address.isascii()
            and address.isprintable()
        )

    def _long_list(
        self, which: dict[str, str], since: datetime, as_text: Callable[[Any], T | None]
    ) -> Callable[[str | None], Page[T]]:
        """Return the function that reads one page of this list."""
        since = since.astimezone(UTC).replace(microsecond=0)  # Twilio's moments are whole seconds
        day = f"{since:%Y-%m-%d}"  # a finer filter is not documented
        asked = {**which, "date_sent_after": day, "page_size": PAGE_SIZE}

        def page_at(address: str | None) -> Page[T]:
            if address is None:
                return self._page(lambda messages: messages.page(**asked), since, as_text)
            if not self._is_address(address):
                raise unreadable(None)
            return self._page(lambda messages: messages.get_page(address), since, as_text)

        return page_at

    def _page(self, read: Callable[[Any], Any], since: datetime, as_text: Callable[[Any], T | None]) -> Page[T]:
        with self._messages() as messages:
            page = read(messages)
            shown = [(message, _moment(message)) for message in page]
            older = page.next_page_url
        reached = any(moment and moment < since for _, moment in shown)
        texts = [as_text(message) for message, moment in reversed(shown) if moment is None or moment >= since]
        return Page([text for text in texts if text], None if reached else older)

    @contextmanager
    def _messages(self, text: OutgoingText | None = None) -> Iterator[Any]:
        """Yield the library's messages for one call: to send this text, or to read others.

        Map the library's many exceptions to our few errors.
        """
        transport = _Transport(self._api, self._timeout)
        try:
            yield self._client(transport).messages
        except TwilioException:
            if transport.answer is None or transport.answer.ok:
                raise unreadable(transport.answer) from None
            private, sender = (text.body.splitlines(), self.sending_identity(text.sender)) if text else ([], None)
            numbers = [text.recipient] if text else []
            raise refusal(transport.answer, [self._login[1], *private], sender=sender, numbers=numbers) from None
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            if transport.answer is None:
                raise
            log.warning("an answer of Twilio's can't be read: %s", type(error).__name__)  # it may be our bug
            raise unreadable(transport.answer) from None

    def _client(self, transport: _Transport) -> Any:
        client = Client(*self._login, account_sid=self._account_sid, http_client=transport)
        client.region = client.edge = None  # the environment must not override the settings
        client.api.base_url = self._base_url
        return client


class _Transport(HttpClient):  # type: ignore[misc]
    """The library's transport. It stores the answer, because the library's exceptions carry no headers.

    Exceptions of a list do not even carry a status.
    """

    def __init__(self, api: Api, timeout: float) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False, timeout=timeout)
        self.answer: Answer | None = None
        self._api = api
        self._deadline = time.monotonic() + timeout

    def request(
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        auth: Any = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Any:
        request = {"params": params, "data": data, "headers": headers, "auth": auth}
        self.answer = self._api.call(method, url, deadline=self._deadline, **request)
        return Response(self.answer.status, self.answer.body.decode("utf-8", "replace"), self.answer.headers)


def _delete_medium(carrier_id: str, medium: str, messages: Any) -> None:
    messages(carrier_id).media(medium).delete()


def _carried(message: Any) -> CarriedText:
    """Read a text. Raise ValueError if it has no id that fits our column: such a text can't be identified."""
    sid = message.sid
    if not isinstance(sid, str) or not 0 < len(sid) <= LONGEST_SID or sid != storable(sid):
        raise ValueError("no usable sid")
    return CarriedText(
        id=sid,
        status=Delivery.of(message.status) or Delivery.ACCEPTED,
        body=storable(message.body or ""),
        created_at=message.date_created,
        error_code=error_code(message.error_code),
        segments=_count(message.num_segments),
    )


def _count(value: object) -> int | None:
    """Return the number of segments. Twilio sends 0 until it has counted."""
    text = str(value)
    return int(text) or None if text.isascii() and text.isdecimal() and len(text) < LONGEST_COUNT else None


def _seconds(valid_for: timedelta) -> int:
    """Return the seconds within the range that Twilio accepts."""
    return max(1, min(int(valid_for.total_seconds()), LONGEST_VALIDITY))


def _received(message: Any) -> InboundText | None:
    """Read a text as the webhook would have sent it. Return ``None`` if Twilio sends no webhook for it."""
    if message.direction != "inbound" or message.status in HELD_BACK:
        return None
    shown = {"MessageSid": message.sid, "From": message.from_, "To": message.to, "Body": message.body}
    shown |= {"NumMedia": message.num_media, "MessagingServiceSid": message.messaging_service_sid}
    try:
        text = parse_inbound({name: [str(value)] for name, value in shown.items() if value is not None})
    except BadField as fault:
        log.warning("a text in Twilio's list is left out: no usable %s", fault.field)
        return None
    return replace(text, sent_at=_moment(message), hidden=not text.media and hidden(text.body))


def _sent(message: Any) -> SentText | None:
    """Read a text from one of our numbers. Return ``None`` for any other one, and for one that nobody got."""
    if not str(message.direction).startswith("outbound") or message.status in NEVER_SENT:
        return None
    try:
        carried = _carried(message)
    except ValueError:
        log.warning("a text in Twilio's list is left out: no usable sid")
        return None
    media = _count(message.num_media) or 0
    return SentText(
        carried=carried,
        sender=storable(message.from_ or ""),
        recipient=storable(message.to or ""),
        sent_at=message.date_sent,
        is_reply=message.direction == REPLY,
        media=media,
        hidden=not media and hidden(carried.body),
    )


def _moment(message: Any) -> datetime | None:
    """Return the time at which Twilio called the webhook. The list is sorted by it; a new text may have none."""
    moment: datetime | None = message.date_sent or message.date_created
    return moment
