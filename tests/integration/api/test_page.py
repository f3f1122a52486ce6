"""The page's files: everybody may have them, and nothing else beside them."""

import json
from http.client import HTTPConnection

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.integration.api.conftest import Api

FILES = {
    "/": "text/html",
    "/page/app.js": "javascript",
    "/page/views/bot.js": "javascript",
    "/page/style.css": "text/css",
    "/page/icon.svg": "image/svg+xml",
}


def test_its_files_need_no_token_and_forbid_what_is_not_ours(api: Api) -> None:
    with api.client(None) as client:
        for path, kind in FILES.items():
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert kind in answer.headers["content-type"]
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_the_browser_has_is_not_sent_again(api: Api) -> None:
    with api.client(None) as client:
        tag = client.get("/page/app.js").headers["etag"]
        assert client.get("/page/app.js", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "path",
    ["/page/../api/markets", "/page/%2e%2e/api/markets", "/page/..%2f..%2f__init__.py", "/page//etc/passwd",
     "/page/%2fetc/passwd", "/page/views", "/page/", "/page/views/../../package.json", "/page/none.js"],
)  # fmt: skip
def test_no_path_leads_out_of_its_folder(api: Api, path: str) -> None:
    connection = HTTPConnection(api.url.removeprefix("http://"))
    connection.request("GET", path)  # as it is: others would tidy it up
    answer = connection.getresponse()
    assert answer.status == 404
    assert set(json.load(answer)) == {"code", "message", "hint"}
    connection.close()


def test_a_path_that_only_looks_like_the_page_needs_a_token(api: Api) -> None:
    with api.client(None) as client:
        assert client.get("/pages").status_code == 401
        assert client.get("/index.html").status_code == 401


def test_a_socket_is_no_file(api: Api) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{api.url.replace('http', 'ws')}/page/app.js"):
        pass
    assert refused.value.response.status_code == 401


def test_a_market_tells_its_last_price(api: Api) -> None:
    for market in api.get("/api/markets")["items"]:
        path = f"/api/candles/{market['venue']}/{market['symbol']}"
        (newest,) = api.get(path, order="newest", limit=1)["items"]
        assert (market["newest"], market["price"]) == (newest["timestamp"], newest["close"])


def test_a_strategy_tells_where_its_indicators_are_drawn(api: Api) -> None:
    items = {item["strategy"]: item["indicators"] for item in api.get("/api/strategies")["items"]}
    assert {one["name"]: one["pane"] for one in items["sma_cross"]} == {
        "fast_average": "price",
        "slow_average": "price",
    }
    assert [one["pane"] for one in items["rsi_reversion"]] == ["own"]
    assert items["macd_cross"] == [
        {
            "name": "momentum",
            "values": ["momentum.line", "momentum.signal", "momentum.histogram"],
            "pane": "own",
        }
    ]
    assert items["bollinger_breakout"][0]["pane"] == "price"


def test_a_mark_tells_the_highest_equity_up_to_it_wherever_a_page_begins(api: Api) -> None:
    marks = api.get("/api/bots/1/equity", limit=5000)["items"]
    middle = marks[len(marks) // 2]["timestamp"]
    before = [mark["equity"] for mark in marks if mark["timestamp"] <= middle]
    (first, *_) = api.get("/api/bots/1/equity", **{"from": middle})["items"]
    assert first["peak"] == max(*before, first["equity"], key=float)
