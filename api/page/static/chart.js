/** The chart: lightweight-charts with our colours, panes and names. Floats live here only. */

const BOOK = "./vendor/lightweight-charts.mjs";
const LINES = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** @typedef {{time: number, value?: number}} Point */

/** A colour of the style sheet. @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function layout() {
  return {
    layout: {
      background: { color: color("--panel") },
      textColor: color("--muted"),
      fontSize: 11,
      attributionLogo: false,
      fontFamily: getComputedStyle(document.body).fontFamily,
      panes: { separatorColor: color("--rule"), separatorHoverColor: color("--rule") },
    },
    grid: { vertLines: { color: color("--grid") }, horzLines: { color: color("--grid") } },
    crosshair: {
      mode: 0,
      vertLine: { color: color("--muted"), labelBackgroundColor: color("--label") },
      horzLine: { color: color("--muted"), labelBackgroundColor: color("--label") },
    },
    rightPriceScale: { borderColor: color("--rule") },
    timeScale: {
      borderColor: color("--rule"),
      timeVisible: true,
      secondsVisible: false,
      rightOffset: 4,
      minBarSpacing: 0.3,
    },
    kineticScroll: { touch: !still.matches, mouse: false },
  };
}

/** @param {HTMLElement} box @param {number} digits of prices @param {AbortSignal} signal */
export async function drawChart(box, digits, signal) {
  let book;
  try {
    book = await import(BOOK);
  } catch {
    throw Object.assign(new Error("The charts are not there."), {
      hint: "Run `make setup` where the server is, and load this page again.",
    });
  }
  signal.throwIfAborted();
  return new Chart(book, box, digits, signal);
}

export class Chart {
  #book;
  #chart;
  #candles;
  #volume;
  #markers;
  /** @type {Map<any, string>} series and the name of their colour */
  #lines = new Map();
  #panes = 1;
  #last = 0;
  #rise = "";
  #fall = "";

  /** @param {any} book @param {HTMLElement} box @param {number} digits @param {AbortSignal} signal */
  constructor(book, box, digits, signal) {
    this.#book = book;
    this.#chart = book.createChart(box, { autoSize: true, ...layout() });
    const priceFormat = { type: "price", precision: digits, minMove: 10 ** -digits };
    this.#candles = this.#chart.addSeries(book.CandlestickSeries, { ...this.#candleColors(), priceFormat });
    this.#volume = this.#chart.addSeries(book.HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.2 } });
    this.#markers = book.createSeriesMarkers(this.#candles, [], { autoScale: false });
    const restyle = () => this.#restyle();
    dark.addEventListener("change", restyle, { signal });
    box.addEventListener("keydown", (event) => this.#key(event), { signal });
    signal.addEventListener("abort", () => this.#chart.remove());
  }

  /**
   * All bars; what is looked at stays where it is.
   * @param {any[]} bars
   * @param {number} shift bars put before it
   */
  setBars(bars, shift) {
    const scale = this.#chart.timeScale();
    const seen = scale.getVisibleLogicalRange();
    this.#last = bars[bars.length - 1]?.time ?? 0;
    this.#candles.setData(bars);
    this.#volume.setData(bars.map((bar) => this.#volumeOf(bar)));
    if (seen && shift) scale.setVisibleLogicalRange({ from: seen.from + shift, to: seen.to + shift });
  }

  /**
   * The last bar, or the one behind it.
   * @param {any} bar
   * @returns {boolean} false for an older one: all are to be drawn
   */
  setLast(bar) {
    if (bar.time < this.#last) return false;
    this.#last = bar.time;
    this.#candles.update(bar);
    this.#volume.update(this.#volumeOf(bar));
    return true;
  }

  /** A line over the candles. @param {number} digits */
  line(digits) {
    return this.#add(this.#book.LineSeries, 0, digits, {});
  }

  /** A pane below, `height` times as high as the one of the candles is. @param {number} height */
  pane(height) {
    const index = this.#panes++;
    const place = {
      /** @param {number} digits @param {object} [options] */
      line: (digits, options = {}) => this.#add(this.#book.LineSeries, index, digits, options),
      /** @param {number} digits @param {string} name of its colour */
      area: (digits, name) => this.#add(this.#book.AreaSeries, index, digits, { areaName: name }),
      /** @param {number} digits */
      bars: (digits) => this.#add(this.#book.HistogramSeries, index, digits, {}),
      ready: () => this.#chart.panes()[index]?.setStretchFactor(height),
      top: () => {
        const before = this.#chart.panes().slice(0, index);
        return before.reduce(
          (/** @type {number} */ sum, /** @type {any} */ pane) => sum + pane.getHeight() + 1,
          0,
        );
      },
    };
    return place;
  }

  /** @param {any[]} markers in order of time */
  setMarkers(markers) {
    this.#markers.setMarkers(markers.map((marker) => ({ ...marker, color: color(marker.color) })));
  }

  /**
   * The first bars that are seen, and the last, as numbers of bars.
   * @param {(from: number, to: number) => void} seen
   */
  onRange(seen) {
    this.#chart
      .timeScale()
      .subscribeVisibleLogicalRangeChange((/** @type {any} */ range) => range && seen(range.from, range.to));
  }

  /**
   * What the pointer is on: a bar's time and a marker's id.
   * @param {(time: number | null, id: string | null, point: any) => void} on
   */
  onPoint(on) {
    const told = (/** @type {any} */ at) =>
      on(at.time ?? null, at.hoveredInfo?.objectId ?? at.hoveredObjectId ?? null, at.point);
    this.#chart.subscribeCrosshairMove(told);
    this.#chart.subscribeClick(told);
  }

  /** Show the newest bars. @param {number} count */
  showNewest(count) {
    const bars = this.#candles.data().length;
    this.#chart.timeScale().setVisibleLogicalRange({ from: bars - count, to: bars + 3 });
  }

  /** @param {any} kind @param {number} pane @param {number} digits @param {any} options */
  #add(kind, pane, digits, options) {
    const name = options.areaName ?? LINES[this.#lines.size % LINES.length];
    const style = {
      priceLineVisible: false,
      lastValueVisible: true,
      lineWidth: 1.5,
      crosshairMarkerVisible: false,
      priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits },
      ...options,
    };
    const series = this.#chart.addSeries(kind, { ...style, ...lineColors(name, options.areaName) }, pane);
    // the legend of a pane stands above its lines
    if (pane) series.priceScale().applyOptions({ scaleMargins: { top: 0.3, bottom: 0.08 } });
    this.#lines.set(series, name);
    return {
      name,
      set: (/** @type {Point[]} */ points) => series.setData(points),
      last: (/** @type {Point} */ point) => series.update(point),
      apply: (/** @type {object} */ more) => series.applyOptions(more),
    };
  }

  /** @param {any} bar */
  #volumeOf(bar) {
    return { time: bar.time, value: bar.volume, color: bar.close < bar.open ? this.#fall : this.#rise };
  }

  #candleColors() {
    [this.#rise, this.#fall] = [color("--volume-up"), color("--volume-down")];
    const [up, down] = [color("--up"), color("--down")];
    return { upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down };
  }

  #restyle() {
    this.#chart.applyOptions(layout());
    this.#candles.applyOptions(this.#candleColors());
    this.#volume.setData(this.#candles.data().map((/** @type {any} */ bar) => this.#volumeOf(bar)));
    for (const [series, name] of this.#lines)
      series.applyOptions(lineColors(name, series.seriesType() === "Area"));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const scale = this.#chart.timeScale();
    const step = { ArrowLeft: -10, ArrowRight: 10, PageUp: -100, PageDown: 100 }[event.key];
    if (step) scale.scrollToPosition(scale.scrollPosition() + step, false);
    else if (event.key === "End") scale.scrollToRealTime();
    else return;
    event.preventDefault();
  }
}

/** @param {string} name @param {unknown} area */
function lineColors(name, area) {
  const line = color(name);
  if (!area) return { color: line };
  return { lineColor: line, topColor: `${line}40`, bottomColor: `${line}08` };
}
