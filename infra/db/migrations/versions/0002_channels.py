"""The count of the channels."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False) for name in names]


def _key(name: str) -> sa.Column[str]:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, text, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _create(table: str, *columns: sa.Column[Any], key: str) -> None:
    constraint = sa.PrimaryKeyConstraint(*key.split(), name=op.f(f"pk_{table}"))
    op.create_table(table, *columns, constraint, sqlite_with_rowid=False)


def upgrade() -> None:
    _create("channels", _key("channel"), *_integers("seq"), _text("snapshot"), key="channel")
    place = _integers("partition", "offset", "cause_offset")
    _create(
        "channel_runs",
        *(_key("channel"), *_integers("first_seq"), _text("topic"), *place, _text("cause_indexes")),
        key="channel first_seq",
    )
    place = _integers("partition", "offset", "cause_offset")
    _create("mirror_positions", _key("topic"), *place, _text("cause_indexes"), key="topic partition")
    _create("mirror_turns", *_integers("id", "turn"), key="id")
    op.execute("INSERT INTO mirror_turns (id, turn) VALUES (1, 0)")
