"""What is missing of a venue's markets, asked for once more, until it is there or cannot be had."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from msgspec.structs import replace

from infra.exchange.venues.filling import Filler
from infra.exchange.venues.flow import Flow, Message
from infra.exchange.venues.holes import ASKED_AGAIN
from infra.exchange.venues.provider import VenueProvider
from infra.exchange.venues.sequence import TradeSequence
from streams.events import MINUTE_NS, Market
from streams.journal import Reached


class NotAnsweredError(RuntimeError):
    """A venue that was asked again and again answers with nothing but errors."""


class GapProvider(VenueProvider):
    """Fetches the gaps that the journal has of its markets, those too that are final, and ends. It takes no
    live trades."""

    _failures = 0
    """Since something was fetched last."""

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Message, None]:
        """Raises `NotAnsweredError` and `NotServedError`."""
        assert self._client is not None, "ask for the markets first"
        flows = [self._missing(market, reached[market.key]) for market in markets]
        filler = Filler(
            self.venue, self._client, flows,
            is_open=lambda _: False, changed=self.touch, failed=self.failed, oldest=lambda: 0,
            skew=lambda: None, now=self._now,
        )  # fmt: skip
        filling = asyncio.ensure_future(filler.run())
        filling.add_done_callback(lambda _: self._woken.set())
        try:
            for market in markets:
                yield Message((market.key,), markets=(market,))
            while any(flow.sequence.holes for flow in flows):
                await self._woken.wait()
                self._woken.clear()
                for message in self._fetched(flows):
                    self._failures = 0
                    yield message
                if filling.done():
                    filling.result()
                if self._failures > ASKED_AGAIN:
                    raise NotAnsweredError(self.trouble.what if self.trouble else "it answers with errors")
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            await self.close()

    def _missing(self, market: Market, known: Reached) -> Flow:
        gaps = [replace(gap, final=False) for gap in known.gaps]
        sequence = TradeSequence(market.key, gap_wait=0, horizon=market.horizon_min * MINUTE_NS, gaps=gaps)
        return Flow(market, sequence, self._now(), promised=0, latest=self._latest)

    def _fetched(self, flows: Sequence[Flow]) -> Iterator[Message]:
        for flow in flows:
            for part in flow.sequence.due(int(self._now() * 1e9)):
                yield Message((flow.market.key,), ((0, part),))
            if flow.refused:
                yield Message((flow.market.key,), refused=tuple(flow.refused))
                flow.refused = []

    def failed(self, what: str) -> None:
        super().failed(what)
        self._failures += 1
