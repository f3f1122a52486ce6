"""Which provider is asked for which symbols: all for a plain one, that venue's for `VENUE:SYMBOL`."""

from collections.abc import Mapping, Sequence

from streams.events import Market


def parted(asked: str) -> tuple[str, str]:
    """Venue and symbol of `VENUE:SYMBOL`; of a plain symbol, such as BTC/USDT or BTC/USDT:USDT, no venue."""
    venue, colon, symbol = asked.partition(":")
    return (venue, symbol) if colon and "/" not in venue else ("", asked)


def venue_of(provider: str) -> str:
    """That of a provider's name, which is `venue` or `venue#name`."""
    return provider.partition("#")[0]


def asked_of(provider: str, symbols: Sequence[str]) -> list[str]:
    """The symbols that a provider is asked for, each once."""
    pairs = (parted(asked) for asked in symbols)
    return list(dict.fromkeys(symbol for venue, symbol in pairs if venue in {"", venue_of(provider)}))


Found = Mapping[str, Sequence[Market] | None]
Why = Mapping[str, Mapping[str, str]]


def nowhere(symbols: Sequence[str], found: Found, why: Why) -> list[str]:
    """A sentence on each symbol that is not to be had. `found`: what each provider has, None where that is
    not known; `why`: by provider and symbol, what it says of those that it left out."""
    return [sentence for asked in symbols if (sentence := _nowhere(asked, found, why))]


def _nowhere(asked: str, found: Found, why: Why) -> str:
    venue, symbol = parted(asked)
    providers = [name for name in found if venue in {"", venue_of(name)}]
    if any(found[name] is None for name in providers):
        return ""
    if any(market.symbol == symbol for name in providers for market in found[name] or ()):
        return ""
    told = [why[name][symbol] for name in providers if symbol in why.get(name, {})]
    if told:
        return told[0]
    at = ", ".join(providers) or "no provider"
    return f"symbol {symbol!r} does not exist at {at}; write it as BASE/QUOTE, such as BTC/USDT"
