// The table of scores.

const columns = () => {
  const keys = D.runs.length > 1 ? Object.keys(state.table === "means" ? D.groups[0].values : D.differ) : [];
  const own = state.table === "means" ? ["mean", "low", "high", "null", "images", "missing"] : ["value", "null", "reason"];
  return [...keys, "metric", "method", "stage", "block", ...(state.table === "means" ? [] : ["image"]), ...own];
};
const NUMBERS = new Set(["stage", "mean", "low", "high", "null", "images", "missing", "value"]);
const rows = () => {
  const found = [];
  const wanted = (metric, method, stage) =>
    (state.all || metric === state.metric) && visible(method) && (!state.one || stage === state.stage);
  if (state.table === "means") {
    for (const { values, curves, layers } of D.groups) {
      for (const metric of D.metrics) {
        for (const method of D.methods) {
          const curve = (curves[metric] || {})[method];
          if (!curve) continue;
          layers.forEach((layer, stage) => {
            if (!wanted(metric, method, stage)) return;
            found.push({
              ...values, metric, method, stage, block: layer,
              mean: curve.mean[stage], low: curve.low[stage], high: curve.high[stage],
              null: curve.null[stage], images: curve.images[stage], missing: curve.missing[stage],
            });
          });
        }
      }
    }
    return found;
  }
  const R = D.rows;
  for (let i = 0; R && i < R.value.length; i++) {
    const [metric, method, stage] = [D.metrics[R.metric[i]], D.methods[R.method[i]], R.stage[i]];
    if (!wanted(metric, method, stage)) continue;
    const of = D.runs[R.run[i]];
    found.push({
      ...(D.runs.length > 1 ? of.values : {}), metric, method, stage, block: D.groups[of.group].layers[stage],
      image: R.images[R.image[i]], value: R.value[i], null: R.null[i], reason: R.reasons[R.reason[i]],
    });
  }
  return found;
};
const sorted = (found) => {
  if (!state.sort) return found;
  const { column, down } = state.sort;
  const key = NUMBERS.has(column) ? (row) => num(row[column]) : (row) => String(row[column]);
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  };
  return found.slice().sort(order);
};
const drawTable = () => {
  const names = columns();
  if (state.sort && !names.includes(state.sort.column)) state.sort = null;
  const found = sorted(rows());
  const head = names.map((column) => {
    const on = state.sort && state.sort.column === column;
    const arrow = on ? (state.sort.down ? " ↓" : " ↑") : "";
    const button = h("button", { type: "button" }, column + arrow);
    button.addEventListener("click", () => {
      state.sort = { column, down: on ? !state.sort.down : NUMBERS.has(column) && column !== "stage" };
      drawTable();
      [...$("table").querySelectorAll("thead button")][names.indexOf(column)].focus();
    });
    return h("th", { scope: "col", class: NUMBERS.has(column) ? "n" : null, "aria-sort": on ? (state.sort.down ? "descending" : "ascending") : "none" }, button);
  });
  const whole = new Set(["stage", "images", "missing"]);
  const body = found.slice(0, state.most).map((row) =>
    h("tr", {}, names.map((column) => {
      const value = row[column];
      if (!NUMBERS.has(column)) return h("td", { "data-column": column }, exact(value));
      return h("td", { class: "n", "data-column": column, "data-value": exact(value) }, whole.has(column) ? exact(value) : shown(value));
    })));
  $("table").replaceChildren(h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  $("more").hidden = found.length <= state.most;
  $("more").textContent = `Show all ${found.length} rows`;
  $("copied").textContent = `${found.length} rows`;
};
const csv = () => {
  const names = columns();
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [names, ...sorted(rows()).map((row) => names.map((column) => exact(row[column])))];
  return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
};
const copy = async () => {
  const text = csv();
  const n = text.split("\n").length - 2;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { readonly: "", style: "position:fixed;left:0;top:0;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    $("copy").focus();
    if (!done) {
      $("copied").textContent = "The browser does not let this page copy.";
      return;
    }
  }
  $("copied").textContent = `Copied ${n} rows as CSV.`;
};
