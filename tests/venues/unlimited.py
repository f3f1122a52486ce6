"""Venues whose ccxt client asks as often as it likes: its waits are real ones, whatever clock a test has."""

from copy import copy

from infra.exchange.venues.known import VENUES
from infra.exchange.venues.venue import Venue


def unlimited(name: str) -> Venue:
    venue = copy(VENUES[name])
    venue.options = {**venue.options, "enableRateLimit": False}
    return venue
