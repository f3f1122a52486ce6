"""Causes: the identity of what follows from the journal."""

from msgspec import Struct


class Cause(Struct, frozen=True, order=True):
    """Identity of a derived event: journal partition and offset, and its index among its outputs."""

    partition: int
    offset: int
    index: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}:{self.index}"
