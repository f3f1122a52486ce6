"""What a frame without trades says, in the form of each venue."""

import pytest

from infra.exchange.venues.binance import Binance
from infra.exchange.venues.bybit import Bybit
from infra.exchange.venues.okx import Okx
from infra.exchange.venues.venue import Control, Venue

BINANCE, OKX, BYBIT = Binance(), Okx(), Bybit()
ARG = '"arg":{"channel":"trades-all","instId":"BTC-USDT"}'


@pytest.mark.parametrize(
    ("venue", "text", "control"),
    [
        (BINANCE, '{"result":null,"id":1}', "subscribed"),
        (BINANCE, '{"error":{"code":2,"msg":"no"},"id":1}', "known"),
        (BINANCE, '{"what":"is this"}', "unknown"),
        (BINANCE, "[1]", "unknown"),
        (BINANCE, '{"e":"serverShutdown","E":1770123456789}', "known"),
        (BINANCE, '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}', "known"),
        (BINANCE, '{"e":"trade","E":1}', "unknown"),
        (OKX, f'{{"event":"subscribe",{ARG},"connId":"a4d3ae55"}}', "subscribed"),
        (OKX, '{"event":"error","code":"60018","msg":"no"}', "known"),
        (OKX, '{"event":"notice","code":"64008","msg":"The connection will soon be closed"}', "known"),
        (OKX, "pong", "pong"),
        (OKX, f'{{{ARG},"data":[]}}', "unknown"),
        (OKX, '{"arg":{"channel":"tickers"},"data":[{}]}', "known"),
        (OKX, "[1]", "unknown"),
        (BYBIT, '{"success":true,"ret_msg":"","op":"subscribe","req_id":"1"}', "subscribed"),
        (BYBIT, '{"success":true,"ret_msg":"pong","op":"ping"}', "pong"),
        (BYBIT, '{"topic":"tickers.BTCUSDT","data":{}}', "known"),
        (BYBIT, '{"topic":"publicTrade.BTCUSDT","data":[]}', "unknown"),
        (BYBIT, "[1]", "unknown"),
    ],
)
def test_a_frame_without_trades_is_told_by_its_form(venue: Venue, text: str, control: Control) -> None:
    assert venue.control(text) == control


@pytest.mark.parametrize("venue", [BINANCE, OKX], ids=lambda venue: venue.name)
def test_a_frame_that_is_no_text_of_the_venues_is_refused(venue: Venue) -> None:
    for text in ("hello", '{"event":', ""):
        with pytest.raises(ValueError, match=r"Expecting"):
            venue.control(text)


def test_okx_confirms_each_symbol_and_binance_all_of_them() -> None:
    assert (OKX.confirms_each, BINANCE.confirms_each) == (True, False)
    assert OKX.confirmed(f'{{"event":"subscribe",{ARG}}}') == "BTC-USDT"
    assert BINANCE.confirmed('{"result":null,"id":1}') == ""
    assert (OKX.ping_text(b"1"), BINANCE.ping_text(b"1")) == ("ping", None)


@pytest.mark.parametrize(
    ("venue", "text", "ids"),
    [
        (
            OKX,
            '{"event":"error","msg":"Wrong URL or channel:trades-all,instId:A-B doesn\'t exist."}',
            ["A-B"],
        ),
        (OKX, '{"event":"error","code":"60012","msg":"Invalid request: {}"}', []),
        (OKX, f'{{"event":"subscribe",{ARG},"connId":"a4d3ae55"}}', None),
        (OKX, "pong", None),
        (
            BYBIT,
            '{"success":false,"op":"subscribe","ret_msg":"Invalid symbol :[publicTrade.NOPE]"}',
            ["NOPE"],
        ),
        (
            BYBIT,
            '{"success":false,"op":"subscribe","ret_msg":"error:handler not found,topic:publicTrade.B-1J"}',
            ["B-1J"],
        ),
        (BYBIT, '{"success":true,"op":"subscribe","ret_msg":""}', None),
        (BYBIT, '{"success":false,"op":"ping","ret_msg":"no"}', None),
    ],
)
def test_a_refusal_names_whose_it_is(venue: Venue, text: str, ids: list[str] | None) -> None:
    refusal = venue.refusal(text)
    assert (refusal and list(refusal.ids)) == ids
