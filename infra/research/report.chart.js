const { createChart, LineSeries } = globalThis.LightweightCharts;
const data = JSON.parse(document.getElementById("data").textContent);

/** A colour of the style sheet. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const chart = createChart(document.getElementById("chart"), {
  autoSize: true,
  timeScale: { timeVisible: true, secondsVisible: false, minBarSpacing: 0.05 },
  crosshair: { mode: 0 },
});

/** Values as the points of a series, one at each of the times; there is none where a value is missing. */
function line(values) {
  return values.map((value, slot) => (value === null ? { time: data.times[slot] } : { time: data.times[slot], value }));
}

/** The chart in the colours of the day or of the night, which change; `paint` gives those of its series. */
function show(paint) {
  const all = () => {
    const [rule, grid] = ["rule", "grid"].map(color);
    chart.applyOptions({
      layout: { background: { color: color("panel") }, textColor: color("muted"), attributionLogo: false, panes: { separatorColor: rule } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: rule },
      timeScale: { borderColor: rule },
    });
    paint();
  };
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  chart.timeScale().fitContent();
  document.getElementById("chart").dataset.drawn = String(data.times.length);
}

