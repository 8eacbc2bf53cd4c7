"""Which texts are reactions, and what they are about."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.inbound.reaction_phrases import PHRASES, WORDLESS
from bridge.inbound.reactions import (
    _BY_GOOGLE,
    LONGEST,
    Reaction,
    _is_emoji,
    _objects,
    _phrases,
    _visible,
    reaction,
)

OURS = "Your table is booked"
HAIR, ADDED, REMOVED = "\u200a", "\u200b", "\u200c"


@pytest.mark.parametrize(
    "body",
    [
        f"Liked “{OURS}”",
        f'Liked "{OURS}"',
        f"Liked ‘{OURS}’",
        f"Liked '{OURS}'",
        f"Loved “{OURS}”",
        f"Disliked “{OURS}”",
        f"Laughed at “{OURS}”",
        f"Emphasized “{OURS}”",
        f"Emphasised “{OURS}”",
        f"Questioned “{OURS}”",
        f"Reacted 👍 to “{OURS}”",
        f"Reacted ❤️ to “{OURS}”",
        f"Reacted ‼️ to “{OURS}”",
        f"Reacted 👨‍👩‍👧 to “{OURS}”",
        f"Reacted 🏴󠁧󠁢󠁥󠁮󠁧󠁿 to “{OURS}”",
        f"Reacted 🇳🇴 to “{OURS}”",
        f"Reacted 1️⃣ to “{OURS}”",
        f"Reacted \U0001fae8 to “{OURS}”",
        f"Reacted with a sticker to “{OURS}”",
        f"Removed a like from “{OURS}”",
        f"Removed a heart from “{OURS}”",
        f"Removed a dislike from “{OURS}”",
        f"Removed a laugh from “{OURS}”",
        f"Removed an exclamation from “{OURS}”",
        f"Removed a question mark from “{OURS}”",
        f"Removed 👍 from “{OURS}”",
        f"👍 to “{OURS}”",
        f"👍 to “ {OURS} ”",
        f"{HAIR}👍 to “{HAIR}{OURS}{HAIR}”{HAIR}",
        f"{HAIR}{ADDED}👍{ADDED} to “{HAIR}{OURS}{HAIR}”{HAIR}",
        f"{ADDED}👍{ADDED} to “{HAIR}{OURS}{HAIR}”",
        f"{HAIR}Removed {REMOVED}👍{REMOVED} from “{HAIR}{OURS}{HAIR}”{HAIR}",
        f"{HAIR}La til {ADDED}👍{ADDED} for «{HAIR}{OURS}{HAIR}»{HAIR}",
        f"{HAIR}{ADDED}👍{ADDED} kepada “{HAIR}{OURS}{HAIR}”{HAIR}",
        f"\u200eLiked\u00a0“{OURS}”\ufeff",
        f"  Liked “{OURS}”\n",
        f"Le gusta “{OURS}”",
        f"Le gustó “{OURS}”",
        f"Le encantó “{OURS}”",
        f"Le encanta «{OURS}»",
        f"No le gustó “{OURS}”",
        f"Le dio risa “{OURS}”",
        f"Exclamó por “{OURS}”",
        f"Dudó sobre “{OURS}”",
        f"Ya no le gusta “{OURS}”",
        f"Reaccionó con 😂 a “{OURS}”",
        f"Ha eliminado 😂 de “{OURS}”.",
        f"a ajouté un «\u00a0J’aime\u00a0» à «\u00a0{OURS}\u00a0»",
        f"A ajouté un « J'adore » à « {OURS} »",
        f"A attribué la mention « Je n’aime pas » à « {OURS} »",
        f"a retiré son «\u202fJ’aime\u202f» de «\u202f{OURS}\u202f»",
        f"A ajouté des points d’exclamation à «\u00a0{OURS}\u00a0»",
        f"A aimé « {OURS} »",
        f"N’a pas aimé « {OURS} »",
        f"A réagi avec 🔥 à « {OURS} »",
        f"Gefällt: „{OURS}“",
        f"„{OURS}“ ein Herz hinzugefügt",
        f"„Gefällt mir“ von „{OURS}“ entfernt",
        f"Herz von „{OURS}“ entfernt",
        f"Hat mit 👍 auf „{OURS}“ reagiert",
        f"👍 aus „{OURS}“ entfernt",
        f"Curtiu “{OURS}”",
        f"Não curtiu “{OURS}”",
        f"Gostou de “{OURS}”",
        f"Adorou “{OURS}”",
        f"Riu de “{OURS}”",
        f"Reagiu com 👍 a “{OURS}”",
        f"Ha aggiunto “Mi piace” a “{OURS}”",
        f"Ha reagito con 👍 a “{OURS}”",
        f"Vond “{OURS}” leuk",
        f"Gav ett hjärta till ”{OURS}”",
        f"Очень понравилось «{OURS}»",
        f"對「{OURS}」按讚",
    ],
)
def test_what_a_phone_sends_for_a_tap_is_a_reaction(body: str) -> None:
    assert reaction(body) == Reaction(OURS)


@pytest.mark.parametrize(
    "body",
    [
        "Loved an image",
        "Liked a photo",
        "Laughed at a movie",
        "Emphasized an attachment",
        "Questioned an audio message",
        "Loved a contact",
        "Liked 3 images",
        "Removed a heart from an image",
        "Reacted 👍 to an image",
        "Le encantó una imagen",
        "A aimé une image",
        "Ha aggiunto un cuoricino a un’immagine",
    ],
)
def test_a_picture_that_somebody_likes_has_no_words(body: str) -> None:
    assert reaction(body) == Reaction(None)


@pytest.mark.parametrize(
    "body",
    [
        "Loved it, thanks!",
        "Loved it",
        "Liked the food",
        "Liked",
        "Liked it a lot",
        "liked “Your table is booked”",
        "I liked “Your table is booked”",
        "We loved “Your table is booked”",
        "Loved an image of you two!",
        "Loved an",
        "Loved the image",
        "Liked 3 dishes",
        "Laughed at the joke",
        "Questioned my life choices",
        "Removed a like from the list",
        "Removed the dog from the booking",
        "Removed 2 guests from “the list”",
        "Reacted well to “your plan”",
        "Reacted badly to nuts",
        'What does "Liked" mean?',
        "“Your table is booked”",
        "“quote only” ok",
        "👍",
        "👍 thanks",
        "👍 to you too",
        "a to “b”",
        "- to “do”",
        "5 to “7”",
        "Gefällt mir",
        "Me gusta “la mesa”",
        "Le gustó mucho la cena",
        "J'ai adoré « le film »",
        "A aimé ça",
        "Reply STOP to opt out",
        "",
        " ",
        "Liked “”",
        "Liked “",
        HAIR * 5,
        f"{ADDED}👍{ADDED}",
    ],
)
def test_what_a_person_writes_is_none(body: str) -> None:
    assert reaction(body) is None


@pytest.mark.parametrize(
    "body",
    [
        'Liked "Heat", hated the rest',
        "Liked “Heat”, hated the rest",
        "Loved “Heat” and “Ronin”",
        'Loved "Heat" and "Ronin"',
        "Loved 'Heat' and 'Ronin'",
        "Liked “Heat”!",
        "Liked “Heat” 😀",
        "Liked “Heat",
        'Loved "Heat',
        "Disliked “Heat”; “Ronin” was fine",
        "Emphasized “no nuts” when I booked, please confirm",
        "👍 to “you” and “him”, thanks",
    ],
)
def test_what_may_be_a_persons_words_is_none_unless_we_wrote_it(body: str) -> None:
    found = reaction(body)
    assert found
    assert not found.sure
    assert not found.is_about("Ronin begins at eight")


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        ('Liked "Say "hi" at the door"', 'Say "hi" at the door'),
        ("Liked “A 5” pizza”", "A 5” pizza"),
        ("Liked 'The chefs' choice is fish'", "The chefs' choice is fish"),
        ("Loved “Your table is booked for…", "Your table is booked for eight"),
        ("Loved “Your table is booked for eight, tell", "Your table is booked for eight, tell us if you are late"),
    ],
)
def test_where_the_marks_can_not_tell_our_own_text_does(body: str, ours: str) -> None:
    found = reaction(body)
    assert found
    assert not found.sure
    assert found.is_about(ours)


@pytest.mark.parametrize(
    ("body", "ours", "about"),
    [
        ("Liked “Your table…”", OURS, True),
        ("Liked “Your table...”", OURS, True),
        ("Liked “Your ta…”", OURS, True),
        ("Liked “Your table is booked”", OURS, True),
        ("Liked “Your table is booked”", "Your table  is\nbooked ", True),
        ("Liked “Say “yes” now”", 'Say "yes" now', True),
        ("Liked “It’s ok”", "It's ok", True),
        ("Liked “8-10 pm”", "8–10 pm", True),
        ("Liked “Wait…”", "Wait...", True),
        ("Liked “Your table is booked”", "Your table is not booked", False),
        ("Liked “table is booked”", OURS, False),
        ("Liked “…”", OURS, False),
        ("Loved an image", OURS, False),
    ],
)
def test_it_is_about_the_text_that_begins_so(body: str, ours: str, about: bool) -> None:
    found = reaction(body)
    assert found
    assert found.is_about(ours) is about


def test_what_is_quoted_as_a_whole_is_told_from_a_beginning() -> None:
    found = reaction("Liked “Yes”")
    assert found
    assert found.is_all_of("Yes")
    assert found.is_about("Yes, at eight")
    assert not found.is_all_of("Yes, at eight")


ALL = [(phrase, language) for language, phrases in PHRASES.items() for phrase in phrases]
QUOTES = {"zh": "「」", "de": "„“", "fr": "«»", "ru": "«»", "hu": "„”", "cs": "„“"}


@given(phrase=st.sampled_from(ALL), words=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60))
def test_every_phrase_of_every_language_is_known(phrase: tuple[str, str], words: str) -> None:
    form, language = phrase
    opening, closing = QUOTES.get(language, "“”")
    body = form.replace("{}", f"{opening}{words}{closing}").replace("{e}", "👍")
    found = reaction(body[0].upper() + body[1:])
    assert found
    assert found.sure
    assert found.is_about(f"{words} and more")


@given(phrase=st.sampled_from(ALL), data=st.data())
def test_every_phrase_is_known_of_a_picture_too(phrase: tuple[str, str], data: st.DataObject) -> None:
    form, language = phrase
    noun = data.draw(st.sampled_from(WORDLESS.get(language, WORDLESS["en"])))
    assert reaction(form.replace("{}", noun).replace("{e}", "👍")) == Reaction(None)


@given(st.text(max_size=300))
def test_anything_that_somebody_may_write_is_read_without_a_fault(body: str) -> None:
    found = reaction(body)
    assert found is None or found.quoted is None or found.quoted.strip() or not found.is_about("x")


@given(words=st.text(st.sampled_from("Loved it “”\"'«»„ab 👍\u200a\u200b\u200c…"), max_size=60))
def test_no_reaction_is_about_a_text_that_it_does_not_quote(words: str) -> None:
    found = reaction(f"Loved “{words}")
    assert found is None or not found.is_about("zebra crossing")


@given(prefix=st.text(st.characters(categories=["L"]), min_size=1, max_size=10), words=st.text(max_size=30))
def test_words_before_it_make_it_a_persons(prefix: str, words: str) -> None:
    assert reaction(f"{prefix}, liked “{words}”") is None


@pytest.mark.parametrize(
    "piece",
    ["”“", f"{HAIR}{ADDED}", "👍", "!", "„", HAIR, f"{ADDED}{HAIR}", "« ", "a ajouté un «", "Loved “", "{e} to "],
)
def test_the_longest_text_is_read_in_no_time(piece: str) -> None:
    """Four times the length takes four times as long, or little more; a hundred would be a square."""
    reaction("warm")
    seconds = [took(piece, length) for length in (LONGEST // 4, LONGEST)]
    assert seconds[1] < max(0.05, 30 * seconds[0])


def took(piece: str, length: int) -> float:
    body = (f"Loved “{HAIR}{ADDED}x{ADDED}" + piece * length)[:length]
    began = time.perf_counter()
    reaction(body)
    return time.perf_counter() - began


PIECES = st.sampled_from(["👍", "a photo", "2 images", OURS, "’", "”", " ", "\u200b", HAIR, "x", "\n", '"'])


@given(st.sampled_from([phrase for each in PHRASES.values() for phrase in each]), st.data())
def test_only_phrases_that_can_not_fit_are_left_out(phrase: str, data: st.DataObject) -> None:
    """Every phrase is tried in one language after the other; the end and the first character only save time."""
    texts = st.one_of(st.text(max_size=8), st.lists(PIECES, max_size=3).map("".join))
    body = phrase.replace("{e}", data.draw(st.sampled_from(["👍", "❤️", "x"]))).replace("{}", f"“{data.draw(texts)}”")
    body = data.draw(st.sampled_from([body, body[:1].upper() + body[1:], data.draw(texts) + body, body[1:], body[:-1]]))
    body = " ".join(body.split())
    found = [each.pattern.fullmatch(body) for each in _phrases()]
    tried = [each["about"] for each in found if each and _is_emoji(each.groupdict().get("emoji") or "👍")]
    assert list(_objects(body)) == tried


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_what_is_visible_stays(text: str) -> None:
    kept = [char for char in text if char == "\u200d" or unicodedata.category(char) != "Cf"]
    assert _visible(text) == "".join(kept)


@given(st.text(st.characters(codec="ascii")))
def test_no_plain_ascii_has_googles_form(text: str) -> None:
    assert _BY_GOOGLE.fullmatch(text) is None


def test_what_is_longer_than_any_text_is_not_looked_at() -> None:
    assert reaction(f"Liked “{'x' * LONGEST}”") is None
