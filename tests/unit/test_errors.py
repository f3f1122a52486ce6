"""What is said of an error."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from infra.exchange.venues.venue import NotServedError
from infra.process.errors import named, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a b\n  c"), "a b c"),
        (TimeoutError(), "TimeoutError"),
        (OSError("407, url='http://me:secret@a:1'"), "407, url='http://me:***@a:1'"),
    ],
)
def test_an_error_is_said_on_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_an_error_of_ours_is_a_sentence_and_another_goes_by_its_name() -> None:
    assert named(NotServedError("not served from here: HTTP 451")) == "not served from here: HTTP 451"
    error = OSError("no answer")
    error.__cause__ = ValueError("name or service not known")
    assert named(error) == "OSError: no answer (name or service not known)"


def test_a_database_speaks_without_its_statement() -> None:
    with create_engine("sqlite://").connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("SELECT 1 FROM nowhere"))
    assert one_line(raised.value) == "no such table: nowhere"
