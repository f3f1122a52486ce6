"""Letting what was appended take effect: in this process, or by waiting for the one that folds."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from api.cli.failures import CommandFailedError
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.worker.root import Progress

WAIT_S = 2.0
WORKERS_S = 30.0
"""Where workers share the log they may take so long before a command says that it waits for none."""


def folds_elsewhere(session: Session) -> bool:
    """Whether another process folds this log; where workers share it, they always do."""
    from streams.backends import backend_of

    backend = backend_of(session.log.url)
    return backend.shared or bool(backend.folded_by())


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
    from streams.backends import backend_of
    from streams.log import LogError

    session.migrate()
    ends = journal_ends(session.log)
    shared = backend_of(session.log.url).shared
    while True:
        if folds_elsewhere(session):
            if wait_caught_up(session.settings, session.log, WORKERS_S if shared else WAIT_S, ends):
                return
            if shared:
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
