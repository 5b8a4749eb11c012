// The data, elements, and what is chosen.

const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const num = (v) => (v === null || v === undefined ? NaN : Number(v));
const shown = (v, digits = 3) => {
  const x = num(v);
  if (Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const small = Math.abs(x) < 10 ** -digits && x !== 0;
  const text = small || Math.abs(x) >= 1e6 ? x.toPrecision(2) : x.toFixed(digits);
  return text.replace("-", "−");
};
const short = (v) => (Number.isFinite(num(v)) ? num(v).toFixed(2).replace("-", "−") : shown(v));
const exact = (v) => (v === null || v === undefined ? "" : String(v));

// Elements. Text goes into text nodes and attributes only, so that names are never markup.
const SVG = "http://www.w3.org/2000/svg";
const fill = (node, attributes, children) => {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== "") node.append(child);
  }
  return node;
};
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const state = {
  group: 0,
  run: D.groups[0].runs[0],
  metric: D.metrics[0],
  stage: Math.min(1, D.groups[0].layers.length - 1),
  hidden: new Set(),
  mode: "signed",
  overlay: false,
  key: Object.keys(D.differ)[0],
  table: "means",
  all: false,
  one: false,
  sort: null,
  most: 40,
};
const group = () => D.groups[state.group];
const run = () => D.runs[state.run];
const visible = (method) => !state.hidden.has(method);
const layerName = (layers, stage) => (stage ? layers[stage] || "?" : "as trained");
const middle = (text, longest) =>
  text.length <= longest ? text : text.slice(0, longest / 2 - 1) + "…" + text.slice(-longest / 2);

const marker = (look, x, y, size) =>
  s("path", {
    d: look.marker,
    transform: `translate(${x},${y}) scale(${size})`,
    fill: look.filled ? look.color : "none",
    stroke: look.color,
    "stroke-width": look.filled ? 0.05 : 0.22,
  });
const swatch = (method) => {
  const look = D.looks[method];
  return s(
    "svg",
    { class: "swatch", viewBox: "-16 -7 32 14", "aria-hidden": "true" },
    s("path", { d: "M-15,0H15", fill: "none", stroke: look.color, "stroke-width": 2, "stroke-dasharray": look.dash }),
    marker(look, 0, 0, 8),
  );
};
const name = (method) => h("span", { class: "name" }, swatch(method), h("span", { class: "word" }, breakable(method)));
const breakable = (text) => text.split(/(?<=[-_/.])/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));
const press = (button, on) => button.setAttribute("aria-pressed", String(on));
