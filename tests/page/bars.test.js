import assert from "node:assert/strict";
import { test } from "node:test";
import { Bars } from "../../api/page/static/bars.js";

/** A candle that closes so many minutes after the epoch. */
const candle = (minute, price = minute, more = {}) => ({
  timestamp: new Date(minute * 60_000).toISOString(),
  open: `${price}.0`,
  high: `${price + 2}.0`,
  low: `${price - 2}.0`,
  close: `${price + 1}.0`,
  volume: "1.5",
  trades: 1,
  ...more,
});
const candles = (first, last, step = 1) => {
  const made = [];
  for (let minute = first; minute <= last; minute += step) made.push(candle(minute));
  return made;
};
const minutes = (bars) => bars.closed.map((bar) => bar.time / 60);

function holding(first, last, max = 10, timeframe = "1m") {
  const bars = new Bars(timeframe, max);
  bars.reset(candles(first, last).reverse(), true);
  return bars;
}

test("a candle that follows is put behind the others, and the oldest goes where there are too many", () => {
  const bars = holding(11, 20);
  assert.deepEqual(bars.add(candle(21)), { gone: 1, hole: null });
  assert.deepEqual(minutes(bars), [12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
});

test("a candle that does not follow tells behind which one bars are missing", () => {
  const bars = holding(18, 20);
  assert.equal(bars.add(candle(23)).hole, 20 * 60);
  assert.equal(bars.contiguous(), 20 * 60);
  bars.after(candles(21, 23), true);
  assert.equal(bars.contiguous(), 23 * 60);
  assert.deepEqual(minutes(bars), [18, 19, 20, 21, 22, 23]);
});

test("a revision replaces, an older one does not", () => {
  const bars = holding(18, 20);
  bars.add(candle(19, 50, { revision: 2 }));
  bars.add(candle(19, 40, { revision: 1 }));
  assert.deepEqual(
    bars.closed.map((bar) => bar.open),
    [18, 50, 20],
  );
});

test("scrolling back lets go of the newest, and forth of the oldest", () => {
  const bars = holding(11, 20);
  assert.equal(bars.before(candles(6, 11).reverse(), true), 5);
  assert.deepEqual([minutes(bars).at(0), minutes(bars).at(-1), bars.live], [6, 15, false]);
  assert.deepEqual(bars.add(candle(21)), { gone: 0, hole: null });
  assert.equal(bars.after(candles(16, 18), false), 3);
  assert.deepEqual([minutes(bars).at(0), minutes(bars).at(-1), bars.live, bars.older], [9, 18, false, true]);
  bars.after(candles(19, 21), true);
  assert.deepEqual([minutes(bars).at(-1), bars.live], [21, true]);
});

test("what is forming is made of the minutes since the last bar", () => {
  const bars = new Bars("5m", 10);
  bars.reset([candle(20)], false);
  for (const minute of [20, 21, 22]) bars.addMinute(candle(minute));
  bars.addMinute(candle(23, 90, { forming: true }));
  const { time, open, high, low, close, volume } = bars.forming();
  assert.deepEqual(
    { time, open, high, low, close, volume },
    { time: 25 * 60, open: 21, high: 92, low: 19, close: 91, volume: 4.5 },
  );
  bars.add(candle(25));
  assert.equal(bars.forming(), null);
});

test("a bar that is forming is the same whether its minutes were asked for or came one by one", () => {
  const bars = new Bars("4h", 10);
  bars.reset([], false);
  const told = candles(241, 400).map((one) => ({ ...one, volume: "0.1" }));
  for (const one of told.toReversed()) bars.addMinute(one);
  bars.addMinute(candle(401, 900, { forming: true, volume: "0.2" }));
  const { candle: shown, time, volume } = bars.forming();
  assert.deepEqual([time, volume, bars.whole()], [480 * 60, 16.2, true]);
  assert.deepEqual(
    [shown.open, shown.high, shown.low, shown.close, shown.volume],
    ["241.0", "902.0", "239.0", "901.0", "16.2"],
  );
});

test("minutes that miss in a bar that is forming are known to miss, at its start too", () => {
  const bars = new Bars("1h", 10);
  bars.reset([], false);
  assert.equal(bars.whole(), true);
  bars.addMinute(candle(63));
  assert.equal(bars.whole(), false);
  for (const minute of [60, 61]) bars.addMinute(candle(minute));
  assert.equal(bars.whole(), false);
  bars.addMinute(candle(62));
  assert.equal(bars.whole(), true);
  bars.addMinute(candle(121));
  assert.equal(bars.whole(), true);
});

test("a minute that has closed is not opened again by what comes late", () => {
  const bars = new Bars("5m", 10);
  bars.reset([candle(20)], false);
  bars.addMinute(candle(21, 30, { revision: 1 }));
  bars.addMinute(candle(21, 40, { forming: true }));
  bars.addMinute(candle(21, 50));
  assert.equal(bars.forming().open, 30);
});
