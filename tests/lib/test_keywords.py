"""The keywords: which texts they are, and who answers them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.lib.keywords import (
    HELP_WORDS,
    LONGEST,
    START_WORDS,
    STOP_WORDS,
    ExtraWords,
    Keyword,
    _letters_of,
    bridge_answers,
    carrier_recognizes,
    keyword,
    letters_of,
    plain,
)

NUMBER = "+15550001111"
TOLL_FREE = "+18885550100"

WORDS = [
    *[(word, Keyword.STOP) for word in sorted(STOP_WORDS)],
    *[(word, Keyword.START) for word in sorted(START_WORDS)],
    *[(word, Keyword.HELP) for word in sorted(HELP_WORDS)],
]
VARIANTS = [
    ("stop", Keyword.STOP),
    ("StopAll", Keyword.STOP),
    (" \n\tSTOP\r\n", Keyword.STOP),
    (" \n\tSTOP\u00a0\r\n", Keyword.STOP),
    ("Stop.", Keyword.STOP),
    ("STOP!!!", Keyword.STOP),
    ("stop ! ", Keyword.STOP),
    ("start", Keyword.START),
    (" Yes ", Keyword.START),
    ("help\n", Keyword.HELP),
]
DRESSED_STOPS = [
    # blanks and hyphens, and whatever else parts a word
    *(
        "stop all",
        "STOP ALL",
        "Stop-All",
        "opt out",
        "Opt Out",
        "opt-out",
        "OPT-OUT",
        "OPT  OUT",
        "opt\nout",
        "opt\tout",
    ),
    *(
        "opt_out",
        "opt/out",
        "opt.out",
        "opt\u2010out",
        "opt\u2011out",
        "opt\u2013out",
        "opt \u2014 out",
        "opt\u2212out",
    ),
    *("un-subscribe", "UN SUBSCRIBE", "s t o p", "S.T.O.P", "S.T.O.P.", "s-t-o-p", "s\u00b7t\u00b7o\u00b7p", "s*t*o*p"),
    *("\u00a0STOP", "STOP\u00a0", "opt\u00a0out", "opt\u202fout", "opt\u3000out", "\u2028stop\u2029", "\x00stop"),
    # quotes, brackets and marks of emphasis
    *('"Stop"', "'stop'", "“Stop”", "‘stop’", "„Stop“", "«stop»", "‹stop›", "「STOP」", "`stop`", "´stop´"),
    *("\u02bbstop\u02bc", "(stop)", "[STOP]", "<stop>", "*STOP*", "_stop_", "**Opt out**", "~stop~", "#stop", "/stop"),
    *(".stop", "...stop", "- stop", "• stop", "> stop", "-stop-"),
    # what ends it
    *("STOP,", "STOP;", "STOP:", "STOP…", "stop...", "Stop!!", "STOP\u203c\ufe0f", "stop。", "stop、", "STOP！"),
    *("Cancel.", "END.", "Quit!", "Unsubscribe!", "revoke…", "Opt out.", "stop \\", "stop~", "stop -", "stop ."),
    # emoji
    *(
        "stop 🛑",
        "🛑 stop",
        "🛑stop🛑",
        "STOP✋",
        "Stop ✋🏽",
        "stop 🙏🏾",
        "STOP 😡😡😡",
        "stop 👩\u200d👩\u200d👧",
        "stop 🇺🇸",
    ),
    *("stop ❤️", "stop ☎", "stop ™️", "stop ℹ️", "stop Ⓜ️", "stop 1️⃣", "stop #️⃣", "stop ㊙️", "stop 🈁", "s🛑t🛑o🛑p"),
    *("stop \U0001fadf", "stop \U0001f3f4\U000e0067\U000e0062\U000e007f", "stop :)", "stop :-("),
    # what nobody sees
    *(
        f"{mark}STOP"
        for mark in "\u200b\u200c\u200d\u200e\u200f\ufeff\u00ad\u2060\u2063\u180e\u061c\u034f\u3164\uffa0\u115f"
    ),
    *(
        "\u202aSTOP\u202c",
        "\u2068STOP\u2069",
        "ST\u00adOP",
        "S\u200bT\u200bO\u200bP",
        "STOP\ufffc",
        "\ufffdSTOP",
        "\u2800stop",
    ),
    *("S\ufe0fT\ufe0fO\ufe0fP\ufe0f", "STOP\U000e0100", "STOP\u180b", "STOP\u17b5", "STOP\ue000", "\x1bstop\x7f"),
    # other forms of the letters
    *("ＳＴＯＰ", "ｓｔｏｐ", "ＯＰＴ　ＯＵＴ", "𝐒𝐓𝐎𝐏", "𝖘𝖙𝖔𝖕", "𝚂𝚃𝙾𝙿", "ⓢⓣⓞⓟ", "🅂🅃🄾🄿", "ˢᵗᵒᵖ"),
    *("S\u0332T\u0332O\u0332P\u0332", "s\u0336t\u0336o\u0336p\u0336", "S\u20dfT\u20dfO\u20dfP\u20df"),
    # nothing but such words
    *(
        "stop stop",
        "stop\nstop",
        "STOP STOP STOP!!!",
        "stop. stop. stop.",
        "Stop, unsubscribe",
        "stop / end",
        "stop & quit",
    ),
    *("Opt-out! Opt-out!", "stop 🛑 stop", "Cancel - stop", "stop!!stop!!", "Opt out opt out"),
]
NO_KEYWORD = [
    *("", " ", ".", "!", "?", "-", "🛑", "\u200b", "\u3164", "1️⃣", "“”"),
    # other words beside it
    *(
        "STOP please",
        "please stop",
        "Please, STOP!",
        "stop it",
        "Stop it!",
        "don't stop",
        "dont stop",
        "do not stop",
        "never stop",
    ),
    *(
        "stop now",
        "stop texting me",
        "can you cancel",
        "cancel my booking",
        "the end",
        "The End.",
        "end of story",
        "I quit",
    ),
    *(
        "opt out of what",
        "opt me out",
        "I opt out",
        "unsubscribe me",
        "stop sign",
        "bus stop",
        "one-stop",
        "stop by at 5",
    ),
    *(
        "stop and go",
        "stop-start",
        "end-to-end",
        "weekend",
        "stop ok",
        "ok stop",
        "no stop",
        "non stop",
        "STOP - thanks",
    ),
    *(
        "Hi! Stop.",
        "stop\nSent from my phone",
        "> Reply STOP to end\nok",
        "https://stop",
        "stop@example.com",
        "Liked “Stop”",
    ),
    *("arret", "ARRÊT", "basta", "СТОП", "ストップ"),
    # other words
    *(
        "stopp",
        "endstop",
        "stopstopped",
        "stops",
        "stopped",
        "nonstop",
        "top",
        "sto",
        "st",
        "5top",
        "$top",
        "ctop",
        "stóp",
        "ends",
        "ending",
    ),
    *("cancelled", "canceled", "quite", "opt", "out", "opt in", "optin", "opts out", "all", "stop all all"),
    # figures
    *(
        "stop 2",
        "stop 1",
        "STOP1",
        "2 stop",
        "stop2quit",
        "end 5",
        "stop 24/7",
        "stop ²",
        "stop ½",
        "cancel #123",
        "Ⅳ stop",
    ),
    # a question
    *(
        "STOP?",
        "stop?",
        "stop ?",
        "Stop??",
        "stop?!",
        "STOP !?",
        "¿stop?",
        "stop？",
        "ｓｔｏｐ？",
        "stop؟",
        "stop ❓",
        "stop⁉️",
        "stop❔",
    ),
    *("Cancel?", "end?", "quit?", "opt out?", "stop? stop!", "unsubscribe ⁇", "stop‽"),
    # START, HELP and YES in any dress
    *(
        "Yes.",
        "yes!",
        "Yes!!",
        "yes 👍",
        "“Yes”",
        "yes,",
        "y e s",
        "*yes*",
        "yes yes",
        "\u200byes",
        "\ufeffYES",
        "ｙｅｓ",
        "yes?",
    ),
    *(
        "START!",
        "start.",
        "start?",
        "“start”",
        "re-start",
        "restart",
        "S.T.A.R.T",
        "start 🙂",
        "\u200estart",
        "ｓｔａｒｔ",
        "st art",
    ),
    *("un-stop", "un stop", "unstop!", "UNSTOP.", "start start", "start stop", "stop start", "stop, yes"),
    *(
        "Help!",
        "help.",
        "help?",
        "“help”",
        "HELP 🆘",
        "\u200bhelp",
        "ｈｅｌｐ",
        "h-e-l-p",
        "info?",
        "info.",
        "in fo",
        "help stop",
    ),
]


def test_the_words_are_the_carriers() -> None:
    assert {"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "CANCEL", "REVOKE", "OPTOUT"} == STOP_WORDS
    assert {"START", "UNSTOP", "YES"} == START_WORDS
    assert {"HELP", "INFO"} == HELP_WORDS


def test_the_words_are_those_that_the_law_names() -> None:
    named = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
    assert [word for word in named if keyword(word, NUMBER) is not Keyword.STOP] == []


@pytest.mark.parametrize(("body", "word"), [*WORDS, *VARIANTS], ids=repr)
def test_a_text_that_is_a_word_alone_is_a_keyword(body: str, word: Keyword) -> None:
    assert keyword(body, NUMBER) is word


@pytest.mark.parametrize("body", DRESSED_STOPS, ids=ascii)
def test_a_word_that_opts_out_is_heard_in_any_dress(body: str) -> None:
    assert keyword(body, NUMBER) is Keyword.STOP
    assert not carrier_recognizes(body)


@pytest.mark.parametrize("body", NO_KEYWORD, ids=ascii)
def test_a_text_that_is_more_or_other_than_a_word_is_none(body: str) -> None:
    assert keyword(body, NUMBER) is None


@pytest.mark.parametrize("body", ["STOP", "START", "ARRET", "", "hello"])
@pytest.mark.parametrize("named", ["STOP", "START", "HELP"])
def test_what_the_carrier_says_goes_before_what_it_reads_like(body: str, named: str) -> None:
    assert keyword(body, NUMBER, named) is Keyword(named)


@pytest.mark.parametrize("prefix", ["800", "833", "844", "855", "866", "877", "888"])
def test_yes_opts_in_nobody_on_a_toll_free_number(prefix: str) -> None:
    number = f"+1{prefix}5550100"
    assert keyword("YES", number) is None
    assert keyword("YES", number, "START") is Keyword.START
    assert (keyword("START", number), keyword("UNSTOP", number)) == (Keyword.START, Keyword.START)
    assert keyword("STOP", number) is Keyword.STOP


@pytest.mark.parametrize(
    "number", ["+15550001111", "+18225550100", "+448005550100", "+1888", "88855", "whatsapp:+18885550100"]
)
def test_other_numbers_are_not_toll_free(number: str) -> None:
    assert keyword("YES", number) is Keyword.START


BETWEEN = st.text(
    st.characters(categories=["Z", "P", "S", "Cc", "Cf", "Co"], exclude_characters="?¿؟؟‽❓❔").filter(
        lambda char: letters_of(char) == "" and "?" not in unicodedata.normalize("NFKC", char)
    ),
    max_size=3,
)


@given(st.data(), st.sampled_from(sorted(STOP_WORDS)))
def test_whatever_stands_around_and_within_such_a_word_it_opts_out(data: st.DataObject, word: str) -> None:
    dressed = "".join(data.draw(BETWEEN) + data.draw(st.sampled_from([char, char.lower()])) for char in word)
    assert keyword(dressed + data.draw(BETWEEN), NUMBER) is Keyword.STOP


@given(st.sampled_from(sorted(STOP_WORDS)), st.characters(categories=["L", "N"]))
def test_one_letter_or_digit_more_makes_it_another_word(word: str, char: str) -> None:
    if letters_of(char):
        other = word + char
        assert keyword(other, NUMBER) is (Keyword.STOP if letters_of(other) in map(letters_of, STOP_WORDS) else None)


@given(st.text())
def test_any_text_can_be_asked_about(body: str) -> None:
    assert keyword(body, NUMBER) in (None, *Keyword)


ASCII = st.text(st.characters(codec="ascii"), max_size=40)


@given(ASCII)
def test_plain_ascii_has_the_same_letters_without_the_tables_of_unicode(text: str) -> None:
    assert letters_of(text) == _letters_of(text)
    one_case = unicodedata.normalize("NFKC", text).casefold()
    assert plain(text) == unicodedata.normalize("NFKC", one_case).strip()


@given(st.lists(st.one_of(st.sampled_from([*sorted(STOP_WORDS), "stop", "all", "x"]), ASCII), max_size=4), st.data())
def test_a_text_that_begins_with_no_stop_word_needs_no_closer_look(words: list[str], data: st.DataObject) -> None:
    body = "".join(word + data.draw(st.sampled_from(["", " ", "!", "\n", "-"])) for word in words)
    letters, known = _letters_of(body), {word.casefold() for word in STOP_WORDS}
    repeated = any(letters == word * max(1, len(letters) // len(word)) for word in known)
    in_pieces = letters != "" and all(part in known for part in map(_letters_of, body.split()) if part)
    assert (keyword(body, NUMBER) is Keyword.STOP) is ("?" not in body and (repeated or in_pieces))


def test_a_text_longer_than_the_carrier_brings_is_no_word() -> None:
    assert keyword("stop" + "!" * (LONGEST - 4), NUMBER) is Keyword.STOP
    assert keyword("stop" + "!" * LONGEST, NUMBER) is None
    assert keyword("stop" + " " * LONGEST, NUMBER) is Keyword.STOP
    assert keyword("S" + "\u0316\u0301" * 1_000_000 + "TOP", NUMBER) is None


# -- words of one's own --------------------------------------------------------------------------------------------

EXTRA = ExtraWords(
    frozenset(map(letters_of, ["ARRÊT", "no más", "Стоп", "停止", "توقف", "बस", "İPTAL", "Straße"])),
    frozenset(map(plain, ["COMENZAR", "já volto", "ＯＮ"])),
    frozenset(map(plain, ["AIDE", "aiuto?"])),
)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        *[
            (body, Keyword.STOP)
            for body in ("arrêt", "ARRE\u0302T!", "“Arrêt”", "No-más.", "nomás", "NO MA\u0301S", "СТОП!")
        ],
        *[
            (body, Keyword.STOP)
            for body in ("停 止", "停止。", "توقف", "تـوقـف", "बस", "बस!", "iptal", "İptal", "STRASSE")
        ],
        *[(body, Keyword.STOP) for body in ("stop", "Arrêt stop", "opt out")],
        *[
            (body, Keyword.START)
            for body in ("comenzar", " Comenzar\n", "JÁ VOLTO", "JA\u0301 volto", "on", "ｏｎ", "start")
        ],
        *[(body, Keyword.HELP) for body in ("aide", "AIUTO?", "help")],
        *[(body, None) for body in ("arret", "arrêts", "¿no más?", "बीस", "बासी", "стопор", "no", "más", "ıptal")],
        *[(body, None) for body in ("comenzar!", "comen zar", "javolto", "já  volto", "\u200bon", "aide!", "aiuto")],
    ],
    ids=ascii,
)
def test_words_of_ones_own_are_heard_like_those_of_the_carrier(body: str, word: Keyword | None) -> None:
    assert keyword(body, NUMBER, extra=EXTRA) is word


def test_the_carrier_does_not_hear_words_of_ones_own() -> None:
    assert [body for body in ("arrêt", "comenzar", "aide") if carrier_recognizes(body)] == []
    assert carrier_recognizes("arrêt", "STOP")


@pytest.mark.parametrize("body", ["STOP", "stop", " Stop\r\n", "optout", "OptOut", "start", "YES", "help ", "info"])
def test_the_carrier_hears_its_own_words_plainly_written(body: str) -> None:
    assert carrier_recognizes(body)


# -- who answers ---------------------------------------------------------------------------------------------------

ANSWERED = [
    ("+15550001111", None, False),
    (TOLL_FREE, None, False),
    ("+123", None, False),
    ("123", None, True),
    ("55512", None, True),
    ("12345678", None, True),
    ("12", None, False),
    ("123456789", None, False),
    ("whatsapp:+15550001111", None, True),
    ("rcs:brand_agent", None, False),
    ("whatsapp:+15550001111", "STOP", False),
    ("55512", "HELP", False),
]


@pytest.mark.parametrize(("number", "named", "ours"), ANSWERED)
def test_the_bridge_answers_where_the_carrier_does_not(number: str, named: str | None, ours: bool) -> None:
    assert bridge_answers("auto", number, named) is ours
    assert bridge_answers("bridge", number, named) is True
    assert bridge_answers("twilio", number, named) is False


@pytest.mark.parametrize(("number", "named", "ours"), ANSWERED)
def test_what_the_carrier_does_not_hear_is_ours_to_answer(number: str, named: str | None, ours: bool) -> None:
    assert bridge_answers("auto", number, named, recognized=False) is (named is None)
    assert bridge_answers("bridge", number, named, recognized=False) is True
    assert bridge_answers("twilio", number, named, recognized=False) is False
