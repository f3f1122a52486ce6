import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { CandleFeed } from "../../api/page/static/candles.js";

/** A candle that closes so many minutes after the epoch. */
const candle = (minute, more = {}) => ({
  type: "candle.v1",
  venue: "v",
  timeframe: "1m",
  timestamp: new Date(minute * 60_000).toISOString(),
  open: `${minute}`,
  high: `${minute}`,
  low: `${minute}`,
  close: `${minute}`,
  volume: "0.1",
  ...more,
});

/** The closed minutes that the API has, and what it was asked for. */
let minutes = [];
let asked = [];
const server = createServer((request, response) => {
  const query = new URL(request.url, "http://localhost").searchParams;
  asked.push(query);
  const from = Date.parse(query.get("from") ?? "1970-01-01");
  const found = query.get("timeframe") === "1m" ? minutes : [];
  const items = found.filter((one) => Date.parse(one.timestamp) > from);
  if (query.get("order") === "newest") items.reverse();
  response.end(JSON.stringify({ items: items.slice(0, Number(query.get("limit"))), next: null }));
});
const fetched = globalThis.fetch;

before(async () => {
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const host = `http://127.0.0.1:${server.address().port}`;
  globalThis.fetch = (url, options) => fetched(host + url, options); // a page's addresses have no host
});
after(() => {
  globalThis.fetch = fetched;
  server.close();
  server.closeAllConnections();
});

/** A feed, its socket's reader, and a wait for a volume of what is forming. */
function feeding(timeframe) {
  asked = [];
  let reader;
  let look = () => {};
  const drawn = () => look();
  const context = { signal: new AbortController().signal, stream: (_, given) => (reader = given) };
  const drawing = { all: drawn, last: drawn, failed: assert.fail };
  const feed = new CandleFeed({ venue: "v", symbol: "A/B" }, timeframe, drawing, context);
  const shown = () => feed.bars.forming()?.candle;
  const comesTo = (volume) =>
    new Promise((came) => {
      look = () => shown()?.volume === volume && came();
      look();
    });
  return { feed, reader, shown, comesTo };
}
const minutesOf = (first, last) =>
  Array.from({ length: last - first + 1 }, (_, place) => candle(first + place));

test("the first bar of a timeframe, opened late, holds the minutes before it was opened", async () => {
  minutes = minutesOf(241, 300);
  const { feed, reader, shown } = feeding("4h");
  reader.snapshot([candle(300), candle(301, { forming: true, volume: "0.05" })]);
  await feed.load();
  assert.deepEqual([shown().open, shown().volume, shown().close], ["241", "6.05", "301"]);
  assert.equal(asked.filter((query) => query.get("timeframe") === "1m").length, 1);
  assert.ok(asked.every((query) => Number(query.get("limit")) <= 1_440));
  reader.message(candle(301));
  assert.equal(shown().volume, "6.1");
});

test("a new beginning of the socket brings the minutes that were missed", async () => {
  minutes = minutesOf(241, 250);
  const { feed, reader, shown, comesTo } = feeding("4h");
  reader.snapshot([candle(250)]);
  await feed.load();
  assert.equal(shown().volume, "1.0");
  minutes = minutesOf(241, 259); // the database is a moment behind the socket
  reader.snapshot([candle(260)]);
  await comesTo("2.0");
});

test("a message behind minutes that are not known has them asked for", async () => {
  minutes = minutesOf(241, 250);
  const { feed, reader, comesTo } = feeding("1h");
  await feed.load();
  minutes = minutesOf(241, 253);
  reader.message(candle(254));
  await comesTo("1.4");
});
