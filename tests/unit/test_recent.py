"""What was counted lately is forgotten in time, and means nothing of a day before it is known."""

from infra.exchange.recent import Recent


def test_what_is_older_than_the_span_is_forgotten() -> None:
    recent = Recent(60.0, 100.0)
    recent.add(5, 100.0)
    recent.add(7, 130.0)
    recent.add(1, 130.2)
    assert recent.count(159.9) == 13
    assert recent.count(160.0) == 8
    assert recent.count(500.0) == 0


def test_the_mean_is_over_what_is_known_and_over_a_second_at_least() -> None:
    recent = Recent(60.0, 0.0)
    recent.add(30, 0.2)
    assert recent.a_second(0.3) == 30
    assert recent.a_second(10.0) == 3
    recent.add(30, 30.0)
    assert recent.a_second(70.0) == 0.5


def test_however_much_is_counted_it_is_kept_in_sixty_steps() -> None:
    recent = Recent(86_400.0, 0.0)
    for hour in range(1_000):
        recent.add(24, hour * 3_600.0)
    assert recent.count(999 * 3_600.0) == 24 * 24
    assert len(recent._steps) <= 60
