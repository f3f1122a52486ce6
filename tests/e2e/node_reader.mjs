// A client of a market's socket in another language. Paths and messages it takes from the server's AsyncAPI
// document. What it has taken stands in its file, a message a line, and says where it goes on.
//
//     node --experimental-websocket node_reader.mjs API TOKEN_FILE SYMBOL FILE      (the flag: for Node < 22)
//
// Ends at SIGTERM; with an error where a message is not in the document or not the next one.
import { appendFileSync, existsSync, readFileSync } from "node:fs";

const [api, tokenFile, symbol, file] = process.argv.slice(2);
const headers = { authorization: `Bearer ${readFileSync(tokenFile, "utf8").trim()}` };
const RETRY_MS = 200, SILENCE_MS = 15_000;

const spec = await (await fetch(`${api}/api/asyncapi.json`, { headers })).json();
const at = (ref) => ref.slice(2).split("/").reduce((part, name) => part[name], spec);
const resolved = (part) => (part.$ref ? at(part.$ref) : part);

const channel = Object.values(spec.channels).find(({ address }) => address === "/ws/market/{symbol}");
const server = resolved(channel.servers[0]);
const path = channel.address.replace("{symbol}", encodeURIComponent(symbol));
const shapes = Object.values(channel.messages).map((message) => resolved(resolved(message).payload));

const fits = (value, schema) =>
  ("const" in schema ? value === schema.const : true) &&
  (schema.pattern ? new RegExp(schema.pattern).test(value) : true) &&
  (schema.type === "string" ? typeof value === "string" : true) &&
  (schema.type === "integer" ? Number.isInteger(value) : true);
const isOf = ({ required, properties }, message) =>
  required.every((name) => name in message) &&
  Object.entries(message).every(([name, one]) => properties[name] && fits(one, resolved(properties[name])));

const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
let since = lines.length ? JSON.parse(lines.at(-1)).seq : null;
// the close time of the newest candle, by venue and timeframe: one channel has the candles of all venues
const newest = new Map();

function take(text) {
  const message = JSON.parse(text);
  if (shapes.filter((one) => isOf(one, message)).length !== 1) throw new Error(`in no document: ${text}`);
  if (message.type !== "snapshot") {
    if (message.seq === since) return; // a heartbeat or a forming candle
    if ((message.first ?? message.seq) !== since + 1) throw new Error(`out of turn after ${since}: ${text}`);
    if (message.type === "candle.v1" && message.revision === 0) inTime(message);
  }
  since = message.seq;
  appendFileSync(file, text + "\n");
}

function inTime({ venue, timeframe, timestamp }) {
  const of = `${venue} ${timeframe}`;
  if (newest.get(of) >= timestamp) throw new Error(`${of}: ${timestamp} came after ${newest.get(of)}`);
  newest.set(of, timestamp);
}

function read() {
  const query = since === null ? "" : `?since=${since}`;
  const socket = new WebSocket(`${server.protocol}://${server.host}${path}${query}`, { headers });
  const timer = setTimeout(() => socket.close(), SILENCE_MS);
  let again = () => { again = () => {}; clearTimeout(timer); setTimeout(read, RETRY_MS); };
  socket.onmessage = ({ data }) => { timer.refresh(); take(data); };
  socket.onerror = socket.onclose = () => again(); // Node 20 tells a refused connection as an error alone
}
process.on("SIGTERM", () => process.exit(0));
read();
