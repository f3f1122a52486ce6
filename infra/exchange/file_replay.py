"""A recorded file as a provider."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import numpy as np

from infra.exchange.files import RECORD_ROWS, file_source, minute_end
from infra.exchange.forms import FileOptions
from infra.exchange.provider import DataProvider, Delivery, clock_rows
from infra.exchange.strays import without_strays
from infra.exchange.trade_file import BadRowError, Run, TradeFile
from streams.events import Market
from streams.journal import Reached


class FileReplay(DataProvider):
    """A `DataProvider` that hands out a recorded file as a live exchange would: for a collector,
    among other providers. Register it under its `source`, so that it goes on after the last row.
    """

    def __init__(self, path: Path, market: Market, options: FileOptions | None = None) -> None:
        self._file, self._market = TradeFile(path, options), market
        self.source = file_source(self._file, market.key)

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [self._market] if self._market.symbol in symbols else []

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Run | BadRowError | int, None]:
        """The trades and bad rows that are not in the journal, and the end (ns) of the last minute begun.

        Raises `FileReadError`.
        """
        known = reached.get(self._market.key, Reached()).row
        rows, last_time = without_strays(self._file, self._market), 0
        while (read := await asyncio.to_thread(next, rows, None)) is not None:
            found = read[1]
            if isinstance(found, BadRowError) and found.place > known:  # else an earlier run has told of it
                yield found
            if not isinstance(found, Run):
                continue
            last_time = max(last_time, int(found.ticks.time.max()))
            for start in range(max(0, known - found.first_row), found.ticks.rows, RECORD_ROWS):
                yield found.part(start, min(start + RECORD_ROWS, found.ticks.rows))
        yield minute_end(last_time, self._market)

    def parse(self, raw: Run | BadRowError | int) -> Delivery:
        if isinstance(raw, BadRowError):
            raise raw
        keys = (self._market.key,)
        if isinstance(raw, int):
            return Delivery(keys, clock_rows(np.empty(0, np.uint16), raw), clock=raw)
        return Delivery(keys, raw.ticks, first_row=raw.first_row)
