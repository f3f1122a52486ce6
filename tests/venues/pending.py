"""What faults have in store for the next trades: how many of them, and what."""

from typing import Any

from tests.venues.trades import Frame, Trade


class Pending:
    def __init__(self) -> None:
        self.away = 0
        """Published although nobody watches."""
        self.burst = 0
        """Published before their time."""
        self.unsent = 0
        self.unasked = 0
        self.late = self.late_ms = 0
        self.held: list[tuple[int, Frame]] = []
        """Late frames, each with the venue's time at which it is sent."""
        self.swap = False
        self.swapped: Frame | None = None
        """It waits for the next frame of its market."""
        self.id_shift = 0
        self.alterations: list[dict[str, Any]] = []
        """Fields of the next trades as the socket shows them."""

    def take(self, name: str, count: int) -> bool:
        """Whether these trades are among the next ones that a fault takes."""
        left = getattr(self, name)
        setattr(self, name, max(0, left - count))
        return left > 0

    def shifted(self, frame: Frame) -> Frame:
        if not self.id_shift:
            return frame
        return Frame(trade._replace(id=str(int(trade.id) + self.id_shift)) for trade in frame.trades)

    def altered(self, frame: Frame) -> Frame:
        if not self.alterations:
            return frame
        trades: list[Trade] = []
        for trade in frame.trades:
            fields = self.alterations.pop(0) if self.alterations else {}
            later = fields.get("later_ms", 0)
            fields = {name: value for name, value in fields.items() if name != "later_ms"}
            trades.append(trade._replace(time=trade.time + later, **fields))
        return Frame(trades, market=frame.market)
