"""Statements for many items at once: both databases read the same values out of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.db.engine import Sessions
from bridge.db.models import Conversation
from bridge.db.statements import Statement, moment, rows_of, together
from tests.databases import NOON, transaction

COLUMNS = {"words": "text", "number": "bigint", "truth": "boolean", "at": "timestamptz"}
READ = Statement(
    "SELECT items.n, items.words, items.number, items.truth, items.at FROM {items} ORDER BY 1", items=COLUMNS
)

WORDS = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
MOMENTS = st.none() | st.integers(-(10**9), 10**9).map(lambda n: NOON + timedelta(seconds=n, microseconds=n % 10**6))
ITEM = st.fixed_dictionaries(
    {
        "words": WORDS,
        "number": st.none() | st.integers(-(2**53), 2**53),
        "truth": st.none() | st.booleans(),
        "at": MOMENTS,
    }
)


def read(sessions: Sessions, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    with transaction(sessions) as tx:
        rows = READ.run(tx, items=list(items))
    truth = {0: False, 1: True, None: None}
    assert [row.n for row in rows] == list(range(len(items)))
    return [{"words": row.words, "number": row.number, "truth": truth[row.truth], "at": moment(row.at)} for row in rows]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(ITEM, max_size=5))
def test_items_come_back_as_they_were(sessions: Sessions, items: list[dict[str, Any]]) -> None:
    assert read(sessions, items) == items


def test_a_moment_of_another_zone_is_the_same_moment(sessions: Sessions) -> None:
    at = datetime(2026, 11, 2, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    item = {"words": None, "number": None, "truth": None, "at": at}
    assert read(sessions, [item]) == [item | {"at": datetime(2026, 11, 2, 12, 30, tzinfo=UTC)}]


def test_moments_are_written_as_the_tables_have_them(sessions: Sessions) -> None:
    insert = Statement(
        "INSERT INTO conversations (bridge_number, phone, created_at, changed_at) "
        "SELECT 'x', 'y', items.at, items.at FROM {items}",
        items=COLUMNS,
    )
    with transaction(sessions) as tx:
        insert.run(tx, items=[{"at": NOON}])
        assert tx.session.query(Conversation).one().created_at == NOON
        compare = Statement("SELECT count(*) AS equal FROM conversations WHERE created_at = :at")
        assert compare.run(tx, at=NOON)[0].equal == 1


def test_lists_in_a_row_are_read_alike(sessions: Sessions) -> None:
    nested = Statement(
        "SELECT {json_rows}({json_array}(items.number, items.words)) AS pairs FROM {items}", items=COLUMNS
    )
    with transaction(sessions) as tx:
        [row] = nested.run(tx, items=[{"number": 1, "words": "“é”"}, {"number": 2, "words": None}])
        [none] = nested.run(tx, items=[])
    assert rows_of(row.pairs) == [[1, "“é”"], [2, None]]
    assert rows_of(none.pairs) == []


def test_statements_together_return_the_rows_of_the_last(sessions: Sessions) -> None:
    add = Statement(
        "INSERT INTO conversations (bridge_number, phone, created_at, changed_at) "
        "SELECT :ours, items.words, items.at, items.at FROM {items} WHERE true RETURNING phone",
        items=COLUMNS,
    )
    items = [{"words": "a", "at": NOON}, {"words": "b", "at": NOON}]
    with transaction(sessions) as tx:
        last = Statement("UPDATE senders SET texts = 1 WHERE name = :ours RETURNING name")
        assert together(tx, add, last, items=items, ours="x") == []
        assert [row.phone for row in together(tx, add, items=items, ours="y")] == ["a", "b"]
        assert tx.session.query(Conversation).count() == 4


def test_a_percent_sign_in_a_value_is_a_percent_sign(sessions: Sessions) -> None:
    item = {"words": "100 % :now %(now)s", "number": None, "truth": None, "at": None}
    assert read(sessions, [item]) == [item]


@pytest.mark.parametrize("value", [None, NOON, "2026-11-02 12:00:00.000000", "2026-11-02T12:00:00+00:00"])
def test_a_moment_is_read_in_every_form(value: object) -> None:
    assert moment(value) in (None, NOON)
