// Many runs: a heat map of methods and schemes, two methods image by image, a panel a value of a key.

const drawHeat = () => {
  const host = $("heat");
  if (!host) return;
  const metric = state.metric;
  const methods = D.methods.filter((m) => !isControl(m) && visible(m));
  const head = h("tr", {}, h("th", { scope: "col" }, "method"), D.groups.map((of, g) =>
    h("th", { scope: "col" }, button(h("span", {}, Object.values(of.values).join(", ")), () => set({ group: g }), { class: "link", title: of.label, "aria-pressed": String(g === state.group) }))));
  const body = methods.map((method) =>
    h("tr", {}, h("th", { scope: "row" }, nameOf(method)), D.groups.map((of) => {
      const row = verdictOf(method, metric, of);
      const v = row ? num(row.early) : NaN;
      const node = h("td", { title: `${method}, ${of.label}: ${row ? row.word : "not there"}` },
        h("span", { "aria-hidden": "true", class: row ? row.verdict : "none" }, row ? symbol(row.leans || row.verdict) : ""),
        h("span", { class: "number" }, row ? short(v) : "–"), h("span", { class: "sr" }, row ? row.word : "not there"));
      if (known(v)) node.style.setProperty("--v", clamp(v, 0, 1));
      return node;
    })));
  host.replaceChildren(h("thead", {}, head), h("tbody", {}, body));
};
watch("metric hidden group", drawHeat);

// Two methods, a dot an image.
const listPairs = () => {
  const of = group();
  const each = of.each[D.metrics[0].name] || {};
  const names = D.methods.filter((m) => each[m] && visible(m));
  $("pairs").hidden = names.length < 2;
  if (names.length < 2) return;
  const ranked = names.filter((m) => !isControl(m)).sort((a, b) => mean(each[b].value) - mean(each[a].value));
  const start = ranked.length > 1 ? [ranked[0], ranked[ranked.length - 1]] : names;
  const [a, b] = state.pair ? state.pair.split(",") : start;
  for (const [id, value] of [["pair-a", a], ["pair-b", b]]) {
    $(id).replaceChildren(...names.map((m) => h("option", { value: m }, m)));
    $(id).value = names.includes(value) ? value : start[id === "pair-a" ? 0 : 1];
  }
  drawPair();
};
const drawPair = () => whenNear($("pair"), () => {
  const of = group();
  const [a, b] = [$("pair-a").value, $("pair-b").value];
  const each = of.each[state.metric] || {};
  const host = $("pair");
  if (!each[a] || !each[b]) {
    host.replaceChildren();
    $("pair-said").textContent = `No early similarities of both by ${state.metric}.`;
    return;
  }
  const second = new Map(each[b].image.map((i, k) => [i, each[b].value[k]]));
  const both = each[a].image.flatMap((i, k) => (second.has(i) ? [[i, each[a].value[k], second.get(i)]] : []));
  const above = both.filter(([, x, y]) => x > y).length;
  const apart = mean(both.map(([, x, y]) => x - y));
  const differences = both.map(([, x, y]) => x - y);
  $("pair-said").textContent = `By ${state.metric}, ${a} keeps more than ${b} in ${above} of ${plural(both.length, "image")}; on average ${short(apart)} more, from ${short(Math.min(...differences))} to ${short(Math.max(...differences))}.`;
  const [size, left, top] = [300, 44, 12];
  const values = both.flatMap(([, x, y]) => [x, y]);
  const [low, high] = [Math.min(-0.1, ...values) - 0.05, Math.max(1.05, ...values)];
  const to = (v) => ((v - low) / (high - low)) * size;
  const [X, Y] = [(v) => left + to(v), (v) => top + size - to(v)];
  const svg = s("svg", { class: "scatter", viewBox: `0 0 ${left + size + 130} ${top + size + 40}`, role: "img", "aria-label": $("pair-said").textContent });
  for (const v of [0, of.thresholds.threshold, 1]) {
    const kind = v === of.thresholds.threshold ? "threshold" : "grid";
    svg.append(
      s("line", { class: kind, x1: X(v), x2: X(v), y1: top, y2: top + size }), s("line", { class: kind, x1: left, x2: left + size, y1: Y(v), y2: Y(v) }),
      s("text", { class: "tick", x: X(v), y: top + size + 14, "text-anchor": "middle" }, String(v)), s("text", { class: "tick", x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, String(v)),
    );
  }
  svg.append(s("line", { class: "reference", x1: X(low), y1: Y(low), x2: X(high), y2: Y(high) }));
  for (const [i, x, y] of both) svg.append(s("circle", { cx: X(x), cy: Y(y), r: 4, fill: D.looks[a].color, "fill-opacity": 0.7 }, s("title", {}, `${of.images[i]}: ${short(x)}, ${short(y)}`)));
  const far = both.slice().sort((p, q) => Math.abs(q[1] - q[2] - apart) - Math.abs(p[1] - p[2] - apart)).slice(0, both.length > 4 ? 2 : 0);
  const labels = far.map(([i, x, y]) => ({ x: X(x) + 7, y: Y(y) + 4, name: of.images[i] })).sort((p, q) => p.y - q.y);
  labels.forEach((label, k) => {
    if (k) label.y = Math.max(label.y, labels[k - 1].y + 13);  // one below the other
    svg.append(s("text", { x: label.x, y: label.y }, middle(label.name, 20)));
  });
  svg.append(
    s("text", { x: left + size / 2, y: top + size + 32, "text-anchor": "middle" }, `${a}, early similarity`),
    s("text", { transform: `translate(12,${top + size / 2}) rotate(-90)`, "text-anchor": "middle" }, b),
  );
  host.replaceChildren(svg);
  exportable(host, `${a} and ${b} by ${state.metric}`);
});
for (const id of ["pair-a", "pair-b"]) $(id).addEventListener("change", () => set({ pair: `${$("pair-a").value},${$("pair-b").value}` }));
watch("group hidden pair", listPairs);
watch("metric", drawPair);

// A panel for each value of a key. In one panel lines of one method and other schemes differ in dash.
const DASHES = ["none", "7 3", "2 3", "9 3 2 3", "4 2"];
const drawMultiplesBy = () => {
  const host = $("small");
  if (!host) return;
  const [key, metric] = [$("key").value, state.metric];
  let several = false;
  host.replaceChildren();
  for (const value of D.differ[key]) {
    const lines = [];
    const members = D.runs.map((_, i) => i).filter((i) => D.runs[i].values[key] === value);
    const groups = [...new Set(members.map((i) => D.runs[i].group))];
    let layers = [];
    groups.forEach((g, at) => {
      const own = members.filter((i) => D.runs[i].group === g);
      const whole = own.length === D.groups[g].runs.length;
      for (const source of whole ? [D.groups[g]] : own.map((i) => D.runs[i])) {
        const curves = (source.curves || {})[metric] || {};
        if (D.groups[g].layers.length > layers.length) layers = D.groups[g].layers;
        for (const method of D.methods) {
          if (!curves[method] || !visible(method)) continue;
          const more = groups.length > 1 ? ` · ${Object.values(D.groups[g].values).join(", ")}` : "";
          lines.push({ method, curve: curves[method], label: method + more, dash: groups.length > 1 ? DASHES[at % DASHES.length] : null });
        }
      }
    });
    several = several || groups.length > 1;
    const title = `${key}=${value}`;
    const node = panel(host, title);
    node.style.minHeight = "12rem";
    if (!lines.length) node.append(h("p", { class: "key" }, `nothing by ${metric}`));
    else whenNear(node, () => {
      node.append(chart(node, `${title} · ${metric}`, metric, layers, lines, { height: 160 }));
      exportable(node, `${title} ${metric}`);
    });
  }
  $("multiples-key").textContent = several ? "Lines of other schemes in one panel differ in their dashes; their names are in the numbers at a stage." : "";
};
const showMultiples = () => $("small") && whenNear($("small"), drawMultiplesBy);
if ($("key")) $("key").addEventListener("change", showMultiples);
watch("metric hidden scale", showMultiples);
