"""Pages of rows: so many at once, resumed by the key of the last row that was seen.

A page reads its own rows only, however far into the table it lies, and holds no connection afterwards. The
API gives its callers a page at a time, the command line all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, FromClause, Row, Select, tuple_

ROWS_PER_PAGE = 10_000


class Window(NamedTuple):
    """Rows of after < timestamp ≤ until, at most `limit` of them, behind the row with key `cursor`.

    `newest`: the newest first.
    """

    limit: int = ROWS_PER_PAGE
    after_ns: int | None = None
    until_ns: int | None = None
    cursor: tuple[int, ...] | None = None
    newest: bool = False


class Page(NamedTuple):
    """`next` is the cursor of the page that follows; None at the end."""

    rows: list[Row[Any]]
    next: tuple[int, ...] | None


def page(database: Engine, query: Select[Any], table: FromClause, key: Sequence[str], window: Window) -> Page:
    """The rows of `query` that `window` asks for, by the columns `key` of `table`."""
    columns = [table.c[name] for name in key]
    if window.after_ns is not None:
        query = query.where(table.c.timestamp > window.after_ns)
    if window.until_ns is not None:
        query = query.where(table.c.timestamp <= window.until_ns)
    if window.cursor is not None:
        here = tuple_(*columns)
        query = query.where(here < window.cursor if window.newest else here > window.cursor)
    order = [column.desc() if window.newest else column for column in columns]
    with database.connect() as connection:
        rows = connection.execute(query.order_by(*order).limit(window.limit + 1)).all()
    more = len(rows) > window.limit
    rows = rows[: window.limit]
    last = tuple(rows[-1]._mapping[name] for name in key) if more else None  # `index` is a method of rows
    return Page(list(rows), last)


def pages(read: Callable[[Window], Page], window: Window) -> Iterator[list[Row[Any]]]:
    """The rows of every page from `window` on, `ROWS_PER_PAGE` at a time: memory does not grow with them."""
    while True:
        found = read(window._replace(limit=ROWS_PER_PAGE))
        yield found.rows
        if found.next is None:
            return
        window = window._replace(cursor=found.next)


def every(read: Callable[[Window], Page], window: Window) -> Iterator[Row[Any]]:
    for rows in pages(read, window):
        yield from rows
