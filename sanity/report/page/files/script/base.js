// Numbers as they are read, and elements. sanity/report/page/data.py documents the data D.

const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

const num = (v) => (v === null || v === undefined ? NaN : Number(v));
const known = (v) => Number.isFinite(num(v));
/* A minus is no hyphen, and there is no minus zero. */
const signed = (text) => (/^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "−"));
const shown = (v, digits = 3) => {
  const x = num(v);
  if (Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const small = Math.abs(x) < 10 ** -digits && x !== 0;
  return signed((small && digits > 2) || Math.abs(x) >= 1e6 ? x.toPrecision(2) : x.toFixed(digits));
};
const short = (v) => shown(v, 2);
const exact = (v) => (v === null || v === undefined ? "" : String(v));
const between = (low, high) => (known(low) && known(high) ? `[${short(low)}, ${short(high)}]` : "");
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

// Elements. Text goes into text nodes and attributes only, so that names are never markup.
const SVG = "http://www.w3.org/2000/svg";
const fill = (node, attributes, children) => {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== "") node.append(child);
  }
  return node;
};
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const button = (label, press, attributes) => {
  const node = h("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", press);
  return node;
};
const press = (node, on) => node.setAttribute("aria-pressed", String(on));
const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
const middle = (text, longest) =>
  text.length <= longest ? text : text.slice(0, longest / 2 - 1) + "…" + text.slice(-longest / 2);
const breakable = (text) => text.split(/(?<=[-_/.])/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));
