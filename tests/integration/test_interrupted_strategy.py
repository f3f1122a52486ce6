"""Ctrl-C while a strategy runs ends the program, and is not taken for what the strategy does."""

import signal
import threading
from pathlib import Path

import pytest

from infra.process.signals import Foreign, note_interrupts
from tests.integration.command_line import CREATE, MARKET, SPECIFIED, CommandLine, trades, write_csv
from tests.programs import Program

SLOW = """
import pathlib, time
from projections.strategies import BaseStrategy, Signal

class Slow(BaseStrategy):
    def process_data(self, df):
        here = pathlib.Path({here!r})
        {begin}
            (here / "stepping").touch()
            while not (here / "go").exists():
                time.sleep(0.01)
        {end}
        return Signal(0.0)
"""
PATIENT = ("if True:", "")
SWALLOWS = ("try:", "except BaseException: pass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the strategy, which looks there whether it may go on."""
    return tmp_path_factory.mktemp("slow")


@pytest.fixture(scope="module")
def begun(folder: Path) -> CommandLine:
    """A bot that has stepped through some candles. It is only copied."""
    cli = CommandLine(folder / "home")
    write(cli, folder, PATIENT)
    (folder / "go").touch()
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    cli.out(*CREATE, "slow", "--start")
    rows = trades(4)
    write_csv(folder / "1.csv", rows[:24])
    write_csv(folder / "2.csv", rows[24:])
    cli.out("import", folder / "1.csv", *MARKET)
    assert cli.line("verify")["equal"] is True
    return cli


@pytest.fixture
def stepped(begun: CommandLine, folder: Path, tmp_path: Path) -> CommandLine:
    """The same bot, which waits at the next step."""
    write(begun, folder, PATIENT)
    for name in ("go", "stepping"):
        (folder / name).unlink(missing_ok=True)
    return begun.copy(tmp_path / "home")


def write(cli: CommandLine, folder: Path, form: tuple[str, str]) -> None:
    begin, end = form
    (folder / "slow.py").write_text(SLOW.format(here=str(folder), begin=begin, end=end), encoding="utf-8")
    cli.settings = {**cli.settings, "TCPD_STRATEGIES": str(folder / "slow.py")}


def wait_for_step(program: Program, folder: Path) -> None:
    program.until((folder / "stepping").exists, "its first step")


def test_ctrl_c_in_a_slow_step_ends_verify_at_once(stepped: CommandLine, folder: Path) -> None:
    with stepped.start("verify") as program:
        wait_for_step(program, folder)
        program.send(signal.SIGINT)
        assert program.wait() == 130, program.words()


def test_ctrl_c_that_a_strategy_swallows_ends_verify(stepped: CommandLine, folder: Path) -> None:
    write(stepped, folder, SWALLOWS)
    (folder / "go").touch()
    stepped.out("import", folder / "1.csv", *MARKET)  # halts the bot: its code is another
    stepped.out("bots", "start", 1)
    stepped.out("import", folder / "2.csv", *MARKET)
    (folder / "go").unlink()
    (folder / "stepping").unlink()
    write(stepped, folder, PATIENT)
    with stepped.start("verify") as program:
        wait_for_step(program, folder)
        program.send(signal.SIGINT)
        assert program.wait() == 130, program.words()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_ended_in_a_slow_step_halts_no_bot(
    stepped: CommandLine, folder: Path, how: signal.Signals
) -> None:
    with stepped.start("import", folder / "2.csv", *MARKET) as program:
        wait_for_step(program, folder)
        program.send(how)
        (folder / "go").touch()
        assert program.wait() in (0, 130), program.words()
    stepped.out("import", folder / "2.csv", *MARKET)
    assert stepped.line("bots", "show", 1)["status"] == "running"
    assert stepped.line("verify")["equal"] is True


def test_a_signal_that_was_taken_before_is_not_raised_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note_interrupts()
    try:
        with pytest.raises(KeyboardInterrupt), Foreign():
            signal.raise_signal(signal.SIGINT)
        with Foreign():
            pass
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_of_the_main_thread_is_no_concern_of_another() -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note_interrupts()
    inside, raised, ended = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with Foreign():
            inside.set()
            raised.wait()
        ended.set()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    try:
        with pytest.raises(KeyboardInterrupt), Foreign():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    raised.set()
    thread.join()
    assert ended.is_set()
