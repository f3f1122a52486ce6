"""What people see on a terminal: as it is named, and for as long as they look."""

import io
import json
import logging
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import text

from api.cli.live import Live, _line, _screen
from api.cli.output import print_table
from api.cli.session import Session
from infra.process.logs import log_as_service
from infra.process.settings import load_settings

ODD = "[/B]\x1b[2J"
WAIT_S = 120


def test_a_table_shows_markup_as_text_and_no_terminal_escape(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"words": ODD}], ("words",))
    assert capsys.readouterr().out.splitlines()[-1].strip() == "[/B]\N{REPLACEMENT CHARACTER}[2J"


def test_the_view_shows_markup_as_text_and_no_terminal_escape() -> None:
    market = dict.fromkeys(("time", "price"), "1") | {"market": ODD, "trades_per_s": 1, "candle": None}
    bot = dict.fromkeys(("timeframe", "position", "equity", "pnl"), "1") | {"bot_id": 1, "status": "halted"}
    bot |= dict.fromkeys(("venue", "symbol", "strategy", "currency", "message"), ODD)
    state = {"time": None, "trades_per_s": 1, "lag": 0, "markets": [market], "statuses": {}, "bots": [bot]}
    state["feeds"] = []
    console = Console(width=400, record=True)
    console.print(_screen(state, ""))
    shown = console.export_text()
    assert shown.count("[/B]\N{REPLACEMENT CHARACTER}[2J") == 6
    assert "\x1b" not in shown


def test_a_table_goes_on_in_more_lines_where_a_terminal_is_narrow_and_has_numbers_on_the_right(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "26")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(
        [{"market": "binance:BTC/USDT", "n": 7, "why": "abcdefgh"}, {"market": "x", "n": 12, "why": ""}],
        ("market", "n", "why"),
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == ["binance:BTC/USDT   7  abcd", 22 * " " + "efgh", "x                 12"]


def test_the_view_says_which_feeds_nobody_vouches_for_and_why() -> None:
    feed = {"market": "binance:BTC/USDT", "state": "catching_up", "since": None, "reason": f"asked {ODD}"}
    state = {"time": None, "trades_per_s": 0, "lag": 0, "markets": [], "statuses": {}, "bots": []}
    console = Console(width=200, record=True)
    console.print(_screen(state | {"feeds": [feed]}, ""))
    assert "binance:BTC/USDT is catching up: asked [/B]\N{REPLACEMENT CHARACTER}[2J" in console.export_text()
    assert "; binance:BTC/USDT is catching up; bots: none" in _line(state | {"feeds": [feed]})


def test_a_line_of_the_log_goes_to_what_standard_error_is_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view on a terminal has it put above itself."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        log_as_service("w")
        monkeypatch.setattr("sys.stderr", taken := io.StringIO())
        logging.getLogger("infra").warning("of %s", "x")
        logging.getLogger("stamina").warning("stamina.retry_scheduled")
    finally:
        logging.basicConfig(handlers=before, level=level, force=True)
    assert json.loads(taken.getvalue())["message"] == "of x"


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
