"""What is said of an error."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from infra.process.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("a b\n  c"), "a b c"), (TimeoutError(), "TimeoutError")]
)
def test_an_error_is_said_on_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_a_database_speaks_without_its_statement() -> None:
    with create_engine("sqlite://").connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("SELECT 1 FROM nowhere"))
    assert one_line(raised.value) == "no such table: nowhere"
