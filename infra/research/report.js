const { createChart, createSeriesMarkers, CandlestickSeries, LineSeries, AreaSeries } = globalThis.LightweightCharts;
const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour of the style sheet. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const chart = createChart(document.getElementById("chart"), {
  autoSize: true,
  timeScale: { timeVisible: true, secondsVisible: false, minBarSpacing: 0.05 },
  crosshair: { mode: 0 },
});
const minMove = 10 ** -data.digits;
const price = chart.addSeries(CandlestickSeries, { priceFormat: { type: "price", precision: data.digits, minMove }, lastValueVisible: true, priceLineVisible: false });
const equity = chart.addSeries(LineSeries, { lineWidth: 2, priceLineVisible: false }, 1);
const hold = chart.addSeries(LineSeries, { lineWidth: 1, priceLineVisible: false }, 1);
const drawdown = chart.addSeries(AreaSeries, { lineWidth: 1, priceLineVisible: false, invertFilledArea: true, priceFormat: { type: "percent" } }, 2);

const line = (values) => values.map((value, slot) => ({ time: data.times[slot], value }));
price.setData(data.candles.map(([open, high, low, close], slot) => ({ time: data.times[slot], open, high, low, close })));
equity.setData(line(data.equity));
hold.setData(line(data.hold));
drawdown.setData(line(data.drawdown));
const markers = createSeriesMarkers(price, []);
const sizes = [3, 2, 1];
chart.panes().forEach((pane, index) => pane.setStretchFactor(sizes[index]));

function paint() {
  const [rule, grid, up, down] = ["rule", "grid", "up", "down"].map(color);
  chart.applyOptions({
    layout: { background: { color: color("panel") }, textColor: color("muted"), attributionLogo: false, panes: { separatorColor: rule } },
    grid: { vertLines: { color: grid }, horzLines: { color: grid } },
    rightPriceScale: { borderColor: rule },
    timeScale: { borderColor: rule },
  });
  price.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  equity.applyOptions({ color: color("equity") });
  hold.applyOptions({ color: color("hold") });
  drawdown.applyOptions({ lineColor: down, topColor: `${down}55`, bottomColor: `${down}11` });
  markers.setMarkers([
    ...data.buys.map((slot) => ({ slot, position: "belowBar", shape: "arrowUp", color: up, size: 0.6 })),
    ...data.sells.map((slot) => ({ slot, position: "aboveBar", shape: "arrowDown", color: down, size: 0.6 })),
  ].sort((a, b) => a.slot - b.slot).map(({ slot, ...marker }) => ({ time: data.times[slot], ...marker })));
}

paint();
dark.addEventListener("change", paint);
chart.timeScale().fitContent();
document.getElementById("chart").dataset.drawn = String(data.times.length);
