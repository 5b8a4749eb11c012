// The elements that choose; the theme; the first drawing.

const listImages = () => {
  const select = $("image");
  select.replaceChildren(...run().pictures.map((shot) => h("option", { value: shot.image }, shot.image + (D.roles[shot.role] ? `, ${D.roles[shot.role]}` : ""))));
  select.value = state.image;
  select.closest("label").hidden = run().pictures.length < 2;
};
const listRuns = () => {
  const members = group().runs;
  $("run-pick").hidden = members.length < 2;
  $("run-select").replaceChildren(...members.map((i) => {
    const own = Object.entries(D.runs[i].values).filter(([key]) => !(key in group().values));
    return h("option", { value: i }, own.map(([key, value]) => `${key}=${value}`).join(", ") || D.runs[i].id);
  }));
  $("run-select").value = state.run;
};
watch("group", () => {
  document.querySelectorAll("[data-group]").forEach((node) => (node.hidden = Number(node.dataset.group) !== state.group));
});
watch("group run", () => {
  listRuns();
  listImages();
});
watch("stage group", () => {
  const said = `stage ${state.stage}/${last()} ${layerName(group().layers, state.stage)}`;
  $("stage").max = last();
  $("stage").value = state.stage;
  $("stage-label").textContent = said;
  $("stage-label").title = said;
  $("stage").setAttribute("aria-valuetext", `stage ${state.stage} of ${last()}, ${layerName(group().layers, state.stage)}`);
  $("back").disabled = state.stage === 0;
  $("next").disabled = state.stage === last();
});
watch("metric image group mode overlay scale", () => {
  for (const [id, key] of [["metric", "metric"], ["image", "image"], ["group", "group"]]) if ($(id)) $(id).value = state[key];
  press($("signed"), state.mode === "signed");
  press($("absolute"), state.mode === "absolute");
  press($("relative"), state.scale === "relative");
  press($("score"), state.scale === "score");
  $("overlay").checked = state.overlay;
});
watch("metric image mode stage hidden group", () => {
  const of = run();
  const left = [
    D.metrics.length > 1 ? `curves of other metrics in full (large is ${state.metric})` : "",
    of.pictures.length > 1 ? `masks of ${plural(of.pictures.length - 1, "other image")} in full` : "",
    state.mode === "absolute" ? "signed masks" : "absolute masks",
    hiddenSet.size ? `${plural(hiddenSet.size, "hidden method")}: ${[...hiddenSet].join(", ")}` : "",
    D.groups.length > 1 ? `${plural(D.groups.length - 1, "other scheme")}` : "",
    "rows of the table of scores beyond those shown", "folded settings and glossary",
  ].filter(Boolean);
  $("left-out").textContent = `Printed as chosen: ${state.metric}, stage ${state.stage}${state.image ? `, ${state.image}` : ""}. Left out: ${left.join("; ")}. The page itself has them.`;
});

const chosen = (id, key, as = (v) => v) => {
  if ($(id)) $(id).addEventListener("change", (event) => set({ [key]: as(event.target.value) }));
};
chosen("metric", "metric");
chosen("group", "group", Number);
chosen("image", "image");
chosen("run-select", "run", Number);
$("overlay").addEventListener("change", (event) => set({ overlay: event.target.checked }));
$("stage").addEventListener("input", (event) => set({ stage: Number(event.target.value) }));
$("back").addEventListener("click", () => set({ stage: state.stage - 1 }));
$("next").addEventListener("click", () => set({ stage: state.stage + 1 }));
for (const [key, values] of [["mode", ["signed", "absolute"]], ["scale", ["relative", "score"]]]) {
  for (const value of values) $(value).addEventListener("click", () => set({ [key]: value }));
}
$("filter").addEventListener("change", (event) => {
  filterBy(event.target.value);
  event.target.value = "";
});
$("all-methods").addEventListener("click", () => hide([]));
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest && event.target.closest("input, select, textarea, summary, dialog, .chart, .scroll, [role=slider]");
  if (!busy && ["ArrowRight", "ArrowLeft"].includes(event.key)) stepByKey(event);
});
window.addEventListener("popstate", recall);
// Links within the page would take the place of what the address keeps.
document.querySelector("[data-to]").addEventListener("click", (event) => {
  event.preventDefault();
  $(event.target.dataset.to).scrollIntoView();
  $(event.target.dataset.to).querySelector("button, select, [tabindex]").focus();
});

const themes = ["system", "light", "dark"];
$("theme").addEventListener("click", () => {
  const theme = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3];
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
});
/* Charts are drawn to the width that they have. */
let width = 0;
new ResizeObserver(() => {
  const now = $("panels").clientWidth;
  if (now === width || window.matchMedia("print").matches) return;
  width = now;
  requestAnimationFrame(() => whenNear($("panels"), drawCurves));
}).observe($("panels"));

width = $("panels").clientWidth;
drawLegend();
const begin = recalled();
for (const key of Object.keys(state)) state[key] = undefined; // so that all is drawn
set(begin, false);
document.body.dataset.ready = "ready";
