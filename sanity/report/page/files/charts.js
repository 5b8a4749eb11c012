// Similarity by stage: a chart a metric, or a value of a key.

const LEFT = 40, RIGHT = 12, TOP = 8, PLOT = 190;
const limits = (lines) => {
  const values = [], originals = [];
  for (const { curve } of lines) {
    for (const v of [...curve.mean, ...curve.null].map(num)) if (Number.isFinite(v)) values.push(v);
    if (Number.isFinite(num(curve.mean[0]))) originals.push(num(curve.mean[0]));
  }
  if (!values.length) return [-0.1, 1.05];
  const low = Math.min(...values), high = Math.max(...values);
  if (low >= -1.001 && high <= 1.001 && (!originals.length || Math.max(...originals) > 0.5)) {
    return [Math.min(-0.1, low - 0.05), 1.05];
  }
  const pad = 0.05 * (high - low) || 0.05;
  return [low - pad, high + pad];
};
const ticks = (low, high) => {
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
};
const measure = document.createElement("canvas").getContext("2d");

/* A chart of lines {method, curve, label}; its stages can be pointed at, clicked and stepped
   through with the arrow keys. */
const chart = (host, title, layers, lines) => {
  const width = Math.max(240, host.clientWidth || 480);
  const last = layers.length - 1;
  const pitch = (width - LEFT - RIGHT) / Math.max(1, last);
  const x = (stage) => LEFT + (last ? stage * pitch : (width - LEFT - RIGHT) / 2);
  const names = layers.map((layer, stage) => middle(stage ? layer : "original", 18));
  measure.font = "11px system-ui, sans-serif";
  const longest = Math.max(...names.map((n) => measure.measureText(n).width));
  const upright = longest > 0.9 * pitch;
  const every = upright ? Math.ceil(13 / pitch) : 1;
  const [low, high] = limits(lines);
  const y = (value) => TOP + PLOT * (1 - (value - low) / (high - low));
  const clip = (value) => Math.max(low, Math.min(high, value));
  const foot = TOP + PLOT;
  const height = foot + (upright ? longest + 14 : 22);
  const svg = s("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${Math.ceil(height)}`,
    tabindex: 0,
    role: "slider",
    "aria-label": `${title}, similarity by stage`,
    "aria-valuemin": 0,
    "aria-valuemax": last,
  });
  for (const value of ticks(low, high)) {
    svg.append(
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, String(value).replace("-", "−")),
    );
  }
  names.forEach((text, stage) => {
    if (stage % every) return;
    const at = x(stage);
    svg.append(
      upright
        ? s("text", { transform: `translate(${at + 4},${foot + 10}) rotate(-90)`, "text-anchor": "end" }, text)
        : s("text", { x: at, y: foot + 16, "text-anchor": stage === 0 ? "start" : stage === last ? "end" : "middle" }, text),
    );
  });
  const cursor = s("line", { class: "cursor", y1: TOP, y2: foot });
  const hover = s("line", { class: "hover", y1: TOP, y2: foot, visibility: "hidden" });
  svg.append(hover, cursor);
  const path = (points) => {
    let d = "", pen = "M";
    points.forEach(([px, v]) => {
      if (!Number.isFinite(v)) return void (pen = "M");
      d += `${pen}${px.toFixed(1)},${y(clip(v)).toFixed(1)}`;
      pen = "L";
    });
    return d;
  };
  const drawn = lines.filter((line) => visible(line.method));
  for (const { method, curve } of drawn) {
    const color = D.looks[method].color;
    let piece = [];
    const close = () => {
      if (piece.length > 1) {
        const there = piece.map(([k, , top]) => `${x(k).toFixed(1)},${y(clip(top)).toFixed(1)}`);
        const back = piece.slice().reverse().map(([k, bottom]) => `${x(k).toFixed(1)},${y(clip(bottom)).toFixed(1)}`);
        svg.append(s("path", { class: "band", d: `M${there.join("L")}L${back.join("L")}Z`, fill: color, "fill-opacity": drawn.length > 8 ? 0.06 : 0.12 }));
      }
      piece = [];
    };
    layers.forEach((_, k) => {
      const a = num(curve.low[k]), b = num(curve.high[k]);
      if (Number.isFinite(a) && Number.isFinite(b)) piece.push([k, a, b]);
      else close();
    });
    close();
  }
  for (const { method, curve } of drawn) {
    const look = D.looks[method];
    const values = layers.map((_, k) => [x(k), num(curve.mean[k])]);
    const nulls = layers.map((_, k) => [x(k), num(curve.null[k])]);
    svg.append(
      s("path", { class: "null", d: path(nulls), fill: "none", stroke: look.color, "stroke-width": 1.3, "stroke-dasharray": look.dotted, opacity: 0.8 }),
      s("path", { class: "line", "data-method": method, d: path(values), fill: "none", stroke: look.color, "stroke-width": look.control ? 1.5 : 2, "stroke-dasharray": look.dash }),
    );
    for (const [px, v] of values) if (Number.isFinite(v)) svg.append(marker(look, px, y(clip(v)), 6));
  }
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width;
    return Math.max(0, Math.min(last, Math.round((px - LEFT) / pitch)));
  };
  const point = (stage, left, top) => {
    hover.setAttribute("visibility", "visible");
    hover.setAttribute("x1", x(stage));
    hover.setAttribute("x2", x(stage));
    tip(title, stage, layers, drawn, left, top, svg.getBoundingClientRect());
  };
  const leave = () => {
    hover.setAttribute("visibility", "hidden");
    $("tip").hidden = true;
  };
  const beside = () => {
    const box = svg.getBoundingClientRect();
    point(state.stage, box.left + (x(state.stage) * box.width) / width, box.top + 20);
  };
  svg.addEventListener("pointermove", (event) => point(at(event), event.clientX, event.clientY));
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("click", (event) => setStage(at(event)));
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -last, End: last }[event.key];
    if (event.key === "Escape") leave();
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    setStage(state.stage + to);
    beside();
  });
  svg.mark = () => {
    const stage = Math.min(state.stage, last);
    cursor.setAttribute("x1", x(stage));
    cursor.setAttribute("x2", x(stage));
    svg.setAttribute("aria-valuenow", stage);
    const said = drawn.map(({ method, curve, label }) => `${label || method} ${shown(curve.mean[stage])}`);
    svg.setAttribute("aria-valuetext", `stage ${stage}, ${layerName(layers, stage)}: ${said.join(", ")}`);
  };
  svg.mark();
  return svg;
};

const tip = (title, stage, layers, lines, left, top, chart) => {
  const rows = lines
    .filter(({ curve }) => stage < curve.mean.length)
    .map((line) => [line, num(line.curve.mean[stage])])
    .sort((a, b) => (Number.isNaN(b[1]) ? -Infinity : b[1]) - (Number.isNaN(a[1]) ? -Infinity : a[1]));
  const longest = document.documentElement.clientWidth < 640 ? 22 : 40;
  const box = $("tip");
  box.replaceChildren(
    h("p", {}, `${title} · stage ${stage}, ${layerName(layers, stage)}`),
    h("table", {}, h("tbody", {}, rows.map(([{ method, curve, label }]) => {
      const [low, high] = [curve.low[stage], curve.high[stage]];
      const interval = Number.isNaN(num(low)) ? "" : ` [${short(low)}, ${short(high)}]`;
      return h(
        "tr",
        { "data-method": method, "data-value": exact(curve.mean[stage]), "data-low": exact(low), "data-high": exact(high), "data-null": exact(curve.null[stage]) },
        h("td", {}, h("span", { class: "name" }, swatch(method), middle(label || method, longest))),
        h("td", {}, shown(curve.mean[stage]) + interval),
        h("td", {}, `null ${short(curve.null[stage])} · n ${curve.images[stage]}`),
      );
    }))),
  );
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
  const over = left + 16 + width > room.x - 8 ? left - 16 - width : left + 16;
  if (room.x < 640) top = chart.bottom + height > room.y ? chart.top - height - 20 : chart.bottom - 12; // beside, not upon
  box.style.left = `${Math.max(8, Math.min(over, room.x - width - 8))}px`;
  box.style.top = `${Math.max(8, Math.min(top + 16, room.y - height - 8))}px`;
};

const figure = (host, title) => {
  const node = h("figure", { class: "panel", "data-title": title }, h("figcaption", {}, title));
  host.append(node);
  return node;
};
const drawCurves = () => {
  const host = $("panels");
  host.replaceChildren();
  $("tip").hidden = true;
  const { curves, layers } = group();
  for (const metric of D.metrics) {
    if (!curves[metric]) continue;
    const lines = D.methods.filter((m) => curves[metric][m]).map((method) => ({ method, curve: curves[metric][method] }));
    const panel = figure(host, metric);
    panel.append(chart(panel, metric, layers, lines));
  }
};
const drawMultiples = () => {
  const host = $("small");
  if (!host) return;
  host.replaceChildren();
  for (const value of D.differ[state.key]) {
    const lines = [];
    const members = D.runs.map((_, i) => i).filter((i) => D.runs[i].values[state.key] === value);
    const groups = [...new Set(members.map((i) => D.runs[i].group))];
    let layers = [];
    for (const g of groups) {
      const own = members.filter((i) => D.runs[i].group === g);
      const whole = own.length === D.groups[g].runs.length;
      for (const source of whole ? [D.groups[g]] : own.map((i) => D.runs[i])) {
        const curves = (source.curves || {})[state.metric] || {};
        if (D.groups[g].layers.length > layers.length) layers = D.groups[g].layers;
        for (const method of D.methods) {
          if (!curves[method]) continue;
          const more = groups.length > 1 ? ` · ${Object.values(D.groups[g].values).join(", ")}` : "";
          lines.push({ method, curve: curves[method], label: method + more });
        }
      }
    }
    const title = `${state.key}=${value}`;
    const panel = figure(host, title);
    if (!lines.length) panel.append(h("p", { class: "key" }, `nothing by ${state.metric}`));
    else panel.append(chart(panel, `${title} · ${state.metric}`, layers, lines));
  }
};
const markCharts = () => document.querySelectorAll(".chart").forEach((svg) => svg.mark());

const drawLegend = () => {
  const host = $("legend");
  for (const method of D.methods) {
    const button = h("button", { type: "button", "aria-pressed": "true", "data-method": method }, swatch(method), method);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(method)) state.hidden.add(method);
      showMethods();
    });
    host.append(button);
  }
  const all = h("button", { type: "button", class: "quiet", id: "all-methods" }, "show all");
  all.addEventListener("click", () => {
    state.hidden.clear();
    showMethods();
  });
  host.append(all);
};
const showMethods = () => {
  document.querySelectorAll("#legend [data-method]").forEach((b) => press(b, visible(b.dataset.method)));
  document.querySelectorAll(".card[data-method]").forEach((card) => (card.hidden = !visible(card.dataset.method)));
  $("all-methods").hidden = !state.hidden.size;
  drawCurves();
  drawMultiples();
  drawTable();
};
