// Charts of performance_metric: one for each metric, a line for each of what it is told of.

import { Chart } from "../chart.js";
import { el, empty, head, select, setText } from "../dom.js";
import { bytes, count, line, name, plural, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { SAMPLES } from "../samples.js";
import { Source } from "../source.js";

/** Charts, and lines of one; what comes beyond is counted. */
const CHARTS = 24;
const LINES = 8;
/** Points of a line: each is the newest value of its part of the window. */
const POINTS = 240;

/** One metric's values in a window that moves. */
class Metric {
  constructor(title, unit) {
    Object.assign(this, { title, unit, lines: new Map(), left: new Set() });
  }

  add(who, at, value, step) {
    let values = this.lines.get(who);
    if (!values) {
      if (this.lines.size === LINES) {
        if (this.left.size < 10_000) this.left.add(who);
        return;
      }
      this.lines.set(who, (values = new Map()));
    }
    values.set(Math.floor(at / step), value);
    if (values.size > POINTS * 2) for (const slot of [...values.keys()].sort((a, b) => a - b).slice(0, POINTS)) values.delete(slot);
  }

  data(now, step) {
    const newest = Math.floor(now / step);
    const slots = Array.from({ length: POINTS }, (_, n) => newest - POINTS + 1 + n);
    return [slots.map((slot) => (slot * step) / 1000), ...[...this.lines.values()].map((values) => slots.map((slot) => values.get(slot) ?? null))];
  }

  /** How its values are told, and the unit that stands beside the title where they do not tell it themselves. */
  how() {
    const { unit } = this;
    if (unit === "percent" || unit === "%") return { format: (value) => `${count(value)}%`, top: 100 };
    if (unit === "bytes") return { format: bytes, isBinary: true };
    if (unit === "bytes/s") return { format: (value) => `${bytes(value)}/s`, isBinary: true };
    return { format: count, unit: line(unit, 24) };
  }
}

export function create({ feed }) {
  const metrics = new Map();
  const charts = new Map();
  let left = 0;
  let window = 300_000;
  const step = () => window / POINTS;
  const grid = el("div", { class: "charts" });
  const figures = el("span", { class: "quiet figures" });
  const none = empty("No metric has come yet.", SAMPLES.performance_metric);
  const filter = el("input", { type: "search", placeholder: "filter by name", "aria-label": "Filter metrics by name", oninput: () => draw() });
  const windows = select("Time", [["300000", "5 min"], ["900000", "15 min"], ["60000", "1 min"]], "300000", (value) => {
    window = Number(value);
    source.close();
    source.open();
  });

  /** What a value is told of: an agent, a process, a disk. */
  const whoOf = ({ agentId, metadata }) => name(agentId ?? metadata?.process ?? metadata?.mount, "value");

  function take(events, meta) {
    const now = Date.now();
    for (const event of events) {
      const { metricName, value } = event ?? {};
      if (typeof metricName !== "string" || typeof value !== "number" || !Number.isFinite(value)) continue;
      // A clock that is wrong must not stretch the axis.
      const at = meta.source === "live" ? now : Math.min(now, timeOf(event));
      if (at < now - window) continue;
      let metric = metrics.get(metricName);
      if (!metric) {
        if (metrics.size === CHARTS) {
          left += 1;
          continue;
        }
        metrics.set(metricName, (metric = new Metric(line(metricName, 60), typeof event.unit === "string" ? event.unit : "")));
      }
      metric.add(whoOf(event), at, value, step());
    }
    draw();
  }

  const draw = drawing(() => {
    const now = Date.now();
    const wanted = filter.value.toLowerCase();
    for (const [key, metric] of metrics) {
      let chart = charts.get(key);
      if (!chart) {
        chart = new Chart({ title: metric.title, height: 150, series: [...metric.lines.keys()], ...metric.how() });
        charts.set(key, chart);
        // In the order of their names, whatever came first.
        grid.insertBefore(chart.node, [...charts].filter(([other]) => other > key).sort(([a], [b]) => (a < b ? -1 : 1))[0]?.[1].node ?? null);
      }
      chart.node.hidden = !key.toLowerCase().includes(wanted);
      chart.setSeries([...metric.lines.keys()]);
      if (!chart.node.hidden) chart.set(metric.data(now, step()));
      chart.node.title = metric.left.size ? `${metric.left.size} more are told of and not drawn` : "";
    }
    none.hidden = metrics.size > 0;
    setText(figures, `${plural(metrics.size, "metric")}${left ? ` · more than ${CHARTS} are not drawn` : ""}`);
  }, 900);

  function begin() {
    for (const chart of charts.values()) chart.destroy();
    charts.clear();
    metrics.clear();
    left = 0;
    draw();
  }

  const source = new Source({ feed, type: "performance_metric", preferred: ["performance_metrics", "metrics_board"], wish: { every: "1s", from: { since: "-15m" } }, ears: { begin, events: take } });
  let end = () => {};
  return {
    node: el("div", { class: "panel" }, head("Metrics", source.picker, windows, figures, el("span", { class: "grow" }), filter), source.notice, none, grid),
    open() {
      source.open();
      end = ticking(draw, 1000);
    },
    close() {
      source.close();
      end();
      begin();
    },
    focus: () => filter.focus(),
  };
}
