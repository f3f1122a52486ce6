/**
 * How numbers and times are shown. Money, prices and sizes come as decimal strings and stay strings: a float
 * is made of them for drawing and for percentages only.
 */

const MINUS = "−";
const FIAT = /^(USD|EUR|GBP|DAI|BUSD)/;

/** −1, 0 or 1. @param {string} decimal */
export function sign(decimal) {
  if (!/[1-9]/.test(decimal)) return 0;
  return decimal.startsWith("-") ? -1 : 1;
}

/**
 * The decimal rounded half away from zero, exactly.
 * @param {string} decimal
 * @param {number} places
 */
export function round(decimal, places) {
  const [whole, fraction = ""] = decimal.replace("-", "").split(".");
  let digits = BigInt(whole + fraction.padEnd(places, "0").slice(0, places));
  if (fraction.length > places && fraction[places] >= "5") digits += 1n;
  const text = digits.toString().padStart(places + 1, "0");
  const rounded = places ? `${text.slice(0, -places)}.${text.slice(-places)}` : text;
  return decimal.startsWith("-") && digits ? `-${rounded}` : rounded;
}

/** The sum, exactly, with as many places as the longest has. @param {string[]} decimals none below zero */
export function sum(decimals) {
  const scale = Math.max(0, ...decimals.map((decimal) => decimal.split(".")[1]?.length ?? 0));
  let total = 0n;
  for (const decimal of decimals) {
    const [whole, fraction = ""] = decimal.split(".");
    total += BigInt(whole + fraction.padEnd(scale, "0"));
  }
  const text = total.toString().padStart(scale + 1, "0");
  return scale ? `${text.slice(0, -scale)}.${text.slice(-scale)}` : text;
}

/** Without zeros that say nothing. @param {string} decimal */
export function trim(decimal) {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}

/** Thousands apart and a real minus: "-1234.50" → "−1,234.50". @param {string} decimal */
export function group(decimal) {
  const [whole, fraction] = decimal.replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const text = fraction === undefined ? grouped : `${grouped}.${fraction}`;
  return decimal.startsWith("-") ? MINUS + text : text;
}

/**
 * An amount of a currency: cents where it has them, else all that is there.
 * @param {string} decimal
 * @param {string} currency
 */
export function money(decimal, currency) {
  return group(FIAT.test(currency) ? round(decimal, 2) : trim(round(decimal, 8)));
}

/** The same with its sign. @param {string} decimal @param {string} currency */
export function signedMoney(decimal, currency) {
  return (sign(decimal) > 0 ? "+" : "") + money(decimal, currency);
}

/** A price or size. @param {string} decimal */
export function plain(decimal) {
  return group(trim(decimal));
}

/** A share as percent, with sign. @param {string} part @param {string} whole */
export function percent(part, whole) {
  const share = (100 * Number(part)) / Number(whole);
  if (!Number.isFinite(share)) return "";
  return `${share > 0 ? "+" : ""}${share.toFixed(2).replace("-", MINUS)} %`;
}

/** Digits behind the point of a step: "0.010" → 2. @param {string} step */
export function places(step) {
  return (trim(step).split(".")[1] ?? "").length;
}

/** A duration in one unit. @param {number} ms */
export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 100) return `${Math.floor(s)} s`;
  if (s < 6000) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  if (s < 730 * 86400) return `${Math.floor(s / 86400)} d`;
  return `${Math.floor(s / 86400 / 365)} y`;
}

/** "2026-01-01 00:17:00". @param {string | null} iso */
export function clock(iso) {
  return iso === null ? "–" : iso.slice(0, 19).replace("T", " ");
}

/** ISO 8601 of a time in s. @param {number} seconds */
export function isoOf(seconds) {
  return new Date(seconds * 1000).toISOString();
}

/** Seconds of a time in ISO 8601. @param {string} iso */
export function secondsOf(iso) {
  return Date.parse(iso) / 1000;
}

/** Parameters of a strategy on one line. @param {Record<string, unknown>} params */
export function parameters(params) {
  return Object.entries(params)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
