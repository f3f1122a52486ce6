"""Ten thousand bots on one market: created, stepped, restarted and verified."""

from infra.db.schema import open_database
from infra.strategies.registry import Strategies
from streams.backends import open_log
from streams.journal import JournalWriter
from tests.contract.database_rows import bots
from tests.integration.command_line import CommandLine
from tests.journal import batch, create, spot

MARKET = spot("A/USDT")
BOTS = 10_000
PARAMS = {"fast": 1, "slow": 2}


def test_ten_thousand_bots_on_one_market_trade_and_restart(cli: CommandLine, strategies: Strategies) -> None:
    code = strategies.latest("sma_cross").code_hash
    created = (create(MARKET, number, code_hash=code, params=PARAMS) for number in range(1, BOTS + 1))
    cli.home.mkdir()
    log = open_log(f"embedded://{cli.home}/log")
    feed = JournalWriter(log, "feed", 0)
    feed.append_all((MARKET.key, event) for event in (MARKET, *created))
    feed.append(batch(MARKET, [(1, 100, 5), (61, 101, 5), (121, 102, 5)]), key=MARKET.key)
    cli.out("bots", "stop", 1)
    feed.append(batch(MARKET, [(122, 103, 5), (180,)]), key=MARKET.key)
    log.close()
    cli.out("bots", "stop", 2)

    result = cli.line("verify")
    assert (result["equal"], result["behind"], result["compared"]["signals"]) == (True, 0, BOTS)
    database = open_database(f"sqlite:///{cli.home}/projections.db")
    rows = bots(database)
    database.dispose()
    assert [row["bot_id"] for row in rows] == list(range(1, BOTS + 1))
    assert [row["bot_id"] for row in rows if row["status"] != "running"] == [1, 2]
    assert [row["bot_id"] for row in rows if row["traded"] is None] == [1]
