// What is chosen, and by which elements.

const setStage = (stage) => {
  state.stage = Math.max(0, Math.min(group().layers.length - 1, stage));
  $("stage").value = state.stage;
  const last = group().layers.length - 1;
  const said = `stage ${state.stage} of ${last}: ${layerName(group().layers, state.stage)}`;
  $("stage-label").textContent = said;
  $("stage-label").title = said;
  $("stage").setAttribute("aria-valuetext", said);
  $("back").disabled = state.stage === 0;
  $("next").disabled = state.stage === last;
  markCharts();
  markScheme();
  showMasks();
  if (state.one) drawTable();
};
const showAnswer = () => {
  document.querySelectorAll(".answer").forEach((part) => {
    part.hidden = Number(part.dataset.group) !== state.group || part.dataset.metric !== state.metric;
  });
  document.querySelectorAll(".answer-matrix").forEach((part) => (part.hidden = part.dataset.metric !== state.metric));
  document.querySelectorAll("#metric-tabs button").forEach((b) => press(b, b.dataset.metric === state.metric));
  if ($("metric")) $("metric").value = state.metric;
};
const setMetric = (metric) => {
  state.metric = metric;
  showAnswer();
  drawMultiples();
  showMasks();
  drawTable();
};
const setRun = (i) => {
  state.run = i;
  $("run-select").value = i;
  buildMasks();
  drawScheme();
};
const listRuns = () => {
  const members = group().runs;
  $("run-pick").hidden = members.length < 2;
  $("run-select").replaceChildren(...members.map((i) => {
    const own = Object.entries(D.runs[i].values).filter(([key]) => !(key in group().values));
    return h("option", { value: i }, own.map(([key, value]) => `${key}=${value}`).join(", ") || D.runs[i].id);
  }));
};
const setGroup = (g) => {
  state.group = g;
  $("stage").max = group().layers.length - 1;
  listRuns();
  const withMasks = group().runs.find((i) => D.runs[i].pictures.length);
  showAnswer();
  drawCurves();
  setRun(withMasks === undefined ? group().runs[0] : withMasks);
  setStage(state.stage);
};
const toggle = (ids, choose) => ids.forEach((id) => $(id).addEventListener("click", () => {
  ids.forEach((other) => press($(other), other === id));
  choose(id);
}));

for (const metric of D.metrics) {
  const button = h("button", { type: "button", "data-metric": metric, "aria-pressed": "false" }, metric);
  button.addEventListener("click", () => setMetric(metric));
  $("metric-tabs").append(button);
}
if ($("metric")) $("metric").addEventListener("change", (event) => setMetric(event.target.value));
if ($("group")) $("group").addEventListener("change", (event) => setGroup(Number(event.target.value)));
if ($("key")) $("key").addEventListener("change", (event) => {
  state.key = event.target.value;
  drawMultiples();
});
$("run-select").addEventListener("change", (event) => setRun(Number(event.target.value)));
$("stage").addEventListener("input", (event) => setStage(Number(event.target.value)));
$("back").addEventListener("click", () => setStage(state.stage - 1));
$("next").addEventListener("click", () => setStage(state.stage + 1));
toggle(["signed", "absolute"], (mode) => {
  state.mode = mode;
  showMasks();
});
$("overlay").addEventListener("change", (event) => {
  state.overlay = event.target.checked;
  showMasks();
});
toggle(["means", "each"], (kind) => {
  state.table = kind;
  drawTable();
});
if (!D.rows) $("each").disabled = true;
$("all-metrics").addEventListener("change", (event) => {
  state.all = event.target.checked;
  drawTable();
});
$("one-stage").addEventListener("change", (event) => {
  state.one = event.target.checked;
  drawTable();
});
$("more").addEventListener("click", () => {
  state.most = Infinity;
  drawTable();
});
$("copy").addEventListener("click", copy);
document.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const busy = event.target.closest && event.target.closest("input, select, textarea, .chart, .scroll");
  if (!step || busy || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  setStage(state.stage + step);
});
const themes = ["system", "light", "dark"];
$("theme").addEventListener("click", () => {
  const theme = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3];
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
});
let width = 0;
new ResizeObserver(() => {
  const now = $("panels").clientWidth;
  if (now === width || window.matchMedia("print").matches) return;
  width = now;
  requestAnimationFrame(() => {
    drawCurves();
    drawMultiples();
  });
}).observe($("panels"));

width = $("panels").clientWidth;
drawLegend();
setGroup(0);
showMethods();
