// A line chart over time (uPlot), in the colours of the page.

import uPlot from "./vendor/uPlot.esm.js";
import { el, reconcile, setText } from "./dom.js";
import { clock, span } from "./format.js";
import { colour, onTheme } from "./theme.js";

/** Colours of series: --c1 and so on; after that they begin anew. */
const COLOURS = 8;
/** Steps of an axis of bytes. */
const BINARY = Array.from({ length: 52 }, (_, power) => 2 ** power);
/** An axis of time shows so many seconds at least. */
const LEAST_SPAN = 120;
/** Points of a `spark` line. */
const SPARK = 60;

export class Chart {
  /**
   * @param {{ title: string, unit?: string, height?: number, format: (value: number) => string, series: string[], top?: number, isBinary?: boolean, spans?: boolean }} options
   *   `top`: the scale goes up to it at least; `spans`: a line goes on over times without a value
   */
  constructor({ title, unit = "", height = 150, format, series, top = 0, isBinary = false, spans = true }) {
    Object.assign(this, { height, format, series, top, isBinary, spans });
    this.data = [[], ...series.map(() => [])];
    this.box = el("div", { class: "plot" });
    this.title = el("h2", { text: title }, unit ? el("span", { class: "unit", text: unit }) : null);
    this.legend = el("ul", { class: "legend" });
    this.node = el("section", { class: "chart card", role: "img", "aria-label": title }, el("div", { class: "charthead" }, this.title, this.legend), this.box);
    this.plot = null;
    this.endTheme = onTheme(() => this.#make());
    this.sized = new ResizeObserver(() => {
      const width = Math.floor(this.box.clientWidth);
      if (!width) return;
      if (this.plot) this.plot.setSize({ width, height: this.height });
      else this.#make();
    });
    this.sized.observe(this.box);
  }

  /** New series, under the same title. */
  setSeries(series) {
    if (series.join("\n") === this.series.join("\n")) return;
    this.series = series;
    this.plot?.destroy();
    this.plot = null;
    this.legend.replaceChildren();
    this.legend.keyed?.clear();
  }

  /** Seconds since 1970, and the values of each series, null where there is none. */
  set(data) {
    this.data = data;
    const newest = data.slice(1).map((values) => values.findLast((value) => value !== null && Number.isFinite(value)));
    const [from, to] = [data[0][0], data[0].at(-1)];
    this.node.setAttribute("aria-label", `${this.title.firstChild.textContent}${to > from ? `, last ${span(to - from)}` : ""}: ${this.series.map((name, n) => `${name} ${newest[n] === undefined ? "unknown" : this.format(newest[n])}`).slice(0, 8).join(", ")}`);
    if (this.plot) this.plot.setData(data);
    else this.#make();
    this.#drawLegend();
  }

  /** From the oldest to the newest, and no less than is worth an axis: uPlot would give a single point a whole day. */
  #window() {
    const [times] = this.data;
    const end = times.at(-1) ?? Date.now() / 1000;
    return [Math.min(times[0] ?? end, end - LEAST_SPAN), end];
  }

  /** The legend tells each line's newest value, or the values of the moment that somebody points at. */
  #drawLegend() {
    const at = this.plot?.cursor.idx ?? null;
    const isOne = this.series.length === 1;
    reconcile(this.legend, this.series.map((label, n) => ({ label, n })), ({ label }) => label, () => el("li", {}, el("i"), el("span"), el("b")), (item, { label, n }) => {
      const value = at === null ? this.data[n + 1]?.findLast((one) => one !== null && Number.isFinite(one)) : this.data[n + 1]?.[at];
      item.className = isOne ? "" : `line c${(n % COLOURS) + 1}`;
      setText(item.children[1], isOne ? "" : label);
      setText(item.children[2], value === null || value === undefined ? "–" : this.format(value));
    });
  }

  /** The scale of values: from 0, and never so narrow that nothing would stand on it. */
  #scale(low, high) {
    const bottom = Math.min(0, low ?? 0) * 1.1;
    const top = Math.max(this.top, (high ?? 0) * 1.1);
    return [bottom, top > 0 || bottom < 0 ? Math.max(top, 0) : 1];
  }

  #make() {
    const width = Math.floor(this.box.clientWidth);
    if (!width) return;
    this.plot?.destroy();
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const { format, isBinary } = this;
    this.plot = new uPlot({
      width,
      height: this.height,
      padding: [8, 26, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      legend: { show: false },
      hooks: { setCursor: [() => this.#drawLegend()] },
      scales: { x: { time: true, range: () => this.#window() }, y: { range: (_, low, high) => this.#scale(low, high) } },
      axes: [
        { ...axis, space: 52, size: 24, values: (_, ticks) => ticks.map((tick) => clock(tick * 1000).slice(0, ticks.length > 1 && ticks[1] - ticks[0] < 60 ? 8 : 5)) },
        { ...axis, size: isBinary ? 64 : 54, space: 26, ...(isBinary ? { incrs: BINARY } : {}), values: (_, ticks) => ticks.map((tick) => format(tick)) },
      ],
      series: [
        {},
        ...this.series.map((label, n) => ({
          label,
          stroke: colour(`c${(n % COLOURS) + 1}`),
          fill: this.series.length === 1 ? `color-mix(in srgb, ${colour("c1")} 12%, transparent)` : undefined,
          width: 1.5,
          spanGaps: this.spans,
          // A single value has no line.
          points: { show: () => this.data[n + 1].filter((value) => value !== null).length === 1, size: 5 },
        })),
      ],
    }, this.data, this.box);
  }

  destroy() {
    this.endTheme();
    this.sized.disconnect();
    this.plot?.destroy();
    this.node.remove();
  }
}

/** A line without axes, as wide as its canvas. */
export function spark(canvas, values) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const shown = values.slice(-SPARK);
  const most = Math.max(...shown, 1e-9);
  context.beginPath();
  shown.forEach((value, n) => {
    const x = width - 1 - ((shown.length - 1 - n) * (width - 2)) / (SPARK - 1);
    context.lineTo(x, height - 1.5 - (value / most) * (height - 3));
  });
  context.strokeStyle = colour("c1");
  context.lineWidth = 1.25;
  context.stroke();
}
