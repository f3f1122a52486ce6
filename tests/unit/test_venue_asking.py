"""When a venue is asked: not before it allows it, and of a market that went quiet."""

import asyncio

import pytest

from infra.exchange.specification import specification
from infra.exchange.venues.flow import Flow
from infra.exchange.venues.rest import NotYetError, Rest
from infra.exchange.venues.sequence import FOREVER, TradeSequence

MARKET = specification("binance", "BTC/USDT", contract="spot", price_step="0.01", size_step="0.00001")
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"Retry-After": "7"}, 7),
        (418, {"retry-after": "120"}, 120),
        (429, {}, 60),
        (418, {}, 60),
        (503, {"Retry-After": "30"}, 30),
        (429, {"Retry-After": "Mon, 30 Nov 2026 10:00:09 GMT", "Date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 9),
        (503, {"Retry-After": "Mon, 30 Nov 2026 10:00:09 GMT", "Date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 9),
        (429, {"Retry-After": "Mon, 30 Nov 2026 10:00:09 GMT"}, 60),
        (418, {"Retry-After": "soon", "Date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 60),
        (418, {"Retry-After": "²"}, 60),
        (503, {}, 0),
        (200, {"Retry-After": "7"}, 0),
    ],
)
def test_no_request_goes_out_before_a_refusal_allows_it(
    status: int, headers: dict[str, str], wait_s: float
) -> None:
    now = 100.0
    rest = Rest(lambda: now)

    async def request() -> str:
        return "asked"

    async def test() -> None:
        nonlocal now
        rest.answered(status, headers)
        assert rest.status(1).wait_s == wait_s
        now += wait_s - 0.5
        if wait_s:
            with pytest.raises(NotYetError, match="may not be asked"):
                await rest.one(request)
            asking = asyncio.ensure_future(rest.ask(request))
            await asyncio.sleep(0)
            assert not asking.done()
            asking.cancel()
        now += 0.5
        assert await rest.ask(lambda: rest.one(request)) == "asked"

    asyncio.run(test())


def test_a_shorter_refusal_does_not_end_a_longer_one() -> None:
    rest = Rest(lambda: 0.0)
    rest.answered(418, {"Retry-After": "120"})
    rest.answered(429, {"Retry-After": "7"})
    assert rest.status(1).wait_s == 120


def flow(every_s: float) -> tuple[Flow, float]:
    """A market with 200 trades, one in so many seconds, and when the last one came."""
    sequence = TradeSequence(MARKET.key, gap_wait=SECOND, horizon=SECOND, reached=0)
    of = Flow(MARKET, sequence, 0.0, promised=1, latest=lambda: FOREVER)
    told = {"timestamp": 1_700_000_000_000, "price": "1", "amount": "1", "side": "buy"}
    for n in range(1, 201):
        of.arrive({**told, "id": str(n)}, n * every_s)
    return of, 200 * every_s


@pytest.mark.parametrize(("every_s", "quiet_s"), [(0.01, 10), (1, 20), (5, 100), (60, 300)])
def test_a_market_is_quiet_after_twenty_times_its_usual_distance_within_bounds(
    every_s: float, quiet_s: float
) -> None:
    of, last = flow(every_s)
    assert not of.is_quiet(last + 0.95 * quiet_s) and of.is_quiet(last + 1.05 * quiet_s)
    of.asked = last + quiet_s
    assert not of.is_quiet(last + 1.9 * quiet_s) and of.is_quiet(last + 2.1 * quiet_s)
