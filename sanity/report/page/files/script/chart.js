// A chart of similarity by stage, which can be pointed at, clicked and stepped through.

const PAD = { left: 40, right: 12, top: 10 };
const measure = document.createElement("canvas").getContext("2d");
const widthOf = (text) => {
  measure.font = "11px system-ui, sans-serif";
  return measure.measureText(text).width;
};

/* A curve on the scale chosen: relative is 0 at the null and 1 at a mask's score with itself, the
   interval given that null. */
const onScale = (curve, metric) => {
  const { identity } = metricOf(metric) || {};
  if (state.scale !== "relative" || !known(identity)) return { ...curve, relative: false };
  const to = (v, k) => {
    const room = identity - num(curve.null[k]);
    return k === 0 && known(v) ? 1 - (identity - num(v)) : Math.abs(room) < 1e-9 ? NaN : (num(v) - num(curve.null[k])) / room;
  };
  const map = (values) => values.map((v, k) => (known(v) ? to(v, k) : NaN));
  const [a, b] = [map(curve.low), map(curve.high)];
  const swap = a.some((v, k) => v > b[k]);
  return { ...curve, mean: map(curve.mean), low: swap ? b : a, high: swap ? a : b, null: curve.null.map(() => 0), relative: true, raw: curve };
};

/* Ends of the y axis: what there is to show, wide intervals aside, which are cut. */
const limitsOf = (lines) => {
  const values = lines.flatMap(({ on }) => [...on.mean, ...(on.relative ? [0, 1] : on.null)].map(num).filter(Number.isFinite));
  if (!values.length) return [-0.1, 1.05];
  const low = Math.min(...values), high = Math.max(...values);
  if (low >= -1.001 && high <= 1.05 && high > 0.5) return [Math.min(-0.1, low - 0.05), 1.05];
  const pad = 0.05 * (high - low) || 0.05;
  return [low - pad, high + pad];
};
const ticks = (low, high, most) => {
  const rough = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
};

/* Where a chart's things stand: {x, y, clip, …}, in its own units. */
const frame = (host, layers, lines, { height = 210, small = false, labels = false }) => {
  const width = Math.max(180, host.clientWidth || 480);
  const right = labels ? Math.min(150, 20 + Math.max(...lines.map(({ label, method }) => widthOf(middle(label || method, 22))))) : PAD.right;
  const end = layers.length - 1;
  const pitch = (width - PAD.left - right) / Math.max(1, end);
  const x = (stage) => PAD.left + (end ? stage * pitch : (width - PAD.left - right) / 2);
  const [low, high] = limitsOf(lines);
  const y = (value) => PAD.top + height * (1 - (value - low) / (high - low));
  return { width, right, end, pitch, x, y, low, high, height, small, foot: PAD.top + height, clip: (v) => clamp(v, low, high) };
};

const axes = (f, layers, early) => {
  const parts = [];
  if (early) parts.push(s("rect", { class: "early", x: f.x(0.5), width: f.x(Math.min(f.end, early + 0.5)) - f.x(0.5), y: PAD.top, height: f.height }));
  for (const value of ticks(f.low, f.high, f.small ? 3 : 5)) {
    parts.push(
      s("line", { class: "grid", x1: PAD.left, x2: f.width - f.right, y1: f.y(value), y2: f.y(value) }),
      s("text", { class: "tick", x: PAD.left - 6, y: f.y(value) + 4, "text-anchor": "end" }, signed(String(value))),
    );
  }
  const names = layers.map((layer, stage) => middle(stage ? layer : "trained", 18));
  const longest = Math.max(...names.map(widthOf));
  if (f.small) {
    parts.push(s("text", { x: f.x(0), y: f.foot + 14 }, "trained"), s("text", { x: f.x(f.end), y: f.foot + 14, "text-anchor": "end" }, names[f.end]));
    return [parts, 20];
  }
  const upright = longest > 0.9 * f.pitch;
  const every = upright ? Math.ceil(13 / f.pitch) : 1;
  names.forEach((text, stage) => {
    if (stage % every) return;
    parts.push(upright
      ? s("text", { transform: `translate(${f.x(stage) + 4},${f.foot + 8}) rotate(-90)`, "text-anchor": "end" }, text)
      : s("text", { x: f.x(stage), y: f.foot + 16, "text-anchor": stage === 0 ? "start" : stage === f.end ? "end" : "middle" }, text));
  });
  return [parts, upright ? longest + 14 : 22];
};

const pathOf = (f, values) => {
  let d = "", pen = "M";
  values.forEach((v, k) => {
    if (!known(v)) return void (pen = "M");
    d += `${pen}${f.x(k).toFixed(1)},${f.y(f.clip(num(v))).toFixed(1)}`;
    pen = "L";
  });
  return d;
};
/* Bands between low and high, one a stretch of stages that have both; arrowheads where they are cut. */
const bands = (f, { on, method }, faint) => {
  const { color } = D.looks[method];
  const parts = [];
  let piece = [];
  const close = () => {
    if (piece.length > 1) {
      const edge = (which, list) => list.map((k) => `${f.x(k).toFixed(1)},${f.y(f.clip(num(on[which][k]))).toFixed(1)}`).join("L");
      parts.push(s("path", { class: "band", d: `M${edge("high", piece)}L${edge("low", piece.slice().reverse())}Z`, fill: color, "fill-opacity": faint ? 0.06 : 0.13 }));
    }
    piece = [];
  };
  on.mean.forEach((_, k) => {
    if (!known(on.low[k]) || !known(on.high[k])) return close();
    piece.push(k);
    for (const [v, edge, turn] of [[on.high[k], f.high, 1], [on.low[k], f.low, -1]]) {
      if ((num(v) - edge) * turn > 1e-9) {
        const y = f.y(edge);
        parts.push(s("path", { class: "arrow", d: `M${f.x(k)},${y}l-3,${4 * turn}h6Z`, fill: color }));
      }
    }
  });
  close();
  return parts;
};
/* Where there are too few images for an interval to mean much, each image's score is a dot. */
const dotsOf = (f, { on, method, source }, metric) => {
  const R = D.rows;
  if (!R || !source) return [];
  const { color } = D.looks[method];
  const [m, k] = [D.methods.indexOf(method), D.metrics.findIndex((one) => one.name === metric)];
  const parts = [];
  for (let i = 0; i < R.value.length; i++) {
    if (R.method[i] !== m || R.metric[i] !== k || !source.includes(R.run[i]) || !R.stage[i] || !known(R.value[i])) continue;
    const stage = R.stage[i];
    const { identity } = metricOf(metric);
    const null_ = on.relative ? num(on.raw.null[stage]) : 0;
    const v = on.relative ? (R.value[i] - null_) / (identity - null_) : R.value[i];
    parts.push(s("circle", { class: "dot", cx: f.x(stage), cy: f.y(f.clip(v)), r: 2, fill: color, "fill-opacity": 0.55 }));
  }
  return parts;
};
const curveOf = (f, { method, on, dash, muted }) => {
  const look = D.looks[method];
  const grey = muted ? { stroke: null, class: "line muted" } : { stroke: look.color, class: "line" };
  const parts = [];
  if (!on.relative && !muted) parts.push(s("path", { class: "null", d: pathOf(f, on.null), fill: "none", stroke: look.color, "stroke-width": 1.3, "stroke-dasharray": look.dotted, opacity: 0.8 }));
  parts.push(s("path", { ...grey, "data-method": method, d: pathOf(f, on.mean), fill: "none", "stroke-width": look.control || muted ? 1.25 : 2, "stroke-dasharray": dash || look.dash }));
  if (!muted && !f.small) on.mean.forEach((v, k) => known(v) && parts.push(marker(look, f.x(k), f.y(f.clip(num(v))), 6)));
  return parts;
};
/* Names at the right end of the lines, pushed apart. */
const directLabels = (f, lines) => {
  const ends = lines.map((one) => {
    const k = one.on.mean.findLastIndex(known);
    return k < 0 ? null : { one, y: f.y(f.clip(num(one.on.mean[k]))) };
  }).filter(Boolean).sort((a, b) => a.y - b.y);
  const step = 13;
  ends.forEach((end, i) => (end.at = Math.max(end.y, i ? ends[i - 1].at + step : PAD.top)));
  const over = ends.length ? ends[ends.length - 1].at - f.foot : 0;
  for (let i = ends.length - 1, most = f.foot; over > 0 && i >= 0; i--, most -= step) ends[i].at = Math.min(ends[i].at, most);
  return ends.map(({ one, y, at: to }) => [
    s("path", { class: "lead", d: `M${f.width - f.right + 3},${y}L${f.width - f.right + 12},${to}`, stroke: D.looks[one.method].color, fill: "none" }),
    s("text", { x: f.width - f.right + 15, y: to + 4, class: "direct" }, middle(one.label || one.method, 22)),
  ]);
};

/* A chart of lines {method, curve, label, dash, source, muted} on a metric. */
const chart = (host, title, metric, layers, lines, { of = null, ...how } = {}) => {
  lines = lines.map((one) => ({ ...one, on: onScale(one.curve, metric) }));
  const f = frame(host, layers, lines, how);
  const relative = lines.some(({ on }) => on.relative);
  const [axis, below] = axes(f, layers, of ? of.early : 0);
  const svg = s("svg", {
    class: "chart", viewBox: `0 0 ${f.width} ${Math.ceil(f.foot + below)}`, tabindex: 0, role: "slider",
    "aria-label": `${title}, similarity by stage`, "aria-valuemin": 0, "aria-valuemax": f.end,
  });
  svg.append(...axis.flat());
  if (relative && of && of.early) {
    const y = f.y(of.thresholds.threshold);
    svg.append(s("line", { class: "threshold", x1: f.x(0.5), x2: f.x(of.early + 0.5), y1: y, y2: y }));
    if (!f.small) svg.append(s("text", { class: "tick", x: f.x(Math.min(f.end, of.early + 0.5)) - 4, y: y - 4, "text-anchor": "end" }, `threshold ${of.thresholds.threshold}`));
  }
  const cursor = s("line", { class: "cursor", y1: PAD.top, y2: f.foot });
  const hover = s("line", { class: "hover", y1: PAD.top, y2: f.foot, visibility: "hidden" });
  svg.append(hover, cursor);
  const few = of && Math.max(...lines.flatMap(({ curve }) => curve.images)) < of.thresholds.images;
  for (const one of lines) {
    if (one.muted) continue;
    svg.append(...(few ? dotsOf(f, one, metric) : bands(f, one, lines.length > 8)));
  }
  for (const one of lines) svg.append(...curveOf(f, one));
  if (how.labels) svg.append(...directLabels(f, lines.filter((one) => !one.muted)).flat());
  const stageAt = (event) => {
    const box = svg.getBoundingClientRect();
    return clamp(Math.round((((event.clientX - box.left) / box.width) * f.width - PAD.left) / f.pitch), 0, f.end);
  };
  const told = lines.filter((one) => !one.muted);
  const tell = (stage, left, top) => tip(title, stage, layers, told, left, top, svg.getBoundingClientRect());
  svg.addEventListener("pointermove", (event) => {
    const stage = stageAt(event);
    point(stage);
    tell(stage, event.clientX, event.clientY);
  });
  const leave = () => {
    point(null);
    $("tip").hidden = true;
  };
  svg.addEventListener("pointerleave", (event) => event.pointerType === "touch" || leave());
  svg.addEventListener("blur", leave);
  svg.addEventListener("click", (event) => {
    set({ stage: stageAt(event) });
    tell(stageAt(event), event.clientX, event.clientY); // a tap has no hover
  });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    if (!stepByKey(event)) return;
    const box = svg.getBoundingClientRect();
    tell(Math.min(state.stage, f.end), box.left + (f.x(Math.min(state.stage, f.end)) * box.width) / f.width, box.top + 20);
  });
  svg.point = (stage) => {
    hover.setAttribute("visibility", stage === null || stage > f.end ? "hidden" : "visible");
    if (stage !== null) for (const end of ["x1", "x2"]) hover.setAttribute(end, f.x(stage));
  };
  svg.mark = () => {
    const stage = Math.min(state.stage, f.end);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, f.x(stage));
    svg.setAttribute("aria-valuenow", stage);
    svg.setAttribute("aria-valuetext", `stage ${stage}, ${layerName(layers, stage)}: ${told.map(({ method, on, label }) => `${label || method} ${shown(on.mean[stage])}`).join(", ")}`);
  };
  svg.mark();
  return svg;
};
const charts = () => document.querySelectorAll(".chart");
const markCharts = () => charts().forEach((svg) => svg.mark());
const pointCharts = (stage) => charts().forEach((svg) => svg.point(stage));
watch("stage", markCharts);

/* The numbers at a stage, beside the pointer. */
const tip = (title, stage, layers, lines, left, top, chart_) => {
  const rows = lines
    .filter(({ curve }) => stage < curve.mean.length)
    .map((one) => [one, num(one.on.mean[stage])])
    .sort((a, b) => (Number.isNaN(b[1]) ? -Infinity : b[1]) - (Number.isNaN(a[1]) ? -Infinity : a[1]));
  const relative = lines.some(({ on }) => on.relative);
  const longest = document.documentElement.clientWidth < 640 ? 22 : 40;
  const box = $("tip");
  box.replaceChildren(
    h("p", {}, `${title} · stage ${stage}, ${layerName(layers, stage)}`),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "method"), relative ? h("th", {}, "relative") : null, h("th", {}, "score"), h("th", {}, "null"), h("th", {}, "images"))),
      h("tbody", {}, rows.map(([{ method, curve, label, on }]) =>
        h(
          "tr",
          { "data-method": method, "data-value": exact(curve.mean[stage]), "data-low": exact(curve.low[stage]), "data-high": exact(curve.high[stage]), "data-null": exact(curve.null[stage]) },
          h("td", {}, h("span", { class: "name" }, swatch(method), middle(label || method, longest))),
          relative ? h("td", {}, shown(on.mean[stage])) : null,
          h("td", {}, `${shown(curve.mean[stage])} ${between(curve.low[stage], curve.high[stage])}`),
          h("td", {}, short(curve.null[stage])),
          h("td", {}, String(curve.images[stage])),
        )))),
  );
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
  const over = left + 16 + width > room.x - 8 ? left - 16 - width : left + 16;
  if (room.x < 640) top = chart_.bottom + height > room.y ? chart_.top - height - 20 : chart_.bottom - 12; // beside, not upon
  box.style.left = `${Math.max(8, Math.min(over, room.x - width - 8))}px`;
  box.style.top = `${Math.max(8, Math.min(top + 16, room.y - height - 8))}px`;
};
