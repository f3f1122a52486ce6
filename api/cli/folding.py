"""Letting what was appended take effect: in this process, or by waiting for the one that folds."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from api.cli.failures import CommandFailedError
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.worker.root import Progress

WAIT_S = 2.0
WORKERS_S = 30.0
"""On Kafka workers may take so long before a command says that it waits for none."""


def folds_elsewhere(session: Session) -> bool:
    """Whether another process folds this log; on Kafka its workers always do."""
    from streams.embedded.fold_lock import fold_lock
    from streams.embedded.log import EmbeddedLog
    from streams.log import LogError

    if not isinstance(session.log, EmbeddedLog):
        return True
    try:
        with fold_lock(session.log.url, "a command that looks whether another folds"):
            return False
    except LogError:
        return True


def fold(
    session: Session,
    appended: Callable[[], bool] = lambda: True,
    observe: Callable[["Progress"], None] | None = None,
) -> bool:
    """Fold and project until `appended` and caught up. False when it was interrupted before."""
    from infra.worker.root import work

    session.migrate()
    complete = reached = False

    def until(progress: "Progress") -> bool:
        nonlocal complete, reached
        # what was appended before the last look is in this one's highwater
        reached = complete and progress.caught_up
        complete = appended()
        return reached

    work(session.settings, until=until, observe=observe)
    return reached


def fold_everything(session: Session) -> None:
    """Return when all that the journal holds now is folded and projected, by whom ever."""
    from infra.worker.root import journal_ends, wait_caught_up
    from streams.embedded.log import EmbeddedLog
    from streams.log import LogError

    session.migrate()
    ends = journal_ends(session.log)
    while True:
        if folds_elsewhere(session):
            embedded = isinstance(session.log, EmbeddedLog)
            if wait_caught_up(session.settings, session.log, WAIT_S if embedded else WORKERS_S, ends):
                return
            if not embedded:
                raise CommandFailedError(
                    f"appended, but no worker has folded it within {WORKERS_S:.0f} s; start one with"
                    " `tcpdashboard up`, or append only with --no-fold"
                )
            continue
        try:
            if not fold(session):
                raise CommandFailedError("interrupted before all was folded; `tcpdashboard up` goes on")
            return
        except LogError:
            if not folds_elsewhere(session):
                raise
