"""What people see on a terminal: as it is named, and for as long as they look."""

import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import text

from api.cli.live import Live, _screen
from api.cli.output import print_table
from api.cli.session import Session
from infra.process.settings import load_settings

ODD = "[/B]\x1b[2J"
WAIT_S = 30


def test_a_table_shows_markup_as_text_and_no_terminal_escape(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"words": ODD}], ("words",))
    assert capsys.readouterr().out.splitlines()[-1].strip() == "[/B]\N{REPLACEMENT CHARACTER}[2J"


def test_the_view_shows_markup_as_text_and_no_terminal_escape() -> None:
    market = dict.fromkeys(("time", "price"), "1") | {"market": ODD, "trades_per_s": 1, "candle": None}
    bot = dict.fromkeys(("timeframe", "position", "equity", "pnl"), "1") | {"bot_id": 1, "status": "halted"}
    bot |= dict.fromkeys(("venue", "symbol", "strategy", "currency", "message"), ODD)
    state = {"time": None, "trades_per_s": 1, "lag": 0, "markets": [market], "statuses": {}, "bots": [bot]}
    console = Console(width=400, record=True)
    console.print(_screen(state, ""))
    shown = console.export_text()
    assert shown.count("[/B]\N{REPLACEMENT CHARACTER}[2J") == 6
    assert "\x1b" not in shown


def test_the_view_goes_on_when_the_database_answers_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session(load_settings({"TCPD_HOME": str(tmp_path)})) as session:
        _run(session, "ALTER TABLE bots RENAME TO away")
        with Live(session, "") as view:
            turns, ends = {view._looked}, time.monotonic() + WAIT_S
            while len(turns) < 3 and time.monotonic() < ends:
                threading.Event().wait(0.02)
                turns.add(view._looked)
            _run(session, "ALTER TABLE away RENAME TO bots")
            shown = ""
            while "bots: none" not in shown and time.monotonic() < ends:
                threading.Event().wait(0.02)
                shown += capsys.readouterr().out
        assert "bots: none" in shown


def _run(session: Session, statement: str) -> None:
    with session.database.begin() as connection:
        connection.execute(text(statement))
