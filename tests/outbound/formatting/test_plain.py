"""Markdown, taken out: what each mark becomes, and above all what is none and stays."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.outbound.formatting.plain import plain

# --- what each mark becomes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("We open at **9 am**.", "We open at 9 am."),
        ("*Today* and __tomorrow__, _maybe_ ***never***", "Today and tomorrow, maybe never"),
        ("**Bold with *italics* in it**", "Bold with italics in it"),
        ("(**a**), “**b**” — **c**: **$4.50**!", "(a), “b” — c: $4.50!"),
        ("**yes**/**no**", "yes/no"),
        ("**Name:**John", "Name:John"),
        ("**-20%** today, 🎉**Party!**🎉", "-20% today, 🎉Party!🎉"),
        ("这是**重点**内容, **「重点」**です, **서울**에서", "这是重点内容, 「重点」です, 서울에서"),
        ("**over two\nlines**", "over two\nlines"),
        ("**https://x.example/a_b_c** and *www.x.example/_a_*", "https://x.example/a_b_c and www.x.example/_a_"),
        ("**See https://x.example/*a*.** Then *x*", "See https://x.example/*a*. Then x"),
        ("(**https://x.example/a**)", "(https://x.example/a)"),
        ("见https://x.example/a_b。**重点**", "见https://x.example/a_b。重点"),
    ],
)
def test_stress_falls_away(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("# Hours\nNine to five", "Hours\nNine to five"),
        ("## **Hours** ##\n\nNine to five", "Hours\n\nNine to five"),
        ("###### C#", "C#"),
        ("text\n### 2. Prices\ntext", "text\n2. Prices\ntext"),
    ],
)
def test_headings_are_lines(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("* one\n* two", "- one\n- two"),
        ("+ one\n+ two", "- one\n- two"),
        ("- one\n- two", "- one\n- two"),
        ("*   **Size:** L\n*   **Price:** $2", "-   Size: L\n-   Price: $2"),
        ("Hours:\n* Mon *9-5*\n* Tue 9-5\n\nBye", "Hours:\n- Mon 9-5\n- Tue 9-5\n\nBye"),
        ("1. one\n2. two\n   * a\n   * b", "1. one\n2. two\n   - a\n   - b"),
        ("* a\n    * b\n    * c\n* d", "- a\n    - b\n    - c\n- d"),
        ("3) three\n5) five", "3) three\n5) five"),
        ("- [ ] todo\n- [x] done", "- [ ] todo\n- [x] done"),
        ("* one\n\n  more of one\n\n* two", "- one\n\n  more of one\n\n- two"),
        ("- a\n- b\n* c", "- a\n- b\n- c"),
        ("* a\n- b", "- a\n- b"),
        ("- a\n+ b\n* c\n- d", "- a\n- b\n- c\n- d"),
        ("- *Mon*\n* **Tue**\n- Wed", "- Mon\n- Tue\n- Wed"),
        ("- a\n\n* b\n\n+ c", "- a\n\n- b\n\n- c"),
        ("Hours:\n- a\n  more of a\n* b\nBye", "Hours:\n- a\n  more of a\n- b\nBye"),
        ("* Fruit\n  - apple\n  - pear", "- Fruit\n  - apple\n  - pear"),
        ("- a\n  * b\n    + c", "- a\n  - b\n    - c"),
        ("1. a\n   * b\n2. c", "1. a\n   - b\n2. c"),
        ("> - a\n> * b", "- a\n- b"),
    ],
)
def test_bullets_are_dashes_and_numbers_stay(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[our menu](https://x.example/menu_of_the_day)", "our menu (https://x.example/menu_of_the_day)"),
        ("See [**the menu**](https://x.example 'Menu').", "See the menu (https://x.example)."),
        ("[https://x.example](https://x.example)", "https://x.example"),
        ("[x.example](https://www.x.example/)", "https://www.x.example/"),
        ("[Menu](x.example/menu), [Menu](/menu)", "Menu (x.example/menu), Menu (/menu)"),
        ("[wiki](https://x.example/A_(b))", "wiki (https://x.example/A_(b))"),
        ("[ü](https://x.example/ü?q=ä%20b&c=1)", "ü (https://x.example/ü?q=ä%20b&c=1)"),
        ("[](https://x.example)", "https://x.example"),
        ("[Call us](tel:+15550001111)", "Call us (+15550001111)"),
        ("[+1 (555) 000-1111](tel:+15550001111)", "+1 (555) 000-1111"),
        ("[a@b.example](mailto:a@b.example?subject=Hi)", "a@b.example"),
        ("[write](MAILTO:a@b.example)", "write (a@b.example)"),
        ("<https://x.example/a_b_c>, <a@b.example>", "https://x.example/a_b_c, a@b.example"),
        ("![the house](https://x.example/h.png)", "the house (https://x.example/h.png)"),
        ("![](https://x.example/h.png)", "https://x.example/h.png"),
    ],
)
def test_a_link_says_where_it_leads(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Text `STOP *now*` please", "Text STOP *now* please"),
        ("``a ` b``", "a ` b"),
        ("Run:\n```bash\nls *.py  # **all**\n\n  cd\n```\nthen", "Run:\nls *.py  # **all**\n\n  cd\nthen"),
        ("1. Run:\n   ```\n   ls\n   ```\n2. Done", "1. Run:\n   ls\n2. Done"),
        ("- ```\n  ls\n  ```", "-\n  ls"),
        ("~~~\n*a*\n~~~", "*a*"),
        ("```\n*cut off*", "*cut off*"),
    ],
)
def test_code_stays_as_it_is_without_its_fence(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("> We **never** close.\n> Never.\n\n(the boss)", "We never close.\nNever.\n\n(the boss)"),
        ("> a\n> > b\n>\n> * c\n> * d", "a\nb\n\n- c\n- d"),
        ("> goes on\nlazily", "goes on\nlazily"),
        ("> ```\n> *a*\n> ```", "*a*"),
    ],
)
def test_a_quote_loses_its_margin(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("| Size | Price |\n|:--|--:|\n| **S** | $1 |\n| L |  |", "Size | Price\nS | $1\nL |"),
        (
            "Size | Price\n--- | ---\nS | [$1](https://x.example)\n\nBye",
            "Size | Price\nS | $1 (https://x.example)\n\nBye",
        ),
        ("| a |\n|---|\n| b \\| c | too | many |", "a\nb | c | too | many"),
        ("> | a | b |\n> |---|---|\n> | 1 | 2 |", "a | b\n1 | 2"),
    ],
)
def test_a_table_is_rows_of_cells(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize("rule", ["---", "***", "* * *", "___", "- - - -"])
@pytest.mark.parametrize("around", ["\n", "\n\n", "\n\n\n"])
def test_a_rule_is_an_empty_line(rule: str, around: str) -> None:
    assert plain(f"one{around}{rule}{around}two") == ("one\n\ntwo" if len(around) < 3 else "one\n\n\ntwo")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("one  \ntwo", "one  \ntwo"),
        ("one\\\ntwo", "one\ntwo"),
        ("one\r\n**two**\rthree", "one\ntwo\nthree"),
    ],
)
def test_hard_line_breaks_are_kept(written: str, read: str) -> None:
    assert plain(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("\\*not bold\\* and snake\\_case", "*not bold* and snake_case"),
        ("\\$5, 1\\. May, \\# 1, \\[x\\](y)", "$5, 1. May, # 1, [x](y)"),
        ("¯\\\\_(ツ)_/¯", "¯\\_(ツ)_/¯"),
    ],
)
def test_an_escape_shows_what_it_hides(written: str, read: str) -> None:
    assert plain(written) == read


# --- what is none --------------------------------------------------------------------------------------------------

LOOKALIKES = [
    "2*3*4 = 24, 5*x + 3*y, x**2 + y**2, 2 * 3 * 4",
    "f**k this s**t, sh*t",
    "snake_case_name, __init__.py, _private and __private",
    "^_^ and ^_^, -_- and -_-, *_* and *_*, T_T, o_O, >_<, <3, :-*",
    "¯\\_(ツ)_/¯",
    "so :-\\\nwry",
    "card **** **** **** 1234, ****1234 and ****5678",
    "Dinner $30* and lunch $20**. *Weekdays only. **Holidays too.",
    "* Prices without tax",
    "- Dinner $30*\n- Lunch $20\n\n* without tax",
    "- Dinner $30*\n* without tax",
    "- Dinner\n- Lunch\n\n* Prices without tax",
    "a lone * and a lone _ and a lone ` and **",
    "(*) required, (*) too",
    "*.pdf and *.doc, **/*.py, */5 * * * *",
    "f(*args, **kwargs)",
    "1. Mai, 2. Juni\n1. January is off\n24. Dezember",
    "1986. A great year.",
    "#1 of 5, #hashtag, C# and F#",
    "# of guests: 4\n# 12 Main Street",
    "~tildes~, ~5 min, ~~$50~~ $40",
    "~~~~~~~~~~\nSALE",
    "<angle>, a<b>c?, a < b > c, <your name>, &c; AT&T",
    "<note: this>, <3:30>",
    "> 18 years only",
    ">:( and >50 and ->",
    "+ 5% tax",
    "Total: 9\n+ 5% tax\n+ $2 tip",
    "list[0](x), f[i](j), [1], [x] done, [text][1], [^1]",
    "[1]: https://x.example",
    "[x](javascript:alert(1)), [x](not an address), [x](), ![x](), call[n]()",
    "https://x.example/_a_/b_c_d?e=_f_&g=*h*",
    "https://x.example/wiki/*Markdown* and https://x.example/a#_foo_ and x.example/a#_foo_",
    "https://x.example/**a**/b, (www.x.example/*a*), x.example/~a~/*b*?c=_d_",
    "https://en.x.example/wiki/Foo_(bar)_baz_, ftp://x.example/_a_, //x.example/*a*",
    "tel:*123*, mailto:_a_@x.example, https://例え.example/_a_。",
    "a@b.example, first_last@b.example, @_foo_",
    "C:\\temp\\new, \\\\server\\share, \\o/",
    "a | b | c\n1 | 2 | 3",
    "  indented\n    more\n\ttab\n\n\n\nfar below  \n end",
    "Title\n=====\ntext",
    "-5 °C\n- 5\n-- \n--\n–",
    "===\n+++\n...",
    "```",
    "|", "||", "|-|", "!", "![", "](", "\\", "#", "##", ">", "-", "+", "*", "1.", "---", "***",
]  # fmt: skip


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_markdown_is_left_alone(text: str) -> None:
    assert plain(text) == text.strip()


LINES = st.text("abz AB  \t0189.,!?:;'\"()/@&%$=éß中👍\u00a0")
"""Characters of which no mark can be made."""


@given(st.lists(LINES | st.sampled_from(["", "- a", "1. b", "-", "  -  c"])).map("\n".join))
def test_a_plain_text_stays_as_it_is_to_the_blank(text: str) -> None:
    assert plain(text) == text.strip()


# --- any text ------------------------------------------------------------------------------------------------------

SEEN = st.characters(exclude_categories=["Co"])
"""Without private characters: those are nobody's words."""
MARKS = st.sampled_from(
    ["*", "**", "_", "`", "```\n", "~~~", "#", "# ", "> ", "- ", "+ ", "* ", "1. ", "|", "|-|", "---", "[", "](", ")",
     "![", "<", ">", "\\", "\n", "\n\n", "  \n", "    ", "\t", "\r\n", " ", "https://x.y", "a.bc", "\u00a0", "\0",
     "\x0b", "\x1c", "\u2028", "\ud800", "¯", "👍", "\u0301", "a", "b c", "1", "$"]
)  # fmt: skip
TEXTS = st.lists(MARKS | st.text(SEEN, max_size=5), max_size=60).map("".join)


@given(TEXTS)
@example("\u00a0\n**b**")
@example("> ```\n>\n> ``")
@example("- - -\n  * * *")
def test_no_text_is_too_odd(text: str) -> None:
    assert isinstance(plain(text), str)


@given(TEXTS)
def test_what_was_not_blank_does_not_become_so(text: str) -> None:
    assert bool(plain(text)) == bool(text.strip())


@given(st.text("ab1 \n\t*_#>-+|.\\[]<é中", max_size=120))
@example("1. | a | b |\n   |---|---|\n   | 1 | 2 |")
@example("- > # a\n  > b")
def test_no_letter_and_no_digit_is_lost(text: str) -> None:
    """Links and fences aside: those have a title or a language that nobody needs."""
    assert list(filter(str.isalnum, plain(text))) == list(filter(str.isalnum, text))


WORDS = st.text("abcdeé", min_size=1, max_size=8)
PHRASES = st.lists(
    st.one_of(
        WORDS,
        WORDS.map("**{}**".format),
        WORDS.map("_{}_".format),
        WORDS.map("`{}`".format),
        st.builds("[{}](https://x.example/{})".format, WORDS, WORDS),
        st.sampled_from(["2*3*4", "snake_case", "$5*", "10:30", "#1", "a@b.example"]),
    ),
    min_size=1,
    max_size=6,
).map(" ".join)
ITEMS = st.lists(PHRASES, min_size=2, max_size=4)
BLOCKS = st.one_of(
    PHRASES,
    PHRASES.map("## {}".format),
    PHRASES.map("> {}".format),
    ITEMS.map(lambda items: "\n".join(f"* {item}" for item in items)),
    ITEMS.map(lambda items: "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))),
    WORDS.map("```\n{}\n```".format),
    ITEMS.map(lambda items: "|a|b|\n|---|---|\n" + "\n".join(f"| {item} | x |" for item in items)),
    st.just("---"),
)
DOCUMENTS = st.lists(BLOCKS, min_size=1, max_size=6).map("\n\n".join)


@given(DOCUMENTS)
def test_the_second_reading_finds_nothing_any_more(text: str) -> None:
    assert plain(plain(text)) == plain(text)


# --- how long it takes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    ["[", "![", "*", "**a ", "*a**b***c ", "_a ", "> ", "- ", "> - ", "1. ", "`", "```\n", "````x\n", "<", "<a", "[a](",
     '[a](b.cd "', "[x](a.", "](", "|a", "| |\n|-|\n", "# ", " #", "\\", "- a\n", "  - a\n", "> a\n- b\n", "a\n---\n",
     "*_", "\n", " ", "\t", "\u00a0", "word "],
)  # fmt: skip
def test_the_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    """Sixteen times the text may take sixteen times as long; were it quadratic, it would take 256 times as long."""

    def seconds(characters: int) -> float:
        text = unit * (characters // len(unit)) + "x"
        began = time.thread_time()
        plain(text)
        return time.thread_time() - began

    def at_best(characters: int) -> float:
        return min(seconds(characters) for _ in range(3))

    assert at_best(16_000) < 64 * max(at_best(1_000), 0.001)


def test_backticks_in_runs_of_every_length_take_no_time_either() -> None:
    text = " ".join("`" * length for length in range(1, 250))
    began = time.thread_time()
    assert plain(text) == text
    assert time.thread_time() - began < 2


def test_many_threads_read_with_one_parser() -> None:
    written = [f"* **{n}** [a](https://x.example/{n})\n* _b_" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(plain, written)) == [f"- {n} a (https://x.example/{n})\n- b" for n in range(200)]
