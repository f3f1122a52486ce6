"""How long a parity certificate takes: `python -m tests.bench.bench_parity`.

A month of trades in the embedded log, 5,000 a record, folded with two bots of 1m. *ticks*: the pass over the
journal alone, which every certificate makes; *certificate*: all of it; *again*: the same, as `--check` does.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.research.certificate import Asked, again, certify
from infra.upkeep.fresh_home import fold_home
from projections.research.gather import gather
from streams.backends import open_log
from streams.topics import JOURNAL
from tests.bench import journals
from tests.bench.timing import best, headline, show

TIMES = 15
"""Of two days."""
ROWS = 5_000
ROUNDS = 3


def main() -> None:
    code = journals.strategies()
    market, ticks = journals.trades(TIMES)
    headline(f"{ticks.rows:,} {journals.source()}, {2 * TIMES} days")
    with TemporaryDirectory() as folder:
        log = open_log(f"embedded://{Path(folder) / 'log'}", partitions=1)
        journals.append(log, [*journals.with_two_bots(market, code), *journals.batches(market, ticks, ROWS)])
        fold_home(log, code)
        show("ticks", ticks.rows, best(lambda: gather(log.read(JOURNAL, 0), market.key, ["1m"]), ROUNDS))
        for bot_id in (1, 2):
            asked = Asked(bot_id)
            made = certify(log, code, asked)
            assert made.equal, made.difference
            told = f"{made.compared['fills']:,} fills"
            taken = best(partial(certify, log, code, asked), ROUNDS)
            show(f"certificate of bot {bot_id}", ticks.rows, taken, told)
            show(f"again, bot {bot_id}", ticks.rows, best(partial(again, log, code, made), ROUNDS), told)
        log.close()


if __name__ == "__main__":
    main()
