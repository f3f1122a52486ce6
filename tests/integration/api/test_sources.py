"""`GET /api/sources`: by a collector at work, and by the journal alone."""

from api.http.sources import Sources
from infra.exchange.in_hand import in_hand, tell_status
from infra.exchange.status import (
    DiskStatus,
    MarketStatus,
    ProviderStatus,
    RawStatus,
    RestStatus,
    SourceStatus,
    Trouble,
)
from streams.events import Feed, Gap
from streams.journal import JournalWriter
from tests.integration.api.conftest import A, Api, B
from tests.journal import START


def test_what_a_collector_tells_and_what_the_journal_says_of_a_market_that_nobody_collects(
    fresh: Api,
) -> None:
    assert fresh.get("/api/sources") == {"items": []}, "what a file brought has no source that could vouch"
    log, home = fresh.services.log, fresh.services.settings.home
    gap = Gap(market=A.key, start=START, end=START + 9, reason="", first_id=7, last_id=9)
    feed = Feed(market=B.key, source="feed", state="live", since=START)
    JournalWriter(log, "feed", 1).append_all([(A.key, gap), (B.key, feed)])
    market = MarketStatus(A.key, "stale", "deaf", START, 12.0, 0.25, 1, (1, 0, 0))
    trouble = Trouble("cut by redis://u:sesame@h", START)
    provider = ProviderStatus(812.5, 1, RestStatus(2, 60), trouble, {A.key: 4}, RawStatus(6))
    status = SourceStatus("test", 2**62, [market], provider, None, 3, 2e6, DiskStatus(10**9, 2e6))
    with in_hand(home, "test", ["A/USDT"]):
        tell_status(home, status)
        told = fresh.get("/api/sources")
    assert Sources.model_validate(told, extra="forbid").model_dump(mode="json") == told
    first, second = told["items"]
    assert first.pop("collector").startswith("pid ")
    assert first == {
        "market": "test:A/USDT", "venue": "test", "symbol": "A/USDT", "source": "test",
        "state": "stale", "reason": "deaf", "since": "2026-01-01T00:00:00Z",
        "age_s": 12.0, "trades_s": 0.25, "gaps_open": 1, "gaps_final": 0, "gaps_filled": 0,
        "repeats": 4, "refused": 1, "refused_messages": 3,
        "skew_ms": 812.5, "warning": "the clock here is 812 ms ahead of that of test: have it set by NTP"
        "; test: 6 frames came too fast for --raw and are not kept",
        "reconnects": 1, "rest_pages": 2, "rest_pages_max": 60, "raw_dropped": 6,
        "last_error": "cut by redis://u:***@h", "last_error_at": "2026-01-01T00:00:00Z",
        "mb_day": 2.0, "days_left": 500.0,
    }  # fmt: skip
    assert (second["market"], second["state"], second["collector"]) == (B.key, "down", None)
    assert second["reason"].startswith("nobody collects it")
