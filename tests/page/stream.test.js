import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs, Sequence } from "../../api/page/static/stream.js";

const candle = (seq, more = {}) => ({ type: "candle.v1", seq, ...more });

/** @param {...object} frames */
function taken(...frames) {
  const sequence = new Sequence();
  return [frames.map((frame) => sequence.take(frame)), sequence.seq];
}

test("messages after a snapshot are taken in their order", () => {
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, candle(8), candle(9)), [
    ["snapshot", "message", "message"],
    9,
  ]);
});

test("a repeat is left out and a hole is not passed over", () => {
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, candle(7), candle(9), candle(8)), [
    ["snapshot", "repeat", "hole", "message"],
    8,
  ]);
});

test("a forming candle stands outside the count", () => {
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, candle(7, { forming: true }), candle(8)), [
    ["snapshot", "message", "message"],
    8,
  ]);
});

test("a heartbeat that is ahead tells of a hole", () => {
  assert.deepEqual(
    taken({ type: "snapshot", seq: 7 }, { type: "heartbeat", seq: 7 }, { type: "heartbeat", seq: 8 }),
    [["snapshot", "beat", "hole"], 7],
  );
});

test("what the log no longer holds is stepped over, once it is said", () => {
  assert.deepEqual(
    taken({ type: "snapshot", seq: 7 }, { type: "gap", seq: 12, first: 8, last: 12 }, candle(13)),
    [["snapshot", "message", "message"], 13],
  );
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, { type: "gap", seq: 12, first: 9, last: 12 }), [
    ["snapshot", "hole"],
    7,
  ]);
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, { type: "gap", seq: 7, topic: "candles" }), [
    ["snapshot", "message"],
    7,
  ]);
});

test("a snapshot is a new beginning, also of a smaller count", () => {
  assert.deepEqual(taken({ type: "snapshot", seq: 7 }, { type: "snapshot", seq: 2 }, candle(3)), [
    ["snapshot", "snapshot", "message"],
    3,
  ]);
});

test("pauses double up to a bound, and half of each is chance", () => {
  assert.deepEqual(
    [0, 1, 2, 9].map((attempt) => backoffMs(attempt, 1)),
    [500, 1_000, 2_000, 15_000],
  );
  assert.equal(backoffMs(0, 0), 250);
});
