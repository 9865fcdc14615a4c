// Workflows: how far each execution is.

import { el, empty, head, reconcile, select, setText } from "../dom.js";
import { ago, count, line, moment, name, span, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { jsonToggle } from "../json.js";
import { SAMPLES } from "../samples.js";
import { Source } from "../source.js";

const MOST = 500;
const SHOWN = 150;
/** Stages that are remembered of one execution. */
const STAGES = 30;
const KINDS = { pending: "plain", running: "accent", completed: "good", failed: "bad", cancelled: "off" };
/** Groups from top to bottom; any other status belongs to the last one. */
const GROUPS = [["running", "Running"], ["pending", "Pending"], ["failed", "Failed"], ["over", "Finished"]];
const groupOf = ({ event }) => (GROUPS.some(([id]) => id === event.status) ? event.status : "over");
const isOver = ({ event }) => !["running", "pending"].includes(event.status);

export function create({ feed }) {
  const executions = new Map();
  let status = "";
  const filter = el("input", { type: "search", placeholder: "filter by workflow or execution", "aria-label": "Filter by workflow or execution", oninput: () => draw() });
  const statuses = select("Status", [["", "all"], ...Object.keys(KINDS).map((kind) => [kind, kind])], "", (value) => {
    status = value;
    draw();
  });
  const groups = GROUPS.map(([id, title]) => {
    const [number, list] = [el("b"), el("div", { class: "flows", role: "list", "aria-label": `${title} executions` })];
    return { id, number, list, node: el("section", { class: "flowgroup", hidden: true }, el("h2", {}, title, number), list) };
  });
  const figures = el("span", { class: "quiet figures" });
  const none = empty("No workflow has run yet.", SAMPLES.workflow_execution);

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
    const card = el("article", { class: "flow", role: "listitem" },
      el("span", { class: "pill" }), el("div", { class: "flowname" }, el("b"), el("code", { class: "quiet" })),
      el("div", { class: "share" }, el("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, el("i")), el("span")),
      el("span", { class: "stage" }), el("span", { class: "agent-of" }), el("p", { class: "times quiet" }, el("span"), el("span")), button,
      el("p", { class: "error" }), box);
    return card;
  }

  function update(card, it) {
    const { event } = it;
    const [pill, titles, { children: [progress, percent] }, stages, agent, times, , error] = card.children;
    card.event = event;
    setText(titles.children[0], name(event.workflowId));
    setText(titles.children[1], name(event.executionId));
    setText(pill, name(event.status));
    pill.className = `pill ${KINDS[event.status] ?? "plain"}`;
    const share = Math.min(100, Math.max(0, it.progress ?? 0));
    progress.className = `progress ${KINDS[event.status] ?? "plain"}`;
    progress.firstChild.style.transform = `scaleX(${share / 100})`;
    progress.setAttribute("aria-valuenow", Math.round(share));
    progress.setAttribute("aria-label", `Progress of ${name(event.executionId)}`);
    setText(percent, `${Math.round(share)}%`);
    setText(stages, it.stages.slice(-5).map((stage) => name(stage.name)).join(" → "));
    setText(agent, event.agentId === undefined ? "" : name(event.agentId));
    // Of an execution that only its end was seen of, nobody knows how long it took.
    const took = isOver(it) && it.at === it.began ? "" : ` · ${span(((isOver(it) ? it.at : Date.now()) - it.began) / 1000)}`;
    setText(times.children[0], `${moment(it.began)}${took}`);
    setText(times.children[1], isOver(it) ? "" : `updated ${ago(it.at)}`);
    setText(error, line(event.error, 300));
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const all = [...executions.values()];
    const shown = all.filter(({ event }) => (!status || event.status === status) && `${line(event.workflowId)} ${line(event.executionId)}`.toLowerCase().includes(wanted));
    let left = SHOWN;
    for (const { id, number, list, node } of groups) {
      const members = shown.filter((it) => groupOf(it) === id).sort((a, b) => b.at - a.at);
      reconcile(list, members.slice(0, left), ({ key }) => key, make, update);
      left -= list.childElementCount;
      setText(number, count(members.length));
      node.hidden = !list.childElementCount;
    }
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
    node: el("div", { class: "panel" }, head("Workflows", source.picker, statuses, figures, el("span", { class: "grow" }), filter), source.notice, none, ...groups.map((group) => group.node)),
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
