"""The table of a bot's life is whole, and `docs/bot-life.md` prints it."""

from pathlib import Path
from typing import get_args

from projections.fold.life import LIFE, STANDINGS, Happening

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "bot-life.md"


def printed() -> str:
    """The table in Markdown."""
    lines = [
        "| status | what happens | status then | code | a waiting order is cancelled as |",
        "|---|---|---|---|---|",
    ]
    for status in STANDINGS:
        for happening in get_args(Happening):
            answer = LIFE.get((status, happening))
            if answer is None:
                continue
            cancelled = answer.cancels or "–"
            if answer.cancels and not answer.flatten:
                cancelled += ", but for one that flattens"
            became = (
                (answer.status or "stays", answer.code or "stays")
                if answer.told
                else ("stays", "stays; no event")
            )
            if answer.refused:
                became = ("stays", "refused: a dead letter")
            lines.append(f"| {status} | {happening} | {became[0]} | {became[1]} | {cancelled} |")
    return "\n".join(lines)


def test_every_happening_has_an_answer_in_every_status() -> None:
    """But for `create`: what is created is a stopped bot first."""
    created = {happening for happening in get_args(Happening) if happening.startswith("create")}
    expected = {(s, h) for s in STANDINGS for h in get_args(Happening) if s == "stopped" or h not in created}
    assert set(LIFE) == expected


def test_the_document_prints_the_table() -> None:
    assert printed() in DOCUMENT.read_text(), f"put this into {DOCUMENT.name}:\n{printed()}"
