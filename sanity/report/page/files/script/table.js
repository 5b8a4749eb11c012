// The table of scores.

const view = { each: false, all: false, one: false, sort: null, most: 40 };
const NUMBERS = new Set(["stage", "mean", "low", "high", "null", "images", "missing", "value"]);
const columns = () => {
  const keys = D.runs.length > 1 ? Object.keys(view.each ? D.differ : D.groups[0].values) : [];
  const own = view.each ? ["value", "null", "reason"] : ["mean", "low", "high", "null", "images", "missing"];
  return [...keys, "metric", "method", "stage", "block", ...(view.each ? ["image"] : []), ...own];
};
const rowsShown = () => {
  const found = [];
  const wanted = (metric, method, stage) =>
    (view.all || metric === state.metric) && visible(method) && (!view.one || stage === state.stage);
  if (!view.each) {
    for (const { values, curves, layers } of D.groups) {
      for (const { name: metric } of D.metrics) {
        for (const method of D.methods) {
          const curve = (curves[metric] || {})[method];
          if (!curve) continue;
          layers.forEach((layer, stage) => {
            if (!wanted(metric, method, stage)) return;
            const of = Object.fromEntries(["mean", "low", "high", "null", "images", "missing"].map((key) => [key, curve[key][stage]]));
            found.push({ ...values, metric, method, stage, block: layer, ...of });
          });
        }
      }
    }
    return found;
  }
  const R = D.rows;
  for (let i = 0; R && i < R.value.length; i++) {
    const [metric, method, stage] = [D.metrics[R.metric[i]].name, D.methods[R.method[i]], R.stage[i]];
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
  if (!view.sort) return found;
  const { column, down } = view.sort;
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
  if (view.sort && !names.includes(view.sort.column)) view.sort = null;
  const found = sorted(rowsShown());
  const head = names.map((column) => {
    const on = view.sort && view.sort.column === column;
    const arrow = on ? (view.sort.down ? " ↓" : " ↑") : "";
    const sort = button(column + arrow, () => {
      view.sort = { column, down: on ? !view.sort.down : NUMBERS.has(column) && column !== "stage" };
      drawTable();
      [...$("table").querySelectorAll("thead button")][names.indexOf(column)].focus();
    });
    return h("th", { scope: "col", class: NUMBERS.has(column) ? "n" : null, "aria-sort": on ? (view.sort.down ? "descending" : "ascending") : "none" }, sort);
  });
  const whole = new Set(["stage", "images", "missing"]);
  const body = found.slice(0, view.most).map((row) =>
    h("tr", {}, names.map((column) => {
      const value = row[column];
      if (!NUMBERS.has(column)) return h("td", { "data-column": column }, exact(value));
      return h("td", { class: "n", "data-column": column, "data-value": exact(value) }, whole.has(column) ? exact(value) : shown(value));
    })));
  $("table").replaceChildren(h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  $("more").hidden = found.length <= view.most;
  $("more").textContent = `Show all ${found.length} rows`;
  $("copied").textContent = `${plural(found.length, "row")}, as measured: not relative to the null`;
};
const showTable = () => whenNear($("table"), drawTable);
(() => {
  const choose = (id, each) => $(id).addEventListener("click", () => {
    view.each = each;
    press($("means"), !each);
    press($("each"), each);
    drawTable();
  });
  choose("means", false);
  choose("each", true);
  $("each").disabled = !D.rows;
  for (const [id, key] of [["all-metrics", "all"], ["one-stage", "one"]]) {
    $(id).addEventListener("change", (event) => {
      view[key] = event.target.checked;
      drawTable();
    });
  }
  $("more").addEventListener("click", () => {
    view.most = Infinity;
    drawTable();
  });
  watch("metric hidden", showTable);
  watch("stage", () => view.one && showTable());
})();
