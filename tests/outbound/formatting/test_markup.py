"""HTML and its like: what each tag becomes, and above all what is none and stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.outbound.formatting.markup import code
from bridge.outbound.formatting.plain import plain


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<p>Hello</p><p>World</p>", "Hello\n\nWorld"),
        ("<p>Hello</p>\n  <p>World</p>\n", "Hello\n\nWorld"),
        ("<P CLASS='x'>Hello</P>\n\n<p >World</p >", "Hello\n\nWorld"),
        ("<p>Hello\n<p>World", "Hello\n\nWorld"),
        ("a<br>b<br/>c<br />d<BR>e</br>f", "a\nb\nc\nd\ne\nf"),
        ("a<br>\n  b <br><br> c", "a\nb\n\nc"),
        ("<div>one</div><div>two<div>three</div></div>four", "one\ntwo\nthree\nfour"),
        ("<h1>Hours</h1>Nine<h2>Days</h2>\n<p>All</p>", "Hours\n\nNine\n\nDays\n\nAll"),
        ("one<hr>two<hr/>three", "one\n\ntwo\n\nthree"),
        ("<blockquote>one</blockquote>two", "one\n\ntwo"),
        ("<!DOCTYPE html><html><head><title>x</title></head><body>Hi</body></html>", "Hi"),
        ("<!-- hidden <b> --> Hi <!-- too -->", "Hi"),
        ("<script>alert('<p>')</script>Hi<style>p { x: y }</style>", "Hi"),
        ("Dear <b>Ann</b>,<br><br>your table is <i>booked</i>.<br>", "Dear Ann,\n\nyour table is booked."),
    ],
)
def test_blocks_are_lines_and_paragraphs(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<ul><li>Mon</li><li>Tue</li></ul>", "- Mon\n- Tue"),
        ("Hours:<ul>\n  <li>Mon</li>\n\n  <li>Tue</li>\n</ul>\n<p>Bye</p>", "Hours:\n- Mon\n- Tue\n\nBye"),
        ("<ul><li>Mon<li>Tue</ul>", "- Mon\n- Tue"),
        ("<ol><li>one</li><li>two</li></ol>", "1. one\n2. two"),
        ("<ol><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ol>", "1. a\n  - b\n  - c\n2. d"),
        ("<ul><li><p>a</p></li><li><b>b</b></li></ul>", "- a\n- b"),
        ("<li>a</li><li>b</li>", "- a\n- b"),
        ("<dl><dt>Mon</dt><dd>9-5</dd></dl>", "Mon\n9-5"),
        ("<table><tr><th>Size</th><th>Price</th></tr><tr><td>S</td><td>$1</td></tr></table>", "Size | Price\nS | $1"),
        ("<table>\n <tbody>\n <tr>\n  <td>S</td>\n  <td>$1</td>\n </tr>\n</tbody>\n</table>Bye", "S | $1\n\nBye"),
    ],
)
def test_lists_have_dashes_and_rows_have_cells(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<b>a</b> <strong>b</strong> <i>c</i> <em>d</em> <u>e</u> <span style='x'>f</span>", "a b c d e f"),
        ("<b>a <i>b</b> c</i>", "a b c"),
        ("a</b>, a</p>b</div>", "a, a\n\nb"),
        ("<del>$50</del> $40, <s>no</s>", "~~$50~~ $40, ~~no~~"),
        ("10<sup>2</sup>, the 1<sup>st</sup>, H<sub>2</sub>O", "10^2, the 1st, H2O"),
        ("<q>nine</q> and <code>a*b*c</code>", '"nine" and a*b*c'),
        ("<pre>\n a\n  b\n</pre>", "a\n  b"),
        ("<font color=red>a</font><center>b</center>", "a\nb"),
        ("<answer>Nine</answer>", "Nine"),
        ("<x-card id='1'/>Nine", "Nine"),
        ("<p>**Nine** &amp; `ten`</p>", "Nine & ten"),
    ],
)
def test_marks_within_a_line_fall_away(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('<a href="https://x.example/menu_of_the_day">our menu</a>', "our menu (https://x.example/menu_of_the_day)"),
        ("<a class=x href=https://x.example target=_blank>our <b>menu</b></a>.", "our menu (https://x.example)."),
        ("<a href='https://x.example/?a=1&amp;b=2'></a>", "https://x.example/?a=1&b=2"),
        ('<a href="https://x.example/">x.example</a>', "https://x.example/"),
        ('<a href="tel:+15550001111">+1 555 000 1111</a>', "+1 555 000 1111"),
        ("<a href='mailto:a@b.example?subject=x'>write</a>", "write (a@b.example)"),
        ("<a href='#top'>up</a>, <a name='x'>here</a>, <a href='javascript:x()'>click</a>", "up, here, click"),
        ("<a href='https://x.example'>cut off", "cut off (https://x.example)"),
        ('<img src="https://x.example/h.png" alt="the house">', "the house (https://x.example/h.png)"),
        ("<img src='data:x' alt='the house'/> <img alt=''>", "the house"),
    ],
)
def test_a_link_says_where_it_leads(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("R&amp;D, &lt;b&gt;, &quot;x&quot;, it&#39;s, it&apos;s, it&#x27;s", "R&D, <b>, \"x\", it's, it's, it's"),
        ("a&nbsp;b&ensp;c", "a b c"),
        ("caf&eacute; &euro;5 &ndash; &hellip; &copy;", "café €5 – … ©"),
        ("&amp;lt; &amp;amp;", "&lt; &amp;"),
        ("2&ast;3&ast;4 &#42;x&#42; &lt;https://x.example&gt;", "2&ast;3&ast;4 *x* <https://x.example>"),
        ("&#35; no heading\n&gt; 18", "# no heading\n> 18"),
        ("&#0;&#xe000;&#xd800;&#7;x", "x"),
        ("https://x.example/?a=1&amp;copy=2", "https://x.example/?a=1&copy=2"),
        ("**&quot;Nine&quot;** and **&lt;3**", '"Nine" and <3'),
    ],
)
def test_entities_are_characters(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('One moment.<break time="1s"/>Here.', "One moment. Here."),
        ("One moment. <break time='500ms'> Here.", "One moment. Here."),
        ("<break/>Here", "Here"),
        ("<speak>One <prosody rate='slow' pitch='+2st'>moment</prosody>.</speak>", "One moment."),
        ("<say-as interpret-as='telephone'>555 0001</say-as>", "555 0001"),
        ("<emphasis level=\"strong\">now</emphasis>, <phoneme alphabet='ipa' ph='x'>tomato</phoneme>", "now, tomato"),
        ("<speed ratio='0.8'/>Slowly <amazon:effect name='whispered'>now</amazon:effect>", "Slowly now"),
        ('<?xml version="1.0"?><speak version="1.1">Hi</speak>', "Hi"),
    ],
)
def test_what_is_meant_for_a_voice_is_not_written(written: str, read: str) -> None:
    assert plain(written) == read


LOOKALIKES = [
    "5 < 6, 6 > 5, 5<6>4, a < b > c",
    "a<b>c? if a<b and b>c, x<y>z",
    "if (i<b && b>0), a<b && c=d>e, p<q and q>p, s<u>v, f<i>j",
    "x <y> z, <your name>, <name>, <date>, <time>, <phone number>",
    "Reply <YES> or <NO>, choose <a> or <b>",
    "AT&T, R&D;, Q&A;, a&b;c, &, &;, &x, ?a=1&copy=2&lt=3, &bogus;",
    "<3 </3 <33 >:( <- -> <-> <= => <=> << >> <> </> <",
    "<-- here, x --> y, <!-- open, <!",
    "List<String> x, Map<K, V>, vector<int>, a<p>c, n<p>m",
    "great service </sarcasm>, <grin>, <g>",
    "<o.o> <o_o> <@_@> <1> <a.b> <#general> <:smile:>",
    "<p> is the price",
    "<b",
    "<b>open, <i>open, <a href=",
]


@pytest.mark.parametrize("text", LOOKALIKES)
@pytest.mark.parametrize("whatsapp", [False, True])
def test_what_only_looks_like_a_tag_stays_to_the_letter(text: str, whatsapp: bool) -> None:
    assert plain(text, whatsapp=whatsapp) == text


@pytest.mark.parametrize("text", [text for text in LOOKALIKES if "<p>" not in text and "open" not in text])
def test_it_stays_also_beside_real_tags(text: str) -> None:
    assert plain(f"<p>{text}</p><p>Bye</p>") == f"{text}\n\nBye"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Write to <ann@x.example> or <https://x.example/a_b>.", "Write to ann@x.example or https://x.example/a_b."),
        ("Use `<br>` and `&amp;` here", "Use <br> and &amp; here"),
        ("```html\n<p>&lt;</p>\n```", "<p>&lt;</p>"),
        ("<b>`<br>`</b> ``<p>``<br>x", "<br> <p>\nx"),
        ("a ` b <br> c", "a ` b\nc"),
        ("a `b\n\nc<br>d` e", "a `b\n\nc\nd` e"),
    ],
)
def test_addresses_are_shown_and_code_stays(written: str, read: str) -> None:
    assert plain(written) == read


TAGS = st.sampled_from(
    ["<b>", "</b>", "<p>", "</p>", "<br>", "<ul>", "<li>", "</li>", "</ul>", "<a href='https://x.y'>", "</a>", "<ol>",
     "<table>", "<tr>", "<td>", "</td>", "</table>", "</ol>", "<pre>", "</pre>", "<code>", "</code>", "<h1>", "</h1>",
     "<hr>", "<!--", "-->", "<script>", "</script>", "<x/>", "<y>", "<", ">", "&lt;", "&amp;", "&", "`", "\n", " ", "a",
     "b c", "1"]
)  # fmt: skip


@given(st.lists(TAGS, max_size=40).map("".join), st.booleans())
def test_no_text_is_too_odd(text: str, whatsapp: bool) -> None:
    read = plain(text, whatsapp=whatsapp)
    assert read == read.strip()
    assert not set(read) & {chr(code) for code in range(0xE000, 0xE200)}


@given(
    st.lists(TAGS.filter(lambda tag: tag not in ("<!--", "-->", "<script>", "</script>", "`")), max_size=40).map(
        "".join
    )
)
def test_no_word_is_lost(text: str) -> None:
    assert plain(text).count("b c") == text.count("b c")


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["a", "\n\n", "<b>"])), max_size=9))
@example([(1, "a"), (2, "a"), (2, "a"), (1, "a")])
def test_code_ends_at_the_next_run_of_as_many_ticks(runs: list[tuple[int, str]]) -> None:
    text = "".join("`" * ticks + between for ticks, between in runs)
    found, place = [], 0
    while first := re.search("`+", text[place:]):
        start, end = place + first.start(), place + first.end()
        last = re.search(f"(?<!`){first[0]}(?!`)", text[end:])
        place = end
        if last and (len(first[0]) >= 3 or "\n\n" not in text[end : end + last.start()]):
            place = end + last.end()
            found.append((start, place))
    assert code(text) == found
