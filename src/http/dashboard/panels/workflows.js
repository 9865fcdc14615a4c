// Workflows: how far each execution is.

import { el, empty, head, reconcile, select, setText } from "../dom.js";
import { ago, count, line, moment, name, span, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { jsonToggle } from "../json.js";
import { Source } from "../source.js";

const MOST = 500;
const SHOWN = 150;
/** Stages that are remembered of one execution. */
const STAGES = 30;
const KINDS = { pending: "plain", running: "accent", completed: "good", failed: "bad", cancelled: "off" };
const ORDER = { running: 0, pending: 1, failed: 2 };

export function create({ feed }) {
  const executions = new Map();
  let status = "";
  const filter = el("input", { type: "search", placeholder: "filter by workflow or execution", "aria-label": "Filter by workflow or execution", oninput: () => draw() });
  const statuses = select("Status", [["", "all"], ...Object.keys(KINDS).map((kind) => [kind, kind])], "", (value) => {
    status = value;
    draw();
  });
  const list = el("div", { class: "flows", role: "list", "aria-label": "Executions" });
  const figures = el("span", { class: "quiet figures" });
  const none = empty("No workflow has run yet.", '{"type":"workflow_execution","workflowId":"import","executionId":"e1","stage":"read","status":"running","progress":20}');

  function take(events) {
    for (const event of events) {
      const { executionId: id, workflowId } = event ?? {};
      if (id === undefined || workflowId === undefined) continue;
      const key = JSON.stringify([workflowId, id]);
      const at = timeOf(event);
      const known = executions.get(key) ?? { key, began: at, stages: [] };
      executions.delete(key);
      const stages = known.stages.at(-1)?.name === event.stage ? known.stages : [...known.stages, { name: event.stage, at }].slice(-STAGES);
      executions.set(key, { ...known, at, stages, event, progress: typeof event.progress === "number" ? event.progress : event.status === "completed" ? 100 : known.progress });
    }
    while (executions.size > MOST) executions.delete(executions.keys().next().value);
    draw();
  }

  function make() {
    const { button, box } = jsonToggle(() => card.event);
    const card = el("article", { class: "flow card", role: "listitem" },
      el("div", { class: "flowhead" }, el("b"), el("code", { class: "quiet" }), el("span", { class: "grow" }), el("span", { class: "pill" }), button),
      el("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, el("i")),
      el("div", { class: "flowfoot" }, el("span", { class: "stage" }), el("span", { class: "quiet" })),
      el("p", { class: "error" }), box);
    return card;
  }

  function update(card, it) {
    const { event } = it;
    const [top, progress, foot, error] = card.children;
    card.event = event;
    setText(top.children[0], name(event.workflowId));
    setText(top.children[1], name(event.executionId));
    setText(top.children[3], name(event.status));
    top.children[3].className = `pill ${KINDS[event.status] ?? "plain"}`;
    const share = Math.min(100, Math.max(0, it.progress ?? 0));
    progress.className = `progress ${KINDS[event.status] ?? "plain"}`;
    progress.firstChild.style.transform = `scaleX(${share / 100})`;
    progress.setAttribute("aria-valuenow", Math.round(share));
    progress.setAttribute("aria-label", `Progress of ${name(event.executionId)}`);
    setText(foot.children[0], `${Math.round(share)}% · ${it.stages.slice(-5).map((stage) => name(stage.name)).join(" → ")}`);
    const isOver = !(event.status in ORDER) || event.status === "failed";
    const took = span(((isOver ? it.at : Date.now()) - it.began) / 1000);
    setText(foot.children[1], `${event.agentId === undefined ? "" : `${name(event.agentId)} · `}${moment(it.began)} · ${took}${isOver ? "" : ` · heard ${ago(it.at)}`}`);
    setText(error, line(event.error, 300));
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const all = [...executions.values()];
    const shown = all.filter(({ event }) => (!status || event.status === status) && `${line(event.workflowId)} ${line(event.executionId)}`.toLowerCase().includes(wanted));
    shown.sort((a, b) => (ORDER[a.event.status] ?? 3) - (ORDER[b.event.status] ?? 3) || b.at - a.at);
    reconcile(list, shown.slice(0, SHOWN), ({ key }) => key, make, update);
    none.hidden = all.length > 0;
    const of = (kind) => all.filter(({ event }) => event.status === kind).length;
    setText(figures, `${count(of("running"))} running · ${count(of("failed"))} failed · ${count(of("completed"))} completed${shown.length > SHOWN ? ` · the first ${SHOWN} are shown` : ""}`);
  }, 400);

  const source = new Source({ feed, type: "workflow_execution", preferred: ["workflow_executions"], wish: { every: "250ms", from: "start" }, ears: {
    begin: () => {
      executions.clear();
      draw();
    },
    events: take,
  } });
  let end = () => {};
  return {
    node: el("div", { class: "panel" }, head("Workflows", source.picker, statuses, figures, el("span", { class: "grow" }), filter), source.notice, none, list),
    open() {
      source.open();
      end = ticking(draw, 1000);
    },
    close() {
      source.close();
      end();
    },
    focus: () => filter.focus(),
  };
}
