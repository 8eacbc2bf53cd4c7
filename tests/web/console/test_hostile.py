"""Hostile words at the console: whatever a person, the agent or the carrier says, the page shows it as words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from sqlalchemy import select

from bridge.db.models import Chat, Conversation, Message, MessageStatus, Turn, TurnStatus
from bridge.operators import labels
from bridge.providers.carriers.contract import Delivery
from bridge.web.console import filters, statics
from tests.scene import ANN
from tests.web.console.desk import House

FAMILY = "👨‍👩‍👧‍👦"

HOSTILE = [
    "<script>alert(1)</script>",
    "</textarea></div><script src=//evil.example></script>",
    "\"><img src=x onerror=alert(1)>' onmouseover='alert(1)",
    "javascript:alert(1) JaVaScRiPt:alert(1) data:text/html,<b>x</b> vbscript:x",
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7}",
    'http://evil.example/"onclick="alert(1) https://evil.example/\'><b>x',
    "\u202egnp.exe\u202c \u2066\u2067\u2068 \u200f\u200e",
    "مرحبا بالعالم שלום",
    FAMILY * 40,
    "W" * 100_000,
    "z\u0337\u0321" * 3000,
    "\u2028\u2029\x07\x1b[31m&amp;&lt;&#x3c;",
]


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def faults(self) -> list[str]:
        """The elements and attributes that no page of ours has."""
        found = [
            f"<{tag}>" for tag, _ in self.tags if tag in ("img", "iframe", "object", "embed", "style", "base", "i")
        ]
        for tag, attributes in self.tags:
            found += [f"{tag} {name}" for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
            if tag == "script" and not (attributes.get("src") or "").startswith("/console/static/"):
                found.append("a script")
            for name in ("href", "src", "action", "hx-get", "hx-post"):
                address = attributes.get(name)
                if address and not re.match(r"/console/|#|https?://[a-z]", address):
                    found.append(f"{tag} {name}={address}")
                if tag == "a" and address and address.startswith("http"):
                    found += [] if "noopener" in (attributes.get("rel") or "") else [f"a without rel: {address}"]
        return found


def faults(html: str) -> list[str]:
    return Page(html).faults()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough here."""
    return sqlite_url


@pytest.fixture
def house(sessions) -> House:
    """Hostile words in every column that has words of others."""
    house = House(sessions)
    house.scene.text("Hello", ANN)
    house.scene.work_until_idle()
    with house.scene.rt.database.transaction() as tx:
        session = tx.session
        chat = session.scalars(select(Chat)).one()
        answer = session.scalars(select(Message).where(Message.segments > 0)).one()
        turn = session.scalars(select(Turn)).one()
        for n, words in enumerate(HOSTILE):
            row = Message(conversation_id=1, direction="in", status=MessageStatus.WAITING, created_at=tx.now)
            row.body, row.extras = words, {words[:50]: words[:500], "n": str(n)}
            session.add(row)
        every = " ".join(words[:200] for words in HOSTILE)
        chat.ended_at, chat.end_reason, chat.analyzed_at = tx.now, every[:60], tx.now
        chat.summary, chat.sentiment = every, "<script>"
        answer.delivery, answer.error_code, answer.error, answer.settled_at = Delivery.FAILED, 1, every, tx.now
        turn.status, turn.error, turn.settled_at = TurnStatus.GIVEN_UP, every, tx.now
        talk = session.get_one(Conversation, 1)
        talk.holder_reason = every
        session.add(Conversation(phone="<img src=x>\u202e'\"", bridge_number="{{7*7}}", created_at=tx.now))
    for words in HOSTILE:
        labels.add_note(house.scene.rt, "ana", 1, words)
        labels.save_reply(house.scene.rt, "ana", f"r{HOSTILE.index(words)}", words[:1000])
    labels.add_tag(house.scene.rt, "ana", 1, "<b onclick=x>")
    return house


class TestPages:
    @pytest.mark.parametrize(
        "path",
        [
            *("/", "/inbox", "/inbox?q=%3Cscript%3E&tag=%3Cb%3E", "/conversations/1", "/conversations/2"),
            *("/conversations/1/print", "/conversations/1/live?v=x", "/failures", "/audit", "/replies", "/new"),
        ],
    )
    def test_no_word_of_others_becomes_a_part_of_the_page(self, ana, path: str) -> None:
        answer = ana.get(path)
        assert answer.status_code == 200
        assert faults(answer.text) == []
        assert "49" not in re.findall(r"\{\{ ?7 ?\* ?7 ?\}\}|>49<", answer.text)

    def test_every_word_is_there_as_it_was_written(self, ana) -> None:
        page = ana.get("/conversations/1").text
        for words in HOSTILE[:5]:
            assert str(escape(words)) in page

    def test_a_refused_text_stays_in_its_form_as_words(self, ana) -> None:
        ana.post("/conversations/1/take-over")
        for words in HOSTILE[:3]:
            ana.post("/conversations/1/texts", body="other", key="k")
            page = ana.post("/conversations/1/texts", body=words, key="k").text
            assert f"{escape(words)}</textarea>" in page
            assert faults(page) == []

    def test_words_in_the_address_are_words(self, ana) -> None:
        for path in ("/<script>alert(1)</script>", "/conversations/<script>", "/audit?operator=<script>"):
            assert faults(ana.get(path).text) == []


class TestLinks:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("see https://example.com/a?b=c&d=e.", "https://example.com/a?b=c&amp;d=e"),
            ("(HTTP://Example.com/x)", "HTTP://Example.com/x"),
            ("https://example.com/\u202egnp.exe", "https://example.com/"),
            ('https://example.com/"onclick="x', "https://example.com/"),
        ],
    )
    def test_an_address_becomes_a_link_that_shows_where_it_leads(self, text: str, address: str) -> None:
        [(to, shown)] = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', filters.linked(text))
        assert to == shown == address
        assert 'rel="noopener noreferrer nofollow"' in filters.linked(text)

    @pytest.mark.parametrize(
        "text",
        [
            "javascript:alert(1)",
            "javascript://https:alert",
            "ftp://x",
            "//x.example",
            "www.x.example",
            "http://",
            "xhttps://",
        ],
    )
    def test_nothing_else_does(self, text: str) -> None:
        assert "<a" not in filters.linked(text)


class TestWords:
    @given(st.text(max_size=5000))
    def test_any_text_is_words(self, text: str) -> None:
        assert faults(f"<div>{filters.words(text)}</div>") == []
        assert faults(f"<div>{escape(filters.snippet(text))}</div>") == []

    @given(
        st.text(max_size=300) | st.lists(st.sampled_from([FAMILY, "é", "W", " ", "🇩🇪"])).map("".join),
        st.integers(1, 250),
    )
    def test_a_cut_loses_nothing_and_goes_through_no_sign(self, text: str, at: int) -> None:
        head, rest = filters.cut(text, at)
        assert head + rest == text
        assert len(head) < at + filters.LARGEST_CLUSTER
        if FAMILY in text and set(text) <= set(FAMILY):
            assert not rest or rest.startswith("👨")

    def test_a_long_text_is_shown_in_part_and_the_rest_on_demand(self) -> None:
        shown = filters.words("W" * 100_000)
        assert "<details" in shown
        assert "99,400 characters" in shown
        assert shown.count("W") == 100_000

    def test_a_sign_without_end_is_cut_all_the_same(self) -> None:
        head, rest = filters.cut("a" + "\u0301" * 10_000, 600)
        assert len(head) == 600
        assert head + rest == "a" + "\u0301" * 10_000

    def test_words_are_isolated_from_their_surroundings(self) -> None:
        assert 'dir="auto"' in filters.words("\u202ex")
        sheet = (statics.FOLDER / "console.css").read_text()
        assert re.search(r"\.words \{[^}]*unicode-bidi: isolate[^}]*\}", sheet)


class TestNumbers:
    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("+15551230001", "+1 555-123-0001"),
            ("whatsapp:+4930123456", "+49 30 123456"),
            ("12345", "12345"),
            ("VERIFY", "VERIFY"),
            ("<b>", "<b>"),
            ("", ""),
        ],
    )
    def test_a_number_is_written_as_people_write_it(self, address: str, shown: str) -> None:
        assert filters.number(address) == shown

    @given(st.text(max_size=50))
    def test_any_address_can_be_shown(self, address: str) -> None:
        for show in (filters.number, filters.channel, filters.initials, filters.hue):
            show(address)
