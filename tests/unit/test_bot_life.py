"""What a bot answers in every situation is as it was written down."""

import csv

import pytest

from tests.golden.bot_life import COLUMNS, FILE, rows, why_not

Row = tuple[str, ...]
KEY = COLUMNS.index("input") + 1
"""Columns that name a row: those up to its input."""


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return list(rows(tmp_path_factory.mktemp("told")))


def test_a_bot_answers_every_input_in_every_situation_as_recorded(today: list[Row]) -> None:
    """A difference is a change of a bot's life: if it is meant, write the file anew and read its diff."""
    with FILE.open(newline="") as file:
        header, *recorded = map(tuple, csv.reader(file))
    assert header == COLUMNS
    was, now = ({row[:KEY]: row[KEY:] for row in lines} for lines in (recorded, today))
    differ = [key for key in dict.fromkeys([*was, *now]) if was.get(key) != now.get(key)]
    assert not differ, "\n".join(_shown(key, was.get(key), now.get(key)) for key in differ)
    assert recorded == today


def test_a_situation_is_reached_or_has_a_reason_why_not(today: list[Row]) -> None:
    for row in today:
        assert bool(why_not(row[:4])) == (row[4] == "(unreachable)"), row


def _shown(key: Row, was: Row | None, now: Row | None) -> str:
    return f"{' | '.join(key)}\n  recorded: {_line(was)}\n  today:    {_line(now)}"


def _line(row: Row | None) -> str:
    return "no such row" if row is None else " | ".join(row)
