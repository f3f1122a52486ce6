"""Columns of integers as `infra.present.values` shows single ones, thousands of rows at a time."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from streams.ticks import I8

pc: Any = pyarrow.compute  # its functions are made when it is imported, so that no type checker finds them

_Unit = Literal["s", "ms", "us", "ns"]
_UNITS: tuple[tuple[_Unit, int], ...] = (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1))


def decimal_strings(values: I8, scale: int) -> pa.Array:
    """`decimal_string` of each, all with one scale."""
    digits: Any = pa.array(values).cast(pa.string())
    if scale <= 0:
        zeros = pc.binary_join_element_wise(digits, "0" * -scale, "")
        return pc.if_else(pa.array(values == 0), digits, zeros)
    # the sign is taken off as text, since the smallest integer has no absolute value
    digits = pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), scale + 1, "0")
    pointed = pc.binary_replace_slice(digits.cast(pa.binary()), -scale, -scale, b".").cast(pa.string())
    signs = pc.if_else(pa.array(values < 0), "-", "")
    return pc.binary_join_element_wise(signs, pointed, "")


def decimals(values: I8, scale: int, kind: pa.Decimal128Type) -> pa.Array:
    """`values × 10**-scale`, exactly. Raises `ArrowInvalid` for one that the type does not hold."""
    whole = pa.array(values).cast(pa.decimal128(19))
    return pa.Array.from_buffers(pa.decimal128(19, scale), len(whole), whole.buffers()).cast(kind)


def iso_strings(times_ns: I8) -> pa.Array:
    """`iso` of each."""
    texts = np.empty(len(times_ns), "U30")
    left = np.ones(len(times_ns), np.bool_)
    for unit, length_ns in _UNITS:
        mine = left & (times_ns % length_ns == 0)
        texts[mine] = np.datetime_as_string(times_ns[mine].view("datetime64[ns]"), unit=unit, timezone="UTC")
        left &= ~mine
    return pa.array(texts)
