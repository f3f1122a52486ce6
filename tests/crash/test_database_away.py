"""The real worker on a real PostgreSQL that is killed in the middle of a run and comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from projections.strategies.code import Strategies
from streams.journal import JournalWriter
from tests.crash.checks import assert_same_journal, is_projected
from tests.crash.feeding import bots, feed
from tests.crash.processes import Platform
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def platform(request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path) -> Iterator[Platform]:
    url = postgres.fresh().replace("tcpd@", "tcpd:secret@")
    settings = {"database_url": url, "partitions": "2"}
    if request.param == "kafka":
        broker: Kafka = request.getfixturevalue("kafka")
        settings["log_url"] = f"kafka://{broker.bootstrap}/away"
    made = Platform(tmp_path, **settings)
    yield made
    made.close()
    postgres.give_back(url)


def test_folding_goes_on_while_the_database_is_killed_and_nothing_is_lost(
    platform: Platform, postgres: Postgres, strategies: Strategies
) -> None:
    """Same journal: bytes, states and tables. On Kafka a second worker dies too; the first takes over."""
    markets = [simulated_market(symbol) for symbol in symbols(4)]
    writers = {market.key: JournalWriter(platform.log, f"feed:{market.key}", 1) for market in markets}
    for number, market in enumerate(markets):
        bots(platform.log, strategies, market, 2 * number + 1)
    others = ["w2"] if platform.settings.log_url.startswith("kafka:") else []
    platform.start("w1", "work")
    for number in range(2):
        for name in others:
            platform.start(name, "work")
        before = platform.outputs()
        feed(platform.log, markets, 40 * number, 20, writers)
        platform.until(lambda before=before: platform.outputs() > before, "outputs")
        with postgres.away():
            for name in others:
                platform.kill(name)
            feed(platform.log, markets, 40 * number + 20, 20, writers)
            platform.until(platform.is_folded, "everything folded while the database is away")
            assert platform.ended == 0, platform.tails()
        platform.until(lambda: is_projected(platform), "everything projected after it came back")
    said = (platform.folder / "w1.log").read_text()
    assert "projecting waits 0.25 s after attempt 1: database postgresql+psycopg2://tcpd:***@127" in said
    assert "this worker ends" not in said
    assert platform.stop("w1") == 0, platform.tails()
    assert_same_journal(platform, strategies)
