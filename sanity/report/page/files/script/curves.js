// Curves beside the masks: the metric chosen large, the others small; of many methods small multiples.

const MOST_LINES = 8; // methods in one panel, controls aside

const panel = (host, title, attributes) => {
  const node = h("figure", { class: "panel", "data-title": title, ...attributes }, h("figcaption", {}, title));
  host.append(node);
  return node;
};
const linesOf = (of, metric, members = of.runs) =>
  D.methods.filter((m) => of.curves[metric][m] && visible(m)).map((method) => ({ method, curve: of.curves[metric][method], source: members }));

const drawCurves = () => {
  const host = $("panels");
  $("tip").hidden = true;
  const of = group();
  host.replaceChildren();
  const metric = of.curves[state.metric] ? state.metric : null;
  if (!metric) return void host.append(h("p", { class: "key" }, `No scores by ${state.metric}.`));
  const lines = linesOf(of, metric);
  const methods = lines.filter(({ method }) => !isControl(method));
  if (methods.length > MOST_LINES) {
    drawMultiples(host, of, metric, lines, methods);
    return;
  }
  const large = panel(host, metric, { class: "panel large" });
  large.append(chart(large, metric, metric, of.layers, lines, { of, labels: lines.length > 0 }));
  exportable(large, `${metric} by stage`);
  const others = h("div", { class: "smaller" });
  host.append(others);
  for (const { name } of D.metrics) {
    if (name === metric || !of.curves[name]) continue;
    const node = panel(others, name);
    node.querySelector("figcaption").replaceChildren(button(name, () => set({ metric: name }), { class: "link", title: `Show ${name} large` }));
    node.append(chart(node, name, name, of.layers, linesOf(of, name), { of, small: true, height: 90 }));
  }
};
/* A panel a method, the controls behind it in grey. */
const drawMultiples = (host, of, metric, lines, methods) => {
  const grid = h("div", { class: "smaller" });
  host.append(grid);
  const behind = lines.filter(({ method }) => isControl(method)).map((one) => ({ ...one, muted: true }));
  for (const one of methods) {
    const node = panel(grid, one.method);
    node.querySelector("figcaption").replaceChildren(nameOf(one.method));
    node.style.minHeight = "9rem";
    whenNear(node, () => {
      node.append(chart(node, `${one.method} by ${metric}`, metric, of.layers, [...behind, one], { of, small: true, height: 90 }));
    });
  }
  exportable(host, `${metric} by stage`);
};
watch("group metric hidden scale", () => whenNear($("panels"), drawCurves));

// Which methods are shown.
const drawLegend = () => {
  const host = $("legend");
  const all = D.methods;
  host.replaceChildren(...all.map((method) => {
    const node = button([swatch(method), method], (event) => {
      if (event.shiftKey || event.altKey) hide(all.filter((m) => m !== method));
      else hide(visible(method) ? [...hiddenSet, method] : [...hiddenSet].filter((m) => m !== method));
    }, { "aria-pressed": String(visible(method)), "data-method": method, title: "Click to hide or show, with Shift to show it alone" });
    return node;
  }));
};
const markLegend = () => {
  document.querySelectorAll("#legend [data-method]").forEach((node) => press(node, visible(node.dataset.method)));
  $("filter-said").textContent = hiddenSet.size ? `${D.methods.length - hiddenSet.size} of ${D.methods.length} methods are shown.` : "";
  $("all-methods").hidden = !hiddenSet.size;
};
/* Choices of methods at once: by verdict, by family, one alone. */
const drawFilter = () => {
  const choices = (label, names) => (names.length ? h("optgroup", { label }, names.map(([value, text]) => h("option", { value }, text))) : null);
  const rows = group().verdicts.filter((row) => row.metric === state.metric && !isControl(row.method));
  const verdicts = [...new Set(rows.map((row) => row.leans || row.verdict))];
  const families = [...new Set(D.methods.map((m) => D.looks[m].family))];
  $("filter").replaceChildren(
    h("option", { value: "" }, "methods …"),
    h("option", { value: "all" }, "all"),
    choices("by verdict", verdicts.map((v) => [`verdict:${v}`, v.replaceAll("_", " ")])),
    choices("by family", families.map((f) => [`family:${f}`, f])),
    choices("one alone", D.methods.map((m) => [`only:${m}`, m])),
  );
};
const filterBy = (choice) => {
  const [kind, ...rest] = choice.split(":");
  const value = rest.join(":");
  const of = (m) => verdictOf(m, state.metric) || { verdict: "none" };
  const keep = {
    all: () => true,
    verdict: (m) => isControl(m) || (of(m).leans || of(m).verdict) === value,
    family: (m) => isControl(m) || D.looks[m].family === value,
    only: (m) => isControl(m) || m === value,
  }[kind];
  if (keep) hide(D.methods.filter((m) => !keep(m)));
};
watch("hidden", markLegend);
watch("group metric", drawFilter);
