"""Spans of time as people write them: `24h`, `90s`, `0`."""

import re

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def seconds(text: str) -> int:
    """Of a span. Raises `ValueError` saying how one is written."""
    found = re.fullmatch(r"(\d{1,9})([dhms])|0", text.strip())
    if found is None:
        raise ValueError("must be a whole number with s, m, h or d behind it, as 24h; or 0")
    return int(found[1]) * _SECONDS[found[2]] if found[1] else 0


def span(seconds: int) -> str:
    """Seconds as a span in the longest unit below days that leaves no rest."""
    if not seconds:
        return "0"
    unit = next(unit for unit in "hms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
