"""What is known of sources: by collectors that are at work, and by the journal alone."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from infra.exchange.disk import Disk
from infra.exchange.gauges import of_disk
from infra.exchange.in_hand import in_hand, tell_status
from infra.exchange.simulated import START_NS, market
from infra.exchange.sources import SILENT_NS, facts_of, sentences, sources
from infra.exchange.status import (
    DiskStatus,
    MarketStatus,
    ProviderStatus,
    RawStatus,
    RestStatus,
    SourceStatus,
    Trouble,
    warning,
)
from infra.process.settings import Settings, load_settings
from streams.backends import open_log
from streams.events import Feed, FeedState, Gap, GapFilled, JournalEvent
from streams.journal import JournalWriter
from streams.log import Log

BTC = market("BTC/USDT")
NOW = START_NS + 10**12
TOLD = MarketStatus(BTC.key, "live", "", 0, 0.5, 2.0, 3, (0, 0, 0))
PROVIDER = ProviderStatus(-612.0, 1, RestStatus(2, 120), Trouble("cut", NOW - 5), {BTC.key: 4})
STATUS = SourceStatus(
    "sim", NOW, [TOLD], PROVIDER, Trouble("failed", NOW - 9), 7, 2e9, DiskStatus(30 * 10**9, 2e9)
)
NO_GAPS = (0, 0, 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"TCPD_HOME": str(tmp_path)})


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    log = open_log(settings.log_url, partitions=2)
    yield log
    log.close()


def write(log: Log, *events: JournalEvent, source: str = "sim") -> None:
    JournalWriter(log, source, 1).append_all([(BTC.key, event) for event in (BTC, *events)])


def feed(state: FeedState, reason: str = "", source: str = "sim") -> Feed:
    return Feed(market=BTC.key, source=source, state=state, since=START_NS, reason=reason)


def test_without_a_collector_whatever_the_journal_says_is_down_as_nobody_collects(
    settings: Settings, log: Log
) -> None:
    write(log, feed("live"))
    (row,) = sources(settings, log)
    assert (row.state, row.reason) == ("down", "nobody collects it; its collector ended without a word")
    write(log, feed("down", "its collector ended"))
    (row,) = sources(settings, log)
    assert (row.state, row.reason) == ("down", "nobody collects it; its last word: its collector ended")
    assert row.since == START_NS and row.told is None and row.collector is None


def test_on_a_shared_log_the_journals_word_counts_where_no_collector_of_this_home_knows_more(
    settings: Settings, log: Log
) -> None:
    write(log, feed("catching_up", "asking"))
    shared = load_settings({"TCPD_HOME": str(settings.home), "TCPD_LOG_URL": "kafka://broker:9092"})
    (row,) = sources(shared, log)
    assert row.state == "catching_up"
    assert row.reason == "asking; so the journal says; no collector of this home knows more"


def test_what_was_imported_and_vouched_for_by_nobody_is_no_source(settings: Settings, log: Log) -> None:
    write(log, source="file")
    assert sources(settings, log) == []
    assert sources(settings, None) == []


def test_a_collector_at_work_counts_with_the_gaps_of_the_journal(settings: Settings, log: Log) -> None:
    gaps = [Gap(market=BTC.key, start=n, end=n + 1, reason="", final=n == 3) for n in (1, 3, 5)]
    write(log, feed("down", "an older word"), *gaps, GapFilled(market=BTC.key, start=1, end=2))
    with in_hand(settings.home, "sim", ["BTC/USDT"]):
        tell_status(settings.home, STATUS)
        (row,) = sources(settings, log, now_ns=NOW)
    assert (row.state, row.gaps, row.days_left) == ("live", (2, 1, 1), 15.0)
    told = facts_of(row)
    assert (told["repeats"], told["refused"], told["refused_messages"], told["mb_day"]) == (4, 3, 7, 2000.0)
    assert (told["last_error"], told["rest_pages"], told["reconnects"]) == ("cut", 2, 1)
    assert told["warning"].startswith("the clock here is 612 ms behind that of sim")


def test_what_a_collector_left_behind_that_is_gone_is_not_believed(settings: Settings, log: Log) -> None:
    with in_hand(settings.home, "sim", ["BTC/USDT"]):
        tell_status(settings.home, STATUS)
    write(log, feed("live"))
    assert sources(settings, log)[0].state == "down"
    with in_hand(settings.home, "sim", ["BTC/USDT", "ETH/USDT"]) as tell:
        rows = sources(settings, log)
        assert [(row.market, row.state) for row in rows] == [
            (BTC.key, "catching_up"), ("sim:ETH/USDT", "catching_up"),
        ]  # fmt: skip
        tell("no route")
        assert {(row.state, row.reason) for row in sources(settings, log)} == {("down", "no route")}


def test_a_collector_that_tells_nothing_any_more_is_stale(settings: Settings) -> None:
    with in_hand(settings.home, "sim", ["BTC/USDT"]):
        tell_status(settings.home, STATUS)
        (row,) = sources(settings, None, now_ns=NOW + SILENT_NS)
        assert row.state == "live"
        (row,) = sources(settings, None, now_ns=NOW + SILENT_NS + 1)
    assert row.state == "stale" and row.since == NOW
    assert "has told nothing since 2026-01-01T00:16:40Z" in row.reason


def test_the_disk_lasts_as_whoever_knows_how_the_log_grows_says(settings: Settings) -> None:
    def told(free: int, grown: float | None) -> None:
        status = SourceStatus("x", NOW, [], None, None, 0, None, DiskStatus(free, grown))
        tell_status(settings.home, status)

    with in_hand(settings.home, "sim", ["BTC/USDT"]), in_hand(settings.home, "x", ["BTC/USDT"]):
        tell_status(settings.home, STATUS)
        told(30 * 10**9, None)
        assert sources(settings, None, now_ns=NOW)[0].days_left == 15.0
        told(30 * 10**9, 3e9)
        assert sources(settings, None, now_ns=NOW)[0].days_left == 10.0
        tell_status(settings.home, replace(STATUS, disk=None))
        told(30 * 10**9, 0.0)
        assert sources(settings, None, now_ns=NOW)[0].days_left is None, "it does not grow"


def test_how_long_the_disk_lasts_stands_in_the_metrics_once_it_is_known() -> None:
    def told(disk: DiskStatus | None) -> dict[object, float]:
        _, _, days = of_disk(lambda: disk)["tcpd_log_disk_days_left"]
        return dict(days())

    assert told(None) == told(DiskStatus(30, None)) == told(DiskStatus(30, 0.0)) == {}
    assert told(DiskStatus(30, 2.0)) == {(): 15.0}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, ""),
        (RawStatus(0), ""),
        (RawStatus(3), "x: 3 frames came too fast for --raw and are not kept"),
        (RawStatus(3, "No space left"), "x: --raw keeps no frames any more: No space left"),
    ],
)
def test_frames_that_are_not_kept_are_told(raw: RawStatus | None, words: str) -> None:
    assert warning("x", replace(PROVIDER, skew_ms=None, raw=raw)) == words
    both = warning("x", replace(PROVIDER, raw=raw))
    assert both.startswith("the clock here is 612 ms behind") and both.endswith(words)


def test_markets_that_are_alike_are_told_in_one_sentence() -> None:
    def facts(*markets: str, state: str = "down", reason: str = "no route") -> list[dict[str, str | None]]:
        since = "2026-01-01T00:00:00Z"
        return [{"market": key, "state": state, "reason": reason, "since": since} for key in markets]

    assert sentences(facts("x:A", state="live", reason="")) == []
    assert sentences(facts("x:A")) == ["x:A is down since 2026-01-01T00:00:00Z: no route"]
    assert sentences(facts("x:A", "x:B", state="catching_up", reason="")) == ["x:A, x:B are catching up"]
    told = sentences([*facts(*(f"x:{name}" for name in "ABCDEFG")), *facts("y:A", reason="no proxy")])
    assert told == [
        "x:A, x:B, x:C, x:D, x:E and 2 more are down: no route",
        "y:A is down since 2026-01-01T00:00:00Z: no proxy",
    ]


def test_that_an_exchange_demands_to_be_asked_nothing_is_told() -> None:
    told = replace(PROVIDER, skew_ms=None, rest=RestStatus(2, 120, 118.4))
    assert warning("x", told) == "x: nothing is asked of it for another 118 s, as it demands"


def test_how_the_log_grows_is_known_after_ten_minutes(tmp_path: Path) -> None:
    folder = tmp_path / "a log"
    folder.mkdir()
    file = folder / "log.db"
    file.write_bytes(b"x" * 1_000_000)
    disk = Disk(f"embedded://{quote(str(folder))}", 0.0)
    first = disk.look(1.0)
    assert first is not None and first.free > 0 and first.grown_day is None, "what was there has not grown"
    file.write_bytes(b"x" * 3_000_000)
    disk.look(300.0)
    file.write_bytes(b"x" * 2_000_000)
    later = disk.look(864.0)
    assert later is not None and later.grown_day == pytest.approx(1_000_000 * 100)
    assert Disk("kafka://broker:9092", 0.0).look(1.0) is None
