"""What can be wrong with a record: in its bytes, or in an event that is encoded again. All by a seed."""

import struct
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import msgspec

INTEGERS = (
    0, 1, -1, 2, 18, 19, 63, 64, 127, 128, 255, 256, 1_000, 86_400 * 10**9, 2**31 - 1, 2**31, 2**32,
    10**12, 10**15, 2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1, -2, -(2**31),
    -(2**62), -(2**63),
)  # fmt: skip
FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, 0.5, -1.0, 1.0000001, 1e308, -1e308, 5e-324)
TEXTS = (
    "", " ", "\0", "\n", ":", "::", "test:", ":BTC/USDT", "test:BTC/USDT ", "TEST:BTC/USDT", "a" * 600,
    "é" * 300, "🦀" * 200, "\ufffd", "\u202e", "../../etc/passwd", "<script>alert(1)</script>",
    "'; DROP TABLE bots; --", "{}", "nan", "1m", "9m", "1M", "-1", "spot", "inverse", "running",
    "equity", "live", "0" * 64, "sma_cross", "x" * 5_000,
)  # fmt: skip
BLOBS = (b"", b"\0", b"\xff" * 7, b"\xff" * 8, b"\xff" * 16, b"\x80" * 64, b"\xc3\x28", bytes(1_000))
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    {"type": "ticks.v1"},
    [1, 2, 3],
    "text",
    b"bytes",
    1.5,
    7,
)

Path = tuple[Any, ...]


def encoded(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def plain(value: Any) -> Any:
    """A record's value as lists and dicts, the fields at their defaults too."""
    if isinstance(value, msgspec.Struct):
        config = type(value).__struct_config__
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        if config.array_like:
            return list(fields.values())
        return {config.tag_field: config.tag} | fields if config.tag_field else fields
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


def mutate_event(chance: Random, value: Any, root: Path = ()) -> None:
    """Change one or two values at or below `root` in what `plain` gave, mostly to others of their kind."""
    for _ in range(chance.choice((1, 1, 1, 1, 2))):
        parts = list(_paths(_at(value, root), root))
        if parts:
            *above, name = chance.choice(parts)
            holder = _at(value, tuple(above))
            # a copy: what is put in is changed later, and must not be what is put in elsewhere
            holder[name] = deepcopy(_hostile(chance, holder[name]))


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


def _paths(value: Any, above: Path) -> Any:
    """Of every value below, but the tags."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        if name != "type":
            yield (*above, name)
            yield from _paths(one, (*above, name))


def _hostile(chance: Random, value: Any) -> Any:
    if chance.random() < 0.04:
        return chance.choice(OTHERS)
    for kind, change in _CHANGES.items():
        if isinstance(value, kind):
            return change(chance, value)
    return chance.choice(OTHERS)


def _bool(chance: Random, value: bool) -> Any:
    return not value


def _integer(chance: Random, value: int) -> int:
    near = (value + 1, value - 1, -value, value * 2, value * 10, value + 60 * 10**9, value - 3_600 * 10**9)
    chosen = chance.choice(near if chance.random() < 0.5 else INTEGERS)
    return min(max(chosen, -(2**63)), 2**64 - 1)


def _float(chance: Random, value: float) -> float:
    return chance.choice(FLOATS)


def _text(chance: Random, value: str) -> str:
    at = chance.randrange(len(value) + 1)
    near = (value[:at], value[at:], value + value, value[:at] + "\0" + value[at:], value.swapcase())
    return chance.choice(near if chance.random() < 0.3 else TEXTS)


def _blob(chance: Random, value: bytes) -> bytes:
    """Mostly a number of a column."""
    if len(value) >= 8 and chance.random() < 0.7:
        at = chance.randrange(len(value) // 8) * 8
        (number,) = struct.unpack_from("<q", value, at)
        changed = _integer(chance, number) % 2**64
        return value[:at] + struct.pack("<Q", changed) + value[at + 8 :]
    if value and chance.random() < 0.6:
        at = chance.randrange(len(value))
        return value[:at] + bytes([chance.randrange(256)]) + value[at + 1 :]
    at = chance.randrange(len(value) + 1)
    return chance.choice((value[:at], value + value, value[1:], *BLOBS))


def _list(chance: Random, value: list[Any]) -> list[Any]:
    one = chance.choice(value) if value else chance.choice(OTHERS)
    return chance.choice(([], [*value, one], value[1:], value[::-1], value * 2, [one] * 300))


def _dict(chance: Random, value: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in value if name != "type"]
    changed = dict(value)
    if names and chance.random() < 0.5:
        del changed[chance.choice(names)]
    else:
        changed[chance.choice(TEXTS)] = chance.choice((*OTHERS, *FLOATS, *INTEGERS))
    return changed


_CHANGES: dict[type, Callable[[Random, Any], Any]] = {
    bool: _bool, int: _integer, float: _float, str: _text, bytes: _blob, list: _list, dict: _dict,
}  # fmt: skip


def mutate_bytes(chance: Random, value: bytes, other: bytes) -> bytes:
    """`value` with something wrong in its bytes; `other` is another record's, to be spliced in."""
    return chance.choice(_WRONGS)(chance, value, other)


def _flipped(chance: Random, value: bytes, other: bytes) -> bytes:
    changed = bytearray(value)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: Random, value: bytes, other: bytes) -> bytes:
    return value[: chance.randrange(len(value))]


def _removed(chance: Random, value: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(value))
    return value[:at] + value[at + chance.randrange(1, 9) :]


def _inserted(chance: Random, value: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(value) + 1)
    return value[:at] + chance.randbytes(chance.randrange(1, 9)) + value[at:]


def _spliced(chance: Random, value: bytes, other: bytes) -> bytes:
    return value[: chance.randrange(len(value))] + other[chance.randrange(len(other)) :]


def _noise(chance: Random, value: bytes, other: bytes) -> bytes:
    return chance.randbytes(chance.randrange(200))


def _nested(chance: Random, value: bytes, other: bytes) -> bytes:
    """Deeper than a decoder goes, in place of the event or of a field."""
    deep = chance.choice((b"\x91", b"\x81\xa1a", b"\x81\x91")) * chance.choice((10, 1_000, 20_000))
    head = value[: chance.randrange(len(value))]
    return chance.choice(
        (deep, head + deep, b"\x94\xa0\x00\x00" + deep, b"\x94\xa0\x00\x00\x81\xa4type" + deep)
    )


def _lied_length(chance: Random, value: bytes, other: bytes) -> bytes:
    """A length of four gigabytes, of text, bytes, a list or a mapping."""
    at = chance.randrange(len(value))
    return (
        value[:at]
        + chance.choice((b"\xdb", b"\xc6", b"\xdd", b"\xdf"))
        + b"\xff\xff\xff\xff"
        + value[at + 1 :]
    )


def _bad_text(chance: Random, value: bytes, other: bytes) -> bytes:
    """A byte that is none of UTF-8, where letters are."""
    letters = [at for at, byte in enumerate(value) if 97 <= byte <= 122] or [0]
    at = chance.choice(letters)
    return value[:at] + chance.choice((b"\xff", b"\xc0", b"\xed")) + value[at + 1 :]


_WRONGS = (_flipped, _flipped, _cut, _removed, _inserted, _spliced, _noise, _nested, _lied_length, _bad_text)
