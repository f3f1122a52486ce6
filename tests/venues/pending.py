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
        self.is_finer = False
        """Prices have a digit more."""
        self.alterations: list[dict[str, Any]] = []
        """Fields of the next trades as the socket shows them."""

    def take(self, name: str, count: int) -> bool:
        """Whether these trades are among the next ones that a fault takes."""
        left = getattr(self, name)
        setattr(self, name, max(0, left - count))
        return left > 0

    def changed(self, frame: Frame) -> Frame:
        """As it happens at a venue whose ids have jumped, or whose step has become finer."""
        if not self.id_shift and not self.is_finer:
            return frame
        return Frame(map(self._changed, frame.trades))

    def _changed(self, trade: Trade) -> Trade:
        if self.id_shift:
            trade = trade._replace(id=str(int(trade.id) + self.id_shift))
        return trade._replace(price=f"{trade.price}{int(trade.time) % 10}") if self.is_finer else trade

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
