"""A connection has proven what came through it, and is asked, given up and dialled anew in time."""

from infra.exchange.venues.filling import Allowance
from infra.exchange.venues.watching import LOOKS, PING_AGAIN_S, RENEW_AT_LAST_S, RENEW_S, Act, Watch
from streams.events import MINUTE_NS

SECOND = 1_000_000_000
VENUE = 1_700_000_040 * SECOND
"""A whole minute."""


def watch(*, subscribed: bool = True) -> Watch:
    made = Watch(0.0, silence_s=10.0, grace_ms=500)
    made.subscribed = subscribed
    return made


def looked(watch: Watch, now: float, venue_now: int | None = None) -> Act | None:
    """What is to be done after enough looks at the same moment."""
    return [watch.act(now, venue_now) for _ in range(LOOKS + 1)][-1]


def test_a_trade_proves_all_before_its_nanosecond() -> None:
    of = watch()
    of.traded(VENUE, 1.0)
    of.traded(VENUE - SECOND, 1.0)
    assert of.proven == VENUE - 1


def test_an_answered_ping_proves_the_time_at_which_it_went_out() -> None:
    of = watch()
    token = of.ping(1.0, VENUE)
    assert of.proven == 0
    of.pong(b"another", 2.0)
    assert of.proven == 0 and of.is_asking
    of.pong(token, 2.0)
    assert of.proven == VENUE and not of.is_asking
    of.pong(of.ping(3.0, None), 3.0)
    assert of.proven == VENUE


def test_without_a_confirmed_subscription_nothing_is_proven_and_nothing_asked() -> None:
    of = watch(subscribed=False)
    of.traded(VENUE, 1.0)
    assert of.proven == 0 and looked(of, 10_000.0, VENUE) is None


def test_a_quiet_minute_is_asked_for_once_it_has_ended_with_its_grace() -> None:
    of = watch()
    of.traded(VENUE + SECOND, 1.0)
    end = VENUE + MINUTE_NS
    assert of.act(2.0, end + SECOND // 2 - 1) is None
    assert of.act(2.0, end + SECOND // 2) == "ping"
    of.pong(of.ping(2.0, end + SECOND // 2), 2.0)
    assert of.act(3.0, end + SECOND) is None
    assert of.act(3.0, None) is None


def test_silence_is_asked_about_first_and_given_up_when_no_answer_comes() -> None:
    of = watch()
    assert of.act(9.9, None) is None
    assert of.act(10.0, None) == "ping"
    of.ping(10.0, None)
    assert looked(of, 12.0) is None
    assert of.act(12.1, None) == "deaf"


def test_one_late_look_gives_no_connection_up() -> None:
    """A process that slept has frames in its buffers that it has not read yet."""
    of = watch()
    of.ping(10.0, None)
    assert [of.act(60.0, None) for _ in range(LOOKS)] != ["deaf"] * LOOKS
    assert of.act(60.0, None) == "deaf"


def test_a_connection_that_is_looked_at_seldom_is_given_up_too() -> None:
    """Each look finds the last ping so old that another one is due."""
    of, acts = watch(), []
    for look in range(LOOKS + 2):
        now = 10.0 + look * (PING_AGAIN_S + 1)
        acts.append(of.act(now, None))
        if acts[-1] == "ping":
            of.ping(now, None)
    assert acts == ["ping"] * (LOOKS + 1) + ["deaf"]


def test_a_venue_that_sends_and_answers_no_ping_is_not_given_up() -> None:
    of = watch()
    of.ping(10.0, None)
    of.heard(12.5)
    assert looked(of, 14.0) is None


def test_a_day_old_connection_is_dialled_anew_in_a_pause_and_at_last_without_one() -> None:
    of = watch()
    for now in (RENEW_S + 1, RENEW_AT_LAST_S - 1):
        of.heard(now)
        of.traded(VENUE, now - 0.5)
        assert of.act(now, None) is None
    of.traded(VENUE, RENEW_AT_LAST_S + 1)
    assert of.act(RENEW_AT_LAST_S + 1, None) == "renew"
    other = watch()
    other.traded(VENUE, RENEW_S)
    assert other.act(RENEW_S + 1.1, None) == "renew"


def test_no_minute_has_more_pages_than_allowed() -> None:
    allowance, taken, now = Allowance(120, 0.0), 0, 0.0
    while now < 60.0:
        wait_s = allowance.take(now)
        taken += not wait_s
        now += wait_s and max(wait_s, 0.001)
    assert 115 <= taken <= 121
    assert Allowance(120, 0.0).take(0.0) == 0.0
