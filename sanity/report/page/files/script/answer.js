// The answer: a row a method, the most similar first.

const [FROM, TO] = [-0.25, 1.1]; // of the axis of early similarities
const onAxis = (v) => `${((100 * (clamp(v, FROM, TO) - FROM)) / (TO - FROM)).toFixed(2)}%`;
const line = (v, kind, more) => s("line", { class: kind, x1: onAxis(v), x2: onAxis(v), y1: 0, y2: "100%", ...more });
const beyond = (v) => v < FROM || v > TO;
/* An arrowhead at the end of the axis beyond which a value lies. */
const arrowhead = (v, long, half) => `M0,0L${v < FROM ? long : -long},${-half}V${half}Z`;
/* A piece of a drawing in pixels, at a place in percent. */
const at = (x, y, ...inside) => s("svg", { x, y, overflow: "visible" }, inside);

/* Early similarities of the controls: [value, names], those that are as good as equal together. */
const references = (of, metric) => {
  const found = [];
  for (const method of D.controls) {
    const row = verdictOf(method, metric, of);
    if (!row || !known(row.early) || !visible(method)) continue;
    const near_ = found.find(([value]) => Math.abs(value - row.early) < 0.06);
    if (near_) near_[1].push(method);
    else found.push([num(row.early), [method]]);
  }
  return found;
};
const rule = (of) => {
  const { threshold } = of.thresholds;
  return [line(0, "end"), line(1, "end"), line(threshold, "threshold")];
};
const axisHead = (of, metric) => {
  const { threshold } = of.thresholds;
  const side = (v) => (v < 0.25 ? "start" : v > 0.75 ? "end" : "middle");
  const text = (v, y, ...said) => s("text", { x: onAxis(v < 0.25 ? v - 0.03 : v > 0.75 ? v + 0.05 : v), y, "text-anchor": side(v) }, said);
  return s(
    "svg",
    { class: "axis", height: 46, role: "img", "aria-label": `0: as alike as masks of different images; ${threshold}: the threshold; 1: unchanged` },
    references(of, metric).map(([v, names], i) => text(v, 11 + 12 * (i % 2), names.map((name) => middle(name, 18)).join(", "))),
    [0, threshold, 1].map((v) => s("text", { x: onAxis(v), y: 41, "text-anchor": "middle" }, String(v))),
  );
};

/* The images far from the others, at the most two: [image, value]. */
const outliers = (each) => {
  const { value, image } = each;
  if (value.length < 6) return [];
  const quarter = (q) => value[Math.round(q * (value.length - 1))]; // they are sorted
  const [low, high] = [quarter(0.25), quarter(0.75)];
  const far = value.flatMap((v, i) => (v < low - 1.5 * (high - low) || v > high + 1.5 * (high - low) ? [[image[i], v]] : []));
  const centre = quarter(0.5);
  return far.sort((a, b) => Math.abs(b[1] - centre) - Math.abs(a[1] - centre)).slice(0, 2);
};

const dotPlot = (of, row, metric) => {
  const look = D.looks[row.method];
  const each = ((of.each[metric] || {})[row.method]) || { value: [], image: [] };
  const odd = outliers(each);
  const few = row.images < of.thresholds.images;
  const [low, high, early] = [row.low, row.high, row.early].map(num);
  const said = known(early)
    ? `early similarity ${short(early)}${few ? "" : ` ${between(low, high)}`}, ${plural(each.value.length, "image")}${odd.length ? `; far from the others: ${odd.map(([i, v]) => `${of.images[i]} ${short(v)}`).join(", ")}` : ""}`
    : "no early similarity";
  const svg = s("svg", { class: "plot", height: odd.length ? 38 : 26, role: "img", "aria-label": said });
  svg.append(...rule(of), ...references(of, metric).map(([v]) => line(v, "reference")));
  if (!known(early)) return svg;
  const y = 13;
  if (!few && known(low) && known(high)) {
    svg.append(s("line", { class: "interval", x1: onAxis(low), x2: onAxis(high), y1: y, y2: y, stroke: look.color }));
    for (const end of [low, high].filter(beyond)) svg.append(at(onAxis(end), y, s("path", { class: "arrow", d: arrowhead(end, 8, 5), fill: look.color })));
  }
  each.value.forEach((v, i) => {
    const [kind, stroke, about_] = [few ? "image few" : "image", look.color, s("title", {}, `${of.images[each.image[i]]} ${short(v)}`)];
    svg.append(beyond(v) ? at(onAxis(v), y, s("path", { class: kind, d: arrowhead(v, 9, 6), stroke }, about_)) : s("circle", { class: kind, cx: onAxis(v), cy: y, r: few ? 4 : 2.5, stroke }, about_));
  });
  const mean_ = beyond(early) ? arrowhead(early, 11, 7) : few ? "M0,-9V9" : "M0,-6L6,0L0,6L-6,0Z";
  svg.append(at(onAxis(early), y, s("path", { class: "mean", d: mean_, fill: look.color, stroke: look.color, "stroke-width": few ? 2.5 : 1 })));
  for (const [i, v] of odd) {
    const side = v > 0.6 ? "end" : v < 0.2 ? "start" : "middle";
    svg.append(s("text", { class: "odd", x: onAxis(v), y: 34, "text-anchor": side }, middle(of.images[i], 20)));
  }
  return svg;
};

/* Five stages carried, from the network as trained to the last. */
const fiveOf = (i) => {
  const n = D.runs[i].stages.length;
  return [...new Set([0, 1, Math.round((n - 1) / 3), Math.round((2 * (n - 1)) / 3), n - 1])].filter((k) => k >= 0 && k < n);
};
const thumbnails = (method) => {
  const shot = picture();
  if (!shot || !shot.masks[method]) return null;
  const [i, ks] = [state.run, fiveOf(state.run)];
  const canvas = h("canvas", { width: run().size[1] * ks.length, height: run().size[0] });
  const stages = ks.map((k) => run().stages[k]);
  const node = button(canvas, (event) => {
    const box = canvas.getBoundingClientRect();
    const k = event.detail ? Math.floor(((event.clientX - box.left) / box.width) * ks.length) : ks.length - 1;
    enlarge(method, stages[clamp(k, 0, ks.length - 1)]);
  }, { class: "thumbs", "aria-label": `Masks of ${method} at stages ${stages.join(", ")} of ${shot.image}: enlarge`, title: stages.map((k) => `${k} ${layerName(run().layers, k)}`).join(" · ") });
  node.style.setProperty("--n", ks.length);
  whenNear(node, () => paintMasks(canvas, i, shot, method, ks));
  return node;
};

/* By each metric: early similarity and verdict, marked where it contradicts the one chosen. */
const OPPOSITE = { insensitive: "sensitive", sensitive: "insensitive" };
const lean = (row) => (row ? row.leans || (row.verdict === "depends_on_metric" ? null : row.verdict) : null);
const metricCell = (of, method, { name }) => {
  const row = verdictOf(method, name, of);
  const main = verdictOf(method, D.metrics[0].name, of);
  const own = main && main.verdict === "depends_on_metric" ? (num(main.early) > of.thresholds.threshold ? "insensitive" : "sensitive") : lean(main);
  const against = row && own && lean(row) === OPPOSITE[own];
  const said = row ? row.word : "no verdict";
  return h(
    "td",
    { role: "cell", class: `by${name === state.metric ? " now" : ""}${against ? " against" : ""}`, title: `${name}: ${said}`, "data-label": name },
    h("span", { "aria-hidden": "true", class: row ? row.verdict : "none" }, row ? symbol(row.leans || row.verdict) : ""),
    h("span", { class: "number" }, row ? short(row.early) : "–"),
    h("span", { class: "sr" }, ` ${said}${against ? ", against the metric that decides" : ""}`),
  );
};

const drawAnswer = () => {
  const of = group(), { metric } = state;
  const early = (method) => num((verdictOf(method, metric, of) || {}).early);
  const there = (of.curves[metric] && Object.keys(of.curves[metric])) || [];
  const methods = D.methods.filter((m) => !isControl(m) && visible(m) && there.includes(m));
  methods.sort((a, b) => (known(early(b)) ? early(b) : -9) - (known(early(a)) ? early(a) : -9));
  const head = h(
    "tr",
    { role: "row" },
    h("th", { role: "columnheader", scope: "col" }, "method"),
    h("th", { role: "columnheader", scope: "col" }, term("verdict", "verdict"), ` by ${metric}`),
    h("th", { role: "columnheader", scope: "col", class: "similarity" }, term("early", "early similarity"), ": 0 another image’s mask, 1 unchanged", axisHead(of, metric)),
    D.metrics.map(({ name, primary }) => h("th", { role: "columnheader", scope: "col", class: `by${name === metric ? " now" : ""}` }, breakable(name), primary ? h("span", { class: "sr" }, ", which decides") : "")),
    run().pictures.length ? h("th", { role: "columnheader", scope: "col", class: "five" }, picture() ? `${middle(picture().image, 20)}, ` : "", "stages ", fiveOf(state.run).map((k) => run().stages[k]).join(", "), ": trained ", h("span", { "aria-hidden": "true" }, "→"), " random") : null,
  );
  const body = methods.flatMap((method, i) => {
    const row = verdictOf(method, metric, of) || { method, metric, verdict: "none", word: "no verdict", evidence: "no verdict was recorded" };
    const why = h("tr", { role: "row", class: "evidence", id: `why-${i}`, hidden: "" }, h("td", { role: "cell", colspan: 9 }, row.evidence));
    const open = button("why", () => {
      why.hidden = !why.hidden;
      open.setAttribute("aria-expanded", String(!why.hidden));
    }, { class: "quiet why", "aria-expanded": "false", "aria-controls": why.id, "aria-label": `Evidence on ${method}` });
    const similar = known(row.early) && row.verdict !== "same_for_every_image";
    return [
      h(
        "tr",
        { role: "row", class: "verdict", "data-method": method, "data-verdict": row.verdict },
        h("th", { role: "rowheader", scope: "row" }, nameOf(method)),
        h("td", { role: "cell", class: "said" }, chip(row), open),
        h("td", { role: "cell", class: "similarity" }, dotPlot(of, similar ? row : { ...row, early: null }, metric)),
        D.metrics.map((one) => metricCell(of, method, one)),
        run().pictures.length ? h("td", { role: "cell", class: "five" }, thumbnails(method)) : null,
      ),
      why,
    ];
  });
  const table = $("answer-table");
  table.classList.toggle("many", methods.length > 12);
  table.replaceChildren(h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, body));
  $("answer-label").textContent = of.label;
  $("answer-label").hidden = !of.label;
};
watch("group run metric image hidden mode overlay", drawAnswer);
