// The main view: an image, its masks of all methods at all stages.

/* Column of a stage in the strips, as CSS has it: a share of the width. */
const drawStrips = () => {
  const host = $("strips");
  const shot = picture();
  const of = run();
  $("strips-key").textContent = stripsKey();
  if (!shot) {
    host.replaceChildren(h("p", { class: "key" }, "No masks of this run are on this page."));
    showPhoto(null);
    return;
  }
  showPhoto(shot);
  const ks = of.stages.map((_, k) => k);
  const heads = h("div", { class: "heads", "aria-hidden": "true" }, of.stages.map((stage) => h("span", { "data-stage": stage }, `${stage} ${stage ? middle(of.layers[stage] || "?", 16) : "trained"}`)));
  const rows = D.methods.filter((m) => shot.masks[m] && visible(m)).map((method) => {
    const canvas = h("canvas", { width: of.size[1] * ks.length, height: of.size[0], "data-method": method, role: "img", "aria-label": `${method} of ${shot.image}: ${plural(ks.length, "mask")}, from trained to random` });
    canvas.style.aspectRatio = `${of.size[1] * ks.length} / ${of.size[0]}`;
    const i = state.run;
    whenNear(canvas, () => paintMasks(canvas, i, shot, method, ks));
    const name = button(nameOf(method), () => enlarge(method, state.stage), { class: "strip-name", "aria-label": `Enlarge ${method}` });
    return h("div", { class: "strip-row", "data-method": method }, name, h("div", { class: "tiles" }, canvas, similarityBelow(shot, method, of)));
  });
  const now = h("div", { class: "column now" }), hover = h("div", { class: "column hover", hidden: "" });
  const coarse = Math.max(...of.size) <= 64 ? " coarse" : "";
  const grid = h("div", { class: `strip-grid${coarse}` }, h("div", { class: "strip-row" }, h("span"), h("div", { class: "tiles" }, heads)), rows, h("div", { class: "columns", "aria-hidden": "true" }, now, hover));
  grid.style.setProperty("--n", ks.length);
  host.replaceChildren(grid);
  markStrips();
};

/* Beneath each mask its score by the metric: a bar, and the number where there is room. */
const similarityBelow = (shot, method, of) => {
  const values = of.stages.map((stage) => num((scoreOf(state.run, shot.image, method, state.metric, stage) || {}).value));
  if (!values.some(known)) return null;
  const bars = s("svg", { class: "bars", viewBox: `0 0 ${values.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    values.map((v, k) => (known(v) ? s("rect", { x: k + 0.06, width: 0.88, y: 1 - clamp(v, 0, 1), height: clamp(v, 0, 1) }) : null)));
  return [bars, h("div", { class: "numbers" }, values.map((v, k) => h("span", { "data-stage": of.stages[k], "data-value": exact(v) }, short(v))))];
};

const showPhoto = (shot) => {
  const host = $("photo");
  host.hidden = !shot;
  if (!shot) return;
  const of = run();
  const role = D.roles[shot.role];
  host.replaceChildren(
    shot.photo ? h("img", { src: shot.photo, alt: `the image ${shot.image}` }) : h("span", { class: "key" }, "The image is not stored."),
    h("div", { class: "predicted" }, h("b", {}, shot.image), role ? h("span", {}, ` (${role})`) : "", h("p", { id: "predicted", class: "key" })),
  );
  showPrediction(shot, of);
};
const showPrediction = (shot, of) => {
  const called = (number) => (of.classes[number] && of.classes[number] !== String(number) ? of.classes[number] : `class ${number}`);
  const said = (row) => (row ? `${called(row[1])} ${shown(row[2])}` : "–");
  const rows = new Map(shot.predictions.map((row) => [row[0], row]));
  const [original, now] = [rows.get(0), rows.get(state.stage)];
  const explained = now ? `; explained: ${called(now[3])}, its probability now ${shown(now[4])}` : "";
  $("predicted").textContent = `Predicted as trained: ${said(original)}; at stage ${state.stage}: ${said(now)}${explained}.`;
};

const stripsKey = () => {
  if (!picture()) return "";
  const of = run();
  const [[height, width], [h0, w0]] = [of.size, of.shape];
  const what = state.mode === "signed"
    ? "Signed: summed over channels; blue is negative, red positive, ± the 99th percentile of each mask."
    : "Absolute: absolute values summed over channels; from black, the least of each mask, to white, its 99th percentile.";
  const factor = Math.ceil(h0 / height);
  return `${what}${factor > 1 ? ` ${w0} × ${h0} pixels are shown as ${width} × ${height}.` : ""}${of.stages.length < of.layers.length ? ` ${of.stages.length} of ${of.layers.length} stages are shown.` : ""} Beneath: ${state.metric} of each. Click a mask to enlarge it.`;
};

/* Marks the column of the stage chosen. */
const markStrips = () => {
  const now = document.querySelector("#strips .column.now");
  if (!now) return;
  now.style.setProperty("--k", carried(state.stage));
  $("strips").setAttribute("aria-label", `Masks by stage, now ${state.stage}, ${layerName(run().layers, state.stage)}; arrow keys move the stage`);
  if (picture()) showPrediction(picture(), run());
  const complaint = run().complaints[state.stage];
  $("dead").hidden = !complaint;
  $("dead").textContent = complaint ? `Stage ${state.stage}: ${complaint}.${state.stage ? " Masks there say nothing." : ""}` : "";
  const scroll = now.closest(".scroll");
  if (scroll && scroll.scrollWidth > scroll.clientWidth) {
    const box = now.getBoundingClientRect(), view = scroll.getBoundingClientRect();
    if (box.right > view.right || box.left < view.left + 80) scroll.scrollLeft += box.left - view.left - view.width / 2;
  }
};
const pointStrips = (stage) => {
  const hover = document.querySelector("#strips .column.hover");
  if (!hover) return;
  hover.hidden = stage === null;
  if (stage !== null) hover.style.setProperty("--k", carried(stage));
};

const stripAt = (event) => {
  const tiles = event.target.closest && event.target.closest(".tiles");
  if (!tiles || !picture()) return null;
  const box = tiles.getBoundingClientRect();
  const n = run().stages.length;
  const stage = run().stages[clamp(Math.floor(((event.clientX - box.left) / box.width) * n), 0, n - 1)];
  const row = tiles.closest(".strip-row");
  return { stage, method: row.dataset.method };
};
(() => {
  const host = $("strips");
  host.addEventListener("pointermove", (event) => {
    const found = stripAt(event);
    point(found ? found.stage : null);
  });
  host.addEventListener("pointerleave", () => point(null));
  host.addEventListener("click", (event) => {
    const found = stripAt(event);
    if (!found) return;
    set({ stage: found.stage });
    if (found.method && event.target.closest("canvas")) enlarge(found.method, found.stage);
  });
  host.addEventListener("keydown", (event) => event.target === host && stepByKey(event));
})();

/* Points at a stage, in strips and curves alike; null to end it. */
let pointed = null;
const point = (stage) => {
  if (stage === pointed) return;
  pointed = stage;
  pointStrips(stage);
  pointCharts(stage);
};
/* Arrow keys, Home and End move the stage. Returns whether the key did. */
const stepByKey = (event) => {
  const to = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -last(), End: last() }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return false;
  event.preventDefault();
  set({ stage: state.stage + to });
  return true;
};
watch("group run image hidden mode overlay metric", drawStrips);
watch("stage", markStrips);
