/** Signals and fills as markers on the candles, and as text. */

import { plain } from "./format.js";

/**
 * @param {{signals: Map<string, any>, fills: Map<string, any>}} known
 * @param {import("./bars.js").Bars} bars
 * @returns {any[]} in order of time
 */
export function markersOf({ signals, fills }, bars) {
  const markers = [];
  for (const [cause, row] of signals) {
    const time = bars.at(row.at);
    if (time !== null) markers.push({ id: `s:${cause}`, time, ...lookOfSignal(row) });
  }
  for (const [cause, row] of fills) {
    const time = bars.at(row.at);
    if (time !== null) markers.push({ id: `f:${cause}`, time, ...lookOfFill(row) });
  }
  return markers.sort((a, b) => a.time - b.time);
}

/** @param {any} signal */
function lookOfSignal(signal) {
  const up = signal.target > signal.previous;
  const position = up ? "belowBar" : "aboveBar";
  if (signal.decision !== "executed") return { position, size: 0.8, shape: "square", color: "--warn" };
  return { position, size: 1, shape: up ? "arrowUp" : "arrowDown", color: up ? "--up" : "--down" };
}

/** @param {any} fill */
function lookOfFill(fill) {
  const color = fill.side === "buy" ? "--up-text" : "--down-text";
  return { position: "atPriceMiddle", price: Number(fill.price), shape: "circle", size: 0.6, color };
}

/** @param {any} signal undefined where it is no longer shown */
export function linesOfSignal(signal) {
  if (!signal) return [];
  const values = Object.entries(signal.values).map(
    ([name, value]) => `${name} ${value === null ? "–" : Number(value).toPrecision(7)}`,
  );
  const head = `Signal ${signal.previous} → ${signal.target} at ${plain(signal.price)}: ${signal.decision}`;
  return [head, signal.message, ...values];
}

/** @param {any} fill undefined where it is no longer shown */
export function linesOfFill(fill) {
  if (!fill) return [];
  return [
    `${fill.side === "buy" ? "Bought" : "Sold"} ${plain(fill.size)} at ${plain(fill.price)}`,
    `fee ${plain(fill.fee)} ${fill.fee_currency}, realised ${plain(fill.realised_pnl)}`,
    `position then ${plain(fill.position)}`,
  ];
}
