import assert from "node:assert/strict";
import { test } from "node:test";
import {
  duration,
  group,
  money,
  percent,
  plain,
  round,
  sign,
  signedMoney,
  sum,
  trim,
} from "../../api/page/static/format.js";

test("decimals are summed exactly, whatever places each of them has", () => {
  assert.equal(sum(["0.1", "0.2"]), "0.3");
  assert.equal(sum(["9007199254740993.00000001", "1", "0.5"]), "9007199254740994.50000001");
  assert.equal(sum(["2", "3"]), "5");
});

test("decimals are rounded half away from zero, however many digits they have", () => {
  assert.equal(round("0.125", 2), "0.13");
  assert.equal(round("-0.125", 2), "-0.13");
  assert.equal(round("9007199254740993.005", 2), "9007199254740993.01");
  assert.equal(round("0.004", 2), "0.00");
  assert.equal(round("-0.004", 2), "0.00");
  assert.equal(round("99.999", 2), "100.00");
  assert.equal(round("7", 2), "7.00");
  assert.equal(round("7.5", 0), "8");
});

test("thousands stand apart and a minus is one", () => {
  assert.equal(group("-1234567.89010"), "−1,234,567.89010");
  assert.equal(group("123"), "123");
  assert.equal(plain("1000.500"), "1,000.5");
  assert.equal(trim("100"), "100");
});

test("money has cents where its currency has, else all of its digits", () => {
  assert.equal(money("1234.56789", "USDT"), "1,234.57");
  assert.equal(money("0.00012340", "BTC"), "0.0001234");
  assert.equal(signedMoney("5.000", "EUR"), "+5.00");
  assert.equal(signedMoney("-5.000", "EUR"), "−5.00");
});

test("zero has no sign, however it is written", () => {
  assert.deepEqual(["0", "-0.00", "0.01", "-10"].map(sign), [0, 0, 1, -1]);
});

test("shares and ages are short", () => {
  assert.equal(percent("-5", "200"), "−2.50 %");
  assert.equal(percent("1", "0"), "");
  assert.deepEqual([-5, 59_000, 600_000, 7.3e6, 2e8, 2e11].map(duration), [
    "0 s",
    "59 s",
    "10 min",
    "2 h",
    "2 d",
    "6 y",
  ]);
});
