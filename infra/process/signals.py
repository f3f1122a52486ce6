"""A signal's exception, told apart from what code that is not ours raises.

Whatever a strategy raises is its own failure: KeyboardInterrupt and SystemExit too. But a real Ctrl-C may
come while it runs, and then ends the program, whatever the strategy makes of the exception.

Why: ADR 22.
"""

import signal
import threading
from collections.abc import Callable
from types import TracebackType


class _Delivered:
    newest: BaseException | None = None
    """What a signal's handler raised last."""


def raising(make: Callable[[], BaseException], *numbers: signal.Signals) -> None:
    """Let these signals raise what `make` gives, in whatever the main thread is at."""

    def handle(*_: object) -> None:
        _Delivered.newest = make()
        raise _Delivered.newest

    _Delivered.newest = None
    for number in numbers:
        signal.signal(number, handle)


def raise_delivered() -> None:
    """Raise what a signal's handler raised since `raising`, where that was caught: by Python itself, for one,
    which only reports what is raised in the callback at the end of an import."""
    if _Delivered.newest is not None:
        raise _Delivered.newest


def note_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt as Python does, where it does, and note it."""
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        raising(KeyboardInterrupt, signal.SIGINT)


class Foreign:
    """Around code that is not ours, once `note_interrupts` was called. A context manager.

    What a signal's handler raised meanwhile is raised at its end, also where that code caught it.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _Delivered.newest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        delivered = _Delivered.newest
        if delivered is not None and delivered is not self._before and _in_main_thread():
            raise delivered


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
