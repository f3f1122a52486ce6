const { createSeriesMarkers, CandlestickSeries, AreaSeries } = globalThis.LightweightCharts;
const minMove = 10 ** -data.digits;
const price = chart.addSeries(CandlestickSeries, { priceFormat: { type: "price", precision: data.digits, minMove }, lastValueVisible: true, priceLineVisible: false });
const equity = chart.addSeries(LineSeries, { lineWidth: 2, priceLineVisible: false }, 1);
const hold = chart.addSeries(LineSeries, { lineWidth: 1, priceLineVisible: false }, 1);
const drawdown = chart.addSeries(AreaSeries, { lineWidth: 1, priceLineVisible: false, invertFilledArea: true, priceFormat: { type: "percent" } }, 2);

price.setData(data.candles.map(([open, high, low, close], slot) => ({ time: data.times[slot], open, high, low, close })));
equity.setData(line(data.equity));
hold.setData(line(data.hold));
drawdown.setData(line(data.drawdown));
const markers = createSeriesMarkers(price, []);
const sizes = [3, 2, 1];
chart.panes().forEach((pane, index) => pane.setStretchFactor(sizes[index]));

function paint() {
  const [up, down] = ["up", "down"].map(color);
  price.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  equity.applyOptions({ color: color("equity") });
  hold.applyOptions({ color: color("hold") });
  drawdown.applyOptions({ lineColor: down, topColor: `${down}55`, bottomColor: `${down}11` });
  markers.setMarkers([
    ...data.buys.map((slot) => ({ slot, position: "belowBar", shape: "arrowUp", color: up, size: 0.6 })),
    ...data.sells.map((slot) => ({ slot, position: "aboveBar", shape: "arrowDown", color: down, size: 0.6 })),
  ].sort((a, b) => a.slot - b.slot).map(({ slot, ...marker }) => ({ time: data.times[slot], ...marker })));
}

show(paint);
