// What if: the verdicts by other thresholds, beside the run's, in a table of their own.

const SLIDERS = ["threshold", "early", "images"];
/* What the sliders say; the run's own where nothing is moved. */
const wanted = () => {
  const own = group().thresholds;
  return state.whatif ? { ...own, ...whatIfOf(state.whatif, group()) } : own;
};
const windowOf = (early) => {
  const stages = Math.ceil(last() / early);
  return `${stages === 1 ? "stage 1" : `stages 1–${stages}`} of ${last()}`;
};

/* Why the page cannot judge a scheme anew; "" if it can. */
const cannotJudge = (of) => {
  if (!of.early) return "There are no early stages here, so there are no verdicts to change.";
  if (!D.rows) return "This page has too many scores to carry them one by one, so it cannot judge anew.";
  return of.whole ? "" : "This page has a part of the run's methods or metrics, and verdicts are corrected over all: it cannot judge anew.";
};
/* The methods, by the metric, of which the page finds by the run's thresholds what the run found. */
const faithful = (of, number, metric) => {
  const same = (a, b) => (Number.isNaN(a) || Number.isNaN(b) ? Number.isNaN(a) && Number.isNaN(b) : Math.abs(a - b) <= 2e-6 + 0.01 * b);
  const found = judge(number, of.thresholds).filter((row) => row.metric === metric);
  return new Set(found.filter((row) => {
    const own = verdictOf(row.method, metric, of);
    return own && own.verdict === row.verdict && same(row.p, num(own.p));
  }).map((row) => row.method));
};

const drawSliders = () => {
  const [of, now] = [group(), wanted()];
  const own = of.thresholds;
  const fine = Math.abs(own.threshold * 20 - Math.round(own.threshold * 20)) > 1e-9;
  const ends = {
    threshold: [Math.min(0.1, own.threshold), Math.max(0.9, own.threshold), fine ? 0.01 : 0.05],
    early: [1, Math.max(last(), own.early), 1],
    images: [2, Math.max(of.images.length, own.images, 2), 1],
  };
  const said = { threshold: String(now.threshold), early: `${windowOf(now.early)}, verdict.early ${now.early}`, images: plural(now.images, "image") };
  for (const key of SLIDERS) {
    const slider = $(`what-if-${key}`);
    [slider.min, slider.max, slider.step] = ends[key];
    slider.value = now[key];
    slider.setAttribute("aria-valuetext", said[key]);
    $(`what-if-${key}-said`).textContent = `${said[key]}${now[key] === own[key] ? "" : ` (run: ${key === "early" ? windowOf(own.early) : own[key]})`}`;
  }
};

const drawWhatIf = () => {
  const [of, { metric }] = [group(), state];
  const why = cannotJudge(of);
  $("what-if-not").textContent = why;
  $("what-if-not").hidden = !why;
  $("what-if-body").hidden = Boolean(why);
  if (why || !$("what-if").open) return;
  drawSliders();
  const now = wanted();
  const trusted = faithful(of, state.group, metric);
  const rows = judge(state.group, now);
  const each = Object.fromEntries(rows.filter((row) => row.metric === metric).map((row) => [row.method, row.each]));
  const as = { ...of, thresholds: now, verdicts: rows, each: { [metric]: each } };
  const shown_ = rows.filter((row) => row.metric === metric && visible(row.method) && !isControl(row.method));
  shown_.sort((a, b) => (known(b.early) ? b.early : -9) - (known(a.early) ? a.early : -9));
  let changed = 0;
  const body = shown_.map((row) => {
    const own = verdictOf(row.method, metric, of);
    const other = own && own.verdict !== row.verdict && trusted.has(row.method);
    if (other) changed += 1;
    const found = trusted.has(row.method)
      ? [chip(row), row.said ? h("span", { class: "key" }, ` ${row.said}`) : null]
      : [h("span", { class: "key" }, "cannot be told from what this page holds")];
    return h(
      "tr",
      { "data-method": row.method, "data-verdict": trusted.has(row.method) ? row.verdict : "", "data-early": exact(row.early), "data-low": exact(row.low), "data-high": exact(row.high), "data-p": exact(row.p) },
      h("th", { scope: "row" }, nameOf(row.method)),
      h("td", {}, own ? own.word : "no verdict"),
      h("td", { class: other ? "changed" : null }, found, other ? h("span", { class: "sr" }, ", not as the run's") : null),
      h("td", { class: "similarity" }, dotPlot(as, row, metric)),
      h("td", {}, Number.isNaN(row.p) ? "–" : row.p < 1e-4 ? "< 0.0001" : row.p.toPrecision(2)),
    );
  });
  const titles = ["method", "the run’s verdict", "what if", null, "p"];
  const head = titles.map((words) => (words ? h("th", { scope: "col" }, words) : h("th", { scope: "col", class: "similarity" }, `early similarity by ${metric}`, axisHead(as, metric))));
  $("what-if-table").replaceChildren(h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  const moved = Boolean(state.whatif);
  $("what-if-box").classList.toggle("not-the-runs", moved);
  $("what-if-said").textContent = moved
    ? `Not the run’s verdicts: threshold ${now.threshold}, ${windowOf(now.early)}, at least ${plural(now.images, "image")}. ${changed ? `${plural(changed, "verdict")} of ${body.length} would differ.` : "No verdict would differ."}`
    : "As the run has it: move a slider.";
  $("what-if-command").textContent = `python -m sanity.compare PATH --verdict threshold=${now.threshold} early=${now.early} images=${now.images}`;
  $("what-if-reset").hidden = !moved;
};
for (const key of SLIDERS) {
  $(`what-if-${key}`).addEventListener("input", (event) => {
    const now = { ...wanted(), [key]: Number(event.target.value) };
    set({ whatif: SLIDERS.map((name) => now[name]).join(",") });
  });
}
$("what-if-reset").addEventListener("click", () => {
  set({ whatif: "" });
  $("what-if-threshold").focus();
});
$("what-if").addEventListener("toggle", drawWhatIf);
watch("group metric hidden whatif", () => {
  if (state.whatif) $("what-if").open = true;
  drawWhatIf();
});
