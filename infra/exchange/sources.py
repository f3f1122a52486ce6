"""Sources of market data as doors show them: what collectors of this home tell, and the journal's account."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from infra.commands.journal_view import view
from infra.exchange.asked import parted, venue_of
from infra.exchange.counts import gap_counts
from infra.exchange.in_hand import Holder, collectors, status_of
from infra.exchange.status import MarketStatus, SourceStatus, warning
from infra.present.values import iso
from infra.process.settings import Settings, shown
from streams.events import FeedState
from streams.feeds import Feeds
from streams.gaps import Gaps
from streams.log import Log
from streams.topics import market_key

SILENT_NS = 10_000_000_000
"""A collector tells once a second how it is."""
NAMED_MAX = 5
"""Markets of a sentence."""
NOBODY = "nobody collects it"
WITHOUT_A_WORD = f"{NOBODY}; its collector ended without a word"
ELSEWHERE = "so the journal says; no collector of this home knows more"


class Row(Struct):
    """A market of a source. What only a collector at work knows is None without one in this home; times are
    in ns."""

    market: str
    source: str
    state: FeedState
    reason: str
    since: int
    gaps: tuple[int, int, int] = (0, 0, 0)
    """Open, of those final, and filled."""
    collector: str | None = None
    told: MarketStatus | None = None
    status: SourceStatus | None = None
    days_left: float | None = None


def sources(settings: Settings, log: Log | None, *, now_ns: int | None = None) -> list[Row]:
    """By market and source. `log`: None where there is none yet. Raises `LogError` and `OSError`."""
    at_work = _at_work(settings.home)
    rows = _collected(at_work, now_ns)
    gaps: dict[str, Gaps] = {}
    if log is not None:
        seen = {row.market for row in rows}
        is_shared = urlsplit(settings.log_url).scheme != "embedded"
        for partition in range(log.partitions):
            state = view(log, partition)
            gaps |= state.gaps
            known = {key: state.feeds[key] for key in state.markets if key in state.feeds}
            rows += _recorded({key: known[key] for key in known.keys() - seen}, is_shared=is_shared)
    days_left = _days_left(status for _, status in at_work)
    for row in rows:
        row.gaps, row.days_left = gap_counts(gaps.get(row.market, Gaps())), days_left
    return sorted(rows, key=lambda row: (row.market, row.source))


def collected(home: Path, *, now_ns: int | None = None) -> list[Row]:
    """What collectors of a home that are at work have in hand, without the journal's account of gaps. Raises
    `OSError`."""
    return _collected(_at_work(home), now_ns)


AtWork = list[tuple[Holder, SourceStatus | None]]
"""Collectors, each with its last word; None before the first."""


def _at_work(home: Path) -> AtWork:
    return [(holder, status_of(home, holder.source)) for holder in collectors(home)]


def _collected(at_work: AtWork, now_ns: int | None) -> list[Row]:
    now_ns = time.time_ns() if now_ns is None else now_ns
    return [row for holder, status in at_work for row in _in_hand(holder, status, now_ns)]


def _in_hand(holder: Holder, status: SourceStatus | None, now_ns: int) -> Iterator[Row]:
    """What a collector at work has in hand."""
    if status is None:
        for symbol in holder.symbols:
            key = market_key(venue_of(holder.source), symbol)
            state: FeedState = "down" if holder.failing else "catching_up"
            reason = holder.failing or "its collector has told nothing of it yet"
            yield Row(key, holder.source, state, reason, 0, collector=holder.who)
        return
    for told in status.markets:
        if now_ns - status.at > SILENT_NS:
            reason = f"its collector ({holder.who}) has told nothing since {iso(status.at)}"
            told = replace(told, state="stale", reason=reason, since=status.at)  # noqa: PLW2901 - as it counts
        yield Row(
            told.market, holder.source, told.state, told.reason, told.since,
            collector=holder.who, told=told, status=status,
        )  # fmt: skip


def _recorded(feeds: Mapping[str, Feeds], *, is_shared: bool) -> Iterator[Row]:
    """What the journal says of markets that no collector of this home has in hand, where a source gave its
    word. Where several homes write into a log, that counts; else nobody is left who could keep it."""
    for key, known in feeds.items():
        feed = known.counting
        if feed is None:
            continue
        if is_shared:
            reason = f"{feed.reason}; {ELSEWHERE}" if feed.reason else ELSEWHERE
            yield Row(key, feed.source, feed.state, reason, feed.since)
        elif feed.state in {"down", "halted"}:
            reason = f"{NOBODY}; its last word: {feed.reason}" if feed.reason else NOBODY
            yield Row(key, feed.source, "down", reason, feed.since)
        else:
            yield Row(key, feed.source, "down", WITHOUT_A_WORD, feed.last or feed.since)


def _days_left(statuses: Iterable[SourceStatus | None]) -> float | None:
    """So long the disk lasts as the log grows, by whoever sees it grow fastest: each sees all of it. None
    where too little is known."""
    days = [status.disk.days_left for status in statuses if status is not None and status.disk is not None]
    return min(filter(None, days), default=None)


def facts_of(row: Row) -> dict[str, Any]:
    """A row at the doors: times are ISO 8601, and a proxy's password is in no text."""
    told, status = row.told, row.status
    provider = status.provider if status else None
    trouble = status.last_trouble if status else None
    grown = status.bytes_day if status else None
    venue, symbol = parted(row.market)
    return {
        "market": row.market,
        "venue": venue,
        "symbol": symbol,
        "source": row.source,
        "collector": row.collector,
        "state": row.state,
        "reason": shown(row.reason),
        "since": iso(row.since) if row.since else None,
        "age_s": None if told is None or told.age_s is None else round(told.age_s, 3),
        "trades_s": None if told is None else round(told.trades_s, 3),
        "gaps_open": row.gaps[0],
        "gaps_final": row.gaps[1],
        "gaps_filled": row.gaps[2],
        "repeats": None if provider is None else provider.repeats.get(row.market, 0),
        "refused": None if told is None else told.refused,
        "refused_messages": None if status is None else status.refused,
        "skew_ms": None if provider is None or provider.skew_ms is None else round(provider.skew_ms, 1),
        "warning": warning(venue, provider) if provider else "",
        "reconnects": None if provider is None else provider.reconnects,
        "rest_pages": None if provider is None else provider.rest.pages,
        "rest_pages_max": None if provider is None else provider.rest.pages_max,
        "raw_dropped": None if provider is None or provider.raw is None else provider.raw.dropped,
        "last_error": shown(trouble.what) if trouble else None,
        "last_error_at": iso(trouble.at) if trouble else None,
        "mb_day": None if grown is None else round(grown / 1e6, 3),
        "days_left": None if row.days_left is None else round(row.days_left, 1),
    }


def sentences(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    """State and reason of rows' facts: one sentence for those that are alike, none for what is live and has
    nothing to say."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in facts:
        if one["reason"] or one["state"] != "live":
            alike.setdefault((one["state"].replace("_", " "), one["reason"]), []).append(one)
    return [_sentence(together, *said) for said, together in alike.items()]


def _sentence(together: Sequence[Mapping[str, Any]], state: str, reason: str) -> str:
    names = ", ".join(one["market"] for one in together[:NAMED_MAX])
    if len(together) > NAMED_MAX:
        names += f" and {len(together) - NAMED_MAX} more"
    first, *others = together
    since = "" if others or not first["since"] else f" since {first['since']}"
    return f"{names} {'are' if others else 'is'} {state}{since}{reason and f': {reason}'}"
