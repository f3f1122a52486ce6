"""Ticks a second of the pass that finds out what fills: `python -m tests.bench.bench_research_columns`.

Journal records in memory, decoded, their hashes chained, their candles made, and the trade behind each close
found, for one timeframe and for all six. *fold*: `Pipeline.fold` over the same records, without bots.
*made* and *loaded*: the columns of a year of minutes with four trades each, from a log and from disk, with
the floats that strategies see.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from infra.research.kept import columns_of
from projections.fold.pipeline import Pipeline
from projections.research.columns import values_of
from projections.research.gather import gather
from streams.backends import open_log
from streams.events import TIMEFRAMES_NS
from streams.records import Record
from streams.topics import JOURNAL
from tests.bench import journals
from tests.bench.timing import best, headline, show, timed
from tests.journal import begun

RECORD_ROWS = (500, 5_000)
TIMES = 4
MARKETS = 8
TIMEFRAMES = list(TIMEFRAMES_NS)
YEAR_MINUTES = 525_600
START_NS = 1_514_764_800_000_000_000


def main() -> None:
    market, ticks = journals.trades(TIMES)
    numbered = ticks._replace(id=np.arange(ticks.rows))
    headline(f"{ticks.rows:,} {journals.source()}")
    for rows in RECORD_ROWS:
        size = f"{rows:,} a record"
        alone = recorded([(market.key, market), *journals.batches(market, ticks, rows)])
        show(f"fold, {size}", ticks.rows, best(partial(folded, alone)))
        passes(f"1m, {size}", ticks.rows, alone, market.key, ["1m"])
        passes(f"all, {size}", ticks.rows, alone, market.key, TIMEFRAMES)
        with_ids = recorded([(market.key, market), *journals.batches(market, numbered, rows)])
        passes(f"trade ids, {size}", ticks.rows, with_ids, market.key, TIMEFRAMES)
        many, dealt = journals.interleaved(market, ticks, MARKETS, rows)
        shared = recorded([*((one.key, one) for one in many), *dealt])
        passes(f"one market of {MARKETS}, {size}", ticks.rows, shared, many[0].key, TIMEFRAMES)
    year()


def passes(name: str, ticks: int, records: list[Record], key: str, timeframes: list[str]) -> None:
    show(f"columns, {name}", ticks, best(lambda: gather(records, key, timeframes)))


def year() -> None:
    ticks = 4 * YEAR_MINUTES
    market, some = journals.trades(2 * ticks // journals.trades()[1].rows)
    time = START_NS + np.arange(ticks) * 15_000_000_000
    minutes = some.take(slice(0, ticks))._replace(time=time)
    with TemporaryDirectory() as folder:
        log = open_log(f"embedded://{folder}/log", partitions=1)
        journals.append(log, [(market.key, market), *journals.batches(market, minutes, 5_000)])

        def load() -> None:
            values_of(*columns_of(log, market.key, ["1m"], Path(folder)))

        show("made, a year of minutes", ticks, timed(load), "one round")
        size = sum(file.stat().st_size for file in Path(folder).glob("*.columns"))
        show("loaded, a year of minutes", ticks, best(load), f"{size / 1e6:.0f} MB")
        log.close()


def recorded(rows: list[journals.Row]) -> list[Record]:
    entries = enumerate(journals.entries(rows), 1)
    return [begun(), *(Record(JOURNAL, 0, at, e.time_ms, e.key, e.value, e.headers) for at, e in entries)]


def folded(records: list[Record]) -> None:
    pipeline = Pipeline(0, journals.strategies(), bots=False)
    for record in records:
        pipeline.fold(record)


if __name__ == "__main__":
    main()
