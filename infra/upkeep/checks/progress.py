"""Checks of how far fold, database and mirror are behind the log."""

import time

from sqlalchemy import Engine

from infra.channels.store import ChannelStore
from infra.db import queries
from infra.db.schema import open_database
from infra.exchange.sources import facts_of, sentences, sources
from infra.process.settings import Settings
from infra.upkeep.checks.finding import ANSWER_S, Finding, Findings
from streams.backends import backend_of, open_log
from streams.log import Log
from streams.snapshots import latest
from streams.topics import DERIVED, JOURNAL

CLOCK_SLACK_S = 60
LAG_WARNING = 1_000
"""Records; what is worked on is no cause for worry."""


def positions(settings: Settings) -> Findings:
    """How far fold, database and mirror are behind the log, and whether the clock goes with it."""
    log = open_log(settings.log_url, answer_s=ANSWER_S)
    database = open_database(settings.database_url)
    try:
        yield from _clock(log)
        yield _worker(log, database)
        yield _mirror(log, settings)
    finally:
        database.dispose()
        log.close()


def feeds(settings: Settings) -> Findings:
    """Whether each market that is or was collected is live, and what else is to be said of sources."""
    log = open_log(settings.log_url, answer_s=ANSWER_S)
    try:
        rows = sources(settings, log)
    finally:
        log.close()
    facts = [facts_of(row) for row in rows]
    wrong = sentences(one for one in facts if one["state"] in {"stale", "down", "halted"})
    for message in (*wrong, *sorted({one["warning"] for one in facts} - {""})):
        yield Finding("feeds", "warning", message, "`tcpdashboard sources` has all that is known of them")
    if rows and not wrong:
        live = sum(row.state == "live" for row in rows)
        yield Finding("feeds", "ok", f"of {len(rows)} markets {live} are live")


def _clock(log: Log) -> Findings:
    times = [_last_time(log, partition) for partition in range(log.partitions)]
    ahead = max(times) / 1000 - time.time()
    if ahead > CLOCK_SLACK_S:
        message = f"this machine's clock is {ahead:.0f} s behind the newest record of the journal"
        yield Finding("clock", "warning", message, "let the machines keep time with NTP")


def _last_time(log: Log, partition: int) -> int:
    end = log.highwater(JOURNAL, partition)
    return max((r.time_ms for r in log.read(JOURNAL, partition, end - 1, end)), default=0) if end else 0


def _worker(log: Log, database: Engine) -> Finding:
    unfolded = records = 0
    cut: list[str] = []
    for partition in range(log.partitions):
        end = log.highwater(JOURNAL, partition)
        snapshot = latest(log, partition, lambda _: None)
        if snapshot is not None and snapshot.sent >= end:
            cut.append(
                f"{JOURNAL}:{partition} ends before offset {end}, but was folded up to {snapshot.sent}"
            )
        records += end
        unfolded += end - 1 - (snapshot.sent if snapshot is not None else -1)
    if cut:
        hint = "it was cut or replaced: restore it from a copy, or begin a new home; no worker starts on it"
        return Finding("worker", "failed", "; ".join(cut), hint)
    behind = _behind(log, {place: offset for place, (offset, _) in queries.reached(database).items()})
    message = (
        f"of {records} records of the journal {unfolded} are not folded,"
        f" of what followed {behind} are not in the database"
    )
    idle = backend_of(log.url).folded_by(answer_s=ANSWER_S) == []
    # a worker at work is always a little ahead of what can be seen
    if unfolded + behind > (0 if idle else LAG_WARNING):
        hint = "run `tcpdashboard up` or `worker`; where one runs, ask again: the numbers must fall"
        return Finding("worker", "warning", message, hint)
    return Finding("worker", "ok", message)


def _mirror(log: Log, settings: Settings) -> Finding:
    store = ChannelStore(settings.database_url)
    try:
        reached = {place: at.offset for place, at in store.load().positions.items() if at.offset is not None}
    finally:
        store.close()
    if not reached:
        return Finding("mirror", "ok", "nothing was ever mirrored to Redis")
    behind = _behind(log, reached)
    if behind <= LAG_WARNING:
        return Finding("mirror", "ok", f"{behind} records are not counted for Redis yet")
    hint = "a worker with a Redis must run; ask again: the number must fall"
    return Finding("mirror", "warning", f"{behind} records are not counted for Redis", hint)


def _behind(log: Log, reached: dict[tuple[str, int], int]) -> int:
    # without `system`: a worker's last word there is read by the next one
    places = [(topic, partition) for topic in DERIVED for partition in range(log.partitions)]
    return sum(max(0, end - 1 - reached.get(place, -1)) for place, end in log.ends(places).items())
