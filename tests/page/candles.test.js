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

/** The closed minutes that the API has, what it was asked for, and what it waits for before it answers. */
let minutes = [];
let asked = [];
let hold = async () => {};
/** The market of the test that runs: what an earlier one still asks for is answered, and not counted. */
let symbol = "A0";
const server = createServer(async (request, response) => {
  const { pathname, searchParams: query } = new URL(request.url, "http://localhost");
  const ours = pathname.endsWith(`/${symbol}`);
  if (ours) asked.push(query);
  const [from, to] = [query.get("from") ?? "1970-01-01", query.get("to") ?? "2100-01-01"].map(Date.parse);
  const found = query.get("timeframe") === "1m" ? minutes : [];
  const items = found.filter(({ timestamp }) => Date.parse(timestamp) > from && Date.parse(timestamp) <= to);
  if (query.get("order") === "newest") items.reverse();
  const limit = Number(query.get("limit"));
  const next = items.length > limit ? "more" : null;
  if (ours && (await hold(query))) response.statusCode = 503;
  response.end(JSON.stringify({ items: items.slice(0, limit), next }));
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
function feeding(timeframe, failed = assert.fail) {
  symbol = `A${Number(symbol.slice(1)) + 1}`;
  asked = [];
  hold = async () => {};
  let reader;
  let look = () => {};
  const drawn = () => look();
  const context = { signal: new AbortController().signal, stream: (_, given) => (reader = given) };
  const drawing = { all: drawn, last: drawn, failed };
  const feed = new CandleFeed({ venue: "v", symbol }, timeframe, drawing, context);
  const shown = () => feed.bars.forming()?.candle;
  const until = (holds) =>
    new Promise((came) => {
      look = () => holds() && came();
      look();
    });
  const comesTo = (volume) => until(() => shown()?.volume === volume);
  const closed = () => feed.bars.closed.map((bar) => bar.time / 60);
  return { feed, reader, shown, comesTo, until, closed };
}

/** The next request that fits is answered when it is told to be, by what it stood at when it was asked. */
function holding(fits) {
  let answer;
  const told = new Promise((go) => (answer = go));
  const came = new Promise((asked) => {
    hold = async (query) => {
      if (!fits(query)) return;
      hold = async () => {};
      asked();
      await told;
    };
  });
  return { came, answer };
}
const upTo = (first, last) => Array.from({ length: last - first + 1 }, (_, place) => first + place);
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

test("bars that go at one end while older ones are on the way leave no hole", async () => {
  minutes = minutesOf(1, 1_000);
  const { feed, reader, closed } = feeding("1m");
  await feed.load();
  feed.bars.max = 600;
  const { came, answer } = holding((query) => query.has("to"));
  const older = feed.older();
  await came;
  for (const minute of [1_001, 1_002]) reader.message(candle(minute));
  answer();
  await older;
  assert.deepEqual(closed(), upTo(1, 600));
});

/** A feed whose window was moved back while bars behind its newest were on the way. */
async function leftBehind() {
  minutes = minutesOf(1, 1_000);
  const made = feeding("1m");
  const { feed, reader } = made;
  await feed.load();
  feed.bars.max = 600;
  const { came, answer } = holding((query) => query.get("order") === "oldest");
  minutes = minutesOf(1, 1_010);
  reader.snapshot([candle(1_010)]);
  await came;
  await feed.older();
  const answered = async () => {
    answer();
    await (await fetch("/")).text();
  };
  return { ...made, answered };
}

test("newer bars that come after the window has left them behind are not put into it", async () => {
  const { feed, answered, closed } = await leftBehind();
  await answered();
  assert.deepEqual([closed(), feed.bars.live], [upTo(1, 600), false]);
  await feed.newer();
  assert.deepEqual([closed(), feed.bars.live], [upTo(411, 1_010), true]);
});

test("newer bars that come after the window has jumped are not put before it", async () => {
  const { feed, answered, closed } = await leftBehind();
  minutes = minutesOf(1, 2_000);
  feed.bars.max = 3_000;
  await feed.now();
  await answered();
  assert.deepEqual(closed(), upTo(1_401, 2_000));
});

test("bars between the first page and what the socket told meanwhile are asked for", async () => {
  minutes = minutesOf(1, 10);
  const { feed, reader, closed, until } = feeding("1m");
  const { came, answer } = holding(() => true);
  const loaded = feed.load();
  await came;
  minutes = minutesOf(1, 14);
  reader.snapshot([candle(14)]);
  answer();
  await loaded;
  await until(() => closed().length === 14);
});

test("what could not be had is asked for again with the next candle", async () => {
  minutes = minutesOf(1, 10);
  let failed;
  const failure = new Promise((told) => (failed = told));
  const { feed, reader, closed, until } = feeding("1m", failed);
  await feed.load();
  minutes = minutesOf(1, 13);
  hold = async () => true;
  reader.message(candle(13));
  await failure;
  hold = async () => {};
  minutes = minutesOf(1, 14);
  reader.message(candle(14));
  await until(() => closed().length === 14);
});
