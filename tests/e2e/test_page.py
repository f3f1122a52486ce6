"""The page in a real browser: what it shows is what the API says, also after the server was killed."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from infra.process.settings import load_settings
from streams.backends import open_log
from streams.journal import lost_entry
from streams.records import Entry, partition_of
from tests.e2e.browser import PHONE, Open, Site, Visit, site, table, wait_for
from tests.e2e.conftest import Home
from tests.services.redis import Redis

VIEWS = ("markets", "markets/sim/BTC/USDT?tf=5m", "bots", "bots/1", "portfolio", "sources", "system")
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, redis: Redis, browser: Browser) -> Iterator[Site]:
    """Simulated markets at a minute a second, with demo bots."""
    home = Home(tmp_path_factory.mktemp("demo"), TCPD_REDIS_URL=redis.url)
    with home.start("up", "--demo"), site(home) as served:
        wait_for(lambda: len(served.get("/api/bots")["items"]) == 4)
        wait_for(lambda: bool(served.get("/api/bots/1/fills")["items"]))
        yield served


def candles_arrive(page: Page, count: int = 2) -> None:
    """So many candles close under our eyes."""
    newest = page.locator(".candles tbody tr").first
    for _ in range(count):
        key = newest.get_attribute("data-key")
        expect(newest).not_to_have_attribute("data-key", str(key))


def test_candles_arrive_in_the_market_that_is_open_and_in_the_list(demo: Site, visit: Open) -> None:
    page = visit(demo).page
    page.get_by_text("Closed candles as a table").click()
    candles_arrive(page)
    price = page.locator(".list td.number").first
    expect(price).not_to_have_text(price.text_content() or "")
    expect(page.locator("#connection")).to_have_text("live")
    equal_to_the_api(demo, page)


def test_a_candle_that_is_forming_holds_the_minutes_before_the_page_was_opened(
    demo: Site, visit: Open
) -> None:
    page = visit(demo).page
    forming: list[dict[str, Any]] = []

    def hear(payload: str | bytes) -> None:
        said = json.loads(payload)
        forming.extend(one for one in [said, *said.get("messages", [])] if one.get("forming"))

    page.on("websocket", lambda socket: socket.on("framereceived", hear))
    page.reload()
    page.get_by_role("link", name="4h", exact=True).click()
    expect(page.get_by_role("link", name="4h", exact=True)).to_have_attribute("aria-current", "true")
    legend = page.locator(".ohlc")
    expect(legend).to_contain_text("forming")
    shown = re.match(
        r"(\d\d)-(\d\d) (\d\d):00 O ([\d.]+) .* Vol ([\d.]+)",
        " ".join((legend.text_content() or "").replace(",", "").split()),
    )
    assert shown, legend.text_content()
    month, day, hour = map(int, shown.groups()[:3])
    newest = datetime.fromisoformat(demo.get("/api/markets/sim/BTC/USDT")["newest"])
    end = newest.replace(month=month, day=day, hour=hour, minute=0, second=0, microsecond=0)
    span = {"from": (end - timedelta(hours=4)).isoformat(), "to": end.isoformat(), "limit": 1_440}

    def is_a_sum() -> bool:
        closed = demo.get("/api/candles/sim/BTC/USDT", **span)["items"]
        ends = [datetime.fromisoformat(candle["timestamp"]) for candle in closed]
        sums = [Decimal(0), *accumulate(Decimal(candle["volume"]) for candle in closed)]
        parts = {
            sums[place] + Decimal(part["volume"])
            for part in forming
            for place, at in enumerate([*ends, ends[-1] + MINUTE])
            if datetime.fromisoformat(part["timestamp"]) == at and part["symbol"] == "BTC/USDT"
        }
        same = Decimal(closed[0]["open"]) == Decimal(shown[4])
        return same and Decimal(shown[5]) in {*sums, *parts}

    wait_for(is_a_sum)


def test_a_bot_is_stopped_and_started_by_clicks_and_its_row_follows(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page, other = one.page, visit(demo).page
    one.open("bots")
    other.goto(f"{demo.url}/#/bots")
    for button, status in (("Stop", "stopped"), ("Start", "running")):
        row, elsewhere = (where.locator("tr[data-key='2']") for where in (page, other))
        row.get_by_role("button", name=f"{button} bot 2").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"{button} bot 2?")
        assert demo.get("/api/bots/2")["status"] != status, "it acted before it was told to"
        dialog.get_by_role("button", name=button).click()
        expect(dialog).to_have_count(0)
        for shown in (row, elsewhere):
            expect(shown.locator(".badge")).to_have_text(status)
        bot = demo.get("/api/bots/2")
        assert bot["status"] == status
        assert bot["who"] == "api:local"


def test_a_command_that_is_refused_says_why_and_leaves_the_bot_alone(demo: Site, visit: Open) -> None:
    secret = demo.home.run("tokens", "create", "--name", "reader", "--scope", "read").strip()
    one = visit(demo, token=secret)
    one.open("bots")
    expect(one.page.get_by_role("button", name="Stop bot 1")).to_be_disabled()
    expect(one.page.get_by_role("button", name="Stop bot 1")).to_have_attribute("title", re.compile("trade"))
    admin = visit(demo)
    admin.open("bots")
    admin.page.get_by_role("button", name="Stop bot 1").click()
    refusal = {"code": "refused", "message": "it is not <b>possible</b>", "hint": "Do something else."}
    admin.page.route("**/api/bots/1/stop*", lambda asked: asked.fulfill(status=422, json=refusal))
    dialog = admin.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("it is not <b>possible</b>")
    expect(dialog).to_contain_text("Do something else.")
    assert demo.get("/api/bots/1")["status"] == "running"


def test_the_view_of_a_bot_draws_its_indicators_and_lists_what_it_did(demo: Site, visit: Open) -> None:
    one = visit(demo)
    for bot, over, below in ((1, "fast_average", None), (2, None, "strength"), (4, None, "momentum.line")):
        one.open(f"bots/{bot}")
        legend = one.page.locator(".legend:not(.low)")
        if over is not None:
            expect(legend).to_contain_text(re.compile(rf"{over}\s\d"))
        if below is not None:
            expect(one.page.locator(".low").first).to_contain_text(re.compile(rf"{re.escape(below)}\s-?\d"))
        expect(one.page.locator(".low").last).to_contain_text(re.compile(r"drawdown %\s−?\d"))
        for tab in ("Signals", "Orders", "Fills"):
            one.page.get_by_role("tab", name=tab).click()
            expect(
                one.page.locator(f".lists table:has(caption:text-is('{tab}')) tbody tr")
            ).not_to_have_count(0)
    assert one.errors == []


def test_a_server_that_is_killed_and_started_again_leaves_no_gap(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page = one.page
    page.get_by_text("Closed candles as a table").click()
    candles_arrive(page)
    page.evaluate("() => { window.stayed = true; }")
    before = len(table(page))
    listed = page.locator(".list")
    demo.freeze()
    expect(listed.locator(".stale-text")).to_contain_text("the server does not answer")
    demo.kill()
    expect(page.locator("#banner")).to_contain_text("Not live")
    demo.start()
    expect(page.locator("#connection")).to_have_text("live")
    expect(listed.locator(".stale-text")).to_be_hidden()
    for price in listed.locator("tbody td:nth-child(2)").all():
        expect(price).not_to_have_text(price.text_content() or "")
    candles_arrive(page)
    assert page.evaluate("() => window.stayed"), "it was loaded again"
    assert any(re.search(r"/ws/market/BTC/USDT\?since=\d+$", url) for url in one.asked)
    assert len(table(page)) > before + 2
    equal_to_the_api(demo, page)


def equal_to_the_api(site: Site, page: Page) -> None:
    shown = table(page)
    times = [datetime.fromisoformat(row[0]).replace(tzinfo=UTC) for row in shown]
    assert all(later - time == MINUTE for time, later in pairwise(times))
    since, until = (time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in (times[0] - MINUTE, times[-1]))
    query = {"from": since, "to": until, "limit": 5_000}
    wait_for(lambda: len(site.get("/api/candles/sim/BTC/USDT", **query)["items"]) == len(shown))
    names = ("open", "high", "low", "close", "volume", "trades")
    said = site.get("/api/candles/sim/BTC/USDT", **query)["items"]
    assert [row[1:] for row in shown] == [[str(candle[name]) for name in names] for candle in said]


def test_it_asks_nobody_else_and_makes_no_error(demo: Site, visit: Open) -> None:
    one = visit(demo)
    for view in VIEWS:
        one.open(view)
        expect(one.page.locator("main .rows").first).to_be_visible()
        expect(one.page.locator("main .problem")).to_have_count(0)
    host = demo.url.partition("//")[2]
    assert {re.split("://|/", url)[1] for url in one.asked} == {host}
    assert not any(demo.token in url for url in one.asked)
    assert one.errors == []
    assert (
        one.page.evaluate("() => Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    )
    assert one.page.evaluate("() => document.cookie") == ""
    answer = demo.api.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy


def test_a_view_that_is_left_before_all_of_it_came_draws_no_more(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page = one.page
    for late in ("candles/sim/BTC/USDT", "strategies", "bots/1/equity", "bots/1/indicators"):
        asked = f"**/api/{late}*"
        page.route(asked, lambda held: None)
        with page.expect_request(asked):
            one.open("bots/1")
        one.open("bots")
        expect(page.locator("main .rows").first).to_be_visible()
        page.unroute(asked)
        page.evaluate(DRAWN)
        assert one.errors == [], late


DRAWN = "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


def test_a_market_that_is_left_asks_for_no_more_and_draws_no_more(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page = one.page
    candles = "**/api/candles/sim/BTC/USDT?timeframe="
    # no request ends by itself
    page.add_init_script("AbortSignal.timeout = () => new AbortController().signal;")
    page.reload()
    expect(page.locator(".ohlc")).not_to_be_empty()
    for timeframe in ("5m", "15m", "1h"):
        page.route(f"{candles}{timeframe}&*", lambda held: None)
    for timeframe, following in pairwise(("5m", "15m", "1h", "4h")):
        if timeframe == "5m":
            page.get_by_role("link", name=timeframe, exact=True).click()
        with page.expect_event("requestfailed", lambda left, of=timeframe: f"timeframe={of}&" in left.url):
            page.get_by_role("link", name=following, exact=True).click()
    expect(page.locator(".segments [aria-current]")).to_have_text("4h")
    expect(page.locator(".ohlc")).not_to_be_empty()

    def older_is_late(asked: Route) -> None:
        if "order=newest" in asked.request.url and "to=" not in asked.request.url:
            answer = asked.fetch()
            asked.fulfill(response=answer, json={**answer.json(), "next": "1:0"})

    page.route(f"{candles}1m&*", older_is_late)
    with page.expect_request(lambda asked: "to=" in asked.url):
        one.open("markets/sim/BTC/USDT")
    with page.expect_event("requestfailed", lambda left: "to=" in left.url):
        one.open("bots")
    expect(page.locator("main .bot").first).to_be_visible()
    page.evaluate(DRAWN)
    assert one.errors == []


def test_a_view_that_could_not_be_had_is_tried_again(demo: Site, visit: Open) -> None:
    one = visit(demo)
    one.page.route("**/api/bots/1", lambda asked: asked.abort(), times=1)
    one.open("bots/1")
    expect(one.page.locator("main .problem")).to_contain_text("This page tries again.")
    expect(one.page.get_by_role("heading", name="Bot 1")).to_be_visible()
    expect(one.page.locator("main .problem")).to_have_count(0)


def test_a_page_of_a_list_is_turned_once_at_a_time(demo: Site, visit: Open) -> None:
    one = visit(demo)
    rows = demo.get("/api/bots")["items"]
    one.page.route("**/api/bots?*", lambda asked: asked.fulfill(json={"items": rows, "next": "2"}))
    one.open("bots")
    expect(one.page.locator(".pager .muted")).to_have_text(f"1–{len(rows)}")
    one.page.get_by_role("button", name="Next").evaluate("next => { next.click(); next.click(); }")
    expect(one.page.locator(".pager .muted")).to_have_text(f"51–{50 + len(rows)}")


def test_a_change_stands_until_the_database_knows_it(demo: Site, visit: Open) -> None:
    one = visit(demo)
    before = demo.get("/api/bots")
    one.page.route("**/api/bots?*", lambda asked: asked.fulfill(json=before))
    one.open("bots")
    badge = one.page.locator("tr[data-key='3'] .badge")
    expect(badge).to_have_text("running")
    assert demo.api.post("/api/bots/3/stop", params={"wait": "applied"}).status_code == 200
    expect(badge).to_have_text("stopped")
    for _ in range(2):  # the first may have been under way
        with one.page.expect_response("**/api/bots?*"):
            pass
    one.page.evaluate(DRAWN)
    assert badge.text_content() == "stopped"
    assert demo.api.post("/api/bots/3/start", params={"wait": "applied"}).status_code == 200
    expect(badge).to_have_text("running")


def test_a_question_ends_with_its_view_and_what_was_given_tells_its_end(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page = one.page
    held: list[Route] = []

    def hold(asked: Route) -> None:
        held.append(asked)

    page.route("**/api/bots/1/stop*", hold)
    one.open("bots")
    page.get_by_role("button", name="Stop bot 1").click()
    dialog = page.get_by_role("dialog")
    with page.expect_request("**/api/bots/1/stop*"):
        dialog.get_by_role("button", name="Stop").click()
    one.open("portfolio")
    expect(dialog).to_have_count(0)
    held[0].fulfill(status=422, json={"code": "refused", "message": "it is not <b>possible</b>", "hint": ""})
    expect(page.locator(".toast")).to_have_text("Stop bot 1: it is not <b>possible</b>")
    assert demo.get("/api/bots/1")["status"] == "running"


def test_dead_letters_are_listed_as_text_the_newest_first(demo: Site, visit: Open) -> None:
    one = visit(demo)
    one.open("system")
    expect(one.page.locator(".empty:visible")).to_have_text(
        "There is none: every record could be read and folded."
    )
    partition = partition_of(b"sim:BTC/USDT", len(demo.get("/api/health")["partitions"]))
    log = open_log(load_settings({"TCPD_HOME": str(demo.home.folder)}).log_url)
    before_ms = time.time_ns() // 1_000_000 - 1_000
    places = log.append([Entry("journal", b"sim:BTC/USDT", b"?", before_ms, partition) for _ in range(12)])
    words = "the message was <img src=x onerror=alert(1)>"
    log.append([lost_entry(words, b"sim:BTC/USDT", partition)])
    log.close()
    rows = one.page.locator("table:has(caption:text-is('Dead letters')) tbody tr")
    expect(one.page.locator(".pager .muted:visible")).to_have_text("1–10")
    expect(rows.first).to_contain_text(words)
    expect(rows.nth(1)).to_contain_text(f"journal:{partition}:{places[-1].offset}")
    expect(rows.nth(1)).to_contain_text("not an event record")
    assert rows.locator("a, img").count() == 0
    one.page.get_by_role("button", name="Next").click()
    expect(one.page.locator(".pager .muted:visible")).to_have_text("11–13")
    expect(rows.last).to_contain_text(f"journal:{partition}:{places[0].offset}")
    assert one.errors == []


def test_prices_that_are_made_up_are_told_to_be(demo: Site, visit: Open) -> None:
    one = visit(demo)
    for view, place in (
        ("markets", ".list td:first-child"),
        ("markets/sim/BTC/USDT", ".detail h2"),
        ("bots", "tr.bot td"),
        ("bots/1", ".head"),
        ("portfolio", "tr[data-stales] td"),
    ):
        one.open(view)
        expect(one.page.locator(place).filter(has_text="sim\u00a0(simulated)").first).to_be_visible()


def test_it_fits_a_phone(demo: Site, visit: Open) -> None:
    one = visit(demo, viewport=PHONE)
    for view in VIEWS:
        one.open(view)
        expect(one.page.locator("main .rows").first).to_be_attached()
        expect(one.page.locator("main .problem")).to_have_count(0)
        assert one.page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"], view
    one.open("bots")
    button = one.page.get_by_role("button", name="Stop bot 1")
    expect(button).to_be_visible()
    box = button.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE["width"]


def test_the_keyboard_reaches_the_commands(demo: Site, visit: Open) -> None:
    one = visit(demo)
    page = one.page
    one.open("bots")
    expect(page.get_by_role("button", name="Stop bot 1")).to_be_visible()
    focused = (
        "() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent"
    )
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "Stop bot 1":
            break
    assert page.evaluate(focused) == "Stop bot 1"
    outline = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert demo.get("/api/bots/1")["status"] == "running"


def test_it_is_light_or_dark_as_the_reader_wants_and_legible_in_both(demo: Site, visit: Open) -> None:
    page = visit(demo).page
    grounds: set[str] = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor"))
        contrasts = page.evaluate(CONTRASTS)
        assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}, scheme
    assert len(grounds) == 2


CONTRASTS = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const [r, g, b] = style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/g)
      .map((part) => parseInt(part, 16) / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const pairs = [
    ["--muted", "--grey"], ["--up-text", "--good"], ["--down-text", "--bad"], ["--warn-text", "--mild"],
  ];
  for (const ground of ["--page", "--panel", "--raised"])
    for (const text of ["--text", "--muted", "--link", "--up-text", "--down-text", "--warn-text"])
      pairs.push([text, ground]);
  return Object.fromEntries(pairs.map(([a, b]) => [`${a} on ${b}`, ratio(light(a), light(b))]));
}"""
"""Of WCAG 2: what is read must differ from its ground by 4.5 to 1."""


def test_whoever_is_logged_out_or_whose_token_is_revoked_sees_the_form(demo: Site, visit: Open) -> None:
    one = visit(demo)
    one.open("bots/1")
    one.page.route("**/auth/logout", lambda asked: asked.abort(), times=1)
    one.page.get_by_role("button", name="Log out").click()
    expect(one.page.locator(".toast")).to_contain_text("The server does not answer")
    expect(one.page.get_by_role("heading", name="Bot 1")).to_be_visible()
    one.page.get_by_role("button", name="Log out").click()
    expect(one.page.get_by_label("Token")).to_be_visible()
    assert demo.token not in one.page.content()
    secret = demo.home.run("tokens", "create", "--name", "guest", "--scope", "read").strip()
    guest = visit(demo, token=secret)
    guest.open("bots/1")
    expect(guest.page.get_by_role("heading", name="Bot 1")).to_be_visible()
    demo.home.run("tokens", "revoke", "guest")
    expect(guest.page.get_by_label("Token")).to_be_visible()
    refused = {"code": "unauthorized", "message": "it is not valid", "hint": ""}
    guest.page.route("**/auth/me", lambda asked: asked.fulfill(status=401, json=refused), times=1)
    for _ in range(2):  # the first session ends at once
        expect(guest.page.get_by_role("button", name="Log in")).to_be_enabled()
        guest.page.get_by_label("Token").fill(demo.token)
        with guest.page.expect_response("**/auth/me"):
            guest.page.keyboard.press("Enter")
    expect(guest.page.get_by_role("heading", name="Bot 1")).to_be_visible()


def test_what_is_not_there_is_told_with_a_way_back(demo: Site, visit: Open) -> None:
    one = visit(demo)
    for route, words, back in (
        ("bots/999", "There is no bot 999.", "#/bots"),
        ("bots/first", "There is no bot first.", "#/bots"),
        ("markets/sim/NO/SUCH", "There is no market sim:NO/SUCH.", "#/markets"),
        ("elsewhere", "There is no such page.", "#/markets"),
        ("constructor", "There is no such page.", "#/markets"),
        ("markets/%", "There is no market %:.", "#/markets"),
    ):
        one.open(route)
        told = one.page.locator("main .problem")
        expect(told).to_contain_text(words)
        expect(told.get_by_role("link")).to_have_attribute("href", back)
        told.get_by_role("link").click()
        expect(one.page.locator("main .rows").first).to_be_visible()
        expect(told).to_have_count(0)


def test_a_wrong_token_is_told_so(demo: Site, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_label("Token").fill("tcpd_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This token is not valid.")
    expect(page.get_by_role("alert")).not_to_contain_text("Bearer")
    context.close()


def test_data_that_no_longer_comes_looks_old(demo: Site, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    rows = [f"{1514764800 + 20 * n},{100 + n % 7},1" for n in range(300)]
    file.write_text("timestamp,price,size\n" + "\n".join(rows) + "\n")
    home = Home(tmp_path / "home")
    home.json("import", file, "--venue", "old", "--symbol", "A/USD")
    with site(home) as served:
        one = Visit(browser, served)
        expect(one.page.locator(".list td").first).to_have_text("A/USD old")
        expect(one.page.locator(".detail .stale-text")).to_be_visible()
        expect(one.page.locator(".list tr.stale")).to_contain_text(" y")
        one.close()
