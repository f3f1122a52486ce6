"""The prose of the AsyncAPI document (CommonMark)."""

DESCRIPTION = """Candles, bots, signals, orders, fills and marks as they happen.

**Doors.** The same messages come over Redis and over WebSockets: each socket is one channel of Redis, with
the same `seq`. A market has `market_data:{symbol}`; a bot has `bot_signals:{bot_id}`,
`trade_updates:{bot_id}`, `bot_status:{bot_id}` (both of those and the bot's changes) and
`portfolio:{bot_id}`; `system_events` is of the whole. `bot_status` and `portfolio` came with the
WebSockets: what was recorded before them is not counted there.

**Messages** are JSON objects. Money, prices and sizes are decimal strings, times ISO 8601 UTC. `type` is
the event's name and version, `venue` and `symbol` its market, `cause` its identity in the journal: the same
event on two channels has the same `cause`, and its own `seq` on each.

**`seq`** counts the messages of a channel from 1, without a hole and without a repeat, across restarts of
every part. A message whose `seq` is not above the last one is not counted and changes no place:

* a *forming* candle (`"forming": true`) is the open minute; it carries the last `seq`, each replaces the
  one before, and a closed candle of that minute replaces them all;
* a *heartbeat* (sockets only);
* a `gap` with `first_offset` (of `system_events` only): records that the log had lost before they were
  counted.

A `gap` with `first` and `last` stands for the messages `first` to `last` where the log no longer holds
them, and its own `seq` is `last`: no restart makes one.

A **snapshot** is the last `seq` and the newest message of each kind: of candles the last of each venue and
timeframe, else the last of each type; each with its own `seq`. What follows it begins at `seq` + 1. A
snapshot is always a new beginning, also when the count is lower than before: it is then another
database."""

READ_REDIS = """Pub/sub forgets, so a reader without a hole does this: SUBSCRIBE to the channel and wait for
the answer; GET the snapshot key (`x-snapshot`), which is set in the same atomic step as each publish; begin
with the snapshot's `seq` (0 where there is no key); let go of messages whose `seq` is not above it, take the
others. Begin anew after every loss of the connection, and where a `seq` is not the next one (a `gap` counts
from its `first`)."""

READ_SOCKET = """Frames are JSON text from the server only; a client sends nothing. Without `since` the
first frame is a snapshot. With `?since=SEQ` every message after SEQ comes, read again from the log where
need be, and then what is new: so a client that keeps the `seq` of the last message it has taken resumes
without a gap or a repeat. Where SEQ is above the count a snapshot comes. A heartbeat comes every 5 s; a
client that hears nothing for 15 s, and one whose socket was closed with 1011, 1012, 1013 or 4408,
reconnects with `since`."""
