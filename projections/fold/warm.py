"""Warming up: a bot steps through the candles before its command, without signals.

Who gives the command puts them into the journal first, as `Bars` under an identity that the command names.
From the first of these records on, what closes is kept beside them: so no candle is lost between the reading
of candles and the command's place. Where they do not reach that place without a hole, the command is refused.

Why: ADR 25.
"""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Warming, row_of
from projections.fold.kernel import VALUE_MAX, VOLUME_MAX
from projections.fold.turn import CommandError, Turn
from projections.strategies.histories import Floats, History, Ints, beside
from streams.events import TIMEFRAMES_NS, Bars, Candle, Timeframe, WarmedCommand, named_above

WARMINGS_MAX = 256
"""So many warm-ups of a market wait for their commands; the oldest goes first, as one without its command."""
CANDLES_MAX = 2_097_152
"""So many candles a market keeps for them: four years of minutes, 100 MB."""
MEANWHILE_MAX = 20_000
"""So many candles may close before the command comes: without it they would be kept for ever."""
NONE = History(np.empty(0, np.int64), np.empty((0, 5)))


def take(turn: Turn, book: BotBook, bars: Bars) -> None:
    """Keep candles for the command that names their warm-up. Raises `CommandError` for what is none."""
    if not bars.warm_up:
        return
    ends, values = _columns(turn, bars)
    warming = book.warmings.get(bars.warm_up)
    if warming is None:
        if len(book.warmings) == WARMINGS_MAX:
            del book.warmings[next(iter(book.warmings))]
        warming = book.warmings[bars.warm_up] = Warming(bars.timeframe)
    if warming.timeframe != bars.timeframe:
        _refuse(bars, f"they began with candles of {warming.timeframe}")
    if len(ends) and warming.bars and ends[0] != warming.end + TIMEFRAMES_NS[bars.timeframe]:
        _refuse(bars, f"the candle that ends at {ends[0]} does not follow the one at {warming.end}")
    if len(ends):
        warming.bars, warming.end = warming.bars + len(ends), int(ends[-1])
        warming.ends.append(ends.tobytes())
        warming.values.append(values.tobytes())
    for name in list(book.warmings):
        if sum(one.bars for one in book.warmings.values()) <= CANDLES_MAX:
            break
        if name == bars.warm_up:
            _refuse(bars, f"more than {CANDLES_MAX} candles")
        del book.warmings[name]


def keep(book: BotBook, candle: Candle) -> None:
    """Keep a candle that closed for the commands that are to come."""
    row = candle.timestamp, row_of(candle)
    for name, warming in list(book.warmings.items()):
        if warming.timeframe != candle.timeframe:
            continue
        warming.meanwhile.append(row)
        if len(warming.meanwhile) > MEANWHILE_MAX:
            del book.warmings[name]


def claim(book: BotBook, command: WarmedCommand, timeframe: Timeframe) -> dict[Timeframe, History]:
    """The candles that a command brings, by timeframe, up to the newest that closed; none for one that brings
    none.

    Raises `CommandError` where some are missing.
    """
    if not command.warm_up:
        return {}
    own = _claimed(book, command.bot_id, command.warm_up, timeframe, command.warm_candles)
    found: dict[Timeframe, History] = {timeframe: own}
    for above, count in (command.warm_higher or {}).items():
        found[above] = _claimed(book, command.bot_id, named_above(command.warm_up, above), above, count)
    return found


def _claimed(book: BotBook, bot_id: int, name: str, timeframe: str, count: int) -> History:
    warming = book.warmings.pop(name, None)
    if warming is None or (warming.timeframe, warming.bars) != (timeframe, count):
        found = "none" if warming is None else f"{warming.bars} of {warming.timeframe}"
        raise CommandError(
            f"bot {bot_id}: {count} candles of {timeframe} should stand before the"
            f" command as bars {name}, there are {found}: give it again"
        )
    behind = [(end, row) for end, row in warming.meanwhile if end > warming.end]
    ends = np.concatenate([_ints(warming.ends), np.array([end for end, _ in behind], np.int64)])
    values = np.concatenate([_rows(warming.values), np.array([row for _, row in behind]).reshape(-1, 5)])
    newest, step = book.ends.get(timeframe, 0), TIMEFRAMES_NS[timeframe]
    if len(ends) and (ends[-1] != newest or ends[-1] - ends[0] != step * (len(ends) - 1)):
        raise CommandError(
            f"bot {bot_id}: the candles of bars {name} do not reach without a hole to the"
            f" newest of {timeframe}, which ends at {newest}: give the command again"
        )
    return History(ends, values)


def warm(turn: Turn, book: BotBook, bot: Bot, candles: dict[Timeframe, History]) -> str | None:
    """Let a bot that has just joined step through candles; returns how its strategy failed."""
    own = candles.get(bot.timeframe, NONE)
    bot.warmed = len(own.ends)
    group = book.group_of(bot)
    if group is None or not bot.warmed:
        return None
    above: dict[Timeframe, History] = {timeframe: candles.get(timeframe, NONE) for timeframe in group.higher}
    history = own._replace(higher=tuple(beside(own.ends, one) for one in above.values()))
    turn.progress.strategy = bot.strategy
    failure = group.warm(bot.bot_id, history, turn.progress)
    turn.progress.strategy = ""
    for timeframe, one in ({bot.timeframe: own} | above).items():
        if len(one.ends):
            book.histories[timeframe].precede(one, group.lookback)
    return failure


def _columns(turn: Turn, bars: Bars) -> tuple[Ints, Floats]:
    """Ends, and the floats that the fold makes of candles. Raises `CommandError`."""
    market, step = turn.market, TIMEFRAMES_NS[bars.timeframe]
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    if bars.origin != "market":
        _refuse(bars, f"those of a {bars.origin} warm no bot yet")
    if any(len(column) != len(bars.timestamp) for column in columns):
        _refuse(bars, f"columns of {[len(bars.timestamp), *map(len, columns)]} values")
    if not (0 <= bars.price_scale <= market.price_scale and 0 <= bars.size_scale <= market.size_scale):
        _refuse(bars, f"scales {bars.price_scale} and {bars.size_scale} are beyond the market's")
    ends = np.array(bars.timestamp, np.int64)
    if len(ends) and not (
        0 < ends[0] <= ends[-1] <= turn.watermark
        and not ends[0] % step
        and bool((ends == ends[0] + step * np.arange(len(ends))).all())
    ):
        _refuse(bars, f"ends from {ends[0]} to {ends[-1]} are not those of closed candles in a row")
    open_, high, low, close, volume = (np.array(column, np.int64) for column in columns)
    if not (
        bool((low > 0).all() and (high <= VALUE_MAX).all() and (volume >= 0).all())
        and bool((volume <= VOLUME_MAX).all())
        and all(bool(((low <= price) & (price <= high)).all()) for price in (open_, close))
    ):
        _refuse(bars, "prices or volumes that no candle has")
    unit, lot = 10**bars.price_scale, 10**bars.size_scale
    floats = [_divided(column, unit) for column in columns[:4]]
    return ends, np.column_stack([*floats, _divided(bars.volume, lot)])


def _divided(column: Sequence[int], unit: int) -> Floats:
    return np.array([value / unit for value in column])


def _ints(parts: list[bytes]) -> Ints:
    return np.frombuffer(b"".join(parts), np.int64)


def _rows(parts: list[bytes]) -> Floats:
    return np.frombuffer(b"".join(parts)).reshape(-1, 5)


def _refuse(bars: Bars, why: str) -> NoReturn:
    raise CommandError(f"bars {bars.warm_up} of {bars.market}, {bars.timeframe}: {why}")
