"""What a source can vouch for, and why a bot holds, as people see it."""

from streams.backends import open_log
from streams.events import Feed, FeedState
from streams.journal import JournalWriter, next_epoch
from tests.integration.command_line import KEY, MARKET, SMA, START_MS, CommandLine

SINCE = START_MS * 1_000_000


def say(cli: CommandLine, state: FeedState, reason: str = "") -> None:
    """The word of a source, as its collector writes it."""
    log = open_log(f"embedded://{cli.home}/log")
    word = Feed(market=KEY, source="venue", state=state, since=SINCE, reason=reason)
    JournalWriter(log, "venue", next_epoch(0)).append(word, key=KEY)
    log.close()


def test_a_market_shows_its_feed_and_a_bot_why_it_holds(cli: CommandLine) -> None:
    cli.out("markets", "add", *MARKET, "--price-step", "0.5", "--size-step", "0.001")
    cli.out(*SMA, "--on-stale", "flatten", "--start")
    (market,) = cli.lines("markets", "list", "--json")
    assert (market["feed"], market["feed_since"]) == ("live", None)
    bot = cli.line("bots", "show", 1)
    assert (bot["on_stale"], bot["holds"]) == ("flatten", "")
    say(cli, "stale", "no heartbeat")
    (market,) = cli.lines("markets", "list", "--json")
    assert (market["feed"], market["feed_source"], market["feed_since"], market["feed_reason"]) == (
        "stale",
        "venue",
        "2018-01-01T00:00:00Z",
        "no heartbeat",
    )
    held = cli.line("bots", "show", 1)["holds"]
    assert held == "the feed of venue is stale since 2018-01-01T00:00:00Z: no heartbeat"
    cli.out("bots", "reconfigure", 1, "--on-stale", "ignore")
    bot = cli.line("bots", "show", 1)
    assert (bot["on_stale"], bot["holds"]) == ("ignore", "")
